"""Escalation: which rule is due for an incident, and when the next one will be. Computed from the state alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from tocsin.domain.incident import EscalationReason, Severity, Status
from tocsin.domain.policy import Duty
from tocsin.domain.workflow import Action, BlockSessions, Escalate, IncidentState


@dataclass(frozen=True, slots=True)
class EscalationRule:
    """One rule: the reason it records, how long after the incident's creation, and whom it pages."""

    reason: EscalationReason
    after: timedelta
    duty: Duty


@dataclass(frozen=True, slots=True)
class EscalationPolicy:
    """The rules in force, and when a critical incident blocks sessions (None: never)."""

    rules: tuple[EscalationRule, ...]
    block_sessions_after: timedelta | None = None


DEFAULT_RULES = (
    EscalationRule(EscalationReason.NO_ACK_1HR, timedelta(hours=1), Duty.ON_CALL),
    EscalationRule(EscalationReason.NO_ACK_4HR, timedelta(hours=4), Duty.SUPERVISOR),
    EscalationRule(EscalationReason.NO_ROOT_CAUSE_24HR, timedelta(hours=24), Duty.DIRECTOR),
)
SESSION_BLOCK_DELAY = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Timer:
    """An action that is owed at an instant; `rule` is None for the blocking of sessions."""

    due_at: datetime
    action: Action
    rule: EscalationRule | None = None


def timers(state: IncidentState, created_at: datetime, policy: EscalationPolicy) -> tuple[Timer, ...]:
    """Return every timer that still runs for the incident, earliest first."""
    return tuple(sorted(_running(state, created_at, policy), key=lambda timer: timer.due_at))


def _running(state: IncidentState, created_at: datetime, policy: EscalationPolicy) -> Iterator[Timer]:
    for rule in policy.rules:
        if rule.reason not in state.fired and _applies(rule.reason, state):
            yield Timer(created_at + rule.after, Escalate(rule.reason), rule)
    blocks = state.severity is Severity.CRITICAL and state.status is Status.REPORTED and not state.sessions_blocked
    if policy.block_sessions_after is not None and blocks:
        yield Timer(created_at + policy.block_sessions_after, BlockSessions())


def _applies(reason: EscalationReason, state: IncidentState) -> bool:
    if reason is EscalationReason.NO_ROOT_CAUSE_24HR:
        return not state.has_root_cause and state.status is not Status.CLOSED
    return state.status is Status.REPORTED
