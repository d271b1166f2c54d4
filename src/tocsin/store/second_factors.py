"""The second factor of users, and sign-ins that wait for it: secrets sealed by the use case, or as hashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("second_factors")


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """A user's second factor; while `confirmed_at` is None it counts for nothing."""

    user_id: UUID
    sealed_secret: bytes
    created_at: datetime
    begun_in: UUID
    confirmed_at: datetime | None
    last_step: int
    failures: int
    failing_since: datetime | None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Since when somebody has a second factor, and how many recovery codes are left."""

    confirmed_at: datetime
    recovery_codes: int


@dataclass(frozen=True, slots=True)
class Pending:
    """Whose a waiting sign-in is, and the password's hash that was verified."""

    email: str
    password_hash: str


async def begin(tx: Tx, user_id: UUID, sealed_secret: bytes, session_id: UUID, now: datetime) -> bool:
    """Keep a new secret that is not confirmed; return False where there is a confirmed one."""
    columns = {"user_id": user_id, "sealed_secret": sealed_secret, "begun_in": session_id, "now": now}
    return await tx.touch(QUERIES["begin"], columns) == 1


async def locked(tx: Tx, user_id: UUID) -> SecondFactor | None:
    """Return a user's second factor, locked until this transaction ends."""
    return await tx.first(QUERIES["locked"], SecondFactor, {"user_id": user_id})


async def standing(tx: Tx, user_id: UUID) -> Confirmed | None:
    """Return what a user's second factor is; None where there is none that counts."""
    return await tx.first(QUERIES["standing"], Confirmed, {"user_id": user_id})


async def confirm(tx: Tx, user_id: UUID, now: datetime) -> None:
    """Make the secret count."""
    await tx.run(QUERIES["confirm"], {"user_id": user_id, "now": now})


async def passed(tx: Tx, user_id: UUID, step: int) -> None:
    """Note the time step of a code that was used (0: it was a recovery code); what failed before is forgiven."""
    await tx.run(QUERIES["passed"], {"user_id": user_id, "step": step})


async def failed(tx: Tx, user_id: UUID, failures: int, since: datetime) -> None:
    """Count a wrong code: how many there are now, since when."""
    await tx.run(QUERIES["failed"], {"user_id": user_id, "failures": failures, "since": since})


async def remove(tx: Tx, user_id: UUID) -> bool:
    """Take the second factor off, with its recovery codes; return False where there was none."""
    return await tx.touch(QUERIES["remove"], {"user_id": user_id}) == 1


async def replace_recovery_codes(tx: Tx, user_id: UUID, hashes: Sequence[bytes]) -> None:
    """Keep recovery codes in the place of those that there were."""
    await tx.run(QUERIES["forget_recovery_codes"], {"user_id": user_id})
    await tx.run(QUERIES["add_recovery_codes"], {"user_id": user_id, "hashes": list(hashes)})


async def use_recovery_code(tx: Tx, user_id: UUID, code_hash: bytes) -> bool:
    """Use a recovery code up; return False when it is none."""
    return await tx.touch(QUERIES["use_recovery_code"], {"user_id": user_id, "code_hash": code_hash}) == 1


async def add_pending(tx: Tx, *, token_hash: bytes, user_id: UUID, verified_hash: str, expires_at: datetime) -> None:
    """Keep a sign-in that waits for its second factor."""
    columns = {
        "token_hash": token_hash,
        "user_id": user_id,
        "verified_hash": verified_hash,
        "expires_at": expires_at,
    }
    await tx.run(QUERIES["add_pending"], columns)


async def pending(tx: Tx, token_hash: bytes, now: datetime) -> Pending | None:
    """Return whose a waiting sign-in is, locked; None if it is over, or the password has changed meanwhile."""
    return await tx.first(QUERIES["pending"], Pending, {"token_hash": token_hash, "now": now})


async def end_pending(tx: Tx, token_hash: bytes) -> None:
    """End a waiting sign-in."""
    await tx.run(QUERIES["end_pending"], {"token_hash": token_hash})
