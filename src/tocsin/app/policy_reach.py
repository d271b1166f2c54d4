"""Sees to it that no change leaves a policy with a step that reaches nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from tocsin.app.work import Work
from tocsin.domain.plural import number_of
from tocsin.domain.policy import StepReason
from tocsin.domain.policy_reach import Unreached, unreachable, worsened
from tocsin.errors import Code, TocsinError, refuse
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
    found = worsened(before, await in_force(work))
    if found:
        raise _refusal(Code.CONFLICT, [one.loss for one in found], found[0].prevention)


async def require_reach(work: Work, policy_id: UUID, reason: StepReason | None = None) -> None:
    """Raise INVALID when a step of a policy reaches nobody, or the one for a reason."""
    policy = (await policies.load(work.tx)).policies[policy_id]
    found = unreachable([policy], await policies.directory(work.tx, work.now))
    concerned = [one for one in found if reason in (None, one.step.reason)]
    if concerned:
        problems = [f"{one.place} reaches nobody: {one.why}." for one in concerned]
        raise _refusal(Code.INVALID, problems, concerned[0].hint)


def _refusal(code: Code, problems: Sequence[str], hint: str) -> TocsinError:
    more = len(problems) - 1
    others = f" The same goes for {number_of(more, 'more step')}." if more else ""
    errors = [{"field": "steps", "problem": problem} for problem in problems]
    return refuse(code, f"{problems[0]}{others}", hint, errors=errors)
