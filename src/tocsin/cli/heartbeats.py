"""`tocsin heartbeats …`: what must be heard from on a schedule, and whose silence is an error."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from tocsin.app import heartbeats
from tocsin.app.heartbeats import Heartbeat, HeartbeatList
from tocsin.app.work import Work
from tocsin.cli.options import AsOption, JsonOption, call_of, duration
from tocsin.cli.output import Call, instant
from tocsin.cli.running import act
from tocsin.domain.access import Actor
from tocsin.domain.heartbeat import plan
from tocsin.domain.incident import Severity
from tocsin.domain.plural import number_of
from tocsin.settings import load_settings

MAX_PROJECT = 2**31 - 1
SHOWN_NOTE_CHARACTERS = 60

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""What must be heard from.

    A job that no longer runs reports no error. A heartbeat says when it must be heard from; its silence becomes an
    incident.

    \b
    Example:
      tocsin heartbeats add nightly-backup --cron "0 3 * * *" --time-zone Europe/Vienna --grace 30m

    Next: call the URL that it prints at the end of the job.
    """,
)

ProjectOption = Annotated[int, typer.Option("--project", metavar="ID", min=0, max=MAX_PROJECT, help="Whose it is.")]
SlugArgument = Annotated[str, typer.Argument(metavar="SLUG", help="Its name within the project.")]


@commands.command("list")
def list_(
    context: typer.Context,
    project: Annotated[
        int | None, typer.Option(metavar="ID", min=0, max=MAX_PROJECT, help="Only those of this project.")
    ] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """List the heartbeats, those in trouble first.

    Check-ins that nobody could take are named on standard error.

    \b
    Example:
      tocsin heartbeats list

    Next: `tocsin heartbeats show SLUG` tells what it said last.
    """
    call = call_of(context)

    async def operate(work: Work, actor: Actor) -> HeartbeatList:
        return await heartbeats.list_heartbeats(work, actor, project)

    found = act(call, "heartbeats list", "" if project is None else str(project), operate)
    call.answer(found, lambda: _tell_list(call, found))


def _tell_list(call: Call, found: HeartbeatList) -> None:
    headers = ("SLUG", "PROJECT", "STATE", "SCHEDULE", "DUE", "LAST CHECK-IN")
    call.table(headers, [_row(one) for one in found.heartbeats])
    if found.total > len(found.heartbeats):
        call.note(f"{found.total - len(found.heartbeats)} more: name a project with --project ID.")
    for one in found.refused:
        where = f"of {one.slug} in project {one.project_id}"
        call.note(
            f"{number_of(one.times, f'check-in {where} was', f'check-ins {where} were')} refused, "
            f"the last at {instant(one.last_at)}: {one.reason}"
        )


def _row(one: Heartbeat) -> tuple[str, ...]:
    return (one.slug, str(one.project_id), one.state.value, one.schedule, _at(one.due_at), _at(one.last_check_in_at))


def _at(moment: datetime | None) -> str:
    return instant(moment) if moment else "-"


@commands.command()
def add(
    context: typer.Context,
    slug: SlugArgument,
    every: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Expected again within: 30s, 15m, 2h, 1d, or 1h30m.")
    ] = None,
    cron: Annotated[
        str | None, typer.Option(metavar="LINE", help="Or expected at: five crontab fields, or @daily and the like.")
    ] = None,
    time_zone: Annotated[
        str, typer.Option(metavar="ZONE", help="The time zone of the crontab line, such as Europe/Vienna.")
    ] = "UTC",
    grace: Annotated[str, typer.Option(metavar="DURATION", help="How late it may be.")] = "5m",
    max_runtime: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How long it may take, if it says when it begins.")
    ] = None,
    severity: Annotated[
        Severity, typer.Option(case_sensitive=False, help="How bad its silence is.")
    ] = heartbeats.SEVERITY,
    project: ProjectOption = 1,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Add a heartbeat and print its URL: once.

    It is watched from now on. Only the hash of the URL's key is kept. Nothing else is on standard output.

    \b
    Example:
      tocsin heartbeats add nightly-backup --cron "0 3 * * *" --grace 30m

    Next: let the job end with `curl -fsS URL`, and with `curl -fsS "URL?status=error"` when it fails.
    """
    call = call_of(context)

    async def operate(work: Work, actor: Actor) -> str:
        schedule = heartbeats.schedule_of(duration(every) if every else None, cron, time_zone)
        longest = duration(max_runtime) if max_runtime else None
        return await heartbeats.add(work, actor, project, slug, plan(schedule, duration(grace), longest), severity)

    _tell_url(call, project, slug, act(call, "heartbeats add", slug, operate))


@commands.command()
def show(
    context: typer.Context,
    slug: SlugArgument,
    project: ProjectOption = 1,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Show a heartbeat and its latest check-ins, latest first.

    \b
    Example:
      tocsin heartbeats show nightly-backup

    Next: `tocsin incidents list --open` shows what its silence became.
    """
    call = call_of(context)
    heartbeat, check_ins = act(
        call, "heartbeats show", slug, lambda work, actor: heartbeats.show(work, actor, project, slug)
    )
    rows = [
        (
            str(one.number),
            instant(one.received_at),
            one.status,
            f"{one.duration_seconds:.1f} s" if one.duration_seconds is not None else "-",
            one.note[:SHOWN_NOTE_CHARACTERS],
        )
        for one in check_ins
    ]

    def tell() -> None:
        since = f" since {instant(heartbeat.failing_since)}" if heartbeat.failing_since else ""
        call.say(f"{heartbeat.slug}: {heartbeat.state.value}{since}")
        call.say(f"{heartbeat.schedule}, {heartbeat.grace_seconds} s of grace; due {_at(heartbeat.due_at)}")
        call.table(("NUMBER", "CAME", "STATUS", "TOOK", "NOTE"), rows)

    call.answer({"heartbeat": heartbeat, "checkIns": check_ins}, tell)


