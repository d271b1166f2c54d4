"""Alerts: one failure whichever way they come, one event for each firing, and nothing refused for a detail."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.intake.cost import read_cheaply
from tests.intake.samples import MEGABYTE, RECEIVED_AT, json_values, new_ids, nothing_but_refusals, only
from tocsin.domain.fingerprint import fingerprint
from tocsin.domain.incident import Severity
from tocsin.domain.report import MAX_TAGS, ErrorReport, Signal, document
from tocsin.errors import Code, TocsinError
from tocsin.intake import Rejected
from tocsin.intake.alertmanager import MAX_ALERTS, label_fingerprint, parse_alerts, parse_webhook

LABELS = {"alertname": "DiskFull", "instance": "db-1:9100", "job": "node", "severity": "critical"}
FINGERPRINT = label_fingerprint(LABELS)
STARTS_AT = "2026-12-01T11:58:00.123Z"
STARTED = datetime(2026, 12, 1, 11, 58, 0, 123_000, tzinfo=UTC)
UNSET = "0001-01-01T00:00:00Z"
FIRING: dict[str, object] = {
    "status": "firing",
    "labels": LABELS,
    "annotations": {"summary": "The disk of db-1 is full", "runbook_url": "https://runbooks.example.org/disk"},
    "startsAt": STARTS_AT,
    "endsAt": UNSET,
    "generatorURL": "http://prometheus.example.org/graph?g0.expr=up",
    "fingerprint": FINGERPRINT,
}
RESOLVED = {**FIRING, "status": "resolved", "endsAt": "2026-12-01T11:59:30.123Z"}
# What Prometheus sends of the same alert.
POSTED = {
    **{key: value for key, value in FIRING.items() if key not in ("status", "fingerprint")},
    "endsAt": "2026-12-01T12:04:00Z",
}


def notification(*alerts: object, **parts: object) -> bytes:
    whole = {
        "version": "4",
        "groupKey": '{}:{alertname="DiskFull"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "tocsin",
        "groupLabels": {"alertname": "DiskFull"},
        "commonLabels": LABELS,
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example.org",
        "alerts": list(alerts),
    }
    return json.dumps({**whole, **parts}).encode()


def notified(*alerts: object, **parts: object) -> list[ErrorReport | Rejected]:
    return parse_webhook(notification(*alerts, **parts), received_at=RECEIVED_AT, new_event_id=new_ids())


def posted(*alerts: object) -> list[ErrorReport | Rejected]:
    return parse_alerts(json.dumps(alerts).encode(), received_at=RECEIVED_AT, new_event_id=new_ids())


def labelled(**labels: str) -> ErrorReport:
    return only(posted({"labels": {"alertname": "DiskFull", **labels}}))


def test_a_firing_alert_becomes_a_report() -> None:
    assert only(notified(FIRING)) == ErrorReport(
        event_id=f"{FINGERPRINT}-1796126280123",
        severity=Severity.CRITICAL,
        error_type="DiskFull",
        message="The disk of db-1 is full",
        occurred_at=STARTED,
        fingerprint=("alertmanager", FINGERPRINT),
        service="node",
        server_name="db-1:9100",
        tags=LABELS,
        context={
            "startsAt": "2026-12-01T11:58:00.123000+00:00",
            "alertmanager": {
                "receiver": "tocsin",
                "groupKey": '{}:{alertname="DiskFull"}',
                "externalURL": "http://alertmanager.example.org",
            },
            "annotations": FIRING["annotations"],
            "generatorURL": "http://prometheus.example.org/graph?g0.expr=up",
        },
    )


def test_a_repeated_notification_is_the_same_event_and_a_new_firing_another() -> None:
    again = {**FIRING, "annotations": {"summary": "97 % by now"}}
    later = {**FIRING, "startsAt": "2026-12-01T11:59:00Z"}
    first, repeated, new = (only(notified(alert)) for alert in (FIRING, again, later))
    assert first.event_id == repeated.event_id != new.event_id
    assert fingerprint(first) == fingerprint(repeated) == fingerprint(new)


def test_a_resolved_alert_is_another_event_of_the_same_failure() -> None:
    firing, resolved = notified(FIRING, RESOLVED)
    assert isinstance(firing, ErrorReport)
    assert isinstance(resolved, ErrorReport)
    assert resolved.signal is Signal.RESOLVE
    assert resolved.event_id == f"{firing.event_id}-resolved"
    assert resolved.occurred_at == datetime(2026, 12, 1, 11, 59, 30, 123_000, tzinfo=UTC)
    assert resolved.context["endsAt"] == "2026-12-01T11:59:30.123000+00:00"
    assert fingerprint(resolved) == fingerprint(firing)


def test_an_alert_is_the_same_event_whichever_way_it_comes() -> None:
    by_webhook, by_prometheus = only(notified(FIRING)), only(posted(POSTED))
    assert by_prometheus.event_id == by_webhook.event_id
    assert by_prometheus.fingerprint == by_webhook.fingerprint
    over = only(posted({**POSTED, "endsAt": "2026-12-01T11:59:30.123Z"}))
    assert (over.event_id, over.signal) == (only(notified(RESOLVED)).event_id, Signal.RESOLVE)


def test_what_prometheus_sends_expires_and_what_alertmanager_sends_does_not() -> None:
    assert only(posted(POSTED)).expires_at == datetime(2026, 12, 1, 12, 4, tzinfo=UTC)
    assert only(posted({**POSTED, "endsAt": UNSET})).expires_at is None
    assert only(notified({**FIRING, "endsAt": "2026-12-01T12:04:00Z"})).expires_at is None


def test_an_alert_is_over_at_its_end_and_not_before() -> None:
    at_the_end = only(posted({**POSTED, "endsAt": RECEIVED_AT.isoformat()}))
    just_ahead = only(posted({**POSTED, "endsAt": (RECEIVED_AT + timedelta(microseconds=1)).isoformat()}))
    assert (at_the_end.signal, at_the_end.expires_at) == (Signal.RESOLVE, None)
    assert (just_ahead.signal, just_ahead.expires_at) == (None, RECEIVED_AT + timedelta(microseconds=1))


@pytest.mark.parametrize("starts_at", [UNSET, None, "", "soon"])
def test_an_alert_without_a_beginning_begins_when_it_arrives(starts_at: object) -> None:
    report = only(notified({**FIRING, "startsAt": starts_at}))
    assert report.occurred_at == RECEIVED_AT
    assert report.event_id == f"{FINGERPRINT}-new-1", "nobody can tell its copies from its repetitions"


def test_an_end_without_a_beginning_began_there() -> None:
    over = {"labels": LABELS, "endsAt": "2026-12-01T11:00:00Z"}
    assert only(posted(over)).event_id == only(posted({**over, "startsAt": over["endsAt"]})).event_id


@pytest.mark.parametrize(
    ("word", "severity"),
    [
        ("critical", Severity.CRITICAL),
        ("emergency", Severity.CRITICAL),
        ("Error", Severity.HIGH),
        ("page", Severity.HIGH),
        ("warning", Severity.MEDIUM),
        ("ticket", Severity.MEDIUM),
        (" info ", Severity.LOW),
        ("none", Severity.LOW),
        ("sev1", Severity.HIGH),
        ("", Severity.HIGH),
    ],
)
def test_the_label_severity_says_how_bad_it_is(word: str, severity: Severity) -> None:
    assert labelled(severity=word).severity is severity


def test_an_alert_without_a_severity_is_high() -> None:
    assert labelled().severity is Severity.HIGH


def test_service_and_environment_come_from_the_labels_that_people_use() -> None:
    assert labelled(job="node", service="shop", env="test", environment="prod").service == "shop"
    assert labelled(env="test", environment="prod").environment == "prod"
    assert labelled(env="test").environment == "test"


@pytest.mark.parametrize("key", ["summary", "description", "message"])
def test_the_message_is_the_annotation_that_people_use(key: str) -> None:
    assert only(posted({"labels": LABELS, "annotations": {"z": "no", key: "full"}})).title == "DiskFull: full"


def test_an_alert_without_a_name_is_named_by_its_labels() -> None:
    assert only(posted({"labels": {"job": "node", "up": "0"}})).title == '{job="node", up="0"}'


@pytest.mark.parametrize(
    ("labels", "known"),
    [
        # What Alertmanager 0.25 answered at GET /api/v2/alerts.
        ({"alertname": "DiskFull"}, "744e61ca074bea90"),
        (LABELS, "8c77d5865e910658"),
        ({"alertname": "Übel", "a": "ж", "ma": "😀"}, "60bf3666dcc1abba"),
    ],
)
def test_the_fingerprint_is_that_of_alertmanager(labels: dict[str, str], known: str) -> None:
    assert label_fingerprint(labels) == known


@given(st.dictionaries(st.text(st.characters()), st.text(st.characters())))
def test_the_fingerprint_is_fnv_1a_over_the_bytes_one_by_one(labels: dict[str, str]) -> None:
    value = 0xCBF29CE484222325
    for text in (text for label in sorted(labels.items()) for text in label):
        for byte in text.encode("utf-8", "surrogatepass") + b"\xff":
            value = (value ^ byte) * 0x100000001B3 % 2**64
    assert label_fingerprint(labels) == f"{value:016x}"


def test_the_order_of_labels_and_empty_ones_do_not_change_the_failure() -> None:
    turned = dict(reversed(LABELS.items()))
    assert only(posted({"labels": {**turned, "zone": ""}})).fingerprint == ("alertmanager", FINGERPRINT)


@pytest.mark.parametrize("given", ["", "not one", "A" * 16, "a" * 17, 7, None])
def test_a_fingerprint_that_is_not_alertmanagers_is_computed(given: object) -> None:
    assert only(notified({**FIRING, "fingerprint": given})).fingerprint == ("alertmanager", FINGERPRINT)


def test_a_wrong_alert_stands_beside_the_others() -> None:
    first, *wrong, last = notified(FIRING, None, {"labels": {}}, {"labels": "none"}, {}, RESOLVED)
    assert isinstance(first, ErrorReport)
    assert isinstance(last, ErrorReport)
    assert wrong == [
        Rejected(1, "An alert must be a JSON object."),
        *(Rejected(index, "An alert must have labels.") for index in (2, 3, 4)),
    ]


def test_an_unreadable_part_is_named_and_costs_nobody_the_alert() -> None:
    report = only(posted({"labels": {**LABELS, "odd": {}}, "annotations": [], "startsAt": "soon"}))
    assert report.tags == LABELS
    assert report.context["unreadable"] == [
        {"field": "labels.odd", "problem": "must be text, not an object"},
        {"field": "annotations", "problem": "must be an object, not a list"},
        {"field": "startsAt", "problem": "must be an RFC 3339 timestamp or seconds since 1970"},
    ]


def test_fields_that_nobody_knows_are_kept() -> None:
    panel = "http://grafana.example.org/d/1?viewPanel=2"
    assert only(notified({**FIRING, "panelURL": panel})).context["panelURL"] == panel


def test_alerts_that_alertmanager_left_out_are_counted_once() -> None:
    wrong, first, second = notified({}, FIRING, RESOLVED, truncatedAlerts=7)
    assert isinstance(wrong, Rejected)
    assert isinstance(first, ErrorReport)
    assert isinstance(second, ErrorReport)
    assert first.context["tocsin"] == {"leftOut": {"alerts": 7}}
    assert "tocsin" not in second.context


def test_the_alerts_beyond_the_limit_are_counted_and_cost_nobody_the_others() -> None:
    assert len(notified(*[FIRING] * MAX_ALERTS)) == MAX_ALERTS
    *taken, beyond = notified(*[FIRING] * (MAX_ALERTS + 2), truncatedAlerts=3)
    assert len(taken) == MAX_ALERTS
    assert isinstance(taken[0], ErrorReport)
    assert taken[0].context["tocsin"] == {"leftOut": {"alerts": 5}}
    assert beyond == Rejected(MAX_ALERTS, "2 alerts beyond 1,000 in one request: group_by more labels.", 2)


def test_labels_beyond_the_tags_still_tell_failures_apart() -> None:
    many = {f"l{number:03}": "x" for number in range(MAX_TAGS + 1)}
    first, second = (only(posted({"labels": {**many, f"l{MAX_TAGS:03}": last}})) for last in "ab")
    assert len(first.tags) == MAX_TAGS
    assert first.context["tocsin"] == {"leftOut": {"tags": 1}}
    assert fingerprint(first) != fingerprint(second)


def test_no_alert_at_all_is_no_report() -> None:
    assert posted() == notified() == []


@pytest.mark.parametrize("body", [b"{}", b"[]", b"3", b'{"alerts": {}}'])
def test_what_is_no_notification_is_invalid(body: bytes) -> None:
    with pytest.raises(TocsinError) as error:
        parse_webhook(body, received_at=RECEIVED_AT, new_event_id=new_ids())
    assert error.value.refusal.code is Code.INVALID


@pytest.mark.parametrize("body", [b"{}", b'"text"', b"null"])
def test_what_is_no_array_is_invalid(body: bytes) -> None:
    with pytest.raises(TocsinError) as error:
        parse_alerts(body, received_at=RECEIVED_AT, new_event_id=new_ids())
    assert error.value.refusal.code is Code.INVALID


def test_a_truncated_body_is_malformed() -> None:
    with pytest.raises(TocsinError) as error:
        parse_webhook(notification(FIRING)[:-1], received_at=RECEIVED_AT, new_event_id=new_ids())
    assert error.value.refusal.code is Code.MALFORMED


@pytest.mark.parametrize(
    "unit",
    [
        '{"labels":{"a":"b"}}',
        '{"labels":{"a":"' + "x" * 500_000 + '"}}',
        '{"labels":{"a":"b"},"annotations":{"b":[0]}}',
        '{"labels":{' + ",".join(f'"a{number}":"b"' for number in range(90)) + "}}",
    ],
    ids=["many alerts", "long labels", "wrong annotations", "many labels"],
)
def test_a_hostile_megabyte_is_cheap(unit: str) -> None:
    body = f"[{','.join([unit] * (MEGABYTE // len(unit)))}]".encode()
    taken = read_cheaply(lambda: parse_alerts(body, received_at=RECEIVED_AT, new_event_id=new_ids()))
    assert len(taken) <= MAX_ALERTS + 1


alerts = (
    json_values
    | st.dictionaries(st.sampled_from(["status", *POSTED]), json_values)
    | st.builds(lambda changes: {**FIRING, **changes}, st.dictionaries(st.sampled_from(sorted(FIRING)), json_values))
)


@given(st.lists(alerts, max_size=3))
def test_any_alerts_are_reports_or_refused_one_by_one(values: list[object]) -> None:
    for items in (posted(*values), notified(*values)):
        assert len(items) == len(values)
        for item in items:
            if isinstance(item, ErrorReport):
                assert 1 <= len(item.event_id) <= 64
                assert item.event_id.isprintable()
                json.dumps(document(item), allow_nan=False).encode()


@given(json_values)
def test_any_document_is_taken_or_refused(value: object) -> None:
    body = json.dumps(value).encode()
    for parse in (parse_webhook, parse_alerts):
        with nothing_but_refusals(Code.INVALID):
            parse(body, received_at=RECEIVED_AT, new_event_id=new_ids())
