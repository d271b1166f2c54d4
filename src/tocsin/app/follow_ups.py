"""Follow-up actions: what is owed, who did it, and whom to remind of what is overdue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from tocsin.app.read_incidents import find_incident
from tocsin.app.report_internal import report_internal
from tocsin.app.timeline import IncidentRef
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.follow_up import MAX_FOLLOW_UP_CHARACTERS, MAX_FOLLOW_UPS, FollowUpState, next_reminder
from tocsin.domain.plural import number_of
from tocsin.errors import Code, TocsinError, refuse
from tocsin.store import follow_ups, users
from tocsin.store.follow_ups import FollowUpRow, Portion, Reminder

__all__ = [
    "MAX_LISTED",
    "MAX_OFFSET",
    "FollowUpPage",
    "FollowUpRow",
    "Wanted",
    "Which",
    "list_follow_ups",
    "mark_done",
    "of_incident",
    "overdue_of",
    "remind",
    "reopen",
]

MAX_LISTED = 200
MAX_OFFSET = 10_000
MAX_COUNTED = 10_000
REMIND_LIMIT = 1_000
"""Actions that one look takes up; what is left is taken up by the next one."""
MANY = 10
"""So many incidents to be reminded of at once are one page, not as many."""
OVERDUE = "FollowUpOverdue"


class Which(StrEnum):
    """Which actions a list shows."""

    OPEN = "open"
    OVERDUE = "overdue"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list shows: of one owner as the record spells them, or (`mine`) what names the actor or their e-mail."""

    which: Which = Which.OPEN
    owner: str | None = None
    mine: bool = False
    limit: int = 50
    offset: int = 0


@dataclass(frozen=True, slots=True)
class FollowUpPage:
    """One page of actions, at an instant; `overdue` is how many there are in all, counted up to MAX_COUNTED."""

    follow_ups: list[FollowUpRow]
    overdue: int
    has_more: bool
    now: datetime


async def list_follow_ups(work: Work, actor: Actor, wanted: Wanted) -> FollowUpPage:
    """Return a page of actions; of an owner only what is not done."""
    require(actor, Permission.READ)
    if not 1 <= wanted.limit <= MAX_LISTED or not 0 <= wanted.offset <= MAX_OFFSET:
        raise refuse(Code.INVALID, f"limit must be 1 to {MAX_LISTED} and offset 0 to {MAX_OFFSET}.")
    owners = await _owners(work, actor, wanted)
    if owners and wanted.which is Which.DONE:
        raise _invalid("owner", "what is done cannot be listed by owner")
    rows = await _rows(work, wanted, owners)
    overdue = await follow_ups.count_overdue(work.tx, work.now, MAX_COUNTED)
    return FollowUpPage(rows[: wanted.limit], overdue, len(rows) > wanted.limit, work.now)


async def _owners(work: Work, actor: Actor, wanted: Wanted) -> list[str]:
    owners = [_line("owner", wanted.owner)] if wanted.owner else []
    if wanted.mine:
        user = await users.by_id(work.tx, actor.user_id)
        owners += [actor.name, *([user.email] if user else [])]
    return owners


async def _rows(work: Work, wanted: Wanted, owners: Sequence[str]) -> list[FollowUpRow]:
    portion = Portion(wanted.limit + 1, wanted.offset)
    if owners:
        due_by = work.now if wanted.which is Which.OVERDUE else None
        return await follow_ups.open_of(work.tx, owners, due_by, portion)
    match wanted.which:
        case Which.OPEN:
            return await follow_ups.open_ones(work.tx, portion)
        case Which.OVERDUE:
            return await follow_ups.overdue(work.tx, work.now, portion)
        case Which.DONE:
            return await follow_ups.done(work.tx, portion)


async def of_incident(work: Work, actor: Actor, ref: IncidentRef) -> list[FollowUpRow]:
    """Return what was promised when an incident was closed; raise NOT_FOUND."""
    require(actor, Permission.READ)
    return await follow_ups.of_incident(work.tx, (await find_incident(work, ref)).id)


async def overdue_of(work: Work, actor: Actor, ref: IncidentRef) -> list[FollowUpRow]:
    """Return what was promised then, is not done, and its time has come: what a recurrence is shown."""
    return [row for row in await of_incident(work, actor, ref) if row.is_overdue(work.now)]


