"""Debian's Chromium without a window, and the server of the pages that it is shown."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.clients.conftest import bare_environment

PACKAGE = "chromium"
STOP_SECONDS = 10.0
PAGE_SECONDS = 60.0
MAX_MESSAGE_BYTES = 65_536
# No sandbox: it needs rights that containers do not give, and the pages are our own. No request but the page's.
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
)


@dataclass(frozen=True, slots=True)
class Pages:
    """A running server of pages, and what the pages tell it when they are done."""

    url: str
    told: queue.SimpleQueue[Any]


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder; takes what a page tells by `POST /done`."""

    protocol_version = "HTTP/1.1"
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

    def __init__(self, *arguments: Any, told: queue.SimpleQueue[Any], **more: Any) -> None:
        self.told = told
        super().__init__(*arguments, **more)

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers["Content-Length"]), MAX_MESSAGE_BYTES))
        self.send_response(204)
        self.end_headers()
        self.told.put(json.loads(body))

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # the name is the standard library's
        """Say nothing: the test says what went wrong."""


@contextmanager
def serving_pages(folder: Path) -> Iterator[Pages]:
    """Serve the pages of a folder on a port of their own, which makes them another origin than any other server."""
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder), told=told)) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Pages(f"http://127.0.0.1:{server.server_port}", told)
        server.shutdown()
        thread.join()


def program() -> str:
    """Return where Chromium is; skips the test where it is not."""
    found = shutil.which(PACKAGE)
    if found is None:
        pytest.skip(f"needs Debian's package {PACKAGE}")
    return found


@contextmanager
def shown(pages: Pages, folder: Path, page: str, **query: str) -> Iterator[Any]:
    """Show a page in a browser with a profile of its own, and give what the page tells when it is done."""
    # Chromium makes a socket beside its profile, whose path may have 107 characters: a test's own folder is too long.
    profile = Path(tempfile.mkdtemp(prefix="tocsin-"))
    command = [program(), *OPTIONS, f"--user-data-dir={profile}", f"{pages.url}/{page}?{urlencode(query)}"]
    log = folder / "chromium.log"
    environment = bare_environment(folder) | {"TMPDIR": str(profile)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        try:
            told = pages.told.get(timeout=PAGE_SECONDS)
        except queue.Empty:
            pytest.fail(f"the page said nothing within {PAGE_SECONDS:g} seconds; Chromium's words:\n{log.read_text()}")
        yield told
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(profile, ignore_errors=True)
