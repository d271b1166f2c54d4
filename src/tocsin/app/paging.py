"""Owes pages: finds whom to tell, writes what they will read, and queues the delivery in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tocsin.app import outbox
from tocsin.app.work import Work
from tocsin.domain.disclosure import ERASED
from tocsin.domain.escalation import SESSION_BLOCK_DELAY, EscalationPolicy, timers
from tocsin.domain.incident import Severity, Status
from tocsin.domain.notification import OPENED, IncidentFacts, PageText, compose
from tocsin.domain.policy import Duty
from tocsin.domain.workflow import IncidentState
from tocsin.store import incidents, jobs, notifications
from tocsin.store.incidents import Head
from tocsin.store.jobs import NewJob
from tocsin.store.notifications import Contact, NewNotification

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
        return cls(head.incident_id, head.number, severity, head.title or ERASED, head.created_at, head.recurrence_of)


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
    text = await page_text(work, subject, reason, notes)
    await _owe(work, [_owed(work, subject, contact, reason, text, escalation_id) for contact in contacts])


async def page_openings(work: Work, subjects: Sequence[Subject]) -> None:
    """Owe the first page of each new incident to the on-call."""
    contacts = await recipients(work, Duty.ON_CALL) if subjects else []
    owed = []
    for subject in subjects:
        text = await page_text(work, subject, OPENED)
        owed += [_owed(work, subject, contact, OPENED, text, None) for contact in contacts]
    await _owe(work, owed)


async def page_text(work: Work, subject: Subject, reason: str, notes: str = "") -> PageText:
    """Write the page about an incident for a reason, as it stands now."""
    facts = IncidentFacts(
        incident_id=str(subject.incident_id),
        number=subject.number,
        severity=subject.severity,
        title=subject.title,
        created_at=subject.created_at,
        url=f"{work.settings.base_url}/api/incidents/{subject.incident_id}",
    )
    lesson = await incidents.lesson_of(work.tx, subject.recurrence_of) if subject.recurrence_of else None
    return compose(facts, reason, notes, lesson)


def _owed(
    work: Work, subject: Subject, contact: Contact, reason: str, text: PageText, escalation_id: UUID | None
) -> NewNotification:
    return NewNotification(
        id=work.new_id(),
        incident_id=subject.incident_id,
        escalation_id=escalation_id,
        reason=reason,
        user_id=contact.user_id,
        channel=contact.channel,
        address=contact.address,
        due_at=work.now,
        page=text,
    )


async def _owe(work: Work, owed: Sequence[NewNotification]) -> None:
    await notifications.insert_many(work.tx, owed, work.now)
    await outbox.queue(work, owed)


async def policy(work: Work) -> EscalationPolicy:
    """Return the escalation policy in force."""
    rules = await notifications.rules(work.tx)
    return EscalationPolicy(rules, SESSION_BLOCK_DELAY if work.settings.session_blocking else None)


async def watch(work: Work, subject: Subject, state: IncidentState) -> None:
    """Set the incident's timer to the next instant at which it gets louder."""
    await jobs.enqueue_many(work.tx, _next_look(work, subject, state, await policy(work)), work.now)


async def watch_openings(work: Work, subjects: Sequence[Subject]) -> None:
    """Set the timers of new incidents."""
    rules = await policy(work)
    looks = [
        look
        for subject in subjects
        for look in _next_look(work, subject, IncidentState(subject.number, Status.REPORTED, subject.severity), rules)
    ]
    await jobs.enqueue_many(work.tx, looks, work.now)


def _next_look(work: Work, subject: Subject, state: IncidentState, rules: EscalationPolicy) -> list[NewJob]:
    running = timers(state, subject.created_at, rules)
    return [_look(work, subject.incident_id, timer.due_at) for timer in running[:1]]


async def queue_escalation(work: Work, incident_id: UUID, due_at: datetime) -> None:
    """Queue a look at the incident's timers."""
    await jobs.enqueue_many(work.tx, [_look(work, incident_id, due_at)], work.now)


def _look(work: Work, incident_id: UUID, due_at: datetime) -> NewJob:
    payload: dict[str, object] = {"incidentId": str(incident_id)}
    return NewJob(work.new_id(), ESCALATE, f"{ESCALATE}:{incident_id}", payload, due_at)
