"""What the clock on the wall of a time zone shows, and when: the rules of every hand-off.

A wall time takes place at the first instant at which the clock shows it or has passed it. So one that daylight saving
leaves out takes place at the jump, one that comes twice takes place the first time, and an order of wall times is an
order of instants, whatever the zone does.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tocsin.domain.report import cut
from tocsin.errors import Code, TocsinError, refuse

FIRST_YEAR = 2000
LAST_YEAR = 2200
"""Between these years instants are reckoned with: what lies beyond is a slip of the keyboard."""
RESOLUTION = timedelta(microseconds=1)
_LONGEST_FALL = timedelta(hours=24)
"""How far a clock is ever set back; no zone changes twice within that time."""
_LOST = timedelta(hours=4)
"""From here on a jump is no daylight saving: a country has moved across the date line."""
_SECOND = timedelta(seconds=1)
_OF_THE_HOST = re.compile(r"localtime|posixrules|(?:posix|right)/.*")
"""What some hosts have beside the tz database: files that say another zone on each, and folders of the same zones once
more, which other hosts lack, those under right/ with leap seconds besides."""
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,2}")


def zone(name: str) -> ZoneInfo:
    """Return the time zone that somebody names now; raise INVALID for what is none, or none on another host."""
    if _OF_THE_HOST.fullmatch(name):
        raise _no_zone(name)
    return stored_zone(name)


def stored_zone(name: str) -> ZoneInfo:
    """Return a zone by its name. One of the host, stored by an older version, must go on: it may hold up all paging.

    Names are those of the tz database, which is the machine's or that of the package `tzdata`.
    """
    try:
        if _ZONE.fullmatch(name):
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # A folder of the database, or a file of another kind: no time zone either.
        pass
    raise _no_zone(name)


def _no_zone(name: str) -> TocsinError:
    problem = f"there is no time zone {cut(name, 64)!r}"
    hint = "Name one of the tz database, such as Europe/Vienna."
    return refuse(Code.INVALID, f"{problem}.", hint, errors=[{"field": "timeZone", "problem": problem}])


def takes_place(zone: ZoneInfo, wall: datetime) -> datetime:
    """Return the first instant (UTC) at which the clock shows a wall time (naive, whole seconds) or has passed it."""
    instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wall:
        return instant
    # Left out: read with the offset of before, it lies after the jump, and the other way round.
    return _change(zone, wall.replace(tzinfo=zone, fold=1).astimezone(UTC), instant)


def latest_shown(zone: ZoneInfo, instant: datetime) -> datetime:
    """Return the latest wall time (naive) that the clock has shown up to an instant, also if it was set back since.

    A wall time takes place at or before the instant exactly if it is not later than this one.
    """
    local = instant.astimezone(zone)
    wall = local.replace(tzinfo=None)
    earlier = instant - _LONGEST_FALL
    fall = _offset(zone, earlier) - _offset(zone, instant)
    if fall <= timedelta():
        return wall
    set_back = _change(zone, earlier, instant).astimezone(zone).replace(tzinfo=None) + fall
    return max(wall, set_back - RESOLUTION)


@lru_cache(maxsize=1_000)
def lost_days(zone: ZoneInfo) -> tuple[tuple[datetime, datetime], ...]:
    """Return the wall times (naive, from and until) that a zone left out when it moved across the date line."""
    lost = []
    years = [datetime(year, 1, 1, tzinfo=UTC) for year in range(FIRST_YEAR - 1, LAST_YEAR + 1)]
    for before, after in pairwise(years):
        jump = _offset(zone, after) - _offset(zone, before)
        if jump >= _LOST:
            lost.append(_jump(zone, before, after, jump))
    return tuple(lost)


def _jump(zone: ZoneInfo, before: datetime, after: datetime, at_least: timedelta) -> tuple[datetime, datetime]:
    """Return what was left out by the greatest change between two instants, which daylight saving may surround."""
    while after - before > _SECOND:
        middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
        if _offset(zone, middle) - _offset(zone, before) >= at_least / 2:
            after = middle
        else:
            before = middle
    naive = after.replace(tzinfo=None)
    return naive + _offset(zone, before), naive + _offset(zone, after)


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Return the instant, to the second, from which the offset is that of `after`; it changes once in between."""
    target = _offset(zone, after)
    start = before.replace(microsecond=0)
    low, high = 0, int((after - start).total_seconds()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, start + timedelta(seconds=middle)) == target:
            high = middle
        else:
            low = middle
    return start + timedelta(seconds=high)


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None, "a ZoneInfo knows the offset of every instant"
    return offset
