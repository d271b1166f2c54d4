"""Schedules over HTTP: who is on call when, for those who read, respond and administer; and feeds for calendars.

An answer that shows a feed's URL is not remembered for an Idempotency-Key: of a token only the hash is kept anywhere.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response

from tocsin.app import calendars, schedules
from tocsin.app.schedules import Overview, Turn
from tocsin.app.work import Work
from tocsin.domain.calendar import MAX_CALENDAR_BYTES, MEDIA_TYPE
from tocsin.domain.oncall import Override, Schedule
from tocsin.domain.rotation import Layer, Restriction, Rotation, RotationKind
from tocsin.domain.schedule_bounds import (
    MAX_LAYERS,
    MAX_MEMBERS,
    MAX_NAME_CHARACTERS,
    MAX_PEOPLE,
    MAX_RESTRICTIONS,
    invalid,
)
from tocsin.errors import Code, refuse
from tocsin.web.documents import Body, Document, Email, Instant, shown
from tocsin.web.endpoint import Call
from tocsin.web.reading import part_id, read_body

SHOWN = timedelta(days=14)
Name = Annotated[
    str,
    Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_NAME_CHARACTERS, "pattern": r"^[!-~]([ -~]*[!-~])?$"}),
]
ZoneName = Annotated[str, Meta(max_length=100, examples=["Europe/Vienna"])]
People = Annotated[int, Meta(ge=1, le=MAX_PEOPLE, description="How many are on call at once.")]
TimeOfDay = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", examples=["09:00"])]
Weekday = Annotated[int, Meta(ge=0, le=6)]


class HoursBody(Body):
    """Hours of some weekdays on the zone's clock; an end at or before the start is that of the next day."""

    weekdays: Annotated[list[Weekday], Meta(min_length=1, max_length=7, description="0 is Monday.")]
    start: TimeOfDay
    end: TimeOfDay


class LayerBody(Body):
    """A rotation of people. Where it counts, it wins over the layers below."""

    name: Name
    rotation: RotationKind
    every: Annotated[int, Meta(ge=1, le=31_536_000, description="So many hours, days or weeks; of CUSTOM seconds.")]
    starts_on: Annotated[date, Meta(description="The day of the first hand-off.")]
    hand_off: TimeOfDay
    members: Annotated[list[Email], Meta(min_length=1, max_length=MAX_MEMBERS)]
    restrictions: Annotated[list[HoursBody], Meta(max_length=MAX_RESTRICTIONS)] = msgspec.field(default_factory=list)
    starts_at: Instant | None = None
    ends_at: Instant | None = None


class AddScheduleBody(Body):
    name: Name
    time_zone: ZoneName = "UTC"
    people: People = 1


class ChangeScheduleBody(Body):
    """What is absent stays. `layers` replaces all of them, the lowest first."""

    name: Name | UnsetType = UNSET
    time_zone: ZoneName | UnsetType = UNSET
    people: People | UnsetType = UNSET
    layers: Annotated[list[LayerBody], Meta(max_length=MAX_LAYERS)] | UnsetType = UNSET


class AddOverrideBody(Body):
    user: Email
    starts_at: Instant
    ends_at: Instant
    instead_of: Annotated[Email | None, Meta(description="In whose place; null: whoever is on call.")] = None


class AddFeedBody(Body):
    person: Annotated[Email | None, Meta(description="Whose shifts; null: everybody's.")] = None


class AtQuery(Body):
    at: Annotated[Instant | None, Meta(description="When; without it: now.")] = None


class PeriodQuery(Body, rename={"from_": "from"}):
    from_: Annotated[Instant | None, Meta(description="Without it: now.")] = None
    to: Annotated[Instant | None, Meta(description="Without it: 14 days after the beginning.")] = None


class TokenQuery(Body):
    token: Annotated[str, Meta(max_length=calendars.MAX_TOKEN_CHARACTERS)] = ""


class PersonDocument(Document):
    id: UUID
    name: str
    email: str
    active: bool


class TurnDocument(Document):
    starts_at: datetime
    ends_at: datetime
    person: PersonDocument
    source: Annotated[str, Meta(description="`override`, or `layer` and its name.")]


class HoursDocument(Document):
    weekdays: list[int]
    start: str
    end: str


class LayerDocument(Document):
    name: str
    rotation: RotationKind
    every: int
    starts_on: date
    hand_off: str
    members: list[str]
    restrictions: list[HoursDocument]
    starts_at: datetime | None
    ends_at: datetime | None


class OverrideDocument(Document):
    id: UUID
    user: str
    instead_of: str | None
    starts_at: datetime
    ends_at: datetime


