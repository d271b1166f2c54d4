"""Storms: people are told of a storm once, with its rate, and not of everything in it.

A storm of different failures: each still has its incident, its record and its clock. What is folded is the paging: the
incidents beyond the threshold are not paged one by one; the storm has an incident of its own. A storm of one failure
is one incident anyway: that it has become a storm is entered into its timeline, and paged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from tocsin.app import paging
from tocsin.app.open_incident import Opening
from tocsin.app.paging import Made, Subject
from tocsin.app.timeline import Detail, locked_head, take
from tocsin.app.work import Work
from tocsin.domain import notification
from tocsin.domain.escalation import opening
from tocsin.domain.incident import Severity, Status
from tocsin.domain.report import ErrorReport
from tocsin.domain.timeline import EntryKind
from tocsin.domain.workflow import AddNote
from tocsin.store import incidents, notifications
from tocsin.store.incidents import Head
from tocsin.store.projects import INTERNAL_PROJECT_ID
from tocsin.store.reports import Gain, known_events

PERIOD = timedelta(minutes=1)
MAX_COUNTED = 100_000
STORM = "ErrorStorm"
MANY_REPORTS = 1_000
"""So many reports of one failure between two folds of the counters are a storm."""
MAX_ANNOUNCED = 20
AGAIN_AFTER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Storms:
    """What storms make of a batch: the incidents that are folded into one, and the reports of the storms themselves."""

    folded: frozenset[UUID]
    reports: tuple[ErrorReport, ...]


async def find_storms(work: Work, openings: Sequence[Opening]) -> Storms:
    """Say which of the incidents about to open are part of a storm."""
    by_project: dict[int, list[Opening]] = defaultdict(list)
    for new in openings:
        if new.project_id not in (None, INTERNAL_PROJECT_ID):
            by_project[new.project_id or 0].append(new)
    folded: set[UUID] = set()
    reports: list[ErrorReport] = []
    for project_id, opened in by_project.items():
        before = await incidents.opened_since(work.tx, project_id, work.now - PERIOD, work.settings.storm_threshold)
        if beyond := opened[max(0, work.settings.storm_threshold - before) :]:
            folded.update(opening.incident_id for opening in beyond)
            reports += await _reports(work, project_id, len(opened), beyond)
    return Storms(frozenset(folded), tuple(reports))


async def _reports(work: Work, project_id: int, opened: int, beyond: Sequence[Opening]) -> list[ErrorReport]:
    """Return the report of a storm: one for each project and minute, however many batches it takes.

    And one for each severity: the first CRITICAL of a storm must raise the storm's incident, not be taken for a copy.
    """
    worst = max((opening.severity for opening in beyond), key=lambda severity: severity.rank)
    event_id = f"storm-{project_id}-{work.now:%Y%m%d%H%M}-{worst.value}"
    # Asked without a lock: of two processes that both report it, one reports a copy. Most batches of a storm do not.
    if await known_events(work.tx, [(INTERNAL_PROJECT_ID, event_id)]):
        return []
    rate = opened + await incidents.opened_since(work.tx, project_id, work.now - PERIOD, MAX_COUNTED)
    return [_report(work, project_id, event_id, worst, rate)]


def _report(work: Work, project_id: int, event_id: str, severity: Severity, rate: int) -> ErrorReport:
    return ErrorReport(
        event_id=event_id,
        severity=severity,
        error_type=STORM,
        message=(
            f"Project {project_id} opens incidents faster than people can read: {rate} within the last minute.\n"
            f"Those beyond {work.settings.storm_threshold} a minute are not paged one by one; each has its incident."
        ),
        occurred_at=work.now,
        fingerprint=("tocsin", STORM, str(project_id)),
        platform="python",
        service="tocsin",
    )


async def page_again(work: Work, incident_id: UUID, rate: str) -> None:
    """Page a storm whose incident somebody has taken already: this one is another; once within AGAIN_AFTER."""
    if await notifications.owed_since(work.tx, incident_id, notification.STORM, work.now - AGAIN_AFTER):
        return
    head = await locked_head(work, incident_id)
    if head.status != Status.REPORTED:
        await _page(work, head, rate)


async def announce_storms(work: Work, gains: Sequence[Gain], period: timedelta) -> None:
    """Tell of the incidents that gained so many reports within `period` that it is a storm; once within AGAIN_AFTER."""
    for gain in gains:
        if await notifications.owed_since(work.tx, gain.incident_id, notification.STORM, work.now - AGAIN_AFTER):
            continue
        head = await locked_head(work, gain.incident_id)
        if head.status == Status.CLOSED:
            continue
        rate = int(gain.occurrences / period.total_seconds())
        text = f"The failure is reported about {rate:,} times a second. All are counted; samples of them are kept."
        detail = Detail(metadata={"text": text, "storm": True})
        await take(work, head, AddNote(text), None, {EntryKind.NOTE_ADDED: detail})
        await _page(work, head, text)


async def _page(work: Work, head: Head, notes: str) -> None:
    """Page those whom the incident's policy names first: what they know of has become a storm."""
    subject = Subject.of(head)
    arranged = await paging.arranged(work, subject)
    name = f"{notification.STORM} {work.now.isoformat()}"
    asked = replace(opening(arranged.policy), name=name, reason=notification.STORM)
    made = Made(subject, asked, arranged.decide(asked, work.now), notes)
    await paging.page(work, made, arranged.hold)
