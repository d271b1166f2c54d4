"""`tocsin oncall …`: who is paged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer

from tocsin.app import accounts, contacts, read_notifications, schedules
from tocsin.app.work import Work
from tocsin.cli.forecast import forecast_command
from tocsin.cli.options import AsOption, CursorOption, JsonOption, WrongUsageError, call_of, duration, instant_of
from tocsin.cli.output import Call, instant
from tocsin.cli.pages import tell_pages
from tocsin.cli.running import act
from tocsin.domain.access import Actor
from tocsin.domain.delivery import PageState
from tocsin.domain.policy import Duty
from tocsin.web.notifications_api import plain

LONGEST_AGO = timedelta(days=36_500)
NOBODY = "nobody: the superadmins are paged"

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Who is paged.

    The on-call at once, then the supervisor, then the director.

    \b
    Example:
      tocsin oncall assign ON_CALL ana@example.org
      tocsin oncall show

    Next: `tocsin policies list` tells when each of them is paged.
    """,
)


commands.command("forecast")(forecast_command)


@dataclass(frozen=True, slots=True)
class _Held:
    """Who holds a duty just now, until when (None: until it is given on), how they are reached, and by which schedule.

    A duty that nobody holds has no e-mail; one that a schedule holds has as many of these as people are on call.
    """

    duty: Duty
    email: str | None = None
    name: str | None = None
    active: bool | None = None
    assigned_at: datetime | None = None
    contacts: tuple[str, ...] = ()
    schedule: str | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Since:
    """From when on: an instant, or so long ago; None of both: as far as the list goes by itself."""

    at: datetime | None = None
    ago: timedelta | None = None

    @classmethod
    def of(cls, text: str | None) -> _Since:
        if text is None:
            return cls()
        return cls(at=instant_of(text)) if "-" in text else cls(ago=duration(text))

    def before(self, now: datetime) -> datetime | None:
        return now - min(self.ago, LONGEST_AGO) if self.ago is not None else self.at


@commands.command()
def show(context: typer.Context, _as: AsOption = None, _json: JsonOption = False) -> None:
    """Show who holds which duty just now, and until when.

    Also how they are reached, and by which schedule they hold it.

    \b
    Example:
      tocsin oncall show

    Next: `tocsin oncall assign DUTY EMAIL`, or `--schedule NAME`.
    """
    call = call_of(context)
    duties = act(call, "oncall show", "", _read)

    def tell() -> None:
        call.table(
            ("DUTY", "WHO", "EMAIL", "REACHED BY", "SCHEDULE", "SINCE", "UNTIL"), [_row(held) for held in duties]
        )

    call.answer({"duties": duties}, tell)


def _row(held: _Held) -> tuple[str, ...]:
    nobody = NOBODY if held.schedule is None else "nobody is on call"
    return (
        held.duty.value,
        held.name or nobody,
        held.email or "-",
        ", ".join(held.contacts) or ("-" if held.email is None else "NOT REACHABLE"),
        held.schedule or "-",
        instant(held.assigned_at) if held.assigned_at else "-",
        instant(held.until) if held.until else "-",
    )


async def _read(work: Work, actor: Actor) -> list[_Held]:
    holders = {row.duty: row for row in await accounts.list_duties(work, actor)}
    held: list[_Held] = []
    for duty in Duty:
        row = holders.get(duty)
        if row is None:
            held.append(_Held(duty))
        elif row.schedule_id is not None:
            held += await _by_schedule(work, actor, duty, row.schedule_id, row.assigned_at)
        else:
            reached_by = await _contacts(work, actor, row.email or "", active=bool(row.active))
            held.append(_Held(duty, row.email, row.name, row.active, row.assigned_at, reached_by))
    return held


