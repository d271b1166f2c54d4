"""Silences: which incidents they are about, when they hold, and which of several counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tocsin.domain.incident import Severity
from tocsin.domain.silence import Silence, SilenceFacts, SilenceKind, active, holding, matches

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ANY = Silence(UUID(int=1), SilenceKind.SILENCE, None, None, None, None, NOON, NOON + HOUR, "quiet please", UUID(int=9))
FACTS = SilenceFacts(UUID(int=42), 1, "payments", Severity.HIGH)


def test_what_is_none_matches_everything() -> None:
    assert ANY.matches_everything
    assert matches(ANY, FACTS)
    assert matches(ANY, SilenceFacts(UUID(int=43), None, None, Severity.LOW))


@pytest.mark.parametrize(
    ("narrowed", "other"),
    [
        (replace(ANY, incident_id=UUID(int=42)), replace(FACTS, incident_id=UUID(int=43))),
        (replace(ANY, project_id=1), replace(FACTS, project_id=None)),
        (replace(ANY, service="payments"), replace(FACTS, service=None)),
        (replace(ANY, severities=frozenset({Severity.LOW, Severity.HIGH})), replace(FACTS, severity=Severity.CRITICAL)),
    ],
)
def test_everything_that_it_names_must_be_so(narrowed: Silence, other: SilenceFacts) -> None:
    assert not narrowed.matches_everything
    assert matches(narrowed, FACTS)
    assert not matches(narrowed, other)
    assert not matches(replace(narrowed, incident_id=UUID(int=42), project_id=2), FACTS)


def test_it_holds_from_its_start_until_just_before_its_end() -> None:
    instants = [NOON - timedelta.resolution, NOON, NOON + HOUR - timedelta.resolution, NOON + HOUR]
    assert [active(ANY, at) for at in instants] == [False, True, True, False]
    assert not active(replace(ANY, ends_at=NOON), NOON)


def test_of_several_the_one_that_ends_last_holds() -> None:
    longer = replace(ANY, id=UUID(int=2), ends_at=NOON + 2 * HOUR)
    later = replace(ANY, id=UUID(int=3), starts_at=NOON + HOUR, ends_at=NOON + 9 * HOUR)
    another = replace(ANY, id=UUID(int=4), service="search", ends_at=NOON + 9 * HOUR)
    assert holding([ANY, longer, later, another], FACTS, NOON) == longer
    assert holding([later, another], FACTS, NOON) is None
    assert holding([], FACTS, NOON) is None
