"""Error reports and the failures that they are reports of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("reports")


@dataclass(frozen=True, slots=True)
class LatestIncident:
    """Where the latest incident of a failure stands."""

    incident_id: UUID
    status: str
    current_severity: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KnownEvent:
    """A report that was accepted before."""

    event_id: str
    incident_id: UUID | None


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A report as it was recorded; `document` is its JSON."""

    id: UUID
    project_id: int
    event_id: str
    received_at: datetime
    occurred_at: datetime
    severity: str
    error_type: str
    title: str
    fingerprint: str
    document: bytes
    outcome: str
    incident_id: UUID | None


async def lock_failure(tx: Tx, project_id: int, fingerprint: str, now: datetime) -> LatestIncident | None:
    """Lock a failure, making it if it is new, and return where its latest incident stands."""
    failure = {"project_id": project_id, "fingerprint": fingerprint, "now": now}
    if await tx.value(QUERIES["lock_failure"], failure) is None:
        return None
    return await tx.first(QUERIES["latest_incident"], LatestIncident, failure)


async def set_latest_incident(tx: Tx, project_id: int, fingerprint: str, incident_id: UUID) -> None:
    """Make an incident the failure's latest."""
    failure = {"project_id": project_id, "fingerprint": fingerprint, "incident_id": incident_id}
    await tx.run(QUERIES["set_latest_incident"], failure)


async def known_events(tx: Tx, project_id: int, event_ids: Sequence[str]) -> dict[str, UUID | None]:
    """Return which of these event ids were accepted before, with their incidents."""
    parameters = {"project_id": project_id, "event_ids": list(event_ids)}
    known = await tx.rows(QUERIES["known_events"], KnownEvent, parameters)
    return {event.event_id: event.incident_id for event in known}


async def insert_many(tx: Tx, rows: Sequence[dict[str, Any]]) -> None:
    """Record reports, a mapping of columns each."""
    await tx.run_many(QUERIES["insert"], rows)


async def get(tx: Tx, report_id: UUID) -> ReportRow | None:
    """Return one report."""
    return await tx.first(QUERIES["get"], ReportRow, {"id": report_id})


async def link(tx: Tx, report_id: UUID, incident_id: UUID) -> None:
    """Link a recorded report to the incident that a person opened for it."""
    await tx.run(QUERIES["link"], {"id": report_id, "incident_id": incident_id})


async def count_occurrences(tx: Tx, incident_id: UUID, occurrences: int, last_seen_at: datetime) -> None:
    """Count reports towards an incident."""
    counted = {"incident_id": incident_id, "occurrences": occurrences, "last_seen_at": last_seen_at}
    await tx.run(QUERIES["count_occurrences"], counted)
