"""The access log, and the answers that a repeated request gets again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("access")


@dataclass(frozen=True, slots=True)
class Access:
    """One access: who, what, when, from where, with which outcome."""

    id: UUID
    accessed_at: datetime
    user_id: UUID | None
    credential: str
    action: str
    target: str
    client_address: str
    user_agent: str
    status: int
    outcome: str
    request_id: UUID


@dataclass(frozen=True, slots=True)
class RememberedAnswer:
    """The answer that was given to a request with an idempotency key."""

    request_hash: bytes
    status: int
    body: bytes


async def insert(tx: Tx, access: Access) -> None:
    """Record an access."""
    await tx.run(QUERIES["insert_access"], asdict(access))


async def remembered_answer(tx: Tx, principal: str, key: str) -> RememberedAnswer | None:
    """Wait for a request with the same key that is under way, then return the answer it left, if any."""
    parameters = {"principal": principal, "key": key}
    await tx.value(QUERIES["lock_answer"], parameters)
    return await tx.first(QUERIES["remembered_answer"], RememberedAnswer, parameters)


async def remember_answer(tx: Tx, *, principal: str, key: str, answer: RememberedAnswer, now: datetime) -> None:
    """Keep an answer; part of the transaction whose effect it reports."""
    parameters = {"principal": principal, "key": key, "now": now} | asdict(answer)
    await tx.run(QUERIES["remember_answer"], parameters)


@dataclass(frozen=True, slots=True)
class _Remembered:
    principal: str
    key: str


async def remember_first(tx: Tx, requests: Iterable[tuple[str, str]], now: datetime) -> set[tuple[str, str]]:
    """Return which of these requests (principal, key) are not remembered, and remember them; part of what they do.

    They have no answer of their own: whoever repeats one is told that all is well.
    """
    rows = [{"principal": principal, "key": key} for principal, key in requests]
    parameters = {"rows": msgspec.json.encode(rows).decode(), "now": now}
    return {(row.principal, row.key) for row in await tx.rows(QUERIES["remember_first"], _Remembered, parameters)}
