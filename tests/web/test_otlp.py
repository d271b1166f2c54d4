"""OpenTelemetry: each export is answered in the form in which it came, and so is each refusal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.message import Message  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tests.conftest import INTAKE_KEY
from tests.web.conftest import Answer, Live, rows
from tocsin.errors import Code, refuse
from tocsin.web.intake.otlp import MAX_OTLP_BYTES

pytestmark = pytest.mark.anyio

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
NANOSECONDS = 1_767_225_600_000_000_000
FATAL, INFO = SeverityNumber.SEVERITY_NUMBER_FATAL, SeverityNumber.SEVERITY_NUMBER_INFO


def _log(severity_number: SeverityNumber.ValueType, body: str) -> LogRecord:
    return LogRecord(time_unix_nano=NANOSECONDS, severity_number=severity_number, body=AnyValue(string_value=body))


def _logs(*records: LogRecord) -> ExportLogsServiceRequest:
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=records)])])


def _spans() -> ExportTraceServiceRequest:
    kind = KeyValue(key="exception.type", value=AnyValue(string_value="ValueError"))
    event = Span.Event(name="exception", time_unix_nano=NANOSECONDS, attributes=[kind])
    spans = [Span(name="GET /", events=[event]), Span(name="POST /")]
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])])


def _json_logs(*records: object) -> bytes:
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}).encode()


async def _export(
    live: Live, path: str, body: bytes | Message, content_type: str = PROTOBUF, key: str = INTAKE_KEY
) -> Answer:
    data: bytes = body if isinstance(body, bytes) else body.SerializeToString()
    answer = await live.call("POST", path, token=key, data=data, headers={"Content-Type": content_type})
    expected = content_type if content_type in (PROTOBUF, JSON) else JSON
    assert answer.headers["Content-Type"].partition(";")[0] == expected
    return answer


def _said(answer: Answer) -> str:
    """Return the message of a google.rpc.Status: field 2 of the protobuf, of which one byte says the length."""
    if answer.headers["Content-Type"].startswith(JSON):
        message: str = answer.json["message"]
        return message
    assert answer.body[0] == 0x12
    return answer.body[-answer.body[1] :].decode()


async def test_logs_in_protobuf_are_answered_in_protobuf(live: Live) -> None:
    answer = await _export(live, "/v1/logs", _logs(_log(FATAL, "the shop burns"), _log(INFO, "all is well")))
    assert answer.status == 200
    assert ExportLogsServiceResponse.FromString(answer.body) == ExportLogsServiceResponse()
    (incident,) = (await live.get("/api/incidents")).json["incidents"]
    assert (incident["title"], incident["severity"]) == ("the shop burns", "CRITICAL")
    assert await rows(live.app, b"SELECT count(*) FROM audit_logs") == [(2,)]


async def test_of_spans_only_the_exceptions_are_reports(live: Live) -> None:
    answer = await _export(live, "/v1/traces", _spans())
    assert answer.status == 200
    assert ExportTraceServiceResponse.FromString(answer.body) == ExportTraceServiceResponse()
    assert await rows(live.app, b"SELECT count(*) FROM audit_logs") == [(1,)]


async def test_an_export_of_nothing_is_fine(live: Live) -> None:
    for path in ("/v1/logs", "/v1/traces"):
        assert (await _export(live, path, b"")).status == 200
        assert (await _export(live, path, b"{}", JSON)).json == {}


async def test_what_was_taken_in_part_says_how_much_was_not(live: Live) -> None:
    record = {"severityNumber": 17, "body": {"stringValue": "hm"}}
    answer = await _export(live, "/v1/logs", _json_logs(record, 5, {"severityNumber": "loud"}), JSON)
    assert answer.status == 200
    partial = answer.json["partialSuccess"]
    assert partial["rejectedLogRecords"] == "2"
    assert partial["errorMessage"]
    counted = await rows(live.app, b"SELECT measure, sum(quantity)::bigint FROM intake_ledger GROUP BY 1 ORDER BY 1")
    assert counted == [("opened", 1), ("received", 3), ("rejected", 2)]


async def test_an_odd_value_costs_its_batch_nothing(live: Live) -> None:
    deep = '{"kvlistValue":{"values":[{"key":"k","value":' * 20 + "{}" + "}]}}" * 20
    odd = {"severityNumber": 17, "body": {"stringValue": "hm"}, "attributes": [{"key": "odd", "value": "DEEP"}]}
    answer = await _export(live, "/v1/logs", _json_logs({}, odd).replace(b'"DEEP"', deep.encode()), JSON)
    assert (answer.status, answer.json) == (200, {})
    latin = _logs(_log(FATAL, "the shop burns"), _log(FATAL, "XXX")).SerializeToString().replace(b"XXX", b"Gr\xfc")
    answer = await _export(live, "/v1/logs", latin)
    assert (answer.status, answer.body) == (200, b"")
    counted = await rows(live.app, b"SELECT measure, sum(quantity)::bigint FROM intake_ledger GROUP BY 1 ORDER BY 1")
    assert counted == [("opened", 3), ("received", 4), ("recorded", 1)]


async def test_all_of_it_rejected_is_still_an_answer_that_nobody_repeats(live: Live) -> None:
    answer = await _export(live, "/v1/logs", _json_logs(5), JSON)
    assert (answer.status, answer.json["partialSuccess"]["rejectedLogRecords"]) == (200, "1")


REFUSED: list[tuple[bytes, str, int]] = [
    (b"{", JSON, 400),
    (b'{"resourceLogs": 5, "resourceSpans": 5}', JSON, 400),
    (b"\xff\xff\xff", PROTOBUF, 400),
    (b"x", "text/plain", 415),
    (b"x", "", 415),
    (b" " * (MAX_OTLP_BYTES + 1), JSON, 413),
    (b"\x00" * (MAX_OTLP_BYTES + 1), PROTOBUF, 413),
]


async def test_a_refusal_comes_in_the_form_of_its_request(live: Live) -> None:
    for path in ("/v1/logs", "/v1/traces"):
        for body, content_type, status in REFUSED:
            answer = await _export(live, path, body, content_type)
            assert answer.status == status, (path, body[:20], content_type)
            assert _said(answer)
    counted = await rows(live.app, b"SELECT measure, sum(quantity)::bigint FROM intake_ledger GROUP BY 1 ORDER BY 1")
    assert counted == [("received", 2 * len(REFUSED)), ("rejected", 2 * len(REFUSED))]


async def test_a_key_that_opens_nothing_is_a_401_in_the_form_of_its_request(live: Live) -> None:
    for content_type in (PROTOBUF, JSON):
        answer = await _export(live, "/v1/logs", b"", content_type, key="f" * 32)
        assert answer.status == 401
        assert "key" in _said(answer)


async def test_when_nothing_can_be_stored_the_exporter_is_told_to_come_back(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: Any) -> None:
        raise refuse(Code.UNAVAILABLE, "The database cannot be reached.")

    monkeypatch.setattr("tocsin.app.take_in.Intake.take_in", unavailable)
    answer = await _export(live, "/v1/logs", _logs(_log(FATAL, "hm")))
    assert (answer.status, _said(answer)) == (503, "The database cannot be reached.")
    assert int(answer.headers["Retry-After"]) > 0
