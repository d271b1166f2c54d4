"""Heartbeats: takes check-ins, finds out who is silent, and lets people say what is expected.

A problem enters by the ordinary door, as an error report of the heartbeat's project; what becomes of it there is no
matter of this file. The heartbeat is locked first, before the failure that its reports are about.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from tocsin import ids
from tocsin.app.health import WORKER_SILENCE
from tocsin.app.report_errors import report_errors
from tocsin.app.work import App, Work, secret_hash
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.heartbeat import (
    MAX_NOTE_CHARACTERS,
    Change,
    CheckIn,
    Crontab,
    Interval,
    Plan,
    Schedule,
    Watch,
    begin,
    checked_slug,
    crontab,
    hear,
    interval,
    look,
    plan,
    problem_report,
    recovery_report,
)
from tocsin.domain.incident import Severity
from tocsin.domain.report import cut
from tocsin.domain.wall_clock import stored_zone, zone
from tocsin.errors import Code, TocsinError, refuse
from tocsin.intake import Rejected
from tocsin.intake.check_in import Monitor, MonitorCheckIn
from tocsin.store import heartbeats, jobs
from tocsin.store.database import LostRaceError
from tocsin.store.heartbeats import CheckInRow, HeartbeatRow, RefusalRow
from tocsin.store.jobs import NewJob

HEARTBEAT = "heartbeat"
"""The kind of job that looks at one heartbeat when its silence would be an error."""
MAX_HEARTBEATS = 1_000
"""Heartbeats of one project."""
MAX_KEY_CHARACTERS = 200
MAX_REASON_CHARACTERS = 1_000
MAX_RACES = 5
SWEEP_LIMIT = 1_000
SWEEP_GRACE = timedelta(seconds=30)
"""How late a look may be before the sweep asks for it again: younger ones are just being run."""
SEVERITY = Severity.HIGH
"""How bad a silence is unless somebody says otherwise."""
UNREADABLE = "(unreadable)"
"""The name under which refused check-ins are counted that tell no name."""

# What a client did wrong is remembered; what we could not do is for the client to repeat.
_REMEMBERED = frozenset({Code.INVALID, Code.NOT_FOUND, Code.CONFLICT})


class HeartbeatState(StrEnum):
    """How a heartbeat is doing, the worst first."""

    FAILING = "failing"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A heartbeat as people see it. `due_at` is None while it is paused."""

    project_id: int
    slug: str
    state: HeartbeatState
    schedule: str
    grace_seconds: int
    max_runtime_seconds: int | None
    severity: Severity
    due_at: datetime | None
    failing_since: datetime | None
    last_check_in_at: datetime | None
    check_ins: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class HeartbeatList:
    """Heartbeats, those in trouble first; how many there are in all; and the check-ins that nobody could take."""

    heartbeats: list[Heartbeat]
    total: int
    refused: list[RefusalRow]


@dataclass(frozen=True, slots=True)
class Taken:
    """A check-in that was taken: whose it is, and when the next one is due (None: it is paused)."""

    heartbeat: str
    next_due_at: datetime | None


# --- check-ins -------------------------------------------------------------------------------------------------


async def check_in(app: App, key: str, said: CheckIn) -> Taken:
    """Take a check-in of the heartbeat that a key opens; when this returns, it is committed. Raises NOT_FOUND."""

    async def take(work: Work) -> Taken:
        row = await heartbeats.lock_by_key(work.tx, secret_hash(key)) if len(key) <= MAX_KEY_CHARACTERS else None
        if row is None:
            hint = "Use the URL exactly as it was shown; `tocsin heartbeats key SLUG` makes another one."
            raise refuse(Code.NOT_FOUND, "No heartbeat has this key.", hint)
        return await _heard(work, row, said)

    return await _raced(app, take)


async def check_in_monitors(
    app: App, project_id: int, items: Sequence[MonitorCheckIn | Rejected]
) -> list[Taken | Rejected]:
    """Take the check-ins of one request, each in a transaction of its own; return what became of each, in their order.

    What is refused is remembered, for who sent it does not look at the answer.
    """
    return [await _check_in_monitor(app, project_id, item) for item in items]


