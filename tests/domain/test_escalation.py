"""Which timer runs when: computed from where the incident stands, and from nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.escalation import (
    DEFAULT_RULES,
    SESSION_BLOCK_DELAY,
    EscalationPolicy,
    EscalationRule,
    Timer,
    timers,
)
from tocsin.domain.incident import EscalationReason, Severity, Status
from tocsin.domain.policy import Duty
from tocsin.domain.workflow import BlockSessions, Escalate, IncidentState, decide
from tocsin.errors import Refusal

CREATED = datetime(2026, 3, 1, 3, tzinfo=UTC)
POLICY = EscalationPolicy(DEFAULT_RULES)
BLOCKING = EscalationPolicy(DEFAULT_RULES, SESSION_BLOCK_DELAY)
REPORTED = IncidentState(42, Status.REPORTED, Severity.CRITICAL)


def running(state: IncidentState, policy: EscalationPolicy = POLICY) -> list[tuple[float, str]]:
    """Return the running timers as hours after the creation, with their names."""
    return [(hours(timer), name(timer)) for timer in timers(state, CREATED, policy)]


def hours(timer: Timer) -> float:
    """Return when a timer is due, in hours after the creation."""
    return (timer.due_at - CREATED) / timedelta(hours=1)


def name(timer: Timer) -> str:
    """Return what a timer does."""
    return timer.action.reason.value if isinstance(timer.action, Escalate) else "BLOCK"


def test_by_default_it_gets_louder_after_one_four_and_twenty_four_hours() -> None:
    assert running(REPORTED) == [(1, "NO_ACK_1HR"), (4, "NO_ACK_4HR"), (24, "NO_ROOT_CAUSE_24HR")]
    assert [rule.duty for rule in DEFAULT_RULES] == [Duty.ON_CALL, Duty.SUPERVISOR, Duty.DIRECTOR]


def test_a_critical_incident_blocks_sessions_after_two_hours_when_that_is_switched_on() -> None:
    assert (2, "BLOCK") in running(REPORTED, BLOCKING)
    assert (2, "BLOCK") not in running(replace(REPORTED, severity=Severity.HIGH), BLOCKING)
    assert (2, "BLOCK") not in running(replace(REPORTED, sessions_blocked=True), BLOCKING)
    assert (2, "BLOCK") not in running(replace(REPORTED, status=Status.ACKNOWLEDGED), BLOCKING)


@pytest.mark.parametrize(
    ("status", "has_root_cause", "expected"),
    [
        (Status.REPORTED, False, ["NO_ACK_1HR", "NO_ACK_4HR", "NO_ROOT_CAUSE_24HR"]),
        (Status.ACKNOWLEDGED, False, ["NO_ROOT_CAUSE_24HR"]),
        (Status.INVESTIGATING, False, ["NO_ROOT_CAUSE_24HR"]),
        (Status.INVESTIGATING, True, []),
        (Status.RESOLVED, True, []),
        (Status.CLOSED, True, []),
    ],
)
def test_a_timer_stops_when_its_question_is_answered(status: Status, has_root_cause: bool, expected: list[str]) -> None:
    state = replace(REPORTED, status=status, has_root_cause=has_root_cause)
    assert [what for _, what in running(state)] == expected


def test_what_has_fired_does_not_run_again() -> None:
    for fired in EscalationReason:
        assert fired.value not in [what for _, what in running(replace(REPORTED, fired=frozenset({fired})))]


states = st.builds(
    IncidentState,
    st.just(42),
    st.sampled_from(Status),
    st.sampled_from(Severity),
    has_root_cause=st.booleans(),
    sessions_blocked=st.booleans(),
    fired=st.frozensets(st.sampled_from(EscalationReason)),
)
policies = st.builds(
    EscalationPolicy,
    st.lists(
        st.builds(
            EscalationRule,
            st.sampled_from([reason for reason in EscalationReason if reason.name.startswith("NO_")]),
            st.timedeltas(timedelta(seconds=1), timedelta(days=365)),
            st.sampled_from(Duty),
        ),
        unique_by=lambda rule: rule.reason,
    ).map(tuple),
    st.none() | st.just(SESSION_BLOCK_DELAY),
)


@given(states, policies)
def test_the_timers_that_run_are_exactly_the_actions_that_would_be_accepted(
    state: IncidentState, policy: EscalationPolicy
) -> None:
    found = timers(state, CREATED, policy)
    assert list(found) == sorted(found, key=lambda timer: timer.due_at)
    accepted = {rule.reason for rule in policy.rules if not isinstance(decide(state, Escalate(rule.reason)), Refusal)}
    assert {timer.rule.reason for timer in found if timer.rule} == accepted
    blocks = policy.block_sessions_after is not None and not isinstance(decide(state, BlockSessions()), Refusal)
    assert any(isinstance(timer.action, BlockSessions) for timer in found) == blocks
