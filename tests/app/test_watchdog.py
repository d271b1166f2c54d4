"""The watchdog: it calls while every promise holds, is silent otherwise, and of many workers one calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_network
from uuid import UUID

import pytest
from aiohttp import web

from tests.app.conftest import Crew, Inbox, Tables, run, with_settings
from tests.support.clock import FakeClock
from tests.support.lives import reported
from tocsin.address_guard import AddressGuard
from tocsin.app import health, leases
from tocsin.app.watchdog import LEASE, Watchdog
from tocsin.app.work import App
from tocsin.bootstrap import watchdog_of
from tocsin.channels import Rejected
from tocsin.outside.http import Http

pytestmark = pytest.mark.anyio

EVERY = timedelta(seconds=60)
INSIDE = (ip_network("127.0.0.0/8"),)


@pytest.fixture(autouse=True)
def _nobody_seals(monkeypatch: pytest.MonkeyPatch) -> None:
    # These tests have no sealer and no signer, and that the log waits for them is a broken promise, too.
    monkeypatch.setattr(health, "LOG_PATIENCE", timedelta(days=1))


@dataclass(slots=True)
class Outside:
    """Somebody on loopback who is called."""

    url: str = ""
    status: int = 200
    calls: list[str] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.calls.append(f"{request.method} {request.path}")
        return web.Response(status=self.status, text="no such check" if self.status >= 400 else "OK")


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    """A receiver of calls."""
    receiver = Outside()
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", receiver.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = site.name
    yield receiver
    await runner.cleanup()


@pytest.fixture
async def watchdog(outside: Outside) -> AsyncIterator[Watchdog]:
    """What calls them."""
    async with Http(AddressGuard(INSIDE), timeout_seconds=5) as http:
        yield Watchdog(http, f"{outside.url}/ping", None, EVERY)


async def look(app: App, watchdog: Watchdog) -> bool:
    """Let a worker that is alive look whether to call."""
    await leases.worker_seen(app, UUID(int=1), "here")
    return await watchdog.run(app)


async def problems(app: App) -> list[str]:
    """Return what is wrong, as the readiness check names it."""
    async with app.work() as work:
        found = (await health.condition(work)).problems
    # These tests have no mail server: that nobody could be paged by e-mail is beside the point.
    return [problem.name for problem in found if problem.name != "channel_not_configured"]


async def test_it_calls_on_time_and_no_more(app: App, clock: FakeClock, watchdog: Watchdog, outside: Outside) -> None:
    for _ in range(3):
        assert await look(app, watchdog)
        assert not await look(app, watchdog)
        clock.forward(seconds=59)
        assert not await look(app, watchdog)
        clock.forward(seconds=1)
    assert outside.calls == ["GET /ping"] * 3


async def test_it_is_silent_while_a_page_cannot_leave_and_calls_again_when_it_has_left(
    app: App, crew: Crew, clock: FakeClock, watchdog: Watchdog, outside: Outside, inbox: Inbox, tables: Tables
) -> None:
    await reported(app)
    clock.forward(minutes=3)
    assert await look(app, watchdog)
    assert outside.calls == []
    (withheld,) = tables.rows("SELECT withheld_since, withheld, called_at FROM watchdog")
    assert withheld[0] == clock.now
    assert "1 page is not delivered" in withheld[1]
    await run(app, inbox)
    clock.forward(seconds=60)
    await look(app, watchdog)
    assert outside.calls == ["GET /ping"]
    assert tables.rows("SELECT withheld_since, withheld, called_at FROM watchdog") == [(None, None, clock.now)]


async def test_who_is_to_be_told_of_a_broken_promise_is(
    app: App, clock: FakeClock, watchdog: Watchdog, outside: Outside, tables: Tables
) -> None:
    told = Watchdog(watchdog.http, watchdog.url, f"{outside.url}/fail", EVERY)
    assert await told.run(app), "no worker has been seen: not even ready"
    assert outside.calls == ["GET /fail"]
    assert tables.value("SELECT called_at FROM watchdog") is None


async def test_dead_jobs_silence_it_and_a_page_of_which_others_were_told_does_not(
    app: App, crew: Crew, clock: FakeClock, watchdog: Watchdog, outside: Outside, inbox: Inbox, tables: Tables
) -> None:
    await reported(app)
    inbox.answers = [Rejected("550 no such user")]
    await run(app, inbox)
    await look(app, watchdog)
    assert "failed_pages" in await problems(app)
    assert outside.calls == ["GET /ping"]
    tables.connection.execute("UPDATE jobs SET dead_at = now() WHERE kind = 'escalate'")
    clock.forward(seconds=60)
    await look(app, watchdog)
    assert outside.calls == ["GET /ping"]


async def test_of_many_workers_one_calls(app: App, watchdog: Watchdog, outside: Outside) -> None:
    await leases.worker_seen(app, UUID(int=1), "here")
    due = await asyncio.gather(*(watchdog.run(app) for _ in range(6)))
    assert sorted(due) == [False] * 5 + [True]
    assert outside.calls == ["GET /ping"]


async def test_a_worker_that_dies_over_a_call_holds_it_up_for_the_length_of_a_lease(
    app: App, clock: FakeClock, watchdog: Watchdog, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Http, "ask", die)
        with pytest.raises(KeyboardInterrupt):
            await look(app, watchdog)
    clock.forward(seconds=LEASE.total_seconds() - 1)
    assert not await look(app, watchdog)
    clock.forward(seconds=1)
    assert await look(app, watchdog)
    assert outside.calls == ["GET /ping"]


async def test_a_call_that_is_not_answered_is_told_after_a_while_and_does_not_silence_itself(
    app: App, clock: FakeClock, watchdog: Watchdog, outside: Outside, tables: Tables
) -> None:
    outside.status = 404
    began = clock.now
    for failures in (1, 2, 3):
        await look(app, watchdog)
        assert ("watchdog" in await problems(app)) is (failures == 3)
        clock.forward(seconds=60)
    assert tables.rows("SELECT failing_since, failures, failure FROM watchdog") == [
        (began, 3, "it answers 404 no such check")
    ]
    outside.status = 200
    await look(app, watchdog)
    assert await problems(app) == []
    assert len(outside.calls) == 4


async def test_it_may_not_be_aimed_at_the_inside(app: App, outside: Outside, tables: Tables) -> None:
    async with watchdog_of(with_settings(app, watchdog_url=f"{outside.url}/x").settings) as aimed:
        assert aimed is not None
        await look(app, aimed)
    assert outside.calls == []
    assert "loopback" in tables.value("SELECT failure FROM watchdog")


async def test_where_the_setting_is_gone_nothing_is_said_of_it_after_a_day(
    app: App, clock: FakeClock, watchdog: Watchdog, outside: Outside
) -> None:
    outside.status = 500
    for _ in range(3):
        await look(app, watchdog)
        clock.forward(seconds=60)
    await leases.worker_seen(app, UUID(int=1), "here")
    assert await problems(app) == ["watchdog"]
    clock.forward(days=1)
    await leases.worker_seen(app, UUID(int=1), "here")
    assert await problems(app) == []
    async with watchdog_of(app.settings) as nobody:
        assert nobody is None
