"""The workflow decides alone: nothing is skipped, nothing done twice, and every refusal says what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.follow_up import FollowUpAction
from tocsin.domain.incident import EscalationReason, RootCauseCategory, Severity, Status
from tocsin.domain.timeline import EntryKind
from tocsin.domain.workflow import (
    MAX_TEXT_CHARACTERS,
    TRANSITIONS,
    Acknowledge,
    AcknowledgeEscalation,
    Acknowledgment,
    Action,
    AddNote,
    BlockSessions,
    ChangeSeverity,
    Close,
    Escalate,
    IncidentState,
    RaiseSeverity,
    ReceiveSignal,
    RecordRootCause,
    Resolve,
    StartInvestigation,
    decide,
    evolve,
    optional_text,
)
from tocsin.errors import Code, Refusal, TocsinError

ADA, BOB = UUID(int=1), UUID(int=2)
AT = datetime(2026, 3, 1, 3, tzinfo=UTC)
FOLLOW_UPS = (FollowUpAction("Alert on queue depth"),)
CAUSE = RecordRootCause("Too small a pool", RootCauseCategory.CONFIGURATION, "Raised it")
RESOLVE = Resolve("Mended")
RESOLVE_WHOLE = Resolve("Mended", lessons_learned="Watch it", follow_up_actions=FOLLOW_UPS)
CLOSE = Close("Watch it", FOLLOW_UPS)


def state(status: Status, **facts: object) -> IncidentState:
    """Return a state that can occur: what is acknowledged says by whom, what is resolved has a root cause."""
    known: dict[str, object] = {"has_root_cause": status in (Status.RESOLVED, Status.CLOSED)}
    if status is not Status.REPORTED:
        known["acknowledgment"] = Acknowledgment(ADA, "Ada", AT)
    return IncidentState(42, status, **({"severity": Severity.HIGH} | known | facts))  # type: ignore[arg-type]


REPORTED, ACKNOWLEDGED = state(Status.REPORTED), state(Status.ACKNOWLEDGED)
INVESTIGATING, CAUSE_KNOWN = state(Status.INVESTIGATING), state(Status.INVESTIGATING, has_root_cause=True)
RESOLVED, CLOSED = state(Status.RESOLVED), state(Status.CLOSED)
STATES = {
    "reported": REPORTED,
    "acknowledged": ACKNOWLEDGED,
    "investigating": INVESTIGATING,
    "cause known": CAUSE_KNOWN,
    "resolved": RESOLVED,
    "closed": CLOSED,
}

WHAT_HAPPENS: dict[str, tuple[Action, tuple[object, ...]]] = {
    "acknowledge": (
        Acknowledge("On it"),
        (["ACKNOWLEDGED"], *[Code.ALREADY_ACKNOWLEDGED] * 5),
    ),
    "start": (
        StartInvestigation(),
        (Code.NOT_ACKNOWLEDGED, ["INVESTIGATION_STARTED"], *[Code.ALREADY_RECORDED] * 4),
    ),
    "root cause": (
        CAUSE,
        (
            Code.NOT_ACKNOWLEDGED,
            ["INVESTIGATION_STARTED", "ROOT_CAUSE_RECORDED"],
            ["ROOT_CAUSE_RECORDED"],
            *[Code.ALREADY_RECORDED] * 3,
        ),
    ),
    "resolve": (
        RESOLVE,
        (
            Code.NOT_ACKNOWLEDGED,
            Code.NO_ROOT_CAUSE,
            Code.NO_ROOT_CAUSE,
            ["RESOLVED"],
            Code.ALREADY_RESOLVED,
            Code.ALREADY_RESOLVED,
        ),
    ),
    "resolve with lessons": (
        RESOLVE_WHOLE,
        (
            Code.NOT_ACKNOWLEDGED,
            Code.NO_ROOT_CAUSE,
            Code.NO_ROOT_CAUSE,
            ["RESOLVED", "CLOSED"],
            Code.ALREADY_RESOLVED,
            Code.ALREADY_RESOLVED,
        ),
    ),
    "close": (CLOSE, (*[Code.NOT_RESOLVED] * 4, ["CLOSED"], Code.ALREADY_CLOSED)),
    "close with nothing": (Close(), (*[Code.NOT_RESOLVED] * 4, Code.CONTEXT_REQUIRED, Code.ALREADY_CLOSED)),
    "note": (AddNote("Customers know"), (["NOTE_ADDED"],) * 6),
    "signal": (ReceiveSignal(), (["SIGNAL_RECEIVED"],) * 6),
    "lower": (ChangeSeverity(Severity.LOW, "Less"), (*[["SEVERITY_CHANGED"]] * 5, Code.ALREADY_CLOSED)),
    "raise": (
        ChangeSeverity(Severity.CRITICAL, "More"),
        (*[["SEVERITY_CHANGED", "ESCALATED"]] * 5, Code.ALREADY_CLOSED),
    ),
    "same": (ChangeSeverity(Severity.HIGH, "Same"), (*[Code.ALREADY_RECORDED] * 5, Code.ALREADY_CLOSED)),
    "worse report": (RaiseSeverity(Severity.CRITICAL), (["SEVERITY_CHANGED", "ESCALATED"],) * 6),
    "milder report": (RaiseSeverity(Severity.MEDIUM), ([],) * 6),
    "by hand": (
        Escalate(EscalationReason.MANUAL_ESCALATION, "Help"),
        (*[["ESCALATED"]] * 5, Code.ALREADY_CLOSED),
    ),
    "1 hour": (
        Escalate(EscalationReason.NO_ACK_1HR),
        (["ESCALATED"], *[Code.ALREADY_ACKNOWLEDGED] * 4, Code.ALREADY_CLOSED),
    ),
    "4 hours": (
        Escalate(EscalationReason.NO_ACK_4HR),
        (["ESCALATED"], *[Code.ALREADY_ACKNOWLEDGED] * 4, Code.ALREADY_CLOSED),
    ),
    "24 hours": (
        Escalate(EscalationReason.NO_ROOT_CAUSE_24HR),
        (*[["ESCALATED"]] * 3, *[Code.ALREADY_RECORDED] * 2, Code.ALREADY_CLOSED),
    ),
    "escalation arrived": (AcknowledgeEscalation(ADA, ADA, None), (["ESCALATION_ACKNOWLEDGED"],) * 6),
    "block": (BlockSessions(), (Code.CONFLICT,) * 6),
}
"""For each action: the steps or the refusal in each of the six states."""


@pytest.mark.parametrize("action", WHAT_HAPPENS)
@pytest.mark.parametrize("stage", STATES)
def test_each_action_does_in_each_state_what_the_mission_says(stage: str, action: str) -> None:
    what, outcomes = WHAT_HAPPENS[action]
    decision = decide(STATES[stage], what)
    expected = outcomes[list(STATES).index(stage)]
    if isinstance(decision, Refusal):
        assert decision.code == expected
        assert "INC-42" in decision.message
    else:
        assert [step.kind.value for step in decision] == expected


def test_second_acknowledgment_names_the_first_one() -> None:
    decision = decide(ACKNOWLEDGED, Acknowledge("Me too"))
    assert isinstance(decision, Refusal)
    assert "Ada" in decision.message
    assert decision.details == {
        "acknowledgedBy": {"id": str(ADA), "name": "Ada"},
        "acknowledgedAt": "2026-03-01T03:00:00+00:00",
    }


@pytest.mark.parametrize("reason", [reason for reason in EscalationReason if reason.name.startswith("NO_")])
def test_a_timed_rule_that_has_fired_does_not_fire_again(reason: EscalationReason) -> None:
    decision = decide(state(Status.REPORTED, fired=frozenset({reason})), Escalate(reason))
    assert isinstance(decision, Refusal)
    assert decision.code is Code.ALREADY_RECORDED


def test_closing_asks_only_for_what_nobody_has_said_yet() -> None:
    lessons, follow_ups = {"lessons_learned": "Watch it"}, {"follow_up_actions": FOLLOW_UPS}
    for known, said, missing in (
        ({}, Close(), ["lessonsLearned", "followUpActions"]),
        ({}, Close("Watch it"), ["followUpActions"]),
        ({}, Close(None, FOLLOW_UPS), ["lessonsLearned"]),
        (lessons, Close(), ["followUpActions"]),
        (follow_ups, Close(), ["lessonsLearned"]),
        (lessons, Close(None, FOLLOW_UPS), []),
        (lessons | follow_ups, Close(), []),
    ):
        decision = decide(state(Status.RESOLVED, **known), said)
        found = decision.details["missing"] if isinstance(decision, Refusal) else []
        assert found == missing


@pytest.mark.parametrize(
    "action",
    [Resolve("Mended", lessons_learned="Watch it"), Resolve("Mended", follow_up_actions=FOLLOW_UPS)],
)
def test_a_resolution_with_half_of_the_context_waits_in_resolved(action: Resolve) -> None:
    decision = decide(CAUSE_KNOWN, action)
    assert not isinstance(decision, Refusal)
    assert [step.kind for step in decision] == [EntryKind.RESOLVED]


def test_sessions_are_blocked_once_and_only_by_an_unacknowledged_critical_incident() -> None:
    critical = state(Status.REPORTED, severity=Severity.CRITICAL)
    decision = decide(critical, BlockSessions())
    assert not isinstance(decision, Refusal)
    blocked = evolve(critical, decision[0])
    assert blocked.sessions_blocked
    assert isinstance(decide(blocked, BlockSessions()), Refusal)
    acknowledgment = decide(blocked, Acknowledge("On it"))
    assert not isinstance(acknowledgment, Refusal)
    lifted = evolve(blocked, acknowledgment[0])
    assert not lifted.sessions_blocked
    assert isinstance(decide(lifted, BlockSessions()), Refusal)


def test_an_escalation_is_acknowledged_by_the_one_it_went_to_and_once() -> None:
    for escalated_to, acknowledged_at, code in (
        (BOB, None, Code.FORBIDDEN),
        (None, None, Code.FORBIDDEN),
        (ADA, AT, Code.ALREADY_ACKNOWLEDGED),
    ):
        decision = decide(REPORTED, AcknowledgeEscalation(escalated_to, ADA, acknowledged_at))
        assert isinstance(decision, Refusal)
        assert decision.code is code


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1).filter(str.strip)
actions = st.one_of(
    st.builds(Acknowledge, texts),
    st.just(StartInvestigation()),
    st.builds(RecordRootCause, texts, st.sampled_from(RootCauseCategory), texts),
    st.builds(
        Resolve,
        texts,
        lessons_learned=st.none() | texts,
        follow_up_actions=st.sampled_from([(), FOLLOW_UPS]),
    ),
    st.builds(Close, st.none() | texts, st.sampled_from([(), FOLLOW_UPS])),
    st.builds(AddNote, texts),
    st.builds(ChangeSeverity, st.sampled_from(Severity), texts),
    st.builds(RaiseSeverity, st.sampled_from(Severity)),
    st.builds(Escalate, st.sampled_from(EscalationReason), texts),
    st.builds(AcknowledgeEscalation, st.sampled_from([ADA, BOB, None]), st.just(ADA), st.sampled_from([None, AT])),
    st.just(BlockSessions()),
)


@given(st.lists(actions, max_size=25), st.sampled_from(Severity))
def test_any_sequence_of_actions_leaves_a_timeline_that_can_be_checked(taken: list[Action], opened: Severity) -> None:
    now = IncidentState(42, Status.REPORTED, opened)
    kinds: list[EntryKind] = []
    for action in taken:
        decision = decide(now, action)
        if isinstance(decision, Refusal):
            assert decision.message
            continue
        for step in decision:
            assert (now.status, step.status_after) in TRANSITIONS[step.kind]
            assert (step.severity_after is now.severity) == (step.kind is not EntryKind.SEVERITY_CHANGED)
            now = evolve(now, step)
            assert (now.status, now.severity) == (step.status_after, step.severity_after)
            kinds.append(step.kind)
    once = (EntryKind.ACKNOWLEDGED, EntryKind.INVESTIGATION_STARTED, EntryKind.ROOT_CAUSE_RECORDED)
    for kind in (*once, EntryKind.RESOLVED, EntryKind.CLOSED, EntryKind.SESSIONS_BLOCKED):
        assert kinds.count(kind) <= 1
    order = [kind for kind in kinds if kind in (*once, EntryKind.RESOLVED, EntryKind.CLOSED)]
    assert order == [*once, EntryKind.RESOLVED, EntryKind.CLOSED][: len(order)]
    assert now.has_root_cause == (EntryKind.ROOT_CAUSE_RECORDED in kinds)


def test_every_kind_of_entry_has_its_transitions() -> None:
    assert set(TRANSITIONS) == set(EntryKind)


# --- texts -----------------------------------------------------------------------------------------------------

WRITERS: dict[str, Callable[[str], object]] = {
    "notes": Acknowledge,
    "text": AddNote,
    "resolutionSummary": Resolve,
    "summary": lambda text: RecordRootCause(text, RootCauseCategory.UNKNOWN, "x"),
    "remediationSteps": lambda text: RecordRootCause("x", RootCauseCategory.UNKNOWN, text),
    "reason": lambda text: Escalate(EscalationReason.MANUAL_ESCALATION, text),
}


@pytest.mark.parametrize("field", WRITERS)
@pytest.mark.parametrize("text", ["", "   ", "\n\t", "x" * (MAX_TEXT_CHARACTERS + 1), "a\x00b", "a\ud800b"])
def test_texts_that_must_be_there_are_bounded_and_storable(field: str, text: str) -> None:
    with pytest.raises(TocsinError) as caught:
        WRITERS[field](text)
    assert caught.value.refusal.code is Code.INVALID
    assert caught.value.refusal.details["errors"][0]["field"] == field  # type: ignore[index]


def test_texts_are_kept_without_the_space_around_them_up_to_their_bound() -> None:
    assert Acknowledge("  on it \n").notes == "on it"
    assert len(Acknowledge(" " + "x" * MAX_TEXT_CHARACTERS + " ").notes) == MAX_TEXT_CHARACTERS
    assert optional_text("impact", "  ") is None
    assert optional_text("impact", None) is None
    assert Resolve("x", lessons_learned=" \n ").lessons_learned is None
    assert Escalate(EscalationReason.NO_ACK_1HR).notes == ""


NAIVE = datetime(2026, 3, 1)  # noqa: DTZ001  # on purpose


@pytest.mark.parametrize("time", [NAIVE, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_a_verification_time_without_a_zone_or_out_of_this_world_is_refused(time: datetime) -> None:
    with pytest.raises(TocsinError) as caught:
        RecordRootCause("x", RootCauseCategory.UNKNOWN, "x", time)
    assert caught.value.refusal.details["errors"][0]["field"] == "verifiedAt"  # type: ignore[index]
