"""Takes in what clients send, many requests in one transaction, and answers each after its commit.

The quick way is one statement that locks nothing: it counts what joins an incident, and records what may not open one.
What is left (a new failure, a worse report, a signal) takes the careful way of `tocsin.app.report_errors`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

import structlog

from tocsin import ids
from tocsin.app.lanes import HOLD_SECONDS, Lane
from tocsin.app.losses import ClientReport, Losses, enter_losses
from tocsin.app.report_errors import Accepted, Item, new_report, report_document, take_in_carefully
from tocsin.app.samples import Latest, Samples
from tocsin.app.work import App
from tocsin.clock import monotonic_seconds
from tocsin.domain.arrival import Arrival
from tocsin.domain.deduplication import Outcome
from tocsin.domain.project import Project
from tocsin.errors import TocsinError
from tocsin.store import ledger, reports
from tocsin.store.ledger import LedgerKey
from tocsin.store.reports import FailureKey

log = structlog.get_logger()

MAX_QUICK_BATCH = 1_000
MAX_CAREFUL_BATCH = 100
MAX_CLIENT_REPORTS_BATCH = 10
"""Client reports in one transaction; each may tell of a hundred failures."""
MAX_LATEST_AT_ONCE = 50
LATEST_TICK_SECONDS = 0.5

_THINNED = (Outcome.JOINED, Outcome.RECORDED)

Count = tuple[LedgerKey, int]


class Intake:
    """The intake of one process. Any number of processes may take in at once: what decides is in the database."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._samples = Samples()
        self._quick: Lane[Item, Accepted | None] = Lane(self._take_in_quickly, max_items=MAX_QUICK_BATCH)
        self._careful: Lane[Item, Accepted] = Lane(self._take_in_carefully, max_items=MAX_CAREFUL_BATCH)
        self._counts: Lane[Count, None] = Lane(self._count, max_items=MAX_QUICK_BATCH)
        self._losses: Lane[ClientReport, Losses] = Lane(self._enter_losses, max_items=MAX_CLIENT_REPORTS_BATCH)
        self._latest: asyncio.Task[None] | None = None
        self._first_opens = True

    async def take_in(self, project: Project, arrivals: Sequence[Arrival], protocol: str) -> list[Accepted]:
        """Take in the reports of one request; return what became of each, in their order, once all are committed.

        Raises UNAVAILABLE when the database cannot be reached for HOLD_SECONDS.
        """
        now = monotonic_seconds()
        items = [self._item(project, arrival, protocol, now) for arrival in arrivals]
        plain = [item for item in items if self._is_plain(item)]
        taken = await self._quick.put(project.id, plain)
        if len(plain) == len(items) and all(taken):
            return [one for one in taken if one is not None]
        quick = {item.report_id: one for item, one in zip(plain, taken, strict=True)}
        left = [item for item in items if quick.get(item.report_id) is None]
        rest = now + HOLD_SECONDS - monotonic_seconds()
        accepted = await self._careful.put(project.id, left, hold_seconds=rest)
        careful = {item.report_id: one for item, one in zip(left, accepted, strict=True)}
        return [quick.get(item.report_id) or careful[item.report_id] for item in items]

    async def count(self, project_id: int, counts: Mapping[tuple[str, str], int]) -> None:
        """Enter counts into the ledger (measure and reason): what was rejected."""
        await self._counts.put(
            project_id, [((project_id, measure, reason), quantity) for (measure, reason), quantity in counts.items()]
        )

    async def tell_losses(self, project: Project, losses: Losses, origin: str) -> Losses:
        """Enter what a client says that it lost, and report its errors; return what was entered, once it is committed.

        `origin` names the request that told it: of a repeated one nothing is entered.
        """
        (entered,) = await self._losses.put(project.id, [ClientReport(project, losses, origin)])
        return entered

    async def close(self) -> None:
        """Settle everything that was put in, and write the latest reports that still wait."""
        for lane in (self._quick, self._careful, self._counts, self._losses):
            await lane.idle()
        if self._latest is not None:
            self._latest.cancel()
            await asyncio.wait([self._latest])
        try:
            while due := self._samples.due(monotonic_seconds(), MAX_LATEST_AT_ONCE, everything=True):
                await self._write_latest(due)
        except TocsinError as error:
            # Their rows are recorded and counted; what is missing is the content of the latest of each.
            log.warning("intake.latest_reports_left", reports=self._samples.waiting, reason=error.refusal.message)

    def _item(self, project: Project, arrival: Arrival, protocol: str, now_seconds: float) -> Item:
        failure = (project.id, arrival.mark.value)
        is_first = not self._samples.has_seen(failure)
        kept = self._samples.is_kept(failure, now_seconds)
        return Item(project, arrival, ids.new_id(), protocol, kept, is_first)

    def _is_plain(self, item: Item) -> bool:
        """Tell whether a report may take the quick way: no signal, nothing to watch for, unlikely to open an incident.

        Of a failure that is new to this process the quick way may only find out that it does not know it. But it may
        also be one that another process has opened, or this one before it was restarted. What the last one turned out
        to be is the best guess: storms of new failures come together, and so does what follows on them.
        """
        is_watched = item.arrival.signal is not None or item.arrival.expires_at is not None
        return not is_watched and not (self._first_opens and item.is_first and item.is_loud)

    async def _take_in_quickly(self, items: Sequence[Item]) -> Sequence[Accepted | None]:
        rows = [new_report(item, n) for n, item in enumerate(items)]
        documents = {n: item.document for n, item in enumerate(items) if item.kept}
        async with self._app.database.single() as tx:
            taken = await reports.take_in(tx, rows, documents, self._app.clock())
        accepted: list[Accepted | None] = [None] * len(items)
        for one in taken:
            if one.outcome is not None:
                outcome = Outcome(one.outcome)
                for place in one.places:
                    accepted[place] = Accepted(items[place].arrival.event_id, outcome, one.incident_id)
        self._remember(items, accepted)
        return accepted

    async def _take_in_carefully(self, items: Sequence[Item]) -> Sequence[Accepted]:
        async with self._app.work() as work:
            accepted = await take_in_carefully(work, items)
        for item, one in zip(items, accepted, strict=True):
            if item.is_first and item.is_loud:
                self._first_opens = one.outcome is Outcome.OPENED
        self._remember(items, accepted)
        return accepted

    async def _enter_losses(self, told: Sequence[ClientReport]) -> Sequence[Losses]:
        async with self._app.work() as work:
            return await enter_losses(work, told)

    async def _count(self, counts: Sequence[Count]) -> Sequence[None]:
        total: Counter[LedgerKey] = Counter()
        for key, quantity in counts:
            total[key] += quantity
        async with self._app.database.single() as tx:
            await ledger.count(tx, total, self._app.clock())
        return [None] * len(counts)

    def _remember(self, items: Sequence[Item], accepted: Sequence[Accepted | None]) -> None:
        """Remember what may turn out to be the latest report of its failure, and which failures others knew before."""
        now = monotonic_seconds()
        for item, one in zip(items, accepted, strict=True):
            if item.is_first and one is not None and one.outcome is Outcome.JOINED:
                self._samples.joined_at_first(item.failure)
        latest = {
            item.failure: item
            for item, one in zip(items, accepted, strict=True)
            if not item.kept and one is not None and one.outcome in _THINNED
        }
        for failure, item in latest.items():
            self._samples.thinned(failure, item.report_id, item.arrival, now)
        if self._samples.waiting and (self._latest is None or self._latest.done()):
            self._latest = asyncio.create_task(self._write_latest_reports())

    async def _write_latest_reports(self) -> None:
        """Write latest reports as they become due, until none waits; slowly while requests wait."""
        while self._samples.waiting:
            await asyncio.sleep(LATEST_TICK_SECONDS)
            try:
                while due := self._samples.due(monotonic_seconds(), MAX_LATEST_AT_ONCE):
                    await self._write_latest(due)
                    if self._quick.busy:
                        break
            except TocsinError as error:
                # They wait on, and are written when the database is back.
                log.warning("intake.latest_reports_wait", reason=error.refusal.message)

    async def _write_latest(self, due: Sequence[tuple[FailureKey, Latest]]) -> None:
        try:
            documents = await asyncio.to_thread(_documents, due)
            async with self._app.database.single() as tx:
                await reports.keep_latest(tx, documents)
        except TocsinError:
            raise
        except Exception as error:
            if len(due) > 1:
                # One of them may be what cannot be written; the others must not wait behind it for ever.
                for one in due:
                    await self._write_latest([one])
                return
            log.exception("intake.latest_report_not_kept", report=str(due[0][1].report_id), reason=str(error))
        for failure, latest in due:
            self._samples.written(failure, latest, monotonic_seconds())


def _documents(due: Sequence[tuple[FailureKey, Latest]]) -> dict[UUID, bytes]:
    return {latest.report_id: report_document(latest.arrival.whole()) for _, latest in due}
