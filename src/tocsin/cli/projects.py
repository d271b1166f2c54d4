"""`tocsin projects …`: projects, their intake keys, and what each decides for itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated
from uuid import UUID

import msgspec
import typer

from tocsin.app import projects
from tocsin.app.projects import SHOWN_KEY_CHARACTERS, ProjectDetail, Rotated, dsn
from tocsin.app.work import Work
from tocsin.cli.options import AsOption, JsonOption, WrongUsageError, call_of, document_in, duration
from tocsin.cli.output import Call, instant
from tocsin.cli.running import act
from tocsin.domain.access import Actor
from tocsin.domain.incident import Severity
from tocsin.settings import load_settings

MAX_ID = 2**31 - 1
DEFAULT = "default"
"""What an option says to follow the installation's setting again."""

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Projects, their keys and rules.

    One for each application that reports, each with keys of its own. A project may decide for itself what opens an
    incident and how bad its errors are.

    \b
    Example:
      tocsin projects add shop

    Next: paste the DSN that it prints into the application's Sentry client.
    """,
)

IdArgument = Annotated[int, typer.Argument(metavar="ID", min=0, max=MAX_ID, help="The project's number.")]
Change = Callable[[Work, Actor], Awaitable[None]]


@commands.command("list")
def list_(context: typer.Context, _as: AsOption = None, _json: JsonOption = False) -> None:
    """List every project.

    \b
    Example:
      tocsin projects list

    Next: `tocsin projects show ID` tells what one decides for itself.
    """
    call = call_of(context)
    found = act(call, "projects list", "", projects.list_projects)
    rows = [(str(row.id), row.name, str(row.keys), instant(row.created_at)) for row in found]
    call.answer({"projects": found}, lambda: call.table(("ID", "NAME", "KEYS", "MADE"), rows))


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
    project_id, key = act(call, "projects add", name, lambda work, actor: projects.add_project(work, actor, name))
    _tell_key(call, project_id, Rotated(key, 0))


@commands.command()
def show(context: typer.Context, project_id: IdArgument, _as: AsOption = None, _json: JsonOption = False) -> None:
    """Show a project and what it decides for itself.

    \b
    Example:
      tocsin projects show 1

    Next: `tocsin projects rules 1 --threshold MEDIUM` changes it.
    """
    call = call_of(context)
    detail = act(
        call, "projects show", str(project_id), lambda work, actor: projects.show_project(work, actor, project_id)
    )
    _tell_detail(call, detail)


def _tell_detail(call: Call, detail: ProjectDetail) -> None:
    settings = load_settings()
    window, threshold = detail.dedup_window_seconds, detail.incident_threshold
    own_window = f"{window} s" if window is not None else f"{settings.dedup_window} s (default)"
    rules = [f"    {rule['severity']} when {_text_of(rule['when'])}" for rule in detail.severity_rules]

    def tell() -> None:
        call.say(
            f"{detail.name}: project {detail.id}, {detail.keys} valid keys, made {instant(detail.created_at)}",
            f"  joins even a closed incident for  {own_window}",
            f"  opens an incident from            {threshold or f'{settings.incident_threshold} (default)'}",
            f"  severity rules                    {len(rules) or 'none'}",
            *rules,
            f"  field mapping                     {_text_of(detail.field_mapping) if detail.field_mapping else 'none'}",
        )

    call.answer({"project": detail}, tell)


def _text_of(document: object) -> str:
    return msgspec.json.encode(document).decode()


@commands.command()
def rename(
    context: typer.Context,
    project_id: IdArgument,
    name: Annotated[str, typer.Argument(help="How it is called from now on.")],
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Give a project another name. Its number and its keys stay.

    \b
    Example:
      tocsin projects rename 1 shop

    Next: `tocsin projects list`.
    """

    async def change(work: Work, actor: Actor) -> None:
        await projects.rename_project(work, actor, project_id, name)

    _change(context, "rename", project_id, change)


def _change(context: typer.Context, verb: str, project_id: int, change: Change) -> None:
    call = call_of(context)

    async def operate(work: Work, actor: Actor) -> ProjectDetail:
        await change(work, actor)
        return await projects.show_project(work, actor, project_id)

    _tell_detail(call, act(call, f"projects {verb}", str(project_id), operate))


@commands.command()
def key(context: typer.Context, project_id: IdArgument, _as: AsOption = None, _json: JsonOption = False) -> None:
    """Give a project another intake key and print its DSN: once. Keys that it has stay valid.

    \b
    Example:
      tocsin projects key 1

    Next: paste the DSN into the application.
    """
    _rotate(context, "key", project_id, keep_old=True)


@commands.command()
def keys(context: typer.Context, project_id: IdArgument, _as: AsOption = None, _json: JsonOption = False) -> None:
    """List a project's keys by how they begin.

    The keys themselves are not kept: only their hashes are.

    \b
    Example:
      tocsin projects keys 1

    Next: `tocsin projects revoke 1 KEY` ends one.
    """
    call = call_of(context)
    found = act(call, "projects keys", str(project_id), lambda work, actor: projects.list_keys(work, actor, project_id))
    rows = [
        (row.key_prefix, instant(row.created_at), instant(row.revoked_at) if row.revoked_at else "-", str(row.id))
        for row in found
    ]
    call.answer({"keys": found}, lambda: call.table(("BEGINS", "MADE", "REVOKED", "ID"), rows))


