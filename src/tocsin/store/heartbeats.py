"""Heartbeats: what is expected, where the watch over it stands, its latest check-ins, and those nobody could take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from tocsin.domain.heartbeat import Attendance, CheckIn, Crontab, Interval, Plan, Run, Watch
from tocsin.domain.incident import Severity
from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("heartbeats")
MAX_LISTED = 1_000
KEPT_CHECK_INS = 100
"""Check-ins of one heartbeat that are kept; the schema knows the number too."""
MAX_REFUSALS = 100
"""Names of a project under which refused check-ins are counted."""
REST = "(others)"
"""The name for what was refused beyond that; no heartbeat can have it."""


@dataclass(frozen=True, slots=True)
class HeartbeatRow:
    """A heartbeat as it is stored: with `every_seconds`, or with `crontab` and `time_zone`; not due while paused."""

    id: UUID
    project_id: int
    slug: str
    every_seconds: int | None
    crontab: str | None
    time_zone: str | None
    grace_seconds: int
    max_runtime_seconds: int | None
    severity: str
    created_at: datetime
    paused_at: datetime | None
    due_at: datetime | None
    alarm_at: datetime | None
    run_id: str | None
    run_started_at: datetime | None
    finished_run_id: str
    failing_since: datetime | None
    last_check_in_at: datetime | None
    check_ins: int

    @property
    def watch(self) -> Watch | None:
        """Return where the watch stands, None while it is paused."""
        if self.due_at is None or self.alarm_at is None:
            return None
        run = Run(self.run_id or "", self.run_started_at) if self.run_started_at else None
        return Watch(self.due_at, self.alarm_at, run, self.finished_run_id, self.failing_since)


@dataclass(frozen=True, slots=True)
class CheckInRow:
    """A check-in that is kept; `number` counts those of its heartbeat from 1."""

    number: int
    status: str
    received_at: datetime
    run_id: str
    duration_seconds: float | None
    note: str


@dataclass(frozen=True, slots=True)
class RefusalRow:
    """Check-ins under one name that nobody could take, with the latest reason."""

    project_id: int
    slug: str
    reason: str
    times: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class _Id:
    id: UUID


async def lock_project(tx: Tx, project_id: int) -> bool:
    """Let nobody else add heartbeats to a project until this is committed; return False if there is no such project."""
    return await tx.value(QUERIES["lock_project"], {"project_id": project_id}) is not None


async def count(tx: Tx, project_id: int | None) -> int:
    """Return how many heartbeats a project has (None: all of them)."""
    number: int = await tx.value(QUERIES["count"], {"project_id": project_id})
    return number


async def insert(
    tx: Tx,
    *,
    heartbeat_id: UUID,
    project_id: int,
    slug: str,
    key_hash: bytes | None,
    plan: Plan,
    severity: Severity,
    watch: Watch,
    now: datetime,
) -> None:
    """Add a heartbeat, watched."""
    parameters = {
        "id": heartbeat_id,
        "project_id": project_id,
        "slug": slug,
        "key_hash": key_hash,
        "severity": severity.value,
        "due_at": watch.due_at,
        "alarm_at": watch.alarm_at,
        "now": now,
    }
    await tx.run(QUERIES["insert"], parameters | _columns(plan))


def _columns(plan: Plan) -> dict[str, object]:
    columns: dict[str, object] = {"every_seconds": None, "crontab": None, "time_zone": None}
    match plan.schedule:
        case Interval(every):
            columns |= {"every_seconds": _seconds(every)}
        case Crontab(expression, zone):
            columns |= {"crontab": expression, "time_zone": str(zone)}
    longest = _seconds(plan.max_runtime) if plan.max_runtime is not None else None
    return columns | {"grace_seconds": _seconds(plan.grace), "max_runtime_seconds": longest}


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())


async def lock(tx: Tx, heartbeat_id: UUID) -> HeartbeatRow | None:
    """Lock a heartbeat and return it."""
    return await tx.first(QUERIES["lock"], HeartbeatRow, {"id": heartbeat_id})


async def lock_by_slug(tx: Tx, project_id: int, slug: str) -> HeartbeatRow | None:
    """Lock a heartbeat by its name and return it."""
    return await tx.first(QUERIES["lock_by_slug"], HeartbeatRow, {"project_id": project_id, "slug": slug})


async def lock_by_key(tx: Tx, key_hash: bytes) -> HeartbeatRow | None:
    """Lock a heartbeat by its key and return it."""
    return await tx.first(QUERIES["lock_by_key"], HeartbeatRow, {"key_hash": key_hash})


async def listed(tx: Tx, project_id: int | None) -> list[HeartbeatRow]:
    """Return the heartbeats of a project (None: of all), those in trouble first (at most MAX_LISTED)."""
    return await tx.rows(QUERIES["listed"], HeartbeatRow, {"project_id": project_id, "limit": MAX_LISTED})


async def set_watch(tx: Tx, heartbeat_id: UUID, watch: Watch) -> None:
    """Say where the watch stands; one that was paused is watched again."""
    parameters = {
        "id": heartbeat_id,
        "due_at": watch.due_at,
        "alarm_at": watch.alarm_at,
        "run_id": watch.run.id if watch.run else None,
        "run_started_at": watch.run.started_at if watch.run else None,
        "finished_run_id": watch.finished_run,
        "failing_since": watch.failing_since,
    }
    await tx.run(QUERIES["set_watch"], parameters)


async def pause(tx: Tx, heartbeat_id: UUID, now: datetime) -> None:
    """End the watch for now."""
    await tx.run(QUERIES["pause"], {"id": heartbeat_id, "now": now})


async def set_plan(tx: Tx, heartbeat_id: UUID, plan: Plan) -> None:
    """Change what is expected."""
    await tx.run(QUERIES["set_plan"], {"id": heartbeat_id} | _columns(plan))


async def set_key(tx: Tx, heartbeat_id: UUID, key_hash: bytes) -> None:
    """Give a heartbeat another key; the one before opens nothing any more."""
    await tx.run(QUERIES["set_key"], {"id": heartbeat_id, "key_hash": key_hash})


async def remove(tx: Tx, heartbeat_id: UUID) -> None:
    """Remove a heartbeat with its check-ins."""
    await tx.run(QUERIES["remove"], {"id": heartbeat_id})


async def keep_check_in(tx: Tx, row: HeartbeatRow, said: CheckIn, now: datetime) -> None:
    """Count and keep a check-in of a locked heartbeat."""
    number = row.check_ins + 1
    parameters = {
        "id": row.id,
        "number": number,
        "slot": number % KEPT_CHECK_INS,
        "status": said.status.value,
        "run_id": said.run,
        "duration_seconds": said.duration.total_seconds() if said.duration is not None else None,
        "note": said.note,
        "now": now,
    }
    await tx.run(QUERIES["count_check_in"], parameters)
    await tx.run(QUERIES["keep_check_in"], parameters)


async def check_ins(tx: Tx, heartbeat_id: UUID) -> list[CheckInRow]:
    """Return the check-ins that are kept, latest first."""
    return await tx.rows(QUERIES["check_ins"], CheckInRow, {"id": heartbeat_id})


async def overdue(tx: Tx, before: datetime, limit: int) -> list[UUID]:
    """Return heartbeats whose silence should have been looked at by an instant."""
    return [row.id for row in await tx.rows(QUERIES["overdue"], _Id, {"before": before, "limit": limit})]


async def attendance(tx: Tx, at: datetime, silence: timedelta) -> Attendance:
    """Tell whether a worker was there at an instant; one that was last seen `silence` before still counts."""
    return Attendance(await tx.value(QUERIES["attendance"], {"at": at, "seen_since": at - silence}))


async def refuse(tx: Tx, project_id: int, slug: str, reason: str, now: datetime) -> None:
    """Remember a check-in that nobody could take."""
    parameters = {
        "project_id": project_id,
        "slug": slug,
        "reason": reason,
        "limit": MAX_REFUSALS,
        "rest": REST,
        "now": now,
    }
    await tx.run(QUERIES["refuse"], parameters)


async def forget_refusals(tx: Tx, project_id: int, slug: str) -> None:
    """Forget what was refused of a name that is known now."""
    await tx.run(QUERIES["forget_refusals"], {"project_id": project_id, "slug": slug})


async def refusals(tx: Tx, project_id: int | None) -> list[RefusalRow]:
    """Return the check-ins that nobody could take, of a project or of all (None), latest first."""
    return await tx.rows(QUERIES["refusals"], RefusalRow, {"project_id": project_id, "limit": MAX_LISTED})
