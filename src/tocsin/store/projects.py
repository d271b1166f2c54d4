"""Projects and their intake keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("projects")
MAX_LISTED = 1_000
MAX_KEYS_LISTED = 1_000
INTERNAL_PROJECT_ID = 0
"""The project in which Tocsin reports its own failures."""


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """A project, with how many of its keys are valid."""

    id: int
    name: str
    created_at: datetime
    keys: int


@dataclass(frozen=True, slots=True)
class RulesRow:
    """A project with what it decides for itself; None is the installation's setting."""

    id: int
    name: str
    dedup_window_seconds: int | None
    incident_threshold: str | None
    severity_rules: list[Any]
    field_mapping: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class KeyedRow(RulesRow):
    """A project as one of its keys leads to it. A revoked one does not open it."""

    key_id: UUID
    revoked: bool


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An intake key, known by how it begins."""

    id: UUID
    key_prefix: str
    created_at: datetime
    revoked_at: datetime | None


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


async def of_key(tx: Tx, key_hash: bytes) -> KeyedRow | None:
    """Return the project of an intake key, and whether the key was revoked."""
    return await tx.first(QUERIES["of_key"], KeyedRow, {"key_hash": key_hash})


async def get(tx: Tx, project_id: int) -> RulesRow | None:
    """Return one project."""
    return await tx.first(QUERIES["get"], RulesRow, {"id": project_id})


async def set_rules(tx: Tx, row: RulesRow) -> None:
    """Change what a project decides for itself."""
    columns = {
        "id": row.id,
        "dedup_window_seconds": row.dedup_window_seconds,
        "incident_threshold": row.incident_threshold,
        "severity_rules": Jsonb(row.severity_rules),
        "field_mapping": Jsonb(row.field_mapping) if row.field_mapping is not None else None,
    }
    await tx.run(QUERIES["set_rules"], columns)


async def lock(tx: Tx, project_id: int) -> bool:
    """Lock a project until the transaction ends; return whether there is one."""
    return await tx.value(QUERIES["lock"], {"id": project_id}) is not None


async def with_keys(tx: Tx, project_id: int) -> ProjectRow | None:
    """Return one project, with how many of its keys are valid."""
    return await tx.first(QUERIES["with_keys"], ProjectRow, {"id": project_id})


async def by_name(tx: Tx, name: str) -> int | None:
    """Return the id of the project of a name."""
    project_id: int | None = await tx.value(QUERIES["by_name"], {"name": name})
    return project_id


async def rename(tx: Tx, project_id: int, name: str) -> None:
    """Give a project another name."""
    await tx.run(QUERIES["rename"], {"id": project_id, "name": name})


async def keys(tx: Tx, project_id: int) -> list[KeyRow]:
    """Return the intake keys of a project (at most MAX_KEYS_LISTED): the valid ones first, the newest first of each."""
    return await tx.rows(QUERIES["keys"], KeyRow, {"project_id": project_id, "limit": MAX_KEYS_LISTED})


async def revoke_key(tx: Tx, project_id: int, key_id: UUID, now: datetime) -> bool:
    """Revoke a key of a project; return whether it was valid."""
    return await tx.touch(QUERIES["revoke_key"], {"project_id": project_id, "id": key_id, "now": now}) == 1


async def revoke_keys(tx: Tx, project_id: int, now: datetime) -> int:
    """Revoke every valid key of a project; return how many there were."""
    return await tx.touch(QUERIES["revoke_keys"], {"project_id": project_id, "now": now})
