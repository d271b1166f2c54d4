"""The chores that run on a clock: the sweep that audits escalation by state, the counters, what has expired."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tocsin.app import heartbeats, outbox, paging
from tocsin.app.refused_keys import SHOWN_FOR
from tocsin.app.storms import MANY_REPORTS, MAX_ANNOUNCED, announce_storms
from tocsin.app.work import Work
from tocsin.domain.escalation import SESSION_BLOCK_DELAY
from tocsin.store import decisions, incidents, jobs, ledger, notifications, refused_keys, reports

SWEEP_LIMIT = 1_000
"""Incidents a sweep takes up of each kind; what is left is taken up by the next one."""
SWEEP_GRACE = timedelta(seconds=30)
"""How late a timer may be before the sweep takes the incident up: younger ones are just being run."""
FORGET_SILENCES_AFTER = timedelta(hours=1)
"""How long after its end a silence is still looked at: a slow transaction may have held something back in it."""
KEEP_FOR = timedelta(days=1)
FOLD_EVERY = timedelta(seconds=5)
KEEP_LEDGER_FOR = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found and set going again."""

    incidents: int
    pages: int


async def sweep(work: Work) -> Swept:
    """Find incidents that their policies should have made louder, and owed pages without a job, and queue both.

    The state decides what is due; timers only make it exact. With nothing due this reads a few index entries.
    """
    by = work.now - SWEEP_GRACE
    block = by - SESSION_BLOCK_DELAY if work.settings.session_blocking else None
    overdue = await jobs.overdue_by_state(work.tx, by=by, block=block, limit=SWEEP_LIMIT)
    for incident_id in sorted(overdue):
        await paging.queue_escalation(work, incident_id, work.now)
    orphaned = await notifications.orphaned(work.tx, SWEEP_LIMIT)
    await outbox.queue(work, orphaned)
    await decisions.mark_released(work.tx, work.now - FORGET_SILENCES_AFTER, work.now)
    await heartbeats.queue_overdue(work)
    return Swept(len(overdue), len(orphaned))


async def fold_counters(work: Work) -> None:
    """Fold the counters' differences, so that reading them stays cheap; tell of what has become a storm."""
    await incidents.fold_tallies(work.tx)
    await ledger.fold(work.tx)
    gains = await reports.fold_occurrences(work.tx, many=MANY_REPORTS, limit=MAX_ANNOUNCED)
    await announce_storms(work, gains, FOLD_EVERY)


async def expire(work: Work) -> None:
    """Remove remembered answers, ended sessions and silent workers after a day, the ledger's minutes after 90."""
    await jobs.expire(work.tx, work.now - KEEP_FOR)
    await ledger.expire(work.tx, work.now - KEEP_LEDGER_FOR)
    await refused_keys.expire(work.tx, work.now - 2 * SHOWN_FOR)
