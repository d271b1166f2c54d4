"""Takes in error reports: each is recorded, and joins its failure's incident, opens one, or neither.

The reports, the incidents, their REPORTED entries and the pages owed are one transaction: all or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from tocsin.app.escalate import raise_severity
from tocsin.app.open_incident import Opening, open_incident
from tocsin.app.work import App, Work
from tocsin.domain.deduplication import LatestIncident, Outcome, judge
from tocsin.domain.fingerprint import Fingerprint, fingerprint
from tocsin.domain.incident import Severity, Status
from tocsin.domain.report import ErrorReport, document
from tocsin.domain.timeline import leaf_hash
from tocsin.store import reports
from tocsin.store.database import LostRaceError

TRIGGER = "HIGH_SEVERITY_ERROR_LOGGED"
"""The event that opens an incident by itself."""
MAX_RACES = 5


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of one report."""

    event_id: str
    outcome: Outcome
    incident_id: UUID | None


@dataclass(slots=True)
class _Failure:
    """The reports of one failure within a batch, and the incident they have come to."""

    mark: Fingerprint
    latest: LatestIncident | None
    joined: int = 0
    worst: Severity = Severity.LOW
    rows: list[dict[str, object]] = field(default_factory=list)


async def accept(app: App, project_id: int, batch: Sequence[ErrorReport]) -> list[Accepted]:
    """Take in the reports of one request in a transaction of their own; when this returns, they are committed.

    The same event may come in twice at the same instant over two connections: the slower one finds it recorded.
    """
    for _ in range(MAX_RACES):
        try:
            async with app.work() as work:
                return await report_errors(work, project_id, batch)
        except LostRaceError as error:
            lost = error
    raise lost


async def report_errors(work: Work, project_id: int, batch: Sequence[ErrorReport]) -> list[Accepted]:
    """Take in the reports of one request; return what became of each, in their order.

    Failures are locked in the order of their fingerprints, so that batches never wait for each other in a circle.
    The same event id twice is once: the second is a DUPLICATE and changes nothing.
    """
    marks = [fingerprint(report) for report in batch]
    failures = {
        mark.value: _Failure(mark, await _lock(work, project_id, mark))
        for mark in sorted(set(marks), key=lambda mark: mark.value)
    }
    known = await reports.known_events(work.tx, project_id, [report.event_id for report in batch])
    accepted: list[Accepted] = []
    for report, mark in zip(batch, marks, strict=True):
        if report.event_id in known:
            accepted.append(Accepted(report.event_id, Outcome.DUPLICATE, known[report.event_id]))
            continue
        taken = await _take_in(work, project_id, report, failures[mark.value])
        known[report.event_id] = taken.incident_id
        accepted.append(taken)
    await reports.insert_many(work.tx, [row for failure in failures.values() for row in failure.rows])
    for failure in failures.values():
        await _settle(work, failure)
    return accepted


async def _lock(work: Work, project_id: int, mark: Fingerprint) -> LatestIncident | None:
    row = await reports.lock_failure(work.tx, project_id, mark.value, work.now)
    if row is None:
        return None
    return LatestIncident(row.incident_id, Status(row.status), Severity(row.current_severity), row.created_at)


async def _take_in(work: Work, project_id: int, report: ErrorReport, failure: _Failure) -> Accepted:
    outcome = judge(
        report.severity,
        failure.latest,
        work.now,
        window=work.settings.dedup_window_time,
        threshold=work.settings.incident_threshold,
    )
    report_id, content = work.new_id(), msgspec.json.encode(document(report))
    if outcome is Outcome.OPENED:
        failure.latest = await _open(work, project_id, report, report_id, content, failure)
    if outcome is not Outcome.RECORDED:
        failure.joined += 1
        failure.worst = max(failure.worst, report.severity, key=lambda severity: severity.rank)
    incident_id = failure.latest.incident_id if failure.latest and outcome is not Outcome.RECORDED else None
    failure.rows.append(_row(work, project_id, report, failure.mark, report_id, content, outcome, incident_id))
    return Accepted(report.event_id, outcome, incident_id)


async def _open(
    work: Work, project_id: int, report: ErrorReport, report_id: UUID, content: bytes, failure: _Failure
) -> LatestIncident:
    incident_id = await open_incident(
        work,
        Opening(
            project_id=project_id,
            severity=report.severity,
            title=report.title,
            description=report.message,
            fingerprint=failure.mark.value,
            created_from_error_id=report_id,
            error_checksum=leaf_hash(content),
            recurrence_of=failure.latest.incident_id if failure.latest else None,
            trigger=TRIGGER,
        ),
    )
    return LatestIncident(incident_id, Status.REPORTED, report.severity, work.now)


def _row(
    work: Work,
    project_id: int,
    report: ErrorReport,
    mark: Fingerprint,
    report_id: UUID,
    content: bytes,
    outcome: Outcome,
    incident_id: UUID | None,
) -> dict[str, object]:
    return {
        "id": report_id,
        "project_id": project_id,
        "event_id": report.event_id,
        "received_at": work.now,
        "occurred_at": report.occurred_at,
        "severity": report.severity.value,
        "error_type": report.error_type,
        "title": report.title,
        "fingerprint": mark.value,
        "fingerprint_version": mark.version,
        "fingerprint_basis": mark.basis,
        "document": content,
        "outcome": outcome.value,
        "incident_id": incident_id,
    }


async def _settle(work: Work, failure: _Failure) -> None:
    """Count what joined, and raise the incident if something worse came."""
    if failure.latest is None or not failure.joined:
        return
    await reports.count_occurrences(work.tx, failure.latest.incident_id, failure.joined, work.now)
    if not failure.latest.severity.at_least(failure.worst):
        await raise_severity(work, failure.latest.incident_id, failure.worst)
    failure.joined, failure.worst = 0, Severity.LOW
