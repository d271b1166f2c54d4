"""Who is on call: exactly as many as there should be, in turns, whatever the clocks of the world do."""

# ruff: noqa: DTZ001  # wall times have no zone

from __future__ import annotations

import zoneinfo
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.oncall_reference import (
    DAY,
    FIRST,
    LAST,
    MINUTE,
    Transition,
    rotation,
    transitions,
    watched,
    zones_by_behaviour,
)
from tocsin.domain.oncall import Gap, Override, Schedule, Shift, gaps, on_call, shifts
from tocsin.domain.rotation import Layer, Restriction, Rotation, RotationKind
from tocsin.domain.schedule_bounds import MAX_MEMBERS, MAX_OVERRIDE, checked, checked_period
from tocsin.domain.wall_clock import latest_shown, lost_days, stored_zone, takes_place, zone
from tocsin.errors import Code, TocsinError

A, B, C, D = (UUID(int=number) for number in range(1, 5))
HOUR = timedelta(hours=1)
WEEK = timedelta(weeks=1)
BERLIN = zone("Europe/Berlin")
NINE = time(9)
WORKING_DAYS = frozenset(range(5))
OFFICE_HOURS = Restriction(WORKING_DAYS, NINE, time(17))
ALWAYS = Rotation(RotationKind.DAILY, 1, date(2026, 3, 2), NINE)  # a Monday


def schedule(*layers: Layer, where: ZoneInfo = BERLIN, people: int = 1, overrides: Sequence[Override] = ()) -> Schedule:
    return checked(Schedule(UUID(int=99), "primary", where, people, layers, tuple(overrides)))


def layer(rotation: Rotation = ALWAYS, *restrictions: Restriction, members: tuple[UUID, ...] = (A, B, C)) -> Layer:
    return Layer(f"{rotation.kind} {len(restrictions)}", rotation, members, restrictions)


def local(text: str, where: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=where).astimezone(UTC)


def who(people: Sequence[UUID]) -> str:
    return "".join("?ABCD"[person.int] for person in people)


def told(found: Sequence[Shift], where: ZoneInfo = BERLIN) -> list[str]:
    """Return shifts as people write them on the wall: day and time in the zone."""

    def day_and_time(at: datetime) -> str:
        return f"{at.astimezone(where):%d %H:%M}"

    return [f"{who([shift.user_id])} {day_and_time(shift.starts_at)}-{day_and_time(shift.ends_at)}" for shift in found]


def override(user: UUID, start: str, end: str, instead_of: UUID | None = None, number: int = 1) -> Override:
    return Override(UUID(int=1_000 + number), user, local(start), local(end), instead_of)


# --- the world's clocks ----------------------------------------------------------------------------------------


def _around(change: Transition, where: ZoneInfo) -> list[Schedule]:
    """Return schedules that have a hand-off or a restriction exactly where the clocks are changed."""
    midnight = datetime.combine(change.wall_before.date(), time()) - 2 * DAY
    at_change = change.wall_before - 2 * DAY
    in_change = change.wall_before + (change.wall_after - change.wall_before) / 2 - 2 * DAY
    night = Restriction(frozenset(range(7)), in_change.time(), (in_change - 2 * HOUR).time())
    hours = Restriction(frozenset(range(7)), change.wall_before.time(), change.wall_after.time())
    daily = [rotation(RotationKind.DAILY, 1, first) for first in (midnight, at_change, in_change)]
    return [
        *(schedule(layer(one), where=where) for one in daily),
        schedule(layer(daily[1]), layer(daily[0], hours), where=where, people=2),
        schedule(layer(daily[2], night), where=where),
        schedule(layer(rotation(RotationKind.HOURLY, 1, in_change), OFFICE_HOURS), where=where),
        schedule(layer(rotation(RotationKind.CUSTOM, timedelta(hours=4), in_change)), where=where, people=3),
        schedule(layer(rotation(RotationKind.WEEKLY, 1, in_change - 5 * DAY)), where=where),
    ]


def _check_around(change: Transition, where: ZoneInfo) -> None:
    """Compare every minute of ten hours around a change with a clock that is watched."""
    end = change.at + 10 * HOUR
    for one in _around(change, where):
        slow = dict(watched(one, change.at - (8 * DAY if _is_weekly(one) else 3 * DAY), end))
        for at, people in _checked(one, [change.at + minute * MINUTE for minute in range(-600, 600)]):
            assert people == slow[at], (where, change, one.layers, at)