@commands.command()
def pause(
    context: typer.Context,
    slug: SlugArgument,
    project: ProjectOption = 1,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Stop watching a heartbeat.

    Its check-ins are kept, its silence means nothing.

    \b
    Example:
      tocsin heartbeats pause nightly-backup

    Next: `tocsin heartbeats resume SLUG`: nobody else will.
    """
    call = call_of(context)
    act(call, "heartbeats pause", slug, lambda work, actor: heartbeats.pause(work, actor, project, slug))
    answer = {"projectId": project, "slug": slug, "paused": True}
    call.answer(answer, lambda: call.say(f"{slug} is not watched until somebody resumes it."))


@commands.command()
def resume(
    context: typer.Context,
    slug: SlugArgument,
    project: ProjectOption = 1,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Watch a paused heartbeat again, as if it began now.

    \b
    Example:
      tocsin heartbeats resume nightly-backup

    Next: `tocsin heartbeats show SLUG`.
    """
    call = call_of(context)
    due_at = act(call, "heartbeats resume", slug, lambda work, actor: heartbeats.resume(work, actor, project, slug))
    answer = {"projectId": project, "slug": slug, "paused": False, "dueAt": due_at}
    call.answer(answer, lambda: call.say(f"{slug} is watched; it is due {instant(due_at)}."))


@commands.command()
def remove(
    context: typer.Context,
    slug: SlugArgument,
    project: ProjectOption = 1,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Remove a heartbeat with its check-ins.

    Its reports and incidents stay. A Sentry client that sends a monitor's configuration adds it again.

    \b
    Example:
      tocsin heartbeats remove nightly-backup

    Next: take the check-in out of the job, or it is refused.
    """
    call = call_of(context)
    act(call, "heartbeats remove", slug, lambda work, actor: heartbeats.remove(work, actor, project, slug))
    answer = {"projectId": project, "slug": slug, "removed": True}
    call.answer(answer, lambda: call.say(f"{slug} is removed."))


@commands.command()
def key(
    context: typer.Context,
    slug: SlugArgument,
    project: ProjectOption = 1,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Give a heartbeat another key and print its URL: once.

    The URL that it had opens nothing any more.

    \b
    Example:
      tocsin heartbeats key nightly-backup

    Next: put the new URL into the job.
    """
    call = call_of(context)
    made = act(call, "heartbeats key", slug, lambda work, actor: heartbeats.new_key(work, actor, project, slug))
    _tell_url(call, project, slug, made)


def _tell_url(call: Call, project_id: int, slug: str, made: str) -> None:
    url = f"{load_settings().base_url}/api/v1/heartbeats/{made}"

    def tell() -> None:
        call.note("It cannot be shown again:")
        call.say(url)

    call.answer({"projectId": project_id, "slug": slug, "key": made, "url": url}, tell)
