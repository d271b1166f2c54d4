"""Schedules as superadmins make them: their layers, each a rotation of people at some hours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Annotated
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from tocsin.app import on_call
from tocsin.app import schedules as rota
from tocsin.app.work import Work
from tocsin.domain.oncall import Schedule
from tocsin.domain.policy_document import delay_text
from tocsin.domain.rotation import Layer, Restriction, Rotation, RotationKind
from tocsin.domain.schedule_bounds import MAX_MEMBERS, MAX_PEOPLE, MAX_RESTRICTIONS
from tocsin.errors import Code, refuse
from tocsin.web.console.oncall import WEEKDAYS, Line, on_the_clock, schedule_id
from tocsin.web.console.page import Form, JustDoForm, Redirected, Shown, Visit
from tocsin.web.console.policies import delay_of
from tocsin.web.reading import invalid

KINDS = {
    RotationKind.HOURLY: "hours",
    RotationKind.DAILY: "days",
    RotationKind.WEEKLY: "weeks",
    RotationKind.CUSTOM: "of a span such as 12h or 3d12h",
}
"""In what turns are counted, as the form says it: every so many …"""
SPARE_MEMBERS = 3
SPARE_HOURS = 2
"""Empty rows at the end of a form, for what is to be added; once they are filled in, there are others."""
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_DAY = re.compile(r"([0-9]{1,2})-([0-6])")

Short = Annotated[str, msgspec.Meta(max_length=30)]


class ScheduleForm(Form):
    """How a schedule is called, by which clock it goes, and how many people are on call at once."""

    name: Line = ""
    time_zone: Line = "UTC"
    people: Annotated[int, msgspec.Meta(ge=1, le=MAX_PEOPLE)] = 1


class NamedForm(JustDoForm):
    """Which layer is meant."""

    name: Line


class LayerQuery(msgspec.Struct):
    """Which layer the page shows; without a name, a new one."""

    name: Line = ""


class LayerForm(Form):
    """A layer. `was` is the name of the one whose place it takes; `day` is row-weekday of the hours, Monday is 0."""

    name: Line = ""
    was: Line = ""
    rotation: RotationKind = RotationKind.WEEKLY
    every: Short = "1"
    starts_on: date | None = None
    hand_off: Short = ""
    member: tuple[Line, ...] = ()
    day: tuple[Short, ...] = ()
    start: tuple[Short, ...] = ()
    end: tuple[Short, ...] = ()
    counts_from: Short = ""
    counts_until: Short = ""


@dataclass(frozen=True, slots=True)
class Hours:
    """One row of the form: the hours of some weekdays."""

    days: frozenset[int]
    start: str
    end: str


# --- schedules -------------------------------------------------------------------------------------------------


async def add(work: Work, visit: Visit) -> Redirected:
    """Add a schedule, on which nobody is on call yet."""
    form = visit.said(ScheduleForm)
    made = await rota.add(work, visit.actor, name=form.name, time_zone=form.time_zone.strip(), people=form.people)
    return _to(made.id)


async def change(work: Work, visit: Visit) -> Redirected:
    """Change how a schedule is called, its clock, and how many are on call at once."""
    form = visit.said(ScheduleForm)
    zone = form.time_zone.strip()
    await rota.change(work, visit.actor, schedule_id(visit), name=form.name, time_zone=zone, people=form.people)
    return _to(schedule_id(visit))


async def remove(work: Work, visit: Visit) -> Redirected:
    """Remove a schedule that nothing uses."""
    await rota.remove(work, visit.actor, schedule_id(visit))
    return Redirected("/oncall")


def _to(schedule: UUID) -> Redirected:
    return Redirected(f"/oncall/schedules/{schedule}")


# --- layers ----------------------------------------------------------------------------------------------------


async def show_layer(work: Work, visit: Visit) -> Shown:
    """Show the form of a layer: as it is, as it was filled in, or for a new one."""
    overview = await rota.show(work, visit.actor, schedule_id(visit))
    schedule, query = overview.schedule, visit.query
    if isinstance(visit.form, LayerForm):
        filled = visit.form
    elif isinstance(query, LayerQuery) and query.name:
        filled = _filled(schedule, query.name, {one.id: one.email for one in overview.people.values()})
    else:
        filled = LayerForm(starts_on=work.now.astimezone(schedule.zone).date(), hand_off="09:00")
    context = {
        "schedule": schedule,
        "layer": filled,
        "kinds": KINDS,
        "weekdays": WEEKDAYS,
        "members": [*(one for one in filled.member if one.strip()), *("" for _ in range(SPARE_MEMBERS))][:MAX_MEMBERS],
        "hours": [*_rows(filled), *(Hours(frozenset(), "", "") for _ in range(SPARE_HOURS))][:MAX_RESTRICTIONS],
        "choices": await on_call.choices(work, visit.actor),
    }
    return Shown("layer.html", context)


def _filled(schedule: Schedule, name: str, emails: dict[UUID, str]) -> LayerForm:
    """Return the form as it stands for a layer that there is; raise NOT_FOUND."""
    layer = next((one for one in schedule.layers if one.name.casefold() == name.casefold()), None)
    if layer is None:
        hint = "See which it has on its page."
        raise refuse(Code.NOT_FOUND, f"The schedule {schedule.name} has no layer {name[:100]!r}.", hint)
    every = layer.rotation.every
    return LayerForm(
        name=layer.name,
        was=layer.name,
        rotation=layer.rotation.kind,
        every=delay_text(every) if isinstance(every, timedelta) else str(every),
        starts_on=layer.rotation.starts_on,
        hand_off=f"{layer.rotation.hand_off:%H:%M}",
        member=tuple(emails[user] for user in layer.members),
        day=tuple(f"{row}-{day}" for row, one in enumerate(layer.restrictions) for day in sorted(one.weekdays)),
        start=tuple(f"{one.start:%H:%M}" for one in layer.restrictions),
        end=tuple(f"{one.end:%H:%M}" for one in layer.restrictions),
        counts_from=_shown(schedule.zone, layer.starts_at),
        counts_until=_shown(schedule.zone, layer.ends_at),
    )


def _shown(zone: ZoneInfo, instant: datetime | None) -> str:
    return f"{instant.astimezone(zone):%Y-%m-%dT%H:%M}" if instant is not None else ""


def _rows(form: LayerForm) -> Iterator[Hours]:
    """Return the rows of hours in which anything is filled in."""
    days = [match for day in form.day if (match := _DAY.fullmatch(day))]
    for row, (start, end) in enumerate(zip(form.start, form.end, strict=False)):
        chosen = frozenset(int(day[2]) for day in days if int(day[1]) == row)
        if chosen or start.strip() or end.strip():
            yield Hours(chosen, start.strip(), end.strip())


async def put_layer(work: Work, visit: Visit) -> Redirected:
    """Lay a layer on top of the others, or change the one whose place it takes."""
    form, schedule = visit.said(LayerForm), await rota.find(work, schedule_id(visit))
    layer = await _layer(work, form, schedule.zone)
    if form.was:
        await rota.change_layer(work, visit.actor, schedule.id, form.was, layer)
    else:
        await rota.add_layer(work, visit.actor, schedule.id, layer)
    return _to(schedule.id)


async def remove_layer(work: Work, visit: Visit) -> Redirected:
    """Take a layer away."""
    await rota.remove_layer(work, visit.actor, schedule_id(visit), visit.said(NamedForm).name)
    return _to(schedule_id(visit))


async def _layer(work: Work, form: LayerForm, zone: ZoneInfo) -> Layer:
    people = await rota.members(work, "member", [one.strip() for one in form.member if one.strip()])
    if form.starts_on is None:
        raise invalid("startsOn", "must be a day, such as 2026-12-07")
    rotation = Rotation(form.rotation, _every(form), form.starts_on, _time("handOff", form.hand_off))
    restrictions = tuple(Restriction(one.days, _time("start", one.start), _time("end", one.end)) for one in _rows(form))
    return Layer(
        form.name.strip(),
        rotation,
        tuple(person.id for person in people),
        restrictions,
        on_the_clock(zone, "countsFrom", form.counts_from) if form.counts_from else None,
        on_the_clock(zone, "countsUntil", form.counts_until) if form.counts_until else None,
    )


def _every(form: LayerForm) -> int | timedelta:
    if form.rotation is RotationKind.CUSTOM:
        return delay_of("every", form.every)
    if not re.fullmatch(r"[0-9]{1,5}", form.every.strip()):
        raise invalid("every", "must be a whole number of hours, days or weeks")
    return int(form.every)


def _time(field: str, text: str) -> time:
    if not _TIME.fullmatch(text.strip()):
        raise invalid(field, "must be a time of the day such as 09:00")
    return time.fromisoformat(text.strip())
