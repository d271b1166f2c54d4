"""What each kind of job does. A handler may run twice: what it does is decided by the state, not by the job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from tocsin.app import deliver, follow_ups, learning, leases, maintain, verification
from tocsin.app.deliver import Begun, Parcel
from tocsin.app.escalate import run_timers
from tocsin.app.escalate_together import run_timers_together
from tocsin.app.expire_alert import expire_alert
from tocsin.app.heartbeats import HEARTBEAT, look_at
from tocsin.app.leases import Lease
from tocsin.app.ledger import check_ledger
from tocsin.app.links import Links
from tocsin.app.outbox import BUNDLE, DELIVER
from tocsin.app.paging import ESCALATE, REACHES_NOBODY
from tocsin.app.report_unreached import report_unreached
from tocsin.app.signals import EXPIRE_ALERT
from tocsin.app.work import App, Work
from tocsin.bootstrap import links_of
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
    worker: str
    """The name of the worker that they belong to."""
    links: Links = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "links", links_of(self.app.settings))

    async def run(self, lease: Lease) -> None:
        """Run a claimed job and settle it; raises what the job raises."""
        if lease.job.kind == DELIVER:
            await self._deliver(lease)
        elif lease.job.kind == BUNDLE:
            await self._bundle(lease)
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

    async def run_together(self, claimed: Sequence[Lease]) -> None:
        """Run claimed looks at timers in one transaction, and settle them; when it raises, none is done."""
        incident_ids = {lease.job.id: _incident_id(lease) for lease in claimed}
        async with self.app.work() as work:
            next_due = await run_timers_together(work, incident_ids.values())
            due = {job_id: next_due[incident_id] for job_id, incident_id in incident_ids.items()}
            await leases.settle_together(work, claimed[0].token, due)

    async def _deliver(self, lease: Lease) -> None:
        async with self.app.work() as work:
            begun = await self._begin(work, lease, await deliver.first_alert(work, _notification_id(lease)))
        await self._send(lease, begun, leases.finish)

    async def _bundle(self, lease: Lease) -> None:
        channel, address = lease.job.payload["channel"], lease.job.payload["address"]
        async with self.app.work() as work:
            begun = await self._begin(work, lease, await deliver.bundle(work, channel, address))

        async def look_again(work: Work, lease: Lease) -> None:
            # From here on who owes another page waits for this transaction, and then finds the job as it leaves it.
            if await leases.hold(work, lease):
                await _wait_until(work, lease, await deliver.next_bundle_at(work, channel, address))

        await self._send(lease, begun, look_again)

    async def _begin(self, work: Work, lease: Lease, parcel: Parcel | None) -> Begun | None:
        # Who stood still for so long that the lease was lost must not send what another worker is at.
        if parcel is None or not await leases.hold(work, lease):
            return None
        return await deliver.begin(work, parcel, self.worker)

    async def _send(self, lease: Lease, begun: Begun | None, done: Callable[[Work, Lease], Awaitable[object]]) -> None:
        sent = await deliver.send(self.app, self.channels, self.links, begun) if begun else None
        async with self.app.work() as work:
            again = await deliver.settle(work, sent, lease.job.attempts) if sent else None
            if again:
                await leases.retry(work, lease, work.now + again.after, again.answer)
            else:
                await done(work, lease)

    async def _escalate(self, lease: Lease) -> None:
        async with self.app.work() as work:
            escalated = await run_timers(work, _incident_id(lease))
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


def _notification_id(lease: Lease) -> UUID:
    return UUID(lease.job.payload["notificationId"])


def _incident_id(lease: Lease) -> UUID:
    return UUID(lease.job.payload["incidentId"])


async def _wait_until(work: Work, lease: Lease, next_due_at: datetime | None) -> None:
    if next_due_at is None:
        await leases.finish(work, lease)
    else:
        await leases.reschedule(work, lease, next_due_at)
