"""How people are reached: contact methods and notification rules. One changes one's own; who administers, anybody's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from tocsin.app.accounts import find_user
from tocsin.app.policy_reach import keeping_reach
from tocsin.app.verification import no_such, own_method, queue_code
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.contact_method import address_problem
from tocsin.domain.notification import shown_address
from tocsin.domain.reach import LONGEST_DELAY, MAX_METHODS, MAX_RULES, plan, usable
from tocsin.errors import Code, refuse
from tocsin.store import contacts, users
from tocsin.store.contacts import ContactMethod, RuleRow
from tocsin.store.users import User


@dataclass(frozen=True, slots=True)
class ShownMethod:
    """A contact method as it may be shown: `address` without secrets. `used` says whether pages go over it as it is."""

    id: UUID
    channel: str
    address: str
    created_at: datetime
    verified_at: datetime | None
    used: bool
    code_sent_at: datetime | None
    last_answer: str | None
    last_answer_at: datetime | None


@dataclass(frozen=True, slots=True)
class ShownNotification:
    """What a page to a person consists of: over which contact method, after how long."""

    contact_method_id: UUID
    channel: str
    address: str
    after_seconds: int


@dataclass(frozen=True, slots=True)
class Rules:
    """A person's notification rules, and what a page to them consists of by these."""

    rules: list[RuleRow]
    plan: list[ShownNotification]


async def person(work: Work, actor: Actor, email: str | None) -> User:
    """Return whose contact methods are meant (None: one's own); raise FORBIDDEN for who may not change them."""
    user = await users.by_id(work.tx, actor.user_id) if email is None else await find_user(work, email)
    assert user is not None, "who acts is a user"
    require(actor, Permission.READ if user.id == actor.user_id else Permission.ADMINISTER)
    return user


async def list_methods(work: Work, actor: Actor, email: str | None) -> list[ShownMethod]:
    """Return the ways to reach a user, oldest first."""
    require(actor, Permission.READ)
    user_id = actor.user_id if email is None else (await find_user(work, email)).id
    used = {method.id for method in usable((await contacts.reach(work.tx, [user_id]))[user_id])}
    return [_shown(method, used=method.id in used) for method in await contacts.of_user(work.tx, user_id)]


def _shown(method: ContactMethod, *, used: bool) -> ShownMethod:
    return ShownMethod(
        id=method.id,
        channel=method.channel,
        address=shown_address(method.channel, method.address),
        created_at=method.created_at,
        verified_at=method.verified_at,
        used=used,
        code_sent_at=method.code_sent_at,
        last_answer=method.last_answer,
        last_answer_at=method.last_answer_at,
    )


async def add_method(work: Work, actor: Actor, email: str | None, channel: str, address: str) -> UUID:
    """Add a way to reach a user, send a code over it, and return its id.

    Raises CONFLICT when it is there already, or when there are too many.
    """
    user = await person(work, actor, email)
    problem = address_problem(channel, address)
    if problem is not None:
        raise refuse(Code.INVALID, f"The address {problem}.", errors=[{"field": "address", "problem": problem}])
    await users.lock(work.tx)
    if len(await contacts.of_user(work.tx, user.id)) >= MAX_METHODS:
        raise refuse(Code.CONFLICT, f"{user.email} has {MAX_METHODS} contact methods already.", "Remove one first.")
    contact_id = work.new_id()
    if not await contacts.add(
        work.tx, contact_id=contact_id, user_id=user.id, channel=channel, address=address, now=work.now
    ):
        shown = shown_address(channel, address)
        raise refuse(Code.CONFLICT, f"{user.email} is reached by {channel} at {shown} already.")
    await queue_code(work, contact_id)
    return contact_id


async def find_method(work: Work, email: str, channel: str, address: str) -> UUID:
    """Return the id of a contact method, named by its channel and its address or id; raise NOT_FOUND."""
    user = await find_user(work, email)
    for method in await contacts.of_user(work.tx, user.id):
        if method.channel == channel and address in (method.address, str(method.id)):
            return method.id
    shown = shown_address(channel, address)
    raise refuse(
        Code.NOT_FOUND,
        f"{user.email} is not reached by {channel} at {shown}.",
        f"See how they are: `tocsin users contact list {user.email}`.",
    )


async def remove_method(work: Work, actor: Actor, contact_id: UUID) -> None:
    """Remove a way to reach a user; the last one of the last person whom a step of a policy reaches stays."""
    async with keeping_reach(work):
        method = await own_method(work, actor, contact_id)
        await contacts.remove(work.tx, method.id)


async def list_rules(work: Work, actor: Actor, email: str | None) -> Rules:
    """Return the notification rules of a user, and what a page to them consists of."""
    require(actor, Permission.READ)
    user_id = actor.user_id if email is None else (await find_user(work, email)).id
    rules = [
        replace(rule, address=shown_address(rule.channel, rule.address))
        for rule in await contacts.rules(work.tx, user_id)
    ]
    planned = [
        ShownNotification(
            one.method.id,
            one.method.channel,
            shown_address(one.method.channel, one.method.address),
            int(one.after.total_seconds()),
        )
        for one in plan((await contacts.reach(work.tx, [user_id]))[user_id])
    ]
    return Rules(rules, planned)


async def add_rule(work: Work, actor: Actor, contact_id: UUID, after: timedelta) -> UUID:
    """Add a notification rule and return its id; raise CONFLICT when it is there already, or there are too many."""
    await users.lock(work.tx)
    method = await own_method(work, actor, contact_id)
    if not timedelta(0) <= after <= LONGEST_DELAY:
        problem = f"must be between 0 seconds and {LONGEST_DELAY.days} day"
        raise refuse(Code.INVALID, f"The delay {problem}.", errors=[{"field": "after", "problem": problem}])
    if len(await contacts.rules(work.tx, method.user_id)) >= MAX_RULES:
        raise refuse(Code.CONFLICT, f"There are {MAX_RULES} rules already.", "Remove one first.")
    rule_id = work.new_id()
    if not await contacts.add_rule(work.tx, rule_id=rule_id, contact=method, after=after, now=work.now):
        raise refuse(Code.CONFLICT, "There is such a rule already.")
    return rule_id


async def remove_rule(work: Work, actor: Actor, rule_id: UUID) -> None:
    """Remove a notification rule."""
    rule = await contacts.rule(work.tx, rule_id)
    if rule is None:
        raise no_such("notification rule", rule_id)
    require(actor, Permission.READ if rule.user_id == actor.user_id else Permission.ADMINISTER)
    await contacts.remove_rule(work.tx, rule_id)
