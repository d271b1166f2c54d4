"""Forecasts: when the policies in force reach nobody in the days to come, and who may be paged and is hard to reach."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from tocsin.app import paging
from tocsin.app.work import Work
from tocsin.channels.working import working_channels
from tocsin.domain import coverage
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.coverage import DEFAULT_DAYS, MAX_DAYS, Reached, Weakness, is_verified, people_of
from tocsin.domain.paging import Directory
from tocsin.domain.policy import Policy, StepReason
from tocsin.domain.reach import Reach, usable
from tocsin.errors import Code, refuse


@dataclass(frozen=True, slots=True)
class Thin:
    """From one instant until another a step reaches nobody, or only by unverified ways."""

    policy: str
    reason: StepReason
    after: timedelta
    starts_at: datetime
    ends_at: datetime
    reached: Reached
    why: str


@dataclass(frozen=True, slots=True)
class HardToReach:
    """Somebody who may be paged, and what is not well about how they are reached."""

    name: str
    problem: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """What was looked at, and every weakness that was found."""

    starts_at: datetime
    ends_at: datetime
    policies: list[str]
    weaknesses: list[Thin]
    people: list[HardToReach]


@dataclass(frozen=True, slots=True)
class Covered:
    """The policies in force, with whom they lead to, and where they are weak in a period."""

    policies: list[Policy]
    directory: Directory
    starts_at: datetime
    ends_at: datetime
    weaknesses: list[Weakness]

    @property
    def unreached_now(self) -> list[Weakness]:
        """Return the steps that reach nobody now."""
        return [one for one in self._unreached if one.span.starts_at == self.starts_at]

    @property
    def gaps_ahead(self) -> list[Weakness]:
        """Return when steps will reach nobody, the first time before the others."""
        ahead = [one for one in self._unreached if one.span.starts_at > self.starts_at]
        return sorted(ahead, key=lambda one: one.span.starts_at)

    @property
    def _unreached(self) -> list[Weakness]:
        return [one for one in self.weaknesses if one.span.reached is Reached.NOBODY]

    def without_channel(self, working: Collection[str]) -> list[Reach]:
        """Return who may be paged and has contact methods, none of which goes over a channel that works."""
        return [
            one
            for one in people_of(self.policies, self.directory)
            if one.active and one.methods and not any(method.channel in working for method in usable(one))
        ]

    def unverified(self, working: Collection[str]) -> list[Reach]:
        """Return who may be paged over unverified contact methods only, over channels that work."""
        no_way = {one.user_id for one in self.without_channel(working)}
        return [
            one
            for one in people_of(self.policies, self.directory)
            if one.active and one.methods and not is_verified(one) and one.user_id not in no_way
        ]


async def cover(work: Work, days: int = DEFAULT_DAYS) -> Covered:
    """Look at the policies that some incident may follow, from now on."""
    arrangements = await (await paging.ask(work))()
    known, until = arrangements.policies, work.now + timedelta(days=days)
    followed = {known.default_id, *(route.policy_id for route in known.routes)}
    policies = [policy for policy in known.policies.values() if policy.id in followed]
    directory = await paging.people(work, arrangements, policies)
    # In a thread: many schedules of hourly turns take longer than others should wait.
    weaknesses = await asyncio.to_thread(coverage.forecast, policies, directory, work.now, until)
    return Covered(policies, directory, work.now, until, weaknesses)


async def forecast(work: Work, actor: Actor, days: int = DEFAULT_DAYS) -> Forecast:
    """Return when which step reaches nobody, or only by unverified ways, and who is hard to reach; raise INVALID."""
    require(actor, Permission.READ)
    if not 1 <= days <= MAX_DAYS:
        problem = f"must be between 1 and {MAX_DAYS}"
        raise refuse(Code.INVALID, f"days {problem}.", errors=[{"field": "days", "problem": problem}])
    found = await cover(work, days)
    return Forecast(
        found.starts_at,
        found.ends_at,
        [policy.name for policy in found.policies],
        [_thin(one, found.directory) for one in found.weaknesses],
        _hard_to_reach(found, working_channels(work.settings)),
    )


def _thin(one: Weakness, directory: Directory) -> Thin:
    why = "; ".join(
        obstacle.words(directory.people[obstacle.user_id].name) if obstacle.user_id else obstacle.words()
        for obstacle in one.span.obstacles
    )
    span = one.span
    return Thin(one.policy.name, one.step.reason, one.step.after, span.starts_at, span.ends_at, span.reached, why)


def _hard_to_reach(found: Covered, working: Collection[str]) -> list[HardToReach]:
    without = [
        HardToReach(one.name, f"is reached by {_channels(one)} only, which is not set up")
        for one in found.without_channel(working)
    ]
    unverified = [
        HardToReach(one.name, f"is reached by {_channels(one)}, and nobody verified that it works")
        for one in found.unverified(working)
    ]
    return without + unverified


def _channels(reach: Reach) -> str:
    return ", ".join(dict.fromkeys(method.channel for method in usable(reach)))
