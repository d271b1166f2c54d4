"""OTLP: both encodings say the same, an export that comes again is a copy, and every record counts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from tests.intake.agreement import whole
from tests.intake.cost import read_cheaply
from tests.intake.samples import MEGABYTE, RECEIVED_AT, json_values, new_ids, nothing_but_refusals, only
from tocsin.domain.fingerprint import fingerprint
from tocsin.domain.incident import Severity
from tocsin.domain.report import ErrorReport, Frame, RaisedException, bounded, document
from tocsin.errors import Code, TocsinError
from tocsin.intake import Rejected
from tocsin.intake.otlp import (
    MAX_ANSWER_CHARACTERS,
    MAX_RESOURCE_CHARACTERS,
    answer_logs,
    answer_traces,
    error_status,
    parse_logs,
    parse_traces,
)
from tocsin.intake.otlp_mend import mended
from tocsin.intake.otlp_wire import JSON, MAX_ATTRIBUTES, MAX_RECORDS, MAX_SOURCES, PROTOBUF

NANOSECONDS = 1_796_120_000_123_456_789
OCCURRED_AT = datetime(2026, 12, 1, 10, 13, 20, 123_456, tzinfo=UTC)
TRACE_ID = "5b8efff798038103d269b633813fc60c"
SPAN_ID = "eee19b7ec3c1b174"
STACK = """Traceback (most recent call last):
  File "/app/shop/orders.py", line 12, in pay
    charge(order)
  File "/app/.venv/lib/python3.11/site-packages/bank/api.py", line 3, in charge
    raise BankError("no")
