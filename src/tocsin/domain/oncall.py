"""Who is on call: layers of rotations, the topmost that covers an instant wins, and overrides over all of them.

At every instant exactly as many people are on call as the schedule asks for, or the instant lies in one of its gaps.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from tocsin.domain.rotation import BEGINNING, END, Layer, members_in_turn, span_at
from tocsin.domain.wall_clock import RESOLUTION

OVERRIDE = "override"


@dataclass(frozen=True, slots=True)
class Override:
    """For some time somebody is on call in somebody's place.

    Without `instead_of` they take a place whoever has it, also where nobody has: the first place; where several such
    overrides hold at once, the later ones the next, and once all are taken, the first again.
    """

    id: UUID
    user_id: UUID
    starts_at: datetime
    ends_at: datetime
    instead_of: UUID | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """Who is on call when, `people` at once. Later layers lie on top of earlier ones, later overrides likewise."""

    id: UUID
    name: str
    zone: ZoneInfo
    people: int
    layers: tuple[Layer, ...] = ()
    overrides: tuple[Override, ...] = ()


@dataclass(frozen=True, slots=True)
class Shift:
    """Somebody is on call from one instant until another, by a turn of a layer or by an override."""

    starts_at: datetime
    ends_at: datetime
    user_id: UUID
    source: str


@dataclass(frozen=True, slots=True)
class Gap:
    """From one instant until another so many people are missing."""

    starts_at: datetime
    ends_at: datetime
    missing: int


@dataclass(frozen=True, slots=True)
class Place:
    """Who has one of the places, and through what: the turn of a layer, or an override. Equal: the same shift."""

    user_id: UUID
    source: str
    through: tuple[int, int] | UUID


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which nothing changes, with who is on call in it; who has the turn is first."""

    starts_at: datetime
    ends_at: datetime
    places: tuple[Place, ...]


def on_call(schedule: Schedule, at: datetime) -> tuple[UUID, ...]:
    """Return who is on call at an instant; with several people, who has the turn is first."""
    return tuple(place.user_id for place in _stretch_at(schedule, _Overrides(schedule), at).places)


def shifts(schedule: Schedule, start: datetime, end: datetime) -> Iterator[Shift]:
    """Give every shift that meets a period, whole, in order of their beginnings.

    A shift ends with its turn, even where the same person has the next one: however the period is chosen, it is the
    same shift.
    """
    found: list[Shift] = []
    running: dict[Place, datetime] = {}
    overrides = _Overrides(schedule)
    for stretch in _stretches(schedule, overrides, _beginning_of_shifts(schedule, overrides, start)):
        for place in [place for place in running if place not in stretch.places]:
            found.append(Shift(running.pop(place), stretch.starts_at, place.user_id, place.source))
        if stretch.starts_at < end:
            for place in stretch.places:
                running.setdefault(place, stretch.starts_at)
        elif not running:
            break
    yield from sorted(
        (shift for shift in found if shift.ends_at > start),
        key=lambda shift: (shift.starts_at, shift.ends_at, shift.user_id),
    )


def stretches(schedule: Schedule, start: datetime, end: datetime) -> Iterator[Stretch]:
    """Give the times into which changes part a period, each with who is on call in it."""
    overrides = _Overrides(schedule)
    for stretch in _stretches(schedule, overrides, _stretch_at(schedule, overrides, start)):
        if stretch.starts_at >= end:
            break
        yield Stretch(max(stretch.starts_at, start), min(stretch.ends_at, end), stretch.places)


def gaps(schedule: Schedule, start: datetime, end: datetime) -> list[Gap]:
    """Return when in a period fewer people are on call than there should be."""
    found: list[Gap] = []
    for stretch in stretches(schedule, start, end):
        gap = Gap(stretch.starts_at, stretch.ends_at, schedule.people - len(stretch.places))
        if found and (found[-1].ends_at, found[-1].missing) == (gap.starts_at, gap.missing):
            gap = Gap(found.pop().starts_at, gap.ends_at, gap.missing)
        if gap.missing:
            found.append(gap)
    return found


def _stretches(schedule: Schedule, overrides: _Overrides, first: Stretch) -> Iterator[Stretch]:
    yield first
    while first.ends_at < END:
        first = _stretch_at(schedule, overrides, first.ends_at)
        yield first


