"""People and how they are reached."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tocsin.domain.access import Actor, Role
from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("users")
MAX_LISTED = 1_000


@dataclass(frozen=True, slots=True)
class User:
    """A person. `password_hash` is argon2id in PHC form, None when they cannot sign in with a password."""

    id: UUID
    email: str
    name: str
    role: str
    password_hash: str | None
    active: bool
    created_at: datetime
    last_incident_ack_id: UUID | None
    incident_ack_count: int

    def actor(self) -> Actor:
        """Return the person as the one who acts."""
        return Actor(self.id, self.name, Role(self.role))


async def count(tx: Tx) -> int:
    """Return how many users there are."""
    counted: int = await tx.value(QUERIES["count"])
    return counted


async def lock(tx: Tx) -> None:
    """Hold off other changes of users until this transaction ends."""
    await tx.run(QUERIES["lock_users"])


async def insert(
    tx: Tx, *, user_id: UUID, email: str, name: str, role: Role, password_hash: str | None, created_at: datetime
) -> None:
    """Add a user."""
    columns = {
        "id": user_id,
        "email": email,
        "name": name,
        "role": role.value,
        "password_hash": password_hash,
        "created_at": created_at,
    }
    await tx.run(QUERIES["insert"], columns)


async def by_email(tx: Tx, email: str) -> User | None:
    """Return a user by e-mail, whatever its case."""
    if not email.isprintable():
        # A sign-in may bring anything; NUL and lone surrogates are not even a question that PostgreSQL can be asked.
        return None
    return await tx.first(QUERIES["by_email"], User, {"email": email})


async def by_id(tx: Tx, user_id: UUID) -> User | None:
    """Return a user by id."""
    return await tx.first(QUERIES["by_id"], User, {"id": user_id})


async def listed(tx: Tx) -> list[User]:
    """Return every user, by e-mail (at most MAX_LISTED)."""
    return await tx.rows(QUERIES["list"], User, {"limit": MAX_LISTED})


async def active_superadmins(tx: Tx) -> list[User]:
    """Return who can administer, the oldest first."""
    return await tx.rows(QUERIES["active_superadmins"], User, {"limit": MAX_LISTED})


async def set_role(tx: Tx, user_id: UUID, role: Role) -> None:
    """Change a user's role."""
    await tx.run(QUERIES["set_role"], {"id": user_id, "role": role.value})


async def set_password(tx: Tx, user_id: UUID, password_hash: str) -> None:
    """Change a user's password."""
    await tx.run(QUERIES["set_password"], {"id": user_id, "password_hash": password_hash})


async def set_active(tx: Tx, user_id: UUID, *, active: bool) -> None:
    """Let a user in or shut one out."""
    await tx.run(QUERIES["set_active"], {"id": user_id, "active": active})


async def count_acknowledgment(tx: Tx, user_id: UUID, acknowledgment_id: UUID) -> None:
    """Count an acknowledgment towards the user who made it."""
    await tx.run(QUERIES["count_acknowledgment"], {"id": user_id, "acknowledgment_id": acknowledgment_id})
