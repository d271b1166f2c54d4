"""`tocsin incidents …`: the workflow from a terminal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import msgspec
import typer

from tocsin.app import escalate, open_incident, read_incidents, read_notifications, respond
from tocsin.app.post_incident import post_incident_report
from tocsin.app.read_incidents import MAX_PAGE, MAX_REPORTS, IncidentDetail, IncidentPage, IncidentReports
from tocsin.app.timeline import IncidentRef
from tocsin.app.why import Why, explain
from tocsin.app.work import Work
from tocsin.cli.files import hand_out
from tocsin.cli.incident_story import next_step, story
from tocsin.cli.options import (
    MAX_NUMBER,
    AsOption,
    CursorOption,
    FollowUpOption,
    IncidentArgument,
    JsonOption,
    WrongUsageError,
    call_of,
    follow_ups,
    incident_ref,
    instant_of,
    text_or_question,
)
from tocsin.cli.output import Call, age, instant
from tocsin.cli.pages import tell_pages
from tocsin.cli.running import act, text_of
from tocsin.cli.why_story import why_story
from tocsin.domain import workflow
from tocsin.domain.access import Actor
from tocsin.domain.disclosure import ERASED
from tocsin.domain.incident import EscalationReason, RootCauseCategory, Severity, Status
from tocsin.domain.plural import number_of
from tocsin.domain.post_incident import PostIncidentReport
from tocsin.domain.report_markdown import markdown
from tocsin.errors import Code, TocsinError
from tocsin.web.documents import detail_answer, incident_document, list_answer, reports_answer, why_answer
from tocsin.web.notifications_api import plain

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""The workflow: list, ack, root-cause, resolve, close.

    \b
    REPORTED → ACKNOWLEDGED → INVESTIGATING → RESOLVED → CLOSED
      list, show                see what is open, and the whole story of one
      reports                   see single reports of one, as they came
      why                       see who was paged, who was not, and why
      pages                     see who was told of one, and what came of it
      ack                       say "I have it"; notes are required
      root-cause                say why it happened; nothing resolves without it
      resolve                   say how it ended
      close                     say what was learned and what will be done
      note, severity, escalate  tell the others more, make it louder

    \b
    Example:
      tocsin incidents list --open

    Next: `tocsin incidents show NUMBER` ends with the one step to take.
    """,
)


class ReportForm(StrEnum):
    """As what a report is written."""

    MD = "md"
    PDF = "pdf"


_OPEN = tuple(status for status in Status if status is not Status.CLOSED)


@dataclass(frozen=True, slots=True)
class _Shown:
    """An incident, the one that it came back from, and the instant of reading."""

    detail: IncidentDetail
    previous: IncidentDetail | None
    now: datetime


@dataclass(frozen=True, slots=True)
class _Stepped:
    """An incident after a step, and the id of what the step recorded, if it has one to tell."""

    detail: IncidentDetail
    recorded: UUID | None


@commands.command("list")
def list_(
    context: typer.Context,
    status: Annotated[
        list[Status] | None,
        typer.Option(case_sensitive=False, help="Only this status; give it several times for more."),
    ] = None,
    severity: Annotated[
        list[Severity] | None, typer.Option(case_sensitive=False, help="Only this current severity; may be repeated.")
    ] = None,
    is_open: Annotated[bool, typer.Option("--open", help="Only those that are not closed.")] = False,
    service: Annotated[str | None, typer.Option(help="Only of this service.")] = None,
    search: Annotated[
        str | None, typer.Option(help='Only with these words: pool -test "timed out" or exhausted.')
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_PAGE, help="How many at most.")] = 50,
    cursor: Annotated[int | None, typer.Option(min=1, max=MAX_NUMBER, help="Go on where the last page ended.")] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """List incidents, newest first.

    \b
    Example:
      tocsin incidents list --open --severity critical --severity high
      tocsin incidents list --search "connection pool"

    Next: `tocsin incidents show NUMBER` tells the whole story of one.
    """
    call = call_of(context)
    statuses = tuple(status) if status else None
    if is_open:
        statuses = tuple(one for one in _OPEN if statuses is None or one in statuses)
    where = read_incidents.IncidentFilter(statuses, tuple(severity) if severity else None, service=service)

    async def read(work: Work, actor: Actor) -> tuple[IncidentPage, datetime]:
        page = await read_incidents.list_incidents(work, actor, where, search=search, limit=limit, cursor=cursor)
        return page, work.now

    page, now = act(call, "incidents list", "", read)
    call.answer(msgspec.to_builtins(list_answer(page)), lambda: _tell_page(call, page, now))


