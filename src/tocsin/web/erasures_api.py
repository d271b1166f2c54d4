"""Erasures over HTTP: what `tocsin erase` does, for programs that handle people's requests."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from msgspec import Meta

from tocsin.app import erase
from tocsin.app.erase import Erased, Grounds, Reports
from tocsin.app.work import Work
from tocsin.domain.erasure import MAX_REASON_CHARACTERS, MAX_REQUEST_CHARACTERS, TEXTS
from tocsin.web.documents import Body, Document, Email, shown
from tocsin.web.endpoint import Call
from tocsin.web.reading import incident_ref, invalid

_LINE = r"^[ -~]*[!-~][ -~]*$"
Reason = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_REASON_CHARACTERS, "pattern": _LINE})]
Reference = Annotated[str, Meta(extra_json_schema={"maxLength": MAX_REQUEST_CHARACTERS, "pattern": _LINE})]
IncidentName = Annotated[str, Meta(max_length=40, description="Its id or number.")]
TextName = Annotated[str, Meta(extra_json_schema={"enum": list(TEXTS)})]


class IncidentTextsBody(Body):
    incident: IncidentName
    texts: Annotated[list[TextName], Meta(min_length=1)] | None = None


class ReportsBody(Body):
    """Exactly one of the three."""

    incident: IncidentName | None = None
    ids: Annotated[list[UUID], Meta(min_length=1, max_length=10_000)] | None = None
    containing: Annotated[str, Meta(min_length=3, max_length=1_000)] | None = None


class ErasureBody(Body):
    """What is to be erased (exactly one of `user`, `incident`, `reports`), and why."""

    reason: Annotated[Reason, Meta(description="Recorded for ever: name nobody.")]
    request: Reference | None = None
    user: Email | None = None
    incident: IncidentTextsBody | None = None
    reports: ReportsBody | None = None
    dry_run: bool = False


class ErasedIncidentDocument(Document):
    id: UUID
    number: int
    texts: int
    reports: int
    kept_texts: Annotated[int, Meta(description="Copied texts that stay: an older version recorded them for ever.")]


class ErasureAnswer(Document):
    done: Annotated[bool, Meta(description="False for a dry run.")]
    incidents: list[ErasedIncidentDocument]
    reports: int
    user_id: UUID | None
    accesses: Annotated[int, Meta(description="Rows of the access log.")]
    more: Annotated[bool, Meta(description="There is more than fits into one go, or came meanwhile: repeat it.")]


async def erase_data(work: Work, call: Call) -> ErasureAnswer:
    """Erase a person's data."""
    body = call.said(ErasureBody)
    erased = await _erase(work, call, body, Grounds(body.reason, body.request))
    return shown(ErasureAnswer, erased, incidents=[shown(ErasedIncidentDocument, one) for one in erased.incidents])


async def _erase(work: Work, call: Call, body: ErasureBody, grounds: Grounds) -> Erased:
    match (body.user, body.incident, body.reports):
        case (str(email), None, None):
            return await erase.erase_user(work, call.actor, email, grounds, dry_run=body.dry_run)
        case (None, IncidentTextsBody(incident=name, texts=texts), None):
            ref = incident_ref(name)
            return await erase.erase_incident(work, call.actor, ref, texts, grounds, dry_run=body.dry_run)
        case (None, None, ReportsBody(incident=name, ids=ids, containing=containing)):
            which = Reports(incident_ref(name) if name is not None else None, tuple(ids or ()), containing)
            return await erase.erase_reports(work, call.actor, which, grounds, dry_run=body.dry_run)
    raise invalid("user", "give exactly one of user, incident and reports")
