"""Calendars: schedules as feeds that calendar programs read, and somebody's calendar taken in as shifts.

A calendar program cannot sign in: whoever has the token of a feed reads the schedule, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from tocsin import ids
from tocsin.app import schedules as rota
from tocsin.app.schedules import Person, ScheduleRef
from tocsin.app.work import Work, secret_hash
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.calendar import FEED_FUTURE, FEED_PAST, MAX_EVENTS, CalendarEvent, Named, read, written
from tocsin.domain.oncall import Override, Schedule, shifts
from tocsin.domain.schedule_bounds import MAX_TURN, invalid
from tocsin.errors import Code, TocsinError, refuse
from tocsin.store import schedules
from tocsin.store.schedules import FeedRow

ListedFeed = FeedRow
MAX_FEEDS = 200
"""Valid feeds of one schedule."""
MAX_TOKEN_CHARACTERS = 200
MAX_NAMED = 10
"""How many unknown people a refusal names in its message; all are in its details."""


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed as it is made; its URL holds the token and cannot be shown again."""

    id: UUID
    schedule: str
    person: str | None
    url: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a calendar: how many shifts were added, were there already, or are too long ago or too far off."""

    schedule: str
    added: int
    already: int
    outside: int


async def make_feed(work: Work, actor: Actor, ref: ScheduleRef, email: str | None = None) -> Feed:
    """Make a feed of a schedule, of everybody's shifts or of one person's."""
    require(actor, Permission.RESPOND)
    schedule = await rota.find(work, ref)
    person = await rota.member(work, "person", email) if email is not None else None
    if len(await schedules.feeds(work.tx, schedule.id)) >= MAX_FEEDS:
        raise refuse(
            Code.CONFLICT,
            f"The schedule {schedule.name} has {MAX_FEEDS} feeds: no more than that are needed.",
            f"Revoke those that nobody reads: `tocsin schedules calendar {schedule.name} --list`.",
        )
    feed_id, token = work.new_id(), ids.new_secret()
    await schedules.insert_feed(
        work.tx,
        feed_id=feed_id,
        schedule_id=schedule.id,
        user_id=person.id if person else None,
        token_hash=secret_hash(token),
        created_by=actor.user_id,
        now=work.now,
    )
    url = f"{work.settings.base_url}/api/schedules/{schedule.id}/calendar.ics?token={token}"
    return Feed(feed_id, schedule.name, person.email if person else None, url)


async def list_feeds(work: Work, actor: Actor, ref: ScheduleRef) -> list[ListedFeed]:
    """Return the valid feeds of a schedule, never their tokens."""
    require(actor, Permission.RESPOND)
    return await schedules.feeds(work.tx, (await rota.find(work, ref)).id)


async def revoke_feed(work: Work, actor: Actor, ref: ScheduleRef, feed_id: UUID) -> None:
    """End a feed, at once; raise NOT_FOUND."""
    require(actor, Permission.RESPOND)
    schedule = await rota.find(work, ref)
    if not await schedules.revoke_feed(work.tx, schedule.id, feed_id, work.now):
        raise refuse(
            Code.NOT_FOUND,
            f"The schedule {schedule.name} has no valid feed {feed_id}.",
            f"List them: `tocsin schedules calendar {schedule.name} --list`.",
        )


async def calendar(work: Work, schedule_id: UUID, token: str) -> bytes:
    """Return the calendar that a token opens: the last 30 days and the next 90. Raises NOT_FOUND."""
    feed = await schedules.feed(work.tx, secret_hash(token)) if len(token) <= MAX_TOKEN_CHARACTERS else None
    if feed is None or feed.schedule_id != schedule_id:
        hint = "`tocsin schedules calendar NAME` makes another one."
        raise refuse(Code.NOT_FOUND, "No calendar has this token: it was revoked, or is not whole.", hint)
    start, end = work.now - FEED_PAST, work.now + FEED_FUTURE
    schedule = await rota.find(work, schedule_id, start - MAX_TURN)
    found = [shift for shift in shifts(schedule, start, end) if feed.user_id in (None, shift.user_id)]
    people = await rota.people_of(work, {shift.user_id for shift in found})
    named = {person.id: Named(person.name, person.email) for person in people.values()}
    entries = [(shift, named[shift.user_id]) for shift in found]
    return await asyncio.to_thread(written, schedule.name, schedule.id, entries, work.now)


async def import_calendar(work: Work, actor: Actor, ref: ScheduleRef, data: bytes) -> Imported:
    """Take the events of a calendar in as overrides: all of them, or none. What is there already stays as it is.

    Raises INVALID naming everybody who is unknown, or where more people would be on call than the schedule asks for.
    """
    require(actor, Permission.ADMINISTER)
    schedule = await rota.find(work, ref)
    reading = await asyncio.to_thread(read, data, schedule.zone, work.now)
    wanted = await _overrides(work, reading.events)
    if len(wanted) > MAX_EVENTS:
        raise invalid([("calendar", f"has more than {MAX_EVENTS} shifts")])
    schedule = await rota.locked(work, schedule.id)
    known = await rota.find(work, schedule.id, min((one.starts_at for one in wanted), default=work.now))
    there = {_what(override) for override in known.overrides}
    new = [override for override in wanted if _what(override) not in there]
    _refuse_too_many(schedule, wanted)
    await rota.put_overrides(work, actor, schedule, new)
    return Imported(schedule.name, len(new), len(wanted) - len(new), reading.outside)


async def _overrides(work: Work, events: Sequence[CalendarEvent]) -> list[Override]:
    """Return the events as overrides, in their order; raise INVALID naming everybody who is unknown."""
    texts = {text for event in events for text in (*event.attendees, event.organizer, event.summary) if text}
    people = await schedules.named(work.tx, [text for text in texts if text.isprintable()])
    unknown: dict[str, str] = {}
    found: dict[tuple[object, ...], Override] = {}
    for event in events:
        for person in _persons(event, people, unknown):
            override = Override(work.new_id(), person.id, event.starts_at, event.ends_at)
            found.setdefault(_what(override), override)
    if unknown:
        raise _unknown(unknown)
    return list(found.values())


def _persons(event: CalendarEvent, people: Sequence[Person], unknown: dict[str, str]) -> Iterable[Person]:
    """Give whom an event names: its attendees, else its organizer, else who is called like its title."""
    by_email = {person.email.lower(): person for person in people}
    if event.attendees:
        for address in event.attendees:
            if person := by_email.get(address.lower()):
                yield person
            else:
                unknown[address] = "is not the e-mail of an active user"
        return
    if person := by_email.get(event.organizer.lower()) or by_email.get(event.summary.lower()):
        yield person
        return
    called = [person for person in people if person.name.lower() == event.summary.lower()]
    if len(called) == 1:
        yield called[0]
    else:
        named = event.summary or event.organizer or f"(an event without a name at {event.starts_at:%Y-%m-%d %H:%M} UTC)"
        unknown[named] = "is the name of several users" if called else "is neither the e-mail nor the name of a user"


def _unknown(unknown: dict[str, str]) -> TocsinError:
    named = [f"{text[:200]!r} {problem}" for text, problem in unknown.items()]
    more = f", and {len(named) - MAX_NAMED} more" if len(named) > MAX_NAMED else ""
    return refuse(
        Code.INVALID,
        f"Nothing was imported: {'; '.join(named[:MAX_NAMED])}{more}.",
        "Add them (`tocsin users add EMAIL`), or name them in the calendar by their e-mail.",
        errors=[{"field": "calendar", "problem": problem} for problem in named],
    )


def _what(override: Override) -> tuple[object, ...]:
    return (override.user_id, override.instead_of, override.starts_at, override.ends_at)


def _refuse_too_many(schedule: Schedule, wanted: Sequence[Override]) -> None:
    """Raise INVALID where more people would be on call at once than the schedule asks for."""
    edges = sorted([(one.starts_at, 1) for one in wanted] + [(one.ends_at, -1) for one in wanted])
    at_once = 0
    for at, step in edges:
        at_once += step
        if at_once > schedule.people:
            problem = f"names {at_once} people at {at:%Y-%m-%d %H:%M} UTC, and {schedule.people} should be on call"
            raise invalid([("calendar", problem)])
