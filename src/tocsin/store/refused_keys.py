"""Requests with a key that opens nothing, counted for each revoked key and hour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("refused_keys")
MAX_LISTED = 100


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """How often a revoked key was shown, and whose it was; without a key, how often keys that nobody knows."""

    key_id: UUID | None
    key_prefix: str | None
    project_id: int | None
    project_name: str | None
    revoked_at: datetime | None
    requests: int
    last_at: datetime


async def add(tx: Tx, refused: Mapping[UUID | None, tuple[int, datetime]]) -> None:
    """Add requests (how many, and when the last one was), by the revoked key that they showed."""
    rows = [{"key_id": key_id, "requests": many, "last_at": last_at} for key_id, (many, last_at) in refused.items()]
    await tx.run(QUERIES["add"], {"rows": msgspec.json.encode(rows).decode()})


async def since(tx: Tx, instant: datetime, project_id: int | None) -> list[RefusedRow]:
    """Return what was refused since the hour of an instant (at most MAX_LISTED keys), the last requests first."""
    which = {"since": instant, "project_id": project_id, "limit": MAX_LISTED}
    return await tx.rows(QUERIES["since"], RefusedRow, which)


async def expire(tx: Tx, before: datetime) -> None:
    """Remove the hours before an instant."""
    await tx.run(QUERIES["expire"], {"before": before})
