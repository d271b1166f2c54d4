"""`tocsin users …`: who there is, what they may do, how they are reached."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from tocsin.app import account, accounts, second_factor
from tocsin.app.work import Work
from tocsin.cli import contacts
from tocsin.cli.options import AsOption, EmailArgument, JsonOption, WrongUsageError, call_of, secret_of
from tocsin.cli.output import Call, instant, plain_data
from tocsin.cli.running import act
from tocsin.domain.access import Actor, Role
from tocsin.domain.plural import number_of

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Who there is, and how they are reached.

    Superadmins administer, responders work on incidents, auditors read.

    \b
    Example:
      tocsin users add ana@example.org --name Ana --role responder

    Next: `tocsin oncall assign ON_CALL ana@example.org` pages them from then on.
    """,
)
commands.add_typer(contacts.commands, name="contact")
commands.add_typer(contacts.rules, name="rule")

PasswordStdinOption = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input (its first line).")
]
_PRIVATE = ("passwordHash",)


@commands.command("list")
def list_(context: typer.Context, _as: AsOption = None, _json: JsonOption = False) -> None:
    """List every user.

    \b
    Example:
      tocsin users list

    Next: `tocsin users add EMAIL`, `tocsin users role EMAIL ROLE`.
    """
    call = call_of(context)
    users = act(call, "users list", "", accounts.list_users)

    def tell() -> None:
        rows = [
            (
                user.email,
                user.name,
                user.role,
                "yes" if user.active else "no",
                "yes" if user.password_hash else "no",
                str(user.incident_ack_count),
            )
            for user in users
        ]
        call.table(("EMAIL", "NAME", "ROLE", "ACTIVE", "PASSWORD", "ACKNOWLEDGED"), rows)

    call.answer({"users": [_public(user) for user in users]}, tell)


def _public(user: object) -> dict[str, object]:
    document = plain_data(user)
    assert isinstance(document, dict), "a record becomes an object"
    return {name: value for name, value in document.items() if name not in _PRIVATE}


