"""Sessions: signing in and out, and blocking them while a critical incident waits for somebody."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from uuid import UUID

import argon2

from tocsin import ids
from tocsin.app.work import Work, secret_hash
from tocsin.domain.access import NEVER_BLOCKED, Actor, Permission, Role, require
from tocsin.errors import Code, TocsinError, refuse
from tocsin.store import credentials, incidents, users
from tocsin.store.users import User

_HASHER = argon2.PasswordHasher()
MAX_PASSWORD_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session: its secret goes into the cookie, the CSRF token to the page."""

    actor: Actor
    session_token: str
    csrf_token: str


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request, by which credential.

    `session_id` and `csrf_hash` are None for tokens: they are no sessions, and need no CSRF protection.
    """

    actor: Actor
    credential: str
    session_id: UUID | None = None
    csrf_hash: bytes | None = None
    blocked_due_to_incident: UUID | None = None
    must_set_up: bool = False
    """Whether the role needs a second factor here, and there is none: nothing else is possible before that."""

    def require(self, permission: Permission) -> None:
        """Raise FORBIDDEN unless the role grants the permission, and the second factor that it needs is set up."""
        if self.must_set_up:
            raise refuse(
                Code.FORBIDDEN,
                f"Every {self.actor.role.value} needs a second factor here, and you have none yet.",
                "Set it up on the page /account/second-factor.",
            )
        require(self.actor, permission)

    def csrf_matches(self, csrf_token: str) -> bool:
        """Tell in constant time whether a CSRF token belongs to this session."""
        return self.csrf_hash is not None and hmac.compare_digest(self.csrf_hash, secret_hash(csrf_token))


def hash_password(password: str) -> str:
    """Return a password's argon2id hash in PHC form (RFC 9106, the library's defaults)."""
    return _HASHER.hash(password)


def verify_password(password: str, password_hash: str | None) -> bool:
    """Tell whether a password is right; takes as long when there is nothing to compare it with."""
    try:
        # Whatever a sign-in brings is only wrong: half a surrogate pair has no UTF-8, and must not be an error.
        given = password[:MAX_PASSWORD_CHARACTERS].encode("utf-8", "surrogatepass")
        _HASHER.verify(password_hash or _hash_of_nobody(), given)
    except argon2.exceptions.VerifyMismatchError:
        return False
    return password_hash is not None


@cache
def _hash_of_nobody() -> str:
    """Return what is checked when there is no such user, so that the answer takes as long as for a wrong password."""
    return hash_password("the password of nobody")


async def password_hash_of(work: Work, email: str) -> str | None:
    """Return the password hash of an active user, for `verify_password` outside of the transaction."""
    user = await users.by_email(work.tx, email)
    return user.password_hash if user and user.active else None


async def verified_user(work: Work, email: str, verified_hash: str) -> User:
    """Return a user whose password has been verified against `verified_hash`, if that is still theirs."""
    user = await users.by_email(work.tx, email)
    if user is None or not user.active or user.password_hash != verified_hash:
        raise wrong_sign_in()
    return user


async def open_session(work: Work, user: User, client_address: str, user_agent: str) -> SignedIn:
    """Open a session for a user who has shown who they are. It is born blocked while an incident blocks."""
    await credentials.share_blocking(work.tx)
    blocks = Role(user.role) not in NEVER_BLOCKED and work.settings.session_blocking
    session_token, csrf_token = ids.new_secret(), ids.new_secret()
    await credentials.insert_session(
        work.tx,
        session_id=work.new_id(),
        user_id=user.id,
        token_hash=secret_hash(session_token),
        csrf_hash=secret_hash(csrf_token),
        now=work.now,
        expires_at=work.now + timedelta(hours=work.settings.session_hours),
        client_address=client_address[:100],
        user_agent=user_agent[:300],
        blocked_due_to_incident=await incidents.blocking(work.tx) if blocks else None,
    )
    return SignedIn(user.actor(), session_token, csrf_token)


def wrong_sign_in() -> TocsinError:
    """Return the one refusal for every failed sign-in: it does not tell whether the user exists."""
    return refuse(
        Code.UNAUTHORIZED, "E-mail or password is wrong.", "A superadmin can set a new one: `tocsin users password`."
    )


async def close_session(work: Work, session_token: str) -> None:
    """End a session."""
    await credentials.revoke_session(work.tx, secret_hash(session_token), work.now)


async def principal_of_token(work: Work, token: str) -> Principal | None:
    """Return who holds an API token, None when it is not valid."""
    holder = await credentials.by_token(work.tx, secret_hash(token), work.now)
    if holder is None:
        return None
    return Principal(Actor(holder.id, holder.name, Role(holder.role)), f"token:{holder.credential_id}")


async def principal_of_session(work: Work, session_token: str) -> Principal | None:
    """Return who holds a session, None when it is not valid."""
    holder = await credentials.by_session(work.tx, secret_hash(session_token), work.now)
    if holder is None:
        return None
    return Principal(
        Actor(holder.id, holder.name, Role(holder.role)),
        f"session:{holder.credential_id}",
        holder.credential_id,
        holder.csrf_hash,
        holder.blocked_due_to_incident,
        must_set_up=not holder.has_second_factor and Role(holder.role) in work.settings.require_totp,
    )


async def block_sessions(work: Work, incident_id: UUID) -> int:
    """Block the sessions of everybody who cannot acknowledge; return how many."""
    await credentials.lock_blocking(work.tx)
    return await credentials.block_sessions(work.tx, incident_id, NEVER_BLOCKED)


async def unblock_sessions(work: Work, incident_id: UUID) -> int:
    """Lift the block of an incident that has just been acknowledged; another that still blocks takes it over."""
    await credentials.lock_blocking(work.tx)
    return await credentials.unblock_sessions(work.tx, incident_id, await incidents.blocking(work.tx))
