"""Escalation: what an incident owes when, by its policy. Computed from its state alone, and never from a job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from tocsin.domain.incident import EscalationReason, Severity, Status
from tocsin.domain.paging import Asked, Because
from tocsin.domain.policy import TIMED, Policy, Step, StepReason, Target
from tocsin.domain.workflow import (
    Acknowledge,
    Acknowledgment,
    BlockSessions,
    Escalate,
    IncidentState,
    LapseAcknowledgment,
    RecordRootCause,
    Resolve,
    decide,
    evolve,
)
from tocsin.errors import Refusal, TocsinError

Answer = Acknowledge | RecordRootCause | Resolve
"""What somebody may do about an incident that makes steps of its policy moot."""
SESSION_BLOCK_DELAY = timedelta(hours=2)
ACK_LAPSED = "ACK_LAPSED"
"""The reason of a page to somebody who acknowledged and then was not heard of."""
SILENCE_ENDED = "SILENCE_ENDED"
"""The reason of a page that a silence held back until its end."""


@dataclass(frozen=True, slots=True)
class Silenced:
    """A decision by which a silence held a page back; `released` says that the silence's end was acted upon."""

    silence_id: UUID
    ends_at: datetime
    user_id: UUID
    reason: str
    released: bool


@dataclass(frozen=True, slots=True)
class Held:
    """A page to somebody that a silence holds back still, and why it was owed."""

    silence_id: UUID
    until: datetime
    user_id: UUID
    reason: str


