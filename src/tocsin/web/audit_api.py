"""The audit over HTTP: the access log and the entries of all timelines, in pages and as files."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta
from starlette.responses import Response, StreamingResponse

from tocsin.app import export_audit, read_audit
from tocsin.app.export_audit import Form
from tocsin.app.read_audit import MAX_PAGE, AccessFilter, EntryFilter, Filter
from tocsin.app.work import Work
from tocsin.domain.access import Actor
from tocsin.domain.timeline import EntryKind
from tocsin.web.documents import Body, Checksum, Document, Instant, shown
from tocsin.web.endpoint import Call, Services
from tocsin.web.reading import believable

Name = Annotated[str, Meta(max_length=254)]
Cursor = Annotated[str, Meta(max_length=100, description="nextCursor of the page before.")]
Since = Annotated[Instant, Meta(description="Only at this instant or later.")]
Until = Annotated[Instant, Meta(description="Only before this instant.")]
ActorEmail = Annotated[Name, Meta(description="The e-mail of who acted.")]


class AccessQuery(Body):
    user: ActorEmail | None = None
    action: Annotated[Name, Meta(examples=["GET /api/incidents"])] | None = None
    outcome: Annotated[Name, Meta(examples=["OK", "FORBIDDEN"])] | None = None
    since: Since | None = None
    until: Until | None = None

    def where(self) -> AccessFilter:
        """Return the filter."""
        since, until = believable("since", self.since), believable("until", self.until)
        return AccessFilter(self.user, self.action, self.outcome, since, until)


class EntryQuery(Body):
    user: ActorEmail | None = None
    kind: EntryKind | None = None
    since: Since | None = None
    until: Until | None = None

    def where(self) -> EntryFilter:
        """Return the filter."""
        since, until = believable("since", self.since), believable("until", self.until)
        return EntryFilter(self.user, self.kind, since, until)


class AccessPageQuery(AccessQuery):
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 100
    cursor: Cursor | None = None


class EntryPageQuery(EntryQuery):
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 100
    cursor: Cursor | None = None


class AccessFileQuery(AccessQuery):
    format: Form = Form.CSV


class EntryFileQuery(EntryQuery):
    format: Form = Form.CSV


class AccessDocument(Document):
    id: UUID
    accessed_at: datetime
    user_id: UUID | None
    user_email: Annotated[str | None, Meta(description="Null where nobody was known.")]
    credential: str
    action: str
    target: str
    client_address: str
    user_agent: str
    status: Annotated[int, Meta(description="The HTTP status; of a command its exit code.")]
    outcome: str
    request_id: UUID


class AuditEntryDocument(Document):
    id: UUID
    event_at: datetime
    number: Annotated[int, Meta(description="The number of its incident.")]
    sequence: int
    event_type: EntryKind
    status_before: str | None
    status_after: str
    actor_user_id: UUID | None
    actor_email: str | None
    actor_role: str
    metadata: dict[str, Any]
    personal: Annotated[dict[str, Any] | None, Meta(description="What people wrote; null: nothing, or erased.")]
    checksum: Checksum


class AccessListAnswer(Document):
    accesses: list[AccessDocument]
    next_cursor: str | None


class EntryListAnswer(Document):
    entries: list[AuditEntryDocument]
    next_cursor: str | None


async def list_accesses(work: Work, call: Call) -> AccessListAnswer:
    """Show a page of the access log."""
    query = call.asked(AccessPageQuery)
    page = await read_audit.list_accesses(work, call.actor, query.where(), limit=query.limit, cursor=query.cursor)
    return AccessListAnswer([shown(AccessDocument, row) for row in page.rows], page.next_cursor)


async def list_entries(work: Work, call: Call) -> EntryListAnswer:
    """Show a page of all timelines."""
    query = call.asked(EntryPageQuery)
    page = await read_audit.list_entries(work, call.actor, query.where(), limit=query.limit, cursor=query.cursor)
    return EntryListAnswer([shown(AuditEntryDocument, row) for row in page.rows], page.next_cursor)


async def export_accesses(call: Call) -> Response:
    """Give the access log as a file."""
    query = call.asked(AccessFileQuery)
    return await file_of(call.services, call.actor, query.where(), query.format)


async def export_entries(call: Call) -> Response:
    """Give the entries of all timelines as a file."""
    query = call.asked(EntryFileQuery)
    return await file_of(call.services, call.actor, query.where(), query.format)


async def file_of(services: Services, actor: Actor, where: Filter, form: Form) -> Response:
    """Return a file that is written while it is read."""
    file = await export_audit.export(services.app, actor, where, form)
    headers = {"Content-Disposition": f'attachment; filename="{file.name}"', "Cache-Control": "no-store"}
    return StreamingResponse(file.parts, headers=headers, media_type=file.media_type)
