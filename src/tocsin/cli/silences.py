"""`tocsin silences …`: what holds pages back for a while."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from tocsin.app import silences
from tocsin.app.silences import Wanted
from tocsin.app.work import Work
from tocsin.cli.options import (
    AsOption,
    JsonOption,
    WrongUsageError,
    call_of,
    duration,
    incident_ref,
    instant_of,
)
from tocsin.cli.output import Call, instant
from tocsin.cli.running import act
from tocsin.domain.access import Actor
from tocsin.domain.incident import Severity
from tocsin.domain.silence import SilenceKind

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""What holds pages back for a while.

    Never incidents: they open, and their timeline says that pages were held. At the end of a silence what nobody has
    acknowledged is paged.

    \b
    Example:
      tocsin silences add --service payments --for 2h --reason "deploy of the new ledger"

    Next: `tocsin silences list`.
    """,
)


@commands.command("list")
def list_(
    context: typer.Context,
    all_: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """List the silences that are not over.

    The one that ends first stands before the others.

    \b
    Example:
      tocsin silences list

    Next: `tocsin silences end ID`.
    """
    call = call_of(context)

    async def operate(work: Work, actor: Actor) -> list[silences.SilenceView]:
        return await silences.list_silences(work, actor, all_of_them=all_)

    found = act(call, "silences list", "all" if all_ else "", operate)

    def tell() -> None:
        headers = ("ID", "KIND", "OF", "FROM", "UNTIL", "BY", "REASON")
        call.table(headers, [_row(one) for one in found])

    call.answer({"silences": found}, tell)


def _row(one: silences.SilenceView) -> tuple[str, ...]:
    until = f"{instant(one.ends_at)}{f' (ended by {one.ended_by_name})' if one.ended_by_name else ''}"
    return (str(one.id), one.kind, _of(one), instant(one.starts_at), until, one.created_by_name, one.reason)


def _of(one: silences.SilenceView) -> str:
    parts = (
        f"INC-{one.incident_number}" if one.incident_number is not None else "",
        f"project {one.project_name}" if one.project_name is not None else "",
        f"service {one.service}" if one.service is not None else "",
        " or ".join(one.severities or ()),
    )
    return ", ".join(part for part in parts if part) or "EVERYTHING"


@commands.command()
def add(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Why; everybody who is not paged will read it.")],
    service: Annotated[str | None, typer.Option(help="Only incidents of this service, spelled exactly so.")] = None,
    severity: Annotated[
        list[Severity] | None, typer.Option(case_sensitive=False, help="Only this current severity; may be repeated.")
    ] = None,
    project: Annotated[str | None, typer.Option(metavar="NAME", help="Only incidents of this project.")] = None,
    incident: Annotated[
        str | None, typer.Option(metavar="INCIDENT", help="Only this one: 42, INC-42, or its UUID.")
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Every incident there is.")] = False,
    for_: Annotated[str | None, typer.Option("--for", metavar="DURATION", help="How long: 30m, 2h, 1d.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Since when (RFC 3339, else UTC); now, unless said.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="In the place of --for: until when.")] = None,
    maintenance: Annotated[bool, typer.Option("--maintenance", help="Work that was announced.")] = False,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Hold pages back for a while. What is not named matches everything.

    At most 30 days long, at most 90 days ahead. A responder may silence one incident, for up to a day.

    \b
    Example:
      tocsin silences add --service payments --severity LOW --severity MEDIUM --for 2h --reason "deploy"
      tocsin silences add --incident 42 --for 1h --reason "waiting for the provider"
      tocsin silences add --everything --maintenance --from 2026-12-01T22:00 --for 4h --reason "new disks"

    Next: `tocsin silences end ID` ends it early.
    """
    call = call_of(context)
    if (for_ is None) == (until is None):
        raise WrongUsageError("Say for how long with --for, or until when with --until.")
    wanted = Wanted(
        reason,
        SilenceKind.MAINTENANCE if maintenance else SilenceKind.SILENCE,
        incident_ref(incident) if incident is not None else None,
        project,
        service,
        severity,
        everything,
        instant_of(from_) if from_ is not None else None,
        instant_of(until) if until is not None else None,
        duration(for_) if for_ is not None else None,
    )
    target = " ".join(part for part in (incident, project, service) if part) or "everything"
    made = act(call, "silences add", target, lambda work, actor: silences.add_silence(work, actor, wanted))
    call.answer({"silence": made}, lambda: _tell(call, made))


def _tell(call: Call, one: silences.SilenceView) -> None:
    call.say(f"Pages of {_of(one)} are held back from {instant(one.starts_at)} until {instant(one.ends_at)}.")
    call.note(f"End it early: `tocsin silences end {one.id}`.")


@commands.command()
def end(
    context: typer.Context,
    silence: Annotated[str, typer.Argument(metavar="ID", help="Its id, as the list shows it.")],
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """End a silence now. What it held back and nobody has acknowledged is paged.

    \b
    Example:
      tocsin silences end 019a7c3e-5b1f-7c2a-9d4e-2f6b8a1c3d5e

    Next: `tocsin incidents list --open`.
    """
    call = call_of(context)
    try:
        silence_id = UUID(silence.strip())
    except ValueError:
        raise WrongUsageError(f"{silence!r} is not the id of a silence: see `tocsin silences list`.") from None
    ended = act(
        call, "silences end", str(silence_id), lambda work, actor: silences.end_silence(work, actor, silence_id)
    )
    words = f"The silence of {_of(ended.silence)} is over; {ended.incidents} open incidents that it held are looked at."
    call.answer(ended, lambda: call.say(words))
