"""What becomes of a report: the table of the mission, and its edges."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.deduplication import LatestIncident, Outcome, judge
from tocsin.domain.incident import Severity, Status

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
WINDOW = timedelta(minutes=5)


def judged(
    severity: Severity,
    status: Status | None = None,
    age: timedelta = timedelta(),
    threshold: Severity = Severity.HIGH,
    window: timedelta = WINDOW,
) -> Outcome:
    """Judge a report whose failure's latest incident has this status and age (None: there was none)."""
    latest = LatestIncident(UUID(int=1), status, Severity.HIGH, NOW - age) if status else None
    return judge(severity, latest, NOW, window=window, threshold=threshold)


@pytest.mark.parametrize(
    ("severity", "threshold", "outcome"),
    [
        (Severity.CRITICAL, Severity.HIGH, Outcome.OPENED),
        (Severity.HIGH, Severity.HIGH, Outcome.OPENED),
        (Severity.MEDIUM, Severity.HIGH, Outcome.RECORDED),
        (Severity.LOW, Severity.HIGH, Outcome.RECORDED),
        (Severity.MEDIUM, Severity.MEDIUM, Outcome.OPENED),
        (Severity.LOW, Severity.MEDIUM, Outcome.RECORDED),
        (Severity.LOW, Severity.LOW, Outcome.OPENED),
        (Severity.HIGH, Severity.CRITICAL, Outcome.OPENED),
    ],
)
def test_a_new_failure_opens_from_the_threshold_and_always_when_high(
    severity: Severity, threshold: Severity, outcome: Outcome
) -> None:
    assert judged(severity, threshold=threshold) is outcome


@pytest.mark.parametrize("severity", Severity)
@pytest.mark.parametrize("status", [status for status in Status if status is not Status.CLOSED])
def test_every_report_joins_an_open_incident_however_old(severity: Severity, status: Status) -> None:
    assert judged(severity, status, timedelta(days=900)) is Outcome.JOINED


@pytest.mark.parametrize("severity", Severity)
def test_a_closed_incident_is_joined_until_the_window_ends_and_not_at_its_end(severity: Severity) -> None:
    moment = timedelta(microseconds=1)
    fresh = Outcome.OPENED if severity.at_least(Severity.HIGH) else Outcome.RECORDED
    assert judged(severity, Status.CLOSED, WINDOW - moment) is Outcome.JOINED
    assert judged(severity, Status.CLOSED, WINDOW) is fresh
    assert judged(severity, Status.CLOSED, WINDOW + moment) is fresh
    assert judged(severity, Status.CLOSED, -moment) is Outcome.JOINED, "another machine's clock may be ahead"
    assert judged(severity, Status.CLOSED, window=timedelta(0)) is fresh


@given(
    st.sampled_from(Severity),
    st.none() | st.sampled_from(Status),
    st.timedeltas(timedelta(0), timedelta(days=1000)),
    st.sampled_from(Severity),
    st.timedeltas(timedelta(0), timedelta(days=1)),
)
def test_no_high_or_critical_report_is_ever_only_recorded(
    severity: Severity, status: Status | None, age: timedelta, threshold: Severity, window: timedelta
) -> None:
    outcome = judged(severity, status, age, threshold, window)
    assert outcome is not Outcome.DUPLICATE
    if severity.at_least(Severity.HIGH):
        assert outcome is not Outcome.RECORDED