def _checked(one: Schedule, instants: Sequence[datetime]) -> Iterator[tuple[datetime, tuple[UUID, ...]]]:
    start, end = instants[0], instants[-1] + MINUTE
    found, missing = list(shifts(one, start, end)), gaps(one, start, end)
    for at in instants:
        people = on_call(one, at)
        _check_minute(one, at, people, found, missing)
        yield at, people


def _is_weekly(one: Schedule) -> bool:
    return any(layer.rotation.kind is RotationKind.WEEKLY for layer in one.layers)


def _check_minute(
    one: Schedule, at: datetime, people: tuple[UUID, ...], found: Sequence[Shift], missing: Sequence[Gap]
) -> None:
    listed = [gap.missing for gap in missing if gap.starts_at <= at < gap.ends_at]
    assert len(people) == len(set(people)) == one.people - sum(listed), (one, at)
    assert len(listed) <= 1
    on_shift = [shift.user_id for shift in found if shift.starts_at <= at < shift.ends_at]
    assert Counter(on_shift) == Counter(people), (one, at)


SAMPLE = [
    "America/Asuncion",  # changes at midnight: 00:00 does not exist
    "Australia/Lord_Howe",  # half an hour
    "America/New_York",
    "Africa/Cairo",
    "America/St_Johns",
    "Antarctica/Troll",  # two hours at once
    "Antarctica/Casey",  # three hours
    "Africa/Casablanca",
    "Europe/Dublin",  # winter is what is saved
]


@pytest.mark.parametrize("name", [*SAMPLE[:2], *(pytest.param(name, marks=pytest.mark.slow) for name in SAMPLE[2:])])
def test_the_number_is_exact_at_every_minute_around_the_change_of_clocks(name: str) -> None:
    where = ZoneInfo(name)
    for change in transitions(where)[-2:]:
        _check_around(change, where)


PARTS = 4
"""So that the processes of a test run share the work."""


