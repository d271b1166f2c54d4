"""Repetitions of calendars: as python-dateutil has them, and bounded where it looks for ever."""

# ruff: noqa: DTZ001  # wall times have no zone

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import takewhile

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, given
from hypothesis import strategies as st

from tocsin.domain.recurrence import occurrences, parse_recurrence

FIRST = datetime(2024, 1, 31, 9)
LAST = FIRST + timedelta(days=4 * 366)
DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def parts(text: str) -> dict[str, list[str]]:
    """Return a rule as the parser of calendars gives it."""
    return {name: value.split(",") for name, _, value in (part.partition("=") for part in text.split(";"))}


def comes(text: str, first: datetime = FIRST, last: datetime = LAST) -> list[datetime]:
    return list(occurrences(parse_recurrence(parts(text)), first, last))


def expected(text: str, first: datetime) -> list[datetime]:
    """Return what python-dateutil says, and the first time in any case."""
    found = list(takewhile(lambda at: at <= LAST, rrulestr(text, dtstart=first)))
    return found if first in found else [first, *found]


weekdays = st.lists(st.sampled_from(DAYS), min_size=1, max_size=3, unique=True).map(",".join)
numbered = st.lists(
    st.tuples(st.sampled_from(["1", "2", "-1", "5"]), st.sampled_from(DAYS)).map("".join), min_size=1, max_size=2
).map(",".join)
# Of "MO,1MO" dateutil makes the first Mondays, RFC 5545 every Monday: the two kinds are not mixed.
placed = st.one_of(weekdays, numbered)
month_days = st.lists(st.sampled_from([1, 2, 15, 28, 31, -1, -3]), min_size=1, max_size=2, unique=True).map(
    lambda days: ",".join(map(str, days))
)
months = st.lists(st.integers(1, 12), min_size=1, max_size=3, unique=True).map(lambda them: ",".join(map(str, them)))


@st.composite
def rules(draw: st.DrawFn) -> str:
    frequency = draw(st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]))
    text = f"FREQ={frequency};INTERVAL={draw(st.integers(1, 5))}"
    by_day = weekdays if frequency in ("DAILY", "WEEKLY") else placed
    for name, values in (("BYDAY", by_day), ("BYMONTHDAY", month_days), ("BYMONTH", months)):
        # A week with days of the month is forbidden by RFC 5545, and libraries differ.
        if draw(st.booleans()) and (frequency, name) != ("WEEKLY", "BYMONTHDAY"):
            text += f";{name}={draw(values)}"
    return text + (f";WKST={draw(st.sampled_from(DAYS))}" if draw(st.booleans()) else "")


@given(rules(), st.datetimes(datetime(2024, 1, 1), datetime(2025, 1, 1)).map(lambda at: at.replace(microsecond=0)))
def test_an_event_comes_when_dateutil_says_so(text: str, first: datetime) -> None:
    rule = parse_recurrence(parts(text))
    # Of numbered weekdays and days of the month, RFC 5545 wants both, dateutil either.
    assume(not (rule.month_days and any(place for place, _ in rule.weekdays)))
    assume(comes(text, first, LAST + timedelta(days=10 * 366))[-1] > LAST)  # else dateutil looks until the year 9999
    assert comes(text, first) == expected(text, first)


@given(rules(), st.integers(1, 20))
def test_a_count_counts_from_the_first_time(text: str, count: int) -> None:
    assert comes(f"{text};COUNT={count}") == comes(text)[:count]


def test_a_day_that_never_comes_is_not_looked_for_until_the_end_of_time() -> None:
    assert comes("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30") == [FIRST]
    assert comes("FREQ=DAILY;INTERVAL=7;BYDAY=TU") == [FIRST], "the 31st was a Wednesday"


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=SECONDLY",
        "FREQ=HOURLY",
        "INTERVAL=2",
        "FREQ=DAILY;BYHOUR=9",
        "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=1",
        "FREQ=YEARLY;BYWEEKNO=1",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY;INTERVAL=-1",
        "FREQ=WEEKLY;BYDAY=2MO",
        "FREQ=WEEKLY;BYDAY=XX",
        "FREQ=DAILY;COUNT=1,2",
        "FREQ=DAILY;COUNT=x",
    ],
)
def test_what_is_not_understood_is_refused_and_not_ignored(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_recurrence(parts(text))
