"""Incidents as they are read: where they stand, lists, counts, and the parts of one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tocsin.domain.follow_up import parse_follow_ups
from tocsin.domain.incident import EscalationReason, Severity, Status
from tocsin.domain.timeline import EntryKind, whole_particulars
from tocsin.domain.workflow import Acknowledgment, IncidentState
from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("incidents")
MAX_TIMELINE_ENTRIES = 1_000
MAX_ESCALATIONS = 1_000
MAX_COUNTED = 10_000
"""How far a list is counted that the counters do not know: counting millions would take longer than showing a page."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an incident's timeline, with what the workflow needs to know."""

    incident_id: UUID
    number: int
    status: str
    current_severity: str
    sequence: int
    checksum: bytes
    created_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: UUID | None
    acknowledged_by_name: str | None
    has_root_cause: bool
    no_ack_1hr_at: datetime | None
    no_ack_4hr_at: datetime | None
    no_root_cause_24hr_at: datetime | None
    sessions_blocked_at: datetime | None
    fired_steps: list[str]
    lease_from: datetime | None
    lapses: int
    service: str | None
    lessons_learned: str | None
    follow_up_actions: list[Any] | None
    title: str | None
    recurrence_of: UUID | None
    project_id: int | None
    in_storm: bool

    def state(self) -> IncidentState:
        """Return the state as the workflow sees it."""
        acknowledgment = None
        if self.acknowledged_by and self.acknowledged_at:
            acknowledgment = Acknowledgment(self.acknowledged_by, self.acknowledged_by_name or "", self.acknowledged_at)
        fired = {
            EscalationReason.NO_ACK_1HR: self.no_ack_1hr_at,
            EscalationReason.NO_ACK_4HR: self.no_ack_4hr_at,
            EscalationReason.NO_ROOT_CAUSE_24HR: self.no_root_cause_24hr_at,
        }
        return IncidentState(
            number=self.number,
            status=Status(self.status),
            severity=Severity(self.current_severity),
            acknowledgment=acknowledgment,
            has_root_cause=self.has_root_cause,
            lessons_learned=self.lessons_learned,
            follow_up_actions=parse_follow_ups(self.follow_up_actions or []),
            sessions_blocked=self.sessions_blocked_at is not None and self.acknowledged_at is None,
            fired=frozenset(reason for reason, at in fired.items() if at is not None),
            fired_steps=frozenset(self.fired_steps),
            lease_from=self.lease_from,
            lapses=self.lapses,
            service=self.service,
        )


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """One incident of a list."""

    id: UUID
    number: int
    project_id: int | None
    incident_type: str
    severity: str
    current_severity: str
    status: str
    title: str | None
    description: str | None
    created_at: datetime
    created_by_system: bool
    created_from_error_id: UUID | None
    occurrences: int
    last_seen_at: datetime
    recurrence_of: UUID | None
    acknowledged_at: datetime | None
    acknowledged_by: UUID | None
    acknowledged_by_name: str | None
    resolved_at: datetime | None
    closed_at: datetime | None
    checksum: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where an incident is in the lists."""

    incident_id: UUID
    number: int


@dataclass(frozen=True, slots=True)
class IncidentFilter:
    """Which incidents a list shows; None lets all through. Times are half-open: [after, before)."""

    statuses: tuple[Status, ...] | None = None
    severities: tuple[Severity, ...] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    service: str | None = None
    project_id: int | None = None
    holder: UUID | None = None
    """Who acknowledged."""

    def parameters(self) -> dict[str, object]:
        """Return the filter as parameters of the queries."""
        return {
            "statuses": [str(status) for status in self.statuses] if self.statuses is not None else None,
            "severities": [str(severity) for severity in self.severities] if self.severities is not None else None,
            "created_after": self.created_after,
            "created_before": self.created_before,
            "period": self.created_after is not None and self.created_before is not None,
            "service": self.service,
            "project_id": self.project_id,
            "holder": self.holder,
        }


@dataclass(frozen=True, slots=True)
class AcknowledgmentRow:
    """Who took the incident."""

    id: UUID
    ack_by_user_id: UUID
    ack_by_name: str
    ack_at: datetime
    ack_notes: str | None
    severity_at_ack: str
    checksum: bytes


@dataclass(frozen=True, slots=True)
class RootCauseRow:
    """Why it happened."""

    id: UUID
    root_cause_summary: str | None
    root_cause_category: str
    identified_by_user_id: UUID
    identified_by_name: str
    identified_at: datetime
    remediation_steps: str | None
    verified_at: datetime | None
    checksum: bytes


@dataclass(frozen=True, slots=True)
class ResolutionRow:
    """How it ended, with what the closing added."""

    id: UUID
    resolved_by_user_id: UUID
    resolved_by_name: str
    resolved_at: datetime
    resolution_summary: str | None
    resolution_notes: str | None
    impact_assessment: str | None
    lessons_learned: str | None
    follow_up_actions: list[Any] | None
    checksum: bytes


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One entry of the timeline; of its metadata, what was erased is None."""

    id: UUID
    sequence: int
    event_type: str
    status_before: str | None
    status_after: str
    actor_user_id: UUID | None
    actor_name: str | None
    actor_role: str
    metadata: dict[str, Any]
    event_at: datetime
    checksum: bytes


