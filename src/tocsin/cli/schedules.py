"""`tocsin schedules …`: who is on call when."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from tocsin.app import calendars, schedules
from tocsin.app.calendars import ListedFeed
from tocsin.app.schedules import Overview, Person, Turn
from tocsin.app.work import Work
from tocsin.cli.options import AsOption, EmailArgument, JsonOption, WrongUsageError, call_of, duration, instant_of
from tocsin.cli.output import Call, age, instant
from tocsin.cli.running import act
from tocsin.domain.access import Actor
from tocsin.domain.calendar import MAX_CALENDAR_BYTES
from tocsin.domain.oncall import Gap, Override
from tocsin.domain.plural import number_of
from tocsin.domain.rotation import Layer, Restriction, Rotation, RotationKind

SHOWN = timedelta(days=14)
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"([a-z,-]{3,40}) +([0-9]{1,2}:[0-9]{2})-([0-9]{1,2}:[0-9]{2})")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})")

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Who is on call when.

    A schedule has layers: people who take turns. The topmost layer that counts wins; overrides lie over all of them.

    \b
    Example:
      tocsin schedules add primary --zone Europe/Vienna
      tocsin schedules layer add primary weeks --member ana@example.org --member bo@example.org
      tocsin schedules shifts primary

    Next: `tocsin oncall assign ON_CALL --schedule primary` lets it be paged.
    """,
)
layers = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""The layers of a schedule: people who take turns.

    \b
    Example:
      tocsin schedules layer add primary weeks --member ana@example.org --member bo@example.org

    Next: `tocsin schedules shifts NAME`.
    """,
)
overrides = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Somebody in somebody's place, for some time.

    \b
    Example:
      tocsin schedules override add primary bo@example.org --from 2026-12-24T08:00Z --to 2026-12-25T08:00Z

    Next: `tocsin schedules shifts NAME`.
    """,
)
commands.add_typer(layers, name="layer")
commands.add_typer(overrides, name="override")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
FromOption = Annotated[str | None, typer.Option("--from", metavar="TIME", help="From when, RFC 3339; without it: now.")]
ToOption = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="Until when, RFC 3339; without it: 14 days later.")
]


@dataclass(frozen=True, slots=True)
class _Line:
    """A schedule as the list shows it."""

    id: UUID
    name: str
    time_zone: str
    people: int
    layers: int
    on_call: list[Turn]


@dataclass(frozen=True, slots=True)
class _Hours:
    weekdays: list[int]
    start: str
    end: str


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer as programs see it; `every` of a custom rotation is in seconds."""

    name: str
    rotation: RotationKind
    every: int
    starts_on: str
    hand_off: str
    members: list[str]
    restrictions: list[_Hours]
    starts_at: datetime | None
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Override:
    id: UUID
    user: str
    instead_of: str | None
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class _Schedule:
    """A schedule as programs see it; its layers from the lowest to the topmost."""

    id: UUID
    name: str
    time_zone: str
    people: int
    at: datetime
    on_call: list[Turn]
    missing: int
    layers: list[_Layer]
    overrides: list[_Override]


@commands.command("list")
def list_(context: typer.Context, _as: AsOption = None, _json: JsonOption = False) -> None:
    """List the schedules and who is on call now.

    \b
    Example:
      tocsin schedules list

    Next: `tocsin schedules show NAME`.
    """
    call = call_of(context)
    found = [_line(view) for view in act(call, "schedules list", "", schedules.list_schedules)]

    def tell() -> None:
        rows = [
            (
                one.name,
                one.time_zone,
                str(one.people),
                str(one.layers),
                ", ".join(turn.person.email for turn in one.on_call) or "NOBODY",
                instant(min(turn.ends_at for turn in one.on_call)) if one.on_call else "-",
            )
            for one in found
        ]
        call.table(("NAME", "ZONE", "PEOPLE", "LAYERS", "ON CALL", "UNTIL"), rows)

    call.answer({"schedules": found}, tell)


def _line(view: Overview) -> _Line:
    one = view.schedule
    return _Line(one.id, one.name, one.zone.key, one.people, len(one.layers), view.on_call)


@commands.command()
def show(
    context: typer.Context,
    name: NameArgument,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="When, RFC 3339; without it: now.")] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Show a schedule, and who is on call.

    Now, or at an instant. The topmost layer that counts wins, so it is shown first; then come the overrides that are
    not over.

    \b
    Example:
      tocsin schedules show primary
      tocsin schedules show primary --at 2026-12-24T20:00:00+01:00

    Next: `tocsin schedules shifts NAME`, `tocsin schedules gaps NAME`.
    """
    call = call_of(context)
    instant_asked = instant_of(at) if at is not None else None

    async def operate(work: Work, actor: Actor) -> Overview:
        return await schedules.show(work, actor, name, instant_asked)

    shown = _shown(act(call, "schedules show", name, operate))
    call.answer({"schedule": shown}, lambda: _tell(call, shown))


