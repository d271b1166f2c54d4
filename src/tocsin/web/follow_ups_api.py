"""Follow-up actions over HTTP: what is owed, and who did it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta

from tocsin.app import follow_ups
from tocsin.app.follow_ups import MAX_LISTED, MAX_OFFSET, FollowUpRow, Wanted, Which
from tocsin.app.work import Work
from tocsin.domain.follow_up import MAX_FOLLOW_UP_CHARACTERS, FollowUpState
from tocsin.errors import Code, refuse
from tocsin.web.documents import Body, Document, Erasable, Line
from tocsin.web.endpoint import Call
from tocsin.web.reading import incident_ref

_POSITION = re.compile(r"[1-9][0-9]?")


class FollowUpQuery(Body):
    which: Annotated[Which, Meta(description="`overdue` are those of `open` whose time has come.")] = Which.OPEN
    owner: Annotated[Line | None, Meta(description="Only what this owner has not done, spelled as in the action.")] = (
        None
    )
    mine: Annotated[bool, Meta(description="Only what names you, or your e-mail, and is not done.")] = False
    limit: Annotated[int, Meta(ge=1, le=MAX_LISTED)] = 50
    offset: Annotated[int, Meta(ge=0, le=MAX_OFFSET)] = 0


class MarkBody(Body):
    note: Annotated[
        str,
        Meta(
            extra_json_schema={"maxLength": MAX_FOLLOW_UP_CHARACTERS, "pattern": "^[ -~]*$"},
            description="What was done, or why not.",
        ),
    ] = ""


class FollowUpDocument(Document):
    incident_id: UUID
    incident_number: int
    incident_title: Erasable
    position: Annotated[int, Meta(description="Its place among the incident's actions, from 1 on.")]
    title: Erasable
    owner: str | None
    due: Annotated[str | None, Meta(description="As it was written.")]
    due_at: Annotated[datetime | None, Meta(description="From then on it is overdue: a day ends at midnight UTC.")]
    overdue: bool
    state: FollowUpState
    marked_at: Annotated[datetime | None, Meta(description="When it was last said to be done, or not.")]
    marked_by: UUID | None
    marked_by_name: str | None
    note: str | None
    reminders: Annotated[int, Meta(description="How often somebody was paged since it is overdue.")]


class FollowUpListAnswer(Document):
    follow_ups: list[FollowUpDocument]
    overdue: Annotated[int, Meta(description="How many there are in all, counted up to 10,000.")]
    has_more: bool


class FollowUpsAnswer(Document):
    follow_ups: list[FollowUpDocument]


class FollowUpAnswer(Document):
    follow_up: FollowUpDocument


async def list_follow_ups(work: Work, call: Call) -> FollowUpListAnswer:
    """List follow-up actions."""
    query = call.asked(FollowUpQuery)
    wanted = Wanted(query.which, query.owner, query.mine, query.limit, query.offset)
    page = await follow_ups.list_follow_ups(work, call.actor, wanted)
    return FollowUpListAnswer([document(row, page.now) for row in page.follow_ups], page.overdue, page.has_more)


async def of_incident(work: Work, call: Call) -> FollowUpsAnswer:
    """List the follow-up actions of an incident."""
    rows = await follow_ups.of_incident(work, call.actor, incident_ref(call.path("id")))
    return FollowUpsAnswer([document(row, work.now) for row in rows])


async def mark_done(work: Work, call: Call) -> FollowUpAnswer:
    """Say that an action is done."""
    ref, number, note = incident_ref(call.path("id")), position(call.path("position")), call.said(MarkBody).note
    return FollowUpAnswer(document(await follow_ups.mark_done(work, call.actor, ref, number, note), work.now))


async def reopen(work: Work, call: Call) -> FollowUpAnswer:
    """Say that an action is not done after all."""
    ref, number, note = incident_ref(call.path("id")), position(call.path("position")), call.said(MarkBody).note
    return FollowUpAnswer(document(await follow_ups.reopen(work, call.actor, ref, number, note), work.now))


def position(text: str) -> int:
    """Return the place of an action among those of its incident, as a path names it; raise NOT_FOUND."""
    if not _POSITION.fullmatch(text):
        raise refuse(Code.NOT_FOUND, f"There is no follow-up action {text[:50]!r}.", "They are numbered from 1 on.")
    return int(text)


def document(row: FollowUpRow, now: datetime) -> FollowUpDocument:
    """Return an action as answers show it."""
    return FollowUpDocument(
        row.incident_id,
        row.incident_number,
        row.incident_title,
        row.position,
        row.title,
        row.owner,
        row.due,
        row.due_at,
        row.is_overdue(now),
        FollowUpState(row.state),
        row.marked_at,
        row.marked_by,
        row.marked_by_name,
        row.note,
        row.reminders,
    )
