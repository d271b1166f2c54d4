"""Recurrence rules of calendars (RFC 5545, 3.3.10): on which days an event comes again.

Every day of a bounded time is looked at once, so that no rule takes longer than another: one that never comes, as the
30th of February, must not be looked for until the end of time. What a rota does not need is refused, never ignored.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

_DAY = timedelta(days=1)
_PARTS = frozenset({"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYMONTHDAY", "BYMONTH", "WKST"})
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A rule that was understood. A weekday with 0 is each of them, with 2 the second, with -1 the last."""

    frequency: str
    interval: int = 1
    count: int | None = None
    weekdays: tuple[tuple[int, int], ...] = ()
    month_days: tuple[int, ...] = ()
    months: tuple[int, ...] = ()
    week_starts_on: int = 0


def parse_recurrence(rule: Mapping[str, Sequence[Any]]) -> Recurrence:
    """Read the parts of a rule; where it ends (UNTIL) is the caller's. Raises ValueError for what is not understood."""
    unknown = sorted(set(rule) - _PARTS)
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is not understood")
    frequency = str(_only(rule, "FREQ", ""))
    if frequency not in ("DAILY", "WEEKLY", "MONTHLY", "YEARLY"):
        raise ValueError("it does not repeat by days, weeks, months or years")
    weekdays = tuple(_weekday(str(one)) for one in rule.get("BYDAY", ()))
    if any(place for place, _ in weekdays) and frequency in ("DAILY", "WEEKLY"):
        raise ValueError("BYDAY with a number has no meaning there")
    interval = int(_only(rule, "INTERVAL", 1))
    if interval < 1:
        raise ValueError("INTERVAL must be at least 1")
    count = _only(rule, "COUNT", None)
    return Recurrence(
        frequency,
        interval,
        int(count) if count is not None else None,
        weekdays,
        tuple(int(one) for one in rule.get("BYMONTHDAY", ())),
        tuple(int(one) for one in rule.get("BYMONTH", ())),
        _WEEKDAYS.index(str(_only(rule, "WKST", "MO"))),
    )


def _only(rule: Mapping[str, Sequence[Any]], part: str, default: Any) -> Any:
    values = rule.get(part, ())
    if len(values) > 1:
        raise ValueError(f"{part} is given more than once")
    return values[0] if values else default


def _weekday(text: str) -> tuple[int, int]:
    return int(text[:-2] or 0), _WEEKDAYS.index(text[-2:])


def occurrences(rule: Recurrence, first: datetime, last: datetime) -> Iterator[datetime]:
    """Give the wall times (naive) from the first one until the last one at which an event comes, the first always."""
    here, came = first, 0
    while here <= last and came != rule.count:
        if here == first or (_in_period(rule, first, here) and _on_day(rule, first, here)):
            came += 1
            yield here
        here += _DAY


def _in_period(rule: Recurrence, first: datetime, here: datetime) -> bool:
    """Tell whether a day lies in one of the periods that count: every INTERVALth."""
    if rule.frequency == "DAILY":
        periods = (here - first).days
    elif rule.frequency == "WEEKLY":
        periods = ((here - first).days + (first.weekday() - rule.week_starts_on) % 7) // 7
    else:
        periods = here.year - first.year
        if rule.frequency == "MONTHLY":
            periods = periods * 12 + here.month - first.month
    return periods % rule.interval == 0


def _on_day(rule: Recurrence, first: datetime, here: datetime) -> bool:
    """Tell whether a day is one that the rule names; what it does not name is as it was the first time."""
    if rule.months and here.month not in rule.months:
        return False
    if rule.frequency == "YEARLY" and not (rule.months or rule.weekdays or rule.month_days):
        return (here.month, here.day) == (first.month, first.day)
    if rule.month_days and here.day not in rule.month_days:
        days = calendar.monthrange(here.year, here.month)[1]
        if here.day - days - 1 not in rule.month_days:
            return False
    if rule.weekdays:
        return any(_is_weekday(rule, place, weekday, here) for place, weekday in rule.weekdays)
    if rule.month_days or rule.frequency == "DAILY":
        return True
    return here.weekday() == first.weekday() if rule.frequency == "WEEKLY" else here.day == first.day


def _is_weekday(rule: Recurrence, place: int, weekday: int, here: datetime) -> bool:
    if here.weekday() != weekday:
        return False
    if rule.frequency == "YEARLY" and not rule.months:
        number, days = here.timetuple().tm_yday, 366 if calendar.isleap(here.year) else 365
    else:
        number, days = here.day, calendar.monthrange(here.year, here.month)[1]
    return place in (0, (number - 1) // 7 + 1, -((days - number) // 7 + 1))
