"""Reads incidents: lists, one whole, statistics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from tocsin.app.search import checked_search, find
from tocsin.app.timeline import IncidentRef, not_found
from tocsin.app.work import Work
from tocsin.domain.access import PERMISSIONS, Actor, Permission, Role, require
from tocsin.domain.delivery import PageState, came_of
from tocsin.domain.incident import Severity, Status
from tocsin.domain.notification import shown_address
from tocsin.domain.policy import StepReason
from tocsin.errors import Code, TocsinError, refuse
from tocsin.store import incidents, notifications, policies, projects, reports, users
from tocsin.store.incidents import (
    AcknowledgmentRow,
    EntryRow,
    EscalationRow,
    IncidentFilter,
    IncidentRow,
    ReasonCount,
    ResolutionRow,
    RootCauseRow,
)
from tocsin.store.notifications import NotificationRow
from tocsin.store.reports import ReportRow, SampleRow

__all__ = [
    "MAX_OFFSET",
    "MAX_PAGE",
    "MAX_REPORTS",
    "STATS_WINDOW",
    "Choices",
    "EntryRow",
    "IncidentDetail",
    "IncidentFilter",
    "IncidentPage",
    "IncidentReports",
    "Stats",
    "choices",
    "escalation_stats",
    "find_incident",
    "list_incidents",
    "list_reports",
    "show_incident",
    "stats",
]

MAX_PAGE = 200
MAX_OFFSET = 10_000
MAX_SERVICES = 100
MAX_REPORTS = 50
"""Whole reports in one answer; each may have a megabyte."""
STATS_WINDOW = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class IncidentPage:
    """One page of a list. `next_cursor` is the number to go on before, None on the last page.

    `total` is None for a search: to count what has a word takes longer than to find the newest. Its page may be short
    and go on all the same.
    """

    incidents: list[IncidentRow]
    limit: int
    offset: int
    total: int | None
    next_cursor: int | None


@dataclass(frozen=True, slots=True)
class IncidentDetail:
    """One incident, whole; absent parts are None."""

    incident: IncidentRow
    ack: AcknowledgmentRow | None
    root_cause: RootCauseRow | None
    resolution: ResolutionRow | None
    timeline: list[EntryRow]
    escalations: list[EscalationRow]
    error: ReportRow | None
    notifications: list[NotificationRow]


@dataclass(frozen=True, slots=True)
class IncidentReports:
    """The newest reports of an incident that were kept whole, and of how many occurrences they are samples."""

    reports: list[SampleRow]
    occurrences: int


@dataclass(frozen=True, slots=True)
class Stats:
    """How many incidents are open, by status and by current severity, and how many nobody acknowledged in time."""

    total_open: int
    by_status: dict[Status, int]
    by_severity: dict[Severity, int]
    overdue: int


@dataclass(frozen=True, slots=True)
class Choices:
    """What a list can be narrowed to: people who can have incidents, projects, services (the first MAX_SERVICES)."""

    people: dict[UUID, str]
    projects: dict[int, str]
    services: list[str]


async def choices(work: Work, actor: Actor) -> Choices:
    """Return what a list can be narrowed to."""
    require(actor, Permission.READ)
    people = [user for user in await users.listed(work.tx) if Permission.RESPOND in PERMISSIONS[Role(user.role)]]
    return Choices(
        people={user.id: user.name for user in people if user.active},
        projects={project.id: project.name for project in await projects.listed(work.tx)},
        services=await incidents.services(work.tx, MAX_SERVICES),
    )


async def list_incidents(
    work: Work,
    actor: Actor,
    where: IncidentFilter,
    *,
    search: str | None = None,
    limit: int = 50,
    offset: int = 0,
    cursor: int | None = None,
) -> IncidentPage:
    """Return one page of incidents, newest first: go on with the cursor, or with an offset of at most MAX_OFFSET.

    `search` lets through those of which one text has its words: title and message, root cause, how it ended, lessons,
    notes. It goes on with the cursor alone.
    """
    require(actor, Permission.READ)
    if not 1 <= limit <= MAX_PAGE or not 0 <= offset <= MAX_OFFSET:
        raise refuse(
            Code.INVALID,
            f"limit must be 1 to {MAX_PAGE} and offset 0 to {MAX_OFFSET}.",
            "To read further, go on with the cursor in pagination.next.",
        )
    if where.service is not None and "\x00" in where.service:
        raise _invalid("service", "must not contain NUL characters")
    if search and (words := checked_search(search)):
        if offset:
            raise _invalid("offset", "does not go with search: go on with the cursor")
        found = await find(work, where, words, limit, cursor)
        return IncidentPage(found.incidents, limit, 0, None, found.next_cursor)
    places = await incidents.newest(work.tx, where, before_number=cursor, limit=limit + 1, offset=offset)
    shown = await incidents.get_many(work.tx, [place.incident_id for place in places[:limit]])
    total = await incidents.total(work.tx, where)
    return IncidentPage(shown, limit, offset, total, shown[-1].number if len(places) > limit else None)


def _invalid(name: str, problem: str) -> TocsinError:
    return refuse(Code.INVALID, f"{name} {problem}.", errors=[{"field": name, "problem": problem}])


async def show_incident(work: Work, actor: Actor, ref: IncidentRef) -> IncidentDetail:
    """Return one incident with everything that was recorded of it; raise NOT_FOUND."""
    require(actor, Permission.READ)
    row = await find_incident(work, ref)
    return IncidentDetail(
        incident=row,
        ack=await incidents.acknowledgment(work.tx, row.id),
        root_cause=await incidents.root_cause(work.tx, row.id),
        resolution=await incidents.resolution(work.tx, row.id),
        timeline=await incidents.timeline(work.tx, row.id),
        escalations=await incidents.escalations(work.tx, row.id),
        error=await reports.get(work.tx, row.created_from_error_id) if row.created_from_error_id else None,
        notifications=[_page(page) for page in await notifications.of_incident(work.tx, row.id)],
    )


def _page(row: NotificationRow) -> NotificationRow:
    shown = replace(row, address=shown_address(row.channel, row.address))
    if row.attempts is None:
        return shown
    said = came_of(row.last_outcome, row.last_answer, row.last_worker, waits=row.state == PageState.PENDING)
    return replace(shown, last_answer=said.answer)


async def find_incident(work: Work, ref: IncidentRef) -> IncidentRow:
    """Return an incident's row, for a use case that has seen to the rights; raise NOT_FOUND."""
    number = ref if isinstance(ref, int) else None
    incident_id = await incidents.find(work.tx, incident_id=None if isinstance(ref, int) else ref, number=number)
    row = await incidents.get(work.tx, incident_id) if incident_id else None
    if row is None:
        raise not_found(ref)
    return row


