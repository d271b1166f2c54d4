"""Policies, routes and silences over HTTP: what goes in comes out; what cannot be is a problem; all is on record."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conftest import ADMIN_EMAIL, ADMIN_TOKEN
from tests.support.cases import cases
from tests.web.conftest import Answer, Live, rows
from tocsin.domain.access import Role

pytestmark = pytest.mark.anyio

STEPS: list[dict[str, Any]] = [
    {"targets": [{"duty": "ON_CALL"}]},
    {"afterSeconds": 600, "targets": [{"user": ADMIN_EMAIL}, {"duty": "SUPERVISOR"}]},
]
NOBODY = "00000000-0000-0000-0000-000000000001"


async def change(live: Live, method: str, path: str, body: object = None) -> Answer:
    """Change something as the superadmin."""
    return await live.call(method, path, token=ADMIN_TOKEN, **({"json": body} if body is not None else {}))


async def added(live: Live, **said: Any) -> dict[str, Any]:
    """Add a policy."""
    answer = await live.post("/api/policies", {"name": "payments", "steps": STEPS} | said)
    assert answer.status == 201, answer.body
    policy: dict[str, Any] = answer.json["policy"]
    return policy


async def test_what_is_shown_can_be_sent_again(live: Live) -> None:
    policy = await added(live, repeat=2, leaseSeconds=None)
    assert (policy["repeat"], policy["leaseSeconds"], policy["isDefault"], policy["unreached"]) == (2, None, False, [])
    assert [step["reason"] for step in policy["steps"][:2]] == ["INCIDENT_OPENED", "POLICY_STEP"]
    assert policy["steps"][1]["targets"] == STEPS[1]["targets"]
    path = f"/api/policies/{policy['id']}"
    body = {name: policy[name] for name in ("name", "repeat", "leaseSeconds", "steps")}
    again = await change(live, "PUT", path, body | {"name": "pay"})
    assert again.json["policy"] == policy | {"name": "pay"}
    assert (await live.get(path)).json == again.json
    listed = (await live.get("/api/policies")).json["policies"]
    assert [(one["name"], one["isDefault"]) for one in listed] == [("default", True), ("pay", False)]
    assert (await change(live, "DELETE", path)).json == {"removed": True}
    assert (await live.get(path)).code == "NOT_FOUND"


@cases(
    ("said", "code"),
    [
        ({"name": "default"}, "CONFLICT"),
        ({"name": "\x00"}, "INVALID"),
        ({"leaseSeconds": 59}, "INVALID"),
        ({"leaseSeconds": 10**12}, "INVALID"),
        ({"repeat": 21}, "INVALID"),
        ({"steps": [{"targets": []}]}, "INVALID"),
        ({"steps": [{"targets": [{}]}]}, "INVALID"),
        ({"steps": [{"targets": [{"user": "eve@example.org"}]}]}, "INVALID"),
        ({"steps": [{"targets": [{"user": "\ud800"}]}]}, "INVALID"),
        ({"steps": [{"targets": [{"schedule": "a\x00"}]}]}, "INVALID"),
        ({"steps": [{"reason": "NO_ACK_1HR", "targets": [{"duty": "ON_CALL"}]}]}, "INVALID"),
        ({"steps": STEPS[:1] * 2}, "INVALID"),
        ({"step": []}, "INVALID"),
    ],
)
async def test_what_no_policy_can_be_is_a_problem(live: Live, said: dict[str, Any], code: str) -> None:
    answer = await live.post("/api/policies", {"name": "payments", "steps": STEPS} | said)
    assert answer.code in (code, "MALFORMED"), answer.body
    assert answer.status < 500


async def test_a_policy_that_reaches_nobody_is_refused_with_every_step_of_it(live: Live, tokens: object) -> None:
    await rows(live.app, b"DELETE FROM duties RETURNING 1")
    answer = await live.post("/api/policies", {"name": "payments"})
    assert (answer.status, answer.code, len(answer.json["errors"])) == (422, "INVALID", 4)
    assert "nobody holds the duty ON_CALL" in answer.json["detail"]
    assert "tocsin oncall assign ON_CALL" in answer.json["hint"]
    default = (await live.get("/api/policies")).json["policies"][0]
    assert len(default["unreached"]) == 4


async def test_the_default_stays_and_so_does_what_a_route_needs(live: Live) -> None:
    policy = await added(live)
    path = f"/api/policies/{policy['id']}"
    routed = await live.post("/api/routes", {"policyId": policy["id"], "service": "payments", "severities": ["HIGH"]})
    route = routed.json["route"]
    assert (routed.status, route["position"], route["policy"], route["severities"]) == (201, 1, "payments", ["HIGH"])
    default = (await live.get("/api/policies")).json["policies"][0]["id"]
    for target in (path, f"/api/policies/{default}"):
        assert (await change(live, "DELETE", target)).code == "CONFLICT"
    assert (await live.get(path)).json["policy"]["routes"] == 1
    await live.post("/api/routes", {"policyId": default, "service": "search"})
    moved = await live.post(f"/api/routes/{route['id']}/move", {"position": 2})
    assert moved.json["route"]["position"] == 2
    never = await live.post("/api/routes", {"policyId": default, "position": 1})
    assert never.code == "CONFLICT"
    assert [one["service"] for one in (await live.get("/api/routes")).json["routes"]] == ["search", "payments"]
    assert (await change(live, "DELETE", f"/api/routes/{route['id']}")).status == 200
    assert (await change(live, "DELETE", path)).status == 200
    for method, what, body in (
        ("DELETE", "routes/x", None),
        ("DELETE", f"routes/{NOBODY}", None),
        ("POST", f"routes/{NOBODY}/move", {"position": 1}),
        ("PUT", f"policies/{NOBODY}", {"name": "x"}),
        ("POST", "routes", {"policyId": NOBODY}),
    ):
        assert (await change(live, method, f"/api/{what}", body)).code == "NOT_FOUND", what


async def test_a_silence_is_added_listed_and_ended(live: Live, tokens: dict[Role, str]) -> None:
    number = (await live.open_incident())["number"]
    body = {"reason": "on it", "incident": f"INC-{number}", "lengthSeconds": 86_400}
    made = await live.post("/api/silences", body, token=tokens[Role.RESPONDER])
    silence = made.json["silence"]
    assert (made.status, silence["incidentNumber"], silence["kind"], silence["endedBy"]) == (
        201,
        number,
        "SILENCE",
        None,
    )
    wide = {"reason": "deploy", "service": "payments", "lengthSeconds": 60}
    assert (await live.post("/api/silences", wide, token=tokens[Role.RESPONDER])).code == "FORBIDDEN"
    planned = await live.post(
        "/api/silences",
        {"reason": "disks", "kind": "MAINTENANCE", "everything": True, "startsAt": _days(1), "endsAt": _days(2)},
    )
    assert planned.status == 201, planned.body
    listed = await live.get("/api/silences", token=tokens[Role.AUDITOR])
    assert [one["reason"] for one in listed.json["silences"]] == ["on it", "disks"]
    end = f"/api/silences/{silence['id']}/end"
    assert (await live.post(end, token=tokens[Role.AUDITOR])).code == "FORBIDDEN"
    ended = await live.post(end, token=tokens[Role.RESPONDER])
    assert (ended.status, ended.json["incidents"], ended.json["silence"]["endedByName"]) == (200, 0, "responder")
    assert (await live.post(end)).code == "CONFLICT"
    assert (await live.post(f"/api/silences/{NOBODY}/end")).code == "NOT_FOUND"
    assert (
        await live.post(f"/api/silences/{planned.json['silence']['id']}/end", token=tokens[Role.RESPONDER])
    ).code == ("FORBIDDEN")
    assert [one["reason"] for one in (await live.get("/api/silences")).json["silences"]] == ["disks"]
    assert len((await live.get("/api/silences?all=true")).json["silences"]) == 2


def _days(ahead: int) -> str:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    return now.replace(day=now.day + ahead).isoformat()


@cases(
    "said",
    [
        {"service": None},
        {"everything": True},
        {"reason": ""},
        {"reason": "\x00"},
        {"lengthSeconds": 0},
        {"lengthSeconds": 2_592_001},
        {"lengthSeconds": None},
        {"endsAt": "2026-03-01T00:00:00Z"},
        {"endsAt": "9999-12-31T23:59:59-23:59", "lengthSeconds": None},
        {"startsAt": "9998-01-01T00:00:00Z"},
        {"startsAt": "2026-03-01T00:00:00"},
        {"severities": []},
        {"severities": ["BAD"]},
        {"kind": "LOUD"},
        {"projectId": -1},
    ],
)
async def test_what_no_silence_can_be_is_a_problem(live: Live, said: dict[str, Any]) -> None:
    body = {"reason": "deploy", "service": "payments", "lengthSeconds": 60} | said
    answer = await live.post("/api/silences", body)
    assert (answer.status, answer.code) == (422, "INVALID"), answer.body


async def test_every_access_is_on_record(live: Live) -> None:
    await live.get("/api/policies")
    await live.get("/api/routes", token="wrong")
    await live.post("/api/silences", {"reason": "x"})
    query = b"SELECT action, outcome FROM audit_access_log ORDER BY id DESC LIMIT 3"
    assert await rows(live.app, query) == [
        ("POST /api/silences", "INVALID"),
        ("GET /api/routes", "UNAUTHORIZED"),
        ("GET /api/policies", "OK"),
    ]


async def test_a_repeated_request_adds_one_silence(live: Live) -> None:
    body = {"reason": "deploy", "service": "payments", "lengthSeconds": 60}
    answers = [await live.post("/api/silences", body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].json == answers[1].json
    assert len((await live.get("/api/silences")).json["silences"]) == 1
