"""What auditors read: who did what, when, from where, with which outcome; and the entries of all timelines.

Both are lists that only grow: a page goes on before the last row of the one before, however many came meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.timeline import EntryKind
from tocsin.errors import Code, TocsinError, refuse
from tocsin.store import audit, users
from tocsin.store.audit import AccessRow, Part, TimelineRow

__all__ = ["AccessFilter", "AccessRow", "AuditPage", "EntryFilter", "TimelineRow"]

MAX_PAGE = 1_000
_CURSOR = re.compile(r"([0-9TZ:.+-]{20,40})~([0-9a-f-]{36})")

R = TypeVar("R", AccessRow, TimelineRow)


@dataclass(frozen=True, slots=True)
class AccessFilter:
    """Which accesses are meant; None is any. `user` is an e-mail; `action` as the log names it: `GET /incidents`."""

    user: str | None = None
    action: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries are meant; None is any. `user` is the e-mail of who acted."""

    user: str | None = None
    kind: EntryKind | None = None
    since: datetime | None = None
    until: datetime | None = None


Filter = AccessFilter | EntryFilter


@dataclass(frozen=True, slots=True)
class AuditPage(Generic[R]):
    """One page, newest first; `next_cursor` is what the next one goes on before, None on the last page."""

    rows: Sequence[R]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Names:
    """What the access log can be filtered by."""

    actions: Sequence[str]
    outcomes: Sequence[str]


async def list_accesses(
    work: Work, actor: Actor, where: AccessFilter, *, limit: int, cursor: str | None = None
) -> AuditPage[AccessRow]:
    """Return a page of the access log; raise INVALID for a user that there is not, or a cursor that is none."""
    require(actor, Permission.AUDIT)
    part = Part(limit + 1, where.since, where.until, _before(cursor))
    user_id = await _user(work, where.user)
    found = await audit.accesses(work.tx, part, user_id, _asked(where.action), _asked(where.outcome))
    return _page(found, limit, [f"{row.accessed_at.isoformat()}~{row.id}" for row in found[limit - 1 : limit]])


async def list_entries(
    work: Work, actor: Actor, where: EntryFilter, *, limit: int, cursor: str | None = None
) -> AuditPage[TimelineRow]:
    """Return a page of all timelines; raise INVALID for a user that there is not, or a cursor that is none."""
    require(actor, Permission.AUDIT)
    part = Part(limit + 1, where.since, where.until, _before(cursor))
    found = await audit.entries(work.tx, part, await _user(work, where.user), where.kind)
    return _page(found, limit, [f"{row.event_at.isoformat()}~{row.id}" for row in found[limit - 1 : limit]])


def _page(found: Sequence[R], limit: int, last: Sequence[str]) -> AuditPage[R]:
    return AuditPage(found[:limit], last[0] if len(found) > limit else None)


async def names(work: Work, actor: Actor) -> Names:
    """Return what the access log can be filtered by."""
    require(actor, Permission.AUDIT)
    return Names(await audit.actions(work.tx), await audit.outcomes(work.tx))


async def _user(work: Work, email: str | None) -> UUID | None:
    if email is None:
        return None
    user = await users.by_email(work.tx, email)
    if user is None:
        raise _invalid("user", f"there is no user {email[:254]!r}")
    return user.id


def _asked(text: str | None) -> str | None:
    """Return a name as the database can be asked for it: what holds NUL or half a character is in no log."""
    return text.replace("\x00", "�").encode("utf-8", "replace").decode() if text is not None else None


def _before(cursor: str | None) -> tuple[datetime, UUID] | None:
    if cursor is None:
        return None
    match = _CURSOR.fullmatch(cursor)
    try:
        instant = datetime.fromisoformat(match[1]) if match else None
        if match and instant is not None and instant.tzinfo is not None:
            return instant, UUID(match[2])
    except ValueError:
        raise _no_cursor() from None
    raise _no_cursor()


def _no_cursor() -> TocsinError:
    return _invalid("cursor", "is not one that a page gave")


def _invalid(field: str, problem: str) -> TocsinError:
    return refuse(Code.INVALID, f"{field}: {problem}.", errors=[{"field": field, "problem": problem}])
