"""Severity rules: the first one whose conditions all hold decides; a wrong rule is named exactly."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tocsin.domain.incident import Severity
from tocsin.domain.report import ErrorReport, RaisedException
from tocsin.domain.severity_rules import (
    MAX_CONDITIONS,
    MAX_MATCHED_CHARACTERS,
    MAX_PATTERN_CHARACTERS,
    MAX_RULES,
    judged_severity,
    parse_rules,
)
from tocsin.errors import Code, TocsinError

REPORT = ErrorReport(
    event_id="e1",
    severity=Severity.HIGH,
    error_type="PaymentError",
    message="[Errno 111] the bank refused card 4711",
    occurred_at=datetime(2026, 3, 1, tzinfo=UTC),
    exceptions=(RaisedException("PaymentError", handled=True),),
    platform="python",
    service="checkout",
    environment="production",
    release="shop@1.2.3",
    server_name="web-1",
    logger="shop.pay",
    tags={"region": "eu", "a.b": "c"},
)


def applies(when: dict[str, Any], report: ErrorReport = REPORT) -> bool:
    """Tell whether a rule with these conditions decides of a report."""
    wanted = Severity.LOW if report.severity is not Severity.LOW else Severity.CRITICAL
    return judged_severity(parse_rules([{"when": when, "severity": wanted.value}]), report) is wanted


@pytest.mark.parametrize(
    "when",
    [
        {"type": "PaymentError"},
        {"type": "paymenterror"},
        {"type": "Pay*"},
        {"type": "P?ymentError"},
        {"type": "*"},
        {"message": "*4711"},
        {"level": "high"},
        {"logger": "shop.*"},
        {"environment": "production"},
        {"service": "checkout"},
        {"release": "shop@1.*"},
        {"serverName": "web-?"},
        {"platform": "python"},
        {"tags.region": "eu"},
        {"tags.a.b": "c"},
        {"tags.absent": "*"},
        {"handled": True},
        {"type": "Pay*", "tags.region": "e?", "handled": True},
    ],
)
def test_a_condition_holds(when: dict[str, Any]) -> None:
    assert applies(when)


@pytest.mark.parametrize(
    "when",
    [
        {"type": "Payment"},
        {"type": "?PaymentError"},
        {"message": "4711*"},
        {"level": "critical"},
        {"tags.region": "us"},
        {"tags.absent": "?*"},
        {"handled": False},
        {"type": "Pay*", "environment": "staging"},
    ],
)
def test_a_condition_does_not_hold(when: dict[str, Any]) -> None:
    assert not applies(when)


def test_a_bracket_in_a_pattern_is_a_bracket() -> None:
    assert applies({"message": "[Errno 111] *"})
    assert not applies({"message": "[Errno 112] *"})
    assert not applies({"service": "[c]heckout"})


def test_a_pattern_sees_across_lines_and_only_the_beginning_of_a_long_text() -> None:
    assert applies({"message": "a*b"}, replace(REPORT, message="a\nb"))
    long = "x" * MAX_MATCHED_CHARACTERS
    assert applies({"message": "x*x"}, replace(REPORT, message=long + "the end"))
    assert not applies({"message": "*the end"}, replace(REPORT, message=long + "the end"))


@pytest.mark.parametrize(
    ("chain", "handled", "unhandled"),
    [((), False, False), ((None,), False, False), ((True, False), True, True), ((False, None), False, True)],
)
def test_handled_asks_whether_any_exception_of_the_chain_was(
    chain: tuple[bool | None, ...], handled: bool, unhandled: bool
) -> None:
    report = replace(REPORT, exceptions=tuple(RaisedException("E", handled=one) for one in chain))
    assert applies({"handled": True}, report) is handled
    assert applies({"handled": False}, report) is unhandled


def test_the_first_rule_that_applies_decides_and_without_one_the_report_does() -> None:
    rules = parse_rules(
        [
            {"when": {"type": "Other"}, "severity": "LOW"},
            {"when": {"type": "Pay*"}, "severity": "MEDIUM"},
            {"when": {"type": "*"}, "severity": "CRITICAL"},
        ]
    )
    assert judged_severity(rules, REPORT) is Severity.MEDIUM
    assert judged_severity(rules, replace(REPORT, error_type="X")) is Severity.CRITICAL
    assert judged_severity(rules[:1], REPORT) is Severity.HIGH
    assert judged_severity((), REPORT) is Severity.HIGH


GOOD = {"when": {"handled": False}, "severity": "CRITICAL"}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (None, ""),
        ({}, ""),
        ([GOOD] * (MAX_RULES + 1), ""),
        (["x"], "[0]"),
        ([GOOD, {"severity": "LOW"}], "[1]"),
        ([GOOD | {"when": {}}], "[0]"),
        ([GOOD | {"when": {f"tags.{number}": "x" for number in range(MAX_CONDITIONS + 1)}}], "[0]"),
        ([GOOD | {"when": {"colour": "red"}}], "[0].when.colour"),
        ([GOOD | {"when": {"tags.": "x"}}], "[0].when.tags."),
        ([GOOD | {"when": {"type": ""}}], "[0].when.type"),
        ([GOOD | {"when": {"type": "x" * (MAX_PATTERN_CHARACTERS + 1)}}], "[0].when.type"),
        ([GOOD | {"when": {"type": True}}], "[0].when.type"),
        ([GOOD | {"when": {"handled": "no"}}], "[0].when.handled"),
        ([GOOD | {"severity": "high"}], "[0].severity"),
        ([GOOD | {"severity": ["LOW"]}], "[0].severity"),
    ],
)
def test_a_wrong_rule_is_refused_by_its_place(document: object, field: str) -> None:
    with pytest.raises(TocsinError) as caught:
        parse_rules(document)
    assert caught.value.refusal.code is Code.INVALID
    errors: Any = caught.value.refusal.details["errors"]
    assert [error["field"] for error in errors] == [field]


def test_every_wrong_part_is_named_at_once_and_the_bounds_are_allowed() -> None:
    with pytest.raises(TocsinError) as caught:
        parse_rules([5, GOOD, {"when": {"x": "y"}, "severity": "odd"}])
    errors: Any = caught.value.refusal.details["errors"]
    assert [error["field"] for error in errors] == ["[0]", "[2].when.x", "[2].severity"]
    most = {f"tags.{number}": "x" * MAX_PATTERN_CHARACTERS for number in range(MAX_CONDITIONS)}
    assert len(parse_rules([{"when": most, "severity": "LOW"}] * MAX_RULES)) == MAX_RULES


FIELDS = st.sampled_from(["type", "message", "level", "logger", "environment", "service", "tags.a", "tags.b c"])
CONDITIONS = st.dictionaries(FIELDS, st.text(min_size=1, max_size=20), min_size=1, max_size=4)
RULES = st.lists(
    st.fixed_dictionaries({"when": CONDITIONS, "severity": st.sampled_from([str(one) for one in Severity])}),
    max_size=5,
)


@given(RULES)
def test_rules_are_stored_as_they_were_written(document: list[dict[str, Any]]) -> None:
    assert [rule.document() for rule in parse_rules(document)] == document


@given(st.text(max_size=60), st.text(min_size=1, max_size=60))
def test_any_pattern_has_an_answer_and_a_plain_text_matches_itself(message: str, pattern: str) -> None:
    applies({"message": pattern}, replace(REPORT, message=message))
    if not set(pattern) & set("*?"):
        assert applies({"message": pattern}, replace(REPORT, message=pattern))


def test_a_hostile_pattern_takes_no_time() -> None:
    pattern = "*a" * (MAX_PATTERN_CHARACTERS // 2 - 1) + "*b"
    assert not applies({"message": pattern}, replace(REPORT, message="a" * MAX_MATCHED_CHARACTERS))
