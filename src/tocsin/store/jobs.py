"""Jobs and timers: rows that are due at an instant, claimed by lease, woken by NOTIFY."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("jobs")
LOOK_EVERY = timedelta(seconds=30)
"""A worker looks for due jobs at least this often, called or not."""


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job. `attempts` counts this one."""

    id: UUID
    kind: str
    key: str
    payload: dict[str, Any]
    attempts: int


@dataclass(frozen=True, slots=True)
class Health:
    """The state of the machinery, in one row."""

    worker_seen_at: datetime | None
    workers_alive: int
    earliest_job_due_at: datetime | None
    dead_jobs: int
    oldest_unsent_page_due_at: datetime | None
    unsent_pages: int
    failed_pages: int


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A job that was set aside."""

    kind: str
    key: str
    attempts: int
    last_error: str | None
    dead_at: datetime


@dataclass(frozen=True, slots=True)
class _IncidentId:
    incident_id: UUID


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to queue; the key says which one it is, so that there is never a second."""

    id: UUID
    kind: str
    key: str
    payload: dict[str, object]
    due_at: datetime

    def columns(self, now: datetime) -> dict[str, object]:
        """Return the job as parameters of its insert."""
        return {
            "id": self.id,
            "kind": self.kind,
            "key": self.key,
            "payload": Jsonb(self.payload),
            "due_at": self.due_at,
            "now": now,
        }


async def enqueue_many(tx: Tx, new: Sequence[NewJob], now: datetime) -> None:
    """Add jobs, or bring those with the same keys forward; workers wake when the transaction commits.

    Not for what is due later: whoever works looks again by itself before that.
    """
    if new:
        await tx.run(QUERIES["enqueue"], {"rows": msgspec.json.encode(new).decode(), "now": now})
    await _wake(tx, new, now)


async def enqueue_behind(tx: Tx, new: Sequence[NewJob], now: datetime) -> None:
    """Add jobs, or bring those forward that nobody has tried yet: whoever is at one looks for more before it ends."""
    if new:
        await tx.run(QUERIES["enqueue_behind"], {"rows": msgspec.json.encode(new).decode(), "now": now})
    await _wake(tx, new, now)


async def _wake(tx: Tx, new: Sequence[NewJob], now: datetime) -> None:
    if soon := {job.kind for job in new if job.due_at <= now + 2 * LOOK_EVERY}:
        await tx.run(QUERIES["notify"], {"kinds": msgspec.json.encode(sorted(soon)).decode()})


async def postpone(tx: Tx, job: NewJob, now: datetime) -> None:
    """Add a job, or put off the one with the same key until then."""
    await tx.run(QUERIES["postpone"], job.columns(now))


async def cancel(tx: Tx, key: str) -> None:
    """Remove the job with this key, if it is there and nobody is at it."""
    await tx.run(QUERIES["cancel"], {"key": key})


async def ensure(tx: Tx, *, job_id: UUID, kind: str, now: datetime) -> None:
    """Add a recurring job, keyed by its kind and due now, unless it is there."""
    await tx.run(QUERIES["ensure"], {"id": job_id, "kind": kind, "key": kind, "due_at": now, "now": now})


async def claim(
    tx: Tx,
    *,
    kinds: Sequence[str],
    lease_token: UUID,
    now: datetime,
    lease_until: datetime,
    doubt_until: datetime,
    limit: int,
) -> list[Job]:
    """Take up to `limit` due jobs of these kinds under a lease; doubt leases that have ended until `doubt_until`."""
    claim_of = {
        "kinds": list(kinds),
        "lease_token": lease_token,
        "now": now,
        "lease_until": lease_until,
        "doubt_until": doubt_until,
        "limit": limit,
    }
    return await tx.rows(QUERIES["claim"], Job, claim_of)


async def next_due(tx: Tx, kinds: Sequence[str]) -> datetime | None:
    """Return when the earliest job of these kinds is due."""
    due_at: datetime | None = await tx.value(QUERIES["next_due"], {"kinds": list(kinds)})
    return due_at


async def hold(tx: Tx, job_id: UUID, lease_token: UUID) -> bool:
    """Let nobody change a job until this transaction ends; return False if the lease was lost meanwhile."""
    return await tx.value(QUERIES["hold"], {"id": job_id, "lease_token": lease_token}) is not None


async def finish(tx: Tx, job_id: UUID, lease_token: UUID) -> bool:
    """Remove a job that is done; return False if the lease was lost meanwhile."""
    return await tx.touch(QUERIES["finish"], {"id": job_id, "lease_token": lease_token}) == 1


async def reschedule(tx: Tx, job_id: UUID, lease_token: UUID, due_at: datetime) -> bool:
    """Set a job to run again, its attempts starting anew; return False if the lease was lost meanwhile."""
    parameters = {"id": job_id, "lease_token": lease_token, "due_at": due_at}
    return await tx.touch(QUERIES["reschedule"], parameters) == 1


async def settle_many(tx: Tx, lease_token: UUID, next_due: Mapping[UUID, datetime | None]) -> None:
    """Set jobs to run again at their instants (None: remove them), those whose lease is still ours."""
    rows = [{"id": job_id, "due_at": due_at} for job_id, due_at in next_due.items()]
    parameters = {"rows": msgspec.json.encode(rows).decode(), "lease_token": lease_token}
    await tx.run(QUERIES["settle_many"], parameters)


async def retry(tx: Tx, job_id: UUID, lease_token: UUID, due_at: datetime, error: str) -> bool:
    """Set a failed job to run again; return False if the lease was lost meanwhile."""
    parameters = {"id": job_id, "lease_token": lease_token, "due_at": due_at, "error": error}
    return await tx.touch(QUERIES["retry"], parameters) == 1


async def bury(tx: Tx, job_id: UUID, lease_token: UUID, now: datetime, error: str) -> bool:
    """Set a job aside; return False if the lease was lost meanwhile."""
    parameters = {"id": job_id, "lease_token": lease_token, "now": now, "error": error}
    return await tx.touch(QUERIES["bury"], parameters) == 1


async def overdue_by_state(tx: Tx, *, by: datetime, block: datetime | None, limit: int) -> list[UUID]:
    """Return incidents that should have got louder by an instant, each by its own policy.

    Critical ones created by `block` should block sessions; None: none does.
    """
    rows = await tx.rows(QUERIES["overdue_by_state"], _IncidentId, {"by": by, "block": block, "limit": limit})
    return [row.incident_id for row in rows]


async def expire(tx: Tx, before: datetime) -> None:
    """Remove remembered answers, ended sessions and silent workers older than an instant."""
    await tx.run(QUERIES["expire"], {"before": before})


async def worker_seen(tx: Tx, worker_id: UUID, name: str, now: datetime) -> None:
    """Note that a worker is alive."""
    await tx.run(QUERIES["worker_seen"], {"id": worker_id, "name": name, "now": now})


async def worker_gone(tx: Tx, worker_id: UUID) -> None:
    """Note that a worker stopped in good order."""
    await tx.run(QUERIES["worker_gone"], {"id": worker_id})


async def health(tx: Tx, *, now: datetime, alive_since: datetime, failed_since: datetime) -> Health:
    """Return the state of the machinery."""
    instants = {"now": now, "alive_since": alive_since, "failed_since": failed_since}
    row = await tx.first(QUERIES["health"], Health, instants)
    assert row is not None, "a query without FROM always has one row"
    return row


async def dead(tx: Tx, limit: int) -> list[DeadJob]:
    """Return jobs that were set aside, latest first."""
    return await tx.rows(QUERIES["dead"], DeadJob, {"limit": limit})
