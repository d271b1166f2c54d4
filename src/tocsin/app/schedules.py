"""Schedules: who is on call, who changes that, and who has whose shift.

Superadmins change layers; everybody who responds may take a shift, and give back what they took.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from tocsin.app.policy_reach import keeping_reach
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.oncall import Gap, Override, Schedule, Shift, gaps, shifts
from tocsin.domain.rotation import Layer
from tocsin.domain.schedule_bounds import (
    MAX_TURN,
    checked,
    checked_instant,
    checked_period,
    invalid,
)
from tocsin.domain.wall_clock import RESOLUTION, stored_zone, zone
from tocsin.errors import Code, TocsinError, refuse
from tocsin.store import schedules
from tocsin.store.schedules import PersonRow

Person = PersonRow
ScheduleRef = UUID | str
"""A schedule's id or name."""
MAX_SCHEDULES = 200


@dataclass(frozen=True, slots=True)
class Turn:
    """A shift with who has it."""

    starts_at: datetime
    ends_at: datetime
    person: Person
    source: str


@dataclass(frozen=True, slots=True)
class Overview:
    """A schedule, everybody it names, and who is on call at an instant."""

    schedule: Schedule
    people: dict[UUID, Person]
    at: datetime
    on_call: list[Turn]

    @property
    def missing(self) -> int:
        """Return how many people are missing at that instant."""
        return self.schedule.people - len(self.on_call)


async def load(work: Work, ids: Collection[UUID] | None = None, since: datetime | None = None) -> dict[UUID, Schedule]:
    """Return schedules by id: all, or those of some ids; with the overrides that end after an instant (else: now)."""
    rows, layers, overrides = await schedules.get(work.tx, ids, since or work.now)
    return {
        row.id: Schedule(
            row.id,
            row.name,
            stored_zone(row.time_zone),
            row.people,
            tuple(layer.layer() for layer in layers if layer.schedule_id == row.id),
            tuple(override.override() for override in overrides if override.schedule_id == row.id),
        )
        for row in rows
    }


async def find(work: Work, ref: ScheduleRef, since: datetime | None = None) -> Schedule:
    """Return one schedule; raise NOT_FOUND."""
    schedule_id = ref if isinstance(ref, UUID) else await schedules.by_name(work.tx, ref)
    found = await load(work, [schedule_id], since) if schedule_id is not None else {}
    if schedule_id is None or schedule_id not in found:
        shown = str(ref)[:100]
        raise refuse(Code.NOT_FOUND, f"There is no schedule {shown!r}.", "List them: `tocsin schedules list`.")
    return found[schedule_id]


async def locked(work: Work, ref: ScheduleRef) -> Schedule:
    """Lock a schedule until the transaction ends and return it; raise NOT_FOUND."""
    schedule_id = (await find(work, ref)).id
    await schedules.lock(work.tx, schedule_id)
    return await find(work, schedule_id)


# --- reading ---------------------------------------------------------------------------------------------------


async def list_schedules(work: Work, actor: Actor) -> list[Overview]:
    """Return every schedule with who is on call now."""
    require(actor, Permission.READ)
    return [await _overview(work, schedule, work.now) for schedule in (await load(work)).values()]


async def show(work: Work, actor: Actor, ref: ScheduleRef, at: datetime | None = None) -> Overview:
    """Return one schedule with who is on call now, or at an instant."""
    require(actor, Permission.READ)
    at = checked_instant("at", at) if at is not None else work.now
    schedule = await find(work, ref, min(at, work.now) - MAX_TURN)
    kept = tuple(override for override in schedule.overrides if override.ends_at > work.now)
    return replace(await _overview(work, schedule, at), schedule=replace(schedule, overrides=kept))


async def _overview(work: Work, schedule: Schedule, at: datetime) -> Overview:
    on_call = list(shifts(schedule, at, at + RESOLUTION))
    named = {user for layer in schedule.layers for user in layer.members}
    for override in schedule.overrides:
        named |= {override.user_id, *([override.instead_of] if override.instead_of else [])}
    people = await people_of(work, named)
    return Overview(schedule, people, at, _turns(on_call, people))


async def shifts_of(work: Work, actor: Actor, ref: ScheduleRef, start: datetime, end: datetime) -> list[Turn]:
    """Return every shift that meets a period of at most a year, whole."""
    require(actor, Permission.READ)
    checked_period(start, end)
    schedule = await find(work, ref, start - MAX_TURN)
    # A year of hourly turns takes a while: others are answered meanwhile.
    found = await asyncio.to_thread(lambda: list(shifts(schedule, start, end)))
    return _turns(found, await people_of(work, {shift.user_id for shift in found}))


