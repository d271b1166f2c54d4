"""The worker's loop: lanes that claim and run jobs, a listener that wakes them, a heartbeat, and the keeper of the log.

Each lane has its own slots, so that slow deliveries never hold up an escalation. A lane sleeps until its earliest
job is due, until it is woken by NOTIFY of one of its kinds, or for IDLE_SECONDS, whichever comes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from tocsin import ids
from tocsin.app import leases
from tocsin.app.heartbeats import HEARTBEAT
from tocsin.app.leases import Lease
from tocsin.app.outbox import BUNDLE, DELIVER
from tocsin.app.paging import ESCALATE, REACHES_NOBODY
from tocsin.app.signals import EXPIRE_ALERT
from tocsin.app.vouch import Voucher
from tocsin.app.wakeups import wakeups
from tocsin.app.watchdog import Watchdog
from tocsin.app.work import App
from tocsin.channels import Channel
from tocsin.errors import TocsinError
from tocsin.signing.signer import Signer
from tocsin.worker.handlers import CHORES, CONTACT_KINDS, Handlers
from tocsin.worker.log_keeper import LogKeeper
from tocsin.worker.vouching import look_after_all
from tocsin.worker.watching import keep_calling

log = structlog.get_logger()

IDLE_SECONDS = leases.LOOK_EVERY.total_seconds()
HEARTBEAT_SECONDS = 5.0
RECOVERY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Lane:
    """Kinds of jobs that share a number of slots. A slot takes one job, or up to `together` that are due at once."""

    name: str
    kinds: tuple[str, ...]
    slots: int
    together: int = 1


LANES = (
    Lane("escalate", (ESCALATE,), 2, together=50),
    Lane("deliver", (DELIVER, BUNDLE), 16),
    Lane("signals", (EXPIRE_ALERT, HEARTBEAT, REACHES_NOBODY), 4),
    Lane("contacts", CONTACT_KINDS, 2),
    Lane("chores", tuple(CHORES), 1),
)


class Worker:
    """One worker of one process. `run` returns after `stop` is set and what was under way has ended."""

    def __init__(
        self,
        app: App,
        channels: Mapping[str, Channel],
        name: str,
        *,
        signer: Signer | None = None,
        vouchers: Sequence[Voucher] = (),
        watchdog: Watchdog | None = None,
    ) -> None:
        self._app = app
        self._watchdog = watchdog
        self._vouchers = vouchers
        self._log_keeper = LogKeeper(app, signer, name)
        self._handlers = Handlers(app, channels, name)
        self._name = name
        self._id: UUID = ids.new_id()
        self._wake = {lane.name: asyncio.Event() for lane in LANES}

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. A database that goes away is waited for; nothing else is survived silently."""
        await self._persist("ensure chores", lambda: leases.ensure_chores(self._app, tuple(CHORES)), stop)
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(self._listen()), group.create_task(self._beat())]
            lanes = [group.create_task(self._work(lane, stop)) for lane in LANES]
            lanes.append(group.create_task(self._log_keeper.run(stop)))
            lanes.append(group.create_task(look_after_all(self._app, self._vouchers, stop)))
            if self._watchdog is not None:
                lanes.append(group.create_task(keep_calling(self._app, self._watchdog, stop)))
            await stop.wait()
            self.wake()
            await asyncio.gather(*lanes)
            for task in background:
                task.cancel()
        await leases.worker_gone(self._app, self._id)

    def wake(self, kind: str = "") -> None:
        """Look for due jobs now instead of when the timer says: somebody moved the clock, or added one of this kind."""
        for lane in LANES:
            if not kind or kind in lane.kinds:
                self._wake[lane.name].set()

    async def _listen(self) -> None:
        while True:
            try:
                async for kind in wakeups(self._app):
                    self.wake(kind)
            except TocsinError as error:
                log.error("worker.listen_failed", reason=error.refusal.message)
                await asyncio.sleep(RECOVERY_SECONDS)

    async def _beat(self) -> None:
        while True:
            try:
                await leases.worker_seen(self._app, self._id, self._name)
            except TocsinError as error:
                # The readiness check sees the silence; the log says why.
                log.error("worker.heartbeat_failed", reason=error.refusal.message)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _work(self, lane: Lane, stop: asyncio.Event) -> None:
        running: set[asyncio.Task[None]] = set()
        wake = self._wake[lane.name]
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                wake.clear()
                pause = IDLE_SECONDS
                if free := lane.slots - len(running):
                    pause = await self._start_due(group, lane, free, running)
                await _wait(wake, pause)

    async def _start_due(
        self, group: asyncio.TaskGroup, lane: Lane, free: int, running: set[asyncio.Task[None]]
    ) -> float:
        """Claim and start what is due; return how long to sleep (seconds)."""
        limit = free * lane.together
        try:
            claimed = await leases.claim(self._app, lane.kinds, limit)
        except TocsinError as error:
            log.error("worker.claim_failed", lane=lane.name, reason=error.refusal.message)
            return RECOVERY_SECONDS
        for place in range(0, len(claimed.leases), lane.together):
            task = group.create_task(self._run(claimed.leases[place : place + lane.together]))
            running.add(task)
            task.add_done_callback(running.discard)
            task.add_done_callback(lambda _: self._wake[lane.name].set())
        if claimed.next_due_at is None:
            return IDLE_SECONDS
        until_due = (claimed.next_due_at - self._app.clock()).total_seconds()
        return min(max(until_due, 0.0), IDLE_SECONDS) if len(claimed.leases) < limit else IDLE_SECONDS

    async def _run(self, claimed: Sequence[Lease]) -> None:
        if len(claimed) > 1 and await self._ran_together(claimed):
            return
        for lease in claimed:
            await self._run_alone(lease)

    async def _ran_together(self, claimed: Sequence[Lease]) -> bool:
        try:
            await self._handlers.run_together(claimed)
        except Exception:
            # One of them is at fault, and none is done. Each by itself, that one is found, and holds up no other.
            log.warning("worker.jobs_fall_apart", jobs=len(claimed), exc_info=True)
            return False
        return True

    async def _run_alone(self, lease: Lease) -> None:
        try:
            await self._handlers.run(lease)
        except Exception as error:
            log.exception("worker.job_failed", job=lease.job.key, attempt=lease.job.attempts)
            await self._note_failure(lease, error)

    async def _note_failure(self, lease: Lease, error: Exception) -> None:
        try:
            await leases.fail(self._app, lease, error)
        except Exception:
            # The lease ends by itself and the job becomes due again: nothing is lost, only later. One bad job must
            # not stop the worker, and with it everything behind it.
            log.exception("worker.failure_not_noted", job=lease.job.key)

    async def _persist(self, what: str, attempt: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                return await attempt()
            except TocsinError as error:
                log.error("worker.waiting", doing=what, reason=error.refusal.message)
                await asyncio.sleep(RECOVERY_SECONDS)
        return None


async def _wait(wake: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return


async def run_due(app: App, channels: Mapping[str, Channel]) -> int:
    """Run everything that is due at the application's clock, one after the other; return how many jobs ran.

    For `tocsin demo` and tests, whose clocks are moved by hand. A failing job is noted as in the loop.
    """
    handlers = Handlers(app, channels, "hand")
    ran = 0
    kinds = tuple(kind for lane in LANES for kind in lane.kinds)
    while claimed := (await leases.claim(app, kinds, 100)).leases:
        for lease in claimed:
            try:
                await handlers.run(lease)
            except Exception as error:
                log.exception("worker.job_failed", job=lease.job.key, attempt=lease.job.attempts)
                await leases.fail(app, lease, error)
            ran += 1
    return ran
