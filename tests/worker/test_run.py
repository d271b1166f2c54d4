"""The worker's loop against the real database and the machine's clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import psycopg
import pytest

from tests.conftest import Installation
from tests.support.servers import Server
from tocsin.app import leases, read_incidents
from tocsin.app.open_incident import open_by_hand
from tocsin.app.paging import ESCALATE
from tocsin.app.wakeups import wakeups
from tocsin.app.work import App
from tocsin.channels import Channel, Delivered, Message, Outcome
from tocsin.clock import monotonic_seconds, system_clock
from tocsin.domain.access import Actor
from tocsin.domain.incident import Severity
from tocsin.store import jobs
from tocsin.store.jobs import NewJob
from tocsin.worker.run import Worker

pytestmark = pytest.mark.anyio


class Recorder:
    """A channel that keeps what it was given; `gate` holds deliveries back until it is opened."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Message]] = []
        self.started = asyncio.Event()
        self.delivered = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, address: str, message: Message) -> Outcome:
        self.started.set()
        await self.gate.wait()
        self.sent.append((address, message))
        self.delivered.set()
        return Delivered("250 kept")


@pytest.fixture
def live(installation: Installation) -> App:
    """The application on the machine's clock."""
    app = installation.app
    return App(app.database, app.settings, system_clock)


@asynccontextmanager
async def working(app: App, channel: Channel) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(Worker(app, {"email": channel}, "test").run(stop))
        try:
            yield stop
        finally:
            stop.set()


async def _open(app: App, admin: Actor, title: str = "It broke") -> None:
    async with app.work() as work:
        await open_by_hand(work, admin, severity=Severity.HIGH, title=title, description="")


async def test_a_worker_that_sleeps_is_woken_by_the_commit(live: App, admin: Actor) -> None:
    channel = Recorder()
    async with working(live, channel):
        await _open(live, admin, "first")
        await channel.delivered.wait()
        channel.delivered.clear()
        opened_at = monotonic_seconds()
        await _open(live, admin, "second")
        await channel.delivered.wait()
        assert monotonic_seconds() - opened_at < 2
    assert [message.subject for _, message in channel.sent] == ["[HIGH] INC-1 first", "[HIGH] INC-2 second"]


async def test_stopping_lets_a_delivery_that_is_under_way_end(live: App, admin: Actor) -> None:
    channel = Recorder()
    channel.gate.clear()
    async with working(live, channel) as stop:
        await _open(live, admin)
        await channel.started.wait()
        stop.set()
        channel.gate.set()
    async with live.work() as work:
        detail = await read_incidents.show_incident(work, admin, 1)
    assert [(page.state, page.attempts) for page in detail.notifications] == [("DELIVERED", 1)]


async def test_a_timer_fires_within_a_second_of_its_instant(live: App, admin: Actor) -> None:
    async with live.work() as work:
        ref = await open_by_hand(work, admin, severity=Severity.HIGH, title="It broke", description="")
    ahead = timedelta(hours=1) - timedelta(seconds=1.5)
    moved = App(live.database, live.settings, lambda: system_clock() + ahead)
    async with working(moved, Recorder()), asyncio.timeout(10):
        while True:
            async with moved.work() as work:
                detail = await read_incidents.show_incident(work, admin, ref)
            if detail.escalations:
                break
            await asyncio.sleep(0.05)
    due_at = detail.incident.created_at + timedelta(hours=1)
    late = detail.escalations[0].escalated_at - due_at
    assert timedelta(0) <= late < timedelta(seconds=1)


async def _escalated_at(live: App, admin: Actor, incidents: int) -> list[datetime]:
    """Let a worker find the timers of so many incidents due; return when each fired."""
    for number in range(incidents):
        await _open(live, admin, f"Failure {number}")
    moved = App(live.database, live.settings, lambda: system_clock() + timedelta(hours=1, seconds=1))
    fired: list[datetime] = []
    async with working(moved, Recorder()), asyncio.timeout(15):
        while len(fired) < incidents:
            await asyncio.sleep(0.05)
            async with moved.work() as work:
                shown = [await read_incidents.show_incident(work, admin, 1 + number) for number in range(incidents)]
            fired = [escalation.escalated_at for detail in shown for escalation in detail.escalations]
    return fired


async def test_timers_that_are_due_at_once_share_a_transaction(live: App, admin: Actor) -> None:
    fired = await _escalated_at(live, admin, 20)
    assert len(fired) == 20
    assert len(set(fired)) == 1


@pytest.mark.slow
async def test_of_timers_that_are_due_at_once_a_bad_one_holds_up_no_other(live: App, admin: Actor) -> None:
    async with live.work() as work:
        bad = NewJob(work.new_id(), ESCALATE, "bad", {"incidentId": str(work.new_id())}, work.now)
        await jobs.enqueue_many(work.tx, [bad], work.now)
    fired = await _escalated_at(live, admin, 5)
    assert len(fired) == 5
    assert len(set(fired)) == 5, "together they were nothing: each by itself"


async def test_a_worker_says_that_it_is_alive_and_that_it_left(live: App, server: Server, database_name: str) -> None:
    with psycopg.connect(server.conninfo(database_name), autocommit=True) as connection:
        async with working(live, Recorder()), asyncio.timeout(5):
            while connection.execute("SELECT count(*) FROM tocsin.workers").fetchone() == (0,):
                await asyncio.sleep(0.02)
        assert connection.execute("SELECT count(*) FROM tocsin.workers").fetchone() == (0,)


@pytest.mark.slow
async def test_a_worker_outlives_a_database_that_drops_every_connection(
    live: App, admin: Actor, server: Server, database_name: str
) -> None:
    channel = Recorder()
    async with working(live, channel):
        await _open(live, admin, "before")
        await channel.delivered.wait()
        channel.delivered.clear()
        with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [database_name]
            )
        await _open(live, admin, "after")
        await channel.delivered.wait()
    # What was being sent when the connections went may be sent again, once its lease has ended: never more than that.
    assert {message.subject for _, message in channel.sent} == {"[HIGH] INC-1 before", "[HIGH] INC-2 after"}


async def test_a_worker_that_died_after_claiming_loses_nothing(installation: Installation) -> None:
    app, admin = installation.app, installation.admin
    await _open(app, admin)
    assert (await leases.claim(app, ["deliver"], 10)).leases
    assert not (await leases.claim(app, ["deliver"], 10)).leases
    doubting = App(app.database, app.settings, lambda: app.clock() + leases.LEASE)
    assert not (await leases.claim(doubting, ["deliver"], 10)).leases
    later = App(app.database, app.settings, lambda: app.clock() + leases.LEASE + leases.DOUBT)
    assert (await leases.claim(later, ["deliver"], 10)).leases


async def test_only_those_are_called_whose_work_is_due_soon(live: App, admin: Actor) -> None:
    calls: list[str] = []
    called = asyncio.Event()

    async def listen() -> None:
        async for kind in wakeups(live):
            calls.append(kind)
            called.set()

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        listening = group.create_task(listen())
        await called.wait()
        await _open(live, admin)
        while len(calls) < 2:
            called.clear()
            await called.wait()
        listening.cancel()
    # The page is due now, the timer in an hour.
    assert calls == ["", "deliver"]
