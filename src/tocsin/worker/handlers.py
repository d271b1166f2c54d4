"""What each kind of job does. A handler may run twice: what it does is decided by the state, not by the job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from tocsin.app import follow_ups, learning, leases, maintain, verification
from tocsin.app.deliver import send, settle
from tocsin.app.escalate import run_timers
from tocsin.app.expire_alert import expire_alert
from tocsin.app.heartbeats import HEARTBEAT, look_at
from tocsin.app.leases import Lease
from tocsin.app.ledger import check_ledger
from tocsin.app.paging import DELIVER, ESCALATE, REACHES_NOBODY
from tocsin.app.report_unreached import report_unreached
from tocsin.app.signals import EXPIRE_ALERT
from tocsin.app.work import App, Work
from tocsin.channels import Channel

SWEEP = "sweep"
FOLD_COUNTERS = "fold-counters"
CHECK_LEDGER = "check-ledger"
EXPIRE = "expire"
REMIND = "remind-of-follow-ups"
COUNT_WEEKS = "count-weeks"

CONTACT_KINDS = (verification.SEND_CODE, verification.SEND_TEST)

CHORES: dict[str, tuple[timedelta, Callable[[Work], Awaitable[object]]]] = {
    SWEEP: (timedelta(minutes=5), maintain.sweep),
    FOLD_COUNTERS: (maintain.FOLD_EVERY, maintain.fold_counters),
    CHECK_LEDGER: (timedelta(minutes=1), check_ledger),
    EXPIRE: (timedelta(hours=1), maintain.expire),
    REMIND: (timedelta(hours=1), follow_ups.remind),
    COUNT_WEEKS: (learning.COUNT_EVERY, learning.count_weeks),
}


@dataclass(frozen=True, slots=True)
class Handlers:
    """The handlers of one process: each takes a claimed job and settles its lease in the transaction of its effect."""

    app: App
    channels: Mapping[str, Channel]

    async def run(self, lease: Lease) -> None:
        """Run a claimed job and settle it; raises what the job raises."""
        if lease.job.kind == DELIVER:
            await self._deliver(lease)
        elif lease.job.kind == ESCALATE:
            await self._escalate(lease)
        elif lease.job.kind == REACHES_NOBODY:
            await self._report_unreached(lease)
        elif lease.job.kind == EXPIRE_ALERT:
            await self._expire_alert(lease)
        elif lease.job.kind == HEARTBEAT:
            await self._watch_heartbeat(lease)
        elif lease.job.kind in CONTACT_KINDS:
            await self._send_to_contact(lease)
        else:
            await self._chore(lease)

    async def _deliver(self, lease: Lease) -> None:
        sent = await send(self.app, self.channels, UUID(lease.job.payload["notificationId"]))
        async with self.app.work() as work:
            again = await settle(work, sent, lease.job.attempts) if sent else None
            if again:
                await leases.retry(work, lease, work.now + again.after, again.answer)
            else:
                await leases.finish(work, lease)

    async def _escalate(self, lease: Lease) -> None:
        async with self.app.work() as work:
            escalated = await run_timers(work, UUID(lease.job.payload["incidentId"]))
            await _wait_until(work, lease, escalated.next_due_at)

    async def _report_unreached(self, lease: Lease) -> None:
        async with self.app.work() as work:
            await report_unreached(work, lease.job.payload)
            await leases.finish(work, lease)

    async def _expire_alert(self, lease: Lease) -> None:
        async with self.app.work() as work:
            await expire_alert(work, lease)

    async def _watch_heartbeat(self, lease: Lease) -> None:
        async with self.app.work() as work:
            next_due_at = await look_at(work, UUID(lease.job.payload["heartbeatId"]))
            await _wait_until(work, lease, next_due_at)

    async def _send_to_contact(self, lease: Lease) -> None:
        contact_id = UUID(lease.job.payload["contactId"])
        sent = await verification.send(self.app, self.channels, lease.job.kind, contact_id)
        async with self.app.work() as work:
            again = await verification.settle(work, sent, lease.job.attempts) if sent else None
            if sent and again:
                await leases.retry(work, lease, work.now + again, sent.outcome.answer)
            else:
                await leases.finish(work, lease)

    async def _chore(self, lease: Lease) -> None:
        interval, chore = CHORES[lease.job.kind]
        async with self.app.work() as work:
            await chore(work)
            await leases.reschedule(work, lease, work.now + interval)


async def _wait_until(work: Work, lease: Lease, next_due_at: datetime | None) -> None:
    if next_due_at is None:
        await leases.finish(work, lease)
    else:
        await leases.reschedule(work, lease, next_due_at)
