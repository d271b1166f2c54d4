"""Makes incidents louder: by the clock, by a person, by a worse report; and takes note that it arrived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from tocsin.app import paging
from tocsin.app.paging import Arranged, Made, Subject
from tocsin.app.sessions import block_sessions
from tocsin.app.timeline import Detail, IncidentRef, Taken, locked_head, take
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.escalation import Timer, due, raised, timers
from tocsin.domain.incident import EscalationReason, Severity
from tocsin.domain.paging import Asked
from tocsin.domain.policy import Target
from tocsin.domain.reach import plan
from tocsin.domain.timeline import EntryKind
from tocsin.domain.workflow import (
    AcknowledgeEscalation,
    Action,
    BlockSessions,
    ChangeSeverity,
    Escalate,
    LapseAcknowledgment,
    RaiseSeverity,
)
from tocsin.errors import Code, refuse
from tocsin.store import incidents, users
from tocsin.store.incidents import Head

BY_HAND = EscalationReason.MANUAL_ESCALATION.value
WORSE = EscalationReason.SEVERITY_ESCALATED.value


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
    held = await paging.held_pages(work, incident_id)
    named = {one.user_id for one in held} | ({head.acknowledged_by} if head.acknowledged_by else set())
    arranged = await paging.arranged(work, Subject.of(head), named)
    firing = due(head.state(), head.created_at, paging.terms(work, arranged.policy, held), work.now)
    for timer in firing:
        await _fire(work, head, timer, arranged)
        head = await locked_head(work, incident_id)
    held = await paging.held_pages(work, incident_id)
    waiting = timers(head.state(), head.created_at, paging.terms(work, arranged.policy, held))
    return Escalated(tuple(_name(timer) for timer in firing), waiting[0].due_at if waiting else None)


def _name(timer: Timer) -> str:
    return timer.asked.reason if timer.asked else EntryKind.SESSIONS_BLOCKED.value


async def _fire(work: Work, head: Head, timer: Timer, arranged: Arranged) -> None:
    if timer.asked is None:
        await take(work, head, BlockSessions(), None, {})
        await block_sessions(work, head.incident_id)
        return
    # Ten thousand incidents of one storm escalate in the record; people are told of the storm's own incident.
    decisions = arranged.decide(timer.asked, work.now, in_storm=head.in_storm)
    escalation_id = work.new_id() if isinstance(timer.action, Escalate) else None
    made = Made(Subject.of(head), timer.asked, decisions, "", escalation_id)
    if isinstance(timer.action, Escalate):
        await _escalate(work, head, timer.action, made, None, facts_of(timer.action, arranged, timer.asked))
    elif isinstance(timer.action, LapseAcknowledgment):
        said = Detail(metadata={"policy": arranged.policy.name})
        await take(work, head, timer.action, None, {EntryKind.ACKNOWLEDGMENT_LAPSED: said})
    await paging.page(work, made, arranged.hold)


async def escalate_by_hand(work: Work, actor: Actor, ref: IncidentRef, email: str, action: Escalate) -> UUID:
    """Escalate to a named person; return the escalation's id. No silence holds back what a person asks for."""
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
    subject = Subject.of(head)
    arranged = replace(await paging.arranged(work, subject, [user.id]), hold=None)
    if not plan(arranged.directory.people[user.id]):
        raise refuse(
            Code.INVALID,
            f"Cannot escalate INC-{head.number} to {email}: there is no way to reach them.",
            f"Add one: `tocsin users contact add {email} email {email}`.",
            errors=[{"field": "to", "problem": "this user has no contact method"}],
        )
    escalation_id = work.new_id()
    asked = Asked(f"{BY_HAND} {escalation_id}", BY_HAND, (Target(user_id=user.id),))
    made = Made(subject, asked, arranged.decide(asked, work.now), action.notes, escalation_id)
    await _escalate(work, head, action, made, actor, {})
    await paging.page(work, made, arranged.hold)
    return escalation_id


async def change_severity(work: Work, actor: Actor, ref: IncidentRef, action: ChangeSeverity) -> Taken:
    """Say that it is worse, or less bad, than it looked. A rise is told to those whom its policy names first."""
    require(actor, Permission.RESPOND)
    head = await locked_head(work, ref)
    return await _change_severity(work, head, action, action.to, actor, action.reason)


async def raise_severity(work: Work, incident_id: UUID, to: Severity) -> Taken:
    """Raise an incident that a worse report joined, and tell those whom its policy names first."""
    head = await locked_head(work, incident_id)
    return await _change_severity(work, head, RaiseSeverity(to), to, None, "A worse report joined the incident.")


async def _change_severity(
    work: Work, head: Head, action: Action, to: Severity, actor: Actor | None, notes: str
) -> Taken:
    # A worse incident may follow another policy: whom it pages, and when, is asked anew.
    arranged = await paging.arranged(work, Subject.of(head, to))
    escalation_id = work.new_id()
    asked = raised(arranged.policy, f"{WORSE} {escalation_id}")
    made = Made(Subject.of(head, to), asked, arranged.decide(asked, work.now), notes, escalation_id)
    metadata = {"from": head.current_severity, "to": to.value, "reason": notes}
    details = {
        EntryKind.SEVERITY_CHANGED: Detail(metadata=metadata),
        EntryKind.ESCALATED: detail_of(work, head, made, actor, {"policy": arranged.policy.name}),
    }
    taken = await take(work, head, action, actor, details)
    if taken.did(EntryKind.ESCALATED):
        await paging.page(work, made, arranged.hold)
    if taken.steps:
        await paging.watch(work, await locked_head(work, head.incident_id), arranged.policy)
    return taken


async def _escalate(
    work: Work, head: Head, action: Escalate, made: Made, actor: Actor | None, said: Mapping[str, object]
) -> None:
    await take(work, head, action, actor, {EntryKind.ESCALATED: detail_of(work, head, made, actor, said)})


def detail_of(work: Work, head: Head, made: Made, actor: Actor | None, facts: Mapping[str, object]) -> Detail:
    """Return what is recorded of an escalation: its row, and what its entry says of it."""
    columns = {
        "id": made.escalation_id,
        "incident_id": head.incident_id,
        "escalation_reason": made.asked.reason,
        "escalated_to_user_id": made.first,
        "escalated_by_user_id": actor.user_id if actor else None,
        "escalation_notes": made.notes,
        "escalated_at": work.now,
    }
    return Detail("incident_escalations", columns, {"reason": made.asked.reason, "notes": made.notes, **facts})


def facts_of(action: Escalate, arranged: Arranged, asked: Asked) -> dict[str, object]:
    """Return what an entry says of a policy's step: which policy, which step, and for which duty if it is for one."""
    duties = [target.duty.value for target in asked.targets if target.duty is not None]
    step = {"step": action.step} if action.step else {}
    return {"policy": arranged.policy.name, **step, **({"duty": duties[0]} if duties else {})}


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
