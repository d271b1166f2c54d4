"""Who is on call: now, in two weeks of a schedule, and instead of whom; and what holds pages back meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from tocsin.app import calendars, coverage, on_call, silences
from tocsin.app import schedules as rota
from tocsin.app.on_call import SHOWN_DAYS, Calendar
from tocsin.app.overview import pulse
from tocsin.app.schedules import Person
from tocsin.app.silences import Wanted
from tocsin.app.work import Work
from tocsin.domain.access import PERMISSIONS, Permission
from tocsin.domain.coverage import Reached
from tocsin.domain.day_grid import Day, Hour
from tocsin.domain.incident import Severity
from tocsin.domain.oncall import Shift
from tocsin.domain.policy_document import delay_text
from tocsin.domain.rotation import Restriction, Rotation, RotationKind
from tocsin.domain.silence import SilenceKind
from tocsin.domain.wall_clock import takes_place
from tocsin.web.console.page import Form, Redirected, Shown, Visit
from tocsin.web.reading import incident_ref, invalid, part_id

COLOURS = 8
MAX_NEXT = 8
"""How many coming shifts are listed with a button that takes them over."""
MAX_WEAK = 100
"""How many weaknesses the forecast shows; those that reach nobody first."""
LENGTHS = (
    (1, "1 hour"),
    (2, "2 hours"),
    (4, "4 hours"),
    (8, "8 hours"),
    (24, "a day"),
    (72, "3 days"),
    (168, "a week"),
)
"""For how long a silence may be asked for on the page, in hours."""
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_TURNS = {RotationKind.HOURLY: "hour", RotationKind.DAILY: "day", RotationKind.WEEKLY: "week"}
_RESPONDERS_HOURS = silences.RESPONDERS_LENGTH // timedelta(hours=1)

Line = Annotated[str, msgspec.Meta(max_length=254)]


class CalendarQuery(msgspec.Struct, rename={"from_": "from"}):
    """From which day on the calendar is shown; without it, from today on."""

    from_: date | None = None


class OverrideForm(Form):
    """Who is on call from when until when, on the schedule's clock; instead of whom, or of whoever is."""

    user: Line
    starts_at: Annotated[str, msgspec.Meta(max_length=30)]
    ends_at: Annotated[str, msgspec.Meta(max_length=30)]
    instead_of: Line | None = None


class TakeForm(Form):
    """Which shift somebody takes over, of whom."""

    starts_at: datetime
    ends_at: datetime
    instead_of: Line


class FeedForm(Form):
    """Whether a calendar feed shows one's own shifts only."""

    mine: bool = False


