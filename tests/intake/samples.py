"""What the intake's tests share: an instant, ids, arbitrary JSON, and a program that really fails."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

from hypothesis import strategies as st

from tocsin.domain.report import ErrorReport
from tocsin.errors import Code, TocsinError
from tocsin.intake import Rejected
from tocsin.intake.decoding import decode_body

MEGABYTE = 1_000_000
RECEIVED_AT = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
KEY = "0123456789abcdef0123456789abcdef"
SHOP = Path(__file__).with_name("failing_shop.py")


def filled(unit: bytes, head: bytes = b"", tail: bytes = b"") -> bytes:
    """Return a megabyte of one part, in what it stands in."""
    return head + unit * ((MEGABYTE - len(head) - len(tail)) // len(unit)) + tail


def new_ids() -> Callable[[], str]:
    """Return a source of ids: new-1, new-2, …"""
    numbers = count(1)
    return lambda: f"new-{next(numbers)}"


def only(items: list[ErrorReport | Rejected]) -> ErrorReport:
    """Return the only report of a request."""
    (report,) = items
    assert isinstance(report, ErrorReport), report
    return report


@contextmanager
def nothing_but_refusals(*codes: Code) -> Iterator[None]:
    """Let what the block does either succeed or be refused with one of the codes."""
    try:
        yield
    except TocsinError as error:
        if error.refusal.code not in codes:
            raise


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["error", "2026-01-01T00:00:00Z", "values", "{{ default }}"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
"""Any JSON, lone surrogates and numbers that are none included."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a real client sent it."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def plain(self) -> bytes:
        return decode_body(self.body, self.headers.get("content-encoding", ""), 1_000_000)


@dataclass(slots=True)
class Recorder:
    """An HTTP server that answers 200 and keeps what it was sent."""

    requests: list[Request] = field(default_factory=list)

    def serve_while(self, run: Callable[[int], None]) -> None:
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                recorder.requests.append(Request(self.path, headers, body))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_request(self, code: object = "-", size: object = "-") -> None:
                """Stay quiet: the requests are kept, not logged."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                run(server.server_port)
            finally:
                server.shutdown()
                thread.join()


def what_the_real_sdk_sends() -> list[Request]:
    """Run the failing shop with the installed sentry-sdk and return every request that it made."""
    recorder = Recorder()

    def run(port: int) -> None:
        dsn = f"http://{KEY}@127.0.0.1:{port}/1"
        process = subprocess.run([sys.executable, SHOP, dsn], capture_output=True, text=True, timeout=60, check=False)
        # The shop ends with an exception that nobody catches.
        assert process.returncode == 1, process.stderr
        assert process.stderr.rstrip().endswith("OSError: the shop burned down"), process.stderr

    recorder.serve_while(run)
    return recorder.requests