async def _check_in_monitor(app: App, project_id: int, item: MonitorCheckIn | Rejected) -> Taken | Rejected:
    if isinstance(item, Rejected):
        rejected, slug = item, UNREADABLE
    else:
        try:
            return await _raced(app, lambda work: _heard_of_monitor(work, project_id, item))
        except TocsinError as error:
            if error.refusal.code not in _REMEMBERED:
                raise
            rejected, slug = Rejected(item.index, error.refusal.message), item.slug
    async with app.work() as work:
        await heartbeats.refuse(work.tx, project_id, slug, cut(rejected.reason, MAX_REASON_CHARACTERS), work.now)
    return rejected


async def _raced(app: App, take: Callable[[Work], Awaitable[Taken]]) -> Taken:
    """Take a check-in in a transaction of its own, again when another one was faster."""
    for _ in range(MAX_RACES):
        try:
            async with app.work() as work:
                return await take(work)
        except LostRaceError as error:
            lost = error
    raise lost


async def _heard_of_monitor(work: Work, project_id: int, item: MonitorCheckIn) -> Taken:
    row = await heartbeats.lock_by_slug(work.tx, project_id, item.slug)
    if item.monitor is not None:
        wanted = _plan_of_monitor(item.monitor)
        row = row or await _made(work, project_id, item.slug, wanted, SEVERITY, None)
        if _plan(row) != wanted:
            await heartbeats.set_plan(work.tx, row.id, wanted)
            row = await _locked(work, row.id)
    if row is None:
        raise refuse(
            Code.NOT_FOUND,
            f"Project {project_id} has no heartbeat {item.slug}.",
            f"Send a monitor_config with the check-in, or add it: `tocsin heartbeats add {item.slug}`.",
        )
    return await _heard(work, row, item.said)


async def _heard(work: Work, row: HeartbeatRow, said: CheckIn) -> Taken:
    """Take a check-in. One of a paused heartbeat is kept and means nothing."""
    await heartbeats.keep_check_in(work.tx, row, said, work.now)
    watch = row.watch
    if watch is None:
        return Taken(row.slug, None)
    change = hear(_plan(row), watch, said, work.now)
    await _settle(work, row, watch, change)
    return Taken(row.slug, change.watch.due_at)


async def _settle(work: Work, row: HeartbeatRow, before: Watch, change: Change) -> None:
    """Write where the watch stands, and report what there is to report."""
    await heartbeats.set_watch(work.tx, row.id, change.watch)
    # The job is never later than the alarm: one that comes too early finds out, so only an earlier alarm moves it.
    if change.watch.alarm_at < before.alarm_at:
        await _queue_look(work, [row.id], change.watch.alarm_at)
    if change.problem is not None:
        report = problem_report(row.slug, Severity(row.severity), change.problem, work.now)
        await report_errors(work, row.project_id, [report])
    if change.recovered_from is not None:
        await report_errors(work, row.project_id, [recovery_report(row.slug, change.recovered_from, work.now)])


# --- silence ---------------------------------------------------------------------------------------------------


async def look_at(work: Work, heartbeat_id: UUID) -> datetime | None:
    """Look whether a heartbeat is silent for too long, and report it; return when to look again (None: never).

    What is due is decided by the locked state, so looking twice, late or in two workers reports nothing twice.
    """
    row = await heartbeats.lock(work.tx, heartbeat_id)
    watch = row.watch if row else None
    if row is None or watch is None:
        return None
    if work.now < watch.alarm_at:
        return watch.alarm_at
    attendance = await heartbeats.attendance(work.tx, watch.alarm_at, WORKER_SILENCE)
    change = look(_plan(row), watch, work.now, attendance)
    await _settle(work, row, watch, change)
    return change.watch.alarm_at


async def queue_overdue(work: Work) -> int:
    """Queue a look at each heartbeat whose alarm has passed without one; return how many there were. For the sweep."""
    overdue = await heartbeats.overdue(work.tx, work.now - SWEEP_GRACE, SWEEP_LIMIT)
    await _queue_look(work, overdue, work.now)
    return len(overdue)


