"""The incidents' operations: each reads what was said, calls its use case, and shows what came of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from starlette.responses import Response

from tocsin.app import escalate, open_incident, read_incidents, respond
from tocsin.app.export_evidence import export_evidence
from tocsin.app.read_incidents import STATS_WINDOW
from tocsin.app.timeline import IncidentRef
from tocsin.app.why import explain
from tocsin.app.work import Work
from tocsin.domain import workflow
from tocsin.domain.follow_up import FollowUpAction, parse_follow_ups
from tocsin.domain.incident import EscalationReason, Status
from tocsin.evidence.bundle import MEDIA_TYPE
from tocsin.web import documents
from tocsin.web.documents import (
    AcknowledgeBody,
    CloseBody,
    EscalateAnswer,
    EscalateBody,
    EscalationStatsAnswer,
    FollowUpBody,
    IncidentAnswer,
    IncidentDetailAnswer,
    IncidentListAnswer,
    ListQuery,
    NoteBody,
    OpenBody,
    ReasonCountDocument,
    ReportsAnswer,
    ReportsQuery,
    ResolveBody,
    RootCauseAnswer,
    RootCauseBody,
    SeverityBody,
    StatsAnswer,
    WhyAnswer,
)
from tocsin.web.endpoint import Call
from tocsin.web.reading import believable, incident_ref, invalid, part_id

OPEN = "open"
OPEN_STATUSES = tuple(status for status in Status if status is not Status.CLOSED)


async def list_incidents(work: Work, call: Call) -> IncidentListAnswer:
    """Show one page of incidents, newest first."""
    query = call.asked(ListQuery)
    where = read_incidents.IncidentFilter(
        statuses=_statuses(query.status),
        severities=tuple(query.severity) if query.severity else None,
        created_after=believable("createdAfter", query.created_after),
        created_before=believable("createdBefore", query.created_before),
        service=query.service,
    )
    page = await read_incidents.list_incidents(
        work,
        call.actor,
        where,
        search=query.search,
        limit=query.limit,
        offset=query.offset,
        cursor=query.cursor,
    )
    return documents.list_answer(page)


def _statuses(names: Sequence[str] | None) -> tuple[Status, ...] | None:
    if not names:
        return None
    wanted: set[Status] = set()
    for name in names:
        if name == OPEN:
            wanted.update(OPEN_STATUSES)
        elif name in Status.__members__:
            wanted.add(Status(name))
        else:
            raise invalid("status", f"must be {OPEN} or one of {', '.join(Status)}")
    return tuple(status for status in Status if status in wanted)


async def stats(work: Work, call: Call) -> StatsAnswer:
    """Show how many incidents are open."""
    return documents.stats_answer(await read_incidents.stats(work, call.actor))


async def escalation_stats(work: Work, call: Call) -> EscalationStatsAnswer:
    """Show the escalations of the last 24 hours, by reason."""
    counts = await read_incidents.escalation_stats(work, call.actor)
    return EscalationStatsAnswer(
        [documents.shown(ReasonCountDocument, count) for count in counts], work.now - STATS_WINDOW
    )


async def show(work: Work, call: Call) -> IncidentDetailAnswer:
    """Show one incident with everything that was recorded of it."""
    return documents.detail_answer(await read_incidents.show_incident(work, call.actor, _ref(call)))


async def list_reports(work: Work, call: Call) -> ReportsAnswer:
    """Show the reports of an incident that were kept whole, newest first."""
    found = await read_incidents.list_reports(work, call.actor, _ref(call), call.asked(ReportsQuery).limit)
    return documents.reports_answer(found)


async def tell_why(work: Work, call: Call) -> WhyAnswer:
    """Tell why each candidate of each step of an incident was paged, or not."""
    return documents.why_answer(await explain(work, call.actor, _ref(call)))


async def evidence(call: Call) -> Response:
    """Give the evidence of an incident, as a file."""
    data = await export_evidence(call.services.app, call.actor, _ref(call))
    name = "".join(letter for letter in call.path("id") if letter.isalnum() or letter == "-")
    headers = {"Content-Disposition": f'attachment; filename="evidence-{name}.json"', "Cache-Control": "no-store"}
    return Response(data, headers=headers, media_type=MEDIA_TYPE)


async def open_by_hand(work: Work, call: Call) -> IncidentAnswer:
    """Open an incident that a person saw."""
    body = call.said(OpenBody)
    incident_id = await open_incident.open_by_hand(
        work,
        call.actor,
        severity=body.severity,
        title=body.title,
        description=body.description,
        error_id=body.error_id,
        service=body.service,
    )
    return await _incident(work, call, incident_id)


async def acknowledge(work: Work, call: Call) -> IncidentAnswer:
    """Take an incident."""
    action = workflow.Acknowledge(call.said(AcknowledgeBody).notes)
    taken = await respond.acknowledge(work, call.actor, _ref(call), action)
    return await _incident(work, call, taken.head.incident_id)


async def investigate(work: Work, call: Call) -> IncidentAnswer:
    """Say that the search for the cause has begun."""
    taken = await respond.start_investigation(work, call.actor, _ref(call))
    return await _incident(work, call, taken.head.incident_id)


async def record_root_cause(work: Work, call: Call) -> RootCauseAnswer:
    """Record why it happened."""
    body = call.said(RootCauseBody)
    action = workflow.RecordRootCause(
        body.summary, body.category, body.remediation_steps, believable("verifiedAt", body.verified_at)
    )
    return RootCauseAnswer(await respond.record_root_cause(work, call.actor, _ref(call), action))


async def resolve(work: Work, call: Call) -> IncidentAnswer:
    """Say that it is over; with lessons and follow-up actions it closes too."""
    body = call.said(ResolveBody)
    action = workflow.Resolve(
        summary=body.resolution_summary,
        notes=body.resolution_notes,
        impact=body.impact_assessment,
        lessons_learned=body.lessons_learned,
        follow_up_actions=_follow_ups(body.follow_up_actions),
    )
    taken = await respond.resolve(work, call.actor, _ref(call), action)
    return await _incident(work, call, taken.head.incident_id)


async def close(work: Work, call: Call) -> IncidentAnswer:
    """Close with what was learned and what will be done."""
    body = call.said(CloseBody)
    action = workflow.Close(body.lessons_learned, _follow_ups(body.follow_up_actions))
    taken = await respond.close(work, call.actor, _ref(call), action)
    return await _incident(work, call, taken.head.incident_id)


async def add_note(work: Work, call: Call) -> IncidentAnswer:
    """Add what the others should know."""
    taken = await respond.add_note(work, call.actor, _ref(call), workflow.AddNote(call.said(NoteBody).text))
    return await _incident(work, call, taken.head.incident_id)


async def escalate_by_hand(work: Work, call: Call) -> EscalateAnswer:
    """Escalate to a named person."""
    body = call.said(EscalateBody)
    action = workflow.Escalate(EscalationReason.MANUAL_ESCALATION, body.reason)
    return EscalateAnswer(await escalate.escalate_by_hand(work, call.actor, _ref(call), body.to, action))


async def change_severity(work: Work, call: Call) -> IncidentAnswer:
    """Say that it is worse, or less bad, than it looked."""
    body = call.said(SeverityBody)
    action = workflow.ChangeSeverity(body.severity, body.reason)
    taken = await escalate.change_severity(work, call.actor, _ref(call), action)
    return await _incident(work, call, taken.head.incident_id)


async def acknowledge_escalation(work: Work, call: Call) -> IncidentAnswer:
    """Say that an escalation arrived."""
    escalation_id = part_id(call.path("escalationId"), "escalation")
    taken = await escalate.acknowledge_escalation(work, call.actor, _ref(call), escalation_id)
    return await _incident(work, call, taken.head.incident_id)


def _ref(call: Call) -> IncidentRef:
    return incident_ref(call.path("id"))


def _follow_ups(said: Sequence[str | FollowUpBody] | None) -> tuple[FollowUpAction, ...]:
    return parse_follow_ups(msgspec.to_builtins(said or []))


async def _incident(work: Work, call: Call, ref: IncidentRef) -> IncidentAnswer:
    detail = await read_incidents.show_incident(work, call.actor, ref)
    return IncidentAnswer(documents.incident_document(detail.incident))
