"""`tocsin audit …`: who accessed what, and what was entered into timelines."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tocsin.app import export_audit, read_audit
from tocsin.app.acting import acting
from tocsin.app.export_audit import Form
from tocsin.app.read_audit import MAX_PAGE, AccessFilter, AccessRow, AuditPage, EntryFilter, Filter, TimelineRow
from tocsin.app.work import Work
from tocsin.cli.files import whole_file
from tocsin.cli.options import AsOption, JsonOption, WrongUsageError, call_of, instant_of
from tocsin.cli.output import Call, instant
from tocsin.cli.running import act, application, record, run
from tocsin.domain.access import Actor
from tocsin.domain.timeline import EntryKind

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Who accessed what, and what was entered into timelines.

    For auditors and superadmins. Looking is an access, too, and recorded.

    \b
    Example:
      tocsin audit list --outcome FORBIDDEN --since 2026-12-01

    Next: `tocsin audit export --output audit.csv`.
    """,
)


class Which(StrEnum):
    """Which list."""

    ACCESSES = "accesses"
    ENTRIES = "entries"


WhichOption = Annotated[Which, typer.Option("--of", help="The access log, or the entries of all timelines.")]
UserOption = Annotated[str | None, typer.Option(metavar="EMAIL", help="Only of this user.")]
ActionOption = Annotated[
    str | None, typer.Option(metavar="ACTION", help="Only this access, as it is listed: 'GET /incidents'.")
]
OutcomeOption = Annotated[
    str | None, typer.Option(metavar="OUTCOME", help="Only accesses that ended so: OK, FORBIDDEN.")
]
KindOption = Annotated[EntryKind | None, typer.Option(case_sensitive=False, help="Only entries of this kind.")]
SinceOption = Annotated[str | None, typer.Option(metavar="TIME", help="Since when (RFC 3339, else UTC).")]
UntilOption = Annotated[str | None, typer.Option(metavar="TIME", help="Until just before when.")]


@commands.command("list")
def list_(
    context: typer.Context,
    of: WhichOption = Which.ACCESSES,
    user: UserOption = None,
    action: ActionOption = None,
    outcome: OutcomeOption = None,
    kind: KindOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_PAGE, help="How many.")] = 50,
    cursor: Annotated[str | None, typer.Option(metavar="CURSOR", help="Go on where a list ended.")] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """List accesses, or entries of timelines, the newest first.

    \b
    Example:
      tocsin audit list --user ada@example.org
      tocsin audit list --of entries --kind CLOSED --since 2026-12-01

    Next: `tocsin audit export` writes all of them to a file.
    """
    call = call_of(context)
    where = _filter(of, user, action, outcome, kind, since, until)

    async def operate(work: Work, actor: Actor) -> AuditPage[AccessRow] | AuditPage[TimelineRow]:
        if isinstance(where, AccessFilter):
            return await read_audit.list_accesses(work, actor, where, limit=limit, cursor=cursor)
        return await read_audit.list_entries(work, actor, where, limit=limit, cursor=cursor)

    page = act(call, "audit list", of.value, operate)
    call.answer({of.value: list(page.rows), "nextCursor": page.next_cursor}, lambda: _tell(call, of, page))


def _filter(
    of: Which,
    user: str | None,
    action: str | None,
    outcome: str | None,
    kind: EntryKind | None,
    since: str | None,
    until: str | None,
) -> Filter:
    start = instant_of(since) if since is not None else None
    end = instant_of(until) if until is not None else None
    if of is Which.ACCESSES:
        if kind is not None:
            raise WrongUsageError("--kind goes with --of entries.")
        return AccessFilter(user, action, outcome, start, end)
    if action is not None or outcome is not None:
        raise WrongUsageError("--action and --outcome go with --of accesses.")
    return EntryFilter(user, kind, start, end)


def _tell(call: Call, of: Which, page: AuditPage[AccessRow] | AuditPage[TimelineRow]) -> None:
    headers = {
        Which.ACCESSES: ("WHEN", "WHO", "WHAT", "OF", "OUTCOME", "FROM"),
        Which.ENTRIES: ("WHEN", "INCIDENT", "WHAT", "WHO", "STATUS"),
    }[of]
    call.table(headers, [_row(row) for row in page.rows])
    if page.next_cursor is not None:
        call.note(f"There are more: --cursor {page.next_cursor}")


def _row(row: AccessRow | TimelineRow) -> tuple[str, ...]:
    if isinstance(row, AccessRow):
        who = row.user_email or row.credential or "-"
        return (instant(row.accessed_at), who, row.action, row.target, row.outcome, row.client_address)
    who = row.actor_email or "the system"
    return (instant(row.event_at), f"INC-{row.number}", row.event_type, who, row.status_after)


@commands.command()
def export(
    context: typer.Context,
    of: WhichOption = Which.ACCESSES,
    form: Annotated[Form, typer.Option("--format", help="The form of the file.")] = Form.CSV,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; without it, to stdout.")
    ] = None,
    user: UserOption = None,
    action: ActionOption = None,
    outcome: OutcomeOption = None,
    kind: KindOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Write accesses, or entries, to a file, the newest first.

    A file has at most 100,000 rows; one that was cut says so at its end. In CSV, an apostrophe stands before what a
    spreadsheet would run.

    \b
    Example:
      tocsin audit export --since 2026-12-01 --output accesses.csv
      tocsin audit export --of entries --format json --output entries.json

    Next: `tocsin verify --db` proves that no entry was changed.
    """
    call = call_of(context)
    where = _filter(of, user, action, outcome, kind, since, until)
    size = run(_export(call, of, where, form, output))
    if output is not None:
        done = {"file": str(output), "bytes": size}
        call.answer(done, lambda: call.say(f"Wrote {size:,} bytes to {output}."))


async def _export(call: Call, of: Which, where: Filter, form: Form, output: Path | None) -> int:
    async with application(call) as app:
        async with app.work() as work:
            actor = await acting(work, call.actor_email)
            await record(work, actor, "audit export", of.value, 0, "OK")
        file = await export_audit.export(app, actor, where, form)
        return await _written(file.parts, output)


async def _written(parts: AsyncIterator[bytes], output: Path | None) -> int:
    """Write the file whole or not at all; to standard output as it comes."""
    size = 0
    if output is None:
        async for part in parts:
            sys.stdout.buffer.write(part)
            size += len(part)
        sys.stdout.buffer.flush()
        return size
    with whole_file(output) as opened:
        async for part in parts:
            opened.write(part)
            size += len(part)
    return size
