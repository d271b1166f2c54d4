"""Who somebody is at the OpenID provider: only the hash of their id there."""

from __future__ import annotations

from uuid import UUID

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("provider_accounts")


async def user_of(tx: Tx, subject_hash: bytes) -> UUID | None:
    """Return the user whom the provider knows by an id."""
    user_id: UUID | None = await tx.value(QUERIES["user_of"], {"subject_hash": subject_hash})
    return user_id


async def bind(tx: Tx, user_id: UUID, subject_hash: bytes) -> bool:
    """Keep which user the provider knows by an id; return False where it knows that user by another one."""
    return await tx.touch(QUERIES["bind"], {"user_id": user_id, "subject_hash": subject_hash}) == 1
