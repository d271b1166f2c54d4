"""The workflow's use cases: acknowledge, investigate, root cause, resolve, close, note."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from tocsin.app.paging import settle_moot
from tocsin.app.sessions import unblock_sessions
from tocsin.app.timeline import Detail, IncidentRef, Taken, locked_head, take
from tocsin.app.work import App, Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.follow_up import FollowUpAction
from tocsin.domain.timeline import EntryKind
from tocsin.domain.workflow import (
    Acknowledge,
    AddNote,
    Close,
    RecordRootCause,
    Resolve,
    StartInvestigation,
)
from tocsin.errors import Refusal, TocsinError
from tocsin.store import follow_ups, users


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of one incident of several: taken, or why not."""

    number: int
    refusal: Refusal | None


async def acknowledge(work: Work, actor: Actor, ref: IncidentRef, action: Acknowledge) -> Taken:
    """Take an incident: record it, count it for the person, lift what the incident blocked."""
    require(actor, Permission.RESPOND)
    head = await locked_head(work, ref)
    acknowledgment_id = work.new_id()
    detail = Detail(
        "incident_acknowledgments",
        {
            "id": acknowledgment_id,
            "incident_id": head.incident_id,
            "ack_by_user_id": actor.user_id,
            "ack_at": work.now,
            "ack_notes": action.notes,
            "severity_at_ack": head.current_severity,
        },
        {"notes": action.notes},
    )
    taken = await take(work, head, action, actor, {EntryKind.ACKNOWLEDGED: detail})
    await users.count_acknowledgment(work.tx, actor.user_id, acknowledgment_id)
    if head.sessions_blocked_at is not None:
        await unblock_sessions(work, head.incident_id)
    await settle_moot(work, head.incident_id, actor.user_id)
    return taken


async def acknowledge_each(app: App, actor: Actor, numbers: Sequence[int], action: Acknowledge) -> list[Tried]:
    """Take every one of these incidents that can be taken, each in a transaction of its own.

    One that somebody else has is no reason to leave the others burning; it is named, with the reason.
    """
    require(actor, Permission.RESPOND)
    tried = []
    for number in dict.fromkeys(numbers):
        try:
            async with app.work() as work:
                await acknowledge(work, actor, number, action)
        except TocsinError as error:
            tried.append(Tried(number, error.refusal))
        else:
            tried.append(Tried(number, None))
    return tried


async def start_investigation(work: Work, actor: Actor, ref: IncidentRef) -> Taken:
    """Say that the search for the cause has begun."""
    require(actor, Permission.RESPOND)
    return await take(work, await locked_head(work, ref), StartInvestigation(), actor, {})


async def record_root_cause(work: Work, actor: Actor, ref: IncidentRef, action: RecordRootCause) -> UUID:
    """Record why it happened; return the id of the root cause."""
    require(actor, Permission.RESPOND)
    head = await locked_head(work, ref)
    root_cause_id = work.new_id()
    detail = Detail(
        "incident_root_causes",
        {
            "id": root_cause_id,
            "incident_id": head.incident_id,
            "root_cause_summary": action.summary,
            "root_cause_category": action.category.value,
            "identified_by_user_id": actor.user_id,
            "identified_at": work.now,
            "remediation_steps": action.remediation_steps,
            "verified_at": action.verified_at,
        },
        {"category": action.category.value},
    )
    await take(work, head, action, actor, {EntryKind.ROOT_CAUSE_RECORDED: detail})
    await settle_moot(work, head.incident_id, actor.user_id)
    return root_cause_id


async def resolve(work: Work, actor: Actor, ref: IncidentRef, action: Resolve) -> Taken:
    """Record that it is over, and how; with lessons and follow-ups it closes in the same transaction."""
    require(actor, Permission.RESPOND)
    head = await locked_head(work, ref, with_failure=True)
    promised = [follow_up.document() for follow_up in action.follow_up_actions]
    detail = Detail(
        "incident_resolution",
        {
            "id": work.new_id(),
            "incident_id": head.incident_id,
            "resolved_by_user_id": actor.user_id,
            "resolved_at": work.now,
            "resolution_summary": action.summary,
            "resolution_notes": action.notes,
            "impact_assessment": action.impact,
            "lessons_learned": action.lessons_learned,
            "follow_up_actions": promised or None,
        },
    )
    taken = await take(work, head, action, actor, {EntryKind.RESOLVED: detail})
    return await _settled(work, actor, taken, action.follow_up_actions)


async def close(work: Work, actor: Actor, ref: IncidentRef, action: Close) -> Taken:
    """Close with what was learned and what will be done; what the resolution brought need not be said again."""
    require(actor, Permission.RESPOND)
    head = await locked_head(work, ref, with_failure=True)
    known = head.state()
    promised = action.follow_up_actions or known.follow_up_actions
    detail = Detail(
        "incident_closures",
        {
            "id": work.new_id(),
            "incident_id": head.incident_id,
            "closed_by_user_id": actor.user_id,
            "closed_at": work.now,
            "lessons_learned": action.lessons_learned or known.lessons_learned,
            "follow_up_actions": [follow_up.document() for follow_up in promised],
        },
    )
    return await _settled(work, actor, await take(work, head, action, actor, {EntryKind.CLOSED: detail}), promised)


async def _settled(work: Work, actor: Actor, taken: Taken, promised: Sequence[FollowUpAction]) -> Taken:
    if taken.did(EntryKind.CLOSED):
        await follow_ups.add(work.tx, taken.head.incident_id, promised)
        await settle_moot(work, taken.head.incident_id, actor.user_id)
    return taken


async def add_note(work: Work, actor: Actor, ref: IncidentRef, action: AddNote) -> Taken:
    """Add something that the others should know."""
    require(actor, Permission.RESPOND)
    note = Detail(metadata={"text": action.text})
    return await take(work, await locked_head(work, ref), action, actor, {EntryKind.NOTE_ADDED: note})