class ScheduleLineDocument(Document):
    id: UUID
    name: str
    time_zone: str
    people: int
    on_call: list[TurnDocument]
    missing: Annotated[int, Meta(description="How many people are missing just now.")]


class ScheduleDocument(ScheduleLineDocument):
    at: Annotated[datetime, Meta(description="When `onCall` and `missing` are true.")]
    layers: Annotated[list[LayerDocument], Meta(description="The lowest first.")]
    overrides: Annotated[list[OverrideDocument], Meta(description="Those that are not over.")]


class ScheduleListAnswer(Document):
    schedules: list[ScheduleLineDocument]


class ScheduleAnswer(Document):
    schedule: ScheduleDocument


class RemovedPartAnswer(Document):
    id: UUID


class ShiftsAnswer(Document):
    shifts: list[TurnDocument]


class GapDocument(Document):
    starts_at: datetime
    ends_at: datetime
    missing: int


class GapsAnswer(Document):
    gaps: list[GapDocument]


class OverrideAnswer(Document):
    id: UUID


class FeedDocument(Document):
    id: UUID
    person: str | None
    created_by: str
    created_at: datetime


class FeedListAnswer(Document):
    feeds: list[FeedDocument]


class NewFeedAnswer(Document):
    id: UUID
    schedule: str
    person: str | None
    url: Annotated[str, Meta(description="Shown here and never again.")]


class ImportedAnswer(Document):
    schedule: str
    added: int
    already: Annotated[int, Meta(description="How many shifts were there before.")]
    outside: Annotated[int, Meta(description="How many events end more than 62 days ago, or begin in over 366 days.")]


async def list_schedules(work: Work, call: Call) -> ScheduleListAnswer:
    """List the schedules and who is on call now."""
    views = await schedules.list_schedules(work, call.actor)
    return ScheduleListAnswer(
        [
            ScheduleLineDocument(
                view.schedule.id,
                view.schedule.name,
                view.schedule.zone.key,
                view.schedule.people,
                _turns(view.on_call),
                view.missing,
            )
            for view in views
        ]
    )


async def show_schedule(work: Work, call: Call) -> ScheduleAnswer:
    """Show one schedule, and who is on call at an instant."""
    return await _answer(work, call, _schedule_id(call), call.asked(AtQuery).at)


async def _answer(work: Work, call: Call, schedule_id: UUID, at: datetime | None = None) -> ScheduleAnswer:
    return ScheduleAnswer(_document(await schedules.show(work, call.actor, schedule_id, at)))


async def add_schedule(work: Work, call: Call) -> ScheduleAnswer:
    """Add a schedule without layers."""
    body = call.said(AddScheduleBody)
    made = await schedules.add(work, call.actor, name=body.name, time_zone=body.time_zone, people=body.people)
    return await _answer(work, call, made.id)


async def change_schedule(work: Work, call: Call) -> ScheduleAnswer:
    """Change what is named, and leave the rest."""
    schedule_id, body = _schedule_id(call), call.said(ChangeScheduleBody)
    await schedules.change(
        work,
        call.actor,
        schedule_id,
        name=body.name if body.name is not UNSET else None,
        time_zone=body.time_zone if body.time_zone is not UNSET else None,
        people=body.people if body.people is not UNSET else None,
        layers=[await _layer(work, layer) for layer in body.layers] if body.layers is not UNSET else None,
    )
    return await _answer(work, call, schedule_id)


async def _layer(work: Work, body: LayerBody) -> Layer:
    custom = body.rotation is RotationKind.CUSTOM
    rotation = Rotation(
        body.rotation,
        timedelta(seconds=body.every) if custom else body.every,
        body.starts_on,
        time.fromisoformat(body.hand_off),
    )
    people = await schedules.members(work, "layers.members", body.members)
    return Layer(
        body.name,
        rotation,
        tuple(person.id for person in people),
        tuple(
            Restriction(frozenset(one.weekdays), time.fromisoformat(one.start), time.fromisoformat(one.end))
            for one in body.restrictions
        ),
        body.starts_at,
        body.ends_at,
    )


async def remove_schedule(work: Work, call: Call) -> RemovedPartAnswer:
    """Remove a schedule that nothing uses."""
    return RemovedPartAnswer((await schedules.remove(work, call.actor, _schedule_id(call))).id)


async def list_shifts(work: Work, call: Call) -> ShiftsAnswer:
    """Show who has which shift."""
    return ShiftsAnswer(_turns(await schedules.shifts_of(work, call.actor, _schedule_id(call), *_period(work, call))))


