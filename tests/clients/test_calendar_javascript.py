"""What ical.js, which Thunderbird reads calendars with, finds in a feed: the shifts, and nothing else."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from tests.clients.conftest import RunNode
from tocsin.domain.calendar import Named, written
from tocsin.domain.oncall import Override, Schedule, shifts
from tocsin.domain.rotation import Layer, Restriction, Rotation, RotationKind
from tocsin.domain.wall_clock import zone

pytestmark = pytest.mark.slow

NOW = datetime(2026, 3, 20, 12, 34, 56, 789, tzinfo=UTC)
PEOPLE = {
    UUID(int=1): Named("Ana, the “first”; of\nmany\\n", "ana@example.org"),
    UUID(int=2): Named("Börje " + "ö" * 150, "bo@example.org"),
    UUID(int=3): Named('C" \r\nBEGIN:VEVENT', "c@example.org"),
}


def test_it_reads_every_shift_of_a_feed_as_it_is(run_node: RunNode, tmp_path: Path) -> None:
    night = Restriction(frozenset(range(7)), time(18), time(8))
    rotation = Rotation(RotationKind.DAILY, 1, date(2026, 3, 2), time(9))
    layers = (
        Layer("days", rotation, tuple(PEOPLE)),
        Layer("nights; all", rotation, tuple(reversed(PEOPLE)), (night,)),
    )
    start = datetime(2026, 3, 29, 10, 30, tzinfo=UTC)
    override = Override(UUID(int=9), UUID(int=3), start, start + timedelta(hours=1))
    schedule = Schedule(UUID(int=7), "primary, secondary; all", zone("Europe/Berlin"), 1, layers, (override,))
    found = list(shifts(schedule, NOW - timedelta(days=30), NOW + timedelta(days=90)))
    file = tmp_path / "feed.ics"
    file.write_bytes(written(schedule.name, schedule.id, ((shift, PEOPLE[shift.user_id]) for shift in found), NOW))
    ended = run_node("calendar.js", str(file))
    assert ended.returncode == 0, ended.stderr
    read = json.loads(ended.stdout)
    assert read["name"] == schedule.name
    assert len({event["uid"] for event in read["events"]}) == len(found) > 200
    for event, shift in zip(read["events"], found, strict=True):
        person = PEOPLE[shift.user_id]
        assert datetime.fromisoformat(event["start"]) == shift.starts_at
        assert datetime.fromisoformat(event["end"]) == shift.ends_at
        assert datetime.fromisoformat(event["stamp"]) == NOW.replace(microsecond=0)
        assert event["summary"] == person.name.replace("\r\n", "\n")
        assert event["mail"] == f"mailto:{person.email}"
        assert event["description"] == f"On call: {schedule.name}, {shift.source}"
        assert "VEVENT" not in event["name"] or shift.user_id == UUID(int=3)
