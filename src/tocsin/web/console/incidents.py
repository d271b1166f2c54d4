"""One incident: what failed, how often, what is known, who was told and why, and the one next step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated
from uuid import UUID

import msgspec

from tocsin.app import escalate, follow_ups, look_into, read_incidents, respond
from tocsin.app.overview import pulse
from tocsin.app.post_incident import post_incident_report
from tocsin.app.read_incidents import IncidentDetail
from tocsin.app.timeline import IncidentRef
from tocsin.app.why import Stage, Why, explain
from tocsin.app.work import Work
from tocsin.domain import workflow
from tocsin.domain.follow_up import FollowUpAction, parse_follow_ups
from tocsin.domain.incident import EscalationReason, RootCauseCategory, Severity, Status
from tocsin.web.console import telling
from tocsin.web.console.page import Form, Redirected, Shown, Visit
from tocsin.web.reading import incident_ref, part_id

STEPS = (
    (Status.REPORTED, "Reported"),
    (Status.ACKNOWLEDGED, "Acknowledged"),
    (Status.INVESTIGATING, "Investigating"),
    (Status.RESOLVED, "Resolved"),
    (Status.CLOSED, "Closed"),
)
"""The stations of an incident's life, as the page draws them."""

Line = Annotated[str, msgspec.Meta(max_length=1000)]
Text = Annotated[str, msgspec.Meta(max_length=20_000)]


class IncidentQuery(msgspec.Struct):
    """Which of the kept reports the page shows; without it the newest."""

    report: UUID | None = None


async def show(work: Work, visit: Visit) -> Shown:
    """Show one incident, whole."""
    as_of = await pulse(work)
    ref = incident_ref(visit.path("id"))
    detail = await read_incidents.show_incident(work, visit.actor, ref)
    incident = detail.incident
    previous = None
    if incident.recurrence_of is not None:
        previous = await read_incidents.show_incident(work, visit.actor, incident.recurrence_of)
    report = visit.query.report if isinstance(visit.query, IncidentQuery) else None
    sample = await look_into.sample(work, incident, report)
    often = await look_into.frequency(work, incident)
    why = await explain(work, visit.actor, incident.id)
    step = _next_step(detail)
    context = {
        "pulse": as_of,
        "detail": detail,
        "previous": previous,
        "overdue": await follow_ups.overdue_of(work, visit.actor, previous.incident.id) if previous else [],
        "rows": await follow_ups.of_incident(work, visit.actor, incident.id),
        "back": incident.number,
        "sample": sample,
        "failure": telling.failure_of(sample.report.document) if sample else None,
        "often": often,
        "bars": telling.bars_of(often) if often else [],
        "chart": (telling.CHART_WIDTH, telling.CHART_HEIGHT),
        "why": why,
        "pages_without_reason": len(detail.notifications) > _explained_pages(why),
        "louder_at": min((one.at for one in why.steps if one.stage is Stage.TO_COME), default=None),
        "told": telling.told,
        "seal": await look_into.seal(work, incident, detail.timeline),
        "next_step": step,
        "outlook": await look_into.outlook(work, incident),
        "kept": _kept(visit, step),
        "stations": STEPS,
        "reached": [status for status, _ in STEPS].index(Status(incident.status)),
        "categories": [*RootCauseCategory],
        "severities": [*Severity],
    }
    return Shown("incident.html", context)


async def show_report(work: Work, visit: Visit) -> Shown:
    """Show the post-incident report, to be read, printed or taken along."""
    return Shown("report.html", {"report": await post_incident_report(work, visit.actor, _ref(visit))})


def _explained_pages(why: Why) -> int:
    return sum(len(candidate.pages) for step in why.steps for candidate in step.candidates)


def _kept(visit: Visit, step: str) -> str:
    """Return what was written into a step's form that is not there any more, because somebody else was faster."""
    form = visit.form
    match form:
        case AcknowledgeForm() if step != "acknowledge":
            texts = [form.notes]
        case RootCauseForm() if step != "root-cause":
            texts = [form.summary, form.remediation_steps]
        case ResolveForm() if step != "resolve":
            texts = [form.resolution_summary, form.impact_assessment, form.resolution_notes]
        case CloseForm() if step != "close":
            texts = [form.lessons_learned, *form.action]
        case _:
            texts = []
    return "\n\n".join(text.strip() for text in texts if text.strip())


def _next_step(detail: IncidentDetail) -> str:
    """Return the one obvious thing to do now: the name of its form, "" when there is nothing left."""
    status = Status(detail.incident.status)
    if status is Status.REPORTED:
        return "acknowledge"
    if status in (Status.ACKNOWLEDGED, Status.INVESTIGATING):
        return "resolve" if detail.root_cause else "root-cause"
    return "close" if status is Status.RESOLVED else ""


class AcknowledgeForm(Form):
    """Who has it says what they are doing about it."""

    notes: Text = ""


