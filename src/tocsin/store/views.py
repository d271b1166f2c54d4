"""Lists of incidents that people named."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("views")


@dataclass(frozen=True, slots=True)
class SavedView:
    """A list that somebody named: the query of its address, without the question mark."""

    id: UUID
    name: str
    query: str


async def of_user(tx: Tx, user_id: UUID, limit: int) -> list[SavedView]:
    """Return somebody's views, by name."""
    return await tx.rows(QUERIES["of_user"], SavedView, {"user_id": user_id, "limit": limit})


async def count(tx: Tx, user_id: UUID, *, beside: str) -> int:
    """Return how many views somebody has beside the one of a name."""
    counted: int = await tx.value(QUERIES["count"], {"user_id": user_id, "name": beside})
    return counted


async def save(tx: Tx, view: SavedView, user_id: UUID, now: datetime) -> None:
    """Save a view; one of the same name is replaced."""
    columns = {"id": view.id, "user_id": user_id, "name": view.name, "query": view.query, "now": now}
    await tx.run(QUERIES["save"], columns)


async def remove(tx: Tx, user_id: UUID, view_id: UUID) -> bool:
    """Remove one of somebody's own views; tell whether it was there."""
    return await tx.value(QUERIES["remove"], {"id": view_id, "user_id": user_id}) is not None
