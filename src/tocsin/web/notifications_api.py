"""The history of delivery: which pages went to whom, and what came of each attempt."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from tocsin.app import read_notifications
from tocsin.app.read_notifications import MAX_PAGE, Histories
from tocsin.app.work import Work
from tocsin.domain.delivery import PageState
from tocsin.web.documents import AttemptOutcome, Body, Document, Email, Instant, shown
from tocsin.web.endpoint import Call
from tocsin.web.reading import believable, incident_ref

Limit = Annotated[int, Meta(ge=1, le=MAX_PAGE)]
Cursor = Annotated[UUID, Meta(description="pagination.next of the part before.")]


class PagesQuery(Body):
    """Which part of a list is shown."""

    limit: Limit = 50
    cursor: Cursor | None = None


class NotificationQuery(Body):
    """Which pages a list shows, and which part of it."""

    user: Annotated[Email, Meta(description="Only those to this person.")] | None = None
    state: PageState | None = None
    since: Annotated[Instant, Meta(description="Only owed since then; without it, in the last 30 days.")] | None = None
    limit: Limit = 50
    cursor: Cursor | None = None


class DeliveryAttemptDocument(Document):
    attempt: int
    started_at: datetime
    finished_at: Annotated[datetime | None, Meta(description="null: nobody wrote down an answer.")]
    outcome: AttemptOutcome
    answer: str
    worker: Annotated[str | None, Meta(description="Which worker made it; null: before that was recorded.")]


class SentPageDocument(Document):
    """A page; `address` leaves out what is a secret of it."""

    id: UUID
    incident_id: UUID
    incident_number: int
    reason: str
    user_id: UUID
    user_name: str
    channel: str
    address: str
    created_at: datetime
    due_at: datetime
    state: PageState
    because: Annotated[str | None, Meta(description="Why it was cancelled.")]
    settled_at: datetime | None
    bundle_id: Annotated[UUID | None, Meta(description="The message that it went with, if not one of its own.")]
    link_used_at: datetime | None
    attempts: list[DeliveryAttemptDocument]


class ListPart(Document):
    """Which part of a list it is; `next` is the cursor of the next one, null on the last."""

    limit: int
    next: UUID | None


class NotificationListAnswer(Document):
    notifications: list[SentPageDocument]
    pagination: ListPart


async def of_incident(work: Work, call: Call) -> NotificationListAnswer:
    """Show the pages about an incident, newest first."""
    query, ref = call.asked(PagesQuery), incident_ref(call.path("id"))
    found = await read_notifications.of_incident(work, call.actor, ref, limit=query.limit, cursor=query.cursor)
    return answer_of(found)


async def listed(work: Work, call: Call) -> NotificationListAnswer:
    """Show pages, newest first."""
    query = call.asked(NotificationQuery)
    found = await read_notifications.listed(
        work,
        call.actor,
        email=query.user,
        state=query.state,
        since=believable("since", query.since),
        limit=query.limit,
        cursor=query.cursor,
    )
    return answer_of(found)


def answer_of(found: Histories) -> NotificationListAnswer:
    """Return pages as the API shows them."""
    documents = [
        shown(
            SentPageDocument,
            history.page,
            state=PageState(history.page.state),
            attempts=[shown(DeliveryAttemptDocument, attempt) for attempt in history.attempts],
        )
        for history in found.pages
    ]
    return NotificationListAnswer(documents, ListPart(found.limit, found.next_cursor))


def plain(found: Histories) -> object:
    """Return pages as JSON's own types, for the command line."""
    return msgspec.json.decode(msgspec.json.encode(answer_of(found)))
