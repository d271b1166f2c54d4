"""Accounts: users, tokens, duties, and the very first start."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from tocsin import ids
from tocsin.app import schedules
from tocsin.app.policy_reach import keeping_reach
from tocsin.app.projects import insert_project
from tocsin.app.schedules import ScheduleRef
from tocsin.app.sessions import hash_password
from tocsin.app.work import Work, secret_hash
from tocsin.domain.access import Actor, Permission, Role, require
from tocsin.domain.contact_method import address_problem
from tocsin.domain.oncall import Schedule
from tocsin.domain.policy import Duty
from tocsin.domain.workflow import checked_text
from tocsin.errors import Code, TocsinError, refuse
from tocsin.store import contacts, credentials, notifications, projects, users
from tocsin.store.credentials import TokenRow
from tocsin.store.notifications import DutyRow
from tocsin.store.users import User

MIN_PASSWORD_CHARACTERS = 12
DEFAULT_ADMIN_EMAIL = "admin@localhost"


@dataclass(frozen=True, slots=True)
class FirstStart:
    """What the first start made; secrets are shown once and cannot be shown again."""

    email: str
    password: str
    key: str
    project_id: int
    token: str | None


async def first_start(work: Work) -> FirstStart | None:
    """Make the superadmin, project 1 with its key, and the duties' first holder; None when there are users already."""
    await users.lock(work.tx)
    if await users.count(work.tx):
        return None
    settings = work.settings
    email = checked_email(settings.bootstrap_email or DEFAULT_ADMIN_EMAIL)
    password = settings.bootstrap_password.get_secret_value() if settings.bootstrap_password else ids.new_secret()
    admin_id = await insert_user(work, email, email.split("@")[0], Role.SUPERADMIN, password)
    await projects.insert_internal(work.tx, work.now)
    project_id, key = await insert_project(work, "default", settings.bootstrap_key or ids.new_key())
    for duty in Duty:
        await notifications.assign_duty(work.tx, duty, admin_id, work.now)
    token = settings.bootstrap_token.get_secret_value() if settings.bootstrap_token else None
    if token:
        await _insert_token(work, admin_id, "bootstrap", token, None)
    return FirstStart(email, password, key, project_id, token)


def checked_email(email: str) -> str:
    """Return the address, or raise INVALID when it is not one (a subset of RFC 5321 that every server takes)."""
    if address_problem("email", email) is not None:
        problem = "is not an e-mail address"
        raise refuse(Code.INVALID, f"{email!r} {problem}.", errors=[{"field": "email", "problem": problem}])
    return email


def checked_password(password: str) -> str:
    """Return the password, or raise INVALID when it is too short, too long or no text."""
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= 1_000 or re.search("[\ud800-\udfff]", password):
        problem = f"must have {MIN_PASSWORD_CHARACTERS} to 1000 characters, each a whole one"
        raise refuse(Code.INVALID, f"The password {problem}.", errors=[{"field": "password", "problem": problem}])
    return password


async def add_user(work: Work, actor: Actor, *, email: str, name: str, role: Role, password: str | None) -> UUID:
    """Add a user, reachable by e-mail; return their id. Raises CONFLICT when the address is taken."""
    require(actor, Permission.ADMINISTER)
    if await users.by_email(work.tx, checked_email(email)) is not None:
        raise refuse(Code.CONFLICT, f"There is a user {email} already.", "See who there is: `tocsin users list`.")
    return await insert_user(work, email, checked_text("name", name)[:200], role, password)


async def insert_user(work: Work, email: str, name: str, role: Role, password: str | None) -> UUID:
    """Add a user whose address and name were checked, reachable by e-mail; return their id."""
    user_id = work.new_id()
    await users.insert(
        work.tx,
        user_id=user_id,
        email=email,
        name=name,
        role=role,
        password_hash=hash_password(checked_password(password)) if password is not None else None,
        created_at=work.now,
    )
    await contacts.add(work.tx, contact_id=work.new_id(), user_id=user_id, channel="email", address=email, now=work.now)
    return user_id


async def find_user(work: Work, email: str) -> User:
    """Return a user by e-mail; raise NOT_FOUND."""
    user = await users.by_email(work.tx, email)
    if user is None:
        raise refuse(Code.NOT_FOUND, f"There is no user {email}.", "See who there is: `tocsin users list`.")
    return user


async def show_user(work: Work, actor: Actor, user_id: UUID) -> User:
    """Return a user by id; raise NOT_FOUND."""
    require(actor, Permission.ADMINISTER)
    user = await users.by_id(work.tx, user_id)
    if user is None:
        raise refuse(Code.NOT_FOUND, f"There is no user {user_id}.", "See who there is: `tocsin users list`.")
    return user


async def list_users(work: Work, actor: Actor) -> list[User]:
    """Return every user."""
    require(actor, Permission.READ)
    return await users.listed(work.tx)