def _weeks() -> list[datetime]:
    return [FIRST + number * WEEK for number in range((LAST - FIRST) // WEEK)]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_the_number_is_exact_around_every_change_of_every_clock_from_2020_to_2035(part: int) -> None:
    zones = zones_by_behaviour()
    # Every zone there is: what is not looked at has one offset from the first year to the last.
    still = available_timezones() - {name for names in zones.values() for name in names}
    assert all(len({ZoneInfo(name).utcoffset(at) for at in _weeks()}) == 1 for name in still)
    assert len(available_timezones()) - len(still) > 200
    every = [(change, ZoneInfo(names[0])) for changes, names in zones.items() for change in changes]
    assert len(every) > 1_000
    first_of_kind = {_kind(change): (change, where) for change, where in reversed(every)}
    for change, where in list(first_of_kind.values())[part::PARTS]:
        _check_around(change, where)
    # The others of a kind are held against no watched clock again, and looked at where hand-offs are: every quarter of
    # an hour from the change, and in the minute before.
    near = [quarter * 15 * MINUTE - before for quarter in range(-8, 9) for before in (MINUTE, timedelta())]
    for change, where in every[part::PARTS]:
        for one in _around(change, where):
            assert list(_checked(one, [change.at + distance for distance in near]))


def _kind(change: Transition) -> tuple[time, timedelta, int]:
    return change.wall_before.time(), change.wall_after - change.wall_before, change.wall_before.weekday()


@pytest.mark.parametrize("name", SAMPLE)
def test_turns_come_in_order_over_sixteen_years(name: str) -> None:
    where = ZoneInfo(name)
    for change in transitions(where):
        for kind, every in ((RotationKind.DAILY, 1), (RotationKind.HOURLY, 1), (RotationKind.CUSTOM, 4 * HOUR)):
            in_change = change.wall_before + (change.wall_after - change.wall_before) / 2
            one = schedule(layer(rotation(kind, every, in_change - 900 * DAY)), where=where)
            found = list(shifts(one, change.at - 2 * DAY, change.at + 2 * DAY))
            for before, after in pairwise(found):
                assert before.ends_at == after.starts_at
                assert before.user_id.int % 3 + 1 == after.user_id.int


def test_a_hand_off_that_does_not_exist_takes_place_when_the_clock_jumps_over_it() -> None:
    one = schedule(layer(Rotation(RotationKind.DAILY, 1, date(2026, 3, 28), time(2, 30))))
    found = told(list(shifts(one, local("2026-03-28 12:00"), local("2026-03-30 12:00"))))
    assert found == ["A 28 02:30-29 03:00", "B 29 03:00-30 02:30", "C 30 02:30-31 02:30"]


def test_a_hand_off_that_comes_twice_takes_place_the_first_time() -> None:
    one = schedule(layer(Rotation(RotationKind.DAILY, 1, date(2026, 10, 24), time(2, 30))))
    found = list(shifts(one, local("2026-10-24 12:00"), local("2026-10-26 12:00")))
    assert [shift.ends_at - shift.starts_at for shift in found] == [24 * HOUR, 25 * HOUR, 24 * HOUR]
    assert found[1].starts_at == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    second_time = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)
    assert second_time.astimezone(BERLIN).fold == 1
    assert on_call(one, second_time) == (B,), "the clock shows 02:15 again, and nobody hands back"


def test_midnight_that_does_not_exist_hands_over_at_one() -> None:
    cairo = zone("Africa/Cairo")
    one = schedule(layer(Rotation(RotationKind.DAILY, 1, date(2026, 4, 23), time())), where=cairo)
    found = told(list(shifts(one, local("2026-04-23 12:00", cairo), local("2026-04-24 12:00", cairo))), cairo)
    assert found == ["A 23 00:00-24 01:00", "B 24 01:00-25 00:00"]


def test_lord_howe_changes_by_half_an_hour() -> None:
    howe = zone("Australia/Lord_Howe")
    one = schedule(layer(Rotation(RotationKind.DAILY, 1, date(2026, 10, 3), time(2, 15))), where=howe)
    found = list(shifts(one, local("2026-10-03 12:00", howe), local("2026-10-05 12:00", howe)))
    assert told(found, howe) == ["A 03 02:15-04 02:30", "B 04 02:30-05 02:15", "C 05 02:15-06 02:15"]
    assert found[0].ends_at - found[0].starts_at == timedelta(hours=23, minutes=45)


@pytest.mark.parametrize(
    ("hand_off", "expected"),
    [
        (time(), ["A 29 00:00-31 00:00", "B 31 00:00-01 00:00", "C 01 00:00-02 00:00"]),
        (NINE, ["A 29 09:00-31 00:00", "B 31 00:00-31 09:00", "C 31 09:00-01 09:00", "A 01 09:00-02 09:00"]),
    ],
)
def test_the_day_that_samoa_left_out_skips_nobody(hand_off: time, expected: list[str]) -> None:
    apia = zone("Pacific/Apia")
    assert lost_days(apia) == ((datetime(2011, 12, 30), datetime(2011, 12, 31)),)
    one = schedule(layer(Rotation(RotationKind.DAILY, 1, date(2011, 12, 29), hand_off)), where=apia)
    assert told(list(shifts(one, local("2011-12-29 12:00", apia), local("2012-01-01 12:00", apia))), apia) == expected


def test_only_samoa_and_its_neighbour_have_left_out_a_day_since_2000() -> None:
    lost = {name for name in available_timezones() if lost_days(ZoneInfo(name))}
    assert lost == {"Pacific/Apia", "Pacific/Fakaofo"}


@given(st.sampled_from(SAMPLE), st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1)))
def test_wall_times_take_place_in_their_order(name: str, moment: datetime) -> None:
    where, whole = ZoneInfo(name), moment.replace(microsecond=0)
    instant = takes_place(where, whole)
    assert takes_place(where, whole - HOUR) <= instant <= takes_place(where, whole + HOUR)
    assert latest_shown(where, instant) >= whole
    assert latest_shown(where, instant - timedelta(microseconds=1)) < whole


# --- cases from the wild ---------------------------------------------------------------------------------------


def test_a_week_is_seven_days_and_leaves_no_hour_to_nobody() -> None:
    # grafana/oncall#4208: a rotation of 7 days was cut to 6 days 23 hours.
    one = schedule(layer(Rotation(RotationKind.WEEKLY, 1, date(2024, 3, 4), NINE)))
    start, end = local("2024-03-04 09:00"), local("2024-05-06 09:00")
    assert gaps(one, start, end) == []
    found = list(shifts(one, start, end))
    assert [shift.starts_at.astimezone(BERLIN).time() for shift in found] == [NINE] * 9
    assert Counter(shift.ends_at - shift.starts_at for shift in found) == {WEEK: 8, WEEK - HOUR: 1}