def _shown(view: Overview) -> _Schedule:
    one, people = view.schedule, view.people
    return _Schedule(
        one.id,
        one.name,
        one.zone.key,
        one.people,
        view.at,
        view.on_call,
        view.missing,
        [_layer(layer, people) for layer in one.layers],
        [_override(override, people) for override in one.overrides],
    )


def _layer(layer: Layer, people: dict[UUID, Person]) -> _Layer:
    every = layer.rotation.every
    return _Layer(
        layer.name,
        layer.rotation.kind,
        int(every.total_seconds()) if isinstance(every, timedelta) else every,
        layer.rotation.starts_on.isoformat(),
        f"{layer.rotation.hand_off:%H:%M}",
        [people[user].email for user in layer.members],
        [_Hours(sorted(one.weekdays), f"{one.start:%H:%M}", f"{one.end:%H:%M}") for one in layer.restrictions],
        layer.starts_at,
        layer.ends_at,
    )


def _override(override: Override, people: dict[UUID, Person]) -> _Override:
    replaced = people[override.instead_of].email if override.instead_of else None
    return _Override(override.id, people[override.user_id].email, replaced, override.starts_at, override.ends_at)


def _tell(call: Call, one: _Schedule) -> None:
    call.say(f"{one.name}: {one.people} on call at once, {one.time_zone}")
    for turn in one.on_call:
        call.say(f"  {turn.person.email} until {instant(turn.ends_at)} ({turn.source})")
    if one.missing:
        call.say(f"  {one.missing} missing at {instant(one.at)}")
    if one.layers:
        rows = [(layer.name, _turns(layer), ", ".join(layer.members), _hours(layer)) for layer in reversed(one.layers)]
        call.table(("LAYER", "TURNS", "MEMBERS", "HOURS"), rows)
    if one.overrides:
        over = [
            (
                str(each.id),
                each.user,
                each.instead_of or "whoever is on",
                instant(each.starts_at),
                instant(each.ends_at),
            )
            for each in one.overrides
        ]
        call.table(("OVERRIDE", "WHO", "INSTEAD OF", "FROM", "TO"), over)


def _turns(layer: _Layer) -> str:
    unit = {RotationKind.HOURLY: "h", RotationKind.DAILY: "d", RotationKind.WEEKLY: "w"}.get(layer.rotation)
    every = f"{layer.every} {unit}" if unit else age(timedelta(seconds=layer.every))
    return f"every {every} from {layer.starts_on}, at {layer.hand_off}"


def _hours(layer: _Layer) -> str:
    said = [f"{','.join(_WEEKDAYS[day] for day in one.weekdays)} {one.start}-{one.end}" for one in layer.restrictions]
    said += [f"from {instant(layer.starts_at)}"] if layer.starts_at else []
    said += [f"until {instant(layer.ends_at)}"] if layer.ends_at else []
    return "; ".join(said) or "always"


