"""Makes incidents louder: by the clock, by a person, by a worse report; and takes note that it arrived."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tocsin.app import paging
from tocsin.app.paging import Subject
from tocsin.app.sessions import block_sessions
from tocsin.app.timeline import Detail, IncidentRef, Taken, locked_head, take
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.escalation import EscalationRule, Timer, timers
from tocsin.domain.incident import EscalationReason, Severity
from tocsin.domain.policy import Duty
from tocsin.domain.timeline import EntryKind
from tocsin.domain.workflow import AcknowledgeEscalation, Action, ChangeSeverity, Escalate, RaiseSeverity
from tocsin.errors import Code, refuse
from tocsin.store import incidents, notifications, users
from tocsin.store.incidents import Head
from tocsin.store.notifications import Contact


@dataclass(frozen=True, slots=True)
class Escalated:
    """What came of a look at an incident's timers: the reasons that fired, and when to look again (None: never)."""

    fired: tuple[str, ...]
    next_due_at: datetime | None


async def run_timers(work: Work, incident_id: UUID) -> Escalated:
    """Fire every timer of an incident that is due, and say when the next one will be.

    What is due is computed from the locked state, so running this twice, late, or in two workers fires nothing twice.
    """
    head = await locked_head(work, incident_id)
    policy = await paging.policy(work)
    running = timers(head.state(), head.created_at, policy)
    due = [timer for timer in running if timer.due_at <= work.now]
    for timer in due:
        await _fire(work, head, timer)
        head = await locked_head(work, incident_id)
    waiting = timers(head.state(), head.created_at, policy)
    return Escalated(tuple(_name(timer) for timer in due), waiting[0].due_at if waiting else None)


def _name(timer: Timer) -> str:
    return timer.rule.reason.value if timer.rule else EntryKind.SESSIONS_BLOCKED.value


async def _fire(work: Work, head: Head, timer: Timer) -> None:
    if timer.rule is None:
        await take(work, head, timer.action, None, {})
        await block_sessions(work, head.incident_id)
    else:
        await _escalate_by_rule(work, head, timer.action, timer.rule)


async def _escalate_by_rule(work: Work, head: Head, action: Action, rule: EscalationRule) -> None:
    # Ten thousand incidents of one storm escalate in the record; people are told of the storm's own incident.
    contacts = [] if head.in_storm else await paging.recipients(work, rule.duty)
    await _escalate(work, head, action, rule.reason, contacts, None, {"duty": rule.duty.value})


async def escalate_by_hand(work: Work, actor: Actor, ref: IncidentRef, email: str, action: Escalate) -> UUID:
    """Escalate to a named person; return the escalation's id."""
    require(actor, Permission.RESPOND)
    head = await locked_head(work, ref)
    user = await users.by_email(work.tx, email)
    if user is None or not user.active:
        raise refuse(
            Code.INVALID,
            f"Cannot escalate INC-{head.number}: there is no active user {email}.",
            "See who there is: `tocsin users list`.",
            errors=[{"field": "to", "problem": "no active user with this e-mail"}],
        )
    contacts = await notifications.contacts_of_user(work.tx, user.id)
    if not contacts:
        raise refuse(
            Code.INVALID,
            f"Cannot escalate INC-{head.number} to {email}: there is no way to reach them.",
            f"Add one: `tocsin users contact add {email} email {email}`.",
            errors=[{"field": "to", "problem": "this user has no contact method"}],
        )
    return await _escalate(work, head, action, action.reason, contacts, actor, {})


async def change_severity(work: Work, actor: Actor, ref: IncidentRef, action: ChangeSeverity) -> Taken:
    """Say that it is worse, or less bad, than it looked. A rise is told to the on-call."""
    require(actor, Permission.RESPOND)
    head = await locked_head(work, ref)
    return await _change_severity(work, head, action, action.to, actor, action.reason)


async def raise_severity(work: Work, incident_id: UUID, to: Severity) -> Taken:
    """Raise an incident that a worse report joined, and tell the on-call."""
    head = await locked_head(work, incident_id)
    return await _change_severity(work, head, RaiseSeverity(to), to, None, "A worse report joined the incident.")


async def _change_severity(
    work: Work, head: Head, action: Action, to: Severity, actor: Actor | None, notes: str
) -> Taken:
    contacts = await paging.recipients(work, Duty.ON_CALL)
    reason = EscalationReason.SEVERITY_ESCALATED
    escalation = _escalation(work, head, reason, contacts, actor, notes)
    metadata = {"from": head.current_severity, "to": to.value, "reason": notes}
    details = {EntryKind.SEVERITY_CHANGED: Detail(metadata=metadata), EntryKind.ESCALATED: escalation}
    taken = await take(work, head, action, actor, details)
    if taken.did(EntryKind.ESCALATED):
        escalation_id = UUID(str(escalation.columns["id"]))
        await paging.page(work, Subject.of(head, to), contacts, reason.value, notes=notes, escalation_id=escalation_id)
        await paging.watch(work, Subject.of(head, to), taken.state)
    return taken


async def _escalate(
    work: Work,
    head: Head,
    action: Action,
    reason: EscalationReason,
    contacts: list[Contact],
    actor: Actor | None,
    metadata: dict[str, object],
) -> UUID:
    notes = action.notes if isinstance(action, Escalate) else ""
    detail = _escalation(work, head, reason, contacts, actor, notes, metadata)
    await take(work, head, action, actor, {EntryKind.ESCALATED: detail})
    escalation_id = UUID(str(detail.columns["id"]))
    await paging.page(work, Subject.of(head), contacts, reason.value, notes=notes, escalation_id=escalation_id)
    return escalation_id


def _escalation(
    work: Work,
    head: Head,
    reason: EscalationReason,
    contacts: list[Contact],
    actor: Actor | None,
    notes: str,
    metadata: dict[str, object] | None = None,
) -> Detail:
    target = contacts[0] if contacts else None
    columns = {
        "id": work.new_id(),
        "incident_id": head.incident_id,
        "escalation_reason": reason.value,
        "escalated_to_user_id": target.user_id if target else None,
        "escalated_by_user_id": actor.user_id if actor else None,
        "escalation_notes": notes,
        "escalated_at": work.now,
    }
    said = {"reason": reason.value, "notes": notes} | (metadata or {})
    return Detail("incident_escalations", columns, said)


async def acknowledge_escalation(work: Work, actor: Actor, ref: IncidentRef, escalation_id: UUID) -> Taken:
    """Take note that an escalation arrived; only the one to whom it went can say so."""
    head = await locked_head(work, ref)
    escalations = await incidents.escalations(work.tx, head.incident_id)
    escalation = next((row for row in escalations if row.id == escalation_id), None)
    if escalation is None:
        raise refuse(Code.NOT_FOUND, f"INC-{head.number} has no escalation {escalation_id}.")
    action = AcknowledgeEscalation(escalation.escalated_to_user_id, actor.user_id, escalation.acknowledged_at)
    columns = {
        "id": work.new_id(),
        "incident_id": head.incident_id,
        "escalation_id": escalation_id,
        "acknowledged_by_user_id": actor.user_id,
        "acknowledged_at": work.now,
    }
    detail = Detail("incident_escalation_acknowledgments", columns, {"escalationId": str(escalation_id)})
    return await take(work, head, action, actor, {EntryKind.ESCALATION_ACKNOWLEDGED: detail})
