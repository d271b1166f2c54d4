"""The server on the other end: it records what arrives, and answers as a test tells it to."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE_SECONDS = 60.0
TAKEN = b'{"accepted":[],"rejected":[]}'


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds, with an end to it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


@dataclass(frozen=True)
class Arrived:
    """One request that came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> bytes:
        """Return the body as it was before it was compressed."""
        return gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body

    def events(self) -> list[Any]:
        """Return the events of a Sentry envelope."""
        lines = self.text.split(b"\n")
        pairs = zip(lines[1::2], lines[2::2], strict=False)
        return [json.loads(payload) for header, payload in pairs if json.loads(header)["type"] == "event"]


@dataclass
class Receiver:
    """What came in. `script` holds the statuses of the next answers; then it is 200. None: hang up without one."""

    port: int = 0
    script: list[int | None] = field(default_factory=list)
    good_answer: bytes = TAKEN
    bad_answer: bytes = b"{}"
    arrived: list[Arrived] = field(default_factory=list)
    taken: list[Arrived] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def messages(self) -> list[str]:
        """Return the messages of all the events that were taken, in the order of their arrival."""
        return [event["logentry"]["message"] if "logentry" in event else event["message"] for event in self.events()]

    def events(self) -> list[Any]:
        """Return all the events that were taken, each event id once, as the server counts them."""
        by_id = {event["event_id"]: event for request in list(self.taken) for event in request.events()}
        return list(by_id.values())


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: the clients of these tests are killed."""


@contextmanager
def receiving(port: int = 0, script: list[int | None] | None = None) -> Iterator[Receiver]:
    """Run a receiver on loopback."""
    receiver = Receiver(script=script or [])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Arrived(self.path, headers, body)
            receiver.arrived.append(request)
            status = receiver.script.pop(0) if receiver.script else 200
            if status is None or 200 <= status < 300:
                receiver.taken.append(request)
            if status is None:
                # Taken, but the answer is lost.
                self.close_connection = True
                return
            self.send_response(status)
            answer = receiver.good_answer if 200 <= status < 300 else receiver.bad_answer
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            """Say nothing."""

    server = _Server(("127.0.0.1", port), Handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
