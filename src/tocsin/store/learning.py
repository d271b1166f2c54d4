"""The figures of each week, counted once by a chore and summed when somebody looks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from tocsin.domain.learning import BASE, WEEK, Measure, Scope, start_of
from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("learning")
OTHERS = "(other services)"
MAX_SERVICES = 30
"""In each week the services with the most incidents have figures of their own; the others have them together."""
MAX_RECURRENCES = 10_000
MAX_CHAIN = 10
_COUNTS = ("count_opened", "count_acknowledged", "count_resolved", "count_causes")


@dataclass(frozen=True, slots=True)
class ResponseRow:
    """How long something took: `name` is a severity, a service, a week, or empty for everything together."""

    name: str
    number: int
    mean_seconds: float
    median_bucket: int
    p90_bucket: int


@dataclass(frozen=True, slots=True)
class WeekCount:
    """How often something happened in a week."""

    week: date
    name: str
    incidents: int


@dataclass(frozen=True, slots=True)
class RecurringRow:
    """A failure that came back, and its last incidents, the oldest first (at most MAX_CHAIN)."""

    times: int
    project_name: str
    number: int
    title: str | None
    status: str
    created_at: datetime
    chain: list[int]
    category: str | None


@dataclass(frozen=True, slots=True)
class _Week:
    week: date


async def counted(tx: Tx, since: date) -> frozenset[date]:
    """Return the weeks since then whose figures are final."""
    return frozenset(row.week for row in await tx.rows(QUERIES["counted"], _Week, {"since": since}))


async def count_week(tx: Tx, week: date, now: datetime) -> None:
    """Count a week anew."""
    bounds = {"week": week, "start": start_of(week), "until": start_of(week) + WEEK}
    await tx.run(QUERIES["forget"], bounds)
    for name in _COUNTS:
        await tx.run(QUERIES[name], bounds | {"base": BASE, "services": MAX_SERVICES, "others": OTHERS})
    await tx.run(QUERIES["note_counted"], {"week": week, "now": now})


async def last_counted(tx: Tx, since: date) -> datetime | None:
    """Return when the figures were last brought up to date."""
    at: datetime | None = await tx.value(QUERIES["last_counted"], {"since": since})
    return at


async def responses(tx: Tx, measure: Measure, scope: Scope, since: date) -> list[ResponseRow]:
    """Return how long something took, by name, the most frequent first."""
    which = {"measure": measure.value, "scope": scope.value, "since": since, "limit": MAX_SERVICES}
    return await tx.rows(QUERIES["responses"], ResponseRow, which)


async def responses_by_week(tx: Tx, measure: Measure, since: date) -> list[ResponseRow]:
    """Return how long something took, by week."""
    return await tx.rows(QUERIES["responses_by_week"], ResponseRow, {"measure": measure.value, "since": since})


async def whole(tx: Tx, measure: Measure, since: date) -> ResponseRow | None:
    """Return how long something took, of everything together; None where it never happened."""
    return await tx.first(QUERIES["whole"], ResponseRow, {"measure": measure.value, "since": since})


async def counts(tx: Tx, measure: Measure, scope: Scope, since: date) -> list[WeekCount]:
    """Return how often something happened, by week and name."""
    return await tx.rows(QUERIES["counts"], WeekCount, {"measure": measure.value, "scope": scope.value, "since": since})


async def recurring(tx: Tx, start: datetime, limit: int) -> list[RecurringRow]:
    """Return the failures that came back most often, among the latest MAX_RECURRENCES."""
    which = {"start": start, "most": MAX_RECURRENCES, "limit": limit, "chain": MAX_CHAIN}
    return await tx.rows(QUERIES["recurring"], RecurringRow, which)