@commands.command()
def rotate(
    context: typer.Context,
    project_id: IdArgument,
    keep_old: Annotated[
        bool, typer.Option("--keep-old", help="Leave the old keys valid until you revoke them.")
    ] = False,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Replace a project's keys by a new one and print its DSN: once.

    The old keys stop within two seconds; what comes with them from then on is refused. To change clients without a
    gap: --keep-old, give every client the new DSN, then revoke the old keys.

    \b
    Example:
      tocsin projects rotate 1 --keep-old

    Next: paste the DSN into the application; then `tocsin projects keys 1`.
    """
    _rotate(context, "rotate", project_id, keep_old=keep_old)


def _rotate(context: typer.Context, verb: str, project_id: int, *, keep_old: bool) -> None:
    call = call_of(context)

    async def operate(work: Work, actor: Actor) -> Rotated:
        return await projects.rotate_key(work, actor, project_id, keep_old=keep_old)

    _tell_key(call, project_id, act(call, f"projects {verb}", str(project_id), operate))


def _tell_key(call: Call, project_id: int, made: Rotated) -> None:
    line = dsn(load_settings().base_url, made.key, project_id)

    def tell() -> None:
        if made.revoked:
            call.note(f"{made.revoked} old keys are revoked.")
        call.note("It cannot be shown again:")
        call.say(line)

    call.answer({"projectId": project_id, "key": made.key, "dsn": line, "revoked": made.revoked}, tell)


@commands.command()
def revoke(
    context: typer.Context,
    project_id: IdArgument,
    key_name: Annotated[str, typer.Argument(metavar="KEY", help="How the key begins, or its id.")],
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Revoke one of a project's keys. It stops within two seconds.

    Name it by its first characters, as `tocsin projects keys` shows them. What only one key begins with is enough.

    \b
    Example:
      tocsin projects revoke 1 3f9c2a

    Next: `tocsin intake --since 10m` tells what still arrives.
    """
    call, which = call_of(context), _key_ref(key_name)
    # Somebody may paste the whole key, and the access log keeps everything for ever.
    shown = str(which) if isinstance(which, UUID) else which[:SHOWN_KEY_CHARACTERS]
    revoked = act(
        call,
        "projects revoke",
        f"{project_id} {shown}",
        lambda work, actor: projects.revoke_key(work, actor, project_id, which),
    )

    def tell() -> None:
        call.say(f"The key {revoked.key_prefix}… opens nothing any more; {revoked.left} valid keys are left.")
        if not revoked.left:
            call.note(f"Nobody can report to project {project_id}: `tocsin projects key {project_id}` makes a new key.")

    call.answer({"projectId": project_id, "revoked": revoked}, tell)


def _key_ref(text: str) -> UUID | str:
    """Return an id, or how a key begins. An id has hyphens: a whole key is 32 hexadecimal digits too."""
    try:
        return UUID(text) if "-" in text else text
    except ValueError:
        return text


@commands.command()
def rules(
    context: typer.Context,
    project_id: IdArgument,
    dedup_window: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="How long a report joins even a closed incident: 0s to 1d, or `default`."
        ),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(metavar="SEVERITY", help="From where on an error opens one: LOW, MEDIUM, HIGH, or `default`."),
    ] = None,
    severity_rules: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Severity rules as JSON; `-` is standard input, `default` removes them."),
    ] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Change what a project decides for itself. It counts for new reports within two seconds.

    Severity rules raise or lower what clients report: a list of {"when": {FIELD: PATTERN, …}, "severity": …}; of the
    rules whose conditions all hold, the first one decides. HIGH and CRITICAL errors always open an incident.

    \b
    Example:
      tocsin projects rules 1 --dedup-window 15m --threshold MEDIUM
      echo '[{"when": {"handled": false}, "severity": "CRITICAL"}]' | tocsin projects rules 1 --severity-rules -

    Next: `tocsin projects show 1`.
    """
    wanted_window = _window(dedup_window)
    wanted_threshold = _threshold(threshold)
    document = [] if severity_rules == DEFAULT else document_in(severity_rules) if severity_rules else None
    if dedup_window is None and threshold is None and severity_rules is None:
        raise WrongUsageError("Say what to change: --dedup-window, --threshold or --severity-rules.")

    async def change(work: Work, actor: Actor) -> None:
        if dedup_window is not None:
            await projects.set_dedup_window(work, actor, project_id, wanted_window)
        if threshold is not None:
            await projects.set_incident_threshold(work, actor, project_id, wanted_threshold)
        if severity_rules is not None:
            await projects.set_severity_rules(work, actor, project_id, document)

    _change(context, "rules", project_id, change)


def _window(text: str | None) -> timedelta | None:
    return None if text is None or text == DEFAULT else duration(text)


def _threshold(text: str | None) -> Severity | None:
    if text is None or text == DEFAULT:
        return None
    try:
        return Severity(text.upper())
    except ValueError:
        raise WrongUsageError(f"--threshold {text!r} is not LOW, MEDIUM, HIGH or {DEFAULT}.") from None


@commands.command()
def mapping(
    context: typer.Context,
    project_id: IdArgument,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The mapping as JSON; `-` is standard input, `default` removes it.")
    ],
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Say where a foreign JSON keeps what.

    For webhooks of systems that Tocsin does not know. Without a mapping the usual names are tried.

    \b
    Example:
      echo '{"fields": {"message": "alert.text", "severity": "alert.level"}}' | tocsin projects mapping 1 -

    Next: `tocsin projects show 1`.
    """
    document = None if file == DEFAULT else document_in(file)

    async def change(work: Work, actor: Actor) -> None:
        await projects.set_field_mapping(work, actor, project_id, document)

    _change(context, "mapping", project_id, change)