@dataclass(frozen=True, slots=True)
class _StoredEntry:
    id: UUID
    sequence: int
    event_type: str
    status_before: str | None
    status_after: str
    actor_user_id: UUID | None
    actor_name: str | None
    actor_role: str
    metadata: dict[str, Any]
    personal: dict[str, Any] | None
    escalated_to_name: str | None
    event_at: datetime
    checksum: bytes

    def shown(self) -> EntryRow:
        """Return the entry as it is read: facts, and what may concern a person, together."""
        particulars = self.metadata | whole_particulars(EntryKind(self.event_type), self.personal)
        if self.event_type == EntryKind.ESCALATED:
            particulars["to"] = self.escalated_to_name
        return EntryRow(
            self.id,
            self.sequence,
            self.event_type,
            self.status_before,
            self.status_after,
            self.actor_user_id,
            self.actor_name,
            self.actor_role,
            particulars,
            self.event_at,
            self.checksum,
        )


@dataclass(frozen=True, slots=True)
class EscalationRow:
    """One escalation, with its acknowledgment."""

    id: UUID
    escalation_reason: str
    escalated_to_user_id: UUID | None
    escalated_to_name: str | None
    escalated_by_user_id: UUID | None
    escalation_notes: str | None
    escalated_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by_user_id: UUID | None
    checksum: bytes


@dataclass(frozen=True, slots=True)
class Tally:
    """How many incidents have a status and a severity."""

    status: str
    current_severity: str
    incidents: int


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many escalations have a reason."""

    escalation_reason: str
    count: int


async def find(tx: Tx, *, incident_id: UUID | None = None, number: int | None = None) -> UUID | None:
    """Return the id of the incident with this id or number, or None."""
    found: UUID | None = await tx.value(QUERIES["find"], {"id": incident_id, "number": number})
    return found


async def lock_failure_of(tx: Tx, incident_id: UUID) -> None:
    """Lock the failure of an incident; do it before `lock_head`, as intake does."""
    await tx.value(QUERIES["lock_failure_of"], {"incident_id": incident_id})


async def lock_head(tx: Tx, incident_id: UUID) -> Head | None:
    """Lock the head of an incident and read it, or return None when there is no such incident."""
    if not await tx.value(QUERIES["lock_head"], {"incident_id": incident_id}):
        return None
    return await head(tx, incident_id)


async def head(tx: Tx, incident_id: UUID) -> Head | None:
    """Read the head of an incident without locking it, or return None when there is no such incident."""
    return await tx.first(QUERIES["heads"], Head, {"incident_ids": [incident_id]})


async def lock_heads(tx: Tx, incident_ids: Collection[UUID]) -> list[Head]:
    """Lock the heads of incidents in the order of their ids, and read them in this order."""
    parameters = {"incident_ids": sorted(incident_ids)}
    await tx.run(QUERIES["lock_heads"], parameters)
    return await tx.rows(QUERIES["heads"], Head, parameters)


async def newest(
    tx: Tx, where: IncidentFilter, *, before_number: int | None, limit: int, offset: int = 0
) -> list[Place]:
    """Return where the newest incidents are that a filter lets through."""
    await tx.run(QUERIES["plan_for_filters"])
    bounds = {"before_number": before_number, "limit": limit, "offset": offset}
    return await tx.rows(QUERIES["newest"], Place, where.parameters() | bounds)


async def get(tx: Tx, incident_id: UUID) -> IncidentRow | None:
    """Return one incident as lists show it."""
    return await tx.first(QUERIES["rows"], IncidentRow, {"incident_ids": [incident_id]})


async def get_many(tx: Tx, incident_ids: Sequence[UUID]) -> list[IncidentRow]:
    """Return incidents as lists show them, newest first."""
    return await tx.rows(QUERIES["rows"], IncidentRow, {"incident_ids": list(incident_ids)})


async def total(tx: Tx, where: IncidentFilter) -> int:
    """Return how many incidents a filter lets through: from the counters, or counted up to MAX_COUNTED."""
    if where.created_after or where.created_before or where.service or where.project_id or where.holder:
        counted: int = await tx.value(QUERIES["count_by_head"], where.parameters() | {"most": MAX_COUNTED})
        return counted
    return sum(
        tally.incidents
        for tally in await tallies(tx)
        if (where.statuses is None or tally.status in where.statuses)
        and (where.severities is None or tally.current_severity in where.severities)
    )


async def tallies(tx: Tx) -> list[Tally]:
    """Return how many incidents there are by status and severity."""
    return await tx.rows(QUERIES["tallies"], Tally)


async def fold_tallies(tx: Tx) -> None:
    """Fold the counters' differences."""
    await tx.run(QUERIES["fold_tallies"])