async def gaps_of(work: Work, actor: Actor, ref: ScheduleRef, start: datetime, end: datetime) -> list[Gap]:
    """Return when in a period of at most a year people are missing."""
    require(actor, Permission.READ)
    checked_period(start, end)
    return await asyncio.to_thread(gaps, await find(work, ref, start), start, end)


async def people_of(work: Work, ids: Collection[UUID]) -> dict[UUID, Person]:
    """Return users by their ids."""
    return {person.id: person for person in await schedules.people(work.tx, ids)} if ids else {}


def _turns(found: Iterable[Shift], people: dict[UUID, Person]) -> list[Turn]:
    return [Turn(shift.starts_at, shift.ends_at, people[shift.user_id], shift.source) for shift in found]


# --- changing --------------------------------------------------------------------------------------------------


async def add(work: Work, actor: Actor, *, name: str, time_zone: str, people: int = 1) -> Schedule:
    """Add a schedule, without layers yet: nobody is on call. Raises INVALID, or CONFLICT when the name is taken."""
    require(actor, Permission.ADMINISTER)
    schedule = checked(Schedule(work.new_id(), name.strip(), zone(time_zone), people))
    await _refuse_taken(work, schedule)
    if len(await load(work)) >= MAX_SCHEDULES:
        raise refuse(Code.CONFLICT, f"There are {MAX_SCHEDULES} schedules: no more than that are needed.")
    await schedules.insert(
        work.tx,
        schedule_id=schedule.id,
        name=schedule.name,
        time_zone=time_zone,
        people=schedule.people,
        now=work.now,
    )
    return schedule


async def change(
    work: Work,
    actor: Actor,
    ref: ScheduleRef,
    *,
    name: str | None = None,
    time_zone: str | None = None,
    people: int | None = None,
    layers: Sequence[Layer] | None = None,
) -> Schedule:
    """Change what is given and leave the rest.

    Raises INVALID, or CONFLICT when the name is taken, or a policy in force would reach nobody by the new layers.
    """
    require(actor, Permission.ADMINISTER)
    before = await locked(work, ref)
    after = checked(
        replace(
            before,
            name=before.name if name is None else name.strip(),
            zone=before.zone if time_zone is None else zone(time_zone),
            people=before.people if people is None else people,
            layers=before.layers if layers is None else tuple(layers),
        )
    )
    await _refuse_taken(work, after)
    await schedules.change(
        work.tx, schedule_id=after.id, name=after.name, time_zone=after.zone.key, people=after.people
    )
    if layers is not None:
        async with keeping_reach(work):
            await schedules.set_layers(work.tx, after.id, after.layers, work.new_id)
    return after


async def _refuse_taken(work: Work, schedule: Schedule) -> None:
    if await schedules.by_name(work.tx, schedule.name) not in (None, schedule.id):
        hint = "See which there are: `tocsin schedules list`."
        raise refuse(Code.CONFLICT, f"There is a schedule {schedule.name} already.", hint)


async def add_layer(work: Work, actor: Actor, ref: ScheduleRef, layer: Layer) -> Schedule:
    """Lay a layer on top of the others."""
    require(actor, Permission.ADMINISTER)
    schedule = await locked(work, ref)
    return await change(work, actor, schedule.id, layers=[*schedule.layers, layer])


async def change_layer(work: Work, actor: Actor, ref: ScheduleRef, name: str, layer: Layer) -> Schedule:
    """Let a layer, by its name, be what is said now, where it stands; raise NOT_FOUND."""
    require(actor, Permission.ADMINISTER)
    schedule = await locked(work, ref)
    names = [one.name.casefold() for one in schedule.layers]
    if name.casefold() not in names:
        raise _no_layer(schedule, name)
    place = names.index(name.casefold())
    layers = [layer if index == place else one for index, one in enumerate(schedule.layers)]
    return await change(work, actor, schedule.id, layers=layers)


async def remove_layer(work: Work, actor: Actor, ref: ScheduleRef, name: str) -> Schedule:
    """Take a layer away, by its name; raise NOT_FOUND."""
    require(actor, Permission.ADMINISTER)
    schedule = await locked(work, ref)
    left = [layer for layer in schedule.layers if layer.name.casefold() != name.casefold()]
    if len(left) == len(schedule.layers):
        raise _no_layer(schedule, name)
    return await change(work, actor, schedule.id, layers=left)


