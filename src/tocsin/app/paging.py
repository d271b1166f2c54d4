"""Owes pages: finds whom to tell, writes what they will read, and queues the delivery in the same transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tocsin.app.work import Work
from tocsin.domain.escalation import SESSION_BLOCK_DELAY, Duty, EscalationPolicy, timers
from tocsin.domain.incident import Severity
from tocsin.domain.notification import IncidentFacts, compose
from tocsin.domain.workflow import IncidentState
from tocsin.store import incidents, jobs, notifications
from tocsin.store.incidents import Head
from tocsin.store.notifications import Contact

DELIVER = "deliver"
"""The kind of job that delivers one notification."""
ESCALATE = "escalate"
"""The kind of job that looks at one incident when its next timer is due."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The incident that a page is about."""

    incident_id: UUID
    number: int
    severity: Severity
    title: str
    created_at: datetime
    recurrence_of: UUID | None

    @classmethod
    def of(cls, head: Head, severity: Severity | None = None) -> Subject:
        """Return an incident as pages name it, with the severity that it has, or is about to have."""
        severity = severity or Severity(head.current_severity)
        return cls(head.incident_id, head.number, severity, head.title, head.created_at, head.recurrence_of)


async def recipients(work: Work, duty: Duty) -> list[Contact]:
    """Return how the holder of a duty is reached; when nobody holds it, how every superadmin is."""
    return await notifications.contacts_of_duty(work.tx, duty) or await notifications.contacts_of_superadmins(work.tx)


async def page(
    work: Work,
    subject: Subject,
    contacts: list[Contact],
    reason: str,
    *,
    notes: str = "",
    escalation_id: UUID | None = None,
) -> None:
    """Owe a page about an incident to each of these contacts."""
    facts = IncidentFacts(
        incident_id=str(subject.incident_id),
        number=subject.number,
        severity=subject.severity,
        title=subject.title,
        created_at=subject.created_at,
        url=f"{work.settings.base_url}/api/incidents/{subject.incident_id}",
    )
    lesson = await incidents.lesson_of(work.tx, subject.recurrence_of) if subject.recurrence_of else None
    text = compose(facts, reason, notes, lesson)
    for contact in contacts:
        notification_id = work.new_id()
        await notifications.insert(
            work.tx,
            notification_id=notification_id,
            incident_id=subject.incident_id,
            escalation_id=escalation_id,
            reason=reason,
            contact=contact,
            page=text,
            now=work.now,
        )
        await queue_delivery(work, notification_id)


async def queue_delivery(work: Work, notification_id: UUID) -> None:
    """Queue the delivery of a notification, now."""
    await jobs.enqueue(
        work.tx,
        job_id=work.new_id(),
        kind=DELIVER,
        key=f"{DELIVER}:{notification_id}",
        payload={"notificationId": str(notification_id)},
        due_at=work.now,
        now=work.now,
    )


async def policy(work: Work) -> EscalationPolicy:
    """Return the escalation policy in force."""
    rules = await notifications.rules(work.tx)
    return EscalationPolicy(rules, SESSION_BLOCK_DELAY if work.settings.session_blocking else None)


async def watch(work: Work, incident_id: UUID, state: IncidentState, created_at: datetime) -> None:
    """Set the incident's timer to the next instant at which it gets louder."""
    running = timers(state, created_at, await policy(work))
    if running:
        await queue_escalation(work, incident_id, running[0].due_at)


async def queue_escalation(work: Work, incident_id: UUID, due_at: datetime) -> None:
    """Queue a look at the incident's timers."""
    await jobs.enqueue(
        work.tx,
        job_id=work.new_id(),
        kind=ESCALATE,
        key=f"{ESCALATE}:{incident_id}",
        payload={"incidentId": str(incident_id)},
        due_at=due_at,
        now=work.now,
    )
