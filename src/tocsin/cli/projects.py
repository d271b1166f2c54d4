"""`tocsin projects …`: projects and their intake keys."""

from __future__ import annotations

from typing import Annotated

import typer

from tocsin.app import accounts
from tocsin.app.work import Work
from tocsin.cli.options import AsOption, JsonOption, call_of
from tocsin.cli.output import Call, instant
from tocsin.cli.running import act
from tocsin.cli.service import dsn
from tocsin.domain.access import Actor
from tocsin.settings import load_settings

MAX_ID = 2**31 - 1

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Projects and their keys.

    One for each application that reports, each with keys of its own.

    \b
    Example:
      tocsin projects add shop

    Next: paste the DSN that it prints into the application's Sentry client.
    """,
)


@commands.command("list")
def list_(context: typer.Context, _as: AsOption = None, _json: JsonOption = False) -> None:
    """List every project.

    \b
    Example:
      tocsin projects list

    Next: `tocsin projects key ID` gives a project another key.
    """
    call = call_of(context)
    projects = act(call, "projects list", "", accounts.list_projects)
    rows = [(str(row.id), row.name, str(row.keys), instant(row.created_at)) for row in projects]
    call.answer({"projects": projects}, lambda: call.table(("ID", "NAME", "KEYS", "MADE"), rows))


@commands.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="How it is called.")],
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Add a project and print its DSN: once.

    Only the key's hash is kept. Nothing else is on standard output.

    \b
    Example:
      tocsin projects add shop

    Next: paste the DSN into the application.
    """
    call = call_of(context)
    project_id, key = act(call, "projects add", name, lambda work, actor: accounts.add_project(work, actor, name))
    _tell_key(call, project_id, key)


@commands.command()
def key(
    context: typer.Context,
    project_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=MAX_ID, help="The project's number.")],
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Give a project another intake key and print its DSN: once. Keys that it has stay valid.

    \b
    Example:
      tocsin projects key 1

    Next: paste the DSN into the application.
    """
    call = call_of(context)

    async def operate(work: Work, actor: Actor) -> str:
        return await accounts.add_key(work, actor, project_id)

    _tell_key(call, project_id, act(call, "projects key", str(project_id), operate))


def _tell_key(call: Call, project_id: int, intake_key: str) -> None:
    line = dsn(load_settings().base_url, intake_key, project_id)

    def tell() -> None:
        call.note("It cannot be shown again:")
        call.say(line)

    call.answer({"projectId": project_id, "key": intake_key, "dsn": line}, tell)