def test_weekends_off_do_not_use_up_turns() -> None:
    # oneuptime#2413: three people by the day, Monday to Friday 9 to 19, hand-off at 19: Monday was Friday's person.
    restriction = Restriction(WORKING_DAYS, NINE, time(19))
    one = schedule(layer(Rotation(RotationKind.DAILY, 1, date(2026, 4, 20), time(19)), restriction))
    found = shifts(one, local("2026-04-23 00:00"), local("2026-04-29 00:00"))
    assert told(list(found)) == [
        "C 23 09:00-23 19:00",
        "A 24 09:00-24 19:00",
        "B 27 09:00-27 19:00",
        "C 28 09:00-28 19:00",
    ]
    friday, monday = local("2026-04-24 19:00"), local("2026-04-27 09:00")
    assert gaps(one, friday, monday) == [Gap(friday, monday, 1)]


@pytest.mark.parametrize("name", ["America/Chicago", "Europe/London"])
def test_a_weekly_shift_across_the_change_neither_overlaps_nor_ends_early(name: str) -> None:
    # grafana/oncall#5247 and #3261: an hour's gap in autumn, an hour's overlap in spring, everything an hour off.
    where = ZoneInfo(name)
    one = schedule(layer(Rotation(RotationKind.WEEKLY, 1, date(2024, 10, 1), NINE)), where=where)
    start, end = local("2024-10-01 09:00", where), local("2025-11-25 09:00", where)
    assert gaps(one, start, end) == []
    found = list(shifts(one, start, end))
    assert len(found) == 60
    assert all(before.ends_at == after.starts_at for before, after in pairwise(found))
    assert {shift.starts_at.astimezone(where).time() for shift in found} == {NINE}


# --- layers, restrictions, several people ----------------------------------------------------------------------


def test_the_topmost_layer_that_covers_an_instant_wins() -> None:
    one = schedule(
        layer(members=(A,)),
        Layer("day", ALWAYS, (B,), (OFFICE_HOURS,)),
        Layer("soon", ALWAYS, (C,), (), local("2026-03-05")),
    )
    found = told(list(shifts(one, local("2026-03-04 08:00"), local("2026-03-05 10:00"))))
    assert found == [
        "A 03 17:00-04 09:00",
        "B 04 09:00-04 17:00",
        "A 04 17:00-05 00:00",
        "C 05 00:00-05 09:00",
        "C 05 09:00-06 09:00",
    ]


def test_hours_reach_over_midnight_and_over_the_week() -> None:
    weekend_nights = Restriction(frozenset({5, 6}), time(22), time(6))
    one = schedule(layer(Rotation(RotationKind.WEEKLY, 1, date(2026, 3, 2), NINE), weekend_nights))
    found = told(list(shifts(one, local("2026-03-06 00:00"), local("2026-03-15 12:00"))))
    assert found == ["A 07 22:00-08 06:00", "A 08 22:00-09 06:00", "B 14 22:00-15 06:00"]


def test_hours_that_touch_are_one_shift() -> None:
    whole_day = Restriction(frozenset(range(7)), time(), time())
    early, late = Restriction(WORKING_DAYS, time(6), time(12)), Restriction(WORKING_DAYS, time(12), time(20))
    assert told(list(shifts(schedule(layer(ALWAYS, whole_day)), local("2026-03-03"), local("2026-03-03 10:00")))) == [
        "A 02 09:00-03 09:00",
        "B 03 09:00-04 09:00",
    ]
    halves = schedule(layer(replace(ALWAYS, hand_off=time()), early, late))
    assert told(list(shifts(halves, local("2026-03-03"), local("2026-03-04")))) == ["B 03 06:00-03 20:00"]


def test_several_people_move_up_one_place_with_each_turn() -> None:
    one = schedule(layer(members=(A, B, C)), people=2)
    assert [who(on_call(one, local(f"2026-03-0{day} 12:00"))) for day in (2, 3, 4, 5)] == ["AB", "BC", "CA", "AB"]


def test_before_the_first_turn_and_after_the_end_nobody_is_on_call() -> None:
    one = schedule(replace(layer(), ends_at=local("2026-03-10 12:00")))
    early, late = local("2026-02-01"), local("2026-04-01")
    assert on_call(one, early) == on_call(one, late) == ()
    assert gaps(one, early, late) == [
        Gap(early, local("2026-03-02 09:00"), 1),
        Gap(local("2026-03-10 12:00"), late, 1),
    ]
    assert gaps(schedule(), early, late) == [Gap(early, late, 1)]