async def _queue_look(work: Work, heartbeat_ids: Sequence[UUID], due_at: datetime) -> None:
    looks = [
        NewJob(work.new_id(), HEARTBEAT, f"{HEARTBEAT}:{one}", {"heartbeatId": str(one)}, due_at)
        for one in heartbeat_ids
    ]
    await jobs.enqueue_many(work.tx, looks, work.now)


# --- what is expected ------------------------------------------------------------------------------------------


def schedule_of(every: timedelta | None, line: str | None, time_zone: str = "UTC") -> Schedule:
    """Return the schedule that people or programs describe: an interval, or a crontab line and its time zone."""
    if (every is None) == (line is None):
        problem = "A heartbeat has either an interval or a crontab line"
        hint = "Say one of them: `--every 1h`, or `--cron '0 3 * * *'`."
        raise refuse(Code.INVALID, f"{problem}.", hint, errors=[{"field": "schedule", "problem": problem}])
    return interval(every) if every is not None else crontab(line or "", zone(time_zone))


def _plan_of_monitor(monitor: Monitor) -> Plan:
    every, line = (monitor.schedule, None) if isinstance(monitor.schedule, timedelta) else (None, monitor.schedule)
    return plan(schedule_of(every, line, monitor.time_zone), monitor.grace, monitor.max_runtime)


def _plan(row: HeartbeatRow) -> Plan:
    if row.every_seconds is not None:
        schedule: Schedule = Interval(timedelta(seconds=row.every_seconds))
    else:
        schedule = Crontab(row.crontab or "", stored_zone(row.time_zone or ""))
    longest = timedelta(seconds=row.max_runtime_seconds) if row.max_runtime_seconds is not None else None
    return Plan(schedule, timedelta(seconds=row.grace_seconds), longest)


async def add(
    work: Work, actor: Actor, project_id: int, slug: str, expected: Plan, severity: Severity = SEVERITY
) -> str:
    """Add a heartbeat, watched from now on; return its key, which cannot be shown again.

    Raises CONFLICT when the project has one of this name, or MAX_HEARTBEATS already.
    """
    require(actor, Permission.ADMINISTER)
    if await heartbeats.lock_by_slug(work.tx, project_id, checked_slug(slug)) is not None:
        raise refuse(
            Code.CONFLICT,
            f"Project {project_id} has a heartbeat {slug} already.",
            f"Give it another key: `tocsin heartbeats key {slug}`, or remove it first.",
        )
    key = ids.new_secret()
    await _made(work, project_id, slug, expected, severity, secret_hash(key))
    return key


async def _made(
    work: Work, project_id: int, slug: str, expected: Plan, severity: Severity, key_hash: bytes | None
) -> HeartbeatRow:
    if not await heartbeats.lock_project(work.tx, project_id):
        raise refuse(Code.NOT_FOUND, f"There is no project {project_id}.", "List them: `tocsin projects list`.")
    if await heartbeats.count(work.tx, project_id) >= MAX_HEARTBEATS:
        raise refuse(
            Code.CONFLICT,
            f"Project {project_id} has {MAX_HEARTBEATS} heartbeats, as many as there may be.",
            "Remove one that is not needed: `tocsin heartbeats remove SLUG`.",
        )
    heartbeat_id, watch = work.new_id(), begin(expected, work.now)
    await heartbeats.insert(
        work.tx,
        heartbeat_id=heartbeat_id,
        project_id=project_id,
        slug=slug,
        key_hash=key_hash,
        plan=expected,
        severity=severity,
        watch=watch,
        now=work.now,
    )
    await heartbeats.forget_refusals(work.tx, project_id, slug)
    await _queue_look(work, [heartbeat_id], watch.alarm_at)
    return await _locked(work, heartbeat_id)


async def _locked(work: Work, heartbeat_id: UUID) -> HeartbeatRow:
    row = await heartbeats.lock(work.tx, heartbeat_id)
    assert row is not None, "this transaction made or locked it"
    return row


