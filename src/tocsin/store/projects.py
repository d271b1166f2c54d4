"""Projects and their intake keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("projects")
MAX_LISTED = 1_000
INTERNAL_PROJECT_ID = 0
"""The project in which Tocsin reports its own failures."""


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """A project, with how many of its keys are valid."""

    id: int
    name: str
    created_at: datetime
    keys: int


async def insert(tx: Tx, name: str, now: datetime) -> int:
    """Add a project; return its id."""
    project_id: int = await tx.value(QUERIES["insert_project"], {"name": name, "now": now})
    return project_id


async def insert_internal(tx: Tx, now: datetime) -> None:
    """Add the project in which Tocsin reports its own failures, unless it is there."""
    await tx.run(QUERIES["insert_internal_project"], {"now": now})


async def listed(tx: Tx) -> list[ProjectRow]:
    """Return every project (at most MAX_LISTED)."""
    return await tx.rows(QUERIES["projects"], ProjectRow, {"limit": MAX_LISTED})


async def insert_key(tx: Tx, *, key_id: UUID, project_id: int, key_hash: bytes, key_prefix: str, now: datetime) -> None:
    """Add an intake key to a project."""
    columns = {"id": key_id, "project_id": project_id, "key_hash": key_hash, "key_prefix": key_prefix, "now": now}
    await tx.run(QUERIES["insert_key"], columns)


async def of_key(tx: Tx, key_hash: bytes) -> int | None:
    """Return the project that an intake key opens."""
    project_id: int | None = await tx.value(QUERIES["project_of_key"], {"key_hash": key_hash})
    return project_id