async def mark_done(work: Work, actor: Actor, ref: IncidentRef, position: int, note: str | None = None) -> FollowUpRow:
    """Say that an action is done; raise NOT_FOUND, or CONFLICT with who said so first."""
    row = await _locked(work, actor, ref, position)
    if row.state == FollowUpState.DONE:
        assert row.marked_at is not None, "the table demands it"
        raise refuse(
            Code.CONFLICT,
            f"{row.marked_by_name} has done action {position} of INC-{row.incident_number} already, "
            f"at {row.marked_at:%Y-%m-%d %H:%M} UTC.",
            f"If it is not done: `tocsin follow-ups reopen {row.incident_number} {position}`.",
        )
    return await _marked(work, actor, row, FollowUpState.DONE, note)


async def reopen(work: Work, actor: Actor, ref: IncidentRef, position: int, note: str | None = None) -> FollowUpRow:
    """Say that an action is not done after all; raise NOT_FOUND, or CONFLICT when nobody said that it is."""
    row = await _locked(work, actor, ref, position)
    if row.state != FollowUpState.DONE:
        raise refuse(Code.CONFLICT, f"Action {position} of INC-{row.incident_number} is not done: it is open already.")
    return await _marked(work, actor, row, FollowUpState.REOPENED, note)


async def _locked(work: Work, actor: Actor, ref: IncidentRef, position: int) -> FollowUpRow:
    require(actor, Permission.RESPOND)
    incident = await find_incident(work, ref)
    is_there = 1 <= position <= MAX_FOLLOW_UPS and await follow_ups.lock(work.tx, incident.id, position)
    if not is_there:
        raise refuse(
            Code.NOT_FOUND,
            f"INC-{incident.number} has no follow-up action {position}.",
            f"See which it has: `tocsin follow-ups list --incident {incident.number}`.",
        )
    return await _one(work, incident.id, position)


async def _marked(work: Work, actor: Actor, row: FollowUpRow, state: FollowUpState, note: str | None) -> FollowUpRow:
    said = _line("note", note) if note else None
    await follow_ups.mark(work.tx, row.incident_id, row.position, state, actor.user_id, said or None, work.now)
    return await _one(work, row.incident_id, row.position)


async def _one(work: Work, incident_id: UUID, position: int) -> FollowUpRow:
    rows = await follow_ups.of_incident(work.tx, incident_id)
    return next(row for row in rows if row.position == position)


def _line(field: str, text: str) -> str:
    cleaned = text.strip()
    if len(cleaned) > MAX_FOLLOW_UP_CHARACTERS or not cleaned.isprintable():
        raise _invalid(field, f"must be one printable line of at most {MAX_FOLLOW_UP_CHARACTERS} characters")
    return cleaned


def _invalid(field: str, problem: str) -> TocsinError:
    return refuse(Code.INVALID, f"{field}: {problem}.", errors=[{"field": field, "problem": problem}])


async def remind(work: Work) -> None:
    """Page somebody for what is overdue, as for any other failure: a promise that nobody keeps is one of ours.

    Each incident is brought up on the day after its first action was due, then after 1, 2, 4, … days, at last every 32
    (domain/follow_up.py): never every day, never silent, and over with `done`. While the incident that this opened is
    open, a reminder only counts in it. HIGH, because a project may only record what is less. Many at once, as after an
    upgrade or a holiday, are one page. No title is repeated: what is erased in the record must not stand here.
    """
    due = await follow_ups.to_remind_of(work.tx, work.now, REMIND_LIMIT)
    if not due:
        return
    again_at = [work.now + next_reminder(one.reminders + 1) for one in due]
    await follow_ups.reminded(work.tx, due, again_at, work.now)
    if len(due) > MANY:
        await report_internal(work, OVERDUE, _message_of_many(due), about="many")
        return
    for one in due:
        await report_internal(work, OVERDUE, _message(one), about=str(one.incident_id))


def _message(one: Reminder) -> str:
    actions = number_of(one.overdue, "follow-up action")
    return (
        f"{actions} of INC-{one.number} overdue since {one.since:%Y-%m-%d}: what was promised so that it does not come "
        "back is not done.\n"
        f"See them: `tocsin follow-ups list --incident {one.number}`; then do them, and say so: "
        f"`tocsin follow-ups done {one.number} NUMBER`."
    )


def _message_of_many(due: Sequence[Reminder]) -> str:
    actions = sum(one.overdue for one in due)
    return (
        f"{number_of(actions, 'follow-up action')} of {number_of(len(due), 'incident')} are overdue.\n"
        "See them: `tocsin follow-ups list --overdue`; then do them, and say so: `tocsin follow-ups done`."
    )
