"""Storms: when a project opens incidents faster than anybody can read, people are told of the storm, once.

Each failure still has its incident, its record and its clock. What is folded is the paging: the incidents beyond the
threshold are not paged one by one; the storm has an incident of its own, with the rate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from tocsin.app.open_incident import Opening
from tocsin.app.work import Work
from tocsin.domain.report import ErrorReport
from tocsin.store import incidents
from tocsin.store.projects import INTERNAL_PROJECT_ID

PERIOD = timedelta(minutes=1)
MAX_COUNTED = 100_000
STORM = "ErrorStorm"


@dataclass(frozen=True, slots=True)
class Storms:
    """What storms make of a batch: the incidents that are folded into one, and the reports of the storms themselves."""

    folded: frozenset[UUID]
    reports: tuple[ErrorReport, ...]


async def find_storms(work: Work, openings: Sequence[Opening]) -> Storms:
    """Say which of the incidents about to open are part of a storm."""
    by_project: dict[int, list[Opening]] = defaultdict(list)
    for opening in openings:
        if opening.project_id not in (None, INTERNAL_PROJECT_ID):
            by_project[opening.project_id or 0].append(opening)
    folded: set[UUID] = set()
    reports = []
    for project_id, opened in by_project.items():
        before = await incidents.opened_since(work.tx, project_id, work.now - PERIOD, MAX_COUNTED)
        beyond = opened[max(0, work.settings.storm_threshold - before) :]
        if beyond:
            folded.update(opening.incident_id for opening in beyond)
            reports.append(_report(work, project_id, before + len(opened), beyond))
    return Storms(frozenset(folded), tuple(reports))


def _report(work: Work, project_id: int, rate: int, beyond: Sequence[Opening]) -> ErrorReport:
    """Return the report of a storm: one for each project and minute, however many batches it takes."""
    worst = max((opening.severity for opening in beyond), key=lambda severity: severity.rank)
    return ErrorReport(
        event_id=f"storm-{project_id}-{work.now:%Y%m%d%H%M}",
        severity=worst,
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
