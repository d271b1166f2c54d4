"""Projects over HTTP: keys come once and go within two seconds, rules count, every access is on record."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import ADMIN_TOKEN, INTAKE_KEY
from tests.support.cases import cases
from tests.web.conftest import Answer, Live, rows, sign_in
from tocsin.app import projects
from tocsin.app.projects import FRESH_SECONDS
from tocsin.domain.access import Role

pytestmark = pytest.mark.anyio

RULES = [{"when": {"handled": False}, "severity": "CRITICAL"}]
MAPPING = {"fields": {"message": "alert.text"}}


async def patch(live: Live, path: str, body: object, **more: Any) -> Answer:
    """Change a project as the superadmin."""
    return await live.call("PATCH", path, token=ADMIN_TOKEN, json=body, **more)


async def report(live: Live, key: str, **said: object) -> Answer:
    """Report an error with a key."""
    return await live.call("POST", "/api/v1/errors", token=key, json={"severity": "LOW", "type": "T"} | said)


async def test_a_project_is_added_with_a_key_that_is_shown_once(live: Live) -> None:
    made = await live.post("/api/projects", {"name": "shop"})
    assert made.status == 201
    number, key = made.json["projectId"], made.json["key"]
    assert made.json["dsn"] == f"http://{key}@tocsin.test/{number}"
    assert (await report(live, key)).status == 201
    listed = await live.get("/api/projects")
    assert [(one["id"], one["name"], one["keys"]) for one in listed.json["projects"]][-1] == (number, "shop", 1)
    shown = await live.get(f"/api/projects/{number}/keys")
    assert [one["keyPrefix"] for one in shown.json["keys"]] == [key[:6]]
    for answer in (listed, shown, await live.get(f"/api/projects/{number}")):
        assert key.encode() not in answer.body
    assert (await live.post("/api/projects", {"name": "shop"})).code == "CONFLICT"


async def test_a_new_key_is_kept_nowhere_not_even_for_an_idempotency_key(live: Live) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await live.post("/api/projects", {"name": "shop"}, headers=headers)
    second = await live.post("/api/projects/1/keys", headers=headers)
    assert (first.status, second.status) == (201, 201)
    held = await rows(live.app, b"SELECT count(*) FROM idempotency_keys")
    assert held == [(0,)]


async def test_a_revoked_key_stops_within_two_seconds(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(projects, "monotonic_seconds", lambda: now[0])
    assert (await report(live, INTAKE_KEY)).status == 201
    [key] = (await live.get("/api/projects/1/keys")).json["keys"]
    revoked = await live.post(f"/api/projects/1/keys/{key['id']}/revoke")
    assert (revoked.status, revoked.json["revoked"]["left"]) == (200, 0)
    now[0] += FRESH_SECONDS
    assert (await report(live, INTAKE_KEY)).code == "UNAUTHORIZED"
    assert (await live.post(f"/api/projects/1/keys/{key['id']}/revoke")).code == "NOT_FOUND"
    assert [one["revokedAt"] is None for one in (await live.get("/api/projects/1/keys")).json["keys"]] == [False]


async def test_a_new_key_may_replace_all_others(live: Live) -> None:
    kept = await live.post("/api/projects/1/keys", {})
    assert kept.json["revoked"] == 0
    made = await live.post("/api/projects/1/keys", {"revokeOthers": True})
    assert (made.status, made.json["revoked"]) == (201, 2)
    assert (await report(live, kept.json["key"])).code == "UNAUTHORIZED"
    assert (await report(live, made.json["key"])).status == 201


async def test_what_is_named_changes_and_what_is_absent_stays(live: Live) -> None:
    everything = {
        "name": "shop",
        "dedupWindowSeconds": 0,
        "incidentThreshold": "LOW",
        "severityRules": RULES,
        "fieldMapping": MAPPING,
    }
    changed = await patch(live, "/api/projects/1", everything)
    assert changed.status == 200
    assert everything.items() <= changed.json["project"].items()
    unchanged = await patch(live, "/api/projects/1", {})
    assert unchanged.json == changed.json == (await live.get("/api/projects/1")).json
    back = await patch(
        live, "/api/projects/1", {"incidentThreshold": None, "severityRules": None, "fieldMapping": None}
    )
    assert back.json["project"]["incidentThreshold"] is back.json["project"]["fieldMapping"] is None
    assert (back.json["project"]["severityRules"], back.json["project"]["dedupWindowSeconds"]) == ([], 0)


async def test_a_project_s_rules_decide_about_its_reports(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(projects, "monotonic_seconds", lambda: now[0])
    assert (await report(live, INTAKE_KEY)).json["accepted"][0]["outcome"] == "recorded"
    rules = [{"when": {"type": "T"}, "severity": "CRITICAL"}]
    assert (await patch(live, "/api/projects/1", {"severityRules": rules})).status == 200
    now[0] += FRESH_SECONDS
    assert (await report(live, INTAKE_KEY)).json["accepted"][0]["outcome"] == "opened"
    [incident] = (await live.get("/api/incidents")).json["incidents"]
    assert incident["severity"] == "CRITICAL"


@cases(
    "body",
    [
        {"incidentThreshold": "CRITICAL"},
        {"incidentThreshold": "LOUD"},
        {"dedupWindowSeconds": -1},
        {"dedupWindowSeconds": 86_401},
        {"severityRules": [{"when": {}, "severity": "LOW"}]},
        {"severityRules": {}},
        {"severityRules": [{"when": {"type": "\x00"}, "severity": "LOW"}]},
        {"fieldMapping": {"fields": {}}},
        {"fieldMapping": {"fields": {"message": "\x00"}}},
        {"name": " "},
        {"name": None},
        {"colour": "red"},
        {"incidentThreshold": "LOW", "severityRules": [1]},
    ],
)
async def test_a_wrong_change_is_refused_and_changes_nothing(live: Live, body: dict[str, object]) -> None:
    before = (await live.get("/api/projects/1")).json
    refused = await patch(live, "/api/projects/1", body)
    assert (refused.status, refused.code) == (422, "INVALID")
    assert (await live.get("/api/projects/1")).json == before


@pytest.mark.parametrize("number", ["99", "x", "1234567890", "-1"])
async def test_a_project_that_is_not_there_is_not_found(live: Live, number: str) -> None:
    one = f"/api/projects/{number}"
    for answer in (
        await live.get(one),
        await patch(live, one, {}),
        await live.get(f"{one}/keys"),
        await live.post(f"{one}/keys", {}),
        await live.post(f"{one}/keys/00000000-0000-0000-0000-000000000000/revoke"),
    ):
        assert (answer.status, answer.code) == (404, "NOT_FOUND")


async def test_every_access_to_projects_and_to_the_ledger_is_on_record(live: Live, tokens: dict[Role, str]) -> None:
    await live.get("/api/projects")
    await patch(live, "/api/projects/1", {"name": "shop"})
    await live.post("/api/projects/1/keys", token=tokens[Role.RESPONDER])
    await live.get("/api/intake/ledger")
    assert await rows(live.app, b"SELECT action, target, status FROM audit_access_log ORDER BY id") == [
        ("GET /api/projects", "/api/projects", 200),
        ("PATCH /api/projects/{projectId}", "/api/projects/1", 200),
        ("POST /api/projects/{projectId}/keys", "/api/projects/1/keys", 403),
        ("GET /api/intake/ledger", "/api/intake/ledger", 200),
    ]


async def test_a_browser_must_prove_that_it_meant_to_change_a_project(live: Live) -> None:
    session = await sign_in(live, Role.SUPERADMIN)
    bare = await live.call("PATCH", "/api/projects/1", json={"name": "x"}, headers={"Cookie": session.cookie})
    assert bare.code == "FORBIDDEN"
    meant = await live.call("PATCH", "/api/projects/1", json={"name": "x"}, headers=session.headers)
    assert meant.status == 200
