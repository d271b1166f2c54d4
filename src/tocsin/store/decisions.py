"""Decisions of paging: why each candidate of a step was paged, or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from tocsin.domain.escalation import Silenced
from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("decisions")
MAX_LISTED = 10_000
MAX_ATTEMPTS = 50
"""Attempts that are told of one page, the latest ones."""


@dataclass(frozen=True, slots=True)
class NewDecision:
    """A decision to record."""

    id: UUID
    incident_id: UUID
    step: str
    reason: str
    user_id: UUID | None
    via: str
    because: str
    about_user_id: UUID | None
    silence_id: UUID | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """A decision as people read it; `user_id` is None where a step reached nobody."""

    id: UUID
    step: str
    reason: str
    user_id: UUID | None
    name: str | None
    via: str
    because: str
    about_user_id: UUID | None
    about_name: str | None
    silence_id: UUID | None
    silence_kind: str | None
    silence_reason: str | None
    silence_ends_at: datetime | None
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class PageRow:
    """A page that follows from a decision, with its latest attempts, oldest first."""

    decision_id: UUID
    channel: str
    address: str
    state: str
    due_at: datetime
    settled_at: datetime | None
    because: str | None
    attempts: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _IncidentId:
    incident_id: UUID


async def insert_many(tx: Tx, made: Sequence[NewDecision], now: datetime) -> None:
    """Record decisions; of one step and candidate the first stands."""
    if made:
        await tx.run(QUERIES["insert"], {"rows": msgspec.json.encode(made).decode(), "now": now})


async def silenced(tx: Tx, incident_id: UUID) -> list[Silenced]:
    """Return what silences held back of an incident, in its order."""
    return await tx.rows(QUERIES["silenced"], Silenced, {"incident_id": incident_id})


async def held_back(tx: Tx, incident_ids: Sequence[UUID]) -> set[UUID]:
    """Return those of these incidents about which a silence ever held a page back."""
    rows = await tx.rows(QUERIES["held_back"], _IncidentId, {"incident_ids": list(incident_ids)})
    return {row.incident_id for row in rows}


async def of_incident(tx: Tx, incident_id: UUID) -> list[DecisionRow]:
    """Return the decisions of an incident in their order (at most MAX_LISTED)."""
    return await tx.rows(QUERIES["of_incident"], DecisionRow, {"incident_id": incident_id, "limit": MAX_LISTED})


async def pages(tx: Tx, incident_id: UUID) -> list[PageRow]:
    """Return the pages of an incident that follow from decisions (at most MAX_LISTED)."""
    which = {"incident_id": incident_id, "limit": MAX_LISTED, "attempts": MAX_ATTEMPTS}
    return await tx.rows(QUERIES["pages"], PageRow, which)


async def mark_released(tx: Tx, ended_by: datetime, now: datetime) -> None:
    """Mark the silences that ended by then and hold nothing back any more."""
    await tx.run(QUERIES["mark_released"], {"ended_by": ended_by, "now": now})
