"""Which timer runs when: computed from where the incident stands, and from nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.escalation import (
    SESSION_BLOCK_DELAY,
    Held,
    ReleasePages,
    Terms,
    Timer,
    after,
    due,
    moot,
    opening,
    raised,
    timers,
)
from tocsin.domain.incident import EscalationReason, Severity, Status
from tocsin.domain.paging import Because
from tocsin.domain.policy import DEFAULT_STEPS, Duty, Policy, Step, StepReason, Target, checked_steps
from tocsin.domain.workflow import (
    Acknowledgment,
    BlockSessions,
    Escalate,
    IncidentState,
    LapseAcknowledgment,
    decide,
)
from tocsin.errors import Refusal, TocsinError

CREATED = datetime(2026, 3, 1, 3, tzinfo=UTC)
OLGA, SAM = UUID(int=1), UUID(int=2)
POLICY = Policy(UUID(int=7), "default", DEFAULT_STEPS)
TERMS = Terms(POLICY)
BLOCKING = Terms(POLICY, SESSION_BLOCK_DELAY)
REPORTED = IncidentState(42, Status.REPORTED, Severity.CRITICAL)
ACKNOWLEDGED = replace(
    REPORTED,
    status=Status.ACKNOWLEDGED,
    acknowledgment=Acknowledgment(OLGA, "Olga", CREATED),
    lease_from=CREATED,
)
ESCALATING = Policy(
    UUID(int=8),
    "shop",
    checked_steps(
        [
            Step(StepReason.POLICY_STEP, timedelta(minutes=5), (Target(user_id=SAM),)),
            Step(StepReason.NO_ACK_1HR, timedelta(minutes=10), (Target(duty=Duty.ON_CALL),)),
            Step(StepReason.NO_ACK_4HR, timedelta(minutes=30), (Target(duty=Duty.SUPERVISOR),)),
        ]
    ),
    repeat=2,
    lease=None,
)


def running(state: IncidentState, terms: Terms = TERMS) -> list[tuple[float, str]]:
    """Return the running timers as hours after the creation, with their names."""
    return [(hours(timer), name(timer)) for timer in timers(state, CREATED, terms)]


def hours(timer: Timer) -> float:
    """Return when a timer is due, in hours after the creation."""
    return (timer.due_at - CREATED) / timedelta(hours=1)


def name(timer: Timer) -> str:
    """Return what a timer does."""
    if isinstance(timer.action, Escalate):
        return f"{timer.action.reason} {timer.action.step.split('/')[0]}".strip()
    return type(timer.action).__name__


def test_by_default_it_gets_louder_after_one_four_and_twenty_four_hours() -> None:
    assert running(REPORTED) == [(1, "NO_ACK_1HR"), (4, "NO_ACK_4HR"), (24, "NO_ROOT_CAUSE_24HR")]
    targets = [timer.asked.targets for timer in timers(REPORTED, CREATED, TERMS) if timer.asked]
    assert targets == [(Target(duty=Duty.ON_CALL),), (Target(duty=Duty.SUPERVISOR),), (Target(duty=Duty.DIRECTOR),)]


def test_a_critical_incident_blocks_sessions_after_two_hours_when_that_is_switched_on() -> None:
    blocks = (2, "BlockSessions")
    assert blocks in running(REPORTED, BLOCKING)
    assert blocks not in running(replace(REPORTED, severity=Severity.HIGH), BLOCKING)
    assert blocks not in running(replace(REPORTED, sessions_blocked=True), BLOCKING)
    assert blocks not in running(replace(REPORTED, status=Status.ACKNOWLEDGED), BLOCKING)


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


# --- further steps, and rounds -----------------------------------------------------------------------------------


def test_a_policy_plays_its_further_steps_and_then_all_that_wait_for_an_acknowledgment_round_after_round() -> None:
    minutes = [(round(hours * 60), what) for hours, what in running(REPORTED, Terms(ESCALATING))]
    assert minutes == [
        (5, "POLICY_STEP 0.1"),
        (10, "NO_ACK_1HR"),
        (30, "NO_ACK_4HR"),
        (35, "POLICY_STEP 1.1"),
        (40, "POLICY_STEP 1.2"),
        (60, "POLICY_STEP 1.3"),
        (65, "POLICY_STEP 2.1"),
        (70, "POLICY_STEP 2.2"),
        (90, "POLICY_STEP 2.3"),
        (24 * 60, "NO_ROOT_CAUSE_24HR"),
    ]


def test_an_incident_that_comes_under_another_policy_does_not_take_the_first_ones_steps_for_its_own() -> None:
    state = REPORTED
    for timer in due(state, CREATED, Terms(ESCALATING), CREATED + timedelta(minutes=6)):
        state = after(state, timer, CREATED)
    other = replace(ESCALATING, id=UUID(int=9))
    assert "POLICY_STEP 0.1" not in [what for _, what in running(state, Terms(ESCALATING))]
    assert "POLICY_STEP 0.1" in [what for _, what in running(state, Terms(other))]


def test_whoever_comes_next_is_known_to_each_step() -> None:
    first = opening(ESCALATING)
    assert first.name == "INCIDENT_OPENED"
    assert first.then == tuple(step.targets for step in ESCALATING.steps[1:])
    assert raised(ESCALATING, "SEVERITY_ESCALATED 1").targets == first.targets


def test_looking_plays_a_whole_life_and_ends() -> None:
    state, played = REPORTED, 0
    while running_now := timers(state, CREATED, Terms(ESCALATING, SESSION_BLOCK_DELAY)):
        state = after(state, running_now[0], running_now[0].due_at)
        played += 1
    assert played == 11, "ten steps and the blocking of sessions"


def test_what_does_not_follow_from_the_state_is_refused() -> None:
    (first, *_) = timers(REPORTED, CREATED, TERMS)
    with pytest.raises(TocsinError):
        after(ACKNOWLEDGED, first, CREATED)


# --- the lease of an acknowledgment --------------------------------------------------------------------------------


def test_an_acknowledgment_lapses_after_its_lease_and_again_after_another_one() -> None:
    (first, *_) = timers(ACKNOWLEDGED, CREATED, TERMS)
    assert (hours(first), name(first)) == (4, "LapseAcknowledgment")
    assert first.asked is not None
    assert first.asked.targets == (Target(user_id=OLGA),)
    once = after(ACKNOWLEDGED, first, first.due_at)
    (second, *_) = timers(once, CREATED, TERMS)
    assert hours(second) == 8
    assert second.asked is not None
    assert second.asked.targets == (Target(user_id=OLGA), Target(duty=Duty.ON_CALL)), "now the first ones too"
    assert second.asked.name != first.asked.name


def test_no_acknowledgment_lapses_where_there_is_none_or_where_it_holds_for_ever() -> None:
    for state in (REPORTED, replace(ACKNOWLEDGED, status=Status.RESOLVED, has_root_cause=True)):
        assert "LapseAcknowledgment" not in [what for _, what in running(state)]
    assert "LapseAcknowledgment" not in [what for _, what in running(ACKNOWLEDGED, Terms(ESCALATING))]


# --- what a silence held back ----------------------------------------------------------------------------------------


SILENCE = UUID(int=50)
END = CREATED + timedelta(hours=3)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (REPORTED, {OLGA: None, SAM: None}),
        (ACKNOWLEDGED, {OLGA: Because.ACKNOWLEDGED, SAM: None}),
        (replace(ACKNOWLEDGED, has_root_cause=True), {OLGA: Because.ACKNOWLEDGED, SAM: Because.ROOT_CAUSE_KNOWN}),
        (replace(ACKNOWLEDGED, status=Status.CLOSED), {OLGA: Because.CLOSED, SAM: Because.CLOSED}),
    ],
)
def test_at_the_end_of_a_silence_whoever_is_still_wanted_is_paged_and_the_others_know_why_not(
    state: IncidentState, expected: dict[UUID, Because | None]
) -> None:
    held = (Held(SILENCE, END, OLGA, "INCIDENT_OPENED"), Held(SILENCE, END, SAM, "NO_ROOT_CAUSE_24HR"))
    found = timers(state, CREATED, Terms(POLICY, held=held))
    (release,) = [timer for timer in found if isinstance(timer.action, ReleasePages)]
    assert release.due_at == END
    assert release.asked is not None
    assert release.asked.name == f"SILENCE_ENDED {SILENCE}"
    wanted = dict.fromkeys(target.user_id for target in release.asked.targets)
    assert wanted | dict(release.asked.spared) == expected
    assert after(state, release, END) == state


def test_a_lapse_that_was_held_back_is_wanted_until_somebody_makes_progress() -> None:
    held = (Held(SILENCE, END, OLGA, "ACK_LAPSED"),)
    for lapses, targets in ((1, (Target(user_id=OLGA),)), (0, ())):
        (release,) = [
            timer
            for timer in timers(replace(ACKNOWLEDGED, lapses=lapses), CREATED, Terms(POLICY, held=held))
            if isinstance(timer.action, ReleasePages)
        ]
        assert release.asked is not None
        assert release.asked.targets == targets


# --- steps that will not be taken any more --------------------------------------------------------------------


def test_what_an_answer_makes_moot_is_named_with_the_reason() -> None:
    def named(state: IncidentState, policy: Policy = POLICY) -> list[tuple[str, str]]:
        return [(each.asked.name.split("/")[0], str(each.because)) for each in moot(state, policy)]

    assert named(REPORTED) == []
    assert named(ACKNOWLEDGED) == [("NO_ACK_1HR", "ACKNOWLEDGED"), ("NO_ACK_4HR", "ACKNOWLEDGED")]
    assert named(replace(ACKNOWLEDGED, fired=frozenset({EscalationReason.NO_ACK_1HR}), has_root_cause=True)) == [
        ("NO_ACK_4HR", "ACKNOWLEDGED"),
        ("NO_ROOT_CAUSE_24HR", "ROOT_CAUSE_KNOWN"),
    ]
    second_round = replace(
        ACKNOWLEDGED,
        fired=frozenset({EscalationReason.NO_ACK_1HR, EscalationReason.NO_ACK_4HR}),
        fired_steps=frozenset({f"0.1/{ESCALATING.id}", f"1.1/{ESCALATING.id}"}),
    )
    assert named(second_round, ESCALATING) == [("POLICY_STEP 1.2", "ACKNOWLEDGED"), ("POLICY_STEP 1.3", "ACKNOWLEDGED")]


# --- against the workflow --------------------------------------------------------------------------------------

delays = st.integers(1, 365 * 86_400).map(lambda seconds: timedelta(seconds=seconds))
policies = st.builds(
    Policy,
    st.uuids(),
    st.just("any"),
    st.lists(
        st.builds(
            Step,
            st.sampled_from([reason for reason in StepReason if reason is not StepReason.INCIDENT_OPENED]),
            delays,
            st.sampled_from(Duty).map(lambda duty: (Target(duty=duty),)),
        ),
        max_size=8,
        unique_by=lambda step: step if step.reason is StepReason.POLICY_STEP else step.reason,
    ).map(checked_steps),
    st.integers(0, 3),
    st.none() | delays,
)
terms = st.builds(Terms, policies, st.none() | st.just(SESSION_BLOCK_DELAY))


@st.composite
def lives(draw: st.DrawFn) -> tuple[IncidentState, Terms]:
    """Return where an incident may stand, and the terms under which it does."""
    under = draw(terms)
    names = [timer.action.step for timer in timers(REPORTED, CREATED, under) if isinstance(timer.action, Escalate)]
    status = draw(st.sampled_from(Status))
    state = IncidentState(
        42,
        status,
        draw(st.sampled_from(Severity)),
        acknowledgment=None if status is Status.REPORTED else Acknowledgment(OLGA, "Olga", CREATED),
        has_root_cause=draw(st.booleans()),
        sessions_blocked=draw(st.booleans()),
        fired=draw(st.frozensets(st.sampled_from(EscalationReason))),
        fired_steps=draw(st.frozensets(st.sampled_from([name for name in names if name] or ["0.9/none"]))),
        lease_from=draw(st.none() | st.just(CREATED)),
        lapses=draw(st.integers(0, 3)),
    )
    return state, under


@given(lives())
def test_the_timers_that_run_are_exactly_the_actions_that_would_be_accepted(life: tuple[IncidentState, Terms]) -> None:
    state, under = life
    found = timers(state, CREATED, under)
    assert list(found) == sorted(found, key=lambda timer: timer.due_at)
    assert not any(isinstance(decide(state, timer.action), Refusal) for timer in found)  # type: ignore[arg-type]  # nothing is held
    everything = timers(replace(REPORTED, severity=Severity.CRITICAL), CREATED, under)
    accepted = [
        timer.action
        for timer in everything
        if not isinstance(decide(state, timer.action), Refusal)  # type: ignore[arg-type]
    ]
    assert [timer.action for timer in found if not isinstance(timer.action, LapseAcknowledgment)] == accepted
    blocks = under.block_sessions_after is not None and not isinstance(decide(state, BlockSessions()), Refusal)
    assert any(isinstance(timer.action, BlockSessions) for timer in found) == blocks


@given(lives())
def test_each_step_runs_is_moot_or_was_taken(life: tuple[IncidentState, Terms]) -> None:
    state, under = life
    names = [timer.asked.name for timer in timers(state, CREATED, under) if timer.asked]
    spared = [each.asked.name for each in moot(state, under.policy)]
    assert len(set(names)) == len(names), "each has a name of its own"
    assert not set(names) & set(spared)
    first_round = {
        timer.asked.name
        for timer in timers(REPORTED, CREATED, Terms(replace(under.policy, repeat=0)))
        if timer.asked is not None
    }
    taken = {reason.value for reason in state.fired} | {f"POLICY_STEP {name}" for name in state.fired_steps}
    assert first_round <= set(names) | set(spared) | taken


@given(lives())
def test_a_look_always_comes_to_an_end(life: tuple[IncidentState, Terms]) -> None:
    state, under = life
    now = CREATED + timedelta(days=366 * 5)
    for timer in due(state, CREATED, under, now):
        state = after(state, timer, now)
    assert not [timer for timer in due(state, CREATED, under, now) if not isinstance(timer.action, ReleasePages)]
