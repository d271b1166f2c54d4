"""The layers of a schedule: whose turn it is by the calendar, and at which hours a layer counts at all.

Everything is arithmetic: nothing is counted through from the beginning, however long ago that was.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import accumulate
from math import gcd
from uuid import UUID
from zoneinfo import ZoneInfo

from tocsin.domain.wall_clock import latest_shown, lost_days, takes_place

BEGINNING = datetime.min.replace(tzinfo=UTC)
END = datetime.max.replace(tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
_WEEK_MINUTES = 7 * 24 * 60
_MONDAY = datetime(2001, 1, 1)  # noqa: DTZ001  # a wall time: it has no zone

Windows = tuple[tuple[int, int], ...]
"""Minutes of a week, from and until, in order and apart; the last may reach over the week's end."""


class RotationKind(StrEnum):
    """In what a rotation counts.

    Days, weeks and the spans of a custom rotation are counted on the wall clock: a hand-off at 09:00 stays at 09:00
    when daylight saving changes. Hours are real hours.
    """

    HOURLY = "HOURLY"
    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    CUSTOM = "CUSTOM"


UNITS = {
    RotationKind.HOURLY: timedelta(hours=1),
    RotationKind.DAILY: timedelta(days=1),
    RotationKind.WEEKLY: timedelta(weeks=1),
}


@dataclass(frozen=True, slots=True)
class Rotation:
    """Turns of equal length: `every` so many hours, days or weeks, or (CUSTOM) every such span of time.

    The first begins on the local date `starts_on` at the wall time `hand_off`; a weekly one thereby has its weekday.
    """

    kind: RotationKind
    every: int | timedelta
    starts_on: date
    hand_off: time

    @property
    def turn(self) -> timedelta:
        """Return how long a turn is."""
        return self.every if isinstance(self.every, timedelta) else self.every * UNITS[self.kind]

    @property
    def first_hand_off(self) -> datetime:
        """Return the wall time (naive) at which it begins."""
        return datetime.combine(self.starts_on, self.hand_off)


@dataclass(frozen=True, slots=True)
class Restriction:
    """The hours of some weekdays (Monday is 0), in wall time; an end at or before the start is that of the next day."""

    weekdays: frozenset[int]
    start: time
    end: time


@dataclass(frozen=True, slots=True)
class Layer:
    """A rotation of people. With restrictions it counts at their hours only, and between `starts_at` and `ends_at`.

    A turn in which the layer has no hours is nobody's: after Friday's comes Monday's. (Hourly turns run on.)
    """

    name: str
    rotation: Rotation
    members: tuple[UUID, ...]
    restrictions: tuple[Restriction, ...] = ()
    starts_at: datetime | None = None
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """For how long a layer stays as it is: `turn` is the number of the turn, None where the layer does not count.

    `place` says how many turns had hours before this one: whose it is.
    """

    starts_at: datetime
    ends_at: datetime
    turn: int | None = None
    place: int = 0

    def within(self, starts_at: datetime, ends_at: datetime) -> Span:
        """Return the part that lies between two instants."""
        return Span(max(self.starts_at, starts_at), min(self.ends_at, ends_at), self.turn, self.place)


def members_in_turn(layer: Layer, place: int) -> tuple[UUID, ...]:
    """Return the members in the order in which they are on call in a turn, each once: who is first has the turn."""
    first = place % len(layer.members)
    return tuple(dict.fromkeys(layer.members[first:] + layer.members[:first]))


def counts_throughout(layer: Layer, zone: ZoneInfo, start: datetime, end: datetime) -> bool:
    """Tell whether a layer counts at every instant of a period, as far as that can be told without looking at each."""
    begins = max(layer.starts_at or BEGINNING, takes_place(zone, layer.rotation.first_hand_off))
    return not layer.restrictions and begins <= start and end <= (layer.ends_at or END)


def span_at(layer: Layer, zone: ZoneInfo, at: datetime) -> Span:
    """Return the turn that a layer has at an instant, or the time around it in which the layer does not count."""
    starts_at, ends_at = layer.starts_at or BEGINNING, layer.ends_at or END
    if at < starts_at:
        return Span(BEGINNING, starts_at)
    if at >= ends_at:
        return Span(ends_at, END)
    begins = takes_place(zone, layer.rotation.first_hand_off)
    if at < begins:
        return Span(starts_at, min(begins, ends_at))
    shown = latest_shown(zone, at)
    windows = _windows(layer.restrictions)
    if windows:
        on, opens, closes = _window_at(windows, shown)
        open_from, open_until = takes_place(zone, opens), takes_place(zone, closes)
        if not on:
            return Span(open_from, open_until).within(starts_at, ends_at)
        starts_at, ends_at = max(starts_at, open_from), min(ends_at, open_until)
    turn = _real_turn(layer.rotation, begins, at) if layer.rotation.kind is RotationKind.HOURLY else None
    return (turn or _wall_turn(layer.rotation, windows, zone, shown)).within(starts_at, ends_at)


