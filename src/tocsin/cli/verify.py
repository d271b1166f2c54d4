"""`tocsin verify`: is the record what was recorded? `--db` asks the database; evidence.py checks files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tocsin import bootstrap
from tocsin.app.guards import GuardReport
from tocsin.app.verify import verify_database
from tocsin.app.verify_log import OutsideCheckpoint
from tocsin.app.verify_result import Verification
from tocsin.cli.evidence import verify_file
from tocsin.cli.options import JsonOption, WrongUsageError, call_of
from tocsin.cli.output import Call, one_line, styled
from tocsin.cli.running import application, run
from tocsin.domain.plural import number_of
from tocsin.errors import Code, TocsinError, refuse
from tocsin.settings import Settings
from tocsin.tlog.errors import ProofError
from tocsin.tlog.note import VerifierKey

MEMORY = "the signer's memory"
MAX_CHECKPOINT_BYTES = 262_144
_CHECKED = (
    "Of every row of the guarded tables: the canonical bytes made anew from the columns, and their SHA-256.",
    "Of every timeline: each entry continues the one before it, none is missing, each step was allowed.",
    "Of every detail (acknowledgment, root cause, resolution…): an entry names it by its checksum, and it is there.",
    "Of every incident: its status repeats what its timeline says, and its first report is the one it opened with.",
    "Of the log: every entry is in it once and in order, the tree made anew from its leaves, every checkpoint signed.",
)
_NOT_HARDENED = (
    "The schema is not hardened: whoever becomes its owner may take the guards away and put them back. "
    "`tocsin doctor` says how to harden it."
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
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", help="A checkpoint that was kept elsewhere (repeatable)."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="VKEY", help="A key of the log that was kept elsewhere (repeatable)."),
    ] = None,
    _json: JsonOption = False,
) -> None:
    """Check evidence from a file, or the whole record.

    A file needs neither database nor network. What it proves depends on whom the policy trusts; without one, nothing.
    With --db every row that is not what was recorded is named, and every guard that was taken away; all is read as of
    one instant. The log is held against the signer's memory where its directory is at hand, and against each
    --checkpoint. Whoever rewrites everything names a key of his own in the log: the signer's keys, or each --key that
    you kept, tell. Exit 1 if anything was found, or if not everything is proven that the policy asks for.

    \b
    Example:
      tocsin verify inc-42.json --policy policy
      tocsin verify --db
      tocsin verify --db --checkpoint /mnt/usb/checkpoint.txt

    Next: with findings, keep a copy of the database before anything else, and ask who had access.
    """
    call = call_of(context)
    if (file is None) == (not db) or (policy is not None and file is None) or ((checkpoint or key) and not db):
        raise WrongUsageError("Say what to verify: a FILE of evidence (with --policy), or the database with --db.")
    if file is not None:
        if not verify_file(call, file, policy):
            raise typer.Exit(1)
        return
    copies = [_copy(path) for path in checkpoint or []]
    known = [_known(vkey) for vkey in key or []]
    result = run(_verify(call, copies, known))
    document = {
        "intact": result.intact,
        "rows": result.rows,
        "incidents": result.incidents,
        "log": {
            "leaves": result.leaves,
            "waiting": result.waiting,
            "checkpoints": result.checkpoints,
            "signedSize": result.signed_size,
            "knownKeySize": result.known_key_size,
            "outside": result.outside,
        },
        "proven": list(_proven(result)) if not result.findings_in_all else [],
        "notProven": list(_not_proven(result)),
        "findingsInAll": result.findings_in_all,
        "findings": result.findings,
        "guards": result.guards,
    }
    call.answer(document, lambda: _tell(call, result))
    if not result.intact:
        raise typer.Exit(1)


def _copy(path: Path) -> OutsideCheckpoint:
    try:
        with path.open() as file:
            # A text of its own ends in one line break; who saved it by `jq -r` has two.
            return OutsideCheckpoint.of_note(str(path), file.read(MAX_CHECKPOINT_BYTES).rstrip("\n") + "\n")
    except (OSError, UnicodeError, ProofError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        hint = (
            "A checkpoint is a short text with the log's name, size, root and signatures: `tocsin log show` prints one."
        )
        raise refuse(Code.INVALID, f"{path} cannot be read as a checkpoint: {reason}.", hint) from None


def _known(vkey: str) -> VerifierKey:
    try:
        return VerifierKey.parse(vkey)
    except ValueError as error:
        hint = "A vkey is one line, `name+hash+key`: `tocsin log show` prints the log's."
        raise refuse(Code.INVALID, f"{vkey[:100]} cannot be read as a key: {error}.", hint) from None


async def _verify(call: Call, copies: Sequence[OutsideCheckpoint], known: Sequence[VerifierKey]) -> Verification:
    async with application(call) as app:
        # Read before the database is: what is signed meanwhile must not look like something that is gone.
        memory, own = _signer(call, app.settings, app.clock())
        async with app.work(streaming=True) as work:
            with call.progress_bar("Verifying") as progress:
                return await verify_database(work, progress, [*copies, *memory], [*known, *own])


def _signer(call: Call, settings: Settings, now: datetime) -> tuple[Sequence[OutsideCheckpoint], Sequence[VerifierKey]]:
    """Return what the signer at hand remembers, and the keys with which it signs now: not one that is laid aside."""
    try:
        signer = bootstrap.signer_at_hand(settings)
        if signer is None:
            return [], []
        memory = signer.memory()
        keys = [key.verifier for key in signer.keys(now)]
    except TocsinError as error:
        call.note(styled(f"WARNING: {error.refusal.message} {error.refusal.hint}", "bold yellow"))
        return [], []
    return [OutsideCheckpoint(MEMORY, memory.size, memory.root, memory.note)], keys


def _tell(call: Call, result: Verification) -> None:
    call.say(
        f"Checked {number_of(result.rows, 'row')} of {number_of(result.incidents, 'incident')}, and "
        f"{number_of(result.leaves, 'leaf', 'leaves')} of the log:",
        *(f"  {line}" for line in _CHECKED),
        "",
    )
    if result.findings_in_all:
        call.say(
            styled(f"{number_of(result.findings_in_all, 'FINDING')}: the record is not what was recorded.", "bold red")
        )
        call.table(
            ("TABLE", "ROW", "PROBLEM"),
            [(finding.table, str(finding.row_id), finding.problem) for finding in result.findings],
        )
        if result.findings_in_all > len(result.findings):
            call.say(f"… and {result.findings_in_all - len(result.findings):,} more.")
    else:
        call.say(styled("Intact: every row is what was recorded.", "bold green"), "Proven:")
        call.say(*(f"  {line}" for line in _proven(result)))
    _tell_guards(call, result.guards)
    call.say("Not proven:", *(f"  {line}" for line in _not_proven(result)))


def _tell_guards(call: Call, guards: GuardReport) -> None:
    if guards.faults:
        call.say(
            styled(
                f"{number_of(guards.faults_in_all, 'GUARD is', 'GUARDS are')} not what the migrations made:", "bold red"
            )
        )
        call.say(*(f"  {one_line(fault)}" for fault in guards.faults))
    elif not guards.comparable:
        call.say("The guards were not compared: a newer Tocsin has migrated this database.")
    else:
        call.say("The guards of the record (triggers, functions, constraints, rights) are what the migrations made.")
    if not guards.hardened:
        call.say(_NOT_HARDENED)


def _proven(result: Verification) -> Iterator[str]:
    """Say what an intact record proves, and against whom."""
    yield "Nobody changed a single row, not even past the triggers, without changing all that hangs on it."
    if result.checkpoints and not result.known_key_size:
        yield (
            f"{number_of(result.checkpoints, 'checkpoint is', 'checkpoints are')} of this very log, the latest of "
            f"{number_of(result.signed_size, 'leaf', 'leaves')}, "
            "signed by keys that the log itself names: compare them with a vkey that you kept (--key VKEY)."
        )
    elif result.checkpoints:
        yield (
            f"{number_of(result.checkpoints, 'signed checkpoint is', 'signed checkpoints are')} of this very log, "
            f"one of {number_of(result.known_key_size, 'leaf', 'leaves')} by a key known from outside: who had the "
            "database, but not the signing key, rewrote nothing before it and "
            "removed nothing from its middle."
        )
    for source in result.outside:
        yield (
            f"The log continues {source}: of these nothing was rewritten, removed, or lost with a restored backup, "
            "not even by an administrator of the database."
        )


def _not_proven(result: Verification) -> Iterator[str]:
    """Say what this verification cannot tell."""
    if not result.outside:
        yield (
            "That nobody cut the end off, with its checkpoints, or restored an older backup: nothing from outside of "
            "the database was at hand. Run it where the signer's directory is, or give a copy with --checkpoint."
        )
    if not result.known_key_size:
        yield (
            "That nobody made the whole record anew and signed it with a key of his own: no key known from outside of "
            "the database has signed it."
        )
    unsigned = result.leaves - result.signed_size
    if unsigned or result.waiting:
        yield (
            f"Anything of {number_of(result.waiting, 'entry that waits', 'entries that wait')} for the log, and "
            f"{number_of(unsigned, 'leaf', 'leaves')} not signed yet."
        )
    yield (
        "That each batch sealed earlier named the newest entries truly: only the last one's commitment was made anew. "
        "Evidence exported at an older checkpoint may have left out an incident's last entries: export it again."
    )
    yield "Anything against a thief of the signing key: that takes witnesses or time stamps that he does not hold."
    yield "That what was reported is true, or that something which nobody reported did not happen."
