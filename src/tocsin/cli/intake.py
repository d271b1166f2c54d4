"""`tocsin intake`: the ledger of intake, what was received and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from tocsin.app.ledger import Tally
from tocsin.app.read_ledger import LedgerView, read_ledger
from tocsin.app.work import Work
from tocsin.cli.options import AsOption, JsonOption, call_of, duration
from tocsin.cli.output import Call, instant, plain_data
from tocsin.cli.running import act
from tocsin.domain.access import Actor

MAX_ID = 2**31 - 1
_HEADERS = ("PROJECT", "RECEIVED", "OPENED", "JOINED", "RECORDED", "DUPLICATE", "REJECTED", "DIFFERENCE", "LOST")


def intake(
    context: typer.Context,
    since: Annotated[str, typer.Option(metavar="DURATION", help="From how long ago: 30m, 2h, 7d.")] = "1h",
    project: Annotated[int | None, typer.Option(metavar="ID", min=0, max=MAX_ID, help="Only this project.")] = None,
    by_minute: Annotated[bool, typer.Option("--minutes", help="Minute by minute, the newest first.")] = False,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Show what was received and what became of it.

    For each project: received = opened + joined + recorded + duplicate + rejected. DIFFERENCE is what is missing
    from that; anything but 0 is a fault of Tocsin. LOST is what clients say they dropped before it got here.

    \b
    Example:
      tocsin intake --since 2h --project 1

    Next: `tocsin doctor` tells whether the ledger agrees with what is recorded.
    """
    call, ago = call_of(context), duration(since)

    async def operate(work: Work, actor: Actor) -> LedgerView:
        return await read_ledger(work, actor, since=work.now - ago, project_id=project, by_minute=by_minute)

    view = act(call, "intake", "" if project is None else str(project), operate)
    call.answer(_document(view), lambda: _tell(call, view))


def _tell(call: Call, view: LedgerView) -> None:
    call.note(f"From {instant(view.since)} to before {instant(view.until)}:")
    if view.minutes is not None:
        rows = [(f"{minute:%Y-%m-%d %H:%M}", *_row(tally)) for minute, tally in view.minutes]
        call.table(("MINUTE", *_HEADERS), rows)
    else:
        call.table(_HEADERS, [_row(tally) for tally in view.tallies])
    for tally in view.tallies:
        for what, counts in (("received", tally.received), ("rejected", tally.rejected), ("lost", tally.lost)):
            if counts:
                call.note(f"Project {tally.project_id}, {what}: {named_counts(counts)}.")


def _row(tally: Tally) -> tuple[str, ...]:
    numbers = (
        sum(tally.received.values()),
        tally.opened,
        tally.joined,
        tally.recorded,
        tally.duplicate,
        sum(tally.rejected.values()),
        tally.difference,
        sum(tally.lost.values()),
    )
    return (str(tally.project_id), *(f"{number:,}" for number in numbers))


def named_counts(counts: Mapping[str, int]) -> str:
    """Return counts by their reasons in one line."""
    return ", ".join(f"{reason} {number:,}" for reason, number in sorted(counts.items()))


def _document(view: LedgerView) -> dict[str, object]:
    minutes = None
    if view.minutes is not None:
        minutes = [{"minute": minute} | _tally(tally) for minute, tally in view.minutes]
    projects = [_tally(tally) for tally in view.tallies]
    return {"since": view.since, "until": view.until, "projects": projects, "minutes": minutes}


def _tally(tally: Tally) -> dict[str, object]:
    document = plain_data(tally)
    assert isinstance(document, dict), "a record becomes an object"
    return document | {"difference": tally.difference}