def _real_turn(rotation: Rotation, begins: datetime, at: datetime) -> Span:
    """Return the turn of a rotation that counts real hours."""
    number = (at - begins) // rotation.turn
    return Span(begins + number * rotation.turn, begins + (number + 1) * rotation.turn, number, number)


def _wall_turn(rotation: Rotation, windows: Windows, zone: ZoneInfo, shown: datetime) -> Span:
    """Return the turn of a rotation that counts on the wall clock."""
    first, length = rotation.first_hand_off, rotation.turn
    number = (shown - first) // length
    minutes = length // _MINUTE
    turns = _turns_with_hours(windows, _minute_of_week(first), minutes)
    place = turns.before(number)
    for lost_from, lost_until in lost_days(zone):
        # A turn that lies wholly in a day which a country left out was nobody's either.
        void_from = min(max(-((first - lost_from) // length), 0), number)
        void_until = min(max((lost_until - first) // length, 0), number)
        if void_from < void_until:
            place -= turns.before(void_until) - turns.before(void_from)
    begin = first + number * length
    return Span(takes_place(zone, begin), takes_place(zone, begin + length), number, place)


@dataclass(frozen=True, slots=True)
class _TurnsWithHours:
    """How many turns have hours before each of those that a week's restrictions tell apart; then it repeats."""

    counts: tuple[int, ...]

    def before(self, number: int) -> int:
        rounds, rest = divmod(number, len(self.counts) - 1)
        return rounds * self.counts[-1] + self.counts[rest]


@lru_cache(maxsize=1_000)
def _turns_with_hours(windows: Windows, first: int, length: int) -> _TurnsWithHours:
    """Count which turns of a rotation that begins in a minute of the week meet one of the windows."""
    different = _WEEK_MINUTES // gcd(_WEEK_MINUTES, length) if windows else 1
    begins = [(first + turn * length) % _WEEK_MINUTES for turn in range(different)]
    met = [not windows or _meets(windows, begin, begin + length) for begin in begins]
    return _TurnsWithHours(tuple(accumulate(met, initial=0)))


def _meets(windows: Windows, begin: int, end: int) -> bool:
    return end - begin >= _WEEK_MINUTES or any(
        opens + shift < end and begin < closes + shift
        for opens, closes in windows
        for shift in (-_WEEK_MINUTES, 0, _WEEK_MINUTES)
    )


@lru_cache(maxsize=1_000)
def _windows(restrictions: tuple[Restriction, ...]) -> Windows:
    """Return the minutes of the week that restrictions leave, those that touch as one; nothing if they leave all."""
    covered = sorted(_minutes(restrictions))
    merged: list[tuple[int, int]] = []
    for opens, closes in covered:
        if merged and opens <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], closes))
        else:
            merged.append((opens, closes))
    # What reaches over the week's end is written at its beginning as well: it belongs together.
    if len(merged) > 1 and merged[0][0] == 0 and merged[-1][1] == _WEEK_MINUTES:
        (_, closes), (opens, _) = merged.pop(0), merged.pop()
        merged.append((opens, _WEEK_MINUTES + closes))
    return () if merged == [(0, _WEEK_MINUTES)] else tuple(merged)


def _minutes(restrictions: tuple[Restriction, ...]) -> list[tuple[int, int]]:
    found = []
    for restriction in restrictions:
        start, end = (at.hour * 60 + at.minute for at in (restriction.start, restriction.end))
        length = (end - start) % (24 * 60) or 24 * 60
        for weekday in restriction.weekdays:
            opens = weekday * 24 * 60 + start
            found.append((opens, min(opens + length, _WEEK_MINUTES)))
            if opens + length > _WEEK_MINUTES:
                found.append((0, opens + length - _WEEK_MINUTES))
    return found


def _window_at(windows: Windows, shown: datetime) -> tuple[bool, datetime, datetime]:
    """Tell whether a wall time lies in one of the windows, and return from and until when that is so."""
    week = _MONDAY + (shown - _MONDAY) // timedelta(minutes=_WEEK_MINUTES) * timedelta(minutes=_WEEK_MINUTES)
    index = bisect_right(windows, (shown - week) // _MINUTE, key=lambda window: window[0]) - 1
    if index < 0:
        index, week = len(windows) - 1, week - timedelta(minutes=_WEEK_MINUTES)
    opens, closes = (week + minute * _MINUTE for minute in windows[index])
    if shown < closes:
        return True, opens, closes
    following = week + windows[(index + 1) % len(windows)][0] * _MINUTE
    return False, closes, following if index + 1 < len(windows) else following + timedelta(minutes=_WEEK_MINUTES)


def _minute_of_week(wall: datetime) -> int:
    return ((wall - _MONDAY) // _MINUTE) % _WEEK_MINUTES
