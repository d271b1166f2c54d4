"""`tocsin follow-ups …`: what closed incidents promised, and whether it is done."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from typing import Annotated

import msgspec
import typer

from tocsin.app import follow_ups
from tocsin.app.follow_ups import MAX_LISTED, MAX_OFFSET, FollowUpPage, FollowUpRow, Wanted, Which
from tocsin.app.work import Work
from tocsin.cli.options import AsOption, IncidentArgument, JsonOption, WrongUsageError, call_of, incident_ref
from tocsin.cli.output import Call
from tocsin.cli.running import act, text_of
from tocsin.domain.access import Actor
from tocsin.domain.disclosure import ERASED
from tocsin.domain.follow_up import MAX_FOLLOW_UPS, FollowUpState
from tocsin.web.follow_ups_api import document

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""What closed incidents promised, and whether it is done.

    What is overdue pages somebody: after a day, then after 1, 2, 4, … days, at last every 32, until it is done.

    \b
    Example:
      tocsin follow-ups list --overdue

    Next: do them, then `tocsin follow-ups done INCIDENT NUMBER`.
    """,
)
Number = Annotated[
    int, typer.Argument(metavar="NUMBER", min=1, max=MAX_FOLLOW_UPS, help="Its number among those of the incident.")
]


@commands.command("list")
def list_(
    context: typer.Context,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only those whose time has come.")] = False,
    done: Annotated[bool, typer.Option("--done", help="Those that are done, the latest first.")] = False,
    owner: Annotated[str | None, typer.Option(help="Only what this owner has not done, spelled as there.")] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only what names you or your e-mail, and is not done.")] = False,
    incident: Annotated[
        str | None, typer.Option(metavar="INCIDENT", help="All of this one: 42, INC-42, or its UUID.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_LISTED, help="How many at most.")] = 50,
    offset: Annotated[int, typer.Option(min=0, max=MAX_OFFSET, help="How many to leave out first.")] = 0,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """List follow-up actions that are not done, the most urgent first.

    \b
    Example:
      tocsin follow-ups list --overdue --mine

    Next: `tocsin follow-ups done INCIDENT NUMBER`.
    """
    call = call_of(context)
    if overdue and done:
        raise WrongUsageError("What is done is not overdue: give --overdue or --done.")
    if incident is not None and (overdue or done or owner or mine):
        raise WrongUsageError("--incident lists all of one incident: leave the other options out.")
    which = Which.OVERDUE if overdue else Which.DONE if done else Which.OPEN
    ref = incident_ref(incident) if incident is not None else None

    async def read(work: Work, actor: Actor) -> FollowUpPage:
        if ref is None:
            return await follow_ups.list_follow_ups(work, actor, Wanted(which, owner, mine, limit, offset))
        rows = await follow_ups.of_incident(work, actor, ref)
        return FollowUpPage(rows, sum(row.is_overdue(work.now) for row in rows), False, work.now)

    page = act(call, "follow-ups list", text_of(ref) if ref is not None else which.value, read)
    documents = {"followUps": [_document(row, page.now) for row in page.follow_ups], "overdue": page.overdue}
    call.answer(documents | {"hasMore": page.has_more}, lambda: _tell(call, page, offset))


def _document(row: FollowUpRow, now: datetime) -> object:
    return msgspec.json.decode(msgspec.json.encode(document(row, now)))


def _tell(call: Call, page: FollowUpPage, offset: int) -> None:
    if not page.follow_ups:
        call.note("No follow-up action to show.")
        return
    headers = ("INCIDENT", "NUMBER", "STATE", "DUE", "OWNER", "ACTION")
    call.table(headers, [_row(row, page.now) for row in page.follow_ups])
    if page.has_more:
        call.note(f"There are more. Go on with --offset {offset + len(page.follow_ups)}.")


def _row(row: FollowUpRow, now: datetime) -> tuple[str, ...]:
    state = "OVERDUE" if row.is_overdue(now) else row.state
    return (
        f"INC-{row.incident_number}",
        str(row.position),
        f"{state} ({row.marked_by_name})" if row.state == FollowUpState.DONE else state,
        row.due or "-",
        row.owner or "-",
        row.title if row.title is not None else ERASED,
    )


@commands.command()
def done(
    context: typer.Context,
    incident: IncidentArgument,
    number: Number,
    note: Annotated[str | None, typer.Option(help="What was done; one line.")] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Say that an action is done. Nobody is reminded of it any more.

    \b
    Example:
      tocsin follow-ups done 42 1 --note "alert at 1,000 since Tuesday"

    Next: `tocsin follow-ups list` shows what else is owed.
    """
    call, ref = call_of(context), incident_ref(incident)
    row = act(
        call,
        "follow-ups done",
        f"{text_of(ref)} {number}",
        lambda work, actor: _marked(follow_ups.mark_done(work, actor, ref, number, note), work),
    )
    call.answer(
        {"followUp": _document(*row)}, lambda: call.say(f"INC-{row[0].incident_number}, action {number}: done.")
    )


@commands.command()
def reopen(
    context: typer.Context,
    incident: IncidentArgument,
    number: Number,
    note: Annotated[str | None, typer.Option(help="Why it is not done; one line.")] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Say that an action is not done after all. If its time has come, somebody is reminded within the hour.

    \b
    Example:
      tocsin follow-ups reopen 42 1 --note "the alert was lost in the move"

    Next: `tocsin follow-ups list --incident 42`.
    """
    call, ref = call_of(context), incident_ref(incident)
    row = act(
        call,
        "follow-ups reopen",
        f"{text_of(ref)} {number}",
        lambda work, actor: _marked(follow_ups.reopen(work, actor, ref, number, note), work),
    )
    call.answer(
        {"followUp": _document(*row)}, lambda: call.say(f"INC-{row[0].incident_number}, action {number}: open again.")
    )


async def _marked(marking: Awaitable[FollowUpRow], work: Work) -> tuple[FollowUpRow, datetime]:
    return await marking, work.now
