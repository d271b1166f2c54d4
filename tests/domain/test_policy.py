"""Policies: what every policy keeps, and which one an incident follows."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from tocsin.domain.incident import Severity
from tocsin.domain.policy import (
    DEFAULT_STEPS,
    MAX_STEPS,
    Duty,
    Policies,
    Policy,
    Route,
    Step,
    StepReason,
    Target,
    checked_line,
    checked_steps,
    never_asked,
)
from tocsin.errors import TocsinError

ON_CALL = (Target(duty=Duty.ON_CALL),)


def policy(number: int) -> Policy:
    """Return a policy with the default's steps."""
    return Policy(UUID(int=number), f"policy {number}", DEFAULT_STEPS)


def test_a_policy_keeps_the_rules_that_it_does_not_name() -> None:
    steps = checked_steps([Step(StepReason.POLICY_STEP, timedelta(minutes=10), ON_CALL)])
    assert [(step.reason.value, step.after) for step in steps] == [
        ("INCIDENT_OPENED", timedelta()),
        ("POLICY_STEP", timedelta(minutes=10)),
        ("NO_ACK_1HR", timedelta(hours=1)),
        ("NO_ACK_4HR", timedelta(hours=4)),
        ("NO_ROOT_CAUSE_24HR", timedelta(hours=24)),
    ]


def test_a_rule_that_it_names_is_its_own() -> None:
    steps = checked_steps([Step(StepReason.NO_ACK_1HR, timedelta(minutes=5), ON_CALL)])
    assert [step.after for step in steps if step.reason is StepReason.NO_ACK_1HR] == [timedelta(minutes=5)]


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([Step(StepReason.NO_ACK_1HR, timedelta(hours=1), ON_CALL)] * 2, "NO_ACK_1HR 2 times"),
        ([Step(StepReason.INCIDENT_OPENED, timedelta(minutes=1), ON_CALL)], "at once"),
        ([Step(StepReason.POLICY_STEP, timedelta(), ON_CALL)], "delay"),
        ([Step(StepReason.POLICY_STEP, timedelta(days=366), ON_CALL)], "delay"),
        ([Step(StepReason.POLICY_STEP, timedelta(minutes=1), ())], "0 targets"),
        ([Step(StepReason.POLICY_STEP, timedelta(minutes=1), ON_CALL * 21)], "21 targets"),
        ([Step(StepReason.POLICY_STEP, timedelta(minutes=1), (Target(),))], "exactly"),
        ([Step(StepReason.POLICY_STEP, timedelta(minutes=1), (Target(UUID(int=1), UUID(int=2)),))], "exactly"),
        ([Step(StepReason.POLICY_STEP, timedelta(minutes=1), ON_CALL)] * MAX_STEPS, "steps"),
    ],
)
def test_what_cannot_be_a_policy_is_refused(steps: list[Step], problem: str) -> None:
    with pytest.raises(TocsinError, match=problem):
        checked_steps(steps)


def test_the_first_route_that_matches_leads_to_the_policy_and_else_the_default_is_followed() -> None:
    policies = Policies(
        {UUID(int=number): policy(number) for number in (1, 2, 3)},
        (
            Route(UUID(int=10), "payments", frozenset({Severity.CRITICAL}), UUID(int=2)),
            Route(UUID(int=11), "payments", None, UUID(int=3)),
            Route(UUID(int=12), None, frozenset({Severity.LOW}), UUID(int=2)),
        ),
        UUID(int=1),
    )
    assert policies.of("payments", Severity.CRITICAL).id.int == 2
    assert policies.of("payments", Severity.HIGH).id.int == 3
    assert policies.of("search", Severity.LOW).id.int == 2
    assert policies.of(None, Severity.HIGH).id.int == 1


def route(number: int, service: str | None, *severities: Severity) -> Route:
    """Return a route to policy 1."""
    return Route(UUID(int=number), service, frozenset(severities) or None, UUID(int=1))


HIGH_UP = (Severity.HIGH, Severity.CRITICAL)


@pytest.mark.parametrize(
    ("before", "behind", "never"),
    [
        (route(1, None), route(2, "payments", Severity.HIGH), True),
        (route(1, "payments"), route(2, "payments", Severity.HIGH), True),
        (route(1, "payments", *HIGH_UP), route(2, "payments", Severity.HIGH), True),
        (route(1, None, *Severity), route(2, None), True),
        (route(1, "payments"), route(2, "payments"), True),
        (route(1, "payments"), route(2, None), False),
        (route(1, "payments"), route(2, "search"), False),
        (route(1, "payments", Severity.HIGH), route(2, "payments", *HIGH_UP), False),
        (route(1, "payments", Severity.HIGH), route(2, "payments"), False),
    ],
)
def test_a_route_behind_one_that_takes_all_of_its_incidents_is_never_asked(
    before: Route, behind: Route, never: bool
) -> None:
    other = route(3, "else")
    assert never_asked([other, before, behind]) == ((behind, before) if never else None)


@pytest.mark.parametrize("text", ["", " ", "a\nb", "a\x00", "a\ud800", "x" * 201])
def test_a_name_is_one_printable_line(text: str) -> None:
    with pytest.raises(TocsinError, match="one printable line of 1 to 200"):
        checked_line("service", text, 200)
