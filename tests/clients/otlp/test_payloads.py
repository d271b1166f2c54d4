"""What OpenTelemetry's own Python exporters send is understood: logs, and the exceptions of spans."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.intake.samples import RECEIVED_AT, Recorder, Request, new_ids
from tocsin.domain.arrival import Arrival
from tocsin.domain.fingerprint import fingerprint
from tocsin.domain.incident import Severity
from tocsin.domain.report import ErrorReport
from tocsin.intake.decoding import decode_body
from tocsin.intake.otlp import parse_logs, parse_traces

pytestmark = pytest.mark.slow

SHOP = Path(__file__).with_name("failing_shop.py")
PATIENCE_SECONDS = 60
LIMIT_BYTES = 1_000_000
PARSERS = {"/v1/logs": parse_logs, "/v1/traces": parse_traces}


@pytest.fixture(scope="module", params=["none", "gzip", "deflate"])
def sent(request: pytest.FixtureRequest) -> list[Request]:
    """Every request that the failing shop made."""
    recorder = Recorder()

    def run(port: int) -> None:
        command = [sys.executable, str(SHOP), f"http://127.0.0.1:{port}", request.param]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
        assert (ended.returncode, ended.stdout) == (0, "over\n"), ended.stderr

    recorder.serve_while(run)
    return recorder.requests


def reports(sent: list[Request], path: str) -> list[ErrorReport]:
    found: list[ErrorReport] = []
    for request in sent:
        if request.path == path:
            body = decode_body(request.body, request.headers.get("content-encoding", ""), LIMIT_BYTES)
            content_type = request.headers["content-type"]
            for one in PARSERS[path](body, content_type, received_at=RECEIVED_AT, new_event_id=new_ids()):
                assert isinstance(one, Arrival), one
                found.append(one.whole())
    return found


def test_logs_arrive_with_severity_message_and_source(sent: list[Request]) -> None:
    till, fire, hotter, payment = reports(sent, "/v1/logs")
    assert (till.severity, till.message) == (Severity.MEDIUM, "the till is nearly empty")
    attributes = till.context["attributes"]
    assert isinstance(attributes, dict)
    assert attributes["coins"] == 3
    assert (fire.severity, fire.message) == (Severity.CRITICAL, "the shop burns at 817 degrees")
    assert fingerprint(fire) == fingerprint(hotter)
    assert fire.event_id != hotter.event_id
    for one in (till, fire, payment):
        assert (one.service, one.release, one.environment, one.server_name) == ("shop", "1.2.3", "production", "web-1")
        assert (one.platform, one.logger) == ("python", "shop.orders")
    assert till.culprit == "<module>"
    assert not till.trace_id
    assert len(payment.trace_id) == 32


def test_a_logged_exception_has_its_chain_and_its_frames(sent: list[Request]) -> None:
    payment = reports(sent, "/v1/logs")[-1]
    assert payment.title == "ValueError: cannot pay order 17"
    assert payment.context["logMessage"] == "payment failed"
    cause, last = payment.exceptions
    assert (cause.type, cause.message) == ("LookupError", "no such order 17")
    assert [frame.function for frame in cause.frames] == ["pay", "find"]
    assert [frame.function for frame in last.frames] == ["<module>", "pay"]
    assert cause.frames[-1].source_line == 'raise LookupError(f"no such order {order}")'


def test_the_span_tells_of_the_same_failure_as_the_log(sent: list[Request]) -> None:
    (recorded,) = reports(sent, "/v1/traces")
    payment = reports(sent, "/v1/logs")[-1]
    assert (recorded.title, recorded.severity, recorded.culprit) == (payment.title, Severity.HIGH, "POST /orders")
    assert recorded.trace_id == payment.trace_id
    assert any(not frame.in_app for frame in recorded.exceptions[-1].frames), "the SDK's own frames are foreign"
    assert fingerprint(recorded) == fingerprint(payment)
    assert recorded.event_id != payment.event_id