async def _by_schedule(work: Work, actor: Actor, duty: Duty, schedule_id: UUID, since: datetime) -> list[_Held]:
    view = await schedules.show(work, actor, schedule_id)
    name = view.schedule.name
    held = []
    for turn in view.on_call:
        one = turn.person
        reached_by = await _contacts(work, actor, one.email, active=one.active)
        held.append(_Held(duty, one.email, one.name, one.active, since, reached_by, name, turn.ends_at))
    return held or [_Held(duty, assigned_at=since, schedule=name)]


async def _contacts(work: Work, actor: Actor, email: str, *, active: bool) -> tuple[str, ...]:
    methods = await contacts.list_methods(work, actor, email) if active else []
    return tuple(f"{method.channel} {method.address}" for method in methods)


@commands.command()
def assign(
    context: typer.Context,
    duty: Annotated[Duty, typer.Argument(case_sensitive=False, help="Which duty.")],
    email: Annotated[str | None, typer.Argument(metavar="EMAIL", help="The user's e-mail.")] = None,
    schedule: Annotated[
        str | None, typer.Option(metavar="NAME", help="Or the schedule: whoever is on call by it.")
    ] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Give a duty to somebody who can be reached, or to a schedule.

    Pages go to them from the next one on.

    \b
    Example:
      tocsin oncall assign ON_CALL --schedule primary
      tocsin oncall assign DIRECTOR ana@example.org

    Next: `tocsin oncall show`.
    """
    call = call_of(context)
    if (email is None) is (schedule is None):
        raise WrongUsageError("Say who: an EMAIL, or --schedule NAME.")

    if schedule is None:
        _assign_person(call, duty, email or "")
    else:
        _assign_schedule(call, duty, schedule)


def _assign_person(call: Call, duty: Duty, email: str) -> None:
    act(
        call,
        "oncall assign",
        f"{duty.value} {email}",
        lambda work, actor: accounts.assign_duty(work, actor, duty, email),
    )
    call.answer({"duty": duty, "email": email}, lambda: call.say(f"{email} is {duty.value} now."))


def _assign_schedule(call: Call, duty: Duty, named: str) -> None:
    async def operate(work: Work, actor: Actor) -> schedules.Overview:
        assigned = await accounts.assign_schedule(work, actor, duty, named)
        return await schedules.show(work, actor, assigned.id)

    view = act(call, "oncall assign", f"{duty.value} {named}", operate)
    name, people = view.schedule.name, [turn.person for turn in view.on_call]

    def tell() -> None:
        call.say(f"Whoever is on call by {name} is {duty.value} now.")
        if people:
            call.say(f"Just now: {', '.join(one.name for one in people)}.")
        else:
            call.note(
                f"WARNING: nobody is on call by {name} just now: who is paged instead are those of the next steps, at "
                f"last the superadmins. See whose turn is when: `tocsin schedules show {name}`."
            )

    document = {"duty": duty, "schedule": name, "onCall": [one.email for one in people]}
    call.answer(document, tell)


@commands.command()
def pages(
    context: typer.Context,
    user: Annotated[str | None, typer.Option(metavar="EMAIL", help="Only those to this person.")] = None,
    state: Annotated[PageState | None, typer.Option(case_sensitive=False, help="Only those of this state.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME|DURATION", help="2026-03-01T03:00:00Z, or 2h ago; else 30 days.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=read_notifications.MAX_PAGE, help="How many at most.")] = 50,
    cursor: CursorOption = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Show which pages went to whom, newest first.

    Each with every attempt: when, over what, with which answer.

    \b
    Example:
      tocsin oncall pages --user ana@example.org --state failed --since 7d

    Next: `tocsin incidents show NUMBER` tells what they were about.
    """
    call = call_of(context)
    began = _Since.of(since)

    async def read(work: Work, actor: Actor) -> read_notifications.Histories:
        return await read_notifications.listed(
            work, actor, email=user, state=state, since=began.before(work.now), limit=limit, cursor=cursor
        )

    found = act(call, "oncall pages", user or "", read)
    call.answer(plain(found), lambda: tell_pages(call, found))