async def count_overdue(tx: Tx, before: datetime) -> int:
    """Return how many incidents, created by `before`, nobody has acknowledged."""
    counted: int = await tx.value(QUERIES["count_overdue"], {"before": before})
    return counted


async def count_escalations(tx: Tx, since: datetime) -> list[ReasonCount]:
    """Return the escalations since an instant, by reason."""
    return await tx.rows(QUERIES["count_escalations_by_reason"], ReasonCount, {"since": since})


async def acknowledgment(tx: Tx, incident_id: UUID) -> AcknowledgmentRow | None:
    """Return the acknowledgment of an incident."""
    return await tx.first(QUERIES["acknowledgment"], AcknowledgmentRow, {"incident_id": incident_id})


async def root_cause(tx: Tx, incident_id: UUID) -> RootCauseRow | None:
    """Return the root cause of an incident."""
    return await tx.first(QUERIES["root_cause"], RootCauseRow, {"incident_id": incident_id})


async def resolution(tx: Tx, incident_id: UUID) -> ResolutionRow | None:
    """Return the resolution of an incident."""
    return await tx.first(QUERIES["resolution"], ResolutionRow, {"incident_id": incident_id})


async def timeline(tx: Tx, incident_id: UUID) -> list[EntryRow]:
    """Return the latest entries of an incident, oldest first (at most MAX_TIMELINE_ENTRIES)."""
    which = {"incident_id": incident_id, "limit": MAX_TIMELINE_ENTRIES}
    found = await tx.rows(QUERIES["timeline"], _StoredEntry, which)
    return [entry.shown() for entry in found]


async def escalations(tx: Tx, incident_id: UUID) -> list[EscalationRow]:
    """Return the escalations of an incident, oldest first (at most MAX_ESCALATIONS)."""
    return await tx.rows(QUERIES["escalations"], EscalationRow, {"incident_id": incident_id, "limit": MAX_ESCALATIONS})


async def lesson_of(tx: Tx, incident_id: UUID | None) -> str | None:
    """Return what was learned from an incident, None when nothing is recorded."""
    lesson: str | None = await tx.value(QUERIES["lesson_of"], {"incident_id": incident_id})
    return lesson


async def blocking(tx: Tx) -> UUID | None:
    """Return the oldest incident that blocks sessions now."""
    found: UUID | None = await tx.value(QUERIES["blocking"])
    return found


@dataclass(frozen=True, slots=True)
class _ServiceRow:
    service: str


async def services(tx: Tx, limit: int) -> list[str]:
    """Return the services that have incidents, by name."""
    return [row.service for row in await tx.rows(QUERIES["services"], _ServiceRow, {"limit": limit})]


@dataclass(frozen=True, slots=True)
class _SignalRow:
    signal: str


async def signals(tx: Tx, incident_id: UUID, limit: int) -> list[str]:
    """Return what other systems said of an incident, latest first."""
    rows = await tx.rows(QUERIES["signals"], _SignalRow, {"incident_id": incident_id, "limit": limit})
    return [row.signal for row in rows]


async def opened_since(tx: Tx, project_id: int, since: datetime, most: int) -> int:
    """Return how many incidents a project's reports opened since then, counted up to `most`."""
    period = {"project_id": project_id, "since": since, "most": most}
    count: int = await tx.value(QUERIES["opened_since"], period)
    return count
