"""The access log, or the entries of all timelines, as a file: read in parts, never held whole, bounded.

Each part is a short transaction. The lists only grow at their newer end, and a file begins at a row and goes back from
there, so what is recorded meanwhile changes nothing in it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum

import msgspec

from tocsin.app import read_audit
from tocsin.app.read_audit import AccessFilter, AccessRow, AuditPage, EntryFilter, Filter, TimelineRow
from tocsin.app.work import App
from tocsin.domain.access import Actor
from tocsin.domain.table_text import harmless

MAX_ROWS = 100_000
"""Rows of one file."""
ROWS_AT_ONCE = 1_000


class Form(StrEnum):
    """The form of a file."""

    CSV = "csv"
    JSON = "json"


MEDIA_TYPES = {Form.CSV: "text/csv; charset=utf-8", Form.JSON: "application/json"}
_COLUMNS = {
    AccessFilter: tuple(one.name for one in fields(AccessRow)),
    EntryFilter: tuple(one.name for one in fields(TimelineRow)),
}


@dataclass(frozen=True, slots=True)
class AuditFile:
    """A file under way: how it is called, what it is, and its parts."""

    name: str
    media_type: str
    parts: AsyncIterator[bytes]


async def export(app: App, actor: Actor, where: Filter, form: Form) -> AuditFile:
    """Return what a filter lets through as a file of at most MAX_ROWS rows, newest first, which says where it was cut.

    Raises FORBIDDEN and INVALID before anything is written.
    """
    first = await _page(app, actor, where, None)
    what = "accesses" if isinstance(where, AccessFilter) else "entries"
    pages = _pages(app, actor, where, first)
    parts = _as_csv(_COLUMNS[type(where)], pages) if form is Form.CSV else _as_json(what, pages)
    return AuditFile(f"tocsin-{what}-{app.clock():%Y%m%dT%H%M%SZ}.{form}", MEDIA_TYPES[form], parts)


Rows = AuditPage[AccessRow] | AuditPage[TimelineRow]


async def _page(app: App, actor: Actor, where: Filter, cursor: str | None) -> Rows:
    async with app.work() as work:
        if isinstance(where, AccessFilter):
            return await read_audit.list_accesses(work, actor, where, limit=ROWS_AT_ONCE, cursor=cursor)
        return await read_audit.list_entries(work, actor, where, limit=ROWS_AT_ONCE, cursor=cursor)


async def _pages(app: App, actor: Actor, where: Filter, page: Rows) -> AsyncIterator[tuple[Rows, bool]]:
    """Give page after page, each with whether the file is cut after it."""
    written = len(page.rows)
    while page.next_cursor is not None and written < MAX_ROWS:
        yield page, False
        page = await _page(app, actor, where, page.next_cursor)
        written += len(page.rows)
    yield page, page.next_cursor is not None


def _note(rows: Sequence[AccessRow | TimelineRow]) -> str:
    last = rows[-1]
    at = last.accessed_at if isinstance(last, AccessRow) else last.event_at
    return f"Cut after {MAX_ROWS:,} rows, at {_text(at)}: what is older is missing. Export it with an earlier end."


async def _as_csv(columns: Sequence[str], pages: AsyncIterator[tuple[Rows, bool]]) -> AsyncIterator[bytes]:
    """Write RFC 4180, one line for each row; where the file is cut, a last line says so in its first cell."""
    yield _lines([columns])
    async for page, cut in pages:
        yield _lines([[harmless(_text(getattr(row, name))) for name in columns] for row in page.rows])
        if cut:
            yield _lines([[_note(page.rows)]])


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    return value.hex() if isinstance(value, bytes) else str(value)


async def _as_json(what: str, pages: AsyncIterator[tuple[Rows, bool]]) -> AsyncIterator[bytes]:
    """Write an object of the rows and of where it was cut (null: it is whole)."""
    yield b'{"%s":[' % what.encode()
    begun, note = False, None
    async for page, cut in pages:
        rows = [msgspec.json.encode(_document(row)) for row in page.rows]
        yield (b"," if begun and rows else b"") + b",\n".join(rows)
        begun = begun or bool(rows)
        note = _note(page.rows) if cut else None
    yield b'],"cut":%s}\n' % msgspec.json.encode(note)


def _document(row: AccessRow | TimelineRow) -> dict[str, object]:
    document = {_camel(one.name): getattr(row, one.name) for one in fields(row)}
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in document.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