def test_who_stands_twice_in_a_rotation_has_two_turns_and_one_place() -> None:
    one = schedule(layer(members=(A, A, B)), people=2)
    assert [who(on_call(one, local(f"2026-03-0{day} 12:00"))) for day in (2, 3, 4)] == ["AB", "AB", "BA"]


# --- overrides -------------------------------------------------------------------------------------------------


def test_an_override_takes_the_place_and_the_shift_goes_on_after_it() -> None:
    one = schedule(layer(), overrides=[override(D, "2026-03-03 12:00", "2026-03-03 14:00")])
    found = list(shifts(one, local("2026-03-03 10:00"), local("2026-03-04 08:00")))
    assert told(found) == ["B 03 09:00-03 12:00", "D 03 12:00-03 14:00", "B 03 14:00-04 09:00"]
    assert [shift.source for shift in found] == ["layer DAILY 0", "override", "layer DAILY 0"]


def test_an_override_of_somebody_else_changes_nothing() -> None:
    one = schedule(layer(), overrides=[override(D, "2026-03-02 12:00", "2026-03-04 12:00", instead_of=B)])
    found = told(list(shifts(one, local("2026-03-02 10:00"), local("2026-03-04 10:00"))))
    assert found == ["A 02 09:00-03 09:00", "D 03 09:00-04 09:00", "C 04 09:00-05 09:00"]


@pytest.mark.parametrize(
    ("people", "overrides", "expected"),
    [
        (1, [(D, None)], "D"),
        (1, [(D, None), (C, None)], "C"),  # the later one lies on top
        (1, [(D, A), (C, D)], "C"),  # a shift that was taken over is taken over again
        (1, [(D, A), (A, D)], "A"),
        (2, [(D, B)], "AD"),
        (2, [(B, A)], "BC"),  # B would be on call twice: the next member moves up
        (2, [(B, None)], "BC"),
        (2, [(D, None), (C, None)], "DC"),
        (2, [(D, A), (D, B)], "DC"),  # A and B were both replaced: neither comes back
        (3, [(A, B)], "AC"),  # four would be needed: one is missing
    ],
)
def test_overrides_put_people_in_places(people: int, overrides: list[tuple[UUID, UUID | None]], expected: str) -> None:
    day = ("2026-03-02 09:00", "2026-03-03 09:00")
    added = [override(user, *day, instead, number) for number, (user, instead) in enumerate(overrides)]
    one = schedule(layer(), people=people, overrides=added)
    start, end = (local(text) for text in day)
    assert who(on_call(one, start)) == expected
    missing = people - len(expected)
    assert gaps(one, start, end) == ([Gap(start, end, missing)] if missing else [])


def test_an_override_fills_a_gap() -> None:
    one = schedule(layer(ALWAYS, OFFICE_HOURS), overrides=[override(D, "2026-03-02 16:00", "2026-03-02 20:00")])
    found = told(list(shifts(one, local("2026-03-02 10:00"), local("2026-03-03 00:00"))))
    assert found == ["A 02 09:00-02 16:00", "D 02 16:00-02 20:00"]


# --- whatever is asked ------------------------------------------------------------------------------------------

