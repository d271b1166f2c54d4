"""Grafana's webhook: Alertmanager's alerts with Grafana's links, as a failure of their own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given

from tests.intake.samples import RECEIVED_AT, json_values, new_ids, nothing_but_refusals, only
from tocsin.domain.incident import Severity
from tocsin.domain.report import MAX_NAME_CHARACTERS, ErrorReport, Signal, bounded
from tocsin.errors import Code, TocsinError
from tocsin.intake import Rejected, alertmanager
from tocsin.intake.grafana import parse_webhook

ALERT: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "High memory usage", "grafana_folder": "shop", "team": "blue", "severity": "warning"},
    "annotations": {"summary": "The system has high memory usage", "runbook_url": "https://wiki.example/memory"},
    "startsAt": "2026-12-01T11:30:00.000+00:00",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "https://grafana.example/alerting/1afz29v7z/edit",
    "fingerprint": "c6eadffa33fcdf37",
    "silenceURL": "https://grafana.example/alerting/silence/new?matchers=alertname%3DT2",
    "dashboardURL": "https://grafana.example/d/abc",
    "panelURL": "https://grafana.example/d/abc?viewPanel=1",
    "imageURL": "https://grafana.example/image.png",
    "values": {"B": 44.23943737541908, "C": 1},
    "valueString": "[ var='B' labels={} value=44.23 ]",
}
NOTIFICATION: dict[str, Any] = {
    "receiver": "Tocsin",
    "status": "firing",
    "alerts": [ALERT],
    "groupLabels": {},
    "commonLabels": {"team": "blue"},
    "commonAnnotations": {},
    "externalURL": "https://grafana.example/",
    "version": "1",
    "groupKey": '{}:{alertname="High memory usage"}',
    "truncatedAlerts": 0,
    "orgId": 1,
    "title": "[FIRING:1]  (High memory usage blue)",
    "state": "alerting",
    "message": "**Firing**\n\nLabels:\n - alertname = High memory usage\n",
}


def take(notification: object) -> list[ErrorReport | Rejected]:
    return parse_webhook(json.dumps(notification).encode(), received_at=RECEIVED_AT, new_event_id=new_ids())


def test_an_alert_arrives_with_everything_that_grafana_adds() -> None:
    report = only(take(NOTIFICATION))
    assert report.title == "High memory usage: The system has high memory usage"
    assert (report.severity, report.service, report.signal) == (Severity.MEDIUM, "shop", None)
    assert report.fingerprint == ("grafana", "c6eadffa33fcdf37")
    assert report.occurred_at == datetime(2026, 12, 1, 11, 30, tzinfo=UTC)
    added = ["silenceURL", "dashboardURL", "panelURL", "imageURL", "values", "valueString", "generatorURL"]
    assert {name: report.context.get(name) for name in added} == {name: ALERT[name] for name in added}
    grafana = report.context["grafana"]
    assert isinstance(grafana, dict)
    assert grafana["orgId"] == "1"
    assert (grafana["title"], grafana["state"]) == (NOTIFICATION["title"], "alerting")
    assert (grafana["receiver"], grafana["externalURL"]) == ("Tocsin", "https://grafana.example/")
    assert "alertmanager" not in report.context


def test_a_resolved_alert_is_a_signal_about_the_same_failure_and_no_copy_of_it() -> None:
    firing = only(take(NOTIFICATION))
    over = {**ALERT, "status": "resolved", "endsAt": "2026-12-01T11:59:00Z"}
    resolved = only(take({**NOTIFICATION, "status": "resolved", "alerts": [over]}))
    assert resolved.signal is Signal.RESOLVE
    assert resolved.fingerprint == firing.fingerprint
    assert resolved.event_id != firing.event_id


def test_a_repeated_notification_is_a_copy_and_a_new_firing_is_not() -> None:
    first, again = only(take(NOTIFICATION)), only(take({**NOTIFICATION, "title": "[FIRING:1] again"}))
    later = only(take({**NOTIFICATION, "alerts": [{**ALERT, "startsAt": "2026-12-01T11:45:00Z"}]}))
    assert first.event_id == again.event_id != later.event_id


def test_it_is_another_failure_than_the_same_alert_of_a_prometheus() -> None:
    (other,) = alertmanager.parse_webhook(
        json.dumps(NOTIFICATION).encode(), received_at=RECEIVED_AT, new_event_id=new_ids()
    )
    assert isinstance(other, ErrorReport)
    assert other.fingerprint != only(take(NOTIFICATION)).fingerprint


def test_a_label_names_the_service_before_the_folder_does() -> None:
    labelled = {**ALERT, "labels": {**ALERT["labels"], "service": "checkout"}}
    assert only(take({**NOTIFICATION, "alerts": [labelled]})).service == "checkout"


def test_a_wrong_alert_costs_no_other_and_a_long_title_is_cut() -> None:
    outcomes = take({**NOTIFICATION, "alerts": [1, ALERT], "title": "x" * 10_000})
    assert isinstance(outcomes[0], Rejected)
    assert isinstance(outcomes[1], ErrorReport)
    grafana = outcomes[1].context["grafana"]
    assert isinstance(grafana, dict)
    assert len(grafana["title"]) == MAX_NAME_CHARACTERS


def test_alerts_that_grafana_left_out_are_still_counted() -> None:
    report = only(take({**NOTIFICATION, "truncatedAlerts": 7}))
    assert report.context["tocsin"] == {"leftOut": {"alerts": 7}}


@pytest.mark.parametrize("body", [[], {}, {"alerts": {}}, "text", None])
def test_what_is_no_notification_is_refused(body: object) -> None:
    with pytest.raises(TocsinError) as refused:
        take(body)
    assert refused.value.refusal.code is Code.INVALID


@given(json_values, json_values)
def test_any_json_is_reports_or_a_refusal(alert: object, part: object) -> None:
    with nothing_but_refusals(Code.INVALID):
        take(alert)
    members = dict.fromkeys(ALERT, part)
    for one in take(
        {**NOTIFICATION, "orgId": part, "title": part, "alerts": [alert, members, {**ALERT, "values": part}]}
    ):
        assert isinstance(one, Rejected) or one == bounded(one, received_at=RECEIVED_AT)
