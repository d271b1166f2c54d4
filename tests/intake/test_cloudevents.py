"""CloudEvents: the envelope says what the data does not, in whichever mode it comes."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.intake.cost import read_cheaply
from tests.intake.samples import MEGABYTE, RECEIVED_AT, json_values, new_ids, nothing_but_refusals, only
from tocsin.domain.field_mapping import FieldMapping
from tocsin.domain.incident import Severity
from tocsin.domain.report import MAX_EVENT_ID_CHARACTERS, ErrorReport, bounded
from tocsin.errors import Code, Refusal, TocsinError
from tocsin.intake import Rejected
from tocsin.intake.cloudevents import BATCH, MAX_ATTRIBUTES, MAX_EVENTS, STRUCTURED, parse
from tocsin.intake.field_mapping import parse_mapping

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "type": "com.example.order.failed",
    "source": "/shop/orders",
    "subject": "order/17",
    "id": "A234-1234-1234",
    "time": "2026-12-01T10:00:00Z",
    "traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01",
    "region": "eu",
    "datacontenttype": "application/json",
    "data": {"message": "no such order", "order": 17},
}
HEADERS = {f"ce-{name}": value for name, value in EVENT.items() if name not in ("data", "datacontenttype")}


def take(
    event: object,
    content_type: str = STRUCTURED,
    headers: dict[str, str] | None = None,
    mapping: FieldMapping | None = None,
) -> list[ErrorReport | Rejected]:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    return parse(body, content_type, headers or {}, mapping, received_at=RECEIVED_AT, new_event_id=new_ids())


def refused(event: object, content_type: str = STRUCTURED, headers: dict[str, str] | None = None) -> Refusal:
    with pytest.raises(TocsinError) as error:
        take(event, content_type, headers)
    return error.value.refusal


def with_data(data: object, **members: object) -> ErrorReport:
    return only(take({**EVENT, **members, "data": data}))


def test_the_envelope_says_what_the_data_does_not() -> None:
    attributes = {name: value for name, value in EVENT.items() if name != "data"}
    assert only(take(EVENT)) == ErrorReport(
        event_id="/shop/orders|A234-1234-1234",
        severity=Severity.HIGH,
        error_type="com.example.order.failed",
        message="no such order",
        occurred_at=datetime(2026, 12, 1, 10, tzinfo=UTC),
        service="/shop/orders",
        culprit="order/17",
        trace_id=TRACE_ID,
        context={"cloudEvent": attributes, "order": 17},
    )


def test_binary_and_batched_mode_say_the_same() -> None:
    body = json.dumps(EVENT["data"]).encode()
    binary = only(take(body, "application/json; charset=utf-8", {**HEADERS, "host": "x", "content-type": "y"}))
    (batched,) = take([EVENT], BATCH + "; charset=utf-8")
    assert isinstance(batched, ErrorReport)
    envelope = batched.context["cloudEvent"]
    assert isinstance(envelope, dict)
    del envelope["datacontenttype"]
    assert binary == batched


def test_the_data_speaks_before_the_envelope() -> None:
    data = {"type": "E", "message": "m", "severity": "fatal", "time": "2026-12-01T11:00:00Z", "service": "shop"}
    report = with_data({**data, "eventId": "e-1", "traceId": "t-1"}, severitytext="info")
    assert (report.error_type, report.severity, report.service) == ("E", Severity.CRITICAL, "shop")
    assert (report.event_id, report.trace_id) == ("e-1", "t-1")
    assert report.occurred_at == datetime(2026, 12, 1, 11, tzinfo=UTC)


def test_the_extension_for_severity_counts() -> None:
    assert with_data({}, severitytext="WARN").severity is Severity.MEDIUM


def test_a_mapping_reads_the_data_and_reaches_the_envelope() -> None:
    mapping = parse_mapping({"fields": {"message": "what", "tags.region": "$.region", "serverName": "where"}})
    report = only(take({**EVENT, "data": {"what": "late", "where": "web-1"}}, mapping=mapping))
    assert (report.message, report.server_name, report.tags) == ("late", "web-1", {"region": "eu"})
    assert report.error_type == "com.example.order.failed"


def test_the_type_alone_is_enough() -> None:
    bare = {name: EVENT[name] for name in ("specversion", "id", "source", "type")}
    assert only(take(bare)).title == "com.example.order.failed"
    assert only(take(b"", "", HEADERS)).title == "com.example.order.failed"


@pytest.mark.parametrize("data", ["plain text", ["a"], 7])
def test_data_that_is_no_object_is_the_message(data: object) -> None:
    report = with_data(data)
    assert report.message == (json.dumps(data) if isinstance(data, list) else str(data))


def test_encoded_data_is_decoded() -> None:
    encoded = {name: value for name, value in EVENT.items() if name != "data"}
    text = b64encode(json.dumps(EVENT["data"]).encode()).decode()
    assert only(take({**encoded, "data_base64": text})).message == "no such order"
    plain = {**encoded, "datacontenttype": "text/plain", "data_base64": b64encode(b"it failed").decode()}
    assert only(take(plain)).message == "it failed"
    assert only(take({**encoded, "data_base64": "é!"})).context["data_base64"] == "é!"


def test_text_that_claims_to_be_json_is_kept_as_text() -> None:
    assert only(take(b"{broken", "application/problem+json", HEADERS)).message == "{broken"


@pytest.mark.parametrize(
    ("header", "value"),
    [("caf%C3%A9%20%22x%22", 'café "x"'), ('"a \\"b\\" c"', 'a "b" c'), ("%FF", "\ufffd"), ("100%", "100%")],
)
def test_headers_are_decoded_as_the_binding_says(header: str, value: str) -> None:
    assert only(take(b"", "", {**HEADERS, "ce-subject": header})).culprit == value


def test_attributes_beyond_the_limit_are_left_alone() -> None:
    many = {**HEADERS, **{f"ce-x{number}": "v" for number in range(MAX_ATTRIBUTES)}}
    envelope = only(take(b"", "", many)).context["cloudEvent"]
    assert isinstance(envelope, dict)
    assert len(envelope) == MAX_ATTRIBUTES


def test_what_an_event_must_have_is_found_behind_any_number_of_extensions() -> None:
    many = {**{f"ce-x{number}": "v" for number in range(MAX_ATTRIBUTES + 5)}, **HEADERS}
    report = only(take(b"", "", many))
    assert (report.error_type, report.culprit, report.trace_id) == (EVENT["type"], EVENT["subject"], TRACE_ID)
    assert report.context["tocsin"] == {"leftOut": {"attributes": len(many) - MAX_ATTRIBUTES}}


def event_id(source: str, own: str) -> str:
    return with_data({}, source=source, id=own).event_id


def test_source_and_id_make_the_event_and_a_repetition_is_a_copy() -> None:
    assert event_id("/a", "1") == event_id("/a", "1")
    pairs = [("/a", "1"), ("/a", "2"), ("/b", "1"), ("/a|1", "2"), ("/a", "1|2"), ("/a", "x" * 70), ("/a" * 40, "1")]
    assert len({event_id(*pair) for pair in pairs}) == len(pairs)
    assert all(len(event_id(*pair)) <= MAX_EVENT_ID_CHARACTERS for pair in pairs)
    assert event_id("/a", "with space").isalnum()


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
@pytest.mark.parametrize("wrong", [None, "", 7])
def test_an_event_without_a_required_attribute_is_refused_and_it_is_named(name: str, wrong: object) -> None:
    refusal = refused({**EVENT, name: wrong})
    assert (refusal.code, name in refusal.message) == (Code.INVALID, True)


def test_a_request_that_is_no_event_is_refused() -> None:
    assert refused({**EVENT, "specversion": "0.3"}).code is Code.INVALID
    assert refused([EVENT]).code is Code.INVALID
    assert refused(EVENT, BATCH).code is Code.INVALID
    assert refused(EVENT, "application/json").code is Code.INVALID
    assert refused(b"{", STRUCTURED).code is Code.MALFORMED
    assert refused(b"", "application/cloudevents+avro").code is Code.UNSUPPORTED_MEDIA_TYPE


def test_a_wrong_event_of_a_batch_costs_no_other_and_the_batch_has_a_limit() -> None:
    outcomes = take([1, EVENT, {}], BATCH)
    assert [isinstance(one, Rejected) for one in outcomes] == [True, False, True]
    many = take([EVENT] * (MAX_EVENTS + 2), BATCH)
    assert [isinstance(one, Rejected) for one in many] == [False] * MAX_EVENTS + [True] * 2
    assert take([], BATCH) == []


@given(json_values, st.sampled_from([*EVENT, "data_base64"]), json_values)
def test_any_json_is_reports_or_a_refusal(event: object, name: str, part: object) -> None:
    with nothing_but_refusals(Code.INVALID):
        take(event)
    for one in take([event, {**EVENT, name: part}], BATCH):
        assert isinstance(one, Rejected) or one == bounded(one, received_at=RECEIVED_AT)


@given(st.binary(), st.text(max_size=20), st.dictionaries(st.sampled_from(list(HEADERS)), st.text(max_size=20)))
def test_any_request_in_binary_mode_is_a_report_or_a_refusal(
    body: bytes, content_type: str, headers: dict[str, str]
) -> None:
    with nothing_but_refusals(Code.INVALID, Code.UNSUPPORTED_MEDIA_TYPE):
        take(body, content_type, {**HEADERS, **headers})


SMALL = json.dumps({name: EVENT[name] for name in ("specversion", "id", "source", "type")}).encode()
HOSTILE = {
    "small events": (b"[" + (SMALL + b",") * (MEGABYTE // len(SMALL)) + b"{}]", BATCH),
    "no events": (b"[" + b"1," * (MEGABYTE // 2) + b"1]", BATCH),
    "attributes": (SMALL[:-1] + b"".join(b',"a%d":[]' % number for number in range(MEGABYTE // 12)) + b"}", STRUCTURED),
    "text": (b'"' * MEGABYTE, "text/plain"),
    "json": (b"[" * MEGABYTE, "application/json"),
    "long type": (b"{}", "a" * MEGABYTE),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_megabyte_is_cheap(name: str) -> None:
    body, content_type = HOSTILE[name]
    with nothing_but_refusals(Code.MALFORMED, Code.INVALID):
        read_cheaply(lambda: take(body, content_type, HEADERS))
