"""Silences over HTTP: what holds pages back for a while."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from msgspec import Meta

from tocsin.app import silences
from tocsin.app.silences import MAX_LENGTH, MAX_REASON_CHARACTERS, SilenceView, Wanted
from tocsin.app.work import Work
from tocsin.domain.incident import Severity
from tocsin.domain.silence import SilenceKind
from tocsin.web.documents import Body, Document, Instant, shown
from tocsin.web.endpoint import Call
from tocsin.web.policies_api import ServiceName, Severities
from tocsin.web.reading import believable, incident_ref, part_id

Why = Annotated[
    str,
    Meta(
        extra_json_schema={"minLength": 1, "maxLength": MAX_REASON_CHARACTERS, "pattern": r"^\s*[^\s\x00][^\x00]*$"},
        description="Everybody who is not paged can read it.",
    ),
]
Incident = Annotated[
    str, Meta(examples=["42", "INC-42"], description="Its number (42 or INC-42) or its id; null: any.")
]


class SilenceQuery(Body):
    all: Annotated[bool, Meta(description="Those that are over, too.")] = False


class SilenceBody(Body):
    """Either `endsAt` or `lengthSeconds`. What is null matches everything; a silence of everything says so."""

    reason: Why
    kind: SilenceKind = SilenceKind.SILENCE
    incident: Incident | None = None
    project_id: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    service: ServiceName | None = None
    severities: Severities | None = None
    everything: bool = False
    starts_at: Annotated[Instant, Meta(description="Null or in the past: now.")] | None = None
    ends_at: Instant | None = None
    length_seconds: Annotated[int, Meta(ge=1, le=int(MAX_LENGTH.total_seconds()))] | None = None


class SilenceDocument(Document):
    id: UUID
    kind: SilenceKind
    incident_id: UUID | None
    incident_number: int | None
    project_id: int | None
    project_name: str | None
    service: str | None
    severities: list[Severity] | None
    starts_at: datetime
    ends_at: datetime
    reason: str
    created_by: UUID
    created_by_name: str
    created_at: datetime
    ended_by: Annotated[UUID | None, Meta(description="Who ended it early.")]
    ended_by_name: str | None


class SilenceAnswer(Document):
    silence: SilenceDocument


class SilenceListAnswer(Document):
    silences: list[SilenceDocument]


class EndedAnswer(Document):
    silence: SilenceDocument
    incidents: Annotated[int, Meta(description="How many open incidents it held pages of; they are looked at now.")]


async def list_silences(work: Work, call: Call) -> SilenceListAnswer:
    """List the silences."""
    found = await silences.list_silences(work, call.actor, all_of_them=call.asked(SilenceQuery).all)
    return SilenceListAnswer([_silence(row) for row in found])


async def add_silence(work: Work, call: Call) -> SilenceAnswer:
    """Hold pages back for a while."""
    body = call.said(SilenceBody)
    wanted = Wanted(
        body.reason,
        body.kind,
        incident_ref(body.incident) if body.incident is not None else None,
        body.project_id,
        body.service,
        body.severities,
        body.everything,
        believable("startsAt", body.starts_at),
        believable("endsAt", body.ends_at),
        timedelta(seconds=body.length_seconds) if body.length_seconds is not None else None,
    )
    return SilenceAnswer(_silence(await silences.add_silence(work, call.actor, wanted)))


async def end_silence(work: Work, call: Call) -> EndedAnswer:
    """End a silence now."""
    ended = await silences.end_silence(work, call.actor, part_id(call.path("silenceId"), "silence"))
    return EndedAnswer(_silence(ended.silence), ended.incidents)


def _silence(row: SilenceView) -> SilenceDocument:
    return shown(SilenceDocument, row)
