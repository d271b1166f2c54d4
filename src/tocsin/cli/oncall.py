"""`tocsin oncall …`: who is paged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

import typer

from tocsin.app import accounts, read_notifications
from tocsin.app.work import Work
from tocsin.cli.options import (
    AsOption,
    CursorOption,
    EmailArgument,
    JsonOption,
    call_of,
    duration,
    instant_of,
)
from tocsin.cli.output import instant
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

    Next: `tocsin policies list` tells when each of them is paged.
    """,
)


@dataclass(frozen=True, slots=True)
class _Held:
    """A duty, who holds it (None: nobody), and how they are reached."""

    duty: Duty
    email: str | None = None
    name: str | None = None
    active: bool | None = None
    assigned_at: datetime | None = None
    contacts: tuple[str, ...] = ()


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
    """Show who holds which duty, and how they are reached.

    \b
    Example:
      tocsin oncall show

    Next: `tocsin oncall assign DUTY EMAIL`.
    """
    call = call_of(context)
    duties = act(call, "oncall show", "", _read)

    def tell() -> None:
        rows = [
            (
                held.duty.value,
                held.name or NOBODY,
                held.email or "-",
                ", ".join(held.contacts) or ("-" if held.email is None else "NOT REACHABLE"),
                instant(held.assigned_at) if held.assigned_at else "-",
            )
            for held in duties
        ]
        call.table(("DUTY", "WHO", "EMAIL", "REACHED BY", "SINCE"), rows)

    call.answer({"duties": duties}, tell)


async def _read(work: Work, actor: Actor) -> list[_Held]:
    holders = {row.duty: row for row in await accounts.list_duties(work, actor)}
    duties = []
    for duty in Duty:
        if (row := holders.get(duty)) is None:
            duties.append(_Held(duty))
            continue
        methods = await accounts.list_contacts(work, actor, row.email) if row.active else []
        contacts = tuple(f"{method.channel} {method.address}" for method in methods)
        duties.append(_Held(duty, row.email, row.name, row.active, row.assigned_at, contacts))
    return duties


@commands.command()
def assign(
    context: typer.Context,
    duty: Annotated[Duty, typer.Argument(case_sensitive=False, help="Which duty.")],
    email: EmailArgument,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Give a duty to somebody who can be reached.

    Pages go to them from the next one on.

    \b
    Example:
      tocsin oncall assign ON_CALL ana@example.org

    Next: `tocsin oncall show`.
    """
    call = call_of(context)
    act(
        call,
        "oncall assign",
        f"{duty.value} {email}",
        lambda work, actor: accounts.assign_duty(work, actor, duty, email),
    )
    call.answer({"duty": duty, "email": email}, lambda: call.say(f"{email} is {duty.value} now."))


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
