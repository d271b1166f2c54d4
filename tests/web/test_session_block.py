"""What the session guards of applications are told: whether a critical incident blocks, and no more than that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import aiohttp
import pytest

from tests.conftest import INTAKE_KEY
from tests.support.clock import FakeClock
from tests.web.conftest import Answer, Live, finish, start
from tocsin.app import respond
from tocsin.app.escalate import run_timers
from tocsin.app.projects import add_project
from tocsin.app.work import App
from tocsin.domain.access import Actor
from tocsin.domain.workflow import Acknowledge

pytestmark = pytest.mark.anyio

PATH = "/api/v1/session-block"
CRITICAL = {"severity": "critical", "type": "Broken", "message": "of secrets"}


@pytest.fixture
def blocking(app: App) -> App:
    """The application of an operator who wants it to hurt."""
    return App(app.database, app.settings.model_copy(update={"session_blocking": True}), app.clock)


@pytest.fixture
async def guarded(blocking: App) -> AsyncIterator[Live]:
    """A server on which sessions can be blocked."""
    running = await start(blocking)
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            yield Live(running.url, http, blocking)
    finally:
        await finish(running)


async def ask(live: Live, etag: str | None = None, *, key: str | None = INTAKE_KEY) -> Answer:
    """Ask as a guard does."""
    return await live.call("GET", PATH, token=key, headers={"If-None-Match": etag} if etag else {})


async def block(live: Live, clock: FakeClock) -> int:
    """Report something critical that nobody takes for two hours; return the incident's number."""
    answer = await live.report(CRITICAL)
    incident_id = UUID(answer.json["accepted"][0]["incidentId"])
    clock.forward(hours=2)
    async with live.app.work() as work:
        await run_timers(work, incident_id)
    number: int = (await live.get(f"/api/incidents/{incident_id}")).json["incident"]["number"]
    return number


async def test_a_guard_hears_of_a_block_and_of_its_end(guarded: Live, admin: Actor, clock: FakeClock) -> None:
    free = await ask(guarded)
    assert (free.status, free.json) == (200, {"blocked": False, "incident": None})
    number = await block(guarded, clock)
    blocked = await ask(guarded)
    assert blocked.json == {
        "blocked": True,
        "incident": {"number": number, "severity": "CRITICAL", "since": "2026-03-01T03:00:00Z"},
    }
    assert b"secrets" not in blocked.body, "whoever is blocked may not be allowed to read what it is about"
    async with guarded.app.work() as work:
        await respond.acknowledge(work, admin, number, Acknowledge("On it"))
    assert (await ask(guarded)).json == free.json


async def test_what_the_guard_knows_already_is_not_told_again(guarded: Live, clock: FakeClock) -> None:
    free = await ask(guarded)
    etag = free.headers["ETag"]
    same = await ask(guarded, etag)
    assert (same.status, same.body, same.headers["ETag"]) == (304, b"", etag)
    await block(guarded, clock)
    changed = await ask(guarded, etag)
    assert (changed.status, changed.json["blocked"]) == (200, True)
    assert changed.headers["ETag"] != etag
    assert (await ask(guarded, changed.headers["ETag"])).status == 304
    assert (await ask(guarded, '"another"')).status == 200
    assert free.headers["Cache-Control"] == "no-cache"


async def test_two_incidents_of_the_same_hour_are_told_apart(guarded: Live, admin: Actor, clock: FakeClock) -> None:
    first = await block(guarded, clock)
    etag = (await ask(guarded)).headers["ETag"]
    async with guarded.app.work() as work:
        await respond.acknowledge(work, admin, first, Acknowledge("On it"))
    second = await guarded.report(CRITICAL | {"type": "Other"})
    clock.forward(hours=2)
    async with guarded.app.work() as work:
        await run_timers(work, UUID(second.json["accepted"][0]["incidentId"]))
    answer = await ask(guarded, etag)
    assert (answer.status, answer.json["incident"]["number"]) == (200, first + 1)


async def test_it_takes_the_key_of_any_project_and_nothing_less(guarded: Live, admin: Actor) -> None:
    async with guarded.app.work() as work:
        _, other = await add_project(work, admin, "other")
    assert (await ask(guarded, key=other)).status == 200
    for wrong in (None, "0" * 32, "x" * 500):
        refused = await ask(guarded, key=wrong)
        assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
        assert "ETag" not in refused.headers
    by_header = await guarded.call("GET", PATH, headers={"X-Tocsin-Key": INTAKE_KEY})
    assert by_header.status == 200
    known = (await ask(guarded)).headers["ETag"]
    assert (await ask(guarded, known, key=None)).status == 401, "a known answer opens no door"


async def test_where_blocking_is_switched_off_nobody_is_blocked(live: Live, guarded: Live, clock: FakeClock) -> None:
    await block(guarded, clock)
    assert (await ask(guarded)).json["blocked"] is True
    assert (await ask(live)).json == {"blocked": False, "incident": None}


async def test_the_head_alone_is_answered_too(guarded: Live) -> None:
    answer = await guarded.call("HEAD", PATH, token=INTAKE_KEY)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["ETag"] == (await ask(guarded)).headers["ETag"]
