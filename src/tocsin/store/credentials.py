"""Tokens and sessions: only hashes of secrets are kept (SHA-256: the secrets have 256 random bits)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tocsin.domain.access import Role
from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("credentials")
MAX_LISTED = 1_000


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """The active user of a valid token."""

    id: UUID
    email: str
    name: str
    role: str
    credential_id: UUID


@dataclass(frozen=True, slots=True)
class SessionHolder:
    """The active user of a valid session, and what blocks it."""

    id: UUID
    email: str
    name: str
    role: str
    credential_id: UUID
    csrf_hash: bytes
    blocked_due_to_incident: UUID | None
    has_second_factor: bool


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token as lists show it."""

    id: UUID
    name: str
    email: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as lists show it."""

    id: UUID
    created_at: datetime
    expires_at: datetime
    client_address: str
    user_agent: str


async def insert_token(
    tx: Tx, *, token_id: UUID, user_id: UUID, name: str, token_hash: bytes, now: datetime, expires_at: datetime | None
) -> None:
    """Add an API token."""
    columns = {
        "id": token_id,
        "user_id": user_id,
        "name": name,
        "token_hash": token_hash,
        "now": now,
        "expires_at": expires_at,
    }
    await tx.run(QUERIES["insert_token"], columns)


async def by_token(tx: Tx, token_hash: bytes, now: datetime) -> TokenHolder | None:
    """Return who holds a valid token."""
    return await tx.first(QUERIES["by_token"], TokenHolder, {"token_hash": token_hash, "now": now})


async def tokens(tx: Tx) -> list[TokenRow]:
    """Return every token, latest first (at most MAX_LISTED)."""
    return await tx.rows(QUERIES["tokens"], TokenRow, {"limit": MAX_LISTED})


async def revoke_token(tx: Tx, token_id: UUID, now: datetime) -> bool:
    """End a token; return False when there was no valid one."""
    return await tx.touch(QUERIES["revoke_token"], {"id": token_id, "now": now}) == 1


async def insert_session(
    tx: Tx,
    *,
    session_id: UUID,
    user_id: UUID,
    token_hash: bytes,
    csrf_hash: bytes,
    now: datetime,
    expires_at: datetime,
    client_address: str,
    user_agent: str,
    blocked_due_to_incident: UUID | None,
) -> None:
    """Add a session."""
    columns = {
        "id": session_id,
        "user_id": user_id,
        "token_hash": token_hash,
        "csrf_hash": csrf_hash,
        "now": now,
        "expires_at": expires_at,
        "client_address": client_address,
        "user_agent": user_agent,
        "blocked_due_to_incident": blocked_due_to_incident,
    }
    await tx.run(QUERIES["insert_session"], columns)


async def by_session(tx: Tx, token_hash: bytes, now: datetime) -> SessionHolder | None:
    """Return who holds a valid session."""
    return await tx.first(QUERIES["by_session"], SessionHolder, {"token_hash": token_hash, "now": now})


async def revoke_session(tx: Tx, token_hash: bytes, now: datetime) -> None:
    """End a session."""
    await tx.run(QUERIES["revoke_session"], {"token_hash": token_hash, "now": now})


async def sessions_of(tx: Tx, user_id: UUID, now: datetime) -> list[SessionRow]:
    """Return the valid sessions of a user, latest first (at most MAX_LISTED)."""
    return await tx.rows(QUERIES["sessions_of"], SessionRow, {"user_id": user_id, "now": now, "limit": MAX_LISTED})


async def revoke_session_of(tx: Tx, user_id: UUID, session_id: UUID, now: datetime) -> bool:
    """End one session of a user; return False when it is none of theirs that is valid."""
    return await tx.touch(QUERIES["revoke_session_of"], {"user_id": user_id, "id": session_id, "now": now}) == 1


async def revoke_sessions_of(tx: Tx, user_id: UUID, now: datetime, *, spared: UUID | None = None) -> int:
    """End every session of a user but `spared`; return how many."""
    return await tx.touch(QUERIES["revoke_sessions_of"], {"user_id": user_id, "now": now, "spared": spared})


async def share_blocking(tx: Tx) -> None:
    """Wait for a blocking of sessions that is under way, so that a new session is born blocked if it must be."""
    await tx.value(QUERIES["share_blocking"])


async def lock_blocking(tx: Tx) -> None:
    """Hold off sign-ins while sessions are blocked or unblocked."""
    await tx.value(QUERIES["lock_blocking"])


async def block_sessions(tx: Tx, incident_id: UUID, never_blocked: Iterable[Role]) -> int:
    """Block the sessions of everybody but these roles; return how many."""
    parameters = {"incident_id": incident_id, "never_blocked": [role.value for role in never_blocked]}
    return await tx.touch(QUERIES["block_sessions"], parameters)


async def unblock_sessions(tx: Tx, incident_id: UUID, next_incident_id: UUID | None) -> int:
    """Lift the block of an incident, or hand it to another that still blocks; return how many sessions."""
    parameters = {"incident_id": incident_id, "next_incident_id": next_incident_id}
    return await tx.touch(QUERIES["unblock_sessions"], parameters)
