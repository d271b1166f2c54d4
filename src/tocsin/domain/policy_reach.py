"""Whom a policy reaches: every step must reach at least one active person who has a contact method.

A schedule counts when one of its members does: times without anybody on call are gaps, which the forecast shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from tocsin.domain.policy import Duty, Policy, Step, Target
from tocsin.domain.policy_document import delay_text


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may be paged."""

    email: str
    active: bool
    has_contact: bool

    @property
    def reachable(self) -> bool:
        """Tell whether a page would get to them."""
        return self.active and self.has_contact


@dataclass(frozen=True, slots=True)
class Roster:
    """A schedule by its name, with everybody who has a turn in it."""

    name: str
    members: frozenset[UUID]


@dataclass(frozen=True, slots=True)
class Directory:
    """Who stands behind the targets of policies; a duty is held by a user or a schedule.

    `superadmins_told`: some superadmin can be reached. They are told where a step reaches nobody.
    """

    people: Mapping[UUID, Person]
    schedules: Mapping[UUID, Roster]
    duties: Mapping[Duty, Target]
    superadmins_told: bool


@dataclass(frozen=True, slots=True)
class Unreached:
    """A step that reaches nobody: which, why, and what to do about it."""

    policy_id: UUID
    policy: str
    step: Step
    why: str
    hint: str
    superadmins_told: bool

    @property
    def place(self) -> str:
        """Return which step it is, in words."""
        when = f"after {delay_text(self.step.after)}" if self.step.after else "at once"
        return f"Policy {self.policy}: the step {self.step.reason} {when}"

    @property
    def message(self) -> str:
        """Return the problem in words."""
        instead = (
            "the superadmins are paged instead" if self.superadmins_told else "no superadmin can be reached either"
        )
        return f"{self.place} reaches nobody: {self.why} ({instead})."

    @property
    def loss(self) -> str:
        """Return in words what a change would bring about."""
        either = "" if self.superadmins_told else ", and no superadmin can be reached either"
        return f"{self.place} would reach nobody any more: {self.why}{either}."

    @property
    def prevention(self) -> str:
        """Return what to do before such a change."""
        duty = next((target.duty for target in self.step.targets if target.duty is not None), None)
        if duty is not None:
            return f"Give the duty to somebody else first: `tocsin oncall assign {duty} EMAIL`."
        return f"Let the step page somebody else first: `tocsin policies change {self.policy}`."


def unreachable(policies: Iterable[Policy], directory: Directory) -> tuple[Unreached, ...]:
    """Return every step of these policies that reaches nobody."""
    return tuple(
        found for policy in policies for step in policy.steps if (found := _unreached(policy, step, directory))
    )


def worsened(before: Sequence[Unreached], after: Sequence[Unreached]) -> tuple[Unreached, ...]:
    """Return what a change made worse: steps that reached somebody, and steps that lost even the superadmins."""
    known = {(one.policy_id, one.step): one.superadmins_told for one in before}
    return tuple(one for one in after if _is_worse(one, known.get((one.policy_id, one.step))))


def _is_worse(one: Unreached, told_before: bool | None) -> bool:
    return told_before is None or (told_before and not one.superadmins_told)


def _unreached(policy: Policy, step: Step, directory: Directory) -> Unreached | None:
    obstacles = [_obstacle(target, directory) for target in step.targets]
    found = [obstacle for obstacle in obstacles if obstacle is not None]
    if len(found) < len(obstacles):
        return None
    why = "; ".join(dict.fromkeys(obstacle.why for obstacle in found))
    return Unreached(policy.id, policy.name, step, why, found[0].hint, directory.superadmins_told)


@dataclass(frozen=True, slots=True)
class _Obstacle:
    why: str
    hint: str


def _obstacle(target: Target, directory: Directory) -> _Obstacle | None:
    """Return why nobody can be reached through a target, None where somebody can."""
    if target.user_id is not None:
        return _of_user(directory.people.get(target.user_id))
    if target.schedule_id is not None:
        return _of_schedule(directory.schedules.get(target.schedule_id), directory)
    assert target.duty is not None, "a target is one of three"
    held_by = directory.duties.get(target.duty)
    if held_by is None:
        hint = f"Give it to somebody who can be reached: `tocsin oncall assign {target.duty} EMAIL`."
        return _Obstacle(f"nobody holds the duty {target.duty}", hint)
    obstacle = _obstacle(held_by, directory)
    if obstacle is None:
        return None
    hint = f"{obstacle.hint} Or give the duty to somebody else: `tocsin oncall assign {target.duty} EMAIL`."
    return _Obstacle(f"{target.duty} is held by {obstacle.why}", hint)


def _of_user(person: Person | None) -> _Obstacle | None:
    if person is None:
        return _Obstacle("a user who is not there any more", "Name somebody else.")
    if not person.active:
        hint = f"Let them in again: `tocsin users activate {person.email}`."
        return _Obstacle(f"{person.email}, who is not active", hint)
    if not person.has_contact:
        hint = f"Add a contact method: `tocsin users contact add {person.email} email {person.email}`."
        return _Obstacle(f"{person.email}, who has no contact method", hint)
    return None


def _of_schedule(roster: Roster | None, directory: Directory) -> _Obstacle | None:
    if roster is None:
        return _Obstacle("a schedule that is not there any more", "Name another one.")
    people = [directory.people[member] for member in roster.members if member in directory.people]
    if any(person.reachable for person in people):
        return None
    why = "of whose members none is active and has a contact method" if people else "which has no members"
    return _Obstacle(f"the schedule {roster.name}, {why}", f"See who is in it: `tocsin schedules show {roster.name}`.")