@commands.command()
def add(
    context: typer.Context,
    name: NameArgument,
    zone: Annotated[
        str, typer.Option(metavar="ZONE", help="Whose clock hand-offs follow, such as Europe/Vienna.")
    ] = "UTC",
    people: Annotated[int, typer.Option(metavar="N", help="How many are on call at once.")] = 1,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Add a schedule. Nobody is on call until it has a layer.

    \b
    Example:
      tocsin schedules add primary --zone Europe/Vienna

    Next: `tocsin schedules layer add NAME LAYER --member EMAIL`.
    """
    call = call_of(context)

    async def operate(work: Work, actor: Actor) -> UUID:
        return (await schedules.add(work, actor, name=name, time_zone=zone, people=people)).id

    made = act(call, "schedules add", name, operate)
    call.answer({"id": made, "name": name}, lambda: call.say(f"{name} is there; it has no layer yet."))


@commands.command()
def remove(context: typer.Context, name: NameArgument, _as: AsOption = None, _json: JsonOption = False) -> None:
    """Remove a schedule with its layers, overrides and feeds.

    Refused while a duty or a policy uses it.

    \b
    Example:
      tocsin schedules remove primary

    Next: `tocsin schedules list`.
    """
    call = call_of(context)
    act(call, "schedules remove", name, lambda work, actor: schedules.remove(work, actor, name))
    call.answer({"name": name, "removed": True}, lambda: call.say(f"{name} is removed."))


@layers.command("add")
def add_layer(
    context: typer.Context,
    name: NameArgument,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="The layer's name.")],
    member: Annotated[
        list[str], typer.Option(metavar="EMAIL", help="Who takes turns, in their order. Give it once for each.")
    ],
    rotation: Annotated[
        RotationKind, typer.Option(case_sensitive=False, help="What is counted; custom: the span that --every says.")
    ] = RotationKind.WEEKLY,
    every: Annotated[
        str, typer.Option(metavar="N", help="So many of them a turn; for custom 12h, 2d12h and so on.")
    ] = "1",
    starts_on: Annotated[
        str | None, typer.Option(metavar="DATE", help="The day of the first hand-off; without it: today, in the zone.")
    ] = None,
    hand_off: Annotated[str, typer.Option(metavar="HH:MM", help="When turns begin, on the zone's clock.")] = "09:00",
    hours: Annotated[
        list[str] | None,
        typer.Option(metavar="HOURS", help="Only then: 'mon-fri 09:00-17:00'. Give it once for each."),
    ] = None,
    from_: Annotated[str | None, typer.Option("--from", metavar="TIME", help="It counts from then, RFC 3339.")] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="TIME", help="It counts until then, RFC 3339.")] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Lay a layer on top of the others.

    Where it counts, it wins over those below. With several people at once, the first has the turn and the next members
    stand by; each moves up one place with each turn. Days and weeks follow the clock of the zone, hours are real hours.

    \b
    Example:
      tocsin schedules layer add primary weeks --member ana@example.org --member bo@example.org
      tocsin schedules layer add primary office --rotation daily --hours "mon-fri 09:00-17:00" --member cy@example.org

    Next: `tocsin schedules shifts NAME` shows whose turn it is, `tocsin schedules gaps NAME` when nobody's.
    """
    call = call_of(context)
    read = _rotation(rotation, every, starts_on, hand_off)
    restrictions = tuple(_restriction(text) for text in hours or ())
    starts_at, ends_at = (instant_of(text) if text is not None else None for text in (from_, to))

    async def operate(work: Work, actor: Actor) -> None:
        people = await schedules.members(work, "members", member)
        zone = (await schedules.find(work, name)).zone
        turns = read(work.now.astimezone(zone).date())
        ids = tuple(person.id for person in people)
        await schedules.add_layer(work, actor, name, Layer(layer, turns, ids, restrictions, starts_at, ends_at))

    act(call, "schedules layer add", f"{name} {layer}", operate)
    call.answer({"name": name, "layer": layer}, lambda: call.say(f"{layer} is the topmost layer of {name} now."))


def _rotation(kind: RotationKind, every: str, starts_on: str | None, hand_off: str) -> Callable[[date], Rotation]:
    """Read a rotation; which day is today, when none is said, is known only in the schedule's zone."""
    number = int(every) if every.isascii() and every.isdecimal() and len(every) < 10 else None
    if (number is None) is not (kind is RotationKind.CUSTOM):
        raise WrongUsageError(
            f"--every {every!r} does not fit a {kind.value.lower()} rotation: a number, or for custom 12h."
        )
    try:
        day = date.fromisoformat(starts_on) if starts_on is not None else None
    except ValueError:
        raise WrongUsageError(f"--starts-on {starts_on!r} is not a date such as 2026-03-02.") from None
    turn, at = duration(every) if number is None else number, _time(hand_off)
    return lambda today: Rotation(kind, turn, day or today, at)


def _time(text: str) -> time:
    match = _TIME.fullmatch(text.strip())
    if match and int(match[1]) < 24 and int(match[2]) < 60:
        return time(int(match[1]), int(match[2]))
    raise WrongUsageError(f"{text!r} is not a time of the day such as 09:00.")


def _restriction(text: str) -> Restriction:
    match = _HOURS.fullmatch(text.strip().lower())
    if not match:
        raise WrongUsageError(f"--hours {text!r} is not like 'mon-fri 09:00-17:00' or 'sat,sun 00:00-00:00'.")
    days = {day for part in match[1].split(",") for day in _days(part, text)}
    return Restriction(frozenset(days), _time(match[2]), _time(match[3]))


def _days(part: str, text: str) -> list[int]:
    first, _, last = part.partition("-")
    if first not in _WEEKDAYS or (last or first) not in _WEEKDAYS:
        raise WrongUsageError(f"--hours {text!r}: the days are {', '.join(_WEEKDAYS)}.")
    begin, end = _WEEKDAYS.index(first), _WEEKDAYS.index(last or first)
    return [day % 7 for day in range(begin, (end if end >= begin else end + 7) + 1)]


@layers.command("remove")
def remove_layer(
    context: typer.Context,
    name: NameArgument,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="The layer's name.")],
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Take a layer away; those below it show.

    \b
    Example:
      tocsin schedules layer remove primary office

    Next: `tocsin schedules gaps NAME`.
    """
    call = call_of(context)
    act(
        call,
        "schedules layer remove",
        f"{name} {layer}",
        lambda work, actor: schedules.remove_layer(work, actor, name, layer),
    )
    call.answer({"name": name, "layer": layer, "removed": True}, lambda: call.say(f"{layer} is taken out of {name}."))


@overrides.command("add")
def add_override(
    context: typer.Context,
    name: NameArgument,
    email: EmailArgument,
    from_: Annotated[str, typer.Option("--from", metavar="TIME", help="From when, RFC 3339.")],
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="Until when, RFC 3339.")],
    instead_of: Annotated[
        str | None, typer.Option(metavar="EMAIL", help="In whose place; without it, whoever is on call.")
    ] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Put somebody in somebody's place for some time.

    Responders may do it for themselves: that is how one takes over a shift. For others it takes a superadmin.

    \b
    Example:
      tocsin schedules override add primary bo@example.org --from 2026-12-24T08:00Z --to 2026-12-25T08:00Z

    Next: `tocsin schedules override remove NAME ID` takes it back.
    """
    call = call_of(context)
    start, end = instant_of(from_), instant_of(to)

    async def operate(work: Work, actor: Actor) -> UUID:
        return (await schedules.add_override(work, actor, name, email, start, end, instead_of)).id

    made = act(call, "schedules override add", f"{name} {email}", operate)

    def tell() -> None:
        call.say(f"{email} is on call by {name} from {instant(start)} to {instant(end)}.")
        call.note(f"Take it back with: tocsin schedules override remove {name} {made}")

    call.answer({"id": made, "name": name, "user": email}, tell)