minutes = st.integers(0, 24 * 60 - 1).map(lambda minute: time(minute // 60, minute % 60))
rotations = st.one_of(
    st.builds(
        Rotation,
        st.just(RotationKind.HOURLY),
        st.integers(1, 200),
        st.dates(date(2020, 1, 1), date(2030, 1, 1)),
        minutes,
    ),
    st.builds(
        Rotation, st.just(RotationKind.DAILY), st.integers(1, 20), st.dates(date(2020, 1, 1), date(2030, 1, 1)), minutes
    ),
    st.builds(
        Rotation, st.just(RotationKind.WEEKLY), st.integers(1, 5), st.dates(date(2020, 1, 1), date(2030, 1, 1)), minutes
    ),
    st.builds(
        Rotation,
        st.just(RotationKind.CUSTOM),
        st.integers(16, 2_000).map(lambda quarters: quarters * timedelta(minutes=15)),
        st.dates(date(2020, 1, 1), date(2030, 1, 1)),
        minutes,
    ),
)
restrictions = st.builds(Restriction, st.frozensets(st.integers(0, 6), min_size=1), minutes, minutes)
people_in_turn = st.lists(st.sampled_from([A, B, C, D]), min_size=2, max_size=6).filter(
    lambda them: len(set(them)) >= 2
)
layers = st.builds(
    Layer, st.just(""), rotations, people_in_turn.map(tuple), st.lists(restrictions, max_size=3).map(tuple)
)
instants = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 1)).map(
    lambda naive: naive.replace(tzinfo=UTC, second=0, microsecond=0)
)
overrides = st.builds(
    lambda user, start, length, instead: Override(UUID(int=0), user, start, start + length, instead),
    st.sampled_from([A, B, C, D]),
    instants,
    st.integers(1, 90 * 24 * 60).map(lambda number: number * MINUTE),
    st.sampled_from([None, A, B]),
)
schedules = st.builds(
    lambda where, people, layers, overrides: Schedule(
        UUID(int=9),
        "any",
        ZoneInfo(where),
        people,
        tuple(replace(one, name=f"layer {number}") for number, one in enumerate(layers)),
        tuple(replace(one, id=UUID(int=number)) for number, one in enumerate(overrides)),
    ),
    st.sampled_from(["UTC", "Europe/Berlin", *SAMPLE]),
    st.integers(1, 2),
    st.lists(layers, max_size=3),
    st.lists(overrides, max_size=4),
)


@given(schedules, instants, st.lists(st.integers(0, 20 * 24 * 60), max_size=20))
def test_shifts_gaps_and_who_is_on_call_agree(one: Schedule, start: datetime, minutes: list[int]) -> None:
    end = start + 20 * DAY + MINUTE
    found, missing = list(shifts(one, start, end)), gaps(one, start, end)
    edges = [edge for shift in found for edge in (shift.starts_at, shift.ends_at) if start <= edge < end]
    for at in [*(start + minute * MINUTE for minute in minutes), *edges[:20]]:
        _check_minute(one, at, on_call(one, at), found, missing)


@given(schedules, instants, st.integers(1, 10_000), st.integers(1, 10_000))
def test_a_shift_is_the_same_whatever_period_is_asked(one: Schedule, start: datetime, first: int, second: int) -> None:
    middle, end = start + first * MINUTE, start + (first + second) * MINUTE
    whole = list(shifts(one, start, end))
    parts = [*shifts(one, start, middle), *shifts(one, middle, end)]
    assert set(whole) == set(parts)
    assert len(whole) == len(set(whole))


@pytest.mark.slow
@given(schedules, instants)
def test_without_overrides_it_is_as_a_clock_on_the_wall_says(one: Schedule, start: datetime) -> None:
    firsts = [start.replace(tzinfo=None) + (number - 2) * DAY for number in range(3)]
    kept = [
        replace(layer, rotation=rotation(layer.rotation.kind, layer.rotation.every, first))
        for layer, first in zip(one.layers, firsts, strict=False)
        if len(set(layer.members)) == len(layer.members)
    ]
    one = replace(one, layers=tuple(kept), overrides=())
    slow = watched(one, start - 4 * DAY, start + 5 * DAY)
    for number, (at, people) in enumerate(slow):
        if number % 7 == 0:
            assert on_call(one, at) == people, at


# --- bounds -----------------------------------------------------------------------------------------------------