class SilenceForm(Form):
    """Which pages are held back, why and for how long."""

    reason: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    hours: Annotated[int, msgspec.Meta(ge=1, le=720)] = 1
    incident: Line | None = None
    service: Line | None = None
    severity: tuple[Severity, ...] = ()
    everything: bool = False
    maintenance: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """One hour as the grid draws it. `label` stands where a new stretch begins, and is `width` hours wide."""

    hour: Hour
    colour: str
    who: str
    label: str
    width: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time of a day in the list that small screens show: who is on call, or that somebody is missing."""

    starts_at: datetime
    ends_at: datetime
    who: str
    missing: int


# --- now -------------------------------------------------------------------------------------------------------


async def show(work: Work, visit: Visit) -> Shown:
    """Show who is on call now, and the silences."""
    longest = None if Permission.ADMINISTER in PERMISSIONS[visit.actor.role] else _RESPONDERS_HOURS
    context = {
        "pulse": await pulse(work),
        "rota": await on_call.on_call_now(work, visit.actor),
        "silences": await silences.list_silences(work, visit.actor),
        "lengths": [one for one in LENGTHS if longest is None or one[0] <= longest],
        "severities": [*Severity],
    }
    return Shown("oncall.html", context)


async def show_coverage(work: Work, visit: Visit) -> Shown:
    """Show when the policies in force will reach nobody."""
    found = await coverage.forecast(work, visit.actor)
    weak = sorted(found.weaknesses, key=lambda one: (one.reached is not Reached.NOBODY, one.starts_at))
    context = {"forecast": found, "weak": weak[:MAX_WEAK], "more": len(weak) - MAX_WEAK, "utc": ZoneInfo("UTC")}
    return Shown("coverage.html", context)


async def add_silence(work: Work, visit: Visit) -> Redirected:
    """Hold pages back for a while."""
    form = visit.said(SilenceForm)
    wanted = Wanted(
        form.reason,
        SilenceKind.MAINTENANCE if form.maintenance else SilenceKind.SILENCE,
        incident=incident_ref(form.incident.strip()) if form.incident is not None else None,
        service=form.service,
        severities=form.severity or None,
        everything=form.everything,
        length=timedelta(hours=form.hours),
    )
    await silences.add_silence(work, visit.actor, wanted)
    return Redirected("/oncall#silences")


async def end_silence(work: Work, visit: Visit) -> Redirected:
    """End a silence now."""
    await silences.end_silence(work, visit.actor, part_id(visit.path("silence"), "silence"))
    return Redirected("/oncall#silences")


# --- the calendar of a schedule --------------------------------------------------------------------------------


async def show_schedule(work: Work, visit: Visit) -> Shown:
    """Show two weeks of a schedule."""
    return await _shown(work, visit, None)


async def _shown(work: Work, visit: Visit, feed: calendars.Feed | None) -> Shown:
    query = visit.query
    first = query.from_ if isinstance(query, CalendarQuery) else None
    calendar = await on_call.calendar_of(work, visit.actor, schedule_id(visit), first)
    may_respond = Permission.RESPOND in PERMISSIONS[visit.actor.role]
    colours = {user: f"p{place % COLOURS}" for place, user in enumerate(calendar.people)}
    coming = {shift: None for day in calendar.days for shift in day.shifts if shift.ends_at > work.now}
    context = {
        "calendar": calendar,
        "zone": calendar.schedule.zone,
        "rows": [_cells(day, calendar, colours) for day in calendar.days],
        "lists": [_stretches(day, calendar) for day in calendar.days],
        "gaps": [gap for day in calendar.days for gap in day.gaps if gap.ends_at > work.now],
        "coming": [(shift, calendar.people[shift.user_id]) for shift in list(coming)[:MAX_NEXT]],
        "choices": await on_call.choices(work, visit.actor) if may_respond else [],
        "members": sorted(calendar.people.values(), key=lambda one: one.name),
        "feeds": await calendars.list_feeds(work, visit.actor, calendar.schedule.id) if may_respond else [],
        "feed": feed,
        "turns": turns_in_words,
        "hours": hours_in_words,
        "earlier": calendar.days[0].day - timedelta(days=SHOWN_DAYS),
        "later": calendar.days[0].day + timedelta(days=SHOWN_DAYS),
    }
    return Shown("schedule.html", context)


def turns_in_words(rotation: Rotation) -> str:
    """Return how people take turns: `every week, handing off at 09:00, first on Mon 5 Jan 2026`."""
    unit = _TURNS.get(rotation.kind)
    if unit is None or not isinstance(rotation.every, int):
        every = delay_text(rotation.turn)
    else:
        every = unit if rotation.every == 1 else f"{rotation.every} {unit}s"
    return f"every {every}, handing off at {rotation.hand_off:%H:%M}, first on {rotation.starts_on:%a %-d %b %Y}"


def hours_in_words(restriction: Restriction) -> str:
    """Return the hours of some weekdays: `Mon, Tue 09:00 to 17:00`."""
    days = ", ".join(WEEKDAYS[day] for day in sorted(restriction.weekdays))
    return f"{days} {restriction.start:%H:%M} to {restriction.end:%H:%M}"


def _cells(day: Day, calendar: Calendar, colours: dict[UUID, str]) -> list[Cell]:
    cells: list[Cell] = []
    for place, hour in enumerate(day.hours):
        begins = place == 0 or _same(day.hours[place - 1]) != _same(hour)
        who = _names([calendar.people[user] for user in hour.users], hour.missing)
        width = next((end for end in range(place, len(day.hours)) if _same(day.hours[end]) != _same(hour)), 24) - place
        colour = "gap" if hour.missing else colours[hour.users[0]] if hour.users else "nobody"
        cells.append(Cell(hour, "left-out" if hour.left_out else colour, who, who if begins else "", width))
    return cells


def _same(hour: Hour) -> tuple[object, ...]:
    return (hour.users, hour.missing, hour.left_out)


def _names(people: Sequence[Person], missing: int) -> str:
    names = ", ".join(person.name for person in people)
    if not missing:
        return names
    return f"{names}; {missing} missing" if names else "nobody"


def _stretches(day: Day, calendar: Calendar) -> list[Stretch]:
    found = [Stretch(*_clipped(shift, day), calendar.people[shift.user_id].name, 0) for shift in day.shifts] + [
        Stretch(gap.starts_at, gap.ends_at, "", gap.missing) for gap in day.gaps
    ]
    return sorted(found, key=lambda one: (one.starts_at, one.ends_at))


def _clipped(shift: Shift, day: Day) -> tuple[datetime, datetime]:
    return max(shift.starts_at, day.starts_at), min(shift.ends_at, day.ends_at)


async def add_override(work: Work, visit: Visit) -> Redirected:
    """Put somebody on call for some time."""
    form = visit.said(OverrideForm)
    schedule = await rota.find(work, schedule_id(visit))
    starts_at = on_the_clock(schedule.zone, "startsAt", form.starts_at)
    ends_at = on_the_clock(schedule.zone, "endsAt", form.ends_at)
    await rota.add_override(work, visit.actor, schedule.id, form.user, starts_at, ends_at, form.instead_of)
    return _back(visit)


def on_the_clock(zone: ZoneInfo, field: str, text: str) -> datetime:
    """Return when the zone's clock shows what was filled in."""
    wall: datetime | None
    try:
        wall = datetime.fromisoformat(text.strip())
    except ValueError:
        wall = None
    if wall is None or wall.tzinfo is not None or not 2000 <= wall.year < 2200:
        raise invalid(field, "must be a day and a time, such as 2026-12-07T09:00")
    return takes_place(zone, wall.replace(microsecond=0))


