"""Options that several commands share, and how what people type is read. What cannot be read is wrong usage: exit 2."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

import msgspec
import typer

from tocsin.app.timeline import IncidentRef
from tocsin.cli.output import Call
from tocsin.domain.follow_up import FollowUpAction, parse_follow_ups
from tocsin.domain.wall_clock import takes_place, zone
from tocsin.domain.workflow import MAX_TEXT_CHARACTERS

MAX_NUMBER = 2**63 - 1
MAX_DOCUMENT_BYTES = 1_048_576
STANDARD_INPUT = "-"
_NUMBER = re.compile(r"^(?:INC-|#)?([0-9]{1,19})$", re.IGNORECASE)
_DURATION = re.compile(r"^(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,8})s)?$", re.IGNORECASE)


class WrongUsageError(typer.TyperException):
    """The call cannot be understood as it stands."""

    exit_code = 2


def call_of(context: typer.Context) -> Call:
    """Return the call that a command belongs to."""
    call = context.obj
    assert isinstance(call, Call), "main() puts it there"
    return call


def _answer_in_json(context: typer.Context, value: bool) -> bool:  # typer's signature
    call = call_of(context)
    call.command = context.command_path  # every command has this option, so this is told of each
    if value:
        call.json = True
    return value


def _act_as(context: typer.Context, value: str | None) -> str | None:
    if value:
        call_of(context).actor_email = value
    return value


JsonOption = Annotated[
    bool,
    typer.Option("--json", is_eager=True, callback=_answer_in_json, help="Answer in JSON; refusals too, on stderr."),
]
AsOption = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="EMAIL",
        envvar="TOCSIN_ACTOR",
        callback=_act_as,
        help="Who acts; without it, the only superadmin.",
    ),
]
IncidentArgument = Annotated[str, typer.Argument(metavar="INCIDENT", help="42, INC-42, or the incident's UUID.")]
EmailArgument = Annotated[str, typer.Argument(metavar="EMAIL", help="The user's e-mail.")]
CursorOption = Annotated[UUID | None, typer.Option(metavar="UUID", help="Go on where the last part of the list ended.")]
FollowUpOption = Annotated[
    list[str] | None,
    typer.Option(
        "--follow-up", metavar="TEXT", help="What will be done: TEXT or 'TEXT|OWNER|DUE'. Give it once for each."
    ),
]


def incident_ref(text: str) -> IncidentRef:
    """Read how people name an incident: `42`, `INC-42` or its UUID."""
    match = _NUMBER.match(text.strip())
    if match and int(match[1]) <= MAX_NUMBER:
        return int(match[1])
    try:
        return UUID(text.strip())
    except ValueError:
        raise WrongUsageError(f"{text!r} is neither a number such as 42 or INC-42, nor a UUID.") from None


def duration(text: str) -> timedelta:
    """Read `30s`, `15m`, `2h`, `1d` or several of them together, the largest first: `1h30m`."""
    match = _DURATION.match(text.strip())
    if not match or not any(match.groups()):
        raise WrongUsageError(f"{text!r} is not a duration such as 30s, 15m, 2h, 1d or 1h30m.")
    days, hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def instant_of(text: str) -> datetime:
    """Read an instant of RFC 3339; one without an offset is UTC, as everything that is shown."""
    return wall_or_instant(text, "UTC")


def wall_or_instant(text: str, zone_name: str) -> datetime:
    """Read an instant of RFC 3339; one without an offset is what the clock of a time zone shows."""
    try:
        parsed = datetime.fromisoformat(text.strip())
        if parsed.tzinfo is not None:
            return parsed.astimezone(UTC)
        if zone_name == "UTC":
            return parsed.replace(tzinfo=UTC)
        return takes_place(zone(zone_name), parsed.replace(microsecond=0))
    except (ValueError, OverflowError):
        raise WrongUsageError(f"{text!r} is not a time such as 2026-03-01T03:00:00Z.") from None


def follow_ups(texts: Sequence[str] | None) -> tuple[FollowUpAction, ...]:
    """Read follow-up actions: `TEXT`, or `TEXT|OWNER|DUE` with either of the two left empty."""
    items: list[object] = []
    for text in texts or ():
        title, *more = (part.strip() for part in text.split("|"))
        if len(more) > 2:
            raise WrongUsageError(f"--follow-up {text!r} has more than TEXT|OWNER|DUE.")
        named = dict(zip(("owner", "dueAt"), more, strict=False))
        items.append({"title": title} | {name: part for name, part in named.items() if part})
    return parse_follow_ups(items)


def document_in(file: str) -> object:
    """Return the JSON of a file, or of standard input (`-`), or the TOML of one that is called so."""
    try:
        if file == STANDARD_INPUT:
            content = sys.stdin.buffer.read(MAX_DOCUMENT_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                content = opened.read(MAX_DOCUMENT_BYTES + 1)
    except (OSError, ValueError) as error:
        raise WrongUsageError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if len(content) > MAX_DOCUMENT_BYTES:
        raise WrongUsageError(f"{file} is larger than {MAX_DOCUMENT_BYTES:,} bytes.")
    form = "TOML" if file.lower().endswith(".toml") else "JSON"
    try:
        return tomllib.loads(content.decode()) if form == "TOML" else msgspec.json.decode(content)
    except (msgspec.DecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WrongUsageError(f"{file} is not {form}: {str(error)[:200]}.") from None


def text_or_question(value: str | None, option: str, question: str) -> str:
    """Return what an option said, or ask for it where there is a terminal to ask at; else it is wrong usage."""
    if value is not None:
        return value
    if not at_terminal():
        raise WrongUsageError(f"Missing {option}: there is no terminal to ask at.")
    return str(typer.prompt(question, err=True))


def at_terminal() -> bool:
    """Tell whether somebody sits there who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def secret_of(*, from_stdin: bool, ask: bool) -> str | None:
    """Return a password: the first line of standard input, or asked for twice and not shown; None if neither."""
    if from_stdin:
        try:
            return sys.stdin.readline(MAX_TEXT_CHARACTERS).rstrip("\r\n")
        except UnicodeDecodeError:
            raise WrongUsageError("The password on standard input is not valid UTF-8.") from None
    if not ask:
        return None
    if not at_terminal():
        raise WrongUsageError("There is no terminal to ask at: give the password with --password-stdin.")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
