"""The list of incidents: found, filtered, named to come back to, and taken several at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec

from tocsin.app import read_incidents, respond, views
from tocsin.app.overview import pulse
from tocsin.app.read_incidents import IncidentFilter
from tocsin.app.search import MAX_SEARCH_CHARACTERS
from tocsin.app.work import Work
from tocsin.domain.access import Actor
from tocsin.domain.incident import Severity, Status
from tocsin.domain.workflow import Acknowledge
from tocsin.web.console.page import Form, Redirected, Shown, Visit
from tocsin.web.incidents_api import OPEN, OPEN_STATUSES
from tocsin.web.reading import decode_query, invalid, part_id

PAGE_SIZE = 50
LISTS = frozenset({"status", "severity"})
"""The parameters of a list that may be repeated."""
ME, NOBODY = "me", "nobody"


class ListQuery(msgspec.Struct, omit_defaults=True):
    """Which incidents the list shows; everything stands in the address, so that it can be kept and sent."""

    search: Annotated[str, msgspec.Meta(max_length=MAX_SEARCH_CHARACTERS)] = ""
    status: tuple[str, ...] = ()
    severity: tuple[Severity, ...] = ()
    service: Annotated[str, msgspec.Meta(max_length=200)] = ""
    project: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)] | None = None
    who: Annotated[str, msgspec.Meta(max_length=36)] = ""
    since: date | None = None
    until: date | None = None
    before: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)] | None = None


async def show(work: Work, visit: Visit) -> Shown:
    """Show one page of incidents, newest first."""
    return await _listed(work, visit, visit.asked(ListQuery))


async def _listed(work: Work, visit: Visit, query: ListQuery) -> Shown:
    as_of = await pulse(work)
    where = _filter(query, visit.actor)
    page = await read_incidents.list_incidents(
        work, visit.actor, where, search=query.search, limit=PAGE_SIZE, cursor=query.before
    )
    context = {
        "pulse": as_of,
        "page": page,
        "query": query,
        "choices": await read_incidents.choices(work, visit.actor),
        "views": await views.list_views(work, visit.actor),
        "statuses": [OPEN, *Status],
        "severities": [*Severity][::-1],
    }
    return Shown("incidents.html", context)


def _filter(query: ListQuery, actor: Actor) -> IncidentFilter:
    statuses = _statuses(query.status)
    if query.who == NOBODY:
        # Whoever takes an incident acknowledges it: nobody has those that are reported, and only those.
        statuses = tuple(status for status in statuses or (Status.REPORTED,) if status is Status.REPORTED)
    return IncidentFilter(
        statuses=statuses,
        severities=query.severity or None,
        created_after=_midnight(query.since),
        created_before=_midnight(query.until, days_later=1),
        service=query.service or None,
        project_id=query.project,
        holder=_holder(query.who, actor),
    )


def _statuses(names: Sequence[str]) -> tuple[Status, ...] | None:
    wanted: set[Status] = set()
    for name in names:
        if name != OPEN and name not in Status.__members__:
            raise invalid("status", f"must be {OPEN} or one of {', '.join(Status)}")
        wanted.update(OPEN_STATUSES if name == OPEN else [Status(name)])
    return tuple(sorted(wanted)) or None


def _holder(who: str, actor: Actor) -> UUID | None:
    if who in ("", NOBODY):
        return None
    return actor.user_id if who == ME else part_id(who, "person")


def _midnight(day: date | None, days_later: int = 0) -> datetime | None:
    if day is None:
        return None
    try:
        return datetime.combine(day + timedelta(days=days_later), time(), UTC)
    except OverflowError:
        raise invalid("until", "must be before the year 9999") from None


class BulkForm(Form):
    """Several incidents, and what is being done about them."""

    number: tuple[Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)], ...] = ()
    notes: Annotated[str, msgspec.Meta(max_length=20_000)] = ""
    back: Annotated[str, msgspec.Meta(max_length=views.MAX_QUERY_CHARACTERS)] = ""


async def acknowledge(visit: Visit) -> Shown:
    """Take every chosen incident that can be taken; show which, and who has the others."""
    form = visit.said(BulkForm)
    if not 1 <= len(form.number) <= PAGE_SIZE:
        raise invalid("number", f"choose 1 to {PAGE_SIZE} incidents, not {len(form.number)}")
    tried = await respond.acknowledge_each(visit.app, visit.actor, form.number, Acknowledge(form.notes))
    return Shown("acknowledged.html", {"tried": tried, "back": form.back})


async def show_again(work: Work, visit: Visit) -> Shown:
    """Show the list that a refused form came from, as it is now."""
    form = visit.form
    assert isinstance(form, BulkForm | ViewForm), "these two stand on the list's page"
    return await _listed(work, visit, _query_of(form.back if isinstance(form, BulkForm) else form.query))


def _query_of(text: str) -> ListQuery:
    """Return a list's query from the text that follows the question mark in its address; raise INVALID."""
    try:
        pairs = parse_qsl(text, strict_parsing=bool(text), max_num_fields=50, errors="strict")
    except ValueError:
        raise invalid("query", "is not the address of a list") from None
    return decode_query([(name, value) for name, value in pairs if value], ListQuery, LISTS)


class ViewForm(Form):
    """A list, and what it is to be called."""

    name: Annotated[str, msgspec.Meta(max_length=200)] = ""
    query: Annotated[str, msgspec.Meta(max_length=views.MAX_QUERY_CHARACTERS)] = ""


async def save_view(work: Work, visit: Visit) -> Redirected:
    """Give a list a name, to come back to it."""
    form = visit.said(ViewForm)
    _filter(_query_of(form.query), visit.actor)
    await views.save(work, visit.actor, form.name, form.query)
    return Redirected(f"/incidents?{form.query}")


async def remove_view(work: Work, visit: Visit) -> Redirected:
    """Remove one of one's own lists."""
    await views.remove(work, visit.actor, part_id(visit.path("id"), "view"))
    return Redirected("/incidents")
