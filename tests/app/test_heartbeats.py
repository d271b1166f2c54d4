"""Silence becomes an incident, once for each due time; a word brings it back; nobody is blamed for our own absence."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.app.conftest import Crew, Tables
from tests.support.clock import START, FakeClock
from tocsin import ids
from tocsin.app import heartbeats, leases
from tocsin.app.heartbeats import HEARTBEAT, Heartbeat, HeartbeatState, Taken, schedule_of
from tocsin.app.work import App
from tocsin.domain.access import Actor
from tocsin.domain.heartbeat import CheckIn, CheckInStatus, Plan, plan
from tocsin.domain.incident import Severity
from tocsin.domain.wall_clock import zone
from tocsin.errors import Code, TocsinError
from tocsin.intake import Rejected
from tocsin.intake.check_in import Monitor, MonitorCheckIn
from tocsin.store import heartbeats as stored

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
HOURLY = plan(schedule_of(HOUR, None), 5 * MINUTE)
OK = CheckIn(CheckInStatus.OK)
NIGHTLY = Monitor("0 4 * * *", "UTC", 5 * MINUTE, 30 * MINUTE)


async def added(app: App, admin: Actor, slug: str = "backup", expected: Plan = HOURLY, **more: Any) -> str:
    """Add a heartbeat to project 1; return its key."""
    async with app.work() as work:
        return await heartbeats.add(work, admin, 1, slug, expected, **more)


async def shown(app: App, admin: Actor, slug: str = "backup") -> Heartbeat:
    """Return a heartbeat of project 1."""
    async with app.work() as work:
        return (await heartbeats.show(work, admin, 1, slug))[0]


async def run_looks(app: App) -> int:
    """Do what a worker does with the looks that are due; return how many there were."""
    claimed = await leases.claim(app, (HEARTBEAT,), 100)
    for lease in claimed.leases:
        async with app.work() as work:
            next_at = await heartbeats.look_at(work, UUID(lease.job.payload["heartbeatId"]))
            if next_at is None:
                await leases.finish(work, lease)
            else:
                await leases.reschedule(work, lease, next_at)
    return len(claimed.leases)


def next_look(tables: Tables) -> datetime:
    """Return when the only heartbeat will be looked at."""
    due_at: datetime = tables.value("SELECT due_at FROM jobs WHERE kind = 'heartbeat'")
    return due_at


def reports(tables: Tables) -> list[tuple[str, str, str | None]]:
    """Return what was reported, in its order: the type, what became of it, and its signal."""
    return tables.rows("SELECT error_type, outcome, signal FROM audit_logs ORDER BY received_at, id")


async def sentry(app: App, *items: MonitorCheckIn | Rejected) -> list[Taken | Rejected]:
    """Take the check-ins of one request of project 1."""
    return await heartbeats.check_in_monitors(app, 1, items)


# --- silence ---------------------------------------------------------------------------------------------------


async def test_silence_opens_an_incident_at_its_instant_and_not_a_moment_earlier(
    app: App, admin: Actor, clock: FakeClock, tables: Tables
) -> None:
    await added(app, admin, severity=Severity.CRITICAL)
    assert next_look(tables) == START + 65 * MINUTE
    clock.now = START + 65 * MINUTE - timedelta(microseconds=1)
    assert await run_looks(app) == 0
    clock.now = START + 65 * MINUTE
    assert await run_looks(app) == 1
    assert reports(tables) == [("HeartbeatMissed", "opened", None)]
    (incident,) = tables.rows("SELECT project_id, severity, title FROM incidents")
    assert incident[:2] == (1, "CRITICAL")
    assert incident[2].startswith("HeartbeatMissed: backup: It was expected by 2026-03-01 04:00:00 UTC")
    assert tables.value("SELECT count(*) FROM notifications") == 1, "somebody is paged"
    now = await shown(app, admin)
    assert (now.state, now.failing_since) == (HeartbeatState.FAILING, START + HOUR)


async def test_each_due_time_is_reported_once_and_all_of_them_are_one_incident(
    app: App, admin: Actor, clock: FakeClock, tables: Tables
) -> None:
    await added(app, admin)
    for _ in range(3):
        clock.now = next_look(tables)
        await run_looks(app)
        await run_looks(app)
    assert [outcome for _, outcome, _ in reports(tables)] == ["opened", "joined", "joined"]
    assert tables.value("SELECT count(DISTINCT event_id) FROM audit_logs") == 3
    assert next_look(tables) == START + 4 * HOUR + 5 * MINUTE


async def test_two_workers_that_look_at_once_report_it_once(
    app: App, admin: Actor, clock: FakeClock, tables: Tables
) -> None:
    await added(app, admin)
    heartbeat_id = tables.value("SELECT id FROM heartbeats")
    clock.forward(minutes=65)

    async def look() -> datetime | None:
        async with app.work() as work:
            return await heartbeats.look_at(work, heartbeat_id)

    assert set(await asyncio.gather(*(look() for _ in range(4)))) == {START + 2 * HOUR + 5 * MINUTE}
    assert reports(tables) == [("HeartbeatMissed", "opened", None)]


async def test_a_check_in_puts_the_silence_off(app: App, admin: Actor, clock: FakeClock, tables: Tables) -> None:
    key = await added(app, admin)
    clock.forward(minutes=40)
    assert await heartbeats.check_in(app, key, OK) == Taken("backup", START + 100 * MINUTE)
    clock.now = START + 65 * MINUTE
    assert await run_looks(app) == 1, "the look of before finds that it is not due"
    assert reports(tables) == []
    assert next_look(tables) == START + 105 * MINUTE
    clock.now = START + 105 * MINUTE
    await run_looks(app)
    assert reports(tables) == [("HeartbeatMissed", "opened", None)]


async def test_what_comes_back_says_so_and_closes_nothing(
    app: App, admin: Actor, clock: FakeClock, tables: Tables
) -> None:
    key = await added(app, admin)
    clock.forward(minutes=65)
    await run_looks(app)
    clock.forward(minutes=10)
    await heartbeats.check_in(app, key, OK)
    await heartbeats.check_in(app, key, OK)
    assert reports(tables) == [("HeartbeatMissed", "opened", None), ("HeartbeatRecovered", "joined", "resolve")]
    assert tables.rows("SELECT status FROM incident_heads") == [("REPORTED",)]
    assert (await shown(app, admin)).state is HeartbeatState.WAITING


async def test_an_error_opens_an_incident_at_once_with_what_was_said(
    app: App, admin: Actor, clock: FakeClock, tables: Tables
) -> None:
    key = await added(app, admin)
    await heartbeats.check_in(app, key, CheckIn(CheckInStatus.ERROR, note="exit code 3\ndisk full"))
    assert reports(tables) == [("HeartbeatFailed", "opened", None)]
    assert tables.value("SELECT title FROM incidents") == ("HeartbeatFailed: backup: It reported an error: exit code 3")
    assert tables.value("SELECT convert_from(document, 'UTF8')::jsonb -> 'context' ->> 'note' FROM audit_logs") == (
        "exit code 3\ndisk full"
    )


async def test_a_run_that_takes_too_long_is_looked_at_earlier_than_its_silence(
    app: App, admin: Actor, clock: FakeClock, tables: Tables
) -> None:
    key = await added(app, admin, expected=replace(HOURLY, max_runtime=10 * MINUTE))
    await heartbeats.check_in(app, key, CheckIn(CheckInStatus.IN_PROGRESS, "r1"))
    assert next_look(tables) == START + 10 * MINUTE
    assert (await shown(app, admin)).state is HeartbeatState.RUNNING
    clock.forward(minutes=10)
    await run_looks(app)
    assert reports(tables) == [("HeartbeatTimedOut", "opened", None)]


async def test_the_sweep_finds_by_state_what_a_lost_job_would_have_missed(
    app: App, admin: Actor, clock: FakeClock, tables: Tables
) -> None:
    await added(app, admin)
    tables.connection.execute("DELETE FROM jobs")
    clock.now = START + 65 * MINUTE + heartbeats.SWEEP_GRACE - timedelta(microseconds=1)
    async with app.work() as work:
        assert await heartbeats.queue_overdue(work) == 0, "younger ones are just being run"
    clock.forward(microseconds=1)
    worker_of(tables, START, clock.now)
    async with app.work() as work:
        assert await heartbeats.queue_overdue(work) == 1
    await run_looks(app)
    assert reports(tables) == [("HeartbeatMissed", "opened", None)]


def worker_of(tables: Tables, started_at: datetime, seen_at: datetime) -> None:
    """Put a worker on record."""
    tables.connection.execute(
        "INSERT INTO workers (id, name, started_at, seen_at) VALUES (%s, 'w', %s, %s)",
        [ids.new_id(), started_at, seen_at],
    )


async def test_while_no_worker_was_there_nobody_is_blamed_and_the_grace_is_given_again(
    app: App, admin: Actor, clock: FakeClock, tables: Tables
) -> None:
    await added(app, admin)
    worker_of(tables, START, START + 30 * MINUTE)
    clock.now = back = START + 10 * HOUR
    worker_of(tables, back, back)
    await run_looks(app)
    assert reports(tables) == []
    assert next_look(tables) == back + 5 * MINUTE
    clock.now = back + 5 * MINUTE
    tables.connection.execute("UPDATE workers SET seen_at = %s WHERE started_at = %s", [clock.now, back])
    await run_looks(app)
    assert reports(tables) == [("HeartbeatMissed", "opened", None)]
    assert next_look(tables) == back + HOUR + 5 * MINUTE, "the hours in between are not missed one by one"


@pytest.mark.parametrize(
    ("started", "seen", "blamed"),
    [
        (START, START + 65 * MINUTE, True),
        (START, START + 65 * MINUTE - timedelta(seconds=30), True),
        (START, START + 65 * MINUTE - timedelta(seconds=31), False),
        (START + 65 * MINUTE, START + 65 * MINUTE, True),
        (START + 65 * MINUTE + timedelta(seconds=1), START + 66 * MINUTE, False),
    ],
)
async def test_a_worker_counts_as_there_from_its_start_until_it_has_been_silent_for_half_a_minute(
    app: App, admin: Actor, clock: FakeClock, tables: Tables, started: datetime, seen: datetime, blamed: bool
) -> None:
    await added(app, admin)
    worker_of(tables, started, seen)
    clock.now = START + 65 * MINUTE + timedelta(seconds=5)
    await run_looks(app)
    assert bool(reports(tables)) is blamed


# --- paused, removed -------------------------------------------------------------------------------------------


async def test_a_paused_heartbeat_is_heard_and_not_watched(
    app: App, crew: Crew, clock: FakeClock, tables: Tables
) -> None:
    key = await added(app, crew.ada)
    async with app.work() as work:
        await heartbeats.pause(work, crew.olga, 1, "backup")
        await heartbeats.pause(work, crew.olga, 1, "backup")
    clock.forward(hours=5)
    assert await heartbeats.check_in(app, key, CheckIn(CheckInStatus.ERROR)) == Taken("backup", None)
    await run_looks(app)
    assert reports(tables) == []
    now = await shown(app, crew.ada)
    assert (now.state, now.check_ins, now.due_at) == (HeartbeatState.PAUSED, 1, None)
    assert tables.value("SELECT count(*) FROM jobs WHERE kind = 'heartbeat'") == 0
    async with app.work() as work:
        assert await heartbeats.resume(work, crew.olga, 1, "backup") == clock.now + HOUR
    assert next_look(tables) == clock.now + 65 * MINUTE


async def test_resuming_what_is_watched_changes_nothing(app: App, admin: Actor, clock: FakeClock) -> None:
    await added(app, admin)
    clock.forward(minutes=30)
    async with app.work() as work:
        assert await heartbeats.resume(work, admin, 1, "backup") == START + HOUR


async def test_trouble_outlasts_a_pause(app: App, admin: Actor, clock: FakeClock, tables: Tables) -> None:
    key = await added(app, admin)
    await heartbeats.check_in(app, key, CheckIn(CheckInStatus.ERROR))
    async with app.work() as work:
        await heartbeats.pause(work, admin, 1, "backup")
    async with app.work() as work:
        await heartbeats.resume(work, admin, 1, "backup")
    await heartbeats.check_in(app, key, OK)
    assert [signal for _, _, signal in reports(tables)] == [None, "resolve"]


async def test_a_removed_heartbeat_is_never_looked_at_again(
    app: App, admin: Actor, clock: FakeClock, tables: Tables
) -> None:
    key = await added(app, admin)
    await heartbeats.check_in(app, key, OK)
    async with app.work() as work:
        await heartbeats.remove(work, admin, 1, "backup")
    clock.forward(hours=3)
    await run_looks(app)
    assert reports(tables) == []
    assert tables.value("SELECT count(*) FROM jobs WHERE kind = 'heartbeat'") == 0
    with pytest.raises(TocsinError, match="No heartbeat has this key"):
        await heartbeats.check_in(app, key, OK)


# --- keys, names, rights ---------------------------------------------------------------------------------------


async def test_only_the_latest_key_opens_and_only_its_hash_is_kept(app: App, admin: Actor, tables: Tables) -> None:
    first = await added(app, admin)
    async with app.work() as work:
        second = await heartbeats.new_key(work, admin, 1, "backup")
    await heartbeats.check_in(app, second, OK)
    for wrong in (first, "", "x" * 201):
        with pytest.raises(TocsinError) as caught:
            await heartbeats.check_in(app, wrong, OK)
        assert caught.value.refusal.code is Code.NOT_FOUND
    assert second not in str(tables.rows("SELECT heartbeats::text FROM heartbeats"))


async def test_a_name_is_taken_once_in_a_project(app: App, admin: Actor) -> None:
    await added(app, admin)
    with pytest.raises(TocsinError) as caught:
        await added(app, admin)
    assert caught.value.refusal.code is Code.CONFLICT
    async with app.work() as work:
        await heartbeats.add(work, admin, 0, "backup", HOURLY)
        with pytest.raises(TocsinError, match="no project 77"):
            await heartbeats.add(work, admin, 77, "backup", HOURLY)


async def test_who_acts_on_incidents_may_pause_and_only_an_administrator_may_add(app: App, crew: Crew) -> None:
    await added(app, crew.ada)
    async with app.work() as work:
        for refused in (
            heartbeats.add(work, crew.olga, 1, "other", HOURLY),
            heartbeats.remove(work, crew.olga, 1, "backup"),
            heartbeats.new_key(work, crew.olga, 1, "backup"),
            heartbeats.pause(work, crew.dee, 1, "backup"),
            heartbeats.resume(work, crew.dee, 1, "backup"),
            heartbeats.list_heartbeats(work, crew.mia),
            heartbeats.show(work, crew.mia, 1, "backup"),
        ):
            with pytest.raises(TocsinError) as caught:
                await refused
            assert caught.value.refusal.code is Code.FORBIDDEN
        assert (await heartbeats.list_heartbeats(work, crew.dee)).total == 1


async def test_a_list_begins_with_what_is_in_trouble_and_can_be_of_one_project(
    app: App, admin: Actor, clock: FakeClock
) -> None:
    await added(app, admin, "alpha")
    key = await added(app, admin, "zulu")
    await heartbeats.check_in(app, key, CheckIn(CheckInStatus.ERROR))
    async with app.work() as work:
        found = await heartbeats.list_heartbeats(work, admin)
        assert [one.slug for one in found.heartbeats] == ["zulu", "alpha"]
        assert found.heartbeats[0].schedule == "every 1 h"
        assert (await heartbeats.list_heartbeats(work, admin, 0)).total == 0


async def test_the_latest_check_ins_are_kept_and_no_more(
    app: App, admin: Actor, monkeypatch: pytest.MonkeyPatch, tables: Tables
) -> None:
    monkeypatch.setattr(stored, "KEPT_CHECK_INS", 3)
    key = await added(app, admin)
    for number in range(5):
        await heartbeats.check_in(app, key, CheckIn(CheckInStatus.OK, note=f"note {number}"))
    async with app.work() as work:
        heartbeat, check_ins = await heartbeats.show(work, admin, 1, "backup")
    assert heartbeat.check_ins == 5
    assert [(one.number, one.note) for one in check_ins] == [(5, "note 4"), (4, "note 3"), (3, "note 2")]


def test_a_note_is_cut_and_not_refused() -> None:
    assert heartbeats.checked_note(" done\n") == "done"
    assert len(heartbeats.checked_note("x" * 10_001)) == 10_000
    assert "\x00" not in heartbeats.checked_note("a\x00b")


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../etc/passwd", "Europe", "/etc/localtime", "a" * 200, "\ud800"])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(TocsinError, match="no time zone"):
        zone(name)


def test_a_schedule_is_either_an_interval_or_a_crontab_line() -> None:
    for both in ((None, None), (HOUR, "@daily")):
        with pytest.raises(TocsinError, match="either"):
            schedule_of(*both)


# --- Sentry's monitors -----------------------------------------------------------------------------------------


async def test_a_check_in_with_a_monitor_makes_the_heartbeat_and_later_ones_change_it(
    app: App, admin: Actor, clock: FakeClock, tables: Tables
) -> None:
    assert await sentry(app, MonitorCheckIn("nightly", OK, NIGHTLY)) == [Taken("nightly", START + HOUR)]
    later = replace(NIGHTLY, schedule=2 * HOUR, time_zone="ignored", max_runtime=MINUTE)
    assert await sentry(app, MonitorCheckIn("nightly", OK, later)) == [Taken("nightly", START + 2 * HOUR)]
    now = await shown(app, admin, "nightly")
    assert (now.schedule, now.max_runtime_seconds, now.check_ins, now.severity) == ("every 2 h", 60, 2, Severity.HIGH)
    assert await sentry(app, MonitorCheckIn("nightly", OK)) == [Taken("nightly", START + 2 * HOUR)]
    clock.now = START + 2 * HOUR + 5 * MINUTE
    await run_looks(app)
    assert reports(tables) == [("HeartbeatMissed", "opened", None)]


async def test_a_run_of_a_monitor_fails_once_however_often_it_is_said(app: App, tables: Tables) -> None:
    begun = MonitorCheckIn("nightly", CheckIn(CheckInStatus.IN_PROGRESS, "r1"), NIGHTLY)
    failed = MonitorCheckIn("nightly", CheckIn(CheckInStatus.ERROR, "r1", 3 * MINUTE), NIGHTLY)
    await sentry(app, begun, failed, failed, begun)
    assert reports(tables) == [("HeartbeatFailed", "opened", None)]
    assert tables.value("SELECT run_id FROM heartbeats") is None, "a beginning that was overtaken begins nothing"


async def test_a_check_in_of_nobody_is_refused_and_remembered_until_it_is_known(
    app: App, admin: Actor, clock: FakeClock
) -> None:
    unknown = MonitorCheckIn("nightly", OK, index=2)
    (refused,) = await sentry(app, unknown)
    assert refused == Rejected(2, "Project 1 has no heartbeat nightly.")
    clock.forward(minutes=1)
    await sentry(app, unknown)
    async with app.work() as work:
        (remembered,) = (await heartbeats.list_heartbeats(work, admin)).refused
    assert (remembered.slug, remembered.times, remembered.first_at) == ("nightly", 2, START)
    assert remembered.reason == "Project 1 has no heartbeat nightly."
    await added(app, admin, "nightly")
    async with app.work() as work:
        assert (await heartbeats.list_heartbeats(work, admin)).refused == []


@pytest.mark.parametrize(
    "wrong",
    [
        replace(NIGHTLY, schedule="not a line"),
        replace(NIGHTLY, schedule="0 0 */31 * MON#5"),
        replace(NIGHTLY, schedule=timedelta(seconds=1)),
        replace(NIGHTLY, time_zone="Mars/Olympus"),
        replace(NIGHTLY, grace=timedelta(days=400)),
    ],
)
async def test_a_monitor_that_cannot_be_is_refused_and_changes_nothing(app: App, admin: Actor, wrong: Monitor) -> None:
    await sentry(app, MonitorCheckIn("nightly", OK, NIGHTLY))
    before = await shown(app, admin, "nightly")
    (refused,) = await sentry(app, MonitorCheckIn("nightly", OK, wrong))
    assert isinstance(refused, Rejected)
    assert await shown(app, admin, "nightly") == before


async def test_of_one_request_the_wrong_ones_are_named_and_the_others_taken(app: App, admin: Actor) -> None:
    outcomes = await sentry(
        app,
        Rejected(0, "status must be one of"),
        MonitorCheckIn("nightly", OK, NIGHTLY, 1),
        MonitorCheckIn("x", OK, None, 2),
    )
    assert [type(one) for one in outcomes] == [Rejected, Taken, Rejected]
    async with app.work() as work:
        refused = (await heartbeats.list_heartbeats(work, admin)).refused
    assert {one.slug for one in refused} == {heartbeats.UNREADABLE, "x"}


async def test_a_project_has_a_bounded_number_of_heartbeats(
    app: App, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "MAX_HEARTBEATS", 2)
    items = [MonitorCheckIn(slug, OK, NIGHTLY) for slug in ("a", "b", "c", "a")]
    assert [type(one) for one in await sentry(app, *items)] == [Taken, Taken, Rejected, Taken]


async def test_refused_names_are_bounded_and_the_rest_is_counted_together(
    app: App, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "MAX_REFUSALS", 2)
    await sentry(app, *(MonitorCheckIn(slug, OK) for slug in ("a", "b", "c", "d", "a")))
    async with app.work() as work:
        refused = (await heartbeats.list_heartbeats(work, admin)).refused
    assert {(one.slug, one.times) for one in refused} == {("a", 2), ("b", 1), (stored.REST, 2)}


async def test_first_check_ins_at_the_same_instant_make_one_heartbeat(app: App, tables: Tables) -> None:
    taken = await asyncio.gather(*(sentry(app, MonitorCheckIn("nightly", OK, NIGHTLY)) for _ in range(6)))
    assert all(isinstance(one, Taken) for (one,) in taken)
    assert tables.rows("SELECT slug, check_ins FROM heartbeats") == [("nightly", 6)]
