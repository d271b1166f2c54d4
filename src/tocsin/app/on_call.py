"""Who is on call now and how they are reached, and two weeks of a schedule as a calendar."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from uuid import UUID

from tocsin.app import schedules as rota
from tocsin.app.schedules import Person, ScheduleRef
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, Role, require
from tocsin.domain.day_grid import Day, days_of
from tocsin.domain.notification import shown_address
from tocsin.domain.oncall import Schedule, Shift, shifts
from tocsin.domain.policy import Duty
from tocsin.domain.reach import plan
from tocsin.domain.schedule_bounds import MAX_TURN, checked_instant
from tocsin.domain.wall_clock import RESOLUTION
from tocsin.errors import Code, refuse
from tocsin.store import contacts, notifications, users

SHOWN_DAYS = 14
MAX_CHOICES = 200
"""How many people a form lets one choose from."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way over which a page goes, as it may be shown."""

    channel: str
    address: str
    verified: bool
    after: timedelta


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who is on call: until when (None: until the duty is given to somebody else), and how reached."""

    person: Person
    until: datetime | None
    source: str
    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True)
class ScheduleNow:
    """A schedule at this moment."""

    schedule: Schedule
    holders: tuple[Holder, ...]

    @property
    def missing(self) -> int:
        """Return how many people are missing."""
        return self.schedule.people - len(self.holders)


@dataclass(frozen=True, slots=True)
class DutyNow:
    """Who holds a duty at this moment; through a schedule, if it stands there."""

    duty: str
    schedule: Schedule | None
    holders: tuple[Holder, ...]


@dataclass(frozen=True, slots=True)
class OnCallNow:
    """Everybody who is on call now."""

    duties: tuple[DutyNow, ...]
    schedules: tuple[ScheduleNow, ...]


@dataclass(frozen=True, slots=True)
class Calendar:
    """Some days of a schedule, and everybody it names in them."""

    schedule: Schedule
    days: tuple[Day, ...]
    people: dict[UUID, Person]


async def on_call_now(work: Work, actor: Actor) -> OnCallNow:
    """Return who holds each duty and who is on call by each schedule."""
    require(actor, Permission.READ)
    known = await rota.load(work)
    duties = sorted(await notifications.duties(work.tx), key=lambda one: list(Duty).index(Duty(one.duty)))
    turns = {one.id: list(shifts(one, work.now, work.now + RESOLUTION)) for one in known.values()}
    named = {turn.user_id for found in turns.values() for turn in found}
    holders = await _holders(work, named | {duty.user_id for duty in duties if duty.user_id is not None})
    by_schedule = {
        schedule_id: tuple(_holding(holders[turn.user_id], turn) for turn in found)
        for schedule_id, found in turns.items()
    }
    return OnCallNow(
        tuple(
            DutyNow(
                duty.duty,
                known[duty.schedule_id] if duty.schedule_id is not None else None,
                by_schedule[duty.schedule_id]
                if duty.schedule_id is not None
                else (holders[duty.user_id],)
                if duty.user_id is not None
                else (),
            )
            for duty in duties
        ),
        tuple(ScheduleNow(schedule, by_schedule[schedule.id]) for schedule in known.values()),
    )


def _holding(holder: Holder, turn: Shift) -> Holder:
    return replace(holder, until=turn.ends_at, source=turn.source)


async def _holders(work: Work, ids: Collection[UUID]) -> dict[UUID, Holder]:
    people = await rota.people_of(work, ids)
    reached = await contacts.reach(work.tx, list(people))
    return {
        person.id: Holder(
            person,
            None,
            "",
            tuple(
                Way(
                    one.method.channel,
                    shown_address(one.method.channel, one.method.address),
                    one.method.verified_at is not None,
                    one.after,
                )
                for one in plan(reached[person.id])
            ),
        )
        for person in people.values()
    }


async def calendar_of(work: Work, actor: Actor, ref: ScheduleRef, first: date | None = None) -> Calendar:
    """Return two weeks of a schedule from a day of its zone on (None: today); raise NOT_FOUND, INVALID."""
    require(actor, Permission.READ)
    zone = (await rota.find(work, ref)).zone
    day = first if first is not None else work.now.astimezone(zone).date()
    midnight = checked_instant("from", datetime(day.year, day.month, day.day, tzinfo=zone))
    schedule = await rota.find(work, ref, min(midnight, work.now) - MAX_TURN)
    days = await asyncio.to_thread(days_of, schedule, day, SHOWN_DAYS)
    named = {user for layer in schedule.layers for user in layer.members}
    named |= {shift.user_id for one in days for shift in one.shifts}
    named |= {user for one in schedule.overrides for user in (one.user_id, one.instead_of) if user is not None}
    kept = tuple(override for override in schedule.overrides if override.ends_at > work.now)
    return Calendar(replace(schedule, overrides=kept), days, await rota.people_of(work, named))


async def choices(work: Work, actor: Actor) -> list[Person]:
    """Return whom somebody may put on call: themselves, or for who administers everybody who responds."""
    require(actor, Permission.RESPOND)
    mine = await users.by_id(work.tx, actor.user_id)
    if mine is None:
        raise refuse(Code.NOT_FOUND, "You are no user any more.")
    own = Person(mine.id, mine.name, mine.email, mine.active)
    if actor.role is not Role.SUPERADMIN:
        return [own]
    others = [one for one in await users.listed(work.tx) if one.active and one.role != Role.MEMBER and one.id != own.id]
    return [own, *(Person(one.id, one.name, one.email, one.active) for one in others[:MAX_CHOICES])]
