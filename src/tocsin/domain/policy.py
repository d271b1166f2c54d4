"""Policies: the steps of an incident that nobody answers, whom each is for, and which policy an incident follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from tocsin.domain.incident import Severity
from tocsin.errors import Code, refuse

MAX_NAME_CHARACTERS = 100
MAX_SERVICE_CHARACTERS = 200
MAX_STEPS = 30
MAX_TARGETS = 20
MAX_REPEAT = 20
MAX_DELAY = timedelta(days=365)
MIN_LEASE = timedelta(minutes=1)
MAX_LEASE = timedelta(days=365)
DEFAULT_LEASE = timedelta(hours=4)


class Duty(StrEnum):
    """A part that somebody, or a schedule, has to play."""

    ON_CALL = "ON_CALL"
    SUPERVISOR = "SUPERVISOR"
    DIRECTOR = "DIRECTOR"


class StepReason(StrEnum):
    """Why a step is taken. All but POLICY_STEP stand in every policy, once each."""

    INCIDENT_OPENED = "INCIDENT_OPENED"
    NO_ACK_1HR = "NO_ACK_1HR"
    NO_ACK_4HR = "NO_ACK_4HR"
    NO_ROOT_CAUSE_24HR = "NO_ROOT_CAUSE_24HR"
    POLICY_STEP = "POLICY_STEP"


TIMED = frozenset({StepReason.NO_ACK_1HR, StepReason.NO_ACK_4HR, StepReason.NO_ROOT_CAUSE_24HR})
"""The three rules: a clock fires each of them once in an incident's life."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a step is for: exactly one of the three."""

    user_id: UUID | None = None
    schedule_id: UUID | None = None
    duty: Duty | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step: how long after the incident's creation, why, and for whom."""

    reason: StepReason
    after: timedelta
    targets: tuple[Target, ...]

    @property
    def waits_for_acknowledgment(self) -> bool:
        """Tell whether an acknowledgment makes the step moot. The others wait for a root cause, or for nothing."""
        return self.reason in (StepReason.NO_ACK_1HR, StepReason.NO_ACK_4HR, StepReason.POLICY_STEP)


@dataclass(frozen=True, slots=True)
class Policy:
    """Steps in the order of their delays; `repeat` further rounds; how long an acknowledgment holds."""

    id: UUID
    name: str
    steps: tuple[Step, ...]
    repeat: int = 0
    lease: timedelta | None = DEFAULT_LEASE

    def step_of(self, reason: StepReason) -> Step:
        """Return the one step of a reason that every policy has."""
        return next(step for step in self.steps if step.reason is reason)


@dataclass(frozen=True, slots=True)
class Route:
    """Which incidents follow a policy: those of the service whose severity is one of these; None: any."""

    id: UUID
    service: str | None
    severities: frozenset[Severity] | None
    policy_id: UUID

    def matches(self, service: str | None, severity: Severity) -> bool:
        """Tell whether an incident of this service and current severity takes the route."""
        return (self.service is None or self.service == service) and (
            self.severities is None or severity in self.severities
        )


@dataclass(frozen=True, slots=True)
class Policies:
    """Everything that decides which policy an incident follows."""

    policies: Mapping[UUID, Policy]
    routes: tuple[Route, ...]
    default_id: UUID

    @property
    def default(self) -> Policy:
        """Return the policy of the incidents that no route matches."""
        return self.policies[self.default_id]

    def of(self, service: str | None, severity: Severity) -> Policy:
        """Return the policy that an incident follows: of the first route that matches, else the default."""
        for route in self.routes:
            if route.matches(service, severity):
                return self.policies[route.policy_id]
        return self.default


DEFAULT_STEPS = (
    Step(StepReason.INCIDENT_OPENED, timedelta(), (Target(duty=Duty.ON_CALL),)),
    Step(StepReason.NO_ACK_1HR, timedelta(hours=1), (Target(duty=Duty.ON_CALL),)),
    Step(StepReason.NO_ACK_4HR, timedelta(hours=4), (Target(duty=Duty.SUPERVISOR),)),
    Step(StepReason.NO_ROOT_CAUSE_24HR, timedelta(hours=24), (Target(duty=Duty.DIRECTOR),)),
)


def checked_steps(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return the steps in their order, the rules that are not named taken from the default; raise INVALID.

    Every policy keeps the first alert and the three rules: their delays and targets are free, that they exist is not.
    """
    named = Counter(step.reason for step in steps)
    whole = [*steps, *(step for step in DEFAULT_STEPS if step.reason not in named)]
    problem = next(
        (f"has the rule {reason} {count} times" for reason, count in named.items() if _once(reason) and count > 1), ""
    )
    if len(whole) > MAX_STEPS:
        problem = f"has {len(whole)} steps; it may have {MAX_STEPS}"
    for step in whole:
        problem = problem or _problem_of(step)
    if problem:
        raise refuse(Code.INVALID, f"The policy {problem}.", errors=[{"field": "steps", "problem": problem}])
    return tuple(sorted(whole, key=lambda step: (step.after, list(StepReason).index(step.reason))))


def _once(reason: StepReason) -> bool:
    return reason is not StepReason.POLICY_STEP


def _problem_of(step: Step) -> str:
    if step.reason is StepReason.INCIDENT_OPENED and step.after:
        return "pages first after a while: the first alert goes out at once"
    if step.reason is not StepReason.INCIDENT_OPENED and not timedelta(seconds=1) <= step.after <= MAX_DELAY:
        return f"has a step {step.reason} whose delay is not between 1 second and {MAX_DELAY.days} days"
    if not 1 <= len(step.targets) <= MAX_TARGETS:
        return f"has a step {step.reason} with {len(step.targets)} targets: 1 to {MAX_TARGETS} are possible"
    if any(
        [target.user_id, target.schedule_id, target.duty].count(None) != 2 for target in step.targets
    ):  # one of three is named
        return f"has a step {step.reason} with a target that is not exactly a user, a schedule or a duty"
    return ""


def checked_line(field: str, text: str, most: int) -> str:
    """Return a name of at most `most` characters, stripped; raise INVALID when it is not one printable line."""
    line = text.strip()
    if not line or len(line) > most or not line.isprintable():
        problem = f"must be one printable line of 1 to {most} characters"
        raise refuse(Code.INVALID, f"{field} {problem}.", errors=[{"field": field, "problem": problem}])
    return line


def covers(route: Route, other: Route) -> bool:
    """Tell whether a route takes every incident that another one would: behind it the other is never asked."""
    every = frozenset(Severity)
    return route.service in (None, other.service) and (route.severities or every) >= (other.severities or every)


def never_asked(routes: Sequence[Route]) -> tuple[Route, Route] | None:
    """Return the first route that no incident can take, and the one before it that takes them all."""
    pairs = ((other, route) for place, other in enumerate(routes) for route in routes[:place])
    return next((pair for pair in pairs if covers(pair[1], pair[0])), None)
