"""Health, readiness, metrics, documentation, headers; and what happens when something of ours fails."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator

import aiohttp
import psycopg
import pytest

from tests.conftest import INTAKE_KEY
from tests.support.clock import FakeClock
from tests.support.servers import Server
from tests.web.conftest import Live, finish, rows, start
from tocsin import ids
from tocsin.app import projects, take_in
from tocsin.app.leases import worker_seen
from tocsin.app.work import App
from tocsin.domain.access import Role
from tocsin.errors import Code
from tocsin.settings import Settings
from tocsin.store import database
from tocsin.store.database import Database
from tocsin.web.endpoints import ENDPOINTS
from tocsin.web.openapi import codes_of, describe
from tocsin.web.problems import KINDS, anchor_of

pytestmark = pytest.mark.anyio


async def test_alive_and_ready_are_two_questions(live: Live, app: App, clock: FakeClock) -> None:
    alive = await live.call("GET", "/healthz")
    assert (alive.status, alive.json) == (200, {"status": "ok"})
    not_ready = await live.call("GET", "/readyz")
    assert (not_ready.status, not_ready.json["status"]) == (503, "not ready")
    assert [check["name"] for check in not_ready.json["checks"]] == ["no_worker", "channel_not_configured"]
    await worker_seen(app, ids.new_id(), "w1")
    ready = await live.call("GET", "/readyz")
    assert (ready.status, ready.json["status"]) == (200, "ready")
    (check,) = ready.json["checks"]
    assert (check["name"], check["stopsService"]) == ("channel_not_configured", False)
    assert "ada" not in ready.body.decode(), "everybody may ask: nobody is named"


@pytest.fixture
async def without_database(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Live]:
    """A server whose database cannot be reached."""
    monkeypatch.setattr(database, "POOL_TIMEOUT_SECONDS", 0.2)
    for holding in (projects, take_in):
        monkeypatch.setattr(holding, "HOLD_SECONDS", 0.5)
    nowhere = Database("host=127.0.0.1 port=1 dbname=secret_name user=secret_user connect_timeout=1", size=2)
    await nowhere.open()
    running = await start(App(nowhere, settings, clock))
    try:
        async with aiohttp.ClientSession() as http:
            yield Live(running.url, http, App(nowhere, settings, clock))
    finally:
        await finish(running)
        await nowhere.close()


@pytest.mark.slow
async def test_without_a_database_everything_says_so_and_nothing_is_accepted(without_database: Live) -> None:
    live = without_database
    assert (await live.call("GET", "/healthz")).status == 200
    ready = await live.call("GET", "/readyz")
    assert (ready.status, [check["name"] for check in ready.json["checks"]]) == (503, ["database"])
    assert b"secret" not in ready.body
    envelope = {"X-Sentry-Auth": f"Sentry sentry_key={INTAKE_KEY}"}
    for answer in (
        await live.report({"severity": "error", "message": "x"}),
        await live.call("POST", "/api/1/envelope/", data=b"{}", headers=envelope),
        await live.get("/api/incidents"),
        await live.call("POST", "/api/auth/sign-in", json={"email": "a@b", "password": "c"}),
    ):
        assert (answer.status, answer.code) == (503, "UNAVAILABLE")
        assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.slow
async def test_a_failure_of_ours_is_a_500_and_an_incident(live: Live, server: Server, database_name: str) -> None:
    with psycopg.connect(server.conninfo(database_name), autocommit=True) as superuser:
        superuser.execute("SELECT tocsin_guard.suspend()")
        superuser.execute("ALTER TABLE tocsin.policy_steps RENAME TO hidden")
        broken = await live.get("/api/incidents/stats")
        superuser.execute("ALTER TABLE tocsin.hidden RENAME TO policy_steps")
    assert (broken.status, broken.code) == (500, "INTERNAL")
    assert b"policy_steps" not in broken.body
    logged = await rows(live.app, b"SELECT status, outcome FROM audit_access_log")
    assert logged == [(500, "INTERNAL")]


@pytest.mark.slow
async def test_a_failure_that_leaves_the_database_usable_is_reported_to_people(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tocsin.app import read_incidents

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug \x00 of ours")

    monkeypatch.setattr(read_incidents, "escalation_stats", broken)
    answer = await live.get("/api/incidents/stats/escalations")
    assert (answer.status, answer.code) == (500, "INTERNAL")
    [incident] = (await live.get("/api/incidents")).json["incidents"]
    assert incident["title"].startswith("RuntimeError: GET /api/incidents/stats/escalations")
    assert answer.json["requestId"] in incident["description"]


async def test_metrics_are_for_who_may_read(live: Live, tokens: dict[Role, str]) -> None:
    await live.open_incident(severity="CRITICAL")
    await live.report([{"severity": "low", "message": "x", "eventId": "1"}, 5])
    await live.get("/api/incidents/1")
    assert (await live.call("GET", "/metrics")).status == 401
    answer = await live.get("/metrics", token=tokens[Role.AUDITOR])
    assert answer.headers["Content-Type"].startswith("text/plain")
    text = answer.body.decode()
    for line in (
        'tocsin_open_incidents{status="REPORTED"} 1.0',
        'tocsin_open_incidents_by_severity{severity="CRITICAL"} 1.0',
        'tocsin_reports_total{outcome="recorded"} 1.0',
        'tocsin_reports_total{outcome="rejected"} 1.0',
        "tocsin_unsent_pages 1.0",
        "tocsin_workers_alive 0.0",
        'tocsin_http_requests_total{method="GET",route="/api/incidents/{id}",status="200"} 1.0',
    ):
        assert line in text, text


async def test_two_applications_count_apart(live: Live, app: App) -> None:
    other = await start(app)
    try:
        text = (await live.get("/metrics")).body.decode()
    finally:
        await finish(other)
    assert "tocsin_http_requests_total{" not in text


async def test_every_answer_carries_the_security_headers(live: Live) -> None:
    for path in ("/healthz", "/api/incidents", "/nothing", "/docs", "/openapi.json", "/api/auth/session"):
        answer = await live.call("GET", path)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert re.fullmatch("[0-9a-f-]{36}", answer.headers["X-Request-Id"])
        assert "Server" not in answer.headers
        assert (answer.headers.get("Cache-Control") == "no-store") is path.startswith("/api/")


async def test_the_documentation_is_one_page_with_nothing_from_elsewhere(live: Live) -> None:
    page = await live.call("GET", "/docs")
    html = page.body.decode()
    assert "<script" not in html
    assert re.findall(r"(?:src|href)=\"(?!/openapi\.json)", html) == []
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page.headers["Content-Security-Policy"]
    for code in Code:
        assert f'id="{anchor_of(code)}"' in html
    for endpoint in ENDPOINTS:
        assert f"<code>{endpoint.path}</code>" in html


async def test_the_description_names_every_endpoint_and_every_problem(live: Live) -> None:
    document = (await live.call("GET", "/openapi.json")).json
    assert document["openapi"] == "3.1.0"
    for endpoint in ENDPOINTS:
        operation = document["paths"][endpoint.path][endpoint.method.lower()]
        for code in codes_of(endpoint):
            assert code in operation["responses"][str(KINDS[code].status)]["description"]
        assert operation["summary"]
    operation_ids = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(set(operation_ids)) == len(operation_ids)


def test_every_code_has_an_answer() -> None:
    assert set(KINDS) == set(Code)


def test_the_description_refers_to_nothing_that_is_missing() -> None:
    document = describe(ENDPOINTS, "tocsin_session")
    found = set(re.findall(r"#/components/(\w+)/([\w-]+)", str(document)))
    for kind, name in found:
        assert name in document["components"][kind]
