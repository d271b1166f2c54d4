"""Who may do what: every endpoint, every role, by token and by session; CSRF; the session guard."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.conftest import ADMIN_TOKEN
from tests.support.clock import FakeClock
from tests.web.conftest import Answer, Live, Session, rows, sign_in
from tocsin.app.escalate import run_timers
from tocsin.app.work import App
from tocsin.domain.access import PERMISSIONS, Permission, Role
from tocsin.settings import Settings
from tocsin.web.endpoint import Access, Endpoint
from tocsin.web.endpoints import ENDPOINTS

pytestmark = pytest.mark.anyio

# The key in the path of a heartbeat is its credential, so are the tokens of links and calendars; Slack signs its calls.
PUBLIC = {
    *("/healthz", "/readyz", "/openapi.json", "/docs", "/api/auth/sign-in", "/api/schedules/{scheduleId}/calendar.ics"),
    *("/api/v1/heartbeats/{key}", "/a/{token}", "/api/v1/slack/interactions"),
}
CLOSED = [one for one in ENDPOINTS if isinstance(one.access, Permission)]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Sessions are blocked in these tests."""
    return settings.model_copy(update={"session_blocking": True})


def test_only_these_endpoints_are_open_to_everybody() -> None:
    assert {one.path for one in ENDPOINTS if one.access is Access.PUBLIC and one.method != "OPTIONS"} == PUBLIC


def test_administration_is_for_superadmins() -> None:
    for endpoint in ENDPOINTS:
        if endpoint.path.startswith("/api/admin/"):
            assert endpoint.access is Permission.ADMINISTER, endpoint.path


def _path(endpoint: Endpoint) -> str:
    return re.sub(r"\{\w+\}", "987654", endpoint.path)


async def _try(live: Live, endpoint: Endpoint, **more: Any) -> Answer:
    if endpoint.request is not None:
        more["json"] = {}
    return await live.call(endpoint.method, _path(endpoint), **more)


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_may_do_by_token_and_by_session_what_it_may(
    live: Live, tokens: dict[Role, str], role: Role
) -> None:
    session = await sign_in(live, role)
    for endpoint in CLOSED:
        may = endpoint.access in PERMISSIONS[role]
        for credentials in ({"token": tokens[role]}, {"headers": session.headers}):
            answer = await _try(live, endpoint, **credentials)
            assert (answer.code == "FORBIDDEN") is not may, (endpoint.method, endpoint.path, answer.body)
            assert answer.status in ({200, 404, 422} if may else {403})


async def test_nobody_is_let_in_without_a_credential_or_with_a_wrong_one(live: Live) -> None:
    for endpoint in [*CLOSED, *(one for one in ENDPOINTS if one.access is Access.SIGNED_IN)]:
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic YTpi"},
            {"Cookie": "tocsin_session=x"},
        ):
            answer = await _try(live, endpoint, headers=headers)
            assert (answer.status, answer.code) == (401, "UNAUTHORIZED"), (endpoint.path, headers)
            assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_an_intake_key_opens_nothing_but_the_intake(live: Live) -> None:
    from tests.conftest import INTAKE_KEY

    assert (await live.get("/api/incidents", token=INTAKE_KEY)).status == 401


async def test_a_session_must_prove_that_an_unsafe_request_was_meant(live: Live, tokens: dict[Role, str]) -> None:
    session = await sign_in(live, Role.RESPONDER)
    incident = await live.open_incident()
    path = f"/api/incidents/{incident['number']}/acknowledge"
    other = await sign_in(live, Role.SUPERADMIN)
    for headers in ({"Cookie": session.cookie}, {"Cookie": session.cookie, "X-CSRF-Token": other.csrf_token}):
        refused = await live.call("POST", path, headers=headers, json={"notes": "forged"})
        assert (refused.status, refused.code) == (403, "FORBIDDEN")
    assert (await live.call("GET", "/api/incidents", headers={"Cookie": session.cookie})).status == 200
    assert (await live.call("POST", path, headers=session.headers, json={"notes": "meant"})).status == 200


async def test_a_bad_bearer_token_is_not_overruled_by_a_good_cookie(live: Live, tokens: dict[Role, str]) -> None:
    session = await sign_in(live, Role.AUDITOR)
    headers = session.headers | {"Authorization": "Bearer ended"}
    assert (await live.call("GET", "/api/incidents", headers=headers)).status == 401


async def test_an_unknown_path_and_method_are_said_to_be_so(live: Live) -> None:
    assert (await live.get("/api/admin/nothing")).code == "NOT_FOUND"
    assert (await live.get("/api/incidents/")).code == "NOT_FOUND"
    wrong = await live.call("DELETE", "/api/incidents", token=ADMIN_TOKEN)
    assert (wrong.status, wrong.code, wrong.headers["Allow"]) == (405, "METHOD_NOT_ALLOWED", "GET, HEAD, POST")


async def _block(live: Live, app: App, clock: FakeClock) -> int:
    incident = await live.open_incident(severity="CRITICAL")
    clock.forward(hours=2)
    async with app.work() as work:
        incident_id = await work.tx.value(b"SELECT incident_id FROM incident_heads")
        await run_timers(work, incident_id)
    number: int = incident["number"]
    return number


async def test_a_blocked_session_is_told_why_until_somebody_acknowledges(
    live: Live, app: App, clock: FakeClock, tokens: dict[Role, str]
) -> None:
    sessions: dict[Role, Session] = {role: await sign_in(live, role) for role in Role}
    number = await _block(live, app, clock)
    for role in (Role.AUDITOR, Role.MEMBER):
        for path in ("/api/incidents", "/api/auth/session", "/metrics"):
            answer = await live.call("GET", path, headers=sessions[role].headers)
            assert (answer.status, answer.code) == (403, "SESSION_BLOCKED")
            assert answer.json["incident"]["number"] == number
    assert (await live.get("/api/incidents", token=tokens[Role.AUDITOR])).status == 200
    assert (await live.call("GET", "/healthz", headers=sessions[Role.MEMBER].headers)).status == 200
    for role in (Role.RESPONDER, Role.SUPERADMIN):
        assert (await live.call("GET", "/api/incidents", headers=sessions[role].headers)).status == 200
    acknowledged = await live.call(
        "POST",
        f"/api/incidents/{number}/acknowledge",
        headers=sessions[Role.RESPONDER].headers,
        json={"notes": "On it"},
    )
    assert acknowledged.status == 200
    assert (await live.call("GET", "/api/incidents", headers=sessions[Role.AUDITOR].headers)).status == 200


async def test_a_blocked_session_can_sign_out(live: Live, app: App, clock: FakeClock, tokens: dict[Role, str]) -> None:
    session = await sign_in(live, Role.MEMBER)
    await _block(live, app, clock)
    out = await live.call("POST", "/api/auth/sign-out", headers=session.headers)
    assert out.status == 204
    assert (await live.call("GET", "/api/auth/session", headers=session.headers)).status == 401
    blocked = await rows(app, b"SELECT count(*) FROM audit_access_log WHERE outcome = 'SESSION_BLOCKED'")
    assert blocked == [(0,)]


async def test_a_sign_in_while_an_incident_blocks_is_born_blocked(
    live: Live, app: App, clock: FakeClock, tokens: dict[Role, str]
) -> None:
    await _block(live, app, clock)
    session = await sign_in(live, Role.MEMBER)
    assert (await live.call("GET", "/api/auth/session", headers=session.headers)).code == "SESSION_BLOCKED"