def _tell_page(call: Call, page: IncidentPage, now: datetime) -> None:
    if not page.incidents:
        call.note("No incident to show.")
        return
    rows = [
        (
            f"INC-{row.number}",
            row.current_severity,
            row.status,
            age((row.closed_at or now) - row.created_at),
            f"{row.occurrences:,}",
            row.acknowledged_by_name or "-",
            row.title or ERASED,
        )
        for row in page.incidents
    ]
    call.table(("INCIDENT", "SEVERITY", "STATUS", "AGE", "SEEN", "WHO", "TITLE"), rows)
    if page.next_cursor is not None:
        shown = f"{len(rows)} of {page.total:,}" if page.total is not None else f"The newest {len(rows)}"
        call.note(f"{shown}. Go on with the same options and --cursor {page.next_cursor}")


@commands.command()
def show(context: typer.Context, incident: IncidentArgument, _as: AsOption = None, _json: JsonOption = False) -> None:
    """Show the whole story of an incident, and the one next step.

    The first stack (the application's own frames first), who has it, the cause, the timeline, who was told and
    with which answer; for a failure that came back, what was learned last time.

    \b
    Example:
      tocsin incidents show 42

    Next: the last line is the command to run now.
    """
    call, ref = call_of(context), incident_ref(incident)

    async def read(work: Work, actor: Actor) -> _Shown:
        detail = await read_incidents.show_incident(work, actor, ref)
        earlier = detail.incident.recurrence_of
        previous = await read_incidents.show_incident(work, actor, earlier) if earlier else None
        return _Shown(detail, previous, work.now)

    shown = act(call, "incidents show", text_of(ref), read)
    call.answer(_document(shown), lambda: call.say(*story(shown.detail, shown.previous, shown.now)))


def _document(shown: _Shown) -> dict[str, Any]:
    """Return what the API answers, and what only the command knows besides."""
    document = _api_document(shown.detail)
    before = _api_document(shown.previous) if shown.previous else None
    document["previous"] = {name: before[name] for name in ("incident", "rootCause", "resolution")} if before else None
    document["nextStep"] = next_step(shown.detail)
    return document


def _api_document(detail: IncidentDetail) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(detail_answer(detail)))
    return document


