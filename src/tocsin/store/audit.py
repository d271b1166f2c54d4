"""What auditors read: the access log, and the entries of all timelines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("audit")
MAX_NAMES = 500


@dataclass(frozen=True, slots=True)
class AccessRow:
    """One access: who, what, when, from where, with which outcome. `user_email` is None where nobody was known."""

    id: UUID
    accessed_at: datetime
    user_id: UUID | None
    user_email: str | None
    credential: str
    action: str
    target: str
    client_address: str
    user_agent: str
    status: int
    outcome: str
    request_id: UUID


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One entry of an incident's timeline. `personal` is what may concern a person; None: nothing, or erased."""

    id: UUID
    event_at: datetime
    number: int
    sequence: int
    event_type: str
    status_before: str | None
    status_after: str
    actor_user_id: UUID | None
    actor_email: str | None
    actor_role: str
    metadata: dict[str, Any]
    personal: dict[str, Any] | None
    checksum: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a list, newest first: in a period, before a row (its time and id; None: from the newest on)."""

    limit: int
    since: datetime | None = None
    until: datetime | None = None
    before: tuple[datetime, UUID] | None = None


@dataclass(frozen=True, slots=True)
class _Name:
    name: str


async def accesses(
    tx: Tx, part: Part, user_id: UUID | None, action: str | None, outcome: str | None
) -> list[AccessRow]:
    """Return a part of the access log."""
    return await tx.rows(
        QUERIES["accesses"], AccessRow, _of(part) | {"user_id": user_id, "action": action, "outcome": outcome}
    )


async def entries(tx: Tx, part: Part, user_id: UUID | None, kind: str | None) -> list[TimelineRow]:
    """Return a part of all timelines."""
    return await tx.rows(QUERIES["entries"], TimelineRow, _of(part) | {"user_id": user_id, "kind": kind})


def _of(part: Part) -> dict[str, object]:
    before, before_id = part.before or (None, None)
    return {"since": part.since, "until": part.until, "before": before, "before_id": before_id, "limit": part.limit}


async def actions(tx: Tx) -> list[str]:
    """Return what is done at all, as the access log names it (at most MAX_NAMES)."""
    return [row.name for row in await tx.rows(QUERIES["actions"], _Name, {"limit": MAX_NAMES})]


async def outcomes(tx: Tx) -> list[str]:
    """Return which outcomes the access log has (at most MAX_NAMES)."""
    return [row.name for row in await tx.rows(QUERIES["outcomes"], _Name, {"limit": MAX_NAMES})]
