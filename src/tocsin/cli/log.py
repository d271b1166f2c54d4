"""`tocsin log`: the transparency log, its checkpoint and its keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from tocsin import bootstrap
from tocsin.app import log_keys
from tocsin.app.log_keys import LogView, Rotated
from tocsin.cli.options import JsonOption, call_of
from tocsin.cli.output import Call, instant
from tocsin.cli.running import application, run
from tocsin.domain.plural import number_of
from tocsin.errors import Code, refuse

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""What proves the record.

    The transparency log of everything that was recorded: its checkpoint and its keys.

    \b
    Example:
      tocsin log show

    Next: keep the checkpoint elsewhere, and hold the database against it later: `tocsin verify --db --checkpoint FILE`.
    """,
)
AfterRestoreOption = Annotated[
    bool,
    typer.Option("--after-restore", help="The old key has signed what a restored backup lacks: it signs no more."),
]


@commands.command()
def show(context: typer.Context, _json: JsonOption = False) -> None:
    """Show the log's keys, its size and its latest checkpoint.

    Who keeps the checkpoint elsewhere can tell later whether anything before it was changed.

    \b
    Example:
      tocsin log show
      tocsin log show --json | jq -r .checkpoint > /mnt/usb/checkpoint.txt

    Next: `tocsin verify --db --checkpoint /mnt/usb/checkpoint.txt`, any time later.
    """
    call = call_of(context)
    view = run(_view(call))
    call.answer(view, lambda: _tell(call, view))


async def _view(call: Call) -> LogView:
    async with application(call) as app, app.work() as work:
        return await log_keys.view_log(work)


def _tell(call: Call, view: LogView) -> None:
    for place, key in enumerate(view.keys):
        call.say(f"{'key' if place == len(view.keys) - 1 else 'old key':<12} {key}")
    signed = f"{view.signed_size:,} signed {instant(view.signed_at)}" if view.signed_at else "not signed yet"
    size, waiting = number_of(view.size, "leaf", "leaves"), number_of(view.waiting, "entry waits", "entries wait")
    call.say(f"{'size':<12} {size}, {signed}; {waiting}")
    if view.checkpoint:
        call.say("checkpoint", "", *view.checkpoint.rstrip("\n").split("\n"))


@commands.command("rotate-key")
def rotate_key(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Why; it is recorded in the log for good.")],
    overlap_days: Annotated[
        int, typer.Option(min=0, max=log_keys.MAX_OVERLAP.days, help="How long both keys sign.")
    ] = log_keys.DEFAULT_OVERLAP.days,
    after_restore: AfterRestoreOption = False,
    _json: JsonOption = False,
) -> None:
    """Let a new key sign the log.

    Run it where the signer's directory is. The log names the new key before it signs, and both sign until the
    overlap ends, so that whoever checks has time to learn of the new one. With --after-restore the old key ends at
    once: it has signed entries that are gone, and must not sign another end.

    \b
    Example:
      tocsin log rotate-key --reason "yearly rotation"
      tocsin log rotate-key --after-restore --reason "disk lost, backup of 3 May restored"

    Next: `tocsin log show` prints the new key for those who check the log.
    """
    call = call_of(context)
    rotated = run(_rotate(call, reason, timedelta(days=overlap_days), after_restore=after_restore))
    call.answer(rotated, lambda: _tell_rotated(call, rotated))


async def _rotate(call: Call, reason: str, overlap: timedelta, *, after_restore: bool) -> Rotated:
    async with application(call) as app:
        signer = bootstrap.signer_at_hand(app.settings)
        if signer is None:
            raise refuse(
                Code.MISCONFIGURED,
                "The signer's directory is not here.",
                "Run it on the machine that signs, with the same TOCSIN_SIGNER_DIR or TOCSIN_DATA_DIR.",
            )
        if after_restore:
            return await log_keys.start_anew(app, signer, reason)
        return await log_keys.rotate_key(app, signer, overlap, reason)


def _tell_rotated(call: Call, rotated: Rotated) -> None:
    call.say(f"new key      {rotated.new}", f"old key      {rotated.old}")
    if rotated.until is not None:
        call.say(f"Both sign until {instant(rotated.until)}.")
    else:
        call.say(f"The old key signs no more. What it has signed is kept in {rotated.remembered}.")