async def list_gaps(work: Work, call: Call) -> GapsAnswer:
    """Show when too few people are on call."""
    found = await schedules.gaps_of(work, call.actor, _schedule_id(call), *_period(work, call))
    return GapsAnswer([shown(GapDocument, gap) for gap in found])


async def add_override(work: Work, call: Call) -> OverrideAnswer:
    """Put somebody in somebody's place for some time."""
    body = call.said(AddOverrideBody)
    made = await schedules.add_override(
        work, call.actor, _schedule_id(call), body.user, body.starts_at, body.ends_at, body.instead_of
    )
    return OverrideAnswer(made.id)


async def remove_override(work: Work, call: Call) -> RemovedPartAnswer:
    """Take an override back."""
    override_id = part_id(call.path("overrideId"), "override")
    return RemovedPartAnswer((await schedules.remove_override(work, call.actor, _schedule_id(call), override_id)).id)


async def list_feeds(work: Work, call: Call) -> FeedListAnswer:
    """List the calendar feeds that are valid."""
    found = await calendars.list_feeds(work, call.actor, _schedule_id(call))
    return FeedListAnswer([shown(FeedDocument, feed) for feed in found])


async def add_feed(call: Call) -> Response:
    """Make a calendar feed and show its URL, once."""
    schedule_id, body = _schedule_id(call), call.said(AddFeedBody)
    async with call.services.app.work() as work:
        made = await calendars.make_feed(work, call.actor, schedule_id, body.person)
    return Response(msgspec.json.encode(shown(NewFeedAnswer, made)), 201, media_type="application/json")


async def revoke_feed(work: Work, call: Call) -> RemovedPartAnswer:
    """End a calendar feed."""
    feed_id = part_id(call.path("feedId"), "feed")
    await calendars.revoke_feed(work, call.actor, _schedule_id(call), feed_id)
    return RemovedPartAnswer(feed_id)


async def show_calendar(call: Call) -> Response:
    """Answer with the calendar that a token opens."""
    schedule_id, token = _schedule_id(call), call.asked(TokenQuery).token
    async with call.services.app.work() as work:
        content = await calendars.calendar(work, schedule_id, token)
    return Response(content, media_type=MEDIA_TYPE)


async def import_calendar(call: Call) -> Response:
    """Take the events of a calendar in as overrides."""
    schedule_id = _schedule_id(call)
    given = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != MEDIA_TYPE:
        hint = f"Send the file as it is, with `Content-Type: {MEDIA_TYPE}`."
        raise refuse(Code.UNSUPPORTED_MEDIA_TYPE, f"A body of type {given[:100]!r} is no calendar.", hint)
    body = await read_body(call.request, MAX_CALENDAR_BYTES)
    async with call.services.app.work() as work:
        done = await calendars.import_calendar(work, call.actor, schedule_id, body)
    return Response(msgspec.json.encode(shown(ImportedAnswer, done)), media_type="application/json")


def _schedule_id(call: Call) -> UUID:
    return part_id(call.path("scheduleId"), "schedule")


def _period(work: Work, call: Call) -> tuple[datetime, datetime]:
    query = call.asked(PeriodQuery)
    start = query.from_ or work.now
    try:
        return start, query.to or start + SHOWN
    except OverflowError:
        raise invalid([("from", "is too late")]) from None


def _document(view: Overview) -> ScheduleDocument:
    one, email = view.schedule, {person.id: person.email for person in view.people.values()}
    return ScheduleDocument(
        one.id,
        one.name,
        one.zone.key,
        one.people,
        _turns(view.on_call),
        view.missing,
        view.at,
        _layers(one, email),
        [_override(override, email) for override in one.overrides],
    )


def _layers(schedule: Schedule, email: dict[UUID, str]) -> list[LayerDocument]:
    return [
        LayerDocument(
            layer.name,
            layer.rotation.kind,
            layer.rotation.every if isinstance(layer.rotation.every, int) else int(layer.rotation.turn.total_seconds()),
            layer.rotation.starts_on,
            f"{layer.rotation.hand_off:%H:%M}",
            [email[user] for user in layer.members],
            [
                HoursDocument(sorted(one.weekdays), f"{one.start:%H:%M}", f"{one.end:%H:%M}")
                for one in layer.restrictions
            ],
            layer.starts_at,
            layer.ends_at,
        )
        for layer in schedule.layers
    ]


def _override(override: Override, email: dict[UUID, str]) -> OverrideDocument:
    replaced = email[override.instead_of] if override.instead_of else None
    return OverrideDocument(override.id, email[override.user_id], replaced, override.starts_at, override.ends_at)


def _turns(found: list[Turn]) -> list[TurnDocument]:
    return [shown(TurnDocument, turn, person=shown(PersonDocument, turn.person)) for turn in found]
