"""One's own account: the password, and where one is signed in. A superadmin sees and ends others' sessions."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from tocsin.app.accounts import checked_password, find_user
from tocsin.app.sessions import Principal, hash_password
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.errors import Code, TocsinError, refuse
from tocsin.store import credentials, users
from tocsin.store.credentials import SessionRow
from tocsin.store.users import User


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody's account as they see it."""

    name: str
    email: str
    role: str
    sessions: list[SessionRow]


async def own_account(work: Work, principal: Principal) -> Account:
    """Return the account of who asks, with their sessions, the latest first."""
    user = await own_user(work, principal)
    return Account(user.name, user.email, user.role, await credentials.sessions_of(work.tx, user.id, work.now))


async def own_user(work: Work, principal: Principal) -> User:
    """Return who asks, as they are now; raise UNAUTHORIZED when they were erased at this very moment."""
    user = await users.by_id(work.tx, principal.actor.user_id)
    if user is None or not user.active:
        raise refuse(Code.UNAUTHORIZED, "This account is shut out.", "Ask a superadmin.")
    return user


async def change_password(work: Work, principal: Principal, password: str, *, verified_hash: str) -> None:
    """Give oneself a new password, if the one that was verified is still one's own; one's other sessions end."""
    user = await own_user(work, principal)
    if user.password_hash != verified_hash:
        raise wrong_password()
    await users.set_password(work.tx, user.id, hash_password(checked_password(password)))
    await credentials.revoke_sessions_of(work.tx, user.id, work.now, spared=principal.session_id)


def wrong_password() -> TocsinError:
    """Return the refusal for who does not know their own password."""
    return refuse(
        Code.INVALID,
        "Your password is another one, so nothing was done.",
        "If it is lost, a superadmin can set a new one: `tocsin users password`.",
        errors=[{"field": "oldPassword", "problem": "is not your password"}],
    )


async def end_own_session(work: Work, principal: Principal, session_id: UUID) -> None:
    """End one of one's own sessions; raise NOT_FOUND."""
    await _end(work, principal.actor.user_id, session_id)


async def end_own_other_sessions(work: Work, principal: Principal) -> int:
    """End all of one's own sessions but the one that asks; return how many."""
    return await credentials.revoke_sessions_of(work.tx, principal.actor.user_id, work.now, spared=principal.session_id)


async def sessions_of(work: Work, actor: Actor, email: str) -> list[SessionRow]:
    """Return a user's sessions, the latest first."""
    return await credentials.sessions_of(work.tx, (await _one_to_watch(work, actor, email)).id, work.now)


async def end_session(work: Work, actor: Actor, email: str, session_id: UUID) -> None:
    """End a session of a user; raise NOT_FOUND."""
    await _end(work, (await _one_to_watch(work, actor, email)).id, session_id)


async def end_sessions(work: Work, actor: Actor, email: str) -> int:
    """End all sessions of a user; return how many."""
    return await credentials.revoke_sessions_of(work.tx, (await _one_to_watch(work, actor, email)).id, work.now)


async def _one_to_watch(work: Work, actor: Actor, email: str) -> User:
    """Return a user whose sessions the actor may see and end: their own, or as who administers."""
    own = await users.by_id(work.tx, actor.user_id)
    if own is not None and own.email.lower() == email.lower():
        return own
    require(actor, Permission.ADMINISTER)
    return await find_user(work, email)


async def _end(work: Work, user_id: UUID, session_id: UUID) -> None:
    if not await credentials.revoke_session_of(work.tx, user_id, session_id, work.now):
        raise refuse(
            Code.NOT_FOUND,
            f"There is no session {session_id} that is still open.",
            "List them: `tocsin users sessions EMAIL`, or on the page of the account.",
        )