@commands.command()
def add(
    context: typer.Context,
    email: EmailArgument,
    name: Annotated[str | None, typer.Option(help="How they are called; else the address up to the @.")] = None,
    role: Annotated[Role, typer.Option(case_sensitive=False, help="What they may do.")] = Role.RESPONDER,
    password_stdin: PasswordStdinOption = False,
    ask: Annotated[bool, typer.Option("--password", help="Ask for a password; it is not shown.")] = False,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Add a user, who is reached by e-mail. Without a password they cannot sign in, but be paged and use tokens.

    \b
    Example:
      tocsin users add ana@example.org --name "Ana Lima" --role responder --password

    Next: `tocsin oncall assign ON_CALL ana@example.org`.
    """
    call = call_of(context)
    password = secret_of(from_stdin=password_stdin, ask=ask)

    async def operate(work: Work, actor: Actor) -> UUID:
        called = name if name is not None else email.split("@")[0]
        return await accounts.add_user(work, actor, email=email, name=called, role=role, password=password)

    user_id = act(call, "users add", email, operate)
    call.answer({"id": user_id, "email": email, "role": role}, lambda: call.say(f"{email} is now: {role.value}."))


@commands.command("role")
def role_(
    context: typer.Context,
    email: EmailArgument,
    role: Annotated[Role, typer.Argument(case_sensitive=False, help="What they may do from now on.")],
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Change what a user may do; their sessions end. The last superadmin keeps the role.

    \b
    Example:
      tocsin users role ana@example.org superadmin

    Next: `tocsin users list`.
    """
    call = call_of(context)
    act(call, "users role", email, lambda work, actor: accounts.set_role(work, actor, email, role))
    _tell(call, email, {"role": role}, f"{email} is now: {role.value}.")


@commands.command()
def password(
    context: typer.Context,
    email: EmailArgument,
    password_stdin: PasswordStdinOption = False,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Give a user a new password.

    It is asked for on a terminal; their sessions end.

    \b
    Example:
      tocsin users password ana@example.org
      pass show ana | tocsin users password ana@example.org --password-stdin

    Next: they sign in with it.
    """
    call = call_of(context)
    secret = secret_of(from_stdin=password_stdin, ask=True) or ""
    act(call, "users password", email, lambda work, actor: accounts.set_password(work, actor, email, secret))
    _tell(call, email, {"passwordSet": True}, f"{email} has a new password; their sessions have ended.")


@commands.command()
def activate(context: typer.Context, email: EmailArgument, _as: AsOption = None, _json: JsonOption = False) -> None:
    """Let a user in again.

    \b
    Example:
      tocsin users activate ana@example.org

    Next: `tocsin users list`.
    """
    _set_active(context, email, active=True)


@commands.command()
def deactivate(context: typer.Context, email: EmailArgument, _as: AsOption = None, _json: JsonOption = False) -> None:
    """Shut a user out.

    Their sessions end, their tokens do not work, nobody pages them. What they did stays recorded.

    \b
    Example:
      tocsin users deactivate ana@example.org

    Next: give their duties to somebody else: `tocsin oncall assign`.
    """
    _set_active(context, email, active=False)


def _set_active(context: typer.Context, email: str, *, active: bool) -> None:
    call = call_of(context)
    verb = "activate" if active else "deactivate"
    act(call, f"users {verb}", email, lambda work, actor: accounts.set_active(work, actor, email, active=active))
    _tell(call, email, {"active": active}, f"{email} is {'active' if active else 'shut out'} now.")


@commands.command()
def sessions(
    context: typer.Context,
    email: EmailArgument,
    end: Annotated[UUID | None, typer.Option("--end", metavar="ID", help="End this one.")] = None,
    end_all: Annotated[bool, typer.Option("--end-all", help="End all of them.")] = False,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """List where a user is signed in, or end it. Other people's sessions are a superadmin's business.

    \b
    Example:
      tocsin users sessions ana@example.org
      tocsin users sessions ana@example.org --end-all

    Next: `tocsin users password ana@example.org`, if somebody else knew the old one.
    """
    call = call_of(context)
    if end is not None and end_all:
        raise WrongUsageError("--end and --end-all are two different things: give one of them.")
    if end is not None:
        act(call, "users sessions end", email, lambda work, actor: account.end_session(work, actor, email, end))
        _tell(call, email, {"ended": 1}, f"The session of {email} has ended.")
    elif end_all:
        ended = act(call, "users sessions end", email, lambda work, actor: account.end_sessions(work, actor, email))
        _tell(
            call,
            email,
            {"ended": ended},
            f"{number_of(ended, f'session of {email} has', f'sessions of {email} have')} ended.",
        )
    else:
        _list_sessions(call, email)


def _list_sessions(call: Call, email: str) -> None:
    listed = act(call, "users sessions", email, lambda work, actor: account.sessions_of(work, actor, email))
    rows = [
        (str(one.id), instant(one.created_at), instant(one.expires_at), one.client_address, one.user_agent)
        for one in listed
    ]
    headers = ("ID", "SINCE", "UNTIL", "FROM", "WITH")
    call.answer({"email": email, "sessions": listed}, lambda: call.table(headers, rows))


@commands.command()
def totp(
    context: typer.Context,
    email: EmailArgument,
    off: Annotated[bool, typer.Option("--off", help="Take it off: phone and recovery codes are lost.")] = False,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Tell whether a user has a second factor, or take it off. They set one up themselves, on their account's page.

    Before you take it off, be sure that it is they who ask: from then on the password alone is enough.

    \b
    Example:
      tocsin users totp ana@example.org
      tocsin users totp ana@example.org --off

    Next: they sign in with the password, and set up the new phone on the page of their account.
    """
    call = call_of(context)
    if off:
        act(call, "users totp off", email, lambda work, actor: second_factor.take_off(work, actor, email))
        _tell(call, email, {"secondFactor": None}, f"The second factor of {email} is off: the password is enough now.")
        return
    standing = act(call, "users totp", email, lambda work, actor: second_factor.of_user(work, actor, email))
    words = f"{email} has no second factor."
    if standing is not None:
        words = (
            f"{email} has one since {instant(standing.confirmed_at)}; recovery codes left: {standing.recovery_codes}."
        )
    _tell(call, email, {"secondFactor": standing}, words)


def _tell(call: Call, email: str, facts: dict[str, object], words: str) -> None:
    call.answer({"email": email} | facts, lambda: call.say(words))
