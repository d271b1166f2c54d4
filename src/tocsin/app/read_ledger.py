"""Reads the ledger of intake for people and their machines: over some time, and whether it is well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tocsin.app import ledger
from tocsin.app.ledger import DIFFERENCE, Tally
from tocsin.app.losses import is_error_lost
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.errors import Code, TocsinError, refuse
from tocsin.store import ledger as books
from tocsin.store.ledger import MAX_MINUTES_LISTED, DifferenceIncident
from tocsin.store.projects import INTERNAL_PROJECT_ID

DEFAULT_PERIOD = timedelta(hours=1)
MAX_PERIOD = timedelta(days=90)
"""The ledger reaches no further back."""
DAY = timedelta(hours=24)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class LedgerView:
    """The ledger from one whole minute to before another, for each project that reported; newest minute first."""

    since: datetime
    until: datetime
    tallies: list[Tally]
    minutes: list[tuple[datetime, Tally]] | None


@dataclass(frozen=True, slots=True)
class IntakeCondition:
    """The ledger of the last 24 hours, and up to when it was compared with what is there (None: never)."""

    checked_to: datetime | None
    tallies: tuple[Tally, ...]


async def read_ledger(
    work: Work,
    actor: Actor,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    project_id: int | None = None,
    by_minute: bool = False,
) -> LedgerView:
    """Return the ledger of some time (the last hour), in whole minutes; raise INVALID when that is no time.

    Minute by minute it is never cut short: what is more than MAX_MINUTES_LISTED counts is refused.
    """
    require(actor, Permission.READ)
    until = _minute_after(until or work.now)
    since = (since or until - DEFAULT_PERIOD).replace(second=0, microsecond=0)
    if not timedelta() < until - since <= MAX_PERIOD + MINUTE:
        raise _invalid("since", f"must be before until, by at most {MAX_PERIOD.days} days")
    found = await ledger.tallies(work, actor, since, until, project_id)
    if not by_minute:
        return LedgerView(since, until, found, None)
    minutes = await ledger.minutes(work, actor, since, until, project_id)
    if sum(_counts(tally) for _, tally in minutes) >= MAX_MINUTES_LISTED:
        raise _invalid("minutes", f"would be more than {MAX_MINUTES_LISTED:,} counts: name a project or a shorter time")
    return LedgerView(since, until, found, minutes)


def _minute_after(moment: datetime) -> datetime:
    """Return the end of the minute that an instant lies in."""
    return moment.replace(second=0, microsecond=0) + MINUTE


def _counts(tally: Tally) -> int:
    """Return of how many counts a tally was made."""
    plain = (tally.opened, tally.joined, tally.recorded, tally.duplicate)
    return len(tally.received) + len(tally.rejected) + len(tally.lost) + sum(map(bool, plain))


def _invalid(field: str, problem: str) -> TocsinError:
    return refuse(Code.INVALID, f"{field} {problem}.", errors=[{"field": field, "problem": problem}])


async def intake_condition(work: Work) -> IntakeCondition:
    """Return the state of intake for the machinery itself: the doctor and the metrics."""
    tallies = await ledger.tallied(work, work.now - DAY, _minute_after(work.now))
    return IntakeCondition(await books.checked_to(work.tx), tuple(tallies))


async def last_difference(work: Work) -> DifferenceIncident | None:
    """Return the incident that tells of the last difference, if there was one in the last 24 hours."""
    return await books.last_difference(work.tx, INTERNAL_PROJECT_ID, f"{DIFFERENCE}:", work.now - DAY)


def errors_lost(tally: Tally) -> Mapping[str, int]:
    """Return the error events that clients lost against their programs' will, by reason."""
    named = {said: said.rpartition("/") for said in tally.lost}
    return {said: tally.lost[said] for said, (reason, _, category) in named.items() if is_error_lost(reason, category)}
