"""Any JSON: a field mapping says where things stand, little is refused, and nothing that was sent is lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.intake.cost import read_cheaply
from tests.intake.samples import MEGABYTE, RECEIVED_AT, json_values, new_ids, nothing_but_refusals, only
from tocsin.domain.field_mapping import FieldMapping, Path
from tocsin.domain.incident import Severity
from tocsin.domain.report import MAX_FINGERPRINT_PARTS, MAX_TAGS, ErrorReport, Signal, bounded, document
from tocsin.errors import Code, TocsinError
from tocsin.intake import Rejected
from tocsin.intake.field_mapping import (
    MAX_ALTERNATIVES,
    MAX_FIELDS,
    MAX_LITERAL_CHARACTERS,
    MAX_PATH_CHARACTERS,
    MAX_PATH_STEPS,
    MAX_WORDS,
    TEXT_FIELDS,
    parse_mapping,
)
from tocsin.intake.generic import GUESSED, MAX_ITEMS, parse_generic

MAPPING = {
    "items": "alerts",
    "fields": {
        "message": ["annotations.summary", "annotations.description"],
        "severity": ["labels.severity", {"value": "warning"}],
        "fingerprint": ["labels.alertname", ["labels.host", "host"]],
        "tags.region": "/labels/cloud.region",
        "service": "$.cluster",
        "signal": "status",
        "eventId": "ids.0",
        "context.graph": "links.graph",
    },
    "severities": {"P1": "critical"},
    "signals": {"over": "resolve", "seen": "acknowledge"},
}
ALERT: dict[str, Any] = {
    "annotations": {"summary": "disk full", "runbook": "https://wiki.example/disk"},
    "labels": {"alertname": "Disk", "host": "web-1", "severity": "p1", "cloud.region": "eu"},
    "status": "firing",
    "ids": ["e-1", "x"],
    "links": {"graph": {"url": "https://graph.example"}},
}
DOCUMENT = {"cluster": "blue", "version": 4, "alerts": [ALERT]}


def take(value: object, mapping: object = MAPPING) -> list[ErrorReport | Rejected]:
    rules = mapping if isinstance(mapping, FieldMapping) else parse_mapping(mapping)
    return parse_generic(json.dumps(value).encode(), rules, received_at=RECEIVED_AT, new_event_id=new_ids())


def guess(value: object) -> ErrorReport:
    return only(take(value, GUESSED))


def by_fields(value: object, **fields: object) -> ErrorReport:
    return only(take(value, {"fields": {"message": "m", **fields}}))


def problems(mapping: object) -> dict[str, str]:
    with pytest.raises(TocsinError) as refused:
        parse_mapping(mapping)
    assert refused.value.refusal.code is Code.INVALID
    errors = refused.value.refusal.details["errors"]
    assert isinstance(errors, list)
    return {error["field"]: error["problem"] for error in errors}


# ---- reading


def test_a_mapping_leads_every_part_to_its_field_and_the_rest_to_the_context() -> None:
    assert only(take(DOCUMENT)) == ErrorReport(
        event_id="e-1",
        severity=Severity.CRITICAL,
        error_type="",
        message="disk full",
        occurred_at=RECEIVED_AT,
        fingerprint=("Disk", "web-1"),
        service="blue",
        tags={"region": "eu"},
        context={
            "request": {"cluster": "blue", "version": 4},
            "graph": {"url": "https://graph.example"},
            "annotations": {"runbook": "https://wiki.example/disk"},
            "status": "firing",
            "ids": ["e-1", "x"],
        },
    )


@pytest.mark.parametrize("name", TEXT_FIELDS)
def test_every_text_field_can_be_mapped(name: str) -> None:
    report = only(take({"m": "m", "a": {"b": f"the {name}"}}, {"fields": {"message": {"value": "x"}, name: "a.b"}}))
    assert document(report)[name] == f"the {name}"
    assert report.context == {"m": "m"}


def test_a_stored_report_survives_a_mapping_to_its_own_names() -> None:
    report = guess({"message": "disk full", "service": "shop", "fingerprint": ["a", "b"], "x": {"y": 1}})
    names = {name: name for name in (*TEXT_FIELDS, "severity", "occurredAt", "fingerprint", "tags", "context")}
    assert only(take(document(report), {"fields": names})) == report


def test_a_signal_is_another_event_than_what_it_is_about() -> None:
    seen, over = (only(take({"alerts": [{**ALERT, "status": status}]})) for status in ("SEEN", "over"))
    assert (seen.signal, seen.event_id) == (Signal.ACKNOWLEDGE, "e-1-acknowledge")
    assert (over.signal, over.event_id) == (Signal.RESOLVE, "e-1-resolve")
    assert over.fingerprint == only(take(DOCUMENT)).fingerprint


def test_a_signal_needs_no_message() -> None:
    bare = only(take({"s": "resolved"}, {"fields": {"signal": "s"}}))
    assert (bare.signal, bare.message) == (Signal.RESOLVE, "")


@pytest.mark.parametrize(
    ("said", "severity"),
    [
        ("P1", Severity.CRITICAL),
        (" p1 ", Severity.CRITICAL),
        ("Warning", Severity.MEDIUM),
        (3, Severity.LOW),
        ("unheard of", Severity.HIGH),
        (None, Severity.HIGH),
        ({}, Severity.HIGH),
    ],
)
def test_a_severity_that_nobody_knows_is_high(said: object, severity: Severity) -> None:
    mapping = {"fields": {"message": "m", "severity": "s"}, "severities": {"P1": "fatal", "3": "info"}}
    assert only(take({"m": "x", "s": said}, mapping)).severity is severity


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"a": "first", "b": "second"}, "first"),
        ({"a": "", "b": "second"}, "second"),
        ({"a": None, "b": 2}, "2"),
        ({"a": {"x": 1}, "b": "second"}, "second"),
        ({"a": {"x": 1}}, '{"x": 1}'),
        ({}, "nothing said"),
    ],
)
def test_the_first_alternative_that_fits_counts(item: object, message: str) -> None:
    alternatives = ["a", "b", {"value": "nothing said"}] if item == {} else ["a", "b"]
    assert only(take(item, {"fields": {"message": alternatives}})).message == message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b", "dotted"),
        ("/a/b", "dotted"),
        ("/a.b", "with a dot"),
        ("/x~1y~0z", "escaped"),
        ("l.1.t", "second"),
        ("/l/1/t", "second"),
        ("/", "nameless"),
        ("l.2.t", ""),
        ("l.-1.t", ""),
        ("a.b.c", ""),
        ("l.99999999999999999999", ""),
    ],
)
def test_paths_are_dotted_or_json_pointers(path: str, value: str) -> None:
    item = {"m": "m", "a": {"b": "dotted"}, "a.b": "with a dot", "x/y~z": "escaped", "": "nameless"}
    listed = {**item, "l": [{"t": "first"}, {"t": "second"}]}
    assert by_fields(listed, service=path).service == value


def test_times_are_read_and_what_is_no_time_stays_in_the_context() -> None:
    assert by_fields({"m": "m", "t": "2026-12-01T10:00:00Z"}, occurredAt="t").occurred_at == datetime(
        2026, 12, 1, 10, tzinfo=UTC
    )
    unread = by_fields({"m": "m", "t": "yesterday"}, occurredAt="t")
    assert (unread.occurred_at, unread.context) == (RECEIVED_AT, {"t": "yesterday"})


def test_a_part_of_a_fingerprint_that_is_absent_keeps_its_place() -> None:
    rule = ["a", "b"]
    assert by_fields({"m": "m", "a": "x"}, fingerprint=rule).fingerprint == ("x", "")
    assert by_fields({"m": "m", "b": "x"}, fingerprint=rule).fingerprint == ("", "x")
    assert by_fields({"m": "m"}, fingerprint=rule).fingerprint == ()
    assert by_fields({"m": "m", "a": ["x", 1]}, fingerprint="a").fingerprint == ("x", "1")


def test_tags_are_an_object_or_single_texts() -> None:
    report = by_fields({"m": "m", "l": {"a": 1}, "b": "two"}, tags="l", **{"tags.b": "b"})
    assert (report.tags, report.context) == ({"a": "1", "b": "two"}, {})
    mixed = by_fields({"m": "m", "l": {"a": 1, "deep": {}}}, tags="l")
    assert (mixed.tags, mixed.context) == ({}, {"l": {"a": 1, "deep": {}}})
    many = by_fields({"m": "m", "l": dict.fromkeys(map(str, range(MAX_TAGS + 1)), 1)}, tags="l")
    assert many.tags == {}
    assert len(str(many.context)) > MAX_TAGS


def test_a_bare_document_is_guessed() -> None:
    report = guess({"level": "crit", "error": {"message": "no", "type": "E"}, "time": 1_796_120_000, "id": "rule-1"})
    assert report.title == "E: no"
    assert report.severity is Severity.CRITICAL
    assert report.occurred_at == datetime(2026, 12, 1, 10, 13, 20, tzinfo=UTC)
    assert (report.event_id, report.context) == ("new-1", {"id": "rule-1"})


# ---- items


def test_items_are_the_document_a_list_or_what_a_path_leads_to() -> None:
    rule = {"fields": {"message": "m"}}
    one = {"m": "x"}
    assert len(take(one, rule)) == 1
    assert len(take([one, one], rule)) == 2
    assert len(take({"a": {"b": [one, one, one]}}, {**rule, "items": "a.b"})) == 3
    assert len(take({"a": one}, {**rule, "items": "a"})) == 1
    assert take({"a": []}, {**rule, "items": "a"}) == []


def test_what_stands_beside_the_items_is_kept_once() -> None:
    both = take({**DOCUMENT, "alerts": [ALERT, {**ALERT, "ids": ["e-2"]}]})
    assert [isinstance(one, ErrorReport) and "request" in one.context for one in both] == [True, False]


def test_nothing_where_the_items_should_be_is_refused() -> None:
    empties: list[object] = [{}, {"alerts": None}, []]
    for document_without in empties:
        with pytest.raises(TocsinError) as refused:
            take(document_without)
        assert refused.value.refusal.code is Code.INVALID
        assert "alerts" in refused.value.refusal.message


def test_a_wrong_item_costs_no_other() -> None:
    outcomes = take({"alerts": [1, ALERT, {"labels": {}}]})
    assert [isinstance(one, Rejected) for one in outcomes] == [True, False, True]
    assert [one.index for one in outcomes if isinstance(one, Rejected)] == [0, 2]


def test_items_beyond_the_limit_are_rejected_one_by_one() -> None:
    outcomes = take([{"message": "x"}] * (MAX_ITEMS + 3), GUESSED)
    assert [isinstance(one, Rejected) for one in outcomes] == [False] * MAX_ITEMS + [True] * 3


# ---- mappings


@pytest.mark.parametrize(
    ("mapping", "field"),
    [
        ([], "mapping"),
        ({"fields": {}}, "fields"),
        ({"fields": {"severity": "a"}}, "fields"),
        ({"fields": {"message": "m", "servce": "s"}}, "fields.servce"),
        ({"fields": {"message": "m", "tags.": "s"}}, "fields.tags."),
        ({"fields": {"message": 1}}, "fields.message"),
        ({"fields": {"message": ""}}, "fields.message"),
        ({"fields": {"message": "a..b"}}, "fields.message"),
        ({"fields": {"message": "/a~2"}}, "fields.message"),
        ({"fields": {"message": "$.a"}}, "fields.message"),
        ({"fields": {"message": "m", "context.x": ["a", "$.a"]}}, "fields.context.x"),
        ({"fields": {"message": []}}, "fields.message"),
        ({"fields": {"message": ["m", 1]}}, "fields.message[1]"),
        ({"fields": {"message": {"value": []}}}, "fields.message.value"),
        ({"fields": {"message": {"value": "x" * (MAX_LITERAL_CHARACTERS + 1)}}}, "fields.message.value"),
        ({"fields": {"message": {"val": "x"}}}, "fields.message"),
        ({"fields": {"message": "x" * (MAX_PATH_CHARACTERS + 1)}}, "fields.message"),
        ({"fields": {"message": ".".join("x" * (MAX_PATH_STEPS + 1))}}, "fields.message"),
        ({"fields": {"message": ["x"] * (MAX_ALTERNATIVES + 1)}}, "fields.message"),
        ({"fields": {"message": "m", "fingerprint": []}}, "fields.fingerprint"),
        ({"fields": {"message": "m", "fingerprint": ["a"] * (MAX_FINGERPRINT_PARTS + 1)}}, "fields.fingerprint"),
        ({"fields": {"message": "m", "fingerprint": ["a", 1]}}, "fields.fingerprint[1]"),
        ({"fields": {f"context.{number}": "m" for number in range(MAX_FIELDS + 1)}}, "fields"),
        ({"fields": {"message": "m", **{f"tags.{n}": "m" for n in range(MAX_TAGS + 1)}}}, "fields"),
        ({"fields": {"message": "m"}, "items": "$.a"}, "items"),
        ({"fields": {"message": "m"}, "items": 1}, "items"),
        ({"fields": {"message": "m"}, "itms": "a"}, "itms"),
        ({"fields": {"message": "m"}, "severities": {"P1": "loud"}}, "severities.P1"),
        ({"fields": {"message": "m"}, "severities": ["P1"]}, "severities"),
        ({"fields": {"message": "m"}, "severities": {str(n): "low" for n in range(MAX_WORDS + 1)}}, "severities"),
        ({"fields": {"message": "m"}, "signals": {"done": "close"}}, "signals.done"),
    ],
)
def test_a_wrong_entry_of_a_mapping_is_named(mapping: object, field: str) -> None:
    assert list(problems(mapping)) == [field]


def test_every_wrong_entry_is_named_at_once() -> None:
    wrong = {"fields": {"message": 1, "nope": "a"}, "signals": {"x": "y"}}
    assert problems(wrong).keys() == {"fields.message", "fields.nope", "signals.x"}


def test_entries_at_the_limit_are_taken() -> None:
    long = ".".join("x" * MAX_PATH_STEPS)
    mapping = parse_mapping({"fields": {"message": [long] * MAX_ALTERNATIVES, "type": "x" * MAX_PATH_CHARACTERS}})
    assert mapping.fields["message"] == (Path(("x",) * MAX_PATH_STEPS),) * MAX_ALTERNATIVES


mappings = st.recursive(
    st.sampled_from(["a", "/a/0", "$.a", "resolve", "error", "message", ""]) | st.none() | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["items", "fields", "severities", "signals", "message", "tags", "fingerprint", "value", "type"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(mappings | json_values, json_values)
def test_any_mapping_is_read_or_refused_and_reads_any_json(rules: object, value: object) -> None:
    with nothing_but_refusals(Code.INVALID):
        mapping = parse_mapping(rules)
        for one in take(value, mapping):
            assert isinstance(one, Rejected) or one == bounded(one, received_at=RECEIVED_AT)


@given(json_values, st.dictionaries(st.sampled_from([*GUESSED.fields, "labels", "level"]), json_values, max_size=6))
def test_guessing_survives_any_json(value: object, item: dict[str, object]) -> None:
    for document_to_guess in (value, item):
        for one in take(document_to_guess, GUESSED):
            assert isinstance(one, Rejected) or one == bounded(one, received_at=RECEIVED_AT)


@given(st.binary())
def test_any_bytes_are_reports_or_a_refusal(body: bytes) -> None:
    with nothing_but_refusals(Code.MALFORMED, Code.INVALID):
        parse_generic(body, GUESSED, received_at=RECEIVED_AT, new_event_id=new_ids())


HOSTILE = {
    "empty items": b"[" + b"{}," * (MEGABYTE // 3) + b"{}]",
    "no items": b"[" + b"1," * (MEGABYTE // 2) + b"1]",
    "small items": b"[" + b'{"m":1,"message":1},' * (MEGABYTE // 20) + b"{}]",
    "large items": b"[" + b",".join([b'{"message":{"a":[' + b"1," * 480 + b"1]}}"] * 1_000) + b"]",
    "one large message": b'{"message":[' + b"{}," * (MEGABYTE // 3) + b"{}]}",
    "many members": b"{" + b",".join(b'"%d":{"a":1}' % number for number in range(MEGABYTE // 14)) + b"}",
    "deep": b'{"message":' + b'{"a":' * 60 + b"1" + b"}" * 61,
}
WIDE = parse_mapping(
    {
        "fields": {
            "message": [f"message.{number}" for number in range(7)] + ["message"],
            **{f"tags.{number}": [f"a.{number}.{other}" for other in range(8)] for number in range(MAX_TAGS)},
            **{f"context.{number}": ["m", "message.a"] for number in range(10)},
        }
    }
)


@pytest.mark.slow
@pytest.mark.parametrize("mapping", [GUESSED, WIDE], ids=["guessed", "wide"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_megabyte_is_cheap(name: str, mapping: FieldMapping) -> None:
    with nothing_but_refusals(Code.MALFORMED, Code.INVALID):
        read_cheaply(lambda: parse_generic(HOSTILE[name], mapping, received_at=RECEIVED_AT, new_event_id=new_ids()))
