"""The command `tocsin`: its commands put together, and the one place that says why something was not done.

Exit codes: 0 done, 1 refused or failed (one line says why and what to do), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, NoReturn

import typer
import typer.main
from pydantic import ValidationError

import tocsin
from tocsin.app.acting import ActorUnnamedError
from tocsin.cli import (
    audit,
    doctor,
    erase,
    evidence,
    follow_ups,
    forward,
    heartbeats,
    incidents,
    intake,
    log,
    logs,
    oncall,
    policies,
    projects,
    report,
    schedules,
    schema,
    service,
    silences,
    stats,
    tokens,
    users,
    verify,
)
from tocsin.cli.options import JsonOption, WrongUsageError, call_of
from tocsin.cli.output import Call, ReaderGoneError, as_json, one_line, several_lines
from tocsin.errors import Code, Refusal, TocsinError
from tocsin.settings import in_words

DONE = 0
REFUSED = 1
WRONG_USAGE = 2
INTERRUPTED = 130

commands = typer.Typer(
    name="tocsin",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="""The bell that is rung when something has gone wrong: failures are loud, structured and educational.

    \b
    Example:
      tocsin demo                  see it do its work, in under a minute
      tocsin up                    run it on this machine
      tocsin incidents list --open what is burning

    Next: `tocsin COMMAND --help` explains each, with an example.
    """,
)


def _print_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"tocsin {tocsin.__version__}\n")
        raise typer.Exit


@commands.callback()
def _root(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of what was not foreseen.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    call_of(context).debug = debug


def demo(context: typer.Context) -> None:
    """See the main job done in under a minute.

    Real errors, a real page, a refused shortcut, the record verified. It runs in a temporary place and leaves
    nothing behind.

    \b
    Example:
      tocsin demo

    Next: `tocsin up` runs it for your own applications.
    """
    from tocsin.cli import demo as story  # noqa: PLC0415  # it brings what no other command needs

    story.play(call_of(context).out)


def version(context: typer.Context, _json: JsonOption = False) -> None:
    """Print the version.

    \b
    Example:
      tocsin version

    Next: `tocsin migrate --check` tells whether the schema fits it.
    """
    call = call_of(context)
    call.answer({"version": tocsin.__version__}, lambda: call.say(f"tocsin {tocsin.__version__}"))


for command in (
    service.up,
    demo,
    service.serve,
    service.worker,
    schema.migrate,
    doctor.doctor,
    report.report,
    stats.stats,
    intake.intake,
    evidence.export,
    verify.verify,
    forward.forward,
    version,
):
    commands.command()(command)
for group, name in (
    (incidents.commands, "incidents"),
    (follow_ups.commands, "follow-ups"),
    (oncall.commands, "oncall"),
    (schedules.commands, "schedules"),
    (policies.commands, "policies"),
    (silences.commands, "silences"),
    (audit.commands, "audit"),
    (users.commands, "users"),
    (tokens.commands, "tokens"),
    (projects.commands, "projects"),
    (heartbeats.commands, "heartbeats"),
    (log.commands, "log"),
    (erase.commands, "erase"),
):
    commands.add_typer(group, name=name)


@cache
def command_line() -> Any:
    """Return every command, put together once: left to itself, typer does it at each call, which takes 0.1 s."""
    return typer.main.get_command(commands)


def run() -> NoReturn:
    """Run the command line: the entry point of `tocsin`."""
    logs.quiet()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A locale that cannot write an arrow must not cost anybody the answer.
            stream.reconfigure(errors="replace")
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code. Nothing that can be expected leaves a traceback."""
    call = Call(json="--json" in arguments)
    try:
        code = _dispatch(arguments, call)
        sys.stdout.flush()
    except (ReaderGoneError, BrokenPipeError):
        # What was asked for is done and recorded.
        _leave_the_pipe()
        return DONE
    return code


def _dispatch(arguments: Sequence[str], call: Call) -> int:
    try:
        _refuse_undecodable(arguments)
        answered = command_line()(args=list(arguments), prog_name="tocsin", standalone_mode=False, obj=call)
    except typer.TyperException as error:
        return _wrong_usage(call, error)
    except (typer.Abort, KeyboardInterrupt):
        call.note("Stopped: nothing more was done.")
        return INTERRUPTED
    except (ReaderGoneError, SystemExit):
        raise
    except Exception as error:  # noqa: BLE001  # the one place where every failure ends, and is told
        return _failed(call, _first_cause(error))
    if answered == INTERRUPTED:
        call.note("Stopped: nothing more was done.")
    return answered if isinstance(answered, int) else DONE


def _refuse_undecodable(arguments: Sequence[str]) -> None:
    for argument in arguments:
        if any("\ud800" <= character <= "\udfff" for character in argument):
            raise WrongUsageError(f"{argument!r} is not valid UTF-8.")


def _first_cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _wrong_usage(call: Call, error: typer.TyperException) -> int:
    if isinstance(error.__cause__, ValidationError):
        # An option's value: typer passes on what pydantic says of it.
        error.message = "; ".join(in_words(item) for item in error.__cause__.errors()).rstrip(".") + "."
    message = error.format_message()
    if not message:
        # Asked for nothing, told what there is: typer has printed the help.
        return WRONG_USAGE
    context = getattr(error, "ctx", None)
    hint = f"See `{context.command_path if context else call.command} --help`."
    if call.json:
        call.note(as_json({"code": "USAGE", "detail": one_line(message), "hint": hint}))
    else:
        call.note(f"tocsin: {one_line(message)} {hint}")
    return WRONG_USAGE


def _failed(call: Call, error: BaseException) -> int:
    if isinstance(error, TocsinError):
        _tell_refusal(call, error.refusal)
        return WRONG_USAGE if isinstance(error, ActorUnnamedError) else REFUSED
    if call.debug:
        call.note(several_lines("".join(traceback.format_exception(error))))
    words = f"Something unforeseen happened: {type(error).__name__}: {error}"
    hint = "For the traceback, run it with --debug before the command: `tocsin --debug …`; please report it."
    _tell_refusal(call, Refusal(Code.INTERNAL, words, hint))
    return REFUSED


def _tell_refusal(call: Call, refusal: Refusal) -> None:
    if call.json:
        problem = {"code": refusal.code, "detail": refusal.message, "hint": refusal.hint, **refusal.details}
        call.note(as_json(problem))
    else:
        message = refusal.message.strip()
        stop = "" if message.endswith((".", "!", "?")) else "."
        call.note(f"tocsin: {message}{stop}{' ' if refusal.hint else ''}{refusal.hint}")


def _leave_the_pipe() -> None:
    # The interpreter flushes standard output once more when it ends: let that go nowhere.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