@overrides.command("remove")
def remove_override(
    context: typer.Context,
    name: NameArgument,
    override: Annotated[UUID, typer.Argument(metavar="ID", help="The override's id.")],
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Take an override back; one's own, or as a superadmin anybody's.

    \b
    Example:
      tocsin schedules override remove primary 0193a2b4-7c1e-7d3a-9f00-2b5c8e1d4a6f

    Next: `tocsin schedules show NAME`.
    """
    call = call_of(context)
    act(
        call,
        "schedules override remove",
        f"{name} {override}",
        lambda work, actor: schedules.remove_override(work, actor, name, override),
    )
    call.answer({"id": override, "removed": True}, lambda: call.say("The override is taken back."))


def _period(from_: str | None, to: str | None, now: datetime) -> tuple[datetime, datetime]:
    start = instant_of(from_) if from_ is not None else now
    return start, instant_of(to) if to is not None else start + SHOWN


@commands.command()
def shifts(
    context: typer.Context,
    name: NameArgument,
    from_: FromOption = None,
    to: ToOption = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Show who has which shift.

    \b
    Example:
      tocsin schedules shifts primary
      tocsin schedules shifts primary --from 2026-12-01T00:00:00Z --to 2027-01-01T00:00:00Z

    Next: `tocsin schedules override add NAME EMAIL` takes one over.
    """
    call = call_of(context)

    async def operate(work: Work, actor: Actor) -> list[Turn]:
        return await schedules.shifts_of(work, actor, name, *_period(from_, to, work.now))

    found = act(call, "schedules shifts", name, operate)

    def tell() -> None:
        rows = [(instant(one.starts_at), instant(one.ends_at), one.person.email, one.source) for one in found]
        call.table(("FROM", "TO", "WHO", "BY"), rows)

    call.answer({"shifts": found}, tell)


@commands.command()
def gaps(
    context: typer.Context,
    name: NameArgument,
    from_: FromOption = None,
    to: ToOption = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Show when too few people are on call.

    \b
    Example:
      tocsin schedules gaps primary

    Next: `tocsin schedules layer add NAME LAYER` fills them.
    """
    call = call_of(context)

    async def operate(work: Work, actor: Actor) -> list[Gap]:
        return await schedules.gaps_of(work, actor, name, *_period(from_, to, work.now))

    found = act(call, "schedules gaps", name, operate)

    def tell() -> None:
        if found:
            rows = [(instant(gap.starts_at), instant(gap.ends_at), str(gap.missing)) for gap in found]
            call.table(("FROM", "TO", "MISSING"), rows)
        else:
            call.say("Somebody is on call all the time.")

    call.answer({"gaps": found}, tell)


@commands.command()
def calendar(
    context: typer.Context,
    name: NameArgument,
    person: Annotated[str | None, typer.Option(metavar="EMAIL", help="Only the shifts of this person.")] = None,
    list_feeds: Annotated[bool, typer.Option("--list", help="Show the feeds that are valid.")] = False,
    revoke: Annotated[UUID | None, typer.Option(metavar="ID", help="End this feed.")] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Make a feed for calendar programs and print its URL: once.

    Whoever has the URL can read the schedule, and nothing else. It shows the last 30 days and the next 90.

    \b
    Example:
      tocsin schedules calendar primary --person ana@example.org

    Next: subscribe to the URL in the calendar program; `--list` shows the feeds, `--revoke ID` ends one.
    """
    call = call_of(context)
    if revoke is not None:
        act(call, "schedules calendar", f"{name} {revoke}", lambda w, a: calendars.revoke_feed(w, a, name, revoke))
        call.answer({"id": revoke, "revoked": True}, lambda: call.say("The feed is ended."))
        return
    if list_feeds:
        found = act(call, "schedules calendar", name, lambda work, actor: calendars.list_feeds(work, actor, name))
        call.answer({"feeds": found}, lambda: _tell_feeds(call, found))
        return
    made = act(call, "schedules calendar", name, lambda work, actor: calendars.make_feed(work, actor, name, person))

    def tell() -> None:
        call.note("It cannot be shown again:")
        call.say(made.url)

    call.answer(made, tell)


def _tell_feeds(call: Call, found: list[ListedFeed]) -> None:
    rows = [(str(one.id), one.person or "everybody", one.created_by, instant(one.created_at)) for one in found]
    call.table(("ID", "SHIFTS OF", "MADE BY", "SINCE"), rows)


@commands.command("import")
def import_(
    context: typer.Context,
    name: NameArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An iCalendar file (.ics); - is standard input.")],
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Take the events of a calendar in as overrides.

    All of them, or none. Who is meant is said by the attendees, else the organizer, else the title: an e-mail or a
    user's name. Events of the last 62 days and the next 366 are taken, repetitions too. What was imported before is not
    added again.

    \b
    Example:
      tocsin schedules import primary rota.ics

    Next: `tocsin schedules shifts NAME`.
    """
    call = call_of(context)
    data = _content(file)
    done = act(call, "schedules import", name, lambda work, actor: calendars.import_calendar(work, actor, name, data))

    def tell() -> None:
        added, already = number_of(done.added, "shift was", "shifts were"), number_of(done.already, "was", "were")
        call.say(f"{added} added, {already} there already.")
        if done.outside:
            outside = number_of(done.outside, "event was", "events were")
            call.note(f"{outside} left out: only those are taken that end after 62 days ago and begin within 366 days.")

    call.answer(done, tell)


def _content(file: Path) -> bytes:
    """Return a file as far as it may be read: one byte more than allowed is refused by the use case."""
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(MAX_CALENDAR_BYTES + 1)
        with file.open("rb") as opened:
            return opened.read(MAX_CALENDAR_BYTES + 1)
    except OSError as error:
        raise WrongUsageError(f"{file} cannot be read: {error.strerror}.") from None
