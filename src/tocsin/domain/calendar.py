"""iCalendar (RFC 5545): shifts as a file that calendar programs show, and such a file read as shifts.

What is read comes from anybody's calendar program: its size, its events and how far its repetitions reach are bounded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from icalendar import Calendar, Event, vCalAddress

from tocsin.domain.oncall import Shift
from tocsin.domain.recurrence import Recurrence, occurrences, parse_recurrence
from tocsin.domain.wall_clock import takes_place
from tocsin.errors import Code, TocsinError, refuse

MEDIA_TYPE = "text/calendar"
MAX_CALENDAR_BYTES = 1024 * 1024
MAX_EVENTS = 2_000
"""Events of one file, and shifts that are taken out of it."""
MAX_RECURRING = 100
"""Events of one file that repeat."""
MAX_RECURRING_AGE = timedelta(days=10 * 366)
"""How long ago a repeating event may have begun: its days are counted through from there."""
FEED_PAST = timedelta(days=30)
FEED_FUTURE = timedelta(days=90)
READ_PAST = timedelta(days=62)
READ_FUTURE = timedelta(days=366)
_REFRESH = timedelta(hours=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Named:
    """A person as calendars name them."""

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class CalendarEvent:
    """What an event of somebody's calendar says: when, and whom it names."""

    starts_at: datetime
    ends_at: datetime
    attendees: tuple[str, ...]
    organizer: str
    summary: str


@dataclass(frozen=True, slots=True)
class CalendarReading:
    """The events of a calendar, and how many single ones lie outside of the time that is read."""

    events: list[CalendarEvent]
    outside: int


def written(name: str, schedule_id: UUID, entries: Iterable[tuple[Shift, Named]], now: datetime) -> bytes:
    """Return shifts as a calendar. A shift has the same UID in every file, so that it is changed and not doubled."""
    calendar = Calendar()
    calendar.add("prodid", "-//Tocsin//Tocsin//EN")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", name)
    calendar.add("refresh-interval", _REFRESH, parameters={"VALUE": "DURATION"})
    for shift, person in entries:
        event = Event()
        event.add("uid", _uid(schedule_id, shift))
        event.add("dtstamp", now.replace(microsecond=0))
        event.add("dtstart", shift.starts_at)
        event.add("dtend", shift.ends_at)
        event.add("summary", person.name)
        event.add("description", f"On call: {name}, {shift.source}")
        attendee = vCalAddress(f"mailto:{person.email}")
        attendee.params["CN"] = _parameter(person.name)
        event.add("attendee", attendee)
        event.add("transp", "TRANSPARENT")
        calendar.add_component(event)
    return bytes(calendar.to_ical())


def _uid(schedule_id: UUID, shift: Shift) -> str:
    said = f"{schedule_id} {shift.source} {shift.user_id} {shift.starts_at.astimezone(UTC).isoformat()}"
    return f"{hashlib.sha256(said.encode()).hexdigest()[:32]}@tocsin"


def _parameter(text: str) -> str:
    """Return a text without what no parameter can hold (RFC 5545, 3.1: control characters and quotation marks)."""
    return "".join(character for character in text if character.isprintable() and character != '"')


def read(data: bytes, zone: ZoneInfo, now: datetime) -> CalendarReading:
    """Return the events of a calendar between READ_PAST and READ_FUTURE, each repetition by itself, in their order.

    Times without a zone, and whole days, are those of the schedule's zone. A repetition ends at the same wall time as
    the first: a shift from 09:00 to 09:00 does so when daylight saving changes, too. Raises INVALID or TOO_LARGE.
    """
    if len(data) > MAX_CALENDAR_BYTES:
        limit = MAX_CALENDAR_BYTES
        raise refuse(Code.TOO_LARGE, f"The calendar is larger than {limit:,} bytes.", limitBytes=limit)
    try:
        events = list(Calendar.from_ical(data).walk("VEVENT"))
        return _read(events, zone, now - READ_PAST, now + READ_FUTURE)
    except TocsinError:
        raise
    except Exception as error:  # noqa: BLE001  # what a broken file raises, no parser of calendars has ever listed
        raise _invalid(f"cannot be read: {str(error)[:200] or type(error).__name__}") from None


def _read(events: Sequence[Any], zone: ZoneInfo, since: datetime, until: datetime) -> CalendarReading:
    _refuse_too_many(events)
    changed: dict[str, set[datetime]] = {}
    for number, event in enumerate(events, start=1):
        _refuse_unknown(event, number)
        if "RECURRENCE-ID" in event:
            instant = _instant(event["RECURRENCE-ID"].dt, zone)
            changed.setdefault(str(event.get("UID", "")), set()).add(instant)
    found, outside = [], 0
    for number, event in enumerate(events, start=1):
        if str(event.get("STATUS", "")).upper() == "CANCELLED":
            continue
        each = list(_each(event, number, zone, since, until, changed.get(str(event.get("UID", "")), set())))
        inside = [one for one in each if one.starts_at < until and one.ends_at > since]
        found += inside
        outside += 0 if "RRULE" in event else len(each) - len(inside)
        if len(found) > MAX_EVENTS:
            raise _invalid(f"has more than {MAX_EVENTS} shifts in {(until - since).days} days")
    return CalendarReading(sorted(found, key=lambda one: (one.starts_at, one.ends_at, one.summary)), outside)


def _refuse_too_many(events: Sequence[Any]) -> None:
    if not events:
        raise _invalid("has no event")
    if len(events) > MAX_EVENTS:
        raise _invalid(f"has more than {MAX_EVENTS} events")
    if sum("RRULE" in event for event in events) > MAX_RECURRING:
        raise _invalid(f"has more than {MAX_RECURRING} events that repeat")


