"""`tocsin verify`: is the record what was recorded? `--db` asks the database; evidence.py checks files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tocsin.app.verify import Verification, verify_database
from tocsin.cli.evidence import verify_file
from tocsin.cli.options import JsonOption, WrongUsageError, call_of
from tocsin.cli.output import Call, styled
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
_DOES_NOT_PROVE = (
    "It does not prove that nobody recomputed everything consistently, or cut the last entries off a timeline: "
    "that takes a witness outside of the database."
)


def verify(
    context: typer.Context,
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="A bundle of evidence; - reads standard input.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="POLICY", help="The file that says whom you trust.")
    ] = None,
    db: Annotated[bool, typer.Option("--db", help="Verify the whole database.")] = False,
    _json: JsonOption = False,
) -> None:
    """Check evidence from a file, or the whole record.

    A file needs neither database nor network. What it proves depends on whom the policy trusts; without one, nothing.
    With --db every row that is not what was recorded is named; all is read as of one instant.
    Exit 1 if anything was found, or if not everything is proven that the policy asks for.

    \b
    Example:
      tocsin verify inc-42.json --policy policy
      tocsin verify --db

    Next: with findings, keep a copy of the database before anything else, and ask who had access.
    """
    call = call_of(context)
    if (file is None) == (not db) or (policy is not None and file is None):
        raise WrongUsageError("Say what to verify: a FILE of evidence (with --policy), or the database with --db.")
    if file is not None:
        if not verify_file(call, file, policy):
            raise typer.Exit(1)
        return
    result = run(_verify(call))
    document = {
        "intact": result.findings_in_all == 0,
        "rows": result.rows,
        "incidents": result.incidents,
        "findingsInAll": result.findings_in_all,
        "findings": result.findings,
    }
    call.answer(document, lambda: _tell(call, result))
    if result.findings_in_all:
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
    call.say(_DOES_NOT_PROVE)
