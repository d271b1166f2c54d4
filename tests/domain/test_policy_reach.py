"""Whom a policy reaches: the step that reaches nobody is named, with why and what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from tocsin.domain.policy import DEFAULT_STEPS, Duty, Policy, Step, StepReason, Target
from tocsin.domain.policy_reach import Directory, Person, Roster, unreachable, worsened

ANA, OUT, MUTE, GONE = (UUID(int=number) for number in range(1, 5))
WEEK, EMPTY, NOBODY = (UUID(int=number) for number in range(11, 14))
DIRECTORY = Directory(
    {
        ANA: Person("ana@example.org", active=True, has_contact=True),
        OUT: Person("out@example.org", active=False, has_contact=True),
        MUTE: Person("mute@example.org", active=True, has_contact=False),
    },
    {
        WEEK: Roster("week", frozenset({ANA, OUT})),
        EMPTY: Roster("empty", frozenset()),
        NOBODY: Roster("nobody", frozenset({OUT, MUTE})),
    },
    {Duty.ON_CALL: Target(user_id=ANA), Duty.SUPERVISOR: Target(schedule_id=WEEK), Duty.DIRECTOR: Target(user_id=ANA)},
    superadmins_told=True,
)
DEFAULT = Policy(UUID(int=99), "default", DEFAULT_STEPS)


def paging(*targets: Target) -> Policy:
    """Return a policy with one step for these targets beside the default's."""
    return replace(DEFAULT, steps=(*DEFAULT_STEPS, Step(StepReason.POLICY_STEP, timedelta(minutes=10), targets)))


def test_a_step_is_reached_through_any_of_its_targets() -> None:
    assert unreachable([DEFAULT], DIRECTORY) == ()
    for target in (Target(user_id=ANA), Target(schedule_id=WEEK), *(Target(duty=duty) for duty in Duty)):
        assert unreachable([paging(Target(user_id=OUT), target)], DIRECTORY) == ()


@pytest.mark.parametrize(
    ("target", "why", "hint"),
    [
        (Target(user_id=OUT), "out@example.org, who is not active", "users activate out@example.org"),
        (Target(user_id=MUTE), "mute@example.org, who has no contact method", "users contact add mute@example.org"),
        (Target(user_id=GONE), "not there any more", "somebody else"),
        (Target(schedule_id=EMPTY), "the schedule empty, which has no members", "schedules show empty"),
        (Target(schedule_id=NOBODY), "the schedule nobody, of whose members none", "schedules show nobody"),
        (Target(schedule_id=GONE), "not there any more", "another one"),
    ],
)
def test_a_target_that_reaches_nobody_is_named(target: Target, why: str, hint: str) -> None:
    (found,) = unreachable([paging(target)], DIRECTORY)
    assert "Policy default: the step POLICY_STEP after 10m reaches nobody: " in found.message
    assert why in found.message
    assert hint in found.hint
    directory = replace(DIRECTORY, duties=dict(DIRECTORY.duties) | {Duty.ON_CALL: target})
    first, second = unreachable([DEFAULT], directory)
    assert (first.step.reason, second.step.reason) == (StepReason.INCIDENT_OPENED, StepReason.NO_ACK_1HR)
    assert "ON_CALL is held by" in first.message
    assert "the step INCIDENT_OPENED at once reaches nobody" in first.message
    assert "would reach nobody any more: ON_CALL is held by" in first.loss
    assert "oncall assign ON_CALL" in first.hint
    assert "oncall assign ON_CALL" in first.prevention


def test_a_duty_that_nobody_holds_reaches_nobody_and_all_reasons_are_told() -> None:
    directory = replace(DIRECTORY, duties={})
    (found,) = unreachable(
        [
            replace(
                paging(Target(duty=Duty.DIRECTOR), Target(user_id=OUT)),
                steps=paging(Target(duty=Duty.DIRECTOR), Target(user_id=OUT)).steps[-1:],
            )
        ],
        directory,
    )
    assert found.why == "nobody holds the duty DIRECTOR; out@example.org, who is not active"
    assert found.message.endswith("(the superadmins are paged instead).")
    (found,) = unreachable([replace(DEFAULT, steps=DEFAULT_STEPS[:1])], replace(directory, superadmins_told=False))
    assert found.message.endswith("(no superadmin can be reached either).")
    assert found.loss.endswith(", and no superadmin can be reached either.")


def test_only_what_a_change_made_worse_counts() -> None:
    broken = unreachable([paging(Target(user_id=OUT))], DIRECTORY)
    more = unreachable([paging(Target(user_id=OUT), Target(user_id=MUTE))], DIRECTORY)
    silent = unreachable([paging(Target(user_id=OUT))], replace(DIRECTORY, superadmins_told=False))
    assert worsened([], broken) == broken
    assert worsened(broken, broken) == ()
    assert worsened(broken, ()) == ()
    assert worsened(broken, more) == more, "another step than before"
    assert worsened(broken, silent) == silent, "it lost the superadmins"
    assert worsened(silent, broken) == ()
    assert worsened(silent, silent) == ()
