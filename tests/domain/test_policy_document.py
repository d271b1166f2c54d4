"""Policies as documents: what is shown can be taken in again, and what cannot be meant is refused by its field."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.policy import (
    DEFAULT_LEASE,
    MAX_LEASE,
    MAX_REPEAT,
    MAX_STEPS,
    MAX_TARGETS,
    MIN_LEASE,
    Duty,
    StepReason,
)
from tocsin.domain.policy_document import (
    PolicyDraft,
    StepDraft,
    TargetKind,
    TargetName,
    delay_text,
    document_of,
    parse_policy,
)
from tocsin.errors import Code, TocsinError

LINES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=40)
TARGETS = st.one_of(
    st.builds(TargetName, st.just(TargetKind.DUTY), st.sampled_from([duty.value for duty in Duty])),
    st.builds(TargetName, st.sampled_from([TargetKind.USER, TargetKind.SCHEDULE]), LINES),
)
SECONDS = st.integers(0, 31_536_000).map(lambda seconds: timedelta(seconds=seconds))
STEPS = st.builds(
    StepDraft,
    st.sampled_from(StepReason),
    SECONDS,
    st.lists(TARGETS, min_size=1, max_size=MAX_TARGETS).map(tuple),
)
DRAFTS = st.builds(
    PolicyDraft,
    LINES,
    st.lists(STEPS, max_size=5).map(tuple),
    st.integers(0, MAX_REPEAT),
    st.one_of(st.none(), st.integers(60, 31_536_000).map(lambda seconds: timedelta(seconds=seconds))),
)
STEP = {"afterSeconds": 600, "targets": [{"duty": "ON_CALL"}]}


@given(DRAFTS)
def test_what_is_shown_can_be_taken_in_again(draft: PolicyDraft) -> None:
    assert parse_policy(json.loads(json.dumps(document_of(draft)))) == draft


def test_what_is_not_said_is_as_in_the_default() -> None:
    draft = parse_policy({"name": " payments "})
    assert draft == PolicyDraft("payments", (), 0, DEFAULT_LEASE)
    reasons = [
        parse_policy({"name": "x", "steps": [STEP | {"afterSeconds": seconds}]}).steps[0].reason for seconds in (0, 1)
    ]
    assert reasons == [StepReason.INCIDENT_OPENED, StepReason.POLICY_STEP]


@pytest.mark.parametrize(
    ("seconds", "lease"),
    [(None, None), (0, None), (60, MIN_LEASE), (31_536_000, MAX_LEASE), (7200, timedelta(hours=2))],
)
def test_a_lease_is_bounded_or_for_ever(seconds: int | None, lease: timedelta | None) -> None:
    assert parse_policy({"name": "x", "leaseSeconds": seconds}).lease == lease


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ([], ""),
        ({"nam": "x"}, "nam"),
        ({"name": 1}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "a\ud800"}, "name"),
        ({"repeat": 21}, "repeat"),
        ({"repeat": -1}, "repeat"),
        ({"repeat": True}, "repeat"),
        ({"repeat": 1.0}, "repeat"),
        ({"leaseSeconds": 59}, "leaseSeconds"),
        ({"leaseSeconds": 31_536_001}, "leaseSeconds"),
        ({"leaseSeconds": "2h"}, "leaseSeconds"),
        ({"steps": {}}, "steps"),
        ({"steps": "x"}, "steps"),
        ({"steps": [STEP] * (MAX_STEPS + 1)}, "steps"),
        ({"steps": [1]}, "steps[0]"),
        ({"steps": [STEP, STEP | {"at": 1}]}, "steps[1].at"),
        ({"steps": [STEP | {"afterSeconds": 10**30}]}, "steps[0].afterSeconds"),
        ({"steps": [STEP | {"reason": "MANUAL_ESCALATION"}]}, "steps[0].reason"),
        ({"steps": [STEP | {"reason": []}]}, "steps[0].reason"),
        ({"steps": [STEP | {"targets": []}]}, "steps[0].targets"),
        ({"steps": [{"afterSeconds": 600}]}, "steps[0].targets"),
        ({"steps": [STEP | {"targets": [{"duty": "ON_CALL"}] * (MAX_TARGETS + 1)}]}, "steps[0].targets"),
        ({"steps": [STEP | {"targets": [{}]}]}, "steps[0].targets[0]"),
        ({"steps": [STEP | {"targets": [{"duty": "ON_CALL", "user": "x"}]}]}, "steps[0].targets[0]"),
        ({"steps": [STEP | {"targets": [{"duty": "JANITOR"}]}]}, "steps[0].targets[0].duty"),
        ({"steps": [STEP | {"targets": [{"user": "a\x00"}]}]}, "steps[0].targets[0].user"),
        ({"steps": [STEP | {"targets": [{"pager": "x"}]}]}, "steps[0].targets[0].pager"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_field(wrong: Any, field: str) -> None:
    with pytest.raises(TocsinError) as caught:
        parse_policy({"name": "x"} | wrong if isinstance(wrong, dict) else wrong)
    assert caught.value.refusal.code is Code.INVALID
    assert caught.value.refusal.details["errors"][0]["field"] == field  # type: ignore[index]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (1, "1s"), (5400, "1h30m"), (90_061, "1d1h1m1s"), (31_536_000, "365d")]
)
def test_a_delay_reads_as_the_command_line_takes_it(seconds: int, text: str) -> None:
    assert delay_text(timedelta(seconds=seconds)) == text
