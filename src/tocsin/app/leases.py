"""Claims jobs for a worker and settles them; a job that fails too often is set aside loudly, as an incident."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from tocsin import ids
from tocsin.app.outbox import BUNDLE, DELIVER, MAX_ATTEMPTS
from tocsin.app.report_internal import report_internal
from tocsin.app.work import App, Work
from tocsin.domain.incident import Severity
from tocsin.domain.plural import number_of, times
from tocsin.store import jobs
from tocsin.store.jobs import Job

LOOK_EVERY = jobs.LOOK_EVERY
LEASE = timedelta(seconds=10)
"""How long nobody doubts that a worker is at the job it claimed."""
DOUBT = timedelta(seconds=50)
"""How long a lease that has ended is doubted until another worker takes the job: longer than a delivery may take
(TOCSIN_DELIVERY_TIMEOUT is at most 45 s). A clock that steps forward ends every lease, and begins this time: whoever
is at work can end it, and nothing is sent twice. A killed worker's page waits for both, a minute."""
MAX_FAILURES = 10
FIRST_RETRY_SECONDS = 2.0
LONGEST_RETRY_SECONDS = 300.0
MAX_ERROR_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class Lease:
    """A claimed job and the token that proves it is ours."""

    job: Job
    token: UUID


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a look for jobs found, and when the next one is due (None: none is waiting)."""

    leases: list[Lease]
    next_due_at: datetime | None


async def claim(app: App, kinds: Sequence[str], limit: int) -> Claimed:
    """Claim up to `limit` due jobs of these kinds."""
    async with app.work() as work:
        token = work.new_id()
        claimed = await jobs.claim(
            work.tx,
            kinds=kinds,
            lease_token=token,
            now=work.now,
            lease_until=work.now + LEASE,
            doubt_until=work.now + DOUBT,
            limit=limit,
        )
        return Claimed([Lease(job, token) for job in claimed], await jobs.next_due(work.tx, kinds))


async def hold(work: Work, lease: Lease) -> bool:
    """Let nobody change a job until this transaction ends. One whose lease was lost belongs to somebody else: False."""
    return await jobs.hold(work.tx, lease.job.id, lease.token)


async def finish(work: Work, lease: Lease) -> bool:
    """Remove a job that is done. One whose lease was lost belongs to somebody else, and stays: then return False."""
    return await jobs.finish(work.tx, lease.job.id, lease.token)


async def reschedule(work: Work, lease: Lease, due_at: datetime) -> None:
    """Set a job to run again at an instant."""
    await jobs.reschedule(work.tx, lease.job.id, lease.token, due_at)


async def settle_together(work: Work, token: UUID, next_due: Mapping[UUID, datetime | None]) -> None:
    """Settle the jobs of one claim by their ids: each to run again at its instant, or done (None)."""
    await jobs.settle_many(work.tx, token, next_due)


async def retry(work: Work, lease: Lease, due_at: datetime, error: str) -> None:
    """Set a job to be tried again at an instant, because of `error`."""
    await jobs.retry(work.tx, lease.job.id, lease.token, due_at, error[:MAX_ERROR_CHARACTERS])


async def fail(app: App, lease: Lease, error: Exception) -> None:
    """Take note that a job raised: try again later, or set it aside after too many attempts, as an incident.

    A chore is never set aside: what watches over the others goes on, and says each time that it fails.
    """
    text = f"{type(error).__name__}: {error}".replace("\x00", "�")[:MAX_ERROR_CHARACTERS]
    async with app.work() as work:
        if lease.job.attempts < _most_attempts(lease.job):
            doubled = min(FIRST_RETRY_SECONDS * 2 ** (lease.job.attempts - 1), LONGEST_RETRY_SECONDS)
            await retry(work, lease, work.now + timedelta(seconds=doubled * ids.jitter(0.2)), text)
        elif lease.job.key == lease.job.kind:
            await reschedule(work, lease, work.now + timedelta(seconds=LONGEST_RETRY_SECONDS))
            message = f"The chore {lease.job.kind} has failed {times(lease.job.attempts)} in a row: {text}"
            await report_internal(work, "ChoreFailing", message, Severity.CRITICAL)
        elif await jobs.bury(work.tx, lease.job.id, lease.token, work.now, text):
            message = f"Job {lease.job.key} was set aside after {number_of(lease.job.attempts, 'attempt')}: {text}"
            await report_internal(work, "JobSetAside", message, Severity.CRITICAL)


def _most_attempts(job: Job) -> int:
    """Return after how many attempts a job that raises is set aside; a page's also count its receiver's refusals."""
    return MAX_ATTEMPTS if job.kind in (DELIVER, BUNDLE) else MAX_FAILURES


async def ensure_chores(app: App, kinds: Sequence[str]) -> None:
    """See to it that every recurring job exists."""
    async with app.work() as work:
        for kind in kinds:
            await jobs.ensure(work.tx, job_id=work.new_id(), kind=kind, now=work.now)


async def worker_seen(app: App, worker_id: UUID, name: str) -> None:
    """Note that a worker is alive."""
    async with app.work() as work:
        await jobs.worker_seen(work.tx, worker_id, name, work.now)


async def worker_gone(app: App, worker_id: UUID) -> None:
    """Note that a worker stopped in good order."""
    async with app.work() as work:
        await jobs.worker_gone(work.tx, worker_id)
