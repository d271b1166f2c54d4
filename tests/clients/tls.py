"""A reverse proxy that speaks TLS, as it stands before Tocsin where clients insist on https."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

ANSWER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Https:
    """Where the proxy is, and the certificate by which a client knows it."""

    url: str
    certificate: Path


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, server_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target_port = server_port


class _Handler(BaseHTTPRequestHandler):
    server: _Proxy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        target = HTTPConnection("127.0.0.1", self.server.target_port, timeout=ANSWER_SECONDS)
        try:
            target.request("POST", self.path, body, dict(self.headers))
            answer = target.getresponse()
            content = answer.read()
        finally:
            target.close()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.getheader("Content-Type", ""))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the name is the standard library's
        """Say nothing: the test says what went wrong."""


@contextmanager
def https_to(server_port: int, folder: Path) -> Iterator[Https]:
    """Give an https address that leads to a port of this machine; the certificate is signed by nobody known."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    certificate = folder / "authority.pem"
    authority.cert_pem.write_to_path(certificate)
    with _Proxy(server_port) as proxy:
        # The handshake belongs to each connection's own thread: with it in accept() one client could stop all others.
        proxy.socket = context.wrap_socket(proxy.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Https(f"https://127.0.0.1:{proxy.server_port}", certificate)
        finally:
            proxy.shutdown()
            thread.join()