async def set_role(work: Work, actor: Actor, email: str, role: Role) -> None:
    """Change a user's role; the last superadmin keeps theirs."""
    require(actor, Permission.ADMINISTER)
    user = await changeable(work, email, stays_superadmin=role is Role.SUPERADMIN)
    async with keeping_reach(work):
        await users.set_role(work.tx, user.id, role)
    await credentials.revoke_sessions_of(work.tx, user.id, work.now)


async def set_password(work: Work, actor: Actor, email: str, password: str) -> None:
    """Give a user a new password and end their sessions."""
    require(actor, Permission.ADMINISTER)
    user = await find_user(work, email)
    await users.set_password(work.tx, user.id, hash_password(checked_password(password)))
    await credentials.revoke_sessions_of(work.tx, user.id, work.now)


async def set_active(work: Work, actor: Actor, email: str, *, active: bool) -> None:
    """Let a user in or shut one out; the last superadmin stays, and the last one whom a step of a policy reaches."""
    require(actor, Permission.ADMINISTER)
    user = await changeable(work, email, stays_superadmin=active)
    async with keeping_reach(work):
        await users.set_active(work.tx, user.id, active=active)
    if not active:
        await credentials.revoke_sessions_of(work.tx, user.id, work.now)


async def changeable(work: Work, email: str, *, stays_superadmin: bool) -> User:
    """Lock the users and return one; raise NOT_FOUND, or CONFLICT where the last superadmin would be gone."""
    await users.lock(work.tx)
    user = await find_user(work, email)
    others = [admin for admin in await users.active_superadmins(work.tx) if admin.id != user.id]
    if user.role == Role.SUPERADMIN and not stays_superadmin and not others:
        raise refuse(
            Code.CONFLICT,
            f"{email} is the last superadmin: somebody must be able to administer.",
            "Make somebody else superadmin first: `tocsin users role EMAIL superadmin`.",
        )
    return user


async def add_token(work: Work, actor: Actor, *, email: str, name: str, days: int | None) -> str:
    """Make an API token for a user and return it; it cannot be shown again."""
    require(actor, Permission.ADMINISTER)
    user = await find_user(work, email)
    token = f"tcs_{ids.new_secret()}"
    await _insert_token(work, user.id, checked_text("name", name)[:200], token, days)
    return token


async def _insert_token(work: Work, user_id: UUID, name: str, token: str, days: int | None) -> None:
    await credentials.insert_token(
        work.tx,
        token_id=work.new_id(),
        user_id=user_id,
        name=name,
        token_hash=secret_hash(token),
        now=work.now,
        expires_at=work.now + timedelta(days=days) if days is not None else None,
    )


async def list_tokens(work: Work, actor: Actor) -> list[TokenRow]:
    """Return every token, never its secret."""
    require(actor, Permission.ADMINISTER)
    return await credentials.tokens(work.tx)


async def revoke_token(work: Work, actor: Actor, token_id: UUID) -> None:
    """End a token; raise NOT_FOUND when there is no valid one of this id."""
    require(actor, Permission.ADMINISTER)
    if not await credentials.revoke_token(work.tx, token_id, work.now):
        raise refuse(Code.NOT_FOUND, f"There is no valid token {token_id}.", "List them: `tocsin tokens list`.")


async def assign_duty(work: Work, actor: Actor, duty: Duty, email: str) -> None:
    """Give a duty to an active user who can be reached."""
    require(actor, Permission.ADMINISTER)
    await users.lock(work.tx)
    user = await find_user(work, email)
    if not user.active or not await contacts.of_user(work.tx, user.id):
        raise _unreachable(email)
    await notifications.assign_duty(work.tx, duty, user.id, work.now)


async def assign_schedule(work: Work, actor: Actor, duty: Duty, ref: ScheduleRef) -> Schedule:
    """Give a duty to a schedule: whoever is on call by it holds it.

    Raises INVALID for one without layers, CONFLICT where none of its members can be reached.
    """
    require(actor, Permission.ADMINISTER)
    schedule = await schedules.find(work, ref)
    if not schedule.layers:
        raise refuse(
            Code.INVALID,
            f"The schedule {schedule.name} cannot take a duty: it has no layer, so nobody is ever on call.",
            f"Add one: `tocsin schedules layer add {schedule.name} LAYER --member EMAIL`.",
            errors=[{"field": "schedule", "problem": "has no layer"}],
        )
    async with keeping_reach(work):
        await notifications.assign_duty(work.tx, duty, None, work.now, schedule_id=schedule.id)
    return schedule


def _unreachable(email: str) -> TocsinError:
    return refuse(
        Code.INVALID,
        f"{email} cannot take a duty: they are inactive or have no contact method.",
        f"`tocsin users list` tells which: `tocsin users activate {email}`, or"
        f" `tocsin users contact add {email} email {email}`.",
        errors=[{"field": "email", "problem": "inactive or without a contact method"}],
    )


async def list_duties(work: Work, actor: Actor) -> list[DutyRow]:
    """Return who holds which duty."""
    require(actor, Permission.READ)
    return await notifications.duties(work.tx)
