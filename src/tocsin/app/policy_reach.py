"""Sees to it that no change leaves a policy with a step that reaches nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from tocsin.app.work import Work
from tocsin.domain.policy import StepReason
from tocsin.domain.policy_reach import Unreached, unreachable, worsened
from tocsin.errors import Code, refuse
from tocsin.store import policies, users


async def in_force(work: Work) -> tuple[Unreached, ...]:
    """Return the steps that reach nobody, of every policy that an incident may follow."""
    known = await policies.load(work.tx)
    followed = {known.default_id, *(route.policy_id for route in known.routes)}
    directory = await policies.directory(work.tx, work.now)
    return unreachable([policy for policy in known.policies.values() if policy.id in followed], directory)


@asynccontextmanager
async def keeping_reach(work: Work) -> AsyncIterator[None]:
    """Raise CONFLICT when what is done inside leaves a step of a policy in force without anybody whom it reaches.

    What reached nobody before does not stand in the way. Users stay locked: two changes must not both be the first.
    """
    await users.lock(work.tx)
    before = await in_force(work)
    yield
    _refuse(worsened(before, await in_force(work)), Code.CONFLICT)


async def require_reach(work: Work, policy_id: UUID, reason: StepReason | None = None) -> None:
    """Raise INVALID when a step of a policy reaches nobody, or the one for a reason."""
    policy = (await policies.load(work.tx)).policies[policy_id]
    found = unreachable([policy], await policies.directory(work.tx, work.now))
    _refuse(tuple(one for one in found if reason in (None, one.step.reason)), Code.INVALID)


def _refuse(found: Sequence[Unreached], code: Code) -> None:
    if not found:
        return
    first, *others = found
    more = f" So do {len(others)} more steps." if others else ""
    errors = [{"field": "steps", "problem": one.message} for one in found]
    raise refuse(code, f"{first.message}{more}", first.hint, errors=errors)