@commands.command()
def reports(
    context: typer.Context,
    incident: IncidentArgument,
    limit: Annotated[int, typer.Option(min=1, max=MAX_REPORTS, help="How many at most.")] = 10,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """List single reports of an incident, newest first.

    With --json they are shown as they were accepted. Of many reports of one failure every one is counted, but only
    samples are kept whole: the first, the latest, and a thinning series in between.

    \b
    Example:
      tocsin incidents reports 42 --limit 3 --json

    Next: `tocsin incidents show 42` tells the whole story.
    """
    call, ref = call_of(context), incident_ref(incident)

    async def read(work: Work, actor: Actor) -> IncidentReports:
        return await read_incidents.list_reports(work, actor, ref, limit)

    found = act(call, "incidents reports", text_of(ref), read)
    document = msgspec.json.decode(msgspec.json.encode(reports_answer(found)))
    call.answer(document, lambda: _tell_reports(call, found))


def _tell_reports(call: Call, found: IncidentReports) -> None:
    rows = [(instant(row.received_at), row.severity, row.outcome, row.event_id, row.title) for row in found.reports]
    call.table(("RECEIVED", "SEVERITY", "OUTCOME", "EVENT", "TITLE"), rows)
    call.note(f"{number_of(len(rows), 'whole report')}, of {number_of(found.occurrences, 'occurrence')}.")


@commands.command("why")
def why_(context: typer.Context, incident: IncidentArgument, _as: AsOption = None, _json: JsonOption = False) -> None:
    """Tell who was paged, who was not, and why.

    Step by step: those that were taken, those that an answer made needless, those that are still to come. Of each
    everybody whom it might have reached, with the reason, how they were paged, and with which answer.

    \b
    Example:
      tocsin incidents why 42

    Next: `tocsin oncall show` tells who holds the duties, `tocsin users contact list` how they are reached.
    """
    call, ref = call_of(context), incident_ref(incident)

    async def read(work: Work, actor: Actor) -> Why:
        return await explain(work, actor, ref)

    found = act(call, "incidents why", text_of(ref), read)
    document = msgspec.json.decode(msgspec.json.encode(why_answer(found)))
    call.answer(document, lambda: call.say(*why_story(found)))


@commands.command()
def pages(
    context: typer.Context,
    incident: IncidentArgument,
    limit: Annotated[int, typer.Option(min=1, max=read_notifications.MAX_PAGE, help="How many at most.")] = 50,
    cursor: CursorOption = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Show every page about an incident, newest first.

    Each with every attempt: when, to whom, over what, with which answer.

    \b
    Example:
      tocsin incidents pages 42

    Next: `tocsin oncall pages` shows those about all incidents.
    """
    call, ref = call_of(context), incident_ref(incident)

    async def read(work: Work, actor: Actor) -> read_notifications.Histories:
        return await read_notifications.of_incident(work, actor, ref, limit=limit, cursor=cursor)

    found = act(call, "incidents pages", text_of(ref), read)
    call.answer(plain(found), lambda: tell_pages(call, found))


@commands.command("report")
def report_(
    context: typer.Context,
    incident: IncidentArgument,
    form: Annotated[ReportForm, typer.Option("--format", case_sensitive=False, help="md (Markdown) or pdf.")] = (
        ReportForm.MD
    ),
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Where to write it; without, standard output.")
    ] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Write the post-incident report of an incident.

    What happened, the timeline, who was paged, why it happened, what was learned and promised, and how to check it.

    \b
    Example:
      tocsin incidents report 42 --format pdf --output INC-42.pdf

    Next: `tocsin export 42` writes the evidence for it.
    """
    call, ref = call_of(context), incident_ref(incident)

    async def read(work: Work, actor: Actor) -> tuple[PostIncidentReport, datetime]:
        return await post_incident_report(work, actor, ref), work.now

    report, now = act(call, "incidents report", text_of(ref), read)
    if form is ReportForm.MD and output is None:
        call.answer({"markdown": markdown(report)}, lambda: call.say(markdown(report).rstrip("\n")))
        return
    data = markdown(report).encode() if form is ReportForm.MD else _pdf(report, now)
    hand_out(call, data, output)


def _pdf(report: PostIncidentReport, now: datetime) -> bytes:
    from tocsin.app.report_pdf import pdf  # noqa: PLC0415  # it brings what no other command needs

    return pdf(report, now)


@commands.command("open")
def open_(
    context: typer.Context,
    severity: Annotated[Severity, typer.Option(case_sensitive=False, help="How bad it is.")],
    title: Annotated[str, typer.Option(help="One line that names it.")],
    description: Annotated[str, typer.Option(help="What is known so far.")] = "",
    service: Annotated[str | None, typer.Option(help="What it is about; it decides which policy it follows.")] = None,
    error: Annotated[
        UUID | None, typer.Option(metavar="UUID", help="The error report that it is about, if one was recorded.")
    ] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Open an incident by hand.

    For what no program reported, or for a report that was only recorded. The on-call is paged at once, as for any
    other incident.

    \b
    Example:
      tocsin incidents open --severity HIGH --title "Customers see empty carts"

    Next: `tocsin incidents ack NUMBER --notes "…"`.
    """
    call = call_of(context)

    async def operate(work: Work, actor: Actor) -> _Stepped:
        made = await open_incident.open_by_hand(
            work, actor, severity=severity, title=title, description=description, error_id=error, service=service
        )
        return _Stepped(await read_incidents.show_incident(work, actor, made), None)

    _tell_step(call, act(call, "incidents open", severity.value, operate), None)


@commands.command()
def ack(
    context: typer.Context,
    incident: IncidentArgument,
    notes: Annotated[str | None, typer.Option(help="What you are doing about it; asked for on a terminal.")] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Acknowledge an incident: say "I have it". It stops getting louder for want of an answer.

    \b
    Example:
      tocsin incidents ack 42 --notes "Looking at the database"

    Next: find the cause, then `tocsin incidents root-cause 42`.
    """
    ref = incident_ref(incident)
    said = text_or_question(notes, "--notes", "What are you doing about it")
    _step(context, "ack", ref, lambda work, actor: respond.acknowledge(work, actor, ref, workflow.Acknowledge(said)))


@commands.command()
def investigate(
    context: typer.Context, incident: IncidentArgument, _as: AsOption = None, _json: JsonOption = False
) -> None:
    """Say that the search for the cause has begun. Recording a root cause says so by itself.

    \b
    Example:
      tocsin incidents investigate 42

    Next: `tocsin incidents root-cause 42`.
    """
    ref = incident_ref(incident)
    _step(context, "investigate", ref, lambda work, actor: respond.start_investigation(work, actor, ref))


@commands.command("root-cause")
def root_cause(
    context: typer.Context,
    incident: IncidentArgument,
    summary: Annotated[str | None, typer.Option(help="Why it happened; asked for on a terminal.")] = None,
    category: Annotated[
        RootCauseCategory | None, typer.Option(case_sensitive=False, help="Where the cause lay.")
    ] = None,
    remediation: Annotated[str | None, typer.Option(help="What mends it; asked for on a terminal.")] = None,
    verified_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="When the cause was confirmed: 2026-03-01T03:00:00Z.")
    ] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Record why it happened, and what mends it. Once: what was recorded never changes.

    \b
    Example:
      tocsin incidents root-cause 42 --summary "The pool was too small" \\
        --category CONFIGURATION --remediation "Raised it to 40"

    Next: `tocsin incidents resolve 42 --summary "…"`.
    """
    ref = incident_ref(incident)
    verified = instant_of(verified_at) if verified_at is not None else None
    why = text_or_question(summary, "--summary", "Why did it happen")
    where = category or _asked_category()
    mends = text_or_question(remediation, "--remediation", "What mends it")

    async def operate(work: Work, actor: Actor) -> UUID:
        action = workflow.RecordRootCause(why, where, mends, verified)
        return await respond.record_root_cause(work, actor, ref, action)

    _step(context, "root-cause", ref, operate, recorded_as="rootCauseId")


def _asked_category() -> RootCauseCategory:
    names = ", ".join(RootCauseCategory)
    answer = text_or_question(None, "--category", f"Where did the cause lie ({names})")
    try:
        return RootCauseCategory(answer.strip().upper())
    except ValueError:
        raise WrongUsageError(f"--category {answer!r} is not one of {names}.") from None


@commands.command()
def resolve(
    context: typer.Context,
    incident: IncidentArgument,
    summary: Annotated[str | None, typer.Option(help="How it ended; asked for on a terminal.")] = None,
    notes: Annotated[str | None, typer.Option(help="Anything else about it.")] = None,
    impact: Annotated[str | None, typer.Option(help="Who was hit, and how badly.")] = None,
    lessons: Annotated[str | None, typer.Option(help="What was learned.")] = None,
    follow_up: FollowUpOption = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Say that it is over, and how. With --lessons and --follow-up it closes at once.

    \b
    Example:
      tocsin incidents resolve 42 --summary "Restarted with a larger pool" \\
        --lessons "Nobody watched the pool" --follow-up "Alert on its use|ana|2026-12-01"

    Next: `tocsin incidents close 42`, unless it closed with this.
    """
    ref = incident_ref(incident)
    actions = follow_ups(follow_up)
    how = text_or_question(summary, "--summary", "How did it end")

    async def operate(work: Work, actor: Actor) -> None:
        await respond.resolve(work, actor, ref, workflow.Resolve(how, notes, impact, lessons, actions))

    _step(context, "resolve", ref, operate)


@commands.command()
def close(
    context: typer.Context,
    incident: IncidentArgument,
    lessons: Annotated[str | None, typer.Option(help="What was learned.")] = None,
    follow_up: FollowUpOption = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Close an incident with what was learned.

    Lessons and follow-up actions are required; what the resolution said already need not be said again.

    \b
    Example:
      tocsin incidents close 42 --lessons "Nobody watched the pool" --follow-up "Alert on its use|ana|2026-12-01"

    Next: nothing. Should the failure come back, its incident opens with these lessons.
    """
    ref = incident_ref(incident)
    actions = follow_ups(follow_up)

    async def operate(work: Work, actor: Actor) -> None:
        try:
            await respond.close(work, actor, ref, workflow.Close(lessons, actions))
        except TocsinError as error:
            if error.refusal.code is not Code.CONTEXT_REQUIRED:
                raise
            hint = f'Say it: `tocsin incidents close {incident} --lessons "…" --follow-up "…"`.'
            raise TocsinError(replace(error.refusal, hint=hint)) from None

    _step(context, "close", ref, operate)


@commands.command("escalate")
def escalate_(
    context: typer.Context,
    incident: IncidentArgument,
    to: Annotated[str, typer.Option("--to", metavar="EMAIL", help="Whose help is needed.")],
    reason: Annotated[str | None, typer.Option(help="Why they are needed; asked for on a terminal.")] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Page somebody by name, with a reason.

    \b
    Example:
      tocsin incidents escalate 42 --to ana@example.org --reason "Needs somebody who knows the billing database"

    Next: `tocsin incidents show 42` tells whether the page was delivered and the escalation confirmed.
    """
    ref = incident_ref(incident)
    why = text_or_question(reason, "--reason", "Why are they needed")

    async def operate(work: Work, actor: Actor) -> UUID:
        action = workflow.Escalate(EscalationReason.MANUAL_ESCALATION, why)
        return await escalate.escalate_by_hand(work, actor, ref, to, action)

    _step(context, "escalate", ref, operate, recorded_as="escalationId")


@commands.command()
def severity(
    context: typer.Context,
    incident: IncidentArgument,
    level: Annotated[Severity, typer.Argument(case_sensitive=False, help="The severity that it has from now on.")],
    reason: Annotated[str | None, typer.Option(help="Why; asked for on a terminal.")] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Say that it is worse, or less bad, than it looked. A rise pages the on-call.

    \b
    Example:
      tocsin incidents severity 42 CRITICAL --reason "Payments fail too"

    Next: `tocsin incidents show 42`.
    """
    ref = incident_ref(incident)
    why = text_or_question(reason, "--reason", "Why")

    async def operate(work: Work, actor: Actor) -> None:
        await escalate.change_severity(work, actor, ref, workflow.ChangeSeverity(level, why))

    _step(context, "severity", ref, operate)


@commands.command()
def note(
    context: typer.Context,
    incident: IncidentArgument,
    text: Annotated[str | None, typer.Argument(help="What the others should know; asked for on a terminal.")] = None,
    _as: AsOption = None,
    _json: JsonOption = False,
) -> None:
    """Add something that the others should know.

    Possible at any time, also after the incident is closed.

    \b
    Example:
      tocsin incidents note 42 "The vendor confirms an outage until 05:00"

    Next: `tocsin incidents show 42`.
    """
    ref = incident_ref(incident)
    said = text_or_question(text, "a second argument", "What should the others know")
    _step(context, "note", ref, lambda work, actor: respond.add_note(work, actor, ref, workflow.AddNote(said)))


def _step(
    context: typer.Context,
    verb: str,
    ref: IncidentRef,
    operation: Callable[[Work, Actor], Awaitable[object]],
    *,
    recorded_as: str | None = None,
) -> None:
    """Take a step and tell where the incident stands after it."""

    async def operate(work: Work, actor: Actor) -> _Stepped:
        recorded = await operation(work, actor)
        detail = await read_incidents.show_incident(work, actor, ref)
        return _Stepped(detail, recorded if isinstance(recorded, UUID) else None)

    call = call_of(context)
    _tell_step(call, act(call, f"incidents {verb}", text_of(ref), operate), recorded_as)


def _tell_step(call: Call, stepped: _Stepped, recorded_as: str | None) -> None:
    incident = stepped.detail.incident
    document: dict[str, object] = {
        "incident": msgspec.to_builtins(incident_document(incident)),
        "nextStep": next_step(stepped.detail),
    }
    if recorded_as:
        document[recorded_as] = stepped.recorded
    call.answer(
        document,
        lambda: call.say(
            f"INC-{incident.number} is {incident.status}, {incident.current_severity}: {incident.title or ERASED}",
            f"Next  {next_step(stepped.detail)}",
        ),
    )
