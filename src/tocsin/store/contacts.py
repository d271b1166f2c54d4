"""How people are reached: contact methods, their verification, and notification rules."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tocsin.domain.reach import Method, Reach, Rule
from tocsin.domain.verification import Pending
from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("contacts")


@dataclass(frozen=True, slots=True)
class ContactMethod:
    """A way to reach a person. `last_answer` is what came of the last code or test that was sent over it."""

    id: UUID
    user_id: UUID
    channel: str
    address: str
    created_at: datetime
    verified_at: datetime | None
    code_sent_at: datetime | None
    last_answer: str | None
    last_answer_at: datetime | None


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A notification rule and the contact method that it names."""

    id: UUID
    user_id: UUID
    contact_method_id: UUID
    channel: str
    address: str
    after_seconds: int
    created_at: datetime


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


async def add(tx: Tx, *, contact_id: UUID, user_id: UUID, channel: str, address: str, now: datetime) -> bool:
    """Add a way to reach a user; return False when it was there already."""
    contact = {"id": contact_id, "user_id": user_id, "channel": channel, "address": address, "now": now}
    return await tx.touch(QUERIES["add"], contact) == 1


async def remove(tx: Tx, contact_id: UUID) -> None:
    """Remove a way to reach a user, and the rules over it."""
    await tx.run(QUERIES["remove"], {"id": contact_id})


async def of_user(tx: Tx, user_id: UUID) -> list[ContactMethod]:
    """Return the ways to reach a user, oldest first."""
    return await tx.rows(QUERIES["of_user"], ContactMethod, {"user_id": user_id})


async def locked(tx: Tx, contact_id: UUID) -> ContactMethod | None:
    """Lock a way to reach a user and return it."""
    return await tx.first(QUERIES["locked"], ContactMethod, {"id": contact_id})


async def pending(tx: Tx, contact_id: UUID) -> Pending:
    """Return the code that was sent last over a contact method, which is there and locked."""
    found = await tx.first(QUERIES["pending"], Pending, {"id": contact_id})
    assert found is not None, "it is locked"
    return found


async def set_code(tx: Tx, contact_id: UUID, code_hash: bytes, now: datetime) -> None:
    """Keep the hash of a new code; the one before is good no more."""
    await tx.run(QUERIES["set_code"], {"id": contact_id, "code_hash": code_hash, "now": now})


async def count_try(tx: Tx, contact_id: UUID) -> None:
    """Count a wrong code."""
    await tx.run(QUERIES["count_try"], {"id": contact_id})


async def set_verified(tx: Tx, contact_id: UUID, now: datetime) -> None:
    """Say that the code came back."""
    await tx.run(QUERIES["set_verified"], {"id": contact_id, "now": now})


async def set_answer(tx: Tx, contact_id: UUID, answer: str, now: datetime) -> None:
    """Keep what came of the last code or test."""
    await tx.run(QUERIES["set_answer"], {"id": contact_id, "answer": answer, "now": now})


async def add_rule(tx: Tx, *, rule_id: UUID, contact: ContactMethod, after: timedelta, now: datetime) -> bool:
    """Add a notification rule; return False when it was there already."""
    rule = {"id": rule_id, "user_id": contact.user_id, "contact_method_id": contact.id, "now": now}
    return await tx.touch(QUERIES["add_rule"], rule | {"after_seconds": int(after.total_seconds())}) == 1


async def rules(tx: Tx, user_id: UUID) -> list[RuleRow]:
    """Return the notification rules of a user, in the order in which they act."""
    return await tx.rows(QUERIES["rules"], RuleRow, {"user_id": user_id})


async def rule(tx: Tx, rule_id: UUID) -> RuleRow | None:
    """Return one notification rule."""
    return await tx.first(QUERIES["rule"], RuleRow, {"id": rule_id})


async def remove_rule(tx: Tx, rule_id: UUID) -> None:
    """Remove a notification rule."""
    await tx.run(QUERIES["remove_rule"], {"id": rule_id})
