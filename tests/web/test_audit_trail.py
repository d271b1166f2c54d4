"""Every access to the administration is on record before it is answered, refused ones too."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.conftest import ADMIN_TOKEN
from tests.support.servers import Server
from tests.web.conftest import Live, rows, sign_in
from tocsin.app.work import App
from tocsin.domain.access import Actor, Role

pytestmark = pytest.mark.anyio

LOG = (
    b"SELECT action, target, status, outcome, user_id, split_part(credential, ':', 1), client_address, request_id "
    b"FROM audit_access_log ORDER BY id"
)


async def _latest(app: App) -> tuple[Any, ...]:
    return (await rows(app, LOG))[-1]


async def test_every_outcome_is_on_record(live: Live, admin: Actor, tokens: dict[Role, str]) -> None:
    incident = await live.open_incident()
    one = f"/api/incidents/{incident['number']}"
    cases: list[tuple[str, str, dict[str, Any], str, int, str, bool]] = [
        ("GET", "/api/admin/incidents?limit=5", {"token": ADMIN_TOKEN}, "/api/admin/incidents", 200, "OK", True),
        ("GET", "/api/admin/incidents", {}, "/api/admin/incidents", 401, "UNAUTHORIZED", False),
        ("GET", "/api/admin/incidents", {"token": "x"}, "/api/admin/incidents", 401, "UNAUTHORIZED", False),
        (
            "GET", "/api/admin/incidents", {"token": tokens[Role.AUDITOR]},
            "/api/admin/incidents", 403, "FORBIDDEN", True,
        ),
        ("GET", "/api/incidents/99", {"token": ADMIN_TOKEN}, "/api/incidents/{id}", 404, "NOT_FOUND", True),
        ("GET", "/api/admin/nothing", {"token": ADMIN_TOKEN}, "(no such path)", 404, "NOT_FOUND", True),
        ("PUT", "/api/incidents", {"token": ADMIN_TOKEN}, "/api/incidents", 405, "METHOD_NOT_ALLOWED", True),
        (
            "POST", f"{one}/investigate", {"token": ADMIN_TOKEN},
            "/api/incidents/{id}/investigate", 409, "NOT_ACKNOWLEDGED", True,
        ),
        (
            "POST", f"{one}/acknowledge", {"token": ADMIN_TOKEN, "json": {}},
            "/api/incidents/{id}/acknowledge", 422, "INVALID", True,
        ),
    ]  # fmt: skip
    for method, path, more, route, status, outcome, known in cases:
        answer = await live.call(method, path, **more)
        assert answer.status == status, (method, path, answer.body)
        action, target, logged_status, logged_outcome, user_id, credential, address, request_id = await _latest(
            live.app
        )
        assert (action, target) == (f"{method} {route}", path.partition("?")[0])
        assert (logged_status, logged_outcome) == (status, outcome)
        assert (user_id is not None, credential) == ((True, "token") if known else (False, "none"))
        assert address == "127.0.0.1"
        assert str(request_id) == answer.headers["X-Request-Id"]


async def test_signing_in_and_out_is_on_record(live: Live, admin: Actor) -> None:
    wrong = await live.call("POST", "/api/auth/sign-in", json={"email": "ada@example.org", "password": "wrong"})
    assert wrong.status == 401
    assert (await _latest(live.app))[2:6] == (401, "UNAUTHORIZED", None, "none")
    session = await sign_in(live, Role.SUPERADMIN)
    assert (await _latest(live.app))[2:6] == (200, "OK", admin.user_id, "password")
    await live.call("POST", "/api/auth/sign-out", headers=session.headers)
    assert (await _latest(live.app))[2:6] == (204, "OK", admin.user_id, "session")


async def test_what_cannot_be_recorded_is_not_answered(live: Live, server: Server, database_name: str) -> None:
    incident = await live.open_incident(title="A secret of the shop")
    with psycopg.connect(server.conninfo(database_name), autocommit=True) as superuser:
        superuser.execute("SELECT tocsin_guard.suspend()")
        superuser.execute("REVOKE INSERT ON tocsin.audit_access_log FROM tocsin_app")
    read = await live.get(f"/api/admin/incidents/{incident['number']}")
    assert (read.status, read.code) == (503, "UNAVAILABLE")
    assert b"secret" not in read.body
    assert read.headers["Retry-After"].isdecimal()
    signed_in = await live.call(
        "POST", "/api/auth/sign-in", json={"email": "ada@example.org", "password": "correct horse battery"}
    )
    assert signed_in.status == 503
    assert "Set-Cookie" not in signed_in.headers
    with psycopg.connect(server.conninfo(database_name), autocommit=True) as superuser:
        superuser.execute("GRANT INSERT ON tocsin.audit_access_log TO tocsin_app")
    assert (await live.get(f"/api/admin/incidents/{incident['number']}")).status == 200


async def test_an_answer_that_was_held_back_is_given_when_the_request_is_repeated(
    live: Live, server: Server, database_name: str
) -> None:
    incident = await live.open_incident()
    path, said = f"/api/incidents/{incident['number']}/acknowledge", {"notes": "On it"}
    with psycopg.connect(server.conninfo(database_name), autocommit=True) as superuser:
        superuser.execute("SELECT tocsin_guard.suspend()")
        superuser.execute("REVOKE INSERT ON tocsin.audit_access_log FROM tocsin_app")
        assert (await live.post(path, said, headers={"Idempotency-Key": "k"})).status == 503
        superuser.execute("GRANT INSERT ON tocsin.audit_access_log TO tocsin_app")
    assert (await live.post(path, said, headers={"Idempotency-Key": "k"})).status == 200


async def test_the_address_is_that_of_the_connection_whatever_a_header_claims(live: Live) -> None:
    await live.get("/api/incidents", headers={"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"})
    assert (await _latest(live.app))[6] == "127.0.0.1"


async def test_intake_and_health_are_not_on_record(live: Live) -> None:
    await live.report({"severity": "low", "message": "hm"})
    await live.get("/healthz")
    assert await rows(live.app, LOG) == []
