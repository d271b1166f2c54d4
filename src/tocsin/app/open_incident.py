"""Opens incidents: their facts, REPORTED entries, first pages, timers. By the system or by a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import msgspec

from tocsin.app import paging
from tocsin.app.paging import Subject
from tocsin.app.projects import rules_of
from tocsin.app.timeline import Last, entry_columns
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.incident import INCIDENT_TYPES, Severity, Status
from tocsin.domain.policy import MAX_SERVICE_CHARACTERS, checked_line
from tocsin.domain.report import MAX_TITLE_CHARACTERS
from tocsin.domain.silence import Silence
from tocsin.domain.timeline import EntryKind, leaf_hash
from tocsin.domain.workflow import MAX_TEXT_CHARACTERS, Step, checked_text
from tocsin.errors import Code, refuse
from tocsin.store import incidents, record, reports
from tocsin.store.reports import ReportRow

BY_HAND = "OPENED_BY_HAND"


@dataclass(frozen=True, slots=True)
class Opening:
    """What an incident is opened with. `in_storm` says that the storm of its project has an incident of its own."""

    incident_id: UUID
    severity: Severity
    title: str
    description: str
    trigger: str
    project_id: int | None = None
    fingerprint: str | None = None
    created_from_error_id: UUID | None = None
    error_checksum: bytes | None = None
    recurrence_of: UUID | None = None
    service: str | None = None
    in_storm: bool = False


async def open_incident(work: Work, opening: Opening, actor: Actor | None = None) -> UUID:
    """Open one incident; return its id."""
    await open_incidents(work, [opening], actor)
    return opening.incident_id


async def open_incidents(work: Work, openings: Sequence[Opening], actor: Actor | None = None) -> None:
    """Open incidents, owe their first pages to those whom their policies name first, and start their timers.

    Those that were opened in a storm are not paged one by one: the storm's own incident is.
    """
    if not openings:
        return
    arrangements = await paging.ask(work)
    numbers = await record.next_numbers(work.tx, len(openings))
    facts = await record.write_many(
        work.tx,
        "incidents",
        [_facts(work, opening, number, actor) for opening, number in zip(openings, numbers, strict=True)],
    )
    entries = [
        entry_columns(
            work,
            opening.incident_id,
            None,
            Step(EntryKind.REPORTED, Status.REPORTED, opening.severity),
            actor,
            sealed.checksum,
            _metadata(opening),
        )
        for opening, sealed in zip(openings, facts, strict=True)
    ]
    reported = await record.write_many(work.tx, "incident_lifecycle", entries)
    latest = {(one.project_id, one.fingerprint): one.incident_id for one in openings if one.project_id is not None}
    await reports.set_latest_incidents(
        work.tx, {(project, mark): incident for (project, mark), incident in latest.items() if mark}, work.now
    )
    subjects = [_subject(work, opening, number) for opening, number in zip(openings, numbers, strict=True)]
    stormy = {opening.incident_id for opening in openings if opening.in_storm}
    holds = await paging.page_openings(work, await arrangements(), subjects, stormy)
    if holds:
        await record.write_many(
            work.tx,
            "incident_lifecycle",
            [
                _held(work, opening, entry.checksum, holds[opening.incident_id])
                for opening, entry in zip(openings, reported, strict=True)
                if opening.incident_id in holds
            ],
        )


def _held(work: Work, opening: Opening, reported: bytes, hold: Silence) -> dict[str, object]:
    """Return the entry after the first one: a silence holds the first page back."""
    step = Step(EntryKind.PAGES_HELD, Status.REPORTED, opening.severity)
    last = Last(1, reported, Status.REPORTED.value)
    return entry_columns(work, opening.incident_id, last, step, None, None, paging.held_detail(hold).metadata)


def _facts(work: Work, opening: Opening, number: int, actor: Actor | None) -> dict[str, object]:
    return {
        "id": opening.incident_id,
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


def _metadata(opening: Opening) -> dict[str, object]:
    checksum = opening.error_checksum.hex() if opening.error_checksum else None
    storm = {"inStorm": True} if opening.in_storm else {}
    service = {"service": opening.service} if opening.service else {}
    return {"trigger": opening.trigger, "errorChecksum": checksum, **service, **storm}


def _subject(work: Work, opening: Opening, number: int) -> Subject:
    return Subject(
        opening.incident_id,
        number,
        opening.severity,
        opening.title,
        work.now,
        opening.recurrence_of,
        opening.project_id,
        opening.service,
    )


async def open_by_hand(
    work: Work,
    actor: Actor,
    *,
    severity: Severity,
    title: str,
    description: str,
    error_id: UUID | None = None,
    service: str | None = None,
) -> UUID:
    """Open an incident that a person saw, or for a report that was only recorded; return its id.

    The service decides which policy it follows; unless it is said, it is the report's, else the project's name.
    Raises CONFLICT when the report belongs to an incident already, or its failure has an open one.
    """
    require(actor, Permission.RESPOND)
    title = checked_text("title", title)
    if len(title) > MAX_TITLE_CHARACTERS or "\n" in title:
        problem = f"must be one line of at most {MAX_TITLE_CHARACTERS} characters"
        raise refuse(Code.INVALID, f"title {problem}.", errors=[{"field": "title", "problem": problem}])
    said = checked_line("service", service, MAX_SERVICE_CHARACTERS) if service is not None else None
    known = checked_text("description", description, required=False)
    opening = Opening(work.new_id(), severity, title, known, BY_HAND, service=said)
    if error_id is None:
        incident_id = await open_incident(work, opening, actor)
        await reports.count_first_occurrences(work.tx, incident_id, 0, work.now)
        return incident_id
    return await _open_for_report(work, actor, opening, error_id)


async def _open_for_report(work: Work, actor: Actor, opening: Opening, error_id: UUID) -> UUID:
    report = await reports.get(work.tx, error_id)
    if report is None:
        raise refuse(Code.NOT_FOUND, f"There is no error report {error_id}.")
    failure = (report.project_id, report.fingerprint)
    latest = (await reports.lock_failures(work.tx, [failure], work.now)).get(failure)
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
        replace(
            opening,
            project_id=report.project_id,
            fingerprint=report.fingerprint,
            created_from_error_id=error_id,
            error_checksum=leaf_hash(report.document) if report.document else None,
            recurrence_of=latest.incident_id if latest else None,
            service=opening.service or await _service_of(work, report),
        ),
        actor,
    )
    await reports.link(work.tx, error_id, incident_id)
    await reports.count_first_occurrences(work.tx, incident_id, 1, report.received_at)
    return incident_id


async def _service_of(work: Work, report: ReportRow) -> str:
    said = msgspec.json.decode(report.document).get("service") if report.document else None
    return str(said) if said else (await rules_of(work, report.project_id)).name
