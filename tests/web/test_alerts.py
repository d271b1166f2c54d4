"""Alerts: each sender gets the answer that it knows, and what another system says moves no incident."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import INTAKE_KEY
from tests.support.cases import cases
from tests.support.clock import START
from tests.web.conftest import Answer, Live, rows
from tocsin.domain.report import MAX_REPORT_BYTES
from tocsin.errors import Code, refuse
from tocsin.intake.alertmanager import MAX_ALERTS

pytestmark = pytest.mark.anyio

LABELS = {"alertname": "DiskFull", "instance": "db-1", "severity": "critical"}
UNSET = "0001-01-01T00:00:00Z"
FIRING = {
    "status": "firing",
    "labels": LABELS,
    "annotations": {"summary": "The disk of db-1 is full"},
    "startsAt": "2026-01-01T00:00:00.123Z",
    "endsAt": UNSET,
}
RESOLVED = FIRING | {"status": "resolved", "endsAt": "2026-01-01T00:10:00Z"}
# What Prometheus sends of the same alert, and Alertmanager's clients.
POSTED = {key: value for key, value in FIRING.items() if key != "status"} | {
    "endsAt": (START + timedelta(minutes=4)).isoformat()
}
TRIGGER: dict[str, Any] = {
    "routing_key": INTAKE_KEY,
    "event_action": "trigger",
    "dedup_key": "db-1/disk",
    "payload": {"summary": "The disk is full", "source": "db-1", "severity": "critical"},
}
OUTCOMES = b"SELECT measure, sum(quantity)::bigint FROM intake_ledger WHERE measure <> 'received' GROUP BY 1 ORDER BY 1"
EXPIRY = b"SELECT due_at FROM jobs WHERE kind = 'expire-alert'"


async def _notify(live: Live, *alerts: object, sender: str = "alertmanager") -> Answer:
    return await live.call("POST", f"/api/v1/{sender}", token=INTAKE_KEY, json={"version": "4", "alerts": alerts})


async def _post(live: Live, *alerts: object) -> Answer:
    return await live.call("POST", "/api/v2/alerts", token=INTAKE_KEY, json=list(alerts))


async def _enqueue(live: Live, event: object) -> Answer:
    return await live.call("POST", "/v2/enqueue", json=event)


async def _only_incident(live: Live) -> tuple[dict[str, Any], list[str]]:
    """Return the one incident, and the kinds of its entries."""
    (one,) = (await live.get("/api/incidents")).json["incidents"]
    detail = (await live.get(f"/api/incidents/{one['number']}")).json
    return detail["incident"], [entry["eventType"] for entry in detail["timeline"]]


async def test_what_fires_is_an_incident_and_what_resolves_is_noted_in_its_timeline(live: Live) -> None:
    fired = await _notify(live, FIRING)
    assert (fired.status, fired.json) == (200, {"accepted": 1, "rejected": []})
    assert (await _notify(live, RESOLVED)).json == {"accepted": 1, "rejected": []}
    incident, kinds = await _only_incident(live)
    assert (incident["title"], incident["severity"]) == ("DiskFull: The disk of db-1 is full", "CRITICAL")
    assert (incident["status"], kinds) == ("REPORTED", ["REPORTED", "SIGNAL_RECEIVED"])


async def test_one_firing_is_one_event_directly_and_through_alertmanager(live: Live) -> None:
    for answer in (await _notify(live, FIRING), await _post(live, POSTED), await _notify(live, FIRING)):
        assert answer.json["accepted"] == 1
    assert await rows(live.app, OUTCOMES) == [("duplicate", 2), ("opened", 1)]


async def test_grafanas_alert_is_another_failure_than_prometheus_one_with_its_labels(live: Live) -> None:
    await _notify(live, FIRING)
    answer = await _notify(
        live, FIRING | {"values": {"A": 97.5}, "panelURL": "https://grafana.example"}, sender="grafana"
    )
    assert (answer.status, answer.json["accepted"]) == (200, 1)
    incidents = (await live.get("/api/incidents")).json["incidents"]
    errors = [(await live.get(f"/api/incidents/{one['number']}")).json["error"] for one in incidents]
    assert {error["context"].get("panelURL") for error in errors} == {None, "https://grafana.example"}
    assert await rows(live.app, OUTCOMES) == [("opened", 2)]


async def test_an_alert_that_ends_later_is_watched_and_put_off_by_its_repetition(live: Live) -> None:
    await _post(live, POSTED)
    assert await rows(live.app, EXPIRY) == [(START + timedelta(minutes=4),)]
    await _post(live, POSTED | {"endsAt": (START + timedelta(minutes=5)).isoformat()})
    assert await rows(live.app, EXPIRY) == [(START + timedelta(minutes=5),)]
    assert await rows(live.app, OUTCOMES) == [("duplicate", 1), ("opened", 1)]
    await _post(live, POSTED | {"endsAt": START.isoformat()})
    assert await rows(live.app, EXPIRY) == []


async def test_of_several_alerts_the_wrong_ones_are_named(live: Live) -> None:
    answer = await _post(live, 5, POSTED, {"labels": {}})
    assert (answer.status, answer.json["accepted"]) == (200, 1)
    assert [one["index"] for one in answer.json["rejected"]] == [0, 2]
    nothing = await _post(live, 5)
    assert (nothing.status, nothing.code) == (422, "INVALID")
    assert (await _post(live)).json == {"accepted": 0, "rejected": []}


async def test_each_alert_beyond_the_limit_is_entered_into_the_ledger(live: Live) -> None:
    answer = await _notify(live, POSTED, *[5] * (MAX_ALERTS + 499))
    assert (answer.status, answer.json["accepted"]) == (200, 1)
    assert answer.json["rejected"][-1]["reason"].startswith("500 alerts beyond")
    (tally,) = (await live.get("/api/intake/ledger?projectId=1")).json["projects"]
    assert tally["received"] == {"alertmanager": MAX_ALERTS + 500}
    assert (tally["rejected"], tally["difference"]) == ({"INVALID": MAX_ALERTS + 499}, 0)


async def test_what_is_no_notification_is_refused(live: Live) -> None:
    for path, body in (("/api/v1/alertmanager", b"[]"), ("/api/v1/grafana", b"{}"), ("/api/v2/alerts", b"{}")):
        unlike = await live.call("POST", path, token=INTAKE_KEY, data=body)
        assert (unlike.status, unlike.code) == (422, "INVALID"), path
        unreadable = await live.call("POST", path, token=INTAKE_KEY, data=b"{")
        assert (unreadable.status, unreadable.code) == (400, "MALFORMED"), path


async def test_pagerdutys_senders_get_pagerdutys_answer(live: Live) -> None:
    answer = await _enqueue(live, TRIGGER)
    assert answer.status == 202
    assert answer.json == {"status": "success", "message": "Event processed", "dedup_key": "db-1/disk"}
    made = await _enqueue(live, {key: value for key, value in TRIGGER.items() if key != "dedup_key"})
    assert (made.status, len(made.json["dedup_key"])) == (202, 32)


async def test_pagerdutys_signals_are_noted_and_move_nothing(live: Live) -> None:
    await _enqueue(live, TRIGGER)
    for action in ("acknowledge", "resolve", "resolve"):
        assert (await _enqueue(live, TRIGGER | {"event_action": action})).status == 202
    incident, kinds = await _only_incident(live)
    assert incident["status"] == "REPORTED"
    assert kinds == ["REPORTED", "SIGNAL_RECEIVED", "SIGNAL_RECEIVED"], "the same word twice is one entry"


@cases(
    ("event", "named"),
    [
        (TRIGGER | {"routing_key": "short"}, "routing_key"),
        (TRIGGER | {"event_action": "shout"}, "event_action"),
        (TRIGGER | {"payload": {"source": "db-1"}}, "payload.summary"),
        ({"routing_key": INTAKE_KEY, "event_action": "resolve"}, "dedup_key"),
        (TRIGGER | {"routing_key": "f" * 32}, "key"),
        ([], "object"),
    ],
)
async def test_an_event_that_is_not_valid_is_refused_as_pagerduty_does(live: Live, event: object, named: str) -> None:
    answer = await _enqueue(live, event)
    assert (answer.status, answer.json["status"]) == (400, "invalid event")
    assert any(named in error for error in answer.json["errors"])
    assert await rows(live.app, b"SELECT count(*) FROM audit_logs") == [(0,)]


async def test_a_refused_event_is_entered_into_the_ledger_of_the_project_whose_key_it_names(live: Live) -> None:
    incomplete = TRIGGER | {"payload": {}}
    refused: list[object] = [incomplete, incomplete | {"routing_key": "f" * 32}, []]
    for event in refused:
        assert (await _enqueue(live, event)).status == 400
    (tally,) = (await live.get("/api/intake/ledger?projectId=1")).json["projects"]
    assert (tally["received"], tally["rejected"], tally["difference"]) == ({"pagerduty": 1}, {"INVALID": 1}, 0)


async def test_what_is_wrong_is_refused_while_the_database_is_away_too(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 503 would be sent again and again, and never be any better."""

    async def unavailable(*_: object) -> None:
        raise refuse(Code.UNAVAILABLE, "The database cannot be reached.")

    incomplete = TRIGGER | {"payload": {}}
    assert (await _enqueue(live, incomplete)).status == 400
    monkeypatch.setattr("tocsin.app.take_in.Intake.count", unavailable)
    assert (await _enqueue(live, incomplete)).status == 400
    unreadable = await live.call("POST", "/api/v1/alertmanager", token=INTAKE_KEY, data=b"{")
    assert (unreadable.status, unreadable.code) == (400, "MALFORMED")
    monkeypatch.setattr("tocsin.app.projects.IntakeKeys.project", unavailable)
    assert (await _enqueue(live, incomplete)).status == 400


async def test_an_event_that_is_unreadable_or_too_large_is_not_called_accepted(live: Live) -> None:
    unreadable = await live.call("POST", "/v2/enqueue", data=b"{")
    assert (unreadable.status, unreadable.json["status"]) == (400, "invalid event")
    large = await live.call("POST", "/v2/enqueue", data=b" " * (MAX_REPORT_BYTES + 1))
    assert (large.status, large.code) == (413, "TOO_LARGE")


async def test_when_nothing_can_be_stored_every_sender_is_told_to_come_back(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: object) -> None:
        raise refuse(Code.UNAVAILABLE, "The database cannot be reached.")

    monkeypatch.setattr("tocsin.app.take_in.Intake.take_in", unavailable)
    for answer in (
        await _notify(live, FIRING),
        await _notify(live, FIRING, sender="grafana"),
        await _post(live, POSTED),
        await _enqueue(live, TRIGGER),
    ):
        assert (answer.status, answer.code) == (503, "UNAVAILABLE")
        assert answer.headers["Retry-After"]
