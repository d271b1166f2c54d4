"""How people are reached: contact methods, their verification, and notification rules."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tocsin.domain.reach import Method, Reach, Rule
from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("contacts")


@dataclass(frozen=True, slots=True)
class _ReachRow:
    id: UUID
    name: str
    role: str
    active: bool
    methods: list[dict[str, Any]]
    rules: list[dict[str, Any]]


async def reach(tx: Tx, user_ids: Collection[UUID]) -> dict[UUID, Reach]:
    """Return how these people are reached; who does not exist is missing."""
    rows = await tx.rows(QUERIES["reach"], _ReachRow, {"user_ids": list(user_ids)})
    return {row.id: _reach(row) for row in rows}


def _reach(row: _ReachRow) -> Reach:
    rules = tuple(Rule(timedelta(seconds=one["after_seconds"]), UUID(one["contact_method_id"])) for one in row.rules)
    return Reach(row.id, row.name, row.role, row.active, tuple(_method(one) for one in row.methods), rules)


def _method(said: dict[str, Any]) -> Method:
    verified_at = datetime.fromisoformat(said["verified_at"]) if said["verified_at"] else None
    return Method(UUID(said["id"]), said["channel"], said["address"], verified_at)
