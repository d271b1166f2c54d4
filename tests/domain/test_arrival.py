"""An arrival agrees with the report that it stands for, whichever way it was read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.arrival import Arrival, Glimpse, is_plain_id
from tocsin.domain.incident import Severity
from tocsin.domain.report import (
    EARLIEST_CLOCK,
    MAX_CLOCK_AHEAD,
    MAX_EVENT_ID_CHARACTERS,
    MAX_EXCEPTIONS,
    MAX_FINGERPRINT_PART_CHARACTERS,
    MAX_FINGERPRINT_PARTS,
    MAX_FRAMES,
    MAX_MESSAGE_CHARACTERS,
    MAX_TYPE_CHARACTERS,
    ErrorReport,
    Frame,
    RaisedException,
    Signal,
    bounded,
)

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30)


def long(limit: int) -> st.SearchStrategy[str]:
    """Return texts about as long as a bound, and short ones."""
    return TEXT | st.integers(limit - 1, limit + 1).map(lambda size: "x" * size)


FRAMES = st.builds(Frame, TEXT, TEXT, TEXT, st.none() | st.integers(0, 9_999), TEXT, st.booleans())
EXCEPTIONS = st.builds(RaisedException, TEXT, TEXT, TEXT, st.lists(FRAMES, max_size=3).map(tuple))
MANY_FRAMES = st.integers(MAX_FRAMES - 1, MAX_FRAMES + 1).map(
    lambda number: (RaisedException("E", frames=tuple(Frame(f"f{n}") for n in range(number))),)
)
MANY_EXCEPTIONS = st.integers(MAX_EXCEPTIONS - 1, MAX_EXCEPTIONS + 1).map(
    lambda number: tuple(RaisedException(f"E{n}") for n in range(number))
)
REPORTS = st.builds(
    ErrorReport,
    event_id=st.just("e1"),
    severity=st.sampled_from(Severity),
    error_type=long(MAX_TYPE_CHARACTERS),
    message=long(MAX_MESSAGE_CHARACTERS),
    occurred_at=st.sampled_from(
        [EARLIEST_CLOCK - MOMENT, EARLIEST_CLOCK, NOW, NOW + MAX_CLOCK_AHEAD, NOW + MAX_CLOCK_AHEAD + MOMENT]
    ),
    template=long(MAX_MESSAGE_CHARACTERS),
    fingerprint=st.lists(long(MAX_FINGERPRINT_PART_CHARACTERS), max_size=2).map(tuple)
    | st.integers(MAX_FINGERPRINT_PARTS - 1, MAX_FINGERPRINT_PARTS + 1).map(lambda number: ("part",) * number),
    exceptions=st.lists(EXCEPTIONS, max_size=3).map(tuple) | MANY_FRAMES | MANY_EXCEPTIONS,
)


def glimpse(report: ErrorReport) -> Glimpse:
    """Return what a parser's first look finds of a report."""
    return Glimpse(
        report.event_id,
        report.severity,
        report.error_type,
        report.message,
        report.occurred_at,
        report.template,
        report.fingerprint,
        report.exceptions,
    )


def told(arrival: Arrival) -> tuple[object, ...]:
    """Return what decides of an arrival."""
    return (
        arrival.event_id,
        arrival.severity,
        arrival.mark,
        arrival.title,
        arrival.error_type,
        arrival.occurred_at,
        arrival.signal,
        arrival.expires_at,
    )


@given(REPORTS)
def test_what_is_seen_at_a_glance_is_what_the_whole_report_says(report: ErrorReport) -> None:
    whole, seen = bounded(report, received_at=NOW), glimpse(report)
    if seen.is_bounded(NOW):
        assert told(seen.arrival("e1", lambda: whole)) == told(Arrival.of(whole))


@given(REPORTS)
def test_a_glance_is_trusted_unless_a_bound_would_change_what_decides(report: ErrorReport) -> None:
    """The quick look must not be given up without a reason: it is what makes a storm cheap."""
    whole = bounded(report, received_at=NOW)
    unchanged = (
        (whole.error_type, whole.message, whole.template, whole.occurred_at, whole.fingerprint)
        == (report.error_type, report.message, report.template, report.occurred_at, report.fingerprint)
    ) and whole.exceptions == report.exceptions
    assert glimpse(report).is_bounded(NOW) == unchanged


@pytest.mark.parametrize(
    ("report", "trusted"),
    [
        ({"error_type": "x" * MAX_TYPE_CHARACTERS}, True),
        ({"error_type": "x" * (MAX_TYPE_CHARACTERS + 1)}, False),
        ({"message": "x" * (MAX_MESSAGE_CHARACTERS + 1)}, False),
        ({"template": "x" * (MAX_MESSAGE_CHARACTERS + 1)}, False),
        ({"fingerprint": ("x",) * (MAX_FINGERPRINT_PARTS + 1)}, False),
        ({"fingerprint": ("x" * (MAX_FINGERPRINT_PART_CHARACTERS + 1),)}, False),
        ({"exceptions": (RaisedException("E"),) * (MAX_EXCEPTIONS + 1)}, False),
        ({"exceptions": (RaisedException("E", frames=(Frame("f"),) * 51),) * 2}, False),
        ({"exceptions": (RaisedException("E", frames=(Frame("f"),) * 50),) * 2}, True),
        ({"occurred_at": EARLIEST_CLOCK - MOMENT}, False),
        ({"occurred_at": NOW + MAX_CLOCK_AHEAD + MOMENT}, False),
        ({"occurred_at": NOW + MAX_CLOCK_AHEAD}, True),
    ],
)
def test_each_bound_is_looked_at(report: dict[str, object], trusted: bool) -> None:
    parts: dict[str, object] = {"error_type": "E", "message": "m", "occurred_at": NOW} | report
    one = ErrorReport(event_id="e1", severity=Severity.HIGH, **parts)  # type: ignore[arg-type]
    assert glimpse(one).is_bounded(NOW) is trusted


def test_an_arrival_of_a_report_keeps_its_signal_and_its_expiry_and_is_that_report() -> None:
    report = ErrorReport("e1", Severity.LOW, "E", "m", NOW, signal=Signal.RESOLVE, expires_at=NOW + MOMENT)
    arrival = Arrival.of(report)
    assert (arrival.signal, arrival.expires_at) == (Signal.RESOLVE, NOW + MOMENT)
    assert arrival.whole() is report


@given(st.text(max_size=MAX_EVENT_ID_CHARACTERS + 2))
def test_a_plain_id_is_one_that_bounding_leaves_alone(event_id: str) -> None:
    report = ErrorReport(event_id, Severity.LOW, "E", "m", NOW)
    if event_id and is_plain_id(event_id):
        assert bounded(report, received_at=NOW).event_id == event_id


def test_a_plain_id_has_its_length_and_its_letters() -> None:
    assert is_plain_id("x" * MAX_EVENT_ID_CHARACTERS)
    assert not is_plain_id("x" * (MAX_EVENT_ID_CHARACTERS + 1))
    assert not is_plain_id("é")
    assert not is_plain_id("a\nb")
    assert not is_plain_id("a\x00")