class RootCauseForm(Form):
    """Why it happened, and what mends it."""

    summary: Text = ""
    category: RootCauseCategory = RootCauseCategory.UNKNOWN
    remediation_steps: Text = ""


class ResolveForm(Form):
    """How it ended."""

    resolution_summary: Text = ""
    impact_assessment: Text = ""
    resolution_notes: Text = ""


class CloseForm(Form):
    """What was learned, and what will be done: for each action its title, and by whom until when."""

    lessons_learned: Text = ""
    action: tuple[Line, ...] = ()
    owner: tuple[Line, ...] = ()
    due: tuple[Line, ...] = ()


class NoteForm(Form):
    """What the others should know."""

    text: Text = ""


class EscalateForm(Form):
    """Whose help is needed, and why."""

    to: Line = ""
    reason: Text = ""


class SeverityForm(Form):
    """How bad it is now, and why one thinks so."""

    severity: Severity = Severity.HIGH
    reason: Text = ""


async def acknowledge(work: Work, visit: Visit) -> Redirected:
    """Take the incident."""
    action = workflow.Acknowledge(visit.said(AcknowledgeForm).notes)
    return await _done(visit, respond.acknowledge(work, visit.actor, _ref(visit), action))


async def record_root_cause(work: Work, visit: Visit) -> Redirected:
    """Record why it happened."""
    form = visit.said(RootCauseForm)
    action = workflow.RecordRootCause(form.summary, form.category, form.remediation_steps)
    return await _done(visit, respond.record_root_cause(work, visit.actor, _ref(visit), action))


async def resolve(work: Work, visit: Visit) -> Redirected:
    """Say that it is over, and how."""
    form = visit.said(ResolveForm)
    action = workflow.Resolve(
        summary=form.resolution_summary,
        notes=form.resolution_notes or None,
        impact=form.impact_assessment or None,
    )
    return await _done(visit, respond.resolve(work, visit.actor, _ref(visit), action))


async def close(work: Work, visit: Visit) -> Redirected:
    """Close with what was learned and what will be done."""
    form = visit.said(CloseForm)
    action = workflow.Close(form.lessons_learned or None, follow_ups_of(form))
    return await _done(visit, respond.close(work, visit.actor, _ref(visit), action))


async def add_note(work: Work, visit: Visit) -> Redirected:
    """Add what the others should know."""
    action = workflow.AddNote(visit.said(NoteForm).text)
    return await _done(visit, respond.add_note(work, visit.actor, _ref(visit), action))


async def escalate_by_hand(work: Work, visit: Visit) -> Redirected:
    """Ask somebody for help."""
    form = visit.said(EscalateForm)
    action = workflow.Escalate(EscalationReason.MANUAL_ESCALATION, form.reason)
    return await _done(visit, escalate.escalate_by_hand(work, visit.actor, _ref(visit), form.to, action))


async def change_severity(work: Work, visit: Visit) -> Redirected:
    """Say that it is worse, or less bad, than it looked."""
    form = visit.said(SeverityForm)
    action = workflow.ChangeSeverity(form.severity, form.reason)
    return await _done(visit, escalate.change_severity(work, visit.actor, _ref(visit), action))


async def acknowledge_escalation(work: Work, visit: Visit) -> Redirected:
    """Say that an escalation arrived."""
    escalation_id = part_id(visit.path("escalation"), "escalation")
    return await _done(visit, escalate.acknowledge_escalation(work, visit.actor, _ref(visit), escalation_id))


def follow_ups_of(form: CloseForm) -> tuple[FollowUpAction, ...]:
    """Return the actions of a form; rows without a title are not meant."""
    rows = zip(form.action, _filled(form.owner, form.action), _filled(form.due, form.action), strict=True)
    named = ({"title": title.strip(), "owner": owner.strip(), "dueAt": due.strip()} for title, owner, due in rows)
    return parse_follow_ups([{key: value for key, value in row.items() if value} for row in named if row["title"]])


def _filled(column: Sequence[str], titles: Sequence[str]) -> list[str]:
    return [*column, *[""] * len(titles)][: len(titles)]


async def _done(visit: Visit, step: Awaitable[object]) -> Redirected:
    await step
    return Redirected(f"/incidents/{visit.path('id')}")


def _ref(visit: Visit) -> IncidentRef:
    return incident_ref(visit.path("id"))


Act = Callable[[Work, Visit], Awaitable[Redirected]]
ACTIONS: dict[str, tuple[type[Form], Act]] = {
    "acknowledge": (AcknowledgeForm, acknowledge),
    "root-cause": (RootCauseForm, record_root_cause),
    "resolve": (ResolveForm, resolve),
    "close": (CloseForm, close),
    "notes": (NoteForm, add_note),
    "escalate": (EscalateForm, escalate_by_hand),
    "severity": (SeverityForm, change_severity),
}
"""What can be done to an incident on its page: the last part of the address, the form, and the act."""
