"""Opens an incident: its facts, its REPORTED entry, the first page, the timer. By the system or by a person."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from tocsin.app import paging
from tocsin.app.paging import Subject
from tocsin.app.timeline import Detail, write_entry
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.escalation import Duty
from tocsin.domain.incident import INCIDENT_TYPES, Severity, Status
from tocsin.domain.notification import OPENED
from tocsin.domain.report import MAX_TITLE_CHARACTERS
from tocsin.domain.timeline import EntryKind, leaf_hash
from tocsin.domain.workflow import MAX_TEXT_CHARACTERS, IncidentState, Step, checked_text
from tocsin.errors import Code, refuse
from tocsin.store import incidents, record, reports

BY_HAND = "OPENED_BY_HAND"


@dataclass(frozen=True, slots=True)
class Opening:
    """What an incident is opened with."""

    severity: Severity
    title: str
    description: str
    trigger: str
    project_id: int | None = None
    fingerprint: str | None = None
    created_from_error_id: UUID | None = None
    error_checksum: bytes | None = None
    recurrence_of: UUID | None = None


async def open_incident(work: Work, opening: Opening, actor: Actor | None = None) -> UUID:
    """Open an incident, owe the first page to the on-call, and start its timer; return its id."""
    incident_id, number = work.new_id(), await record.next_number(work.tx)
    columns = {
        "id": incident_id,
        "number": number,
        "project_id": opening.project_id,
        "incident_type": INCIDENT_TYPES[opening.severity].value,
        "severity": opening.severity.value,
        "title": opening.title[:MAX_TITLE_CHARACTERS],
        "description": opening.description[:MAX_TEXT_CHARACTERS],
        "fingerprint": opening.fingerprint,
        "created_from_error_id": opening.created_from_error_id,
        "recurrence_of": opening.recurrence_of,
        "created_at": work.now,
        "created_by_system": actor is None,
        "created_by_user_id": actor.user_id if actor else None,
    }
    reported = Step(EntryKind.REPORTED, Status.REPORTED, opening.severity)
    checksum = opening.error_checksum.hex() if opening.error_checksum else None
    metadata = {"trigger": opening.trigger, "errorChecksum": checksum}
    await write_entry(work, None, reported, actor, Detail("incidents", columns, metadata))
    if opening.fingerprint and opening.project_id is not None:
        await reports.set_latest_incident(work.tx, opening.project_id, opening.fingerprint, incident_id)
    subject = Subject(incident_id, number, opening.severity, opening.title, work.now, opening.recurrence_of)
    await paging.page(work, subject, await paging.recipients(work, Duty.ON_CALL), OPENED)
    await paging.watch(work, incident_id, IncidentState(number, Status.REPORTED, opening.severity), work.now)
    return incident_id


async def open_by_hand(
    work: Work, actor: Actor, *, severity: Severity, title: str, description: str, error_id: UUID | None = None
) -> UUID:
    """Open an incident that a person saw, or for a report that was only recorded; return its id.

    Raises CONFLICT when the report belongs to an incident already, or its failure has an open one.
    """
    require(actor, Permission.RESPOND)
    title = checked_text("title", title)
    if len(title) > MAX_TITLE_CHARACTERS or "\n" in title:
        problem = f"must be one line of at most {MAX_TITLE_CHARACTERS} characters"
        raise refuse(Code.INVALID, f"title {problem}.", errors=[{"field": "title", "problem": problem}])
    opening = Opening(severity, title, checked_text("description", description, required=False), BY_HAND)
    if error_id is None:
        incident_id = await open_incident(work, opening, actor)
        await reports.count_occurrences(work.tx, incident_id, 0, work.now)
        return incident_id
    return await _open_for_report(work, actor, opening, error_id)


async def _open_for_report(work: Work, actor: Actor, opening: Opening, error_id: UUID) -> UUID:
    report = await reports.get(work.tx, error_id)
    if report is None:
        raise refuse(Code.NOT_FOUND, f"There is no error report {error_id}.")
    latest = await reports.lock_failure(work.tx, report.project_id, report.fingerprint, work.now)
    if latest is not None and latest.status != Status.CLOSED:
        head = await incidents.lock_head(work.tx, latest.incident_id)
        number = head.number if head else 0
        raise refuse(
            Code.CONFLICT,
            f"This failure has an open incident already: INC-{number}.",
            f"See it: `tocsin incidents show {number}`.",
        )
    if (await reports.get(work.tx, error_id) or report).incident_id is not None:
        raise refuse(Code.CONFLICT, "This error report belongs to an incident already.")
    incident_id = await open_incident(
        work,
        Opening(
            severity=opening.severity,
            title=opening.title,
            description=opening.description,
            trigger=BY_HAND,
            project_id=report.project_id,
            fingerprint=report.fingerprint,
            created_from_error_id=error_id,
            error_checksum=leaf_hash(report.document),
            recurrence_of=latest.incident_id if latest else None,
        ),
        actor,
    )
    await reports.link(work.tx, error_id, incident_id)
    await reports.count_occurrences(work.tx, incident_id, 1, report.received_at)
    return incident_id