def _no_layer(schedule: Schedule, name: str) -> TocsinError:
    return refuse(
        Code.NOT_FOUND,
        f"The schedule {schedule.name} has no layer {name[:100]!r}.",
        f"See them: `tocsin schedules show {schedule.name}`.",
    )


async def remove(work: Work, actor: Actor, ref: ScheduleRef) -> Schedule:
    """Remove a schedule; raise CONFLICT while a duty or a policy uses it."""
    require(actor, Permission.ADMINISTER)
    schedule = await locked(work, ref)
    used = await schedules.uses(work.tx, schedule.id)
    if used:
        raise refuse(
            Code.CONFLICT,
            f"The schedule {schedule.name} is used by {', '.join(used[:5])}: pages would reach nobody.",
            "Give the duty to somebody else (`tocsin oncall assign`), or change the policy first.",
        )
    await schedules.delete(work.tx, schedule.id)
    return schedule


async def member(work: Work, field: str, email: str) -> Person:
    """Return an active user by e-mail; raise INVALID naming the field."""
    return (await members(work, field, [email]))[0]


async def members(work: Work, field: str, emails: Sequence[str]) -> list[Person]:
    """Return active users by their e-mails, in that order; raise INVALID naming all who are none."""
    askable = [email for email in emails if email.isprintable()]
    found = {person.email.lower(): person for person in await schedules.named(work.tx, askable)}
    unknown = [email[:254] for email in emails if email.lower() not in found]
    if unknown:
        raise invalid([(field, f"there is no active user {email!r}") for email in dict.fromkeys(unknown)])
    return [found[email.lower()] for email in emails]


# --- overrides -------------------------------------------------------------------------------------------------


async def add_override(
    work: Work,
    actor: Actor,
    ref: ScheduleRef,
    email: str,
    starts_at: datetime,
    ends_at: datetime,
    instead_of: str | None = None,
) -> Override:
    """Put somebody in somebody's place for some time; for oneself whoever responds may, for others a superadmin."""
    require(actor, Permission.RESPOND)
    schedule = await locked(work, ref)
    person = await member(work, "user", email)
    if person.id != actor.user_id:
        require(actor, Permission.ADMINISTER)
    replaced = await member(work, "insteadOf", instead_of) if instead_of is not None else None
    override = Override(work.new_id(), person.id, starts_at, ends_at, replaced.id if replaced else None)
    if ends_at <= work.now:
        raise invalid([("endsAt", "must be in the future")])
    await put_overrides(work, actor, schedule, [override])
    return override


async def put_overrides(work: Work, actor: Actor, schedule: Schedule, overrides: Sequence[Override]) -> None:
    """Add overrides on top of those that a locked schedule has; raise INVALID."""
    checked(replace(schedule, overrides=tuple(overrides)))
    checked(replace(schedule, overrides=(*schedule.overrides, *overrides)))
    await schedules.insert_overrides(work.tx, schedule.id, overrides, created_by=actor.user_id, now=work.now)


async def remove_override(work: Work, actor: Actor, ref: ScheduleRef, override_id: UUID) -> Override:
    """Take an override away; one's own whoever responds may, others' a superadmin. Raises NOT_FOUND."""
    require(actor, Permission.RESPOND)
    schedule = await locked(work, ref)
    found = next((override for override in schedule.overrides if override.id == override_id), None)
    if found is None:
        raise refuse(
            Code.NOT_FOUND,
            f"The schedule {schedule.name} has no override {override_id} that is not over.",
            f"See them: `tocsin schedules show {schedule.name}`.",
        )
    if found.user_id != actor.user_id:
        require(actor, Permission.ADMINISTER)
    await schedules.delete_override(work.tx, schedule.id, override_id)
    return found


async def refuse_member(work: Work, user_id: UUID, email: str) -> None:
    """Raise CONFLICT for a user who has turns, or an override that is not over: their place would be nobody's."""
    names = await schedules.of_member(work.tx, user_id, work.now)
    if names:
        raise _needed(email, names)


def _needed(email: str, names: Sequence[str]) -> TocsinError:
    return refuse(
        Code.CONFLICT,
        f"{email} is on call by the schedule {', '.join(names[:5])}: their turns would be nobody's.",
        "Take them out of its layers and overrides first: `tocsin schedules show NAME`.",
    )
