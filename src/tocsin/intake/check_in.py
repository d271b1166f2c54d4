"""What Sentry's SDKs send about scheduled jobs: `check_in` items, with or without the monitor that they belong to.

Source of the format: https://develop.sentry.dev/sdk/telemetry/check-ins/, and what the clients named in the tests send.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from tocsin.domain.heartbeat import MAX_RUN_CHARACTERS, MAX_WAIT, MIN_WAIT, CheckIn, CheckInStatus, checked_slug
from tocsin.errors import Code, TocsinError, refuse
from tocsin.intake import Rejected
from tocsin.intake.decoding import parse_json
from tocsin.intake.reading import Reader

MAIN_ENVIRONMENT = "production"
"""What the SDKs say unless they are told otherwise: its jobs carry the monitor's name alone."""
DEFAULT_MARGIN = timedelta(minutes=1)
DEFAULT_MAX_RUNTIME = timedelta(minutes=30)
"""Both as Sentry has them for a monitor that does not say."""

_UNITS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    # The longest that a month and a year can be: none may be late for being long.
    "month": timedelta(days=31),
    "year": timedelta(days=366),
}
_UNSAID_RUN = re.compile(r"0*")
_NOT_OF_A_NAME = re.compile(r"[^a-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Monitor:
    """What a client says that is to be expected: an interval, or a crontab line that nobody has looked at yet."""

    schedule: timedelta | str
    time_zone: str
    grace: timedelta
    max_runtime: timedelta


@dataclass(frozen=True, slots=True)
class MonitorCheckIn:
    """A check-in of the heartbeat that `slug` names, and what it should be, if the client says so.

    `index` is its place in the request, from 0.
    """

    slug: str
    said: CheckIn
    monitor: Monitor | None = None
    index: int = 0


def read(index: int, payload: bytes) -> MonitorCheckIn | Rejected:
    """Return the check-in of the item at this place of a request, or why it is none."""
    try:
        return parse(payload, index)
    except TocsinError as error:
        return Rejected(index, error.refusal.message)


def parse(payload: bytes, index: int = 0) -> MonitorCheckIn:
    """Return the check-in of one item.

    What the SDK does not need to say may be missing or wrong; name, status and a monitor's schedule must be right.

    Raises:
        TocsinError: MALFORMED (no JSON), INVALID.
    """
    item = parse_json(payload)
    if not isinstance(item, dict):
        raise _wrong("", "must be an object")
    reader = Reader()
    slug = _slug(reader.text(item, "monitor_slug"), reader.text(item, "environment"))
    said = CheckIn(_status(item.get("status")), _run(reader.text(item, "check_in_id")), _seconds(item.get("duration")))
    config = item.get("monitor_config")
    return MonitorCheckIn(slug, said, _monitor(config) if config is not None else None, index)


def _slug(name: str, environment: str) -> str:
    """Return the heartbeat's name. The same job of another environment is another one: one must not cover the other."""
    plain = _NOT_OF_A_NAME.sub("-", name.strip().lower()).strip("-._")
    where = environment.strip()
    return checked_slug(plain if where in ("", MAIN_ENVIRONMENT) else f"{plain}@{where}")


def _status(value: object) -> CheckInStatus:
    try:
        return CheckInStatus(str(value))
    except ValueError:
        raise _wrong("status", f"must be one of {', '.join(CheckInStatus)}") from None


def _run(text: str) -> str:
    """Return the client's id of the run; one of zeros means whichever run is under way, and so does none."""
    bare = text.strip().lower().replace("-", "")
    if len(bare) > MAX_RUN_CHARACTERS:
        raise _wrong("check_in_id", f"must have at most {MAX_RUN_CHARACTERS} characters")
    if not bare.isprintable():
        raise _wrong("check_in_id", "must be printable text")
    return "" if _UNSAID_RUN.fullmatch(bare) else bare


def _seconds(value: object) -> timedelta | None:
    """Return a duration; one that cannot be is left out, for nothing depends on it."""
    return _times(value, timedelta(seconds=1), timedelta(0))


def _times(value: object, unit: timedelta, shortest: timedelta) -> timedelta | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    # Not a number is not between anything either.
    return unit * value if shortest / unit <= value <= MAX_WAIT / unit else None


def _monitor(config: object) -> Monitor:
    schedule = config.get("schedule") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(schedule, dict):
        raise _wrong("monitor_config.schedule", "must be an object")
    reader = Reader()
    return Monitor(
        schedule=_schedule(reader, schedule),
        time_zone=reader.text(config, "timezone") or "UTC",
        grace=_minutes(config, "checkin_margin", DEFAULT_MARGIN),
        max_runtime=_minutes(config, "max_runtime", DEFAULT_MAX_RUNTIME),
    )


def _schedule(reader: Reader, schedule: dict[str, object]) -> timedelta | str:
    kind = schedule.get("type")
    if kind == "crontab":
        return reader.text(schedule, "value")
    if kind != "interval":
        raise _wrong("monitor_config.schedule.type", "must be `crontab` or `interval`")
    unit = _UNITS.get(reader.text(schedule, "unit"))
    every = _times(schedule.get("value"), unit, MIN_WAIT) if unit else None
    if every is None:
        raise _wrong("monitor_config.schedule", f"must be a number of {', '.join(_UNITS)}, up to {MAX_WAIT.days} days")
    return every


def _minutes(config: Mapping[str, object], key: str, default: timedelta) -> timedelta:
    """Return a number of minutes. 0 stands for the default: no program is on time to the second."""
    value = config.get(key)
    if value is None or value == 0:
        return default
    minutes = _times(value, timedelta(minutes=1), MIN_WAIT)
    if minutes is None:
        raise _wrong(f"monitor_config.{key}", f"must be a number of minutes, up to {MAX_WAIT.days} days")
    return minutes


def _wrong(field: str, problem: str) -> TocsinError:
    return refuse(
        Code.INVALID,
        f"The check-in is wrong: {field or 'it'} {problem}.",
        "Send a check-in as Sentry's SDKs do.",
        errors=[{"field": field, "problem": problem}],
    )
