"""Takes in error reports the careful way: each is recorded, and joins its failure's incident, opens one, or neither.

The failures are locked, so that of many reports at the same instant one opens the incident. The reports, the
incidents, their REPORTED entries, the pages owed and the ledger are one transaction: all or none. What needs no lock
takes the quick way, see `tocsin.app.take_in`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from uuid import UUID

import msgspec

from tocsin.app.escalate import raise_severity
from tocsin.app.open_incident import Opening, open_incidents
from tocsin.app.projects import rules_of
from tocsin.app.signals import take_down, watch_expiry
from tocsin.app.storms import find_storms, page_again
from tocsin.app.work import Work
from tocsin.domain.arrival import Arrival
from tocsin.domain.deduplication import LatestIncident, Outcome, judge
from tocsin.domain.incident import Severity, Status
from tocsin.domain.project import Project
from tocsin.domain.report import ErrorReport, document
from tocsin.domain.timeline import leaf_hash
from tocsin.store import ledger, reports
from tocsin.store.projects import INTERNAL_PROJECT_ID
from tocsin.store.reports import FailureKey, NewReport

TRIGGER = "HIGH_SEVERITY_ERROR_LOGGED"
"""The event that opens an incident by itself."""
INTERNAL = "internal"
"""The protocol of what Tocsin reports itself."""


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """What became of one report."""

    event_id: str
    outcome: Outcome
    incident_id: UUID | None


class Item(msgspec.Struct, frozen=True, dict=True):
    """One report to take in: its project, and whether it is kept whole or only its row.

    `is_first` says that this process has not seen its failure before, so that it may well open an incident.
    Reading a report whole is dear, so each item does it once, and keeps it in its dict.
    """

    project: Project
    arrival: Arrival
    report_id: UUID
    protocol: str
    kept: bool = True
    is_first: bool = False

    @property
    def failure(self) -> FailureKey:
        """Return the key of its failure."""
        return self.project.id, self.arrival.mark.value

    @property
    def event(self) -> tuple[int, str]:
        """Return the key under which it is taken in once."""
        return self.project.id, self.arrival.event_id

    @property
    def is_loud(self) -> bool:
        """Tell whether it may open an incident."""
        severity = self.arrival.severity
        loud = severity.at_least(self.project.incident_threshold) or severity.at_least(Severity.HIGH)
        return loud and self.arrival.signal is None

    @cached_property
    def whole(self) -> ErrorReport:
        """Return the whole report."""
        return self.arrival.whole()

    @cached_property
    def document(self) -> bytes:
        """Return the JSON of the whole report."""
        return report_document(self.whole)


@dataclass(slots=True)
class _Failure:
    """The reports of one failure within a batch, and the incident they have come to."""

    latest: LatestIncident | None
    worst: Severity = Severity.LOW
    """The severity of the worst report that joined."""
    signals: list[Item] = field(default_factory=list)


@dataclass(slots=True)
class _Batch:
    """What a batch comes to, before it is written."""

    failures: dict[FailureKey, _Failure]
    rows: list[NewReport] = field(default_factory=list)
    documents: dict[int, bytes] = field(default_factory=dict)
    """What is kept whole of the rows, by their places."""
    openings: list[Opening] = field(default_factory=list)


async def report_errors(work: Work, project_id: int, batch: Sequence[ErrorReport]) -> list[Accepted]:
    """Take in reports of one project in the present transaction, each kept whole."""
    project = await rules_of(work, project_id)
    items = [Item(project, Arrival.of(report), work.new_id(), INTERNAL) for report in batch]
    return await take_in_carefully(work, items)


async def take_in_carefully(work: Work, items: Sequence[Item]) -> list[Accepted]:
    """Take in reports; return what became of each, in their order.

    Failures are locked in the order of their keys, so that batches never wait for each other in a circle.
    The same event id twice is once: the second is a DUPLICATE and changes nothing.
    """
    past = await reports.look_back(work.tx, {item.failure for item in items}, {item.event for item in items}, work.now)
    batch = _Batch({item.failure: _Failure(_latest(past.latest.get(item.failure))) for item in items})
    known = past.known
    accepted = []
    for item in items:
        if item.event in known:
            accepted.append(Accepted(item.arrival.event_id, Outcome.DUPLICATE, known[item.event]))
            continue
        taken = _take_in(work, item, batch)
        known[item.event] = taken.incident_id
        accepted.append(taken)
    await _write(work, batch)
    await watch_expiry(work, items)
    await ledger.count(work.tx, _counts(items, accepted), work.now)
    return accepted


def _latest(row: reports.LatestIncident | None) -> LatestIncident | None:
    if row is None:
        return None
    return LatestIncident(row.incident_id, Status(row.status), Severity(row.current_severity), row.created_at)


def _take_in(work: Work, item: Item, batch: _Batch) -> Accepted:
    failure, arrival, project = batch.failures[item.failure], item.arrival, item.project
    outcome = judge(
        arrival.severity,
        failure.latest,
        work.now,
        window=project.dedup_window,
        threshold=project.incident_threshold,
        signal=arrival.signal is not None,
    )
    if outcome is Outcome.OPENED:
        opening = _opening(work, item, failure)
        batch.openings.append(opening)
        failure.latest = LatestIncident(opening.incident_id, Status.REPORTED, arrival.severity, work.now)
    elif outcome is Outcome.JOINED and arrival.signal is not None:
        failure.signals.append(item)
    elif outcome is Outcome.JOINED:
        failure.worst = max(failure.worst, arrival.severity, key=lambda severity: severity.rank)
    incident_id = failure.latest.incident_id if failure.latest and outcome is not Outcome.RECORDED else None
    if item.kept or outcome is Outcome.OPENED:
        batch.documents[len(batch.rows)] = item.document
    batch.rows.append(new_report(item, len(batch.rows), outcome, incident_id))
    return Accepted(arrival.event_id, outcome, incident_id)


def report_document(report: ErrorReport) -> bytes:
    """Return the JSON of a whole report, as it is stored."""
    return msgspec.json.encode(document(report))


def new_report(item: Item, n: int, outcome: Outcome | None = None, incident_id: UUID | None = None) -> NewReport:
    """Return the row of a report."""
    arrival, project = item.arrival, item.project
    return NewReport(
        n=n,
        id=item.report_id,
        project_id=project.id,
        event_id=arrival.event_id,
        occurred_at=arrival.occurred_at,
        severity=arrival.severity,
        error_type=arrival.error_type,
        title=arrival.title,
        fingerprint=arrival.mark.value,
        fingerprint_version=arrival.mark.version,
        fingerprint_basis=arrival.mark.basis,
        opens=item.is_loud,
        window_seconds=int(project.dedup_window.total_seconds()),
        protocol=item.protocol,
        signal=arrival.signal.value if arrival.signal else None,
        outcome=outcome.value if outcome else None,
        incident_id=incident_id,
    )


def _opening(work: Work, item: Item, failure: _Failure) -> Opening:
    return Opening(
        incident_id=work.new_id(),
        severity=item.arrival.severity,
        title=item.arrival.title,
        description=item.whole.message,
        trigger=TRIGGER,
        project_id=item.project.id,
        fingerprint=item.arrival.mark.value,
        created_from_error_id=item.report_id,
        error_checksum=leaf_hash(item.document),
        recurrence_of=failure.latest.incident_id if failure.latest else None,
        service=item.whole.service or item.project.name,
    )


async def _write(work: Work, batch: _Batch) -> None:
    """Write what the batch came to: incidents before the reports that name them."""
    stormy = await find_storms(work, batch.openings)
    openings = [replace(one, in_storm=one.incident_id in stormy.folded) for one in batch.openings]
    await open_incidents(work, openings)
    await reports.insert_many(work.tx, batch.rows, batch.documents, work.now)
    for failure in batch.failures.values():
        await _tell_incident(work, failure)
    if stormy.reports:
        storms = await report_errors(work, INTERNAL_PROJECT_ID, stormy.reports)
        for report, storm in zip(stormy.reports, storms, strict=True):
            if storm.outcome is Outcome.JOINED and storm.incident_id is not None:
                await page_again(work, storm.incident_id, report.message)


async def _tell_incident(work: Work, failure: _Failure) -> None:
    """Raise the incident if something worse came, and enter the signals."""
    if failure.latest is None:
        return
    if not failure.latest.severity.at_least(failure.worst):
        await raise_severity(work, failure.latest.incident_id, failure.worst)
    for item in failure.signals:
        await take_down(work, failure.latest.incident_id, item.arrival)


def _counts(items: Sequence[Item], accepted: Sequence[Accepted]) -> Mapping[tuple[int, str, str], int]:
    counts: Counter[tuple[int, str, str]] = Counter()
    for item, one in zip(items, accepted, strict=True):
        counts[item.project.id, "received", item.protocol] += 1
        counts[item.project.id, one.outcome.value, ""] += 1
    return counts
