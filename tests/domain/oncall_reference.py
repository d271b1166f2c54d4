"""Who is on call, worked out the slow way: a clock on the wall is watched minute by minute, and turns are counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from tocsin.domain.oncall import Schedule
from tocsin.domain.rotation import Layer, Restriction, Rotation, RotationKind

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)
FIRST, LAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Transition:
    """An instant at which the clocks of a zone are changed, and the wall time just before and at it."""

    at: datetime
    wall_before: datetime
    wall_after: datetime


def wall(zone: ZoneInfo, at: datetime) -> datetime:
    """Return what the clock on the wall shows."""
    return at.astimezone(zone).replace(tzinfo=None)


@cache
def transitions(zone: ZoneInfo) -> tuple[Transition, ...]:
    """Return when a zone's clocks are changed between 2020 and 2035, to the minute."""
    found = []
    week = FIRST
    while week < LAST:  # no zone changes its clocks and changes them back within a week
        if _offset(zone, week + WEEK) != _offset(zone, week):
            low, high = 0, WEEK // MINUTE
            while high - low > 1:
                middle = (low + high) // 2
                same = _offset(zone, week + middle * MINUTE) == _offset(zone, week)
                low, high = (middle, high) if same else (low, middle)
            at = week + high * MINUTE
            found.append(Transition(at, wall(zone, at - MINUTE) + MINUTE, wall(zone, at)))
        week += WEEK
    return tuple(found)


def _offset(zone: ZoneInfo, at: datetime) -> timedelta | None:
    return at.astimezone(zone).utcoffset()


@lru_cache(maxsize=1)
def zones_by_behaviour() -> dict[tuple[Transition, ...], list[str]]:
    """Return every zone that changes its clocks, those together that do it alike: half of the names are synonyms."""
    found: dict[tuple[Transition, ...], list[str]] = {}
    for name in sorted(available_timezones()):
        if changes := transitions(ZoneInfo(name)):
            found.setdefault(changes, []).append(name)
    return found


def watched(schedule: Schedule, start: datetime, end: datetime) -> Iterator[tuple[datetime, tuple[UUID, ...]]]:
    """Give who is on call at each minute of a period, without overrides. The rotations must begin after `start`."""
    states = [_Watched(layer) for layer in schedule.layers]
    at, shown = start, wall(schedule.zone, start)
    while at < end:
        shown = max(shown, wall(schedule.zone, at))
        for state in states:
            state.tick(at, shown)
        counting = [state for state in states if state.counts(shown)]
        yield at, counting[-1].people(schedule.people) if counting else ()
        at += MINUTE


class _Watched:
    """A layer whose hand-offs are waited for, one after the other."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self._rotation = layer.rotation
        self._next = self._rotation.first_hand_off
        self._began: datetime | None = None
        self._turns_begun = 0

    def tick(self, at: datetime, shown: datetime) -> None:
        """Look at the clock: hand over once for each hand-off that has come."""
        if self._rotation.kind is RotationKind.HOURLY and self._began:
            self._turns_begun = 1 + int((at - self._began) / self._rotation.turn)
            return
        while self._next <= shown:
            self._began = self._began or at
            following = self._next + self._rotation.turn
            # A turn in which the layer has no hours is nobody's, and so is one that was over before it began.
            if following > shown and self._has_hours(self._next, following):
                self._turns_begun += 1
            self._next = following

    def _has_hours(self, start: datetime, end: datetime) -> bool:
        if self._rotation.kind is RotationKind.HOURLY or not self._layer.restrictions:
            return True
        days = [start + number * DAY for number in range(-1, (end - start).days + 2)]
        begin = [datetime.combine(day, restriction.start) for day in days for restriction in self._layer.restrictions]
        return any(allowed(self._layer.restrictions, at) for at in [start, *begin] if start <= at < end)

    def counts(self, shown: datetime) -> bool:
        """Tell whether the layer counts while the clock shows this."""
        return bool(self._began) and (not self._layer.restrictions or allowed(self._layer.restrictions, shown))

    def people(self, number: int) -> tuple[UUID, ...]:
        """Return who is on call in the turn that was begun last."""
        members = self._layer.members
        turn = self._turns_begun - 1
        return tuple(members[(turn + place) % len(members)] for place in range(number))


def allowed(restrictions: Sequence[Restriction], shown: datetime) -> bool:
    """Tell whether one of the restrictions holds at a wall time."""
    for restriction in restrictions:
        for day in (shown.date(), shown.date() - DAY):
            start = datetime.combine(day, restriction.start)
            end = datetime.combine(day, restriction.end)
            if end <= start:
                end += DAY
            if day.weekday() in restriction.weekdays and start <= shown < end:
                return True
    return False


def rotation(kind: RotationKind, every: int | timedelta, first: datetime) -> Rotation:
    """Return a rotation that begins at a wall time."""
    return Rotation(kind, every, first.date(), first.time())
