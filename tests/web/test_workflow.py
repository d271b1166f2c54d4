"""The incident's operations over HTTP: the story from open to closed, and every refusal of it by its code."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import ADMIN_EMAIL
from tests.support.clock import FakeClock
from tests.web.conftest import Live, email_of
from tocsin.app.escalate import run_timers
from tocsin.app.work import App
from tocsin.domain.access import Role

pytestmark = pytest.mark.anyio

INCIDENT_NAMES = {
    "id",
    "number",
    "incidentType",
    "severity",
    "currentSeverity",
    "status",
    "title",
    "description",
    "createdAt",
    "createdBySystem",
    "createdFromErrorId",
    "occurrences",
    "lastSeenAt",
    "recurrenceOf",
    "acknowledgedAt",
    "acknowledgedBy",
    "resolvedAt",
    "closedAt",
    "checksum",
}
ROOT_CAUSE = {"summary": "A cast", "category": "SYSTEM_DEFECT", "remediationSteps": "Undo it"}
CLOSING: dict[str, Any] = {
    "lessonsLearned": "Test casts",
    "followUpActions": ["Add a test", {"title": "Alert", "owner": "ana"}],
}


async def _step(live: Live, number: int, step: str, body: object = None) -> Any:
    answer = await live.post(f"/api/admin/incidents/{number}/{step}", body)
    assert answer.status == 200, answer.body
    return answer.json


async def test_the_whole_story_with_the_names_of_the_contract(live: Live) -> None:
    reported = await live.report({"severity": "error", "type": "ValueError", "message": "no such order"})
    assert reported.status == 201
    incident_id = reported.json["accepted"][0]["incidentId"]
    number = (await live.get(f"/api/admin/incidents/{incident_id}")).json["incident"]["number"]

    acknowledged = (await _step(live, number, "acknowledge", {"notes": "On it"}))["incident"]
    assert set(acknowledged) == INCIDENT_NAMES
    assert (acknowledged["status"], acknowledged["acknowledgedBy"]["name"]) == ("ACKNOWLEDGED", "ada")
    assert (await _step(live, number, "investigate"))["incident"]["status"] == "INVESTIGATING"
    root_cause_id = (await _step(live, number, "root-cause", ROOT_CAUSE | {"verifiedAt": "2026-03-01T05:00:00+02:00"}))[
        "rootCauseId"
    ]
    assert (await _step(live, number, "notes", {"text": "Rolled back"}))["incident"]["status"] == "INVESTIGATING"
    resolved = await _step(
        live, number, "resolve", {"resolutionSummary": "Rolled back", "impactAssessment": "12 orders"}
    )
    assert resolved["incident"]["status"] == "RESOLVED"
    assert (await _step(live, number, "close", CLOSING))["incident"]["status"] == "CLOSED"

    detail = (await live.get(f"/api/incidents/INC-{number}")).json
    assert set(detail) == {
        "incident", "ack", "rootCause", "resolution", "timeline", "escalations", "error", "notifications"
    }  # fmt: skip
    assert detail["incident"]["createdAt"] == "2026-03-01T03:00:00Z"
    assert detail["ack"]["ackNotes"] == "On it"
    assert detail["rootCause"]["id"] == root_cause_id
    assert detail["rootCause"]["verifiedAt"] == "2026-03-01T03:00:00Z"
    assert detail["resolution"]["followUpActions"] == [{"title": "Add a test"}, {"title": "Alert", "owner": "ana"}]
    assert [entry["eventType"] for entry in detail["timeline"]] == [
        "REPORTED", "ACKNOWLEDGED", "INVESTIGATION_STARTED", "ROOT_CAUSE_RECORDED", "NOTE_ADDED", "RESOLVED", "CLOSED"
    ]  # fmt: skip
    assert detail["error"]["type"] == "ValueError"
    assert [page["reason"] for page in detail["notifications"]] == ["INCIDENT_OPENED"]
    assert all(re.fullmatch("[0-9a-f]{64}", entry["checksum"]) for entry in [detail["incident"], *detail["timeline"]])


async def test_a_resolution_with_lessons_and_follow_ups_closes(live: Live) -> None:
    number = (await live.open_incident())["number"]
    await _step(live, number, "acknowledge", {"notes": "On it"})
    await _step(live, number, "root-cause", ROOT_CAUSE)
    closed = await _step(live, number, "resolve", {"resolutionSummary": "Done"} | CLOSING)
    assert closed["incident"]["status"] == "CLOSED"
    assert closed["incident"]["closedAt"] is not None


async def test_every_step_out_of_order_has_its_code(live: Live) -> None:
    number = (await live.open_incident())["number"]

    async def refused(step: str, body: object, code: str) -> dict[str, Any]:
        answer = await live.post(f"/api/incidents/{number}/{step}", body)
        assert (answer.status, answer.code) == (409, code), answer.body
        problem: dict[str, Any] = answer.json
        assert problem["type"] == "/docs#" + code.lower().replace("_", "-")
        assert problem["title"]
        assert problem["status"] == 409
        return problem

    resolution = {"resolutionSummary": "Done"}
    for step, body in (("investigate", None), ("root-cause", ROOT_CAUSE), ("resolve", resolution)):
        await refused(step, body, "NOT_ACKNOWLEDGED")
    await refused("close", CLOSING, "NOT_RESOLVED")
    await _step(live, number, "acknowledge", {"notes": "On it"})
    second = await refused("acknowledge", {"notes": "Me too"}, "ALREADY_ACKNOWLEDGED")
    assert second["acknowledgedBy"]["name"] == "ada"
    no_cause = await refused("resolve", resolution, "NO_ROOT_CAUSE")
    assert no_cause["detail"] == f"Cannot resolve INC-{number}: no root cause is recorded."
    assert "root-cause" in no_cause["hint"]
    await _step(live, number, "root-cause", ROOT_CAUSE)
    await refused("root-cause", ROOT_CAUSE, "ALREADY_RECORDED")
    await refused("severity", {"severity": "HIGH", "reason": "again"}, "ALREADY_RECORDED")
    await _step(live, number, "resolve", resolution)
    await refused("resolve", resolution, "ALREADY_RESOLVED")
    assert (await refused("close", {}, "CONTEXT_REQUIRED"))["missing"] == ["lessonsLearned", "followUpActions"]
    await _step(live, number, "close", CLOSING)
    await refused("close", CLOSING, "ALREADY_CLOSED")
    await refused("escalate", {"to": ADMIN_EMAIL, "reason": "late"}, "ALREADY_CLOSED")


async def test_of_two_acknowledgments_at_once_one_succeeds_and_the_other_is_told_who(
    live: Live, tokens: dict[Role, str]
) -> None:
    number = (await live.open_incident())["number"]
    path = f"/api/incidents/{number}/acknowledge"
    answers = await asyncio.gather(
        live.post(path, {"notes": "mine"}), live.post(path, {"notes": "no, mine"}, token=tokens[Role.RESPONDER])
    )
    first, second = sorted(answers, key=lambda answer: answer.status)
    assert (first.status, second.status) == (200, 409)
    assert second.json["acknowledgedBy"] == first.json["incident"]["acknowledgedBy"]


async def test_an_escalation_by_hand_is_acknowledged_by_the_one_it_went_to(live: Live, tokens: dict[Role, str]) -> None:
    number = (await live.open_incident())["number"]
    said = {"to": email_of(Role.AUDITOR), "reason": "You know this one"}
    escalation_id = (await _step(live, number, "escalate", said))["escalationId"]
    path = f"/api/incidents/{number}/escalations/{escalation_id}/acknowledge"
    assert (await live.post(path, token=tokens[Role.RESPONDER])).code == "FORBIDDEN"
    assert (await live.post(path, token=tokens[Role.AUDITOR])).status == 200
    assert (await live.post(path, token=tokens[Role.AUDITOR])).code == "ALREADY_ACKNOWLEDGED"
    unknown = f"/api/incidents/{number}/escalations/{uuid4()}/acknowledge"
    assert (await live.post(unknown)).code == "NOT_FOUND"
    escalation = (await live.get(f"/api/incidents/{number}")).json["escalations"][0]
    assert escalation["escalationReason"] == "MANUAL_ESCALATION"
    assert escalation["acknowledgedAt"] is not None


async def test_a_raised_severity_keeps_the_first_one_on_record(live: Live) -> None:
    number = (await live.open_incident(severity="MEDIUM"))["number"]
    raised = (await _step(live, number, "severity", {"severity": "CRITICAL", "reason": "All shops"}))["incident"]
    assert (raised["severity"], raised["currentSeverity"], raised["incidentType"]) == (
        "MEDIUM", "CRITICAL", "P2_INCIDENT"
    )  # fmt: skip


async def test_a_recorded_report_becomes_an_incident_by_hand_once(live: Live) -> None:
    await live.report({"severity": "low", "message": "a small thing"})
    assert (await live.get("/api/incidents")).json["incidents"] == []
    async with live.app.work() as work:
        error_id = await work.tx.value(b"SELECT id FROM audit_logs")
    opened = await live.open_incident(errorId=str(error_id), severity="LOW")
    assert opened["createdFromErrorId"] == str(error_id)
    assert not opened["createdBySystem"]
    again = await live.post("/api/incidents", {"severity": "LOW", "title": "Again", "errorId": str(error_id)})
    assert again.code == "CONFLICT"
    nothing = await live.post("/api/incidents", {"severity": "LOW", "title": "None", "errorId": str(uuid4())})
    assert nothing.code == "NOT_FOUND"


async def test_a_list_is_filtered_and_paged_to_its_end(live: Live, clock: FakeClock) -> None:
    for severity in ("HIGH", "CRITICAL", "MEDIUM", "HIGH"):
        await live.open_incident(severity=severity)
        clock.forward(hours=1)
    await _step(live, 1, "acknowledge", {"notes": "On it"})

    async def numbers(query: str) -> list[int]:
        answer = await live.get(f"/api/incidents?{query}")
        assert answer.status == 200, answer.body
        return [incident["number"] for incident in answer.json["incidents"]]

    assert await numbers("severity=HIGH") == [4, 1]
    assert await numbers("severity=HIGH,CRITICAL&status=REPORTED") == [4, 2]
    assert await numbers("severity=MEDIUM&severity=CRITICAL") == [3, 2]
    assert await numbers("status=open") == [4, 3, 2, 1]
    assert await numbers("status=CLOSED") == []
    assert await numbers("createdAfter=2026-03-01T04:00:00Z&createdBefore=2026-03-01T06:00:00Z") == [3, 2]
    first = (await live.get("/api/incidents?limit=3")).json
    assert first["pagination"] == {"limit": 3, "offset": 0, "total": 4, "next": 2}
    last = (await live.get("/api/incidents?limit=3&cursor=2")).json
    assert [incident["number"] for incident in last["incidents"]] == [1]
    assert last["pagination"]["next"] is None
    assert await numbers("limit=1&offset=1") == [3]


async def test_the_statistics_count_what_is_open_and_overdue(live: Live, clock: FakeClock, app: App) -> None:
    opened = [await live.open_incident(severity=severity) for severity in ("CRITICAL", "HIGH", "HIGH")]
    await _step(live, opened[2]["number"], "acknowledge", {"notes": "On it"})
    clock.forward(hours=1)
    async with app.work() as work:
        row = await work.tx.value(b"SELECT incident_id FROM incident_heads WHERE number = 1")
        await run_timers(work, row)
    assert (await live.get("/api/admin/incidents/stats")).json == {
        "totalOpen": 3,
        "byStatus": {"reported": 2, "acknowledged": 1, "investigating": 0, "resolved": 0},
        "bySeverity": {"critical": 1, "high": 2, "medium": 0},
        "overdue": 2,
    }
    assert (await live.get("/api/admin/incidents/stats/escalations")).json == {
        "escalations": [{"escalationReason": "NO_ACK_1HR", "count": 1}],
        "since": "2026-02-28T04:00:00Z",
    }
