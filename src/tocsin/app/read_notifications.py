"""Which pages went to whom: every page with every attempt to deliver it, and the answer that each got."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from tocsin.app.accounts import find_user
from tocsin.app.read_incidents import find_incident
from tocsin.app.timeline import IncidentRef
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.delivery import PageState, came_of
from tocsin.domain.notification import shown_address
from tocsin.errors import Code, refuse
from tocsin.store import notifications
from tocsin.store.notifications import AttemptRow, SentPage

MAX_PAGE = 200
LOOK_BACK = timedelta(days=30)
"""How far a list goes back that is asked for no time."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to deliver a page, by which worker (None: before that was recorded), and what came of it."""

    attempt: int
    started_at: datetime
    finished_at: datetime | None
    outcome: str
    answer: str
    worker: str | None


@dataclass(frozen=True, slots=True)
class History:
    """A page that is owed, or was, with its attempts, first to last."""

    page: SentPage
    attempts: list[Attempt]


@dataclass(frozen=True, slots=True)
class Histories:
    """One part of a list, newest first. `next_cursor` goes on behind it; None on the last part."""

    pages: list[History]
    limit: int
    next_cursor: UUID | None


async def of_incident(
    work: Work, actor: Actor, ref: IncidentRef, *, limit: int = 50, cursor: UUID | None = None
) -> Histories:
    """Return the pages about an incident; raise NOT_FOUND."""
    require(actor, Permission.READ)
    _check(limit)
    incident = await find_incident(work, ref)
    return await _part(work, await notifications.pages_of_incident(work.tx, incident.id, cursor, limit + 1), limit)


async def listed(
    work: Work,
    actor: Actor,
    *,
    email: str | None = None,
    state: PageState | None = None,
    since: datetime | None = None,
    limit: int = 50,
    cursor: UUID | None = None,
) -> Histories:
    """Return the pages to a person (None: to everybody), of one state, owed since then; raise NOT_FOUND."""
    require(actor, Permission.READ)
    _check(limit)
    user_id = (await find_user(work, email)).id if email is not None else None
    rows = await notifications.pages(
        work.tx,
        user_id=user_id,
        state=state.value if state is not None else None,
        since=since or work.now - LOOK_BACK,
        before=cursor,
        limit=limit + 1,
    )
    return await _part(work, rows, limit)


def _check(limit: int) -> None:
    if not 1 <= limit <= MAX_PAGE:
        problem = f"must be 1 to {MAX_PAGE}"
        raise refuse(Code.INVALID, f"limit {problem}.", errors=[{"field": "limit", "problem": problem}])


async def _part(work: Work, rows: list[SentPage], limit: int) -> Histories:
    shown = [replace(page, address=shown_address(page.channel, page.address)) for page in rows[:limit]]
    attempts: dict[UUID, list[AttemptRow]] = {page.id: [] for page in shown}
    for attempt in await notifications.attempts(work.tx, list(attempts)):
        attempts[attempt.notification_id].append(attempt)
    histories = [History(page, _attempts(page, attempts[page.id])) for page in shown]
    return Histories(histories, limit, shown[-1].id if len(rows) > limit else None)


def _attempts(page: SentPage, rows: list[AttemptRow]) -> list[Attempt]:
    return [_attempt(row, waits=page.state == PageState.PENDING and row is rows[-1]) for row in rows]


def _attempt(row: AttemptRow, *, waits: bool) -> Attempt:
    said = came_of(row.outcome, row.answer, row.worker, waits=waits)
    return Attempt(row.attempt, row.started_at, row.finished_at, said.outcome, said.answer, row.worker)
