"""The days of a schedule: every hour lies in its place, the clock's jumps included."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from tocsin.domain.day_grid import HOURS, days_of
from tocsin.domain.oncall import Override, Schedule
from tocsin.domain.rotation import Layer, Restriction, Rotation, RotationKind

ADA, BEN = UUID(int=1), UUID(int=2)
VIENNA = ZoneInfo("Europe/Vienna")


def schedule(*restrictions: Restriction, overrides: tuple[Override, ...] = ()) -> Schedule:
    rotation = Rotation(RotationKind.DAILY, 1, date(2026, 1, 1), time(9))
    layer = Layer("days", rotation, (ADA, BEN), restrictions)
    return Schedule(UUID(int=9), "payments", VIENNA, 1, (layer,), overrides)


@pytest.mark.parametrize("first", [date(2026, 3, 25), date(2026, 10, 20), date(2026, 6, 1)])
def test_days_and_hours_leave_nothing_out(first: date) -> None:
    days = days_of(schedule(), first, 14)
    hours = [hour for day in days for hour in day.hours]
    assert len(hours) == 14 * HOURS
    assert all(one.ends_at == other.starts_at for one, other in pairwise(hours))
    assert all(hour.users and not hour.missing for hour in hours if not hour.left_out)
    assert days[0].starts_at == datetime.combine(first, time(), VIENNA)


def test_an_hour_that_the_clock_leaves_out_takes_no_time_and_one_that_comes_twice_takes_two() -> None:
    spring, autumn = days_of(schedule(), date(2026, 3, 29), 1)[0], days_of(schedule(), date(2026, 10, 25), 1)[0]
    assert [place for place, hour in enumerate(spring.hours) if hour.left_out] == [2]
    assert [(hour.ends_at - hour.starts_at) for hour in autumn.hours][2] == timedelta(hours=2)


def test_a_gap_and_an_override_are_where_they_are() -> None:
    office = Restriction(frozenset(range(7)), time(9), time(17))
    start = datetime(2026, 6, 1, 18, tzinfo=VIENNA).astimezone(UTC)
    late = Override(UUID(int=5), BEN, start, start + timedelta(hours=2))
    day = days_of(schedule(office, overrides=(late,)), date(2026, 6, 1), 1)[0]
    assert [place for place, hour in enumerate(day.hours) if hour.missing] == [*range(9), 17, *range(20, 24)]
    assert [day.hours[place].users for place in (18, 19)] == [(BEN,), (BEN,)]
    assert [(gap.ends_at - gap.starts_at).total_seconds() / 3600 for gap in day.gaps] == [9, 1, 4]
