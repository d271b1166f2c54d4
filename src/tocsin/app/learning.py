"""What incidents teach together: how long it takes to answer and to mend, why they happen, what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.incident import RootCauseCategory, Severity
from tocsin.domain.learning import (
    DEFAULT_WEEKS,
    MAX_WEEKS,
    WEEK,
    Measure,
    Scope,
    duration_of,
    start_of,
    week_of,
)
from tocsin.errors import Code, refuse
from tocsin.store import learning
from tocsin.store.learning import RecurringRow, ResponseRow, WeekCount

__all__ = [
    "COUNT_EVERY",
    "DEFAULT_WEEKS",
    "MAX_WEEKS",
    "Kept",
    "Learned",
    "RecurringRow",
    "Response",
    "Week",
    "count_weeks",
    "learned",
]

COUNT_EVERY = timedelta(minutes=5)
WEEKS_AT_ONCE = 13
"""Weeks that one run of the chore makes up for, the latest first: a first run has the default period whole."""
MAX_RECURRING = 20


@dataclass(frozen=True, slots=True)
class Response:
    """How long something took (`number` times); the percentiles are exact to 2.5 %."""

    name: str
    number: int
    mean: timedelta
    median: timedelta
    p90: timedelta


@dataclass(frozen=True, slots=True)
class Week:
    """What happened in the week that begins on this Monday (UTC). No response: nobody answered, or mended, anything."""

    week: date
    opened: int
    came_back: int
    acknowledged: Response | None
    resolved: Response | None
    causes: dict[RootCauseCategory, int]


@dataclass(frozen=True, slots=True)
class Learned:
    """The figures since a Monday, as of an instant (None: not counted yet)."""

    since: date
    counted_at: datetime | None
    acknowledged: Response | None
    resolved: Response | None
    acknowledged_by_severity: list[Response]
    resolved_by_severity: list[Response]
    acknowledged_by_service: list[Response]
    resolved_by_service: list[Response]
    weeks: list[Week]
    causes: dict[RootCauseCategory, int]
    recurring: list[RecurringRow]


class Kept:
    """What a process remembers of the figures: those of a period change only when they are counted anew."""

    def __init__(self) -> None:
        self._periods: dict[tuple[date, int], Learned] = {}

    def of(self, since: date, weeks: int, counted_at: datetime | None) -> Learned | None:
        """Return the figures of a period, as they were counted at this instant; None when they are not known."""
        known = self._periods.get((since, weeks))
        return known if known is not None and known.counted_at == counted_at is not None else None

    def keep(self, weeks: int, found: Learned) -> None:
        """Remember the figures of a period; of at most MAX_WEEKS periods, for each visitor may ask for another one."""
        if len(self._periods) >= MAX_WEEKS and (found.since, weeks) not in self._periods:
            self._periods.clear()
        self._periods[found.since, weeks] = found


async def learned(work: Work, actor: Actor, weeks: int = DEFAULT_WEEKS, kept: Kept | None = None) -> Learned:
    """Return the figures of the last weeks, the present one among them; what is `kept` is not summed up again."""
    require(actor, Permission.READ)
    if not 1 <= weeks <= MAX_WEEKS:
        problem = f"must be 1 to {MAX_WEEKS}"
        raise refuse(Code.INVALID, f"weeks {problem}.", errors=[{"field": "weeks", "problem": problem}])
    since = week_of(work.now) - (weeks - 1) * WEEK
    # Asked before what was counted: whatever is counted meanwhile is summed up again next time.
    counted_at = await learning.last_counted(work.tx, since)
    found = kept.of(since, weeks, counted_at) if kept is not None else None
    if found is None:
        found = await _summed_up(work, since, counted_at)
        if kept is not None:
            kept.keep(weeks, found)
    return replace(found, recurring=await learning.recurring(work.tx, start_of(since), MAX_RECURRING))


async def _summed_up(work: Work, since: date, counted_at: datetime | None) -> Learned:
    by_week = await _by_week(work, since)
    return Learned(
        since=since,
        counted_at=counted_at,
        acknowledged=_response(await learning.whole(work.tx, Measure.ACKNOWLEDGED, since)),
        resolved=_response(await learning.whole(work.tx, Measure.RESOLVED, since)),
        acknowledged_by_severity=await _by(work, Measure.ACKNOWLEDGED, Scope.SEVERITY, since),
        resolved_by_severity=await _by(work, Measure.RESOLVED, Scope.SEVERITY, since),
        acknowledged_by_service=await _by(work, Measure.ACKNOWLEDGED, Scope.SERVICE, since),
        resolved_by_service=await _by(work, Measure.RESOLVED, Scope.SERVICE, since),
        weeks=by_week,
        causes={category: sum(week.causes[category] for week in by_week) for category in RootCauseCategory},
        recurring=[],
    )


async def _by(work: Work, measure: Measure, scope: Scope, since: date) -> list[Response]:
    found = [_told(row) for row in await learning.responses(work.tx, measure, scope, since)]
    if scope is Scope.SEVERITY:
        found.sort(key=lambda response: -Severity(response.name).rank)
    return found


async def _by_week(work: Work, since: date) -> list[Week]:
    opened = _summed(await learning.counts(work.tx, Measure.OPENED, Scope.SEVERITY, since))
    came_back = _summed(await learning.counts(work.tx, Measure.CAME_BACK, Scope.SEVERITY, since))
    causes = await learning.counts(work.tx, Measure.CAUSE, Scope.CATEGORY, since)
    acknowledged = await _weekly(work, Measure.ACKNOWLEDGED, since)
    resolved = await _weekly(work, Measure.RESOLVED, since)
    weeks = [since + index * WEEK for index in range((week_of(work.now) - since) // WEEK + 1)]
    return [
        Week(
            week,
            opened.get(week, 0),
            came_back.get(week, 0),
            acknowledged.get(week),
            resolved.get(week),
            {name: sum(c.incidents for c in causes if (c.week, c.name) == (week, name)) for name in RootCauseCategory},
        )
        for week in weeks
    ]


async def _weekly(work: Work, measure: Measure, since: date) -> dict[date, Response]:
    rows = await learning.responses_by_week(work.tx, measure, since)
    return {date.fromisoformat(row.name): _told(row) for row in rows}


def _summed(rows: Sequence[WeekCount]) -> dict[date, int]:
    sums: dict[date, int] = {}
    for row in rows:
        sums[row.week] = sums.get(row.week, 0) + row.incidents
    return sums


def _response(row: ResponseRow | None) -> Response | None:
    return _told(row) if row is not None else None


def _told(row: ResponseRow) -> Response:
    mean = timedelta(seconds=row.mean_seconds)
    return Response(row.name, row.number, mean, duration_of(row.median_bucket), duration_of(row.p90_bucket))


async def count_weeks(work: Work) -> int:
    """Count this week and the last one, and earlier ones that were never counted; return how many that were.

    What happened in a week no longer changes when the week is over: only transactions that were under way at its end
    come later, so a week is final when it was counted a day after that.
    """
    this = week_of(work.now)
    final = await learning.counted(work.tx, this - MAX_WEEKS * WEEK)
    wanted = [week for index in range(MAX_WEEKS) if (week := this - index * WEEK) not in final][:WEEKS_AT_ONCE]
    for week in wanted:
        await learning.count_week(work.tx, week, work.now)
    return len(wanted)
