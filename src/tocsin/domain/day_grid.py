"""A schedule as a calendar draws it: days of the zone's clock, cut into its hours, with who is on call in each."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from uuid import UUID

from tocsin.domain.oncall import Gap, Schedule, Shift, gaps, shifts
from tocsin.domain.wall_clock import takes_place

HOURS = 24
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of the clock on the wall; it takes no time at all where daylight saving leaves it out."""

    starts_at: datetime
    ends_at: datetime
    users: tuple[UUID, ...]
    """Who is on call in it, or in a part of it, in the order in which they come."""
    missing: int
    """How many people are missing, in the worst part of it."""

    @property
    def left_out(self) -> bool:
        """Tell whether the clock never shows it on this day."""
        return self.starts_at == self.ends_at


@dataclass(frozen=True, slots=True)
class Day:
    """One day of the zone's calendar."""

    day: date
    starts_at: datetime
    ends_at: datetime
    hours: tuple[Hour, ...]
    shifts: tuple[Shift, ...]
    gaps: tuple[Gap, ...]


def days_of(schedule: Schedule, first: date, count: int) -> tuple[Day, ...]:
    """Return so many days of a schedule."""
    edges = [[_edge(schedule, first + _DAY * day, hour) for hour in range(HOURS + 1)] for day in range(count)]
    start, end = edges[0][0], edges[-1][-1]
    all_shifts, all_gaps = list(shifts(schedule, start, end)), gaps(schedule, start, end)
    return tuple(
        _day(first + _DAY * place, hours, _within(all_shifts, hours[0], hours[-1]), _gaps(all_gaps, hours))
        for place, hours in enumerate(edges)
    )


def _edge(schedule: Schedule, day: date, hour: int) -> datetime:
    wall = datetime.combine(day, time()) + timedelta(hours=hour)
    return takes_place(schedule.zone, wall)


def _day(day: date, edges: Sequence[datetime], found: Sequence[Shift], missing: Sequence[Gap]) -> Day:
    hours = tuple(
        Hour(
            start,
            end,
            tuple(dict.fromkeys(shift.user_id for shift in _within(found, start, end))),
            max((gap.missing for gap in missing if gap.starts_at < end and start < gap.ends_at), default=0),
        )
        for start, end in pairwise(edges)
    )
    return Day(day, edges[0], edges[-1], hours, tuple(found), tuple(missing))


def _within(found: Sequence[Shift], start: datetime, end: datetime) -> list[Shift]:
    """Return the shifts that meet a time. They stand in the order of their beginnings."""
    last = bisect_left(found, end, key=lambda shift: shift.starts_at)
    return [shift for shift in found[:last] if shift.ends_at > start]


def _gaps(found: Sequence[Gap], edges: Sequence[datetime]) -> list[Gap]:
    return [
        Gap(max(gap.starts_at, edges[0]), min(gap.ends_at, edges[-1]), gap.missing)
        for gap in found
        if gap.starts_at < edges[-1] and edges[0] < gap.ends_at
    ]
