"""`tocsin erase …`: a person's data, gone from the record, which says so and still verifies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

import typer

from tocsin.app import erase
from tocsin.app.erase import Erased, Grounds, Reports
from tocsin.app.work import Work
from tocsin.cli.options import (
    AsOption,
    EmailArgument,
    IncidentArgument,
    JsonOption,
    WrongUsageError,
    at_terminal,
    call_of,
    incident_ref,
)
from tocsin.cli.output import Call, instant, one_line
from tocsin.cli.running import act, database, run, text_of
from tocsin.domain.access import Actor
from tocsin.domain.disclosure import ERASED
from tocsin.domain.erasure import TEXTS
from tocsin.domain.plural import number_of
from tocsin.settings import load_settings

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Erase a person's data. What is erased is gone; that it was, who asked and why stays recorded for ever.

    Do not name the person in the reason. Backups and archives that were made before keep what they hold.

    \b
    Example:
      tocsin erase reports --containing ana@example.org --reason "Request of the person" --dry-run

    Next: `tocsin verify --db` shows that the rest of the record holds.
    """,
)

ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; recorded for ever, so name nobody.")]
RequestOption = Annotated[
    str | None, typer.Option("--request", metavar="REFERENCE", help="The request that asks for it, by its number.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be erased.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

Operation = Callable[[Work, Actor, bool], Awaitable[Erased]]


@commands.command()
def user(
    context: typer.Context,
    email: EmailArgument,
    reason: ReasonOption,
    request: RequestOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Erase who a user was.

    Name, addresses, sessions, tokens, and what the access log knows of them. What they did stays recorded, under a
    random id. Texts that name them are erased with the incidents or reports in which they stand. Who has a duty,
    and the last superadmin, must hand that over first.

    \b
    Example:
      tocsin erase user ana@example.org --reason "Left; asked to be forgotten" --request GDPR-17

    Next: `tocsin erase reports --containing ana@example.org`.
    """
    grounds = Grounds(reason, request)

    async def operate(work: Work, actor: Actor, dry: bool) -> Erased:
        return await erase.erase_user(work, actor, email, grounds, dry_run=dry)

    # The access log would keep the address that is being erased: the log's leaf has the user's id.
    _erase(call_of(context), "erase user", "", operate, dry_run=dry_run, yes=yes)


@commands.command()
def incident(
    context: typer.Context,
    ref: IncidentArgument,
    reason: ReasonOption,
    texts: Annotated[
        str | None, typer.Option("--texts", metavar="NAMES", help=f"Some of {','.join(TEXTS)}; with commas.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All texts that people wrote.")] = False,
    request: RequestOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Erase texts of an incident, and their copies in pages.

    Its status, times and people stay. What was reported is erased by `tocsin erase reports`.

    \b
    Example:
      tocsin erase incident 42 --texts description,notes --reason "A customer's name"

    Next: `tocsin erase reports --incident 42` erases what was reported, too.
    """
    if (texts is None) is not all_:
        raise WrongUsageError("Say which texts: some with --texts NAMES, or all of them with --all.")
    named = incident_ref(ref)
    names = [name.strip() for name in texts.split(",")] if texts is not None else None
    grounds = Grounds(reason, request)

    async def operate(work: Work, actor: Actor, dry: bool) -> Erased:
        return await erase.erase_incident(work, actor, named, names, grounds, dry_run=dry)

    _erase(call_of(context), "erase incident", text_of(named), operate, dry_run=dry_run, yes=yes)


@commands.command()
def reports(
    context: typer.Context,
    reason: ReasonOption,
    incident_: Annotated[
        str | None, typer.Option("--incident", metavar="INCIDENT", help="Every report of this incident.")
    ] = None,
    report: Annotated[
        list[UUID] | None, typer.Option("--report", metavar="ID", help="This one. Give it once for each.")
    ] = None,
    containing: Annotated[
        str | None, typer.Option("--containing", metavar="TEXT", help="Those in which this text stands.")
    ] = None,
    request: RequestOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Erase reports, and what incidents copied from them.

    Copied are titles, descriptions and signals. That something was reported, when, of which severity and failure,
    stays recorded. Of many reports 10,000 are erased at once: repeat it for the rest.

    \b
    Example:
      tocsin erase reports --containing ana@example.org --reason "Request of the person" --dry-run

    Next: texts that people wrote: `tocsin erase incident NUMBER --all`.
    """
    if (incident_ is not None) + bool(report) + (containing is not None) != 1:
        raise WrongUsageError("Say which reports: --incident INCIDENT, --report ID, or --containing TEXT.")
    which = Reports(incident_ref(incident_) if incident_ is not None else None, tuple(report or ()), containing)
    grounds = Grounds(reason, request)

    async def operate(work: Work, actor: Actor, dry: bool) -> Erased:
        return await erase.erase_reports(work, actor, which, grounds, dry_run=dry)

    # Neither here may the log keep what is being erased.
    target = text_of(which.incident) if which.incident is not None else ""
    _erase(call_of(context), "erase reports", target, operate, dry_run=dry_run, yes=yes)


def _erase(call: Call, action: str, target: str, operate: Operation, *, dry_run: bool, yes: bool) -> None:
    if dry_run or not yes:
        if not dry_run and not at_terminal():
            raise WrongUsageError("There is no terminal to ask at: look with --dry-run, then erase with --yes.")
        plan = act(call, f"{action} --dry-run", target, lambda work, actor: operate(work, actor, True))
        if dry_run:
            call.answer(_document(plan), lambda: _tell(call, plan))
            return
        for line in _lines(plan):
            call.note(line)
        typer.confirm("Erase this? It cannot be taken back.", abort=True, err=True)
    erased = act(call, action, target, lambda work, actor: operate(work, actor, False))
    vacuumed = run(_vacuum(call))
    call.answer(_document(erased) | {"vacuumed": vacuumed}, lambda: _tell(call, erased, vacuumed=vacuumed))


async def _vacuum(call: Call) -> bool:
    async with database(call, load_settings()) as sources:
        return await erase.vacuum(sources.migrator)


def _document(erased: Erased) -> dict[str, object]:
    return {
        "done": erased.done,
        "incidents": erased.incidents,
        "reports": erased.reports,
        "userId": erased.user_id,
        "accesses": erased.accesses,
        "more": erased.more,
        "found": erased.found,
    }


def _lines(erased: Erased) -> list[str]:
    lines = ["Erased:" if erased.done else "Would be erased:"]
    if erased.user_id is not None:
        lines.append(f"  user {erased.user_id}, with {number_of(erased.accesses, 'row')} of the access log")
    for one in erased.incidents:
        lines.append(f"  INC-{one.number}: {number_of(one.texts, 'text')}, {number_of(one.reports, 'report')}")
        if one.kept_texts:
            lines.append(f"    {one.kept_texts:,} copied texts stay: an older version recorded them for ever")
    alone = erased.reports - sum(one.reports for one in erased.incidents)
    if alone:
        lines.append(f"  {number_of(alone, 'report that belongs', 'reports that belong')} to no incident")
    lines += [f"    {instant(row.received_at)}  {row.id}  {one_line(row.title or ERASED)}" for row in erased.found]
    if len(lines) == 1:
        lines.append("  nothing")
    if erased.more:
        lines.append("There is more: repeat it until nothing is left.")
    return lines


def _tell(call: Call, erased: Erased, *, vacuumed: bool = True) -> None:
    call.say(*_lines(erased))
    if erased.done and not vacuumed:
        call.say(
            "Not vacuumed: this sign-in may not. What was erased lies in the database's files until autovacuum comes. "
            "Set TOCSIN_MIGRATE_DATABASE_URL, or run VACUUM as the schema's owner."
        )
    if erased.done:
        call.say("Backups, archives of the WAL and replicas that lag behind keep it for as long as you keep them.")