def _refuse_unknown(event: Any, number: int) -> None:
    """Raise INVALID for an event of which something is not understood: nothing of a rota is left out in silence."""
    if event.errors:
        field, problem = event.errors[0]
        raise _invalid(f"has an event (number {number}) whose {field} is not understood: {str(problem)[:200]}")
    if "DTSTART" not in event:
        raise _invalid(f"has an event (number {number}) without a beginning")
    for field in ("DTSTART", "DTEND", "RECURRENCE-ID"):
        if field in event and event[field].params.get("TZID") and getattr(event[field].dt, "tzinfo", None) is None:
            raise _invalid(
                f"has an event (number {number}) in an unknown time zone: {event[field].params['TZID'][:100]}"
            )
    if "RECURRENCE-ID" in event and event["RECURRENCE-ID"].params.get("RANGE"):
        raise _invalid(f"has an event (number {number}) that changes all later ones: RANGE is not understood")


def _each(
    event: Any, number: int, zone: ZoneInfo, since: datetime, until: datetime, changed: set[datetime]
) -> Iterator[CalendarEvent]:
    """Give an event each time that it comes, but where another event stands in its place."""
    start = event["DTSTART"].dt
    first, length = _naive(start), _length(event, number)
    names = (tuple(_addresses(event.get("ATTENDEE"))), next(_addresses(event.get("ORGANIZER")), ""))
    summary = str(event.get("SUMMARY", "")).strip()
    left_out = {_instant(one, zone) for one in _dates(event.get("EXDATE"))}
    if "RECURRENCE-ID" not in event:
        left_out |= changed
    walls = {_naive(one): one for one in _dates(event.get("RDATE"))}
    for wall in _comes(event, number, first, until):
        # What is over by days is not worth an instant: there may be a hundred rules of ten years.
        if "RRULE" not in event or wall + length > _naive(since) - _DAY:
            walls[wall] = _like(start, wall)
    for wall, begin in walls.items():
        starts_at = _instant(begin, zone)
        if starts_at not in left_out:
            yield CalendarEvent(starts_at, _instant(_like(begin, wall + length), zone), *names, summary)


def _length(event: Any, number: int) -> timedelta:
    """Return how long an event lasts on the wall clock."""
    start = event["DTSTART"].dt
    if "DTEND" in event:
        end = event["DTEND"].dt
        # Ends may be written in another zone than beginnings.
        in_zone = end.astimezone(start.tzinfo) if isinstance(end, datetime) and end.tzinfo and start.tzinfo else end
        length = _naive(in_zone) - _naive(start)
    elif "DURATION" in event:
        length = event["DURATION"].dt
    else:
        length = timedelta() if isinstance(start, datetime) else _DAY
    if length <= timedelta():
        raise _invalid(f"has an event (number {number}) at {start} that does not last any time")
    return timedelta(seconds=length.total_seconds())


def _comes(event: Any, number: int, first: datetime, until: datetime) -> Iterator[datetime]:
    """Give the wall times at which an event comes, as far as its rule says."""
    if "RRULE" not in event:
        yield first
        return
    last = until.replace(tzinfo=None) + _DAY
    try:
        rule = _rule(event, last - first)
    except ValueError as error:
        raise _invalid(f"has an event (number {number}) that repeats in a way that is not taken: {error}") from None
    for end in event["RRULE"].get("UNTIL", ()):
        last = min(last, _last(event["DTSTART"].dt, end))
    yield from occurrences(rule, first, last)


def _rule(event: Any, reach: timedelta) -> Recurrence:
    if not isinstance(event["RRULE"], dict):
        raise ValueError("it has several rules")  # noqa: TRY004  # the file is wrong, not the program
    if reach > READ_FUTURE + MAX_RECURRING_AGE:
        raise ValueError("it began more than 10 years ago")
    return parse_recurrence(event["RRULE"])


def _last(start: date | datetime, end: date | datetime) -> datetime:
    """Return the end of a rule as a wall time of its beginning."""
    if not isinstance(end, datetime):
        return datetime.combine(end, time.max)
    zoned = isinstance(start, datetime) and start.tzinfo is not None and end.tzinfo is not None
    return _naive(end.astimezone(start.tzinfo) if zoned else end)  # type: ignore[union-attr]  # it has a zone


def _dates(found: Any) -> Iterator[date | datetime]:
    """Give the days or instants of EXDATE or RDATE, which may be given several times, each a list."""
    for dates in found if isinstance(found, list) else [found]:
        for one in dates.dts if dates is not None else ():
            yield one.dt[0] if isinstance(one.dt, tuple) else one.dt


def _naive(value: date | datetime) -> datetime:
    """Return the wall time of a value."""
    return value.replace(tzinfo=None) if isinstance(value, datetime) else datetime.combine(value, time())


def _like(start: date | datetime, wall: datetime) -> date | datetime:
    """Return a wall time in the zone of a beginning, if that has one."""
    return wall.replace(tzinfo=start.tzinfo) if isinstance(start, datetime) else wall


def _instant(value: date | datetime, zone: ZoneInfo) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    return takes_place(zone, _naive(value).replace(microsecond=0))


def _addresses(found: Any) -> Iterator[str]:
    for one in found if isinstance(found, list) else [found]:
        if one is not None:
            text = str(one)
            yield text[len("mailto:") :] if text.lower().startswith("mailto:") else text


def _invalid(problem: str) -> TocsinError:
    return refuse(Code.INVALID, f"The calendar {problem}.", errors=[{"field": "calendar", "problem": problem}])