def _refused(one: Schedule) -> list[str]:
    with pytest.raises(TocsinError) as caught:
        checked(one)
    assert caught.value.refusal.code is Code.INVALID
    errors = caught.value.refusal.details["errors"]
    assert isinstance(errors, list)
    return [error["field"] for error in errors]


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"members": ()}, ["layers[0].members"]),
        ({"members": (A,) * (MAX_MEMBERS + 1)}, ["layers[0].members"]),
        ({"name": ""}, ["layers[0].name"]),
        ({"name": "a\nb"}, ["layers[0].name"]),
        ({"name": "x" * 101}, ["layers[0].name"]),
        ({"restrictions": (OFFICE_HOURS,) * 21}, ["layers[0].restrictions"]),
        ({"restrictions": (Restriction(frozenset(), NINE, NINE),)}, ["layers[0].restrictions[0].weekdays"]),
        ({"restrictions": (Restriction(frozenset({7}), NINE, NINE),)}, ["layers[0].restrictions[0].weekdays"]),
        ({"restrictions": (Restriction(WORKING_DAYS, time(9, 0, 1), NINE),)}, ["layers[0].restrictions[0].start"]),
        ({"rotation": replace(ALWAYS, every=0)}, ["layers[0].every"]),
        ({"rotation": replace(ALWAYS, every=366)}, ["layers[0].every"]),
        ({"rotation": replace(ALWAYS, kind=RotationKind.HOURLY, every=365 * 24 + 1)}, ["layers[0].every"]),
        ({"rotation": replace(ALWAYS, kind=RotationKind.WEEKLY, every=53)}, ["layers[0].every"]),
        ({"rotation": replace(ALWAYS, kind=RotationKind.CUSTOM)}, ["layers[0].every"]),
        ({"rotation": replace(ALWAYS, every=DAY)}, ["layers[0].every"]),
        ({"rotation": Rotation(RotationKind.CUSTOM, 3 * HOUR, date(2026, 1, 1), NINE)}, ["layers[0].every"]),
        ({"rotation": Rotation(RotationKind.CUSTOM, 4 * HOUR + MINUTE, date(2026, 1, 1), NINE)}, ["layers[0].every"]),
        ({"rotation": replace(ALWAYS, starts_on=date(1999, 12, 31))}, ["layers[0].startsOn"]),
        ({"rotation": replace(ALWAYS, hand_off=time(9, 0, 0, 1))}, ["layers[0].handOff"]),
        ({"starts_at": datetime(2026, 1, 1)}, ["layers[0].startsAt"]),
        ({"starts_at": local("2026-01-02"), "ends_at": local("2026-01-02")}, ["layers[0].endsAt"]),
    ],
)
def test_a_layer_has_bounds(change: dict[str, object], fields: list[str]) -> None:
    one = Schedule(UUID(int=9), "primary", BERLIN, 1, (replace(layer(), **change),))  # type: ignore[arg-type]
    assert _refused(one) == fields


def test_a_schedule_has_bounds_and_names_everything_at_once() -> None:
    one = Schedule(UUID(int=9), " ", BERLIN, 0, tuple(replace(layer(), name="same") for _ in range(21)))
    assert _refused(one) == ["name", "people", "layers", "layers"]
    assert _refused(replace(schedule(layer()), people=4)) == ["layers[0].members"]


@pytest.mark.parametrize(
    ("one", "field"),
    [
        (override(A, "2026-01-01", "2026-01-01"), "endsAt"),
        (override(A, "2026-01-01", "2025-01-01"), "endsAt"),
        (
            replace(override(A, "2026-01-01", "2026-01-02"), ends_at=local("2026-01-01") + MAX_OVERRIDE + MINUTE),
            "endsAt",
        ),
        (override(A, "2026-01-01", "2026-01-02", instead_of=A), "insteadOf"),
        (override(A, "1999-01-01", "2026-01-02"), "startsAt"),
    ],
)
def test_an_override_has_bounds(one: Override, field: str) -> None:
    assert _refused(replace(schedule(layer()), overrides=(one,))) == [f"overrides[0].{field}"]


def test_a_zone_of_the_host_that_is_stored_already_goes_on(tmp_path: Path) -> None:
    (tmp_path / "right").mkdir()
    names = ("localtime", "right/UTC")
    for name in names:
        (tmp_path / name).write_bytes(files("tzdata.zoneinfo").joinpath("UTC").read_bytes())
    zoneinfo.reset_tzpath([tmp_path])
    try:
        for name in names:
            assert stored_zone(name).key == name
            with pytest.raises(TocsinError):
                zone(name)
    finally:
        zoneinfo.reset_tzpath()


@pytest.mark.parametrize(
    "name",
    [
        *("", "Mars/Olympus", "Europe", "../etc/passwd", "Europe/Berlin\n", "x" * 200),
        *("localtime", "posixrules", "posix/Europe/Berlin", "right/Europe/Berlin", "posix/UTC"),
    ],
)
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(TocsinError) as caught:
        zone(name)
    assert caught.value.refusal.details["errors"] == [
        {"field": "timeZone", "problem": caught.value.refusal.message[:-1]}
    ]


def test_a_period_has_bounds() -> None:
    start = local("2026-01-01")
    checked_period(start, start + 366 * DAY)
    for end in (start, start - DAY, start + 366 * DAY + MINUTE, datetime.max.replace(tzinfo=UTC)):
        with pytest.raises(TocsinError):
            checked_period(start, end)
