"""`tocsin migrate`: the schema."""

from __future__ import annotations

from typing import Annotated

import typer

from tocsin.app import schema
from tocsin.cli.options import JsonOption, call_of
from tocsin.cli.output import Call
from tocsin.cli.running import database, is_absent, run
from tocsin.settings import Settings, load_settings


def migrate(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether it is current: exit 1 if it is not.")
    ] = False,
    print_hardening: Annotated[
        bool,
        typer.Option("--print-hardening", help="Only print the SQL that hardens the schema against its owner."),
    ] = False,
    _json: JsonOption = False,
) -> None:
    """Bring the schema up to date, and harden it.

    It lists what was applied; several at once wait for each other. It signs in with TOCSIN_MIGRATE_DATABASE_URL
    where that is set, else with TOCSIN_DATABASE_URL; without either it makes or migrates the embedded database.
    Only a superuser can harden the schema against its owner: where the sign-in is none, hand your administrator
    what --print-hardening prints.

    \b
    Example:
      tocsin migrate --check || tocsin migrate
      tocsin migrate --print-hardening | psql -U postgres tocsin

    Next: `tocsin serve` and `tocsin worker`, or `tocsin up` for both.
    """
    call = call_of(context)
    if print_hardening:
        statements = schema.hardening()
        call.answer({"hardening": statements}, lambda: typer.echo(statements, nl=False))
        return
    settings = load_settings()
    if check:
        _check(call, settings)
        return
    applied = run(_apply(call, settings))

    def tell() -> None:
        for name in applied:
            call.say(f"applied {name}")
        if not applied:
            call.say("The schema is current.")

    call.answer({"applied": applied}, tell)


def _check(call: Call, settings: Settings) -> None:
    # A database that was never made lacks everything; looking must not make it.
    pending = ["everything: there is no database yet"] if is_absent(settings) else run(_pending(call, settings))

    def tell() -> None:
        for name in pending:
            call.say(f"pending {name}")
        call.say("Apply with: tocsin migrate" if pending else "The schema is current.")

    call.answer({"current": not pending, "pending": pending}, tell)
    if pending:
        raise typer.Exit(1)


async def _apply(call: Call, settings: Settings) -> list[str]:
    async with database(call, settings, create=True) as sources:
        return await schema.bring_up_to_date(sources.migrator)


async def _pending(call: Call, settings: Settings) -> list[str]:
    async with database(call, settings) as sources:
        return await schema.pending(sources.migrator)