async def take_over(work: Work, visit: Visit) -> Redirected:
    """Take somebody's shift, or what is left of it."""
    form = visit.said(TakeForm)
    if form.starts_at.tzinfo is None or form.ends_at.tzinfo is None:
        raise invalid("startsAt", "must have an offset from UTC")
    me = (await on_call.choices(work, visit.actor))[0]
    starts_at = max(form.starts_at, work.now)
    await rota.add_override(work, visit.actor, schedule_id(visit), me.email, starts_at, form.ends_at, form.instead_of)
    return _back(visit)


async def remove_override(work: Work, visit: Visit) -> Redirected:
    """Take an override away."""
    await rota.remove_override(work, visit.actor, schedule_id(visit), part_id(visit.path("override"), "override"))
    return _back(visit)


async def add_feed(work: Work, visit: Visit) -> Shown:
    """Make a calendar feed, and show its address this once."""
    mine = (await on_call.choices(work, visit.actor))[0].email if visit.said(FeedForm).mine else None
    return await _shown(work, visit, await calendars.make_feed(work, visit.actor, schedule_id(visit), mine))


async def revoke_feed(work: Work, visit: Visit) -> Redirected:
    """End a calendar feed."""
    await calendars.revoke_feed(work, visit.actor, schedule_id(visit), part_id(visit.path("feed"), "calendar feed"))
    return _back(visit)


def schedule_id(visit: Visit) -> UUID:
    """Return which schedule the path names; raise NOT_FOUND."""
    return part_id(visit.path("schedule"), "schedule")


def _back(visit: Visit) -> Redirected:
    return Redirected(f"/oncall/schedules/{schedule_id(visit)}")
