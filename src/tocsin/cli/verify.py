"""`tocsin verify --db`: is the record what was recorded?"""

from __future__ import annotations

from typing import Annotated

import typer

from tocsin.app.guards import GuardReport
from tocsin.app.verify import Verification, verify_database
from tocsin.cli.options import JsonOption, WrongUsageError, call_of
from tocsin.cli.output import Call, one_line, styled
from tocsin.cli.running import application, run

_CHECKED = (
    "Of every row of the guarded tables: the canonical bytes made anew from the columns, and their SHA-256.",
    "Of every timeline: each entry continues the one before it, none is missing, each step was allowed.",
    "Of every detail (acknowledgment, root cause, resolution…): an entry names it by its checksum, and it is there.",
    "Of every incident: its status repeats what its timeline says, and its first report is the one it opened with.",
)
_PROVES = (
    "This proves that nobody changed a single row, not even past the triggers, without changing all that hangs on it."
)
_NOT_HARDENED = (
    "The schema is not hardened: whoever becomes its owner may take the guards away and put them back. "
    "`tocsin doctor` says how to harden it."
)
_DOES_NOT_PROVE = (
    "It does not prove that nobody recomputed everything consistently, or cut the last entries off a timeline: "
    "that takes a witness outside of the database."
)


def verify(
    context: typer.Context,
    db: Annotated[bool, typer.Option("--db", help="Verify the whole database.")] = False,
    _json: JsonOption = False,
) -> None:
    """Recompute the whole record and say whether it holds.

    Every row that is not what was recorded is named. Work goes on meanwhile: all is read as of one instant. Exit
    1 if anything was found.

    \b
    Example:
      tocsin verify --db

    Next: with findings, keep a copy of the database before anything else, and ask who had access.
    """
    if not db:
        raise WrongUsageError("Say what to verify: the database, with --db.")
    call = call_of(context)
    result = run(_verify(call))
    document = {
        "intact": result.intact,
        "rows": result.rows,
        "incidents": result.incidents,
        "findingsInAll": result.findings_in_all,
        "findings": result.findings,
        "guards": result.guards,
    }
    call.answer(document, lambda: _tell(call, result))
    if not result.intact:
        raise typer.Exit(1)


async def _verify(call: Call) -> Verification:
    async with application(call) as app, app.work(streaming=True) as work:
        with call.progress_bar("Verifying") as progress:
            return await verify_database(work, progress)


def _tell(call: Call, result: Verification) -> None:
    call.say(
        f"Checked {result.rows:,} rows of {result.incidents:,} incidents:", *(f"  {line}" for line in _CHECKED), ""
    )
    if result.findings_in_all:
        call.say(styled(f"{result.findings_in_all:,} FINDINGS: the record is not what was recorded.", "bold red"))
        call.table(
            ("TABLE", "ROW", "PROBLEM"),
            [(finding.table, str(finding.row_id), finding.problem) for finding in result.findings],
        )
        if result.findings_in_all > len(result.findings):
            call.say(f"… and {result.findings_in_all - len(result.findings):,} more.")
    else:
        call.say(styled("Intact: every row is what was recorded.", "bold green"), _PROVES)
    _tell_guards(call, result.guards)
    call.say(_DOES_NOT_PROVE)


def _tell_guards(call: Call, guards: GuardReport) -> None:
    if guards.faults:
        call.say(styled(f"{guards.faults_in_all:,} GUARDS are not what the migrations made:", "bold red"))
        call.say(*(f"  {one_line(fault)}" for fault in guards.faults))
    elif not guards.comparable:
        call.say("The guards were not compared: a newer Tocsin has migrated this database.")
    else:
        call.say("The guards of the record (triggers, functions, constraints, rights) are what the migrations made.")
    if not guards.hardened:
        call.say(_NOT_HARDENED)