async def _found(work: Work, project_id: int, slug: str) -> HeartbeatRow:
    row = await heartbeats.lock_by_slug(work.tx, project_id, checked_slug(slug))
    if row is None:
        message = f"Project {project_id} has no heartbeat {slug}."
        raise refuse(Code.NOT_FOUND, message, "List them: `tocsin heartbeats list`.")
    return row


async def list_heartbeats(work: Work, actor: Actor, project_id: int | None = None) -> HeartbeatList:
    """Return the heartbeats of a project, or of all."""
    require(actor, Permission.READ)
    rows = await heartbeats.listed(work.tx, project_id)
    total, refused = await heartbeats.count(work.tx, project_id), await heartbeats.refusals(work.tx, project_id)
    return HeartbeatList([_shown(row) for row in rows], total, refused)


async def show(work: Work, actor: Actor, project_id: int, slug: str) -> tuple[Heartbeat, list[CheckInRow]]:
    """Return a heartbeat and its latest check-ins, latest first."""
    require(actor, Permission.READ)
    row = await _found(work, project_id, slug)
    return _shown(row), await heartbeats.check_ins(work.tx, row.id)


def _shown(row: HeartbeatRow) -> Heartbeat:
    return Heartbeat(
        project_id=row.project_id,
        slug=row.slug,
        state=_state(row),
        schedule=_schedule_text(row),
        grace_seconds=row.grace_seconds,
        max_runtime_seconds=row.max_runtime_seconds,
        severity=Severity(row.severity),
        due_at=row.due_at,
        failing_since=row.failing_since,
        last_check_in_at=row.last_check_in_at,
        check_ins=row.check_ins,
        created_at=row.created_at,
    )


def _schedule_text(row: HeartbeatRow) -> str:
    """Return the schedule in words, also where this machine does not know its time zone (any more)."""
    if row.every_seconds is not None:
        return str(Interval(timedelta(seconds=row.every_seconds)))
    return f"{row.crontab} {row.time_zone}"


def _state(row: HeartbeatRow) -> HeartbeatState:
    if row.paused_at is not None:
        return HeartbeatState.PAUSED
    if row.failing_since is not None:
        return HeartbeatState.FAILING
    return HeartbeatState.RUNNING if row.run_started_at is not None else HeartbeatState.WAITING


async def pause(work: Work, actor: Actor, project_id: int, slug: str) -> None:
    """Stop watching a heartbeat until somebody resumes it."""
    require(actor, Permission.RESPOND)
    row = await _found(work, project_id, slug)
    if row.paused_at is None:
        await heartbeats.pause(work.tx, row.id, work.now)


async def resume(work: Work, actor: Actor, project_id: int, slug: str) -> datetime:
    """Watch a paused heartbeat again, as if it began now; return when it is due. One that is watched stays as it is."""
    require(actor, Permission.RESPOND)
    row = await _found(work, project_id, slug)
    if row.watch is not None:
        return row.watch.due_at
    watch = begin(_plan(row), work.now, row.failing_since)
    await heartbeats.set_watch(work.tx, row.id, watch)
    await _queue_look(work, [row.id], watch.alarm_at)
    return watch.due_at


async def remove(work: Work, actor: Actor, project_id: int, slug: str) -> None:
    """Remove a heartbeat with its check-ins; its incidents and reports stay."""
    require(actor, Permission.ADMINISTER)
    row = await _found(work, project_id, slug)
    await heartbeats.remove(work.tx, row.id)


async def new_key(work: Work, actor: Actor, project_id: int, slug: str) -> str:
    """Give a heartbeat another key and return it; the one before opens nothing any more."""
    require(actor, Permission.ADMINISTER)
    row = await _found(work, project_id, slug)
    key = ids.new_secret()
    await heartbeats.set_key(work.tx, row.id, secret_hash(key))
    return key


def checked_note(text: str) -> str:
    """Return what a check-in says beside its status, in at most MAX_NOTE_CHARACTERS."""
    return cut(text.strip(), MAX_NOTE_CHARACTERS)
