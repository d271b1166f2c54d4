"""What the console's first page shows, and whether anything has changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("overview")


@dataclass(frozen=True, slots=True)
class Burning:
    """An open incident. `louder_at` is when its next timer runs out, None: never."""

    incident_id: UUID
    number: int
    status: str
    current_severity: str
    title: str | None
    created_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by_name: str | None
    occurrences: int
    louder_at: datetime | None


@dataclass(frozen=True, slots=True)
class Pulse:
    """Two of them differ when something was recorded in between."""

    leaves: int
    latest_at: datetime | None


async def burning(tx: Tx, limit: int) -> list[Burning]:
    """Return the open incidents that need somebody: what nobody has taken first, the worst first; `limit` of each."""
    return await tx.rows(QUERIES["burning"], Burning, {"limit": limit})


async def pulse(tx: Tx) -> Pulse:
    """Return what changes whenever something is recorded."""
    row = await tx.first(QUERIES["pulse"], Pulse)
    assert row is not None, "a query without FROM always has one row"
    return row
