"""What OpenTelemetry's exporter for JavaScript sends: logs over OTLP/HTTP with JSON, from a Node.js program.

Most of it speaks to a server of the test that answers as `tocsin.intake.otlp` does, for it is the exporter's requests
that are looked at here, byte by byte.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.clients.conftest import Live, RunNode
from tocsin.domain.arrival import Arrival
from tocsin.domain.incident import Severity
from tocsin.domain.report import ErrorReport
from tocsin.intake import otlp

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("otlp-javascript")]

PROGRAM = "otlp_logs.js"
KEY = "0123456789abcdef0123456789abcdef"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Export:
    """A request of the exporter: its path, headers (in lower case) and body."""

    path: str
    headers: dict[str, str]
    body: bytes

    def reports(self) -> list[ErrorReport]:
        """Return what Tocsin reads in it."""
        read = otlp.parse_logs(
            self.body, self.headers["content-type"], received_at=NOW, new_event_id=lambda: "has a time"
        )
        return [one.whole() for one in read if isinstance(one, Arrival)]


class _Receiver(HTTPServer):
    """Keeps every export; answers the first ones with 503 if told to, as a server that cannot store does."""

    def __init__(self, failures: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.failures = failures
        self.exports: list[Export] = []


class _Handler(BaseHTTPRequestHandler):
    server: _Receiver

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.exports.append(Export(self.path, headers, self._body()))
        failing = len(self.server.exports) <= self.server.failures
        kind = headers["content-type"]
        answer, kind = otlp.error_status(kind, "try again") if failing else otlp.answer_logs(kind, 0, "")
        self.send_response(503 if failing else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _body(self) -> bytes:
        """Return a chunked body: the exporter sends no other."""
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the name is the standard library's
        """Say nothing: the test says what went wrong."""


def _exported(run_node: RunNode, failures: int = 0) -> list[Export]:
    """Run the program and return what it exported."""
    with _Receiver(failures) as receiver:
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        try:
            ended = run_node(
                PROGRAM,
                OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.server_port}",
                OTEL_EXPORTER_OTLP_HEADERS=f"Authorization=Bearer%20{KEY}",
            )
        finally:
            receiver.shutdown()
            thread.join()
        assert ended.returncode == 0, ended.stderr
        return receiver.exports


@pytest.fixture(scope="module")
def export(run_node: RunNode) -> Export:
    """The one request that the program makes when all goes well."""
    (one,) = _exported(run_node)
    return one


def test_the_settings_of_every_sdk_lead_to_the_route_and_bring_the_key(export: Export) -> None:
    assert export.path == "/v1/logs"
    assert export.headers["authorization"] == f"Bearer {KEY}"
    assert (export.headers["content-type"], "content-encoding" in export.headers) == ("application/json", False)


def test_every_record_is_read_with_the_severity_of_its_number(export: Export) -> None:
    assert [(one.severity, one.message) for one in export.reports()] == [
        (Severity.HIGH, "the card is not a card"),
        (Severity.MEDIUM, "the till is nearly empty"),
        (Severity.CRITICAL, "the shop burns"),
    ]
    assert {(one.service, one.release, one.logger) for one in export.reports()} == {("shop", "1.2.3", "shop.pay")}


def test_an_exception_is_read_with_its_stack(export: Export) -> None:
    failed = export.reports()[0]
    assert failed.error_type == "TypeError"
    frames = failed.exceptions[-1].frames
    assert "readCard" in [frame.function for frame in frames]
    assert any(frame.filename.endswith(PROGRAM) and frame.line for frame in frames)


def test_a_repeated_export_carries_the_same_events(run_node: RunNode) -> None:
    first, second = _exported(run_node, failures=1)
    assert [one.event_id for one in first.reports()] == [one.event_id for one in second.reports()]
    assert len({one.event_id for one in first.reports()}) == 3


def test_a_running_server_opens_incidents_of_what_is_logged(live: Live, run_node: RunNode) -> None:
    ended = run_node(
        PROGRAM,
        OTEL_EXPORTER_OTLP_ENDPOINT=live.url,
        OTEL_EXPORTER_OTLP_HEADERS=f"Authorization=Bearer%20{live.key}",
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    by_title = live.by_title()
    assert by_title["the shop burns"]["incident"]["severity"] == "CRITICAL"
    assert by_title["TypeError: the card is not a card"]["error"]["service"] == "shop"