def still_held(rows: Sequence[Silenced]) -> tuple[Held, ...]:
    """Return what is held back still. What one silence after another held back is wanted for its first reasons."""
    found = []
    for row in rows:
        if row.released:
            continue
        reasons = [row.reason]
        if row.reason == SILENCE_ENDED:
            reasons = [one.reason for one in rows if one.user_id == row.user_id and one.reason != SILENCE_ENDED]
        found += [Held(row.silence_id, row.ends_at, row.user_id, reason) for reason in reasons]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Terms:
    """What decides, besides its state, when an incident gets louder: its policy, the settings, what is held back."""

    policy: Policy
    block_sessions_after: timedelta | None = None
    held: tuple[Held, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleasePages:
    """Page whom a silence kept from being paged, as far as it is still wanted. No entry: the pages speak for it."""

    silence_id: UUID


@dataclass(frozen=True, slots=True)
class Timer:
    """An action that is owed at an instant, and whom it asks for (None: nobody, as for the blocking of sessions)."""

    due_at: datetime
    action: Escalate | BlockSessions | LapseAcknowledgment | ReleasePages
    asked: Asked | None = None


def timers(state: IncidentState, created_at: datetime, terms: Terms) -> tuple[Timer, ...]:
    """Return every timer that still runs for the incident, earliest first."""
    return tuple(sorted(_running(state, created_at, terms), key=lambda timer: timer.due_at))


def due(state: IncidentState, created_at: datetime, terms: Terms, now: datetime) -> tuple[Timer, ...]:
    """Return the timers that one look at the incident fires, in their order; each may make a later one moot."""
    return tuple(timer for timer in timers(state, created_at, terms) if timer.due_at <= now)


def after(state: IncidentState, timer: Timer, now: datetime) -> IncidentState:
    """Return the state after a timer has fired, as the database will say it stands."""
    if isinstance(timer.action, ReleasePages):
        return state
    taken = decide(state, timer.action)
    if isinstance(taken, Refusal):
        raise TocsinError(taken)
    for step in taken:
        state = evolve(state, step)
    if isinstance(timer.action, LapseAcknowledgment):
        return replace(state, lease_from=now, lapses=state.lapses + 1)
    if isinstance(timer.action, BlockSessions):
        return state
    if timer.action.step:
        return replace(state, fired_steps=state.fired_steps | {timer.action.step})
    return replace(state, fired=state.fired | {timer.action.reason})


def answered(state: IncidentState, action: Answer, by: UUID, name: str, at: datetime) -> IncidentState:
    """Return the state after somebody did something about the incident, as the database will say it stands."""
    taken = decide(state, action)
    if isinstance(taken, Refusal):
        raise TocsinError(taken)
    for step in taken:
        state = evolve(state, step)
    acknowledgment = Acknowledgment(by, name, at) if isinstance(action, Acknowledge) else state.acknowledgment
    return replace(state, acknowledgment=acknowledgment, lease_from=at, lapses=0)


def opening(policy: Policy) -> Asked:
    """Return whom the first alert of an incident asks for."""
    return _asked(
        policy, policy.steps.index(policy.step_of(StepReason.INCIDENT_OPENED)), str(StepReason.INCIDENT_OPENED)
    )


def raised(policy: Policy, name: str) -> Asked:
    """Return whom to tell that an incident got worse: those whom its policy asks for first."""
    first = opening(policy)
    return replace(first, name=name, reason=str(EscalationReason.SEVERITY_ESCALATED))


@dataclass(frozen=True, slots=True)
class Moot:
    """A step that will not be taken any more, and why."""

    asked: Asked
    because: Because


def moot(state: IncidentState, policy: Policy) -> tuple[Moot, ...]:
    """Return the steps that were not taken and never will be, because of where the incident stands now.

    Of the rounds, only the one under way: that further rounds are not played needs no reason for each person in them.
    """
    round_ = max((int(name.split(".")[0]) for name in state.fired_steps if name.endswith(f"/{policy.id}")), default=0)
    found = []
    for at_round in range(round_ + 1):
        for position, step in enumerate(policy.steps):
            escalate = _escalate(policy, position, at_round)
            because = _why_moot(state, step)
            if because and escalate is not None and not _has_fired(state, escalate):
                found.append(Moot(_asked(policy, position, name_of(escalate)), because))
    return tuple(found)


def unwanted_because(reason: str, state: IncidentState) -> Because | None:
    """Return why a page that was held back for this reason is not wanted any more; None when it still is."""
    if state.status is Status.CLOSED:
        return Because.CLOSED
    if reason == EscalationReason.NO_ROOT_CAUSE_24HR:
        return Because.ROOT_CAUSE_KNOWN if state.has_root_cause else None
    if reason == ACK_LAPSED:
        waits = state.status in (Status.ACKNOWLEDGED, Status.INVESTIGATING) and state.lapses
        return None if waits else Because.ACKNOWLEDGED
    return None if state.status is Status.REPORTED else Because.ACKNOWLEDGED


def name_of(action: Escalate) -> str:
    """Return the name of a policy's step in the record of decisions; it is taken once in an incident's life."""
    return f"{action.reason} {action.step}".strip()


def release_name(silence_id: UUID) -> str:
    """Return the name that the end of a silence has in the record of decisions."""
    return f"{SILENCE_ENDED} {silence_id}"


def cycle(policy: Policy) -> timedelta:
    """Return how long one round takes: the longest delay of the steps that wait for an acknowledgment."""
    return max(step.after for step in policy.steps if step.waits_for_acknowledgment)


def _running(state: IncidentState, created_at: datetime, terms: Terms) -> Iterator[Timer]:
    yield from _steps(state, created_at, terms.policy)
    blocks = state.severity is Severity.CRITICAL and state.status is Status.REPORTED and not state.sessions_blocked
    if terms.block_sessions_after is not None and blocks:
        yield Timer(created_at + terms.block_sessions_after, BlockSessions())
    yield from _lapse(state, terms.policy)
    yield from _releases(state, terms)


def _steps(state: IncidentState, created_at: datetime, policy: Policy) -> Iterator[Timer]:
    for round_ in range(policy.repeat + 1):
        for position, step in enumerate(policy.steps):
            if _why_moot(state, step):
                continue
            escalate = _escalate(policy, position, round_)
            if escalate is None or _has_fired(state, escalate):
                continue
            asked = _asked(policy, position, name_of(escalate), str(escalate.reason))
            yield Timer(created_at + round_ * cycle(policy) + step.after, escalate, asked)


def _escalate(policy: Policy, position: int, round_: int) -> Escalate | None:
    """Return what taking a step in a round is; None where it is not played then."""
    step = policy.steps[position]
    if step.reason in TIMED and round_ == 0:
        return Escalate(EscalationReason(step.reason))
    if not step.waits_for_acknowledgment:
        return None
    # With the policy's id: when an incident comes under another one, what the first did is not what that one does.
    return Escalate(EscalationReason.POLICY_STEP, step=f"{round_}.{position}/{policy.id}")


def _has_fired(state: IncidentState, escalate: Escalate) -> bool:
    return escalate.step in state.fired_steps if escalate.step else escalate.reason in state.fired


def _why_moot(state: IncidentState, step: Step) -> Because | None:
    if state.status is Status.CLOSED:
        return Because.CLOSED
    if step.reason is StepReason.NO_ROOT_CAUSE_24HR and state.has_root_cause:
        return Because.ROOT_CAUSE_KNOWN
    if step.waits_for_acknowledgment and state.status is not Status.REPORTED:
        return Because.ACKNOWLEDGED
    return None


def _asked(policy: Policy, position: int, name: str, reason: str = "") -> Asked:
    step = policy.steps[position]
    following = tuple(later.targets for later in policy.steps[position + 1 :])
    return Asked(name, reason or str(step.reason), step.targets, following, policy.id)


def _lapse(state: IncidentState, policy: Policy) -> Iterator[Timer]:
    waits = state.status in (Status.ACKNOWLEDGED, Status.INVESTIGATING)
    if policy.lease is None or state.lease_from is None or state.acknowledgment is None or not waits:
        return
    due_at = state.lease_from + policy.lease
    first = opening(policy)
    targets: tuple[Target, ...] = (Target(user_id=state.acknowledgment.user_id),)
    if state.lapses:
        targets += first.targets
    name = f"{ACK_LAPSED} {state.lease_from.isoformat()}"
    yield Timer(
        due_at, LapseAcknowledgment(), Asked(name, ACK_LAPSED, targets, (first.targets, *first.then), policy.id)
    )


def _releases(state: IncidentState, terms: Terms) -> Iterator[Timer]:
    for silence_id, until in sorted({(held.silence_id, held.until) for held in terms.held}):
        yield Timer(until, ReleasePages(silence_id), _release(state, terms, silence_id))


def _release(state: IncidentState, terms: Terms, silence_id: UUID) -> Asked:
    """Return whom the end of a silence asks for: of those it held pages from, whoever is still wanted."""
    wanted: dict[UUID, Because | None] = {}
    for held in terms.held:
        if held.silence_id == silence_id:
            because = unwanted_because(held.reason, state)
            wanted[held.user_id] = None if because is None else wanted.get(held.user_id, because)
    first = opening(terms.policy)
    targets = tuple(Target(user_id=user_id) for user_id, because in wanted.items() if because is None)
    spared = tuple((user_id, because) for user_id, because in wanted.items() if because is not None)
    return Asked(
        release_name(silence_id), SILENCE_ENDED, targets, (first.targets, *first.then), terms.policy.id, spared=spared
    )