async def list_reports(work: Work, actor: Actor, ref: IncidentRef, limit: int = 10) -> IncidentReports:
    """Return the reports of an incident that were kept whole, newest first; raise NOT_FOUND."""
    require(actor, Permission.READ)
    if not 1 <= limit <= MAX_REPORTS:
        raise _invalid("limit", f"must be 1 to {MAX_REPORTS}")
    row = await find_incident(work, ref)
    return IncidentReports(await reports.samples(work.tx, row.id, limit), row.occurrences)


async def stats(work: Work, actor: Actor) -> Stats:
    """Return how many incidents are open, and how many of them are overdue for acknowledgment."""
    require(actor, Permission.READ)
    tallies = [tally for tally in await incidents.tallies(work.tx) if tally.status != Status.CLOSED]
    default = (await policies.load(work.tx)).default
    overdue_before = work.now - default.step_of(StepReason.NO_ACK_1HR).after
    return Stats(
        total_open=sum(tally.incidents for tally in tallies),
        by_status={
            status: sum(tally.incidents for tally in tallies if tally.status == status)
            for status in Status
            if status is not Status.CLOSED
        },
        by_severity={
            severity: sum(tally.incidents for tally in tallies if tally.current_severity == severity)
            for severity in Severity
        },
        overdue=await incidents.count_overdue(work.tx, overdue_before),
    )


async def escalation_stats(work: Work, actor: Actor) -> list[ReasonCount]:
    """Return the escalations of the last STATS_WINDOW, by reason."""
    require(actor, Permission.READ)
    return await incidents.count_escalations(work.tx, work.now - STATS_WINDOW)
