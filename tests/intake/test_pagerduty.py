"""PagerDuty's events: what it requires is required, what it answers is answered, and a key never ends in a report."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.intake.samples import KEY, RECEIVED_AT, json_values, new_ids, nothing_but_refusals
from tocsin.domain.fingerprint import fingerprint
from tocsin.domain.incident import Severity
from tocsin.domain.report import ErrorReport, Signal, document
from tocsin.errors import Code, Refusal, TocsinError
from tocsin.intake.pagerduty import MAX_DEDUP_KEY_CHARACTERS, Enqueued, accepted, invalid, parse_enqueue

PAYLOAD = {
    "summary": "The database does not answer",
    "source": "db-1.example.org",
    "severity": "critical",
    "timestamp": "2026-12-01T11:59:00.000+0000",
    "component": "postgresql",
    "group": "shop",
    "class": "ping failure",
    "custom_details": {"ping": "1500 ms"},
}
TRIGGER: dict[str, object] = {
    "routing_key": KEY,
    "event_action": "trigger",
    "dedup_key": "db-1/ping",
    "payload": PAYLOAD,
    "client": "Monitoring",
    "client_url": "https://monitoring.example.org",
    "links": [{"href": "https://example.org/1", "text": "graph"}],
    "images": [{"src": "https://example.org/1.png"}],
}
LEAST = {
    "routing_key": KEY,
    "event_action": "trigger",
    "payload": {"summary": "full", "source": "db-1", "severity": "error"},
}


def take(value: object) -> Enqueued:
    return parse_enqueue(json.dumps(value).encode(), received_at=RECEIVED_AT, new_event_id=new_ids())


def answer(value: object) -> dict[str, object]:
    with pytest.raises(TocsinError) as error:
        take(value)
    assert error.value.refusal.code is Code.INVALID
    return invalid(error.value.refusal)


def errors(value: object) -> object:
    return answer(value)["errors"]


def with_severity(severity: object) -> ErrorReport:
    return take({**TRIGGER, "payload": {**PAYLOAD, "severity": severity}}).report


def test_a_trigger_becomes_a_report() -> None:
    assert take(TRIGGER) == Enqueued(
        routing_key=KEY,
        dedup_key="db-1/ping",
        report=ErrorReport(
            event_id="new-1",
            severity=Severity.CRITICAL,
            error_type="ping failure",
            message="The database does not answer",
            occurred_at=datetime(2026, 12, 1, 11, 59, tzinfo=UTC),
            fingerprint=("pagerduty", "db-1/ping"),
            service="postgresql",
            server_name="db-1.example.org",
            tags={
                "source": "db-1.example.org",
                "component": "postgresql",
                "group": "shop",
                "class": "ping failure",
            },
            context={
                "dedup_key": "db-1/ping",
                "client": "Monitoring",
                "client_url": "https://monitoring.example.org",
                "links": [{"href": "https://example.org/1", "text": "graph"}],
                "images": [{"src": "https://example.org/1.png"}],
                "custom_details": {"ping": "1500 ms"},
            },
        ),
    )


def test_a_trigger_without_a_dedup_key_gets_one() -> None:
    for blank in ({}, {"dedup_key": None}, {"dedup_key": ""}, {"dedup_key": "  "}):
        taken = take({**LEAST, **blank})
        assert (taken.dedup_key, taken.report.event_id) == ("new-1", "new-2")
        assert taken.report.fingerprint == ("pagerduty", "new-1")


def test_every_trigger_is_an_event_of_its_own_and_all_of_a_key_are_one_failure() -> None:
    ids = new_ids()
    body = json.dumps(TRIGGER).encode()
    first, second = (parse_enqueue(body, received_at=RECEIVED_AT, new_event_id=ids).report for _ in range(2))
    assert first.event_id != second.event_id
    assert fingerprint(first) == fingerprint(second)


@pytest.mark.parametrize(
    ("action", "signal"),
    [("acknowledge", Signal.ACKNOWLEDGE), ("resolve", Signal.RESOLVE), ("Resolve", Signal.RESOLVE)],
)
def test_a_word_about_a_failure_needs_no_more_than_its_key(action: str, signal: Signal) -> None:
    report = take({"routing_key": KEY, "event_action": action, "dedup_key": "db-1/ping"}).report
    assert report.signal is signal
    assert report.severity is Severity.LOW
    assert report.message == "db-1/ping"
    assert report.occurred_at == RECEIVED_AT
    assert fingerprint(report) == fingerprint(take(TRIGGER).report)


def test_a_word_about_a_failure_may_come_with_the_whole_payload() -> None:
    report = take({**TRIGGER, "event_action": "resolve"}).report
    assert (report.severity, report.title) == (Severity.CRITICAL, "ping failure: The database does not answer")


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        ("critical", Severity.CRITICAL),
        ("error", Severity.HIGH),
        ("warning", Severity.MEDIUM),
        ("info", Severity.LOW),
        ("Critical", Severity.CRITICAL),
    ],
)
def test_severities_are_pagerdutys(name: str, severity: Severity) -> None:
    assert with_severity(name).severity is severity


@pytest.mark.parametrize("severity", ["", "none", None, {}])
def test_a_severity_that_pagerduty_refuses_costs_nobody_the_alert(severity: object) -> None:
    report = with_severity(severity)
    assert report.severity is Severity.HIGH
    assert report.context["unreadable"] == [
        {"field": "payload.severity", "problem": "must be one of critical, error, warning, info: taken as HIGH"}
    ]


def test_every_part_that_is_required_is_named_at_once() -> None:
    assert answer({}) == {
        "status": "invalid event",
        "message": "Event object is invalid",
        "errors": [
            "'routing_key' is of incorrect length (should be 32 characters)",
            "'event_action' is invalid (must be one of the following: 'trigger', 'acknowledge', 'resolve')",
            "'dedup_key' is missing or blank",
        ],
    }
    assert errors({**LEAST, "payload": {}}) == [
        "'payload.summary' is missing or blank",
        "'payload.source' is missing or blank",
    ]
    assert errors({**LEAST, "payload": {"summary": " ", "source": "db-1"}}) == ["'payload.summary' is missing or blank"]


@pytest.mark.parametrize("key", [None, "", KEY[:-1], KEY + "0", f"{KEY[:-1]} ", f"{KEY[:-1]}é", 7, [KEY]])
def test_a_routing_key_has_32_characters(key: object) -> None:
    named = errors({**LEAST, "routing_key": key})
    assert isinstance(named, list)
    assert "'routing_key' is of incorrect length (should be 32 characters)" in named


def test_a_dedup_key_ends_at_its_limit() -> None:
    longest = "k" * MAX_DEDUP_KEY_CHARACTERS
    assert take({**TRIGGER, "dedup_key": longest}).dedup_key == longest
    assert errors({**TRIGGER, "dedup_key": longest + "k"}) == [
        "'dedup_key' is too long (should be at most 255 characters)"
    ]


def test_a_dedup_key_of_a_wrong_kind_is_no_missing_one() -> None:
    assert errors({**TRIGGER, "dedup_key": ["a"]}) == ["'dedup_key' must be text, not a list"]
    assert take({**TRIGGER, "dedup_key": 17}).dedup_key == "17"


@pytest.mark.parametrize(
    ("one", "other"), [("k" * 254 + "1", "k" * 254 + "2"), ("{{ default }}", "{{default}}"), ("a\nb", "a b")]
)
def test_different_keys_are_different_failures(one: str, other: str) -> None:
    reports = [take({**TRIGGER, "dedup_key": key}).report for key in (one, other)]
    assert fingerprint(reports[0]) != fingerprint(reports[1])


def test_a_key_that_looks_like_a_placeholder_still_finds_its_failure() -> None:
    key = {"dedup_key": "{{ default }}"}
    resolved = take({"routing_key": KEY, "event_action": "resolve", **key}).report
    assert fingerprint(resolved) == fingerprint(take({**TRIGGER, **key}).report)


@pytest.mark.parametrize("value", [None, 3, [], "text"])
def test_what_is_no_object_is_invalid(value: object) -> None:
    assert errors(value) == ["The event must be an object"]


def test_the_answer_to_what_is_no_json_names_the_place() -> None:
    with pytest.raises(TocsinError) as error:
        parse_enqueue(b'{"routing_key"', received_at=RECEIVED_AT, new_event_id=new_ids())
    refusal = error.value.refusal
    assert refusal.code is Code.MALFORMED
    assert invalid(refusal)["errors"] == [refusal.message]


def test_a_refusal_from_elsewhere_is_answered_in_the_same_form() -> None:
    assert invalid(Refusal(Code.UNAUTHORIZED, "No project has this key."))["errors"] == ["No project has this key."]


def test_the_answer_to_an_accepted_event_names_its_key() -> None:
    assert accepted("db-1/ping") == {"status": "success", "message": "Event processed", "dedup_key": "db-1/ping"}


def test_details_of_any_kind_are_kept_and_a_wrong_one_costs_nobody_the_alert() -> None:
    odd = {**PAYLOAD, "custom_details": "a text", "timestamp": "soon", "component": [], "group": "shop"}
    report = take({**TRIGGER, "payload": odd, "links": None, "images": "none"}).report
    assert report.context["custom_details"] == "a text"
    assert (report.occurred_at, report.service) == (RECEIVED_AT, "shop")


events = st.builds(
    lambda changes, payload: {**TRIGGER, **changes, **({"payload": {**PAYLOAD, **payload}} if payload else {})},
    st.dictionaries(st.sampled_from([*TRIGGER, "x"]), json_values),
    st.dictionaries(st.sampled_from(sorted(PAYLOAD)), json_values),
)


@given(json_values | events)
def test_any_event_is_taken_or_refused_and_its_routing_key_is_not_kept(value: object) -> None:
    with nothing_but_refusals(Code.INVALID):
        taken = take(value)
        stored = json.dumps(document(taken.report), allow_nan=False).encode()
        assert taken.routing_key.encode() not in stored
        assert json.dumps(accepted(taken.dedup_key), ensure_ascii=False).encode()