def _beginning_of_shifts(schedule: Schedule, overrides: _Overrides, at: datetime) -> Stretch:
    """Return the stretch with which the first of the shifts that run at an instant began."""
    stretch = _stretch_at(schedule, overrides, at)
    running = set(stretch.places)
    while stretch.starts_at > BEGINNING:
        previous = _stretch_at(schedule, overrides, stretch.starts_at - RESOLUTION)
        running.intersection_update(previous.places)
        if not running:
            break
        stretch = previous
    return stretch


def _stretch_at(schedule: Schedule, overrides: _Overrides, at: datetime) -> Stretch:
    starts_at, ends_at = BEGINNING, END
    in_turn: list[Place] = []
    for index in reversed(range(len(schedule.layers))):
        layer = schedule.layers[index]
        span = span_at(layer, schedule.zone, at)
        starts_at, ends_at = max(starts_at, span.starts_at), min(ends_at, span.ends_at)
        if span.turn is not None:
            source = f"layer {layer.name}"
            in_turn = [Place(user, source, (index, span.turn)) for user in members_in_turn(layer, span.place)]
            break
    before, after = overrides.edges_around(at)
    places = _placed(schedule.people, in_turn, overrides.at(at))
    return Stretch(max(starts_at, before), min(ends_at, after), places)


class _Overrides:
    """The overrides of a schedule in the order of their beginnings, so that an instant need not be held against all."""

    def __init__(self, schedule: Schedule) -> None:
        self._by_start = sorted(enumerate(schedule.overrides), key=lambda one: one[1].starts_at)
        self._starts = [override.starts_at for _, override in self._by_start]
        self._longest = max((one.ends_at - one.starts_at for one in schedule.overrides), default=timedelta())
        ends = (override.ends_at for override in schedule.overrides)
        self._edges = [BEGINNING, *sorted({*self._starts, *ends}), END]

    def edges_around(self, at: datetime) -> tuple[datetime, datetime]:
        """Return since when and until when the same overrides hold as at an instant."""
        index = bisect_right(self._edges, at)
        return self._edges[index - 1], self._edges[index]

    def at(self, at: datetime) -> list[Override]:
        """Return the overrides that hold at an instant, the lowest first."""
        first, last = bisect_right(self._starts, at - self._longest), bisect_right(self._starts, at)
        return [override for _, override in sorted(self._by_start[first:last], key=_rank) if at < override.ends_at]


def _rank(one: tuple[int, Override]) -> int:
    return one[0]


def _placed(people: int, in_turn: list[Place], active: list[Override]) -> tuple[Place, ...]:
    """Return who has the places: the first members in turn, unless overrides put somebody else there."""
    places: list[Place | None] = [*in_turn[:people], *([None] * (people - len(in_turn)))]
    replaced: set[UUID] = set()
    unnamed = 0
    for override in active:
        if override.instead_of is None:
            index, unnamed = unnamed % people, unnamed + 1
        else:
            index = next((i for i, place in enumerate(places) if place and place.user_id == override.instead_of), -1)
        if index < 0:
            continue
        if (before := places[index]) is not None:
            replaced.add(before.user_id)
        places[index] = Place(override.user_id, OVERRIDE, override.id)
        replaced.discard(override.user_id)
    return (
        _each_once(places, [place for place in in_turn if place.user_id not in replaced]) if active else _there(places)
    )


def _each_once(places: list[Place | None], next_in_turn: list[Place]) -> tuple[Place, ...]:
    """Let who would be on call twice give way to the next member who is not on call yet, if there is one."""
    seen = {place.user_id for place in places if place and place.source == OVERRIDE}
    spare = [place for place in next_in_turn if place.user_id not in {one.user_id for one in places if one}]
    overridden: set[UUID] = set()
    for index, place in enumerate(places):
        if place is None:
            continue
        twice = place.user_id in (overridden if place.source == OVERRIDE else seen)
        if place.source == OVERRIDE:
            overridden.add(place.user_id)
        if twice:
            places[index] = spare.pop(0) if spare else None
    return _there(places)


def _there(places: list[Place | None]) -> tuple[Place, ...]:
    return tuple(place for place in places if place is not None)
