"""The audit: who accessed what, and what was entered into timelines; filtered by the address, and as files."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from tocsin.app import read_audit
from tocsin.app.export_audit import MAX_ROWS, Form
from tocsin.app.read_audit import AccessFilter, EntryFilter
from tocsin.app.work import Work
from tocsin.domain.timeline import EntryKind
from tocsin.web.audit_api import file_of
from tocsin.web.console.page import Shown, Visit
from tocsin.web.reading import invalid

PAGE_SIZE = 100
Name = Annotated[str, msgspec.Meta(max_length=254)]
Day = Annotated[str, msgspec.Meta(max_length=30)]


class AccessQuery(msgspec.Struct):
    """Which accesses the page shows. What is left empty is any; `until` is the last day."""

    user: Name = ""
    action: Name = ""
    outcome: Name = ""
    since: Day = ""
    until: Day = ""
    before: Annotated[str, msgspec.Meta(max_length=100)] = ""

    def where(self) -> AccessFilter:
        """Return the filter."""
        since, until = _period(self.since, self.until)
        return AccessFilter(self.user or None, self.action or None, self.outcome or None, since, until)


class EntryQuery(msgspec.Struct):
    """Which entries the page shows. What is left empty is any; `until` is the last day."""

    user: Name = ""
    kind: Name = ""
    since: Day = ""
    until: Day = ""
    before: Annotated[str, msgspec.Meta(max_length=100)] = ""

    def where(self) -> EntryFilter:
        """Return the filter."""
        if self.kind and self.kind not in EntryKind.__members__:
            raise invalid("kind", f"must be one of {', '.join(EntryKind)}")
        kind = EntryKind(self.kind) if self.kind else None
        return EntryFilter(self.user or None, kind, *_period(self.since, self.until))


def _period(since: str, until: str) -> tuple[datetime | None, datetime | None]:
    return _midnight("since", since, timedelta()), _midnight("until", until, timedelta(days=1))


def _midnight(field: str, text: str, later: timedelta) -> datetime | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if not 1970 <= day.year < 9999:
        raise invalid(field, "must be a day such as 2026-12-07")
    return datetime.combine(day, time(), UTC) + later


async def show_accesses(work: Work, visit: Visit) -> Shown:
    """Show a page of the access log."""
    query = visit.asked(AccessQuery)
    page = await read_audit.list_accesses(
        work, visit.actor, query.where(), limit=PAGE_SIZE, cursor=query.before or None
    )
    context = {"page": page, "query": query, "names": await read_audit.names(work, visit.actor)}
    return Shown("audit.html", {**context, **_ways(query), "most": MAX_ROWS})


async def show_entries(work: Work, visit: Visit) -> Shown:
    """Show a page of all timelines."""
    query = visit.asked(EntryQuery)
    page = await read_audit.list_entries(work, visit.actor, query.where(), limit=PAGE_SIZE, cursor=query.before or None)
    context = {"page": page, "query": query, "kinds": [*EntryKind]}
    return Shown("audit_entries.html", {**context, **_ways(query), "most": MAX_ROWS})


def _ways(query: AccessQuery | EntryQuery) -> dict[str, object]:
    """Return the filters as a part of an address, for the next page and for the files."""
    said = {name: value for name, value in msgspec.to_builtins(query).items() if value and name != "before"}
    return {"filters": urlencode(said)}


async def accesses_file(visit: Visit) -> Response:
    """Give the access log as a file."""
    return await file_of(visit.services, visit.actor, visit.asked(AccessQuery).where(), _form(visit))


async def entries_file(visit: Visit) -> Response:
    """Give the entries of all timelines as a file."""
    return await file_of(visit.services, visit.actor, visit.asked(EntryQuery).where(), _form(visit))


def _form(visit: Visit) -> Form:
    return Form(visit.request.url.path.rpartition(".")[2])
