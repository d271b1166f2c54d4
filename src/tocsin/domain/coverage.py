"""Coverage: when, in the time to come, a step of a policy reaches nobody, or only by ways that nobody verified.

It is reckoned with the stretches of schedules, in which nothing changes, and not instant by instant. That a step which
reaches nobody goes on to the next one, and at last to the superadmins, mends the incident and not the step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from tocsin.domain.oncall import OVERRIDE, Place, Schedule, stretches
from tocsin.domain.paging import Directory
from tocsin.domain.policy import Policy, Step, Target
from tocsin.domain.reach import Reach, plan, usable
from tocsin.domain.rotation import counts_throughout

DEFAULT_DAYS = 14
MAX_DAYS = 60
SOMEBODY = "somebody"


class Reached(StrEnum):
    """Whom a step reaches at some time, the worst first."""

    NOBODY = "NOBODY"
    UNVERIFIED = "UNVERIFIED"
    """Only over contact methods of which nobody knows whether they work."""
    SOMEBODY = "SOMEBODY"


_WORST_FIRST = {reached: rank for rank, reached in enumerate(Reached)}


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a target does not reach somebody as it should; `user_id` is whom it is about, if it is about somebody."""

    where: str
    what: str
    user_id: UUID | None = None

    def words(self, name: str = SOMEBODY) -> str:
        """Return it in words, with a name for whom it is about."""
        return f"{self.where}: {name}{self.what}" if self.user_id is not None else f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which a step, or one target of it, reaches the same people, and what is in the way of more."""

    starts_at: datetime
    ends_at: datetime
    reached: Reached
    obstacles: tuple[Obstacle, ...] = ()


@dataclass(frozen=True, slots=True)
class Weakness:
    """A time in which a step of a policy reaches nobody, or only by unverified ways."""

    policy: Policy
    step: Step
    span: Span


def forecast(policies: Iterable[Policy], directory: Directory, start: datetime, end: datetime) -> list[Weakness]:
    """Return every weakness of these policies in a period, in the order of policies, steps and time."""
    coverage = _Coverage(directory, start, end, {}, {})
    return [
        Weakness(policy, step, span)
        for policy in policies
        for step in policy.steps
        for span in coverage.of_step(step.targets)
        if span.reached is not Reached.SOMEBODY
    ]


def people_of(policies: Iterable[Policy], directory: Directory) -> list[Reach]:
    """Return everybody whom these policies may page, the holders of duties included, in no order of importance."""
    targets = [target for policy in policies for step in policy.steps for target in step.targets]
    held = [directory.duties[target.duty] for target in targets if target.duty and target.duty in directory.duties]
    found: dict[UUID, None] = {}
    for target in [*targets, *held]:
        if target.user_id is not None:
            found[target.user_id] = None
        elif target.schedule_id is not None:
            schedule = directory.schedules[target.schedule_id]
            found |= dict.fromkeys(member for layer in schedule.layers for member in layer.members)
            found |= dict.fromkeys(override.user_id for override in schedule.overrides)
    return [directory.people[user_id] for user_id in found]


def is_verified(reach: Reach) -> bool:
    """Tell whether somebody is reached over a contact method that is known to work."""
    return any(method.verified_at is not None for method in usable(reach))


@dataclass(frozen=True, slots=True)
class _Coverage:
    """What is known of targets in a period; many steps name the same."""

    directory: Directory
    start: datetime
    end: datetime
    steps: dict[tuple[Target, ...], Sequence[Span]]
    targets: dict[Target, Sequence[Span]]

    def of_step(self, targets: tuple[Target, ...]) -> Sequence[Span]:
        if targets not in self.steps:
            spans = self._of_target(targets[0])
            for target in targets[1:]:
                spans = list(_coalesced(_both(spans, self._of_target(target))))
            self.steps[targets] = spans
        return self.steps[targets]

    def _of_target(self, target: Target) -> Sequence[Span]:
        if target not in self.targets:
            self.targets[target] = self._reckoned(target)
        return self.targets[target]

    def _reckoned(self, target: Target) -> Sequence[Span]:
        if target.duty is None:
            return self._behind(target, "")
        holder, where = self.directory.duties.get(target.duty), f"duty {target.duty}"
        if holder is None:
            return [Span(self.start, self.end, Reached.NOBODY, (Obstacle(where, "nobody holds it"),))]
        return self._behind(holder, where)

    def _behind(self, target: Target, duty: str) -> Sequence[Span]:
        if target.user_id is not None:
            reached, obstacle = _reached(self.directory.people[target.user_id], duty or "by name", "")
            return [Span(self.start, self.end, reached, (obstacle,) if obstacle else ())]
        assert target.schedule_id is not None, "a target is one of three"
        return self._of_schedule(self.directory.schedules[target.schedule_id], f"{duty}, " if duty else "")

    def _of_schedule(self, schedule: Schedule, lead: str) -> Sequence[Span]:
        where = f"{lead}schedule {schedule.name}"
        if _always_somebody(schedule, self.directory.people, self.start, self.end):
            return [Span(self.start, self.end, Reached.SOMEBODY)]
        known: _Known = {}
        spans = (
            Span(stretch.starts_at, stretch.ends_at, *self._on_call(stretch.places, where, known))
            for stretch in stretches(schedule, self.start, self.end)
        )
        return list(_coalesced(spans))

    def _on_call(self, places: Sequence[Place], where: str, known: _Known) -> tuple[Reached, tuple[Obstacle, ...]]:
        """Return whether those on call are reached, and what is in the way; `known` is what was found before."""
        found = []
        for place in places:
            role = ", who has taken over," if place.source == OVERRIDE else ""
            if (place.user_id, role) not in known:
                known[place.user_id, role] = _reached(self.directory.people[place.user_id], where, role)
            found.append(known[place.user_id, role])
        if not found:
            return Reached.NOBODY, (Obstacle(where, "nobody is on call"),)
        best = max((reached for reached, _ in found), key=_WORST_FIRST.__getitem__)
        return best, () if best is Reached.SOMEBODY else tuple(obstacle for _, obstacle in found if obstacle)


def _always_somebody(schedule: Schedule, people: Mapping[UUID, Reach], start: datetime, end: datetime) -> bool:
    """Tell whether somebody is reached whoever is on call, as somebody always is: then nothing need be reckoned.

    That is so of most schedules most of the time, and readiness is asked for every few seconds.
    """
    named = {member for layer in schedule.layers for member in layer.members}
    named |= {override.user_id for override in schedule.overrides}
    covered = any(counts_throughout(layer, schedule.zone, start, end) for layer in schedule.layers)
    return covered and all(plan(people[user_id]) and is_verified(people[user_id]) for user_id in named)


_Known = dict[tuple[UUID, str], tuple[Reached, Obstacle | None]]


def _reached(reach: Reach, where: str, role: str) -> tuple[Reached, Obstacle | None]:
    said = Obstacle(where, "", reach.user_id)
    if not reach.active:
        return Reached.NOBODY, replace(said, what=f"{role} is shut out")
    if not plan(reach):
        return Reached.NOBODY, replace(said, what=f"{role} has no contact method")
    if not is_verified(reach):
        return Reached.UNVERIFIED, replace(said, what=f"{role} has only contact methods that nobody verified")
    return Reached.SOMEBODY, None


def _both(one: Sequence[Span], other: Sequence[Span]) -> Iterator[Span]:
    """Give the spans of two targets together: whoever of both reaches more counts. Both cover the same period."""
    left, right = iter(one), iter(other)
    here, there = next(left, None), next(right, None)
    while here is not None and there is not None:
        starts_at, ends_at = max(here.starts_at, there.starts_at), min(here.ends_at, there.ends_at)
        reached = max(here.reached, there.reached, key=_WORST_FIRST.__getitem__)
        obstacles = () if reached is Reached.SOMEBODY else (*here.obstacles, *there.obstacles)
        yield Span(starts_at, ends_at, reached, tuple(dict.fromkeys(obstacles)))
        if here.ends_at == ends_at:
            here = next(left, None)
        if there.ends_at == ends_at:
            there = next(right, None)


def _coalesced(spans: Iterable[Span]) -> Iterator[Span]:
    """Give spans, those joined that follow each other and say the same."""
    last: Span | None = None
    for span in spans:
        if last is not None and (last.reached, last.obstacles) == (span.reached, span.obstacles):
            last = replace(last, ends_at=span.ends_at)
            continue
        if last is not None:
            yield last
        last = span
    if last is not None:
        yield last
