"""`tocsin tokens …`: API tokens."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from tocsin.app import accounts
from tocsin.app.work import Work
from tocsin.cli.options import AsOption, EmailArgument, JsonOption, call_of
from tocsin.cli.output import instant
from tocsin.cli.running import act
from tocsin.domain.access import Actor

MAX_DAYS = 36_500

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""API tokens for programs.

    With one, a program acts in a user's name, with that user's role.

    \b
    Example:
      tocsin tokens add bot@example.org --name deploy-bot --days 90

    Next: send it as `Authorization: Bearer TOKEN`.
    """,
)


@commands.command("list")
def list_(context: typer.Context, _as: AsOption = None, _json: JsonOption = False) -> None:
    """List every token, never its secret.

    \b
    Example:
      tocsin tokens list

    Next: `tocsin tokens revoke ID` ends one.
    """
    call = call_of(context)
    tokens = act(call, "tokens list", "", accounts.list_tokens)
    rows = [
        (
            str(token.id),
            token.email,
            token.name,
            instant(token.created_at),
            instant(token.expires_at) if token.expires_at else "never",
            instant(token.revoked_at) if token.revoked_at else "-",
        )
        for token in tokens
    ]
    headers = ("ID", "USER", "NAME", "MADE", "EXPIRES", "REVOKED")
    call.answer({"tokens": tokens}, lambda: call.table(headers, rows))


@commands.command()
def add(
    context: typer.Context,
    email: EmailArgument,
    name: Annotated[str, typer.Option(help="What it is for.")],
    days: Annotated[int | None, typer.Option(min=1, max=MAX_DAYS, help="When it expires; without, never.")] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Make a token and print it: once, for only its hash is kept. Nothing else is on standard output.

    \b
    Example:
      TOKEN=$(tocsin tokens add bot@example.org --name deploy-bot --days 90)

    Next: send it as `Authorization: Bearer TOKEN`.
    """
    call = call_of(context)

    async def operate(work: Work, actor: Actor) -> str:
        return await accounts.add_token(work, actor, email=email, name=name, days=days)

    token = act(call, "tokens add", email, operate)

    def tell() -> None:
        call.note("It cannot be shown again:")
        call.say(token)

    call.answer({"token": token}, tell)


@commands.command()
def revoke(
    context: typer.Context,
    token_id: Annotated[UUID, typer.Argument(metavar="ID", help="The token's id, as `tocsin tokens list` shows it.")],
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """End a token, at once.

    \b
    Example:
      tocsin tokens revoke 019a0000-0000-7000-8000-000000000000

    Next: `tocsin tokens list`.
    """
    call = call_of(context)
    act(call, "tokens revoke", str(token_id), lambda work, actor: accounts.revoke_token(work, actor, token_id))
    call.answer({"id": token_id, "revoked": True}, lambda: call.say(f"Token {token_id} is revoked."))
