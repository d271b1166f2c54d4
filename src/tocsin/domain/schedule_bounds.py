"""What a schedule may be: everything has a bound, and what cannot work is refused, all of it at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, time, timedelta

from tocsin.domain.oncall import Override, Schedule
from tocsin.domain.rotation import UNITS, Layer, Restriction, Rotation
from tocsin.domain.wall_clock import FIRST_YEAR, LAST_YEAR
from tocsin.errors import Code, TocsinError, refuse

MAX_NAME_CHARACTERS = 100
MAX_PEOPLE = 20
"""How many may be on call at once."""
MAX_LAYERS = 20
MAX_MEMBERS = 50
"""Members of one layer."""
MAX_RESTRICTIONS = 20
"""Restrictions of one layer."""
MAX_TURN = timedelta(days=365)
MIN_CUSTOM_TURN = timedelta(hours=4)
"""Daylight saving leaves out three hours at most: a shorter turn of the wall clock could be lost in it."""
CUSTOM_STEP = timedelta(minutes=15)
MAX_OVERRIDE = timedelta(days=366)
MAX_OVERRIDES = 5_000
"""Overrides of one schedule."""
MAX_PERIOD = timedelta(days=366)
"""The longest time over which shifts and gaps are told."""

Problems = Iterator[tuple[str, str]]
"""Which field has which problem."""


def checked(schedule: Schedule) -> Schedule:
    """Return the schedule; raise INVALID naming everything that is out of bounds."""
    problems = list(_problems(schedule))
    if problems:
        raise invalid(problems)
    return schedule


def checked_instant(field: str, instant: datetime) -> datetime:
    """Return the instant; raise INVALID unless it lies in the years that are reckoned with."""
    if problem := _instant_problem(instant):
        raise invalid([(field, problem)])
    return instant


def checked_period(start: datetime, end: datetime) -> None:
    """Raise INVALID unless this is a time over which shifts are told."""
    checked_instant("from", start)
    checked_instant("to", end)
    if not timedelta() < end - start <= MAX_PERIOD:
        raise invalid([("to", f"must be after the beginning, by {MAX_PERIOD.days} days at most")])


def invalid(problems: Iterable[tuple[str, str]]) -> TocsinError:
    """Return the refusal that names every problem of a schedule."""
    errors = [{"field": field, "problem": problem} for field, problem in problems]
    named = "; ".join(f"{error['field']} {error['problem']}" for error in errors[:5])
    return refuse(Code.INVALID, f"The schedule is not valid: {named}.", errors=errors)


def _problems(schedule: Schedule) -> Problems:
    yield from _name_problems("name", schedule.name)
    if not 1 <= schedule.people <= MAX_PEOPLE:
        yield "people", f"must be 1 to {MAX_PEOPLE}"
    if len(schedule.layers) > MAX_LAYERS:
        yield "layers", f"must be at most {MAX_LAYERS}"
    if len({layer.name.casefold() for layer in schedule.layers}) < len(schedule.layers):
        yield "layers", "must have different names"
    for index, layer in enumerate(schedule.layers[:MAX_LAYERS]):
        for field, problem in _layer_problems(layer, schedule.people):
            yield f"layers[{index}].{field}", problem
    if len(schedule.overrides) > MAX_OVERRIDES:
        yield "overrides", f"must be at most {MAX_OVERRIDES}"
    for index, override in enumerate(schedule.overrides[:MAX_OVERRIDES]):
        for field, problem in _override_problems(override):
            yield f"overrides[{index}].{field}", problem


def _name_problems(field: str, name: str) -> Problems:
    if not (1 <= len(name) <= MAX_NAME_CHARACTERS and name.isprintable() and name == name.strip()):
        yield field, f"must have 1 to {MAX_NAME_CHARACTERS} printable characters, no space around them"


def _layer_problems(layer: Layer, people: int) -> Problems:
    yield from _name_problems("name", layer.name)
    if not 1 <= len(layer.members) <= MAX_MEMBERS:
        yield "members", f"must be 1 to {MAX_MEMBERS}"
    elif len(set(layer.members)) < people:
        yield "members", f"must be at least {people} different people, as many as are on call at once"
    if len(layer.restrictions) > MAX_RESTRICTIONS:
        yield "restrictions", f"must be at most {MAX_RESTRICTIONS}"
    yield from _rotation_problems(layer.rotation)
    for index, restriction in enumerate(layer.restrictions[:MAX_RESTRICTIONS]):
        for field, problem in _restriction_problems(restriction):
            yield f"restrictions[{index}].{field}", problem
    for field, instant in (("startsAt", layer.starts_at), ("endsAt", layer.ends_at)):
        if instant is not None and (problem := _instant_problem(instant)):
            yield field, problem
    if layer.starts_at and layer.ends_at and layer.starts_at >= layer.ends_at:
        yield "endsAt", "must be after the start"


def _rotation_problems(rotation: Rotation) -> Problems:
    unit = UNITS.get(rotation.kind)
    if unit is None and isinstance(rotation.every, timedelta):
        if not MIN_CUSTOM_TURN <= rotation.every <= MAX_TURN or rotation.every % CUSTOM_STEP:
            yield "every", f"must be 4 hours to {MAX_TURN.days} days, in steps of 15 minutes"
    elif unit is not None and isinstance(rotation.every, int):
        if not 1 <= rotation.every <= MAX_TURN // unit:
            yield "every", f"must be 1 to {MAX_TURN // unit}: a turn lasts {MAX_TURN.days} days at most"
    else:
        yield "every", "must be a span of time for a custom rotation, and a number for the others"
    if not FIRST_YEAR <= rotation.starts_on.year < LAST_YEAR:
        yield "startsOn", f"must be between {FIRST_YEAR} and {LAST_YEAR}"
    yield from _time_problems("handOff", rotation.hand_off)


def _restriction_problems(restriction: Restriction) -> Problems:
    if not restriction.weekdays or not restriction.weekdays <= set(range(7)):
        yield "weekdays", "must be at least one of 0 (Monday) to 6 (Sunday)"
    yield from _time_problems("start", restriction.start)
    yield from _time_problems("end", restriction.end)


def _time_problems(field: str, at: time) -> Problems:
    if at.tzinfo is not None or at.second or at.microsecond:
        yield field, "must be a time of the day such as 09:00, without seconds"


def _override_problems(override: Override) -> Problems:
    for field, instant in (("startsAt", override.starts_at), ("endsAt", override.ends_at)):
        if problem := _instant_problem(instant):
            yield field, problem
            return
    if not timedelta() < override.ends_at - override.starts_at <= MAX_OVERRIDE:
        yield "endsAt", f"must be after the start, by {MAX_OVERRIDE.days} days at most"
    if override.instead_of == override.user_id:
        yield "insteadOf", "must be somebody else"


def _instant_problem(instant: datetime) -> str:
    if instant.tzinfo is None:
        return "must have an offset from UTC"
    # By the year as written: near the ends of the calendar nothing else can be computed.
    return "" if FIRST_YEAR <= instant.year < LAST_YEAR else f"must be between {FIRST_YEAR} and {LAST_YEAR}"
