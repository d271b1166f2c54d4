"""Who is on call: layers of rotations, the topmost that covers an instant wins, and overrides over all of them.

At every instant exactly as many people are on call as the schedule asks for, or the instant lies in one of its gaps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
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


def on_call(schedule: Schedule, at: datetime) -> tuple[UUID, ...]:
    """Return who is on call at an instant; with several people, who has the turn is first."""
    return tuple(place.user_id for place in _stretch_at(schedule, at).places)


def shifts(schedule: Schedule, start: datetime, end: datetime) -> Iterator[Shift]:
    """Give every shift that meets a period, whole, in order of their beginnings.

    A shift ends with its turn, even where the same person has the next one: however the period is chosen, it is the
    same shift.
    """
    found: list[Shift] = []
    running: dict[_Place, datetime] = {}
    for stretch in _stretches(schedule, _beginning_of_shifts(schedule, start)):
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


def gaps(schedule: Schedule, start: datetime, end: datetime) -> list[Gap]:
    """Return when in a period fewer people are on call than there should be."""
    found: list[Gap] = []
    for stretch in _stretches(schedule, _stretch_at(schedule, start)):
        if stretch.starts_at >= end:
            break
        gap = Gap(max(stretch.starts_at, start), min(stretch.ends_at, end), schedule.people - len(stretch.places))
        if found and (found[-1].ends_at, found[-1].missing) == (gap.starts_at, gap.missing):
            gap = Gap(found.pop().starts_at, gap.ends_at, gap.missing)
        if gap.missing:
            found.append(gap)
    return found


@dataclass(frozen=True, slots=True)
class _Place:
    """Who has one of the places, and through what: the turn of a layer, or an override. Equal: the same shift."""

    user_id: UUID
    source: str
    through: tuple[int, int] | UUID


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A time in which nothing changes."""

    starts_at: datetime
    ends_at: datetime
    places: tuple[_Place, ...]


def _stretches(schedule: Schedule, first: _Stretch) -> Iterator[_Stretch]:
    yield first
    while first.ends_at < END:
        first = _stretch_at(schedule, first.ends_at)
        yield first


def _beginning_of_shifts(schedule: Schedule, at: datetime) -> _Stretch:
    """Return the stretch with which the first of the shifts that run at an instant began."""
    stretch = _stretch_at(schedule, at)
    running = set(stretch.places)
    while stretch.starts_at > BEGINNING:
        previous = _stretch_at(schedule, stretch.starts_at - RESOLUTION)
        running.intersection_update(previous.places)
        if not running:
            break
        stretch = previous
    return stretch


def _stretch_at(schedule: Schedule, at: datetime) -> _Stretch:
    starts_at, ends_at = BEGINNING, END
    in_turn: list[_Place] = []
    for index in reversed(range(len(schedule.layers))):
        layer = schedule.layers[index]
        span = span_at(layer, schedule.zone, at)
        starts_at, ends_at = max(starts_at, span.starts_at), min(ends_at, span.ends_at)
        if span.turn is not None:
            source = f"layer {layer.name}"
            in_turn = [_Place(user, source, (index, span.turn)) for user in members_in_turn(layer, span.place)]
            break
    active = []
    for override in schedule.overrides:
        if override.starts_at <= at < override.ends_at:
            active.append(override)
            starts_at, ends_at = max(starts_at, override.starts_at), min(ends_at, override.ends_at)
        elif override.starts_at > at:
            ends_at = min(ends_at, override.starts_at)
        else:
            starts_at = max(starts_at, override.ends_at)
    return _Stretch(starts_at, ends_at, _placed(schedule.people, in_turn, active))


def _placed(people: int, in_turn: list[_Place], active: list[Override]) -> tuple[_Place, ...]:
    """Return who has the places: the first members in turn, unless overrides put somebody else there."""
    places: list[_Place | None] = [*in_turn[:people], *([None] * (people - len(in_turn)))]
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
        places[index] = _Place(override.user_id, OVERRIDE, override.id)
        replaced.discard(override.user_id)
    return (
        _each_once(places, [place for place in in_turn if place.user_id not in replaced]) if active else _there(places)
    )


def _each_once(places: list[_Place | None], next_in_turn: list[_Place]) -> tuple[_Place, ...]:
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


def _there(places: list[_Place | None]) -> tuple[_Place, ...]:
    return tuple(place for place in places if place is not None)
