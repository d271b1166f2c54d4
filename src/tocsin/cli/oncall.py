"""`tocsin oncall …`: who is paged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer

from tocsin.app import accounts, contacts
from tocsin.app.work import Work
from tocsin.cli.options import AsOption, EmailArgument, JsonOption, call_of
from tocsin.cli.output import instant
from tocsin.cli.running import act
from tocsin.domain.access import Actor
from tocsin.domain.policy import Duty

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
        methods = await contacts.list_methods(work, actor, row.email) if row.active else []
        reached_by = tuple(f"{method.channel} {method.address}" for method in methods)
        duties.append(_Held(duty, row.email, row.name, row.active, row.assigned_at, reached_by))
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
