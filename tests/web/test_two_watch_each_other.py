"""Two Tocsins watch each other: the watchdog of one is the heartbeat of the other."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network

import pytest

from tests.support.clock import FakeClock
from tests.web.conftest import Live, rows
from tocsin.app import heartbeats, leases
from tocsin.app.work import App
from tocsin.bootstrap import watchdog_of
from tocsin.domain.access import Actor
from tocsin.domain.heartbeat import Interval, Plan
from tocsin.domain.incident import Severity
from tocsin.ids import new_id
from tocsin.worker.run import run_due

pytestmark = pytest.mark.anyio


async def test_a_tocsin_that_falls_silent_is_an_incident_of_the_other(
    live: Live, app: App, admin: Actor, clock: FakeClock
) -> None:
    plan = Plan(Interval(timedelta(minutes=1)), timedelta(minutes=5))
    async with app.work() as work:
        key = await heartbeats.add(work, admin, 1, "other-tocsin", plan, Severity.CRITICAL)
    path = f"/api/v1/heartbeats/{key}"
    # One installation plays both; what is called, and what calls, know nothing of each other.
    inside = {"webhook_allowed_networks": (ip_network("127.0.0.0/8"),)}
    calling = {"watchdog_url": live.url + path, "watchdog_fail_url": f"{live.url}{path}?status=error"}
    settings = app.settings.model_copy(update=inside | calling)
    worker = new_id()
    async with watchdog_of(settings) as watchdog:
        assert watchdog is not None
        for _ in range(10):
            await leases.worker_seen(app, worker, "here")
            assert await watchdog.run(app)
            clock.forward(minutes=1)
            await run_due(app, {})
        assert await rows(app, b"SELECT count(*) FROM incidents") == [(0,)]
        # It dies.
        for _ in range(3 * 6):
            clock.forward(seconds=20)
            await leases.worker_seen(app, worker, "of the other one, which goes on")
            await run_due(app, {})
        assert await rows(app, b"SELECT severity FROM incidents WHERE project_id = 1") == [("CRITICAL",)]


async def test_a_broken_promise_is_told_at_once(live: Live, app: App, admin: Actor, clock: FakeClock) -> None:
    plan = Plan(Interval(timedelta(minutes=1)), timedelta(minutes=5))
    async with app.work() as work:
        key = await heartbeats.add(work, admin, 1, "other-tocsin", plan, Severity.CRITICAL)
    path = f"/api/v1/heartbeats/{key}"
    inside = {"webhook_allowed_networks": (ip_network("127.0.0.0/8"),)}
    calling = {"watchdog_url": live.url + path, "watchdog_fail_url": f"{live.url}{path}?status=error"}
    async with watchdog_of(app.settings.model_copy(update=inside | calling)) as watchdog:
        assert watchdog is not None
        assert await watchdog.run(app), "no worker is there"
    assert await rows(app, b"SELECT severity FROM incidents WHERE project_id = 1") == [("CRITICAL",)]
