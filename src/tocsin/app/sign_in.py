"""Signing in, once the password is verified: at once, or in a second step where there is a second factor."""

from __future__ import annotations

from dataclasses import dataclass

from tocsin import ids
from tocsin.app import second_factor, sessions
from tocsin.app.second_factor import Vault
from tocsin.app.sessions import SignedIn
from tocsin.app.work import Work, secret_hash
from tocsin.domain.access import Actor
from tocsin.domain.second_factor import SIGN_IN_WITHIN
from tocsin.errors import Code, TocsinError, refuse
from tocsin.store import second_factors


@dataclass(frozen=True, slots=True)
class Whence:
    """Where somebody signs in from, and with what; as the session keeps it."""

    client_address: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A sign-in that waits for the second factor. Its token is no session, and opens one once."""

    actor: Actor
    token: str


async def sign_in(
    work: Work, vault: Vault, email: str, *, verified_hash: str, code: str | None, whence: Whence
) -> SignedIn | TocsinError:
    """Open a session for who knows the password, and brings a code where that is needed."""
    user = await sessions.verified_user(work, email, verified_hash)
    if refusal := await second_factor.admit(work, vault, user, code):
        return refusal
    return await sessions.open_session(work, user, whence.client_address, whence.user_agent)


async def begin(work: Work, email: str, *, verified_hash: str, whence: Whence) -> SignedIn | Waiting:
    """Open a session for who knows the password, or let the sign-in wait for the second factor."""
    user = await sessions.verified_user(work, email, verified_hash)
    if await second_factors.standing(work.tx, user.id) is None:
        return await sessions.open_session(work, user, whence.client_address, whence.user_agent)
    token = ids.new_secret()
    await second_factors.add_pending(
        work.tx,
        token_hash=secret_hash(token),
        user_id=user.id,
        verified_hash=verified_hash,
        expires_at=work.now + SIGN_IN_WITHIN,
    )
    return Waiting(user.actor(), token)


async def whose(work: Work, token: str) -> Actor | None:
    """Return who is signing in; None when that is over."""
    pending = await second_factors.pending(work.tx, secret_hash(token), work.now)
    if pending is None:
        return None
    return (await sessions.verified_user(work, pending.email, pending.password_hash)).actor()


async def finish(work: Work, vault: Vault, token: str, code: str, whence: Whence) -> SignedIn | TocsinError:
    """Open the session of a sign-in that waits, for who brings a code; it is over with that."""
    pending = await second_factors.pending(work.tx, secret_hash(token), work.now)
    if pending is None:
        raise sign_in_over()
    user = await sessions.verified_user(work, pending.email, pending.password_hash)
    if refusal := await second_factor.admit(work, vault, user, code):
        return refusal
    await second_factors.end_pending(work.tx, secret_hash(token))
    return await sessions.open_session(work, user, whence.client_address, whence.user_agent)


def sign_in_over() -> TocsinError:
    """Return the refusal for a sign-in that waits no longer."""
    minutes = int(SIGN_IN_WITHIN.total_seconds() // 60)
    return refuse(
        Code.UNAUTHORIZED,
        "This sign-in is over.",
        f"The code must come within {minutes} minutes after the password. Sign in again.",
    )