bank.errors.BankError: no
"""
RESOURCE = {
    "service.name": "shop",
    "service.version": "1.2",
    "deployment.environment.name": "production",
    "host.name": "web-1",
    "telemetry.sdk.language": "python",
    "k8s.pod.name": "shop-7d9",
}


def value(plain: object) -> dict[str, object]:
    """Return a value as OTLP writes it in JSON."""
    if isinstance(plain, bool):
        return {"boolValue": plain}
    if isinstance(plain, int):
        return {"intValue": str(plain)}
    if isinstance(plain, float):
        return {"doubleValue": plain}
    if isinstance(plain, list):
        return {"arrayValue": {"values": [value(one) for one in plain]}}
    if isinstance(plain, dict):
        return {"kvlistValue": {"values": attributes(plain)}}
    return {"stringValue": plain} if isinstance(plain, str) else {}


def attributes(plain: dict[str, Any]) -> list[dict[str, object]]:
    return [{"key": name, "value": value(one)} for name, one in plain.items()]


def log(body: object = "payment of 17 failed", said: dict[str, Any] | None = None, **members: object) -> dict[str, Any]:
    record = {"timeUnixNano": str(NANOSECONDS), "severityNumber": 17, "severityText": "ERROR", "body": value(body)}
    return {**record, "attributes": attributes(said or {}), **members}


def logs(*records: object, resource: dict[str, Any] = RESOURCE, scope: str = "shop.orders") -> dict[str, Any]:
    scoped = {"scope": {"name": scope}, "logRecords": list(records)}
    return {"resourceLogs": [{"resource": {"attributes": attributes(resource)}, "scopeLogs": [scoped]}]}


def spans(*some: object) -> dict[str, Any]:
    scoped = {"scope": {"name": "shop.trace"}, "spans": list(some)}
    return {"resourceSpans": [{"resource": {"attributes": attributes(RESOURCE)}, "scopeSpans": [scoped]}]}


def raised(**said: object) -> dict[str, Any]:
    told = {"exception.type": "ValueError", "exception.message": "no such order", **said}
    return {"name": "exception", "timeUnixNano": str(NANOSECONDS), "attributes": attributes(told)}


def span(*events: object, **members: object) -> dict[str, Any]:
    return {"traceId": TRACE_ID, "spanId": SPAN_ID, "name": "POST /orders", "events": list(events), **members}


def read_whole(parse: Any, body: bytes, content_type: str) -> list[ErrorReport | Rejected]:
    return [whole(item) for item in parse(body, content_type, received_at=RECEIVED_AT, new_event_id=new_ids())]


def take(request: object) -> list[ErrorReport | Rejected]:
    return read_whole(parse_logs, json.dumps(request).encode(), JSON)


def take_spans(request: object) -> list[ErrorReport | Rejected]:
    return read_whole(parse_traces, json.dumps(request).encode(), JSON)


def take_protobuf(request: ExportLogsServiceRequest) -> list[ErrorReport | Rejected]:
    return read_whole(parse_logs, request.SerializeToString(), PROTOBUF)


def refusal_of(request: object) -> Code:
    with pytest.raises(TocsinError) as refused:
        take(request)
    return refused.value.refusal.code


def anyvalue(plain: object) -> AnyValue:
    """Return a value as OTLP writes it in protobuf."""
    made = AnyValue()
    if isinstance(plain, list):
        made.array_value.SetInParent()
        made.array_value.values.extend(anyvalue(one) for one in plain)
    elif isinstance(plain, dict):
        made.kvlist_value.SetInParent()
        made.kvlist_value.values.extend(keyvalues(plain))
    elif isinstance(plain, bool):
        made.bool_value = plain
    elif isinstance(plain, int):
        made.int_value = plain
    elif isinstance(plain, float):
        made.double_value = plain
    elif isinstance(plain, str):
        made.string_value = plain
    return made


def keyvalues(plain: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=name, value=anyvalue(one)) for name, one in plain.items()]


def protobuf_logs(body: object, said: dict[str, Any], **members: Any) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    resource_logs = request.resource_logs.add()
    resource_logs.resource.attributes.extend(keyvalues(RESOURCE))
    scope_logs = resource_logs.scope_logs.add()
    scope_logs.scope.name = "shop.orders"
    record = scope_logs.log_records.add(severity_number=17, severity_text="ERROR", **members)
    record.body.CopyFrom(anyvalue(body))
    record.attributes.extend(keyvalues(said))
    return request


# ---- what a log record becomes


def test_a_log_record_arrives_with_everything_it_says() -> None:
    said = {"order": 17, "code.function.name": "pay", "user.id": "u-7", "basket": ["a", {"b": 1.5}], "vip": True}
    report = only(take(logs(log(said=said, traceId=TRACE_ID, spanId=SPAN_ID))))
    assert report == ErrorReport(
        event_id=report.event_id,
        severity=Severity.HIGH,
        error_type="",
        message="payment of 17 failed",
        occurred_at=OCCURRED_AT,
        platform="python",
        service="shop",
        environment="production",
        release="1.2",
        server_name="web-1",
        logger="shop.orders",
        culprit="pay",
        trace_id=TRACE_ID,
        user_id="u-7",
        context={
            "spanId": SPAN_ID,
            "severityText": "ERROR",
            "attributes": {"order": 17, "code.function.name": "pay", "basket": ["a", {"b": 1.5}], "vip": True},
            "resource": {"k8s.pod.name": "shop-7d9"},
        },
    )
    assert len(report.event_id) == 32


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text("ab'1 "),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", max_size=3), inner, max_size=3),
        max_leaves=8,
    )
)
def test_both_encodings_say_the_same(plain: object) -> None:
    said = {"a": plain, "exception.type": "ValueError", "exception.stacktrace": STACK}
    ids = {"trace_id": bytes.fromhex(TRACE_ID), "span_id": bytes.fromhex(SPAN_ID)}
    binary = only(take_protobuf(protobuf_logs(plain, said, time_unix_nano=NANOSECONDS, **ids)))
    text = only(take(logs(log(plain, said, traceId=TRACE_ID.upper(), spanId=SPAN_ID))))
    assert {**document(binary), "eventId": ""} == {**document(text), "eventId": ""}


@pytest.mark.parametrize(
    ("number", "text", "severity"),
    [
        (24, "", Severity.CRITICAL),
        (21, "info", Severity.CRITICAL),
        (20, "", Severity.HIGH),
        (17, "", Severity.HIGH),
        (16, "", Severity.MEDIUM),
        (13, "", Severity.MEDIUM),
        (12, "fatal", Severity.LOW),
        (1, "", Severity.LOW),
        (0, " Fatal ", Severity.CRITICAL),
        (0, "WARN", Severity.MEDIUM),
        (0, "whatever", Severity.LOW),
        (None, None, Severity.LOW),
    ],
)
def test_the_number_decides_the_severity_and_without_one_the_text(
    number: int | None, text: str | None, severity: Severity
) -> None:
    assert only(take(logs(log(severityNumber=number, severityText=text)))).severity is severity


def test_an_exception_without_a_severity_is_high() -> None:
    bare = log(said={"exception.type": "ValueError"}, severityNumber=0, severityText="")
    assert only(take(logs(bare))).severity is Severity.HIGH


def test_an_exception_has_its_frames_and_what_was_logged_is_kept() -> None:
    said = {"exception.type": "bank.errors.BankError", "exception.message": "no", "exception.stacktrace": STACK}
    report = only(take(logs(log("payment failed", said))))
    assert (report.error_type, report.message) == ("bank.errors.BankError", "no")
    bank = "/app/.venv/lib/python3.11/site-packages/bank/api.py"
    assert report.exceptions == (
        RaisedException(
            type="bank.errors.BankError",
            message="no",
            frames=(
                Frame("pay", filename="/app/shop/orders.py", line=12, source_line="charge(order)"),
                Frame("charge", filename=bank, line=3, source_line='raise BankError("no")', in_app=False),
            ),
        ),
    )
    assert report.context["logMessage"] == "payment failed"
    assert "stack" not in report.context
    assert "attributes" not in report.context
    assert fingerprint(report).basis == "stack"


def test_a_stack_that_nobody_can_read_is_kept_as_it_is() -> None:
    said = {"exception.type": "panic", "exception.stacktrace": "goroutine 1 [running]:\nmain.main()"}
    report = only(take(logs(log("down", said))))
    assert report.context["stack"] == said["exception.stacktrace"]
    assert report.exceptions == (RaisedException("panic"),)


def test_numbers_in_a_formatted_body_make_no_new_failure() -> None:
    marks = {fingerprint(only(take(logs(log(f"payment of {order} failed"))))).value for order in (17, 18_000)}
    assert len(marks) == 1


@pytest.mark.parametrize("name", ["message_template.text", "message_template", "log.template", "{OriginalFormat}"])
def test_a_template_among_the_attributes_is_the_failure(name: str) -> None:
    reports = [only(take(logs(log(f"hello {who}", {name: "hello {Who}"})))) for who in ("Ann", "Bob")]
    assert {fingerprint(report).basis for report in reports} == {"template"}
    assert len({fingerprint(report).value for report in reports}) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"message": "disk full", "disk": 3}, "disk full"),
        ({"disk": 3}, '{"disk": 3}'),
        (["a", 1], '["a", 1]'),
        (17, "17"),
        (True, "true"),
        (None, ""),
        ([], ""),
    ],
)
def test_a_structured_body_is_a_message_too(body: object, message: str) -> None:
    report = only(take(logs(log(body))))
    assert report.message == message
    assert report.context.get("body") == (body if isinstance(body, (dict, list)) and body else None)


def test_an_event_is_named_by_its_event_name() -> None:
    assert only(take(logs(log("late", eventName="shop.delivery.late")))).title == "shop.delivery.late: late"


def test_times_fall_back_to_when_it_was_observed_and_then_received() -> None:
    observed = log(timeUnixNano=None, observedTimeUnixNano=NANOSECONDS)
    assert only(take(logs(observed))).occurred_at == OCCURRED_AT
    for absurd in ("0", "-5", "9" * 20, "9" * 30, "soon", 2**63):
        assert only(take(logs(log(timeUnixNano=absurd)))).occurred_at == RECEIVED_AT


def test_a_resource_is_kept_within_its_budget_in_every_record() -> None:
    large = {f"name.{number}": "v" * 500 for number in range(100)}
    report = only(take(logs(log(), resource={**large, "service.name": "shop"})))
    assert report.service == "shop"
    kept = report.context["resource"]
    assert isinstance(kept, dict)
    assert kept.pop("…") == f"{100 - len(kept)} more"
    assert 0 < sum(len(name) + len(text) for name, text in kept.items()) <= MAX_RESOURCE_CHARACTERS


def test_attributes_beyond_the_limit_are_counted() -> None:
    report = only(take(logs(log(said={f"a{number}": 1 for number in range(MAX_ATTRIBUTES + 3)}))))
    assert report.context["tocsin"] == {"leftOut": {"attributes": 3}}


# ---- ids


def ids_of(outcomes: list[ErrorReport | Rejected]) -> list[str]:
    return [one.event_id for one in outcomes if isinstance(one, ErrorReport)]


def test_an_export_that_is_sent_again_has_the_same_ids() -> None:
    request = logs(log(), log("other"), log())
    assert ids_of(take(request)) == ids_of(take(request))
    binary = protobuf_logs("x", {"a": 1}, time_unix_nano=NANOSECONDS)
    assert ids_of(take_protobuf(binary)) == ids_of(take_protobuf(binary))


def test_a_record_keeps_its_id_in_another_batch() -> None:
    alone = ids_of(take(logs(log("b"))))
    assert ids_of(take(logs(log("a"), log("b"))))[1:] == alone


def test_equal_records_of_one_request_are_not_copies() -> None:
    assert len(set(ids_of(take(logs(log(), log(), log()))))) == 3


@pytest.mark.parametrize(
    "other",
    [
        logs(log("another")),
        logs(log(timeUnixNano=str(NANOSECONDS + 1))),
        logs(log(said={"a": 1})),
        logs(log(spanId=SPAN_ID)),
        logs(log(), scope="other"),
        logs(log(), resource={**RESOURCE, "host.name": "web-2"}),
    ],
)
def test_whatever_differs_makes_another_id(other: object) -> None:
    assert ids_of(take(other)) != ids_of(take(logs(log())))


def test_a_record_without_any_time_is_never_taken_for_a_copy() -> None:
    assert ids_of(take(logs(log(timeUnixNano="0"), log(timeUnixNano=None)))) == ["new-1", "new-2"]


# ---- spans


def test_an_exception_of_a_span_is_a_report() -> None:
    failed = span(raised(**{"exception.stacktrace": STACK}), status={"code": 2, "message": "no"})
    report = only(take_spans(spans(failed)))
    assert report.title == "ValueError: no such order"
    assert (report.severity, report.culprit, report.trace_id) == (Severity.HIGH, "POST /orders", TRACE_ID)
    assert (report.service, report.logger, report.occurred_at) == ("shop", "shop.trace", OCCURRED_AT)
    assert [frame.function for frame in report.exceptions[0].frames] == ["pay", "charge"]


def test_a_span_without_an_exception_is_nothing_even_if_it_failed() -> None:
    other = {"name": "retry", "timeUnixNano": "1", "attributes": []}
    assert take_spans(spans(span(status={"code": 2}), span(other))) == []


def test_exceptions_of_spans_are_told_apart_by_their_span() -> None:
    request = spans(span(raised(), raised()), span(raised(), spanId="00f067aa0ba902b7"))
    found = ids_of(take_spans(request))
    assert len(set(found)) == 3
    assert ids_of(take_spans(request)) == found


def test_spans_say_the_same_in_protobuf() -> None:
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.extend(keyvalues(RESOURCE))
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "shop.trace"
    made = scope_spans.spans.add(trace_id=bytes.fromhex(TRACE_ID), span_id=bytes.fromhex(SPAN_ID), name="POST /orders")
    event = made.events.add(name="exception", time_unix_nano=NANOSECONDS)
    event.attributes.extend(keyvalues({"exception.type": "ValueError", "exception.message": "no such order"}))
    body = request.SerializeToString()
    assert read_whole(parse_traces, body, PROTOBUF) == take_spans(spans(span(raised())))


# ---- limits and what is wrong


@pytest.mark.slow
def test_records_beyond_the_limit_are_rejected_one_by_one() -> None:
    request = ExportLogsServiceRequest()
    scopes = request.resource_logs.add().scope_logs
    for number in (MAX_RECORDS - 1, 2, 3):
        records = scopes.add().log_records
        for _ in range(number):
            records.add(time_unix_nano=NANOSECONDS)
    outcomes = take_protobuf(request)
    assert [isinstance(one, Rejected) for one in outcomes] == [False] * MAX_RECORDS + [True] * 4


@pytest.mark.parametrize("exceptions", [0, 1, 2])
def test_spans_and_exceptions_beyond_the_limit_are_rejected_one_by_one(exceptions: int) -> None:
    request = ExportTraceServiceRequest()
    scopes = request.resource_spans.add().scope_spans
    for number in (MAX_RECORDS - 1, 2, 1):
        some = scopes.add().spans
        for _ in range(number):
            some.add()
    for _ in range(exceptions):
        scopes[0].spans[0].events.add(name="exception", time_unix_nano=NANOSECONDS)
    outcomes = parse_traces(request.SerializeToString(), PROTOBUF, received_at=RECEIVED_AT, new_event_id=new_ids())
    assert [isinstance(one, Rejected) for one in outcomes] == [False] * exceptions + [True] * 2


def test_exceptions_of_one_span_beyond_the_limit_are_rejected_one_by_one() -> None:
    request = ExportTraceServiceRequest()
    some = request.resource_spans.add().scope_spans.add().spans.add().events
    for _ in range(MAX_RECORDS + 2):
        some.add(name="exception", time_unix_nano=NANOSECONDS)
    outcomes = parse_traces(request.SerializeToString(), PROTOBUF, received_at=RECEIVED_AT, new_event_id=new_ids())
    assert [isinstance(one, Rejected) for one in outcomes] == [False] * MAX_RECORDS + [True] * 2
    assert outcomes[-1] is outcomes[-2], "a request may hold a million of them"


def test_more_sources_than_the_limit_are_too_large() -> None:
    assert take({"resourceLogs": [{}] * MAX_SOURCES}) == []
    assert refusal_of({"resourceLogs": [{}] * (MAX_SOURCES + 1)}) is Code.TOO_LARGE
    assert refusal_of({"resourceLogs": [{"scopeLogs": [{}] * MAX_SOURCES}]}) is Code.TOO_LARGE


def test_a_wrong_record_costs_no_other() -> None:
    outcomes = take(logs(log(), {"body": {"stringValue": 1}}, 7, log("b")))
    assert [isinstance(one, Rejected) for one in outcomes] == [False, True, True, False]
    assert [one.index for one in outcomes if isinstance(one, Rejected)] == [1, 2]


@pytest.mark.parametrize("request_of_another_shape", [[], 1, {"resourceLogs": {}}, {"resourceLogs": [1]}])
def test_json_of_another_shape_is_refused(request_of_another_shape: object) -> None:
    assert refusal_of(request_of_another_shape) is Code.INVALID


def test_unknown_fields_are_skipped_and_an_empty_request_is_nothing() -> None:
    assert take({}) == []
    assert take({"resourceLogs": None, "someday": 1}) == []
    assert only(take(logs(log(someday={"x": 1})))).message == "payment of 17 failed"


def test_half_a_surrogate_pair_costs_no_record() -> None:
    assert only(take(logs(log("cut \ud83d")))).message == "cut \ufffd"


def test_half_a_surrogate_pair_in_the_name_of_a_field_is_refused() -> None:
    assert refusal_of({"resourceLogs": [{"\ud83d": 1}]}) is Code.INVALID
    outcomes = take(logs({"\ud83d": 1}, log("b")))
    assert [isinstance(one, Rejected) for one in outcomes] == [True, False]


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-protobufs", "application/grpc"])
def test_another_content_type_is_unsupported(content_type: str) -> None:
    with pytest.raises(TocsinError) as refused:
        parse_logs(b"", content_type, received_at=RECEIVED_AT, new_event_id=new_ids())
    assert refused.value.refusal.code is Code.UNSUPPORTED_MEDIA_TYPE


def reports(items: list[ErrorReport | Rejected]) -> list[ErrorReport]:
    """Return the reports of a request that had nothing but reports."""
    assert not [item for item in items if isinstance(item, Rejected)]
    return [item for item in items if isinstance(item, ErrorReport)]


@pytest.mark.parametrize("levels", [20, 60, 5_000])
@pytest.mark.parametrize(
    ("opened", "closed"),
    [('{"arrayValue":{"values":[', "]}}"), ('{"kvlistValue":{"values":[{"key":"k","value":', "}]}}")],
    ids=["arrays", "objects"],
)
def test_a_deep_value_in_json_costs_no_record(levels: int, opened: str, closed: str) -> None:
    request = json.dumps(logs(log("before"), log(said={"fine": 1, "odd": "DEEP"}), log("DEEP"), log("after")))
    body = request.replace('{"stringValue": "DEEP"}', opened * levels + "{}" + closed * levels).encode()
    before, attribute, deep, after = reports(read_whole(parse_logs, body, JSON))
    assert (before.message, after.message) == ("before", "after")
    attributes = attribute.context["attributes"]
    assert isinstance(attributes, dict)
    assert (attributes["fine"], bool(attributes["odd"])) == (1, True)
    assert deep.message.startswith(("[[[", '{"k": {"k":'))


@pytest.mark.parametrize("levels", [30, 60, 5_000])
@pytest.mark.parametrize("odd", ["attribute", "body", "resource"])
def test_a_deep_value_in_protobuf_costs_no_record(levels: int, odd: str) -> None:
    deep = field_of(1, b"bottom")
    for _ in range(levels):
        deep = field_of(5, field_of(1, deep))
    fine, strange = reports(read_whole(parse_logs, protobuf_with(odd, deep), PROTOBUF))
    assert (fine.message, fine.service) == ("fine", "shop")
    assert strange.message.startswith("[[[") == (odd == "body")


def protobuf_with(odd: str, value: bytes) -> bytes:
    """Return an export of a fine record and another, with an odd value somewhere that no library need write."""
    attribute = field_of(1, b"odd") + field_of(2, value)
    parts = {"attribute": field_of(6, attribute), "body": field_of(5, value), "resource": field_of(1, attribute)}
    shop = field_of(1, KeyValue(key="service.name", value=anyvalue("shop")).SerializeToString())
    resource = field_of(1, shop + (parts[odd] if odd == "resource" else b""))
    fine = LogRecord(time_unix_nano=NANOSECONDS, body=anyvalue("fine")).SerializeToString()
    strange = b"\x10\x11" + (b"" if odd == "resource" else parts[odd])
    return field_of(1, resource + field_of(2, field_of(2, fine) + field_of(2, strange)))


@pytest.mark.parametrize("odd", ["attribute", "body", "resource"])
def test_a_text_that_is_not_utf_8_costs_no_record(odd: str) -> None:
    body = protobuf_with(odd, field_of(1, "Zahlung für Straße".encode("latin-1")))
    fine, strange = reports(read_whole(parse_logs, body, PROTOBUF))
    assert fine.message == "fine"
    said = {"attribute": strange.context.get("attributes"), "resource": strange.context.get("resource")}
    assert said.get(odd, {"odd": strange.message}) == {"odd": "Zahlung f\ufffdr Stra\ufffde"}
    again = reports(read_whole(parse_logs, body, PROTOBUF))
    assert again[0].event_id == fine.event_id


def test_a_span_that_is_not_utf_8_costs_no_other() -> None:
    event = field_of(2, b"exception") + field_of(3, field_of(1, b"exception.type") + field_of(2, field_of(1, b"\xff")))
    spans = b"".join(field_of(2, field_of(5, name) + field_of(11, event)) for name in (b"GET", b"\xe4"))
    body = field_of(1, field_of(2, spans))
    get, other = reports(read_whole(parse_traces, body, PROTOBUF))
    assert (get.culprit, other.culprit, other.error_type) == ("GET", "\ufffd", "\ufffd")


def test_a_record_as_deep_as_protobuf_follows_in_a_batch_that_is_mended_is_read() -> None:
    """By itself the library would take it; where it stands it does not."""
    for levels in range(28, 34):
        deep = field_of(1, b"bottom")
        for _ in range(levels):
            deep = field_of(6, field_of(1, field_of(1, b"k") + field_of(2, deep)))
        body = protobuf_with("body", deep) + protobuf_with("body", field_of(1, b"\xff"))
        assert len(reports(read_whole(parse_logs, body, PROTOBUF))) == 4


MANY_KINDS = LogRecord(
    time_unix_nano=NANOSECONDS,
    trace_id=b"\xff" * 16,
    body=anyvalue({"a": [1, -1, 0.5, "x", True, {}], "ü": "ü" * 200}),
    attributes=keyvalues({"long": "x" * 200, "empty": ""}),
    flags=7,
)


def test_all_that_is_not_odd_is_as_it_was() -> None:
    odd = MANY_KINDS.SerializeToString() + field_of(12, b"\xff")
    (record,) = (
        ExportLogsServiceRequest.FromString(mended(ExportLogsServiceRequest, scoped(field_of(2, odd))))
        .resource_logs[0]
        .scope_logs[0]
        .log_records
    )
    assert record.event_name == "\ufffd"
    record.event_name = ""
    assert record == MANY_KINDS


@given(noise=st.binary(max_size=60), at=st.integers(0, 1_000))
def test_what_is_damaged_and_odd_is_reports_or_malformed(noise: bytes, at: int) -> None:
    record = MANY_KINDS.SerializeToString()
    body = scoped(field_of(2, record[: at % len(record)] + noise + record[at % len(record) + len(noise) :]))
    with nothing_but_refusals(Code.MALFORMED):
        read_whole(parse_logs, body + protobuf_with("body", field_of(1, b"\xff")), PROTOBUF)


@given(st.binary(), st.sampled_from([JSON, PROTOBUF]))
def test_any_bytes_are_reports_or_a_refusal(body: bytes, content_type: str) -> None:
    for parse in (parse_logs, parse_traces):
        with nothing_but_refusals(Code.MALFORMED, Code.INVALID):
            read_whole(parse, body, content_type)


@given(st.sampled_from(["body", "attributes", "timeUnixNano", "severityNumber", "traceId"]), json_values, json_values)
def test_any_json_in_a_record_is_bounded_or_rejected(member: str, part: object, event: object) -> None:
    for wrong in ({**log(), member: part}, part, log(said={"exception.stacktrace": STACK}, body={"stringValue": part})):
        (outcome,) = take(logs(wrong))
        assert isinstance(outcome, Rejected) or outcome == bounded(outcome, received_at=RECEIVED_AT)
    with nothing_but_refusals(Code.INVALID):
        take({"resourceLogs": part})
        take_spans(spans(part, span(event)))


@given(st.integers(0, 10), st.binary(min_size=1, max_size=3), st.data())
def test_a_damaged_message_is_reports_or_malformed(order: int, noise: bytes, data: st.DataObject) -> None:
    body = protobuf_logs(f"order {order}", {"exception.stacktrace": STACK}, time_unix_nano=order).SerializeToString()
    at = data.draw(st.integers(0, len(body) - 1))
    with nothing_but_refusals(Code.MALFORMED, Code.TOO_LARGE):
        damaged = body[:at] + noise + body[at + 1 :]
        read_whole(parse_logs, damaged, PROTOBUF)


# ---- answers


def test_a_full_success_leaves_the_partial_one_unset() -> None:
    assert answer_logs(PROTOBUF, 0, "") == (b"", PROTOBUF)
    assert answer_traces(PROTOBUF, 0, "") == (b"", PROTOBUF)
    assert answer_logs(JSON + "; charset=utf-8", 0, "") == (b"{}", JSON)
    assert answer_traces(JSON, 0, "") == (b"{}", JSON)


def test_a_partial_success_names_number_and_reason_in_the_requests_encoding() -> None:
    body, content_type = answer_logs(PROTOBUF, 3, "too many")
    partial = ExportLogsServiceResponse.FromString(body).partial_success
    assert (content_type, partial.rejected_log_records, partial.error_message) == (PROTOBUF, 3, "too many")
    body, content_type = answer_traces(PROTOBUF, 4, "too many")
    spans_rejected = ExportTraceServiceResponse.FromString(body).partial_success
    assert (spans_rejected.rejected_spans, spans_rejected.error_message) == (4, "too many")
    body, content_type = answer_logs(JSON, 3, "too many")
    assert content_type == JSON
    assert json.loads(body) == {"partialSuccess": {"rejectedLogRecords": "3", "errorMessage": "too many"}}
    body, _ = answer_traces(JSON, 4, "too many")
    assert json.loads(body) == {"partialSuccess": {"rejectedSpans": "4", "errorMessage": "too many"}}


@pytest.mark.parametrize("message", ["", "no", "é" * 100, "x" * 127, "x" * 128, "\ud800", "x" * 100_000])
def test_an_error_is_a_status_that_grpc_understands(message: str) -> None:
    body, content_type = error_status(PROTOBUF, message)
    assert content_type == PROTOBUF
    status = Status.FromString(body)
    assert status.code == 0
    assert len(status.message) == min(len(message), MAX_ANSWER_CHARACTERS)
    assert json.loads(error_status(JSON, message)[0]) == {"message": status.message}


def test_a_stranger_is_answered_in_json() -> None:
    assert error_status("text/plain", "no") == (b'{"message": "no"}', JSON)


# ---- time


def field_of(tag: int, content: bytes) -> bytes:
    """Return a field of wire type 2 (below 16)."""
    length, digits = len(content), bytearray()
    while length > 0x7F:
        digits.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([tag << 3 | 2, *digits, length]) + content


def scoped(records: bytes) -> bytes:
    return field_of(1, field_of(2, records))


HOSTILE_PROTOBUF = {
    "empty records": scoped(b"\x12\x00" * (MEGABYTE // 2)),
    "attributes": scoped(field_of(2, b"\x32\x00" * (MEGABYTE // 2))),
    "events": scoped(field_of(2, b"\x5a\x00" * (MEGABYTE // 2))),
    "exceptions": scoped(field_of(2, field_of(11, field_of(2, b"exception")) * (MEGABYTE // 13))),
    "resources": b"\x0a\x00" * (MEGABYTE // 2),
    "scopes": field_of(1, b"\x12\x00" * (MEGABYTE // 2)),
    "values": scoped(field_of(2, field_of(5, field_of(5, b"\x0a\x00" * (MEGABYTE // 2))))),
    "resource": field_of(1, field_of(1, b"\x0a\x00" * (MEGABYTE // 4)) + field_of(2, b"\x12\x00" * (MEGABYTE // 4))),
}
HEAD, TAIL = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[', b"{}]}]}]}"
HOSTILE_JSON = {
    "empty records": HEAD + b"{}," * (MEGABYTE // 3) + TAIL,
    "wrong records": HEAD + b"1," * (MEGABYTE // 2) + TAIL,
    "attributes": HEAD + b'{"attributes":[' + b"{}," * (MEGABYTE // 3) + b"{}]}," + TAIL,
    "resources": b'{"resourceLogs":[' + b"{}," * (MEGABYTE // 3) + b"{}]}",
    "brackets": b'{"resourceLogs":' + b"[" * MEGABYTE,
}


@pytest.mark.slow
@pytest.mark.parametrize("parse", [parse_logs, parse_traces])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        *(pytest.param(body, PROTOBUF, id=f"protobuf {name}") for name, body in HOSTILE_PROTOBUF.items()),
        *(pytest.param(body, JSON, id=f"json {name}") for name, body in HOSTILE_JSON.items()),
    ],
)
def test_a_hostile_megabyte_is_cheap(parse: Any, body: bytes, content_type: str) -> None:
    with nothing_but_refusals(Code.MALFORMED, Code.INVALID, Code.TOO_LARGE):
        read_cheaply(lambda: parse(body, content_type, received_at=RECEIVED_AT, new_event_id=new_ids()))
