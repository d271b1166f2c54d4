"""Silences and maintenance windows as people manage them: bounded, with a reason, and ended with what they held.

A silence holds pages back, never incidents. That it does is decided where pages are decided, from the silences that
stand here; this file lets people say them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from tocsin.app import paging
from tocsin.app.projects import ProjectRef, find_project
from tocsin.app.timeline import IncidentRef, locked_head
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.incident import Severity, Status
from tocsin.domain.policy import MAX_SERVICE_CHARACTERS, checked_line
from tocsin.domain.silence import Silence, SilenceKind
from tocsin.domain.workflow import checked_text
from tocsin.errors import Code, TocsinError, refuse
from tocsin.store import silences
from tocsin.store.silences import SilenceRow

MAX_LENGTH = timedelta(days=30)
MAX_AHEAD = timedelta(days=90)
MAX_STANDING = 1_000
"""Silences that are not over yet."""
MAX_REASON_CHARACTERS = 1_000
RESPONDERS_LENGTH = timedelta(hours=24)
"""How long a responder may silence one incident."""
_LIST_HINT = "See them: `tocsin silences list`."


SilenceView = SilenceRow
"""A silence as people see it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A silence as somebody asks for it. What is None matches everything, which must be said: `everything`.

    `starts_at` None is now. Either `ends_at` or `length` says for how long.
    """

    reason: str
    kind: SilenceKind = SilenceKind.SILENCE
    incident: IncidentRef | None = None
    project: ProjectRef | None = None
    service: str | None = None
    severities: Collection[Severity] | None = None
    everything: bool = False
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    length: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """A silence that was ended early, and how many open incidents it held pages of."""

    silence: SilenceView
    incidents: int


async def list_silences(work: Work, actor: Actor, *, all_of_them: bool = False) -> list[SilenceView]:
    """Return the silences that are not over, the one that ends first before the others; or all, the latest first."""
    require(actor, Permission.READ)
    return await (silences.listed_all(work.tx) if all_of_them else silences.listed(work.tx, work.now))


async def add_silence(work: Work, actor: Actor, wanted: Wanted) -> SilenceView:
    """Hold pages back for a while.

    Raises FORBIDDEN (a responder may silence one incident, for RESPONDERS_LENGTH), INVALID, NOT_FOUND,
    ALREADY_CLOSED, CONFLICT where there are MAX_STANDING.
    """
    starts_at, ends_at = _window(wanted, work.now)
    narrow = wanted.incident is not None and ends_at - work.now <= RESPONDERS_LENGTH
    require(actor, Permission.RESPOND if narrow else Permission.ADMINISTER)
    silence = await _silence(work, actor, wanted, starts_at, ends_at)
    _require_said(silence, everything=wanted.everything)
    await silences.lock(work.tx)
    if await silences.standing(work.tx, work.now) >= MAX_STANDING:
        raise refuse(
            Code.CONFLICT,
            f"There are {MAX_STANDING} silences that are not over, as many as there may be.",
            "End one that is not needed: `tocsin silences end ID`.",
        )
    await silences.insert(work.tx, silence, work.now)
    return await _found(work, silence.id)


def _window(wanted: Wanted, now: datetime) -> tuple[datetime, datetime]:
    """Return when the silence begins and ends: never in the past, which nobody can silence any more."""
    if (wanted.ends_at is None) == (wanted.length is None):
        raise _invalid("endsAt", "a silence either ends at an instant, or lasts for a time")
    starts_at = max(wanted.starts_at or now, now)
    if wanted.length is not None and wanted.length > MAX_LENGTH:
        raise _invalid("length", f"a silence lasts at most {MAX_LENGTH.days} days")
    if starts_at - now > MAX_AHEAD:
        raise _invalid("startsAt", f"a silence begins at most {MAX_AHEAD.days} days ahead")
    ends_at = wanted.ends_at if wanted.ends_at is not None else starts_at + (wanted.length or timedelta())
    if ends_at <= starts_at:
        raise _invalid("endsAt", "a silence ends after it begins, and after now")
    if ends_at - starts_at > MAX_LENGTH:
        raise _invalid("endsAt", f"a silence lasts at most {MAX_LENGTH.days} days")
    return starts_at, ends_at


def _invalid(field: str, problem: str) -> TocsinError:
    words = f"{problem[0].upper()}{problem[1:]}."
    return refuse(Code.INVALID, words, errors=[{"field": field, "problem": problem}])


async def _silence(work: Work, actor: Actor, wanted: Wanted, starts_at: datetime, ends_at: datetime) -> Silence:
    reason = checked_text("reason", wanted.reason)
    if len(reason) > MAX_REASON_CHARACTERS:
        raise _invalid("reason", f"a reason has at most {MAX_REASON_CHARACTERS} characters, not {len(reason)}")
    service = checked_line("service", wanted.service, MAX_SERVICE_CHARACTERS) if wanted.service is not None else None
    return Silence(
        work.new_id(),
        wanted.kind,
        await _incident(work, wanted.incident) if wanted.incident is not None else None,
        await find_project(work, wanted.project) if wanted.project is not None else None,
        service,
        frozenset(wanted.severities) if wanted.severities else None,
        starts_at,
        ends_at,
        reason,
        actor.user_id,
    )


async def _incident(work: Work, ref: IncidentRef) -> UUID:
    head = await locked_head(work, ref)
    if head.status == Status.CLOSED:
        raise refuse(Code.ALREADY_CLOSED, f"INC-{head.number} is closed: there are no pages to hold back.")
    return head.incident_id


def _require_said(silence: Silence, *, everything: bool) -> None:
    """Raise INVALID unless a silence of everything was said to be one, and no other was."""
    if silence.matches_everything and not everything:
        raise refuse(
            Code.INVALID,
            "This would hold back the pages of every incident.",
            "Name an incident, a project, a service or severities; or say that you mean it: `--everything`.",
            errors=[{"field": "everything", "problem": "must be true for a silence that matches everything"}],
        )
    if everything and not silence.matches_everything:
        raise _invalid("everything", "a silence of everything names no incident, project, service or severity")


async def _found(work: Work, silence_id: UUID) -> SilenceView:
    row = await silences.get(work.tx, silence_id)
    if row is None:
        raise refuse(Code.NOT_FOUND, f"There is no silence {silence_id}.", _LIST_HINT)
    return row


async def end_silence(work: Work, actor: Actor, silence_id: UUID) -> Ended:
    """End a silence now, and have the incidents that it held looked at: what is still owed is paged.

    Raises FORBIDDEN (a responder may end what is about one incident), NOT_FOUND, CONFLICT where it is over already.
    """
    require(actor, Permission.READ)
    await silences.lock_to_end(work.tx, silence_id)
    row = await _found(work, silence_id)
    require(actor, Permission.RESPOND if row.incident_id is not None else Permission.ADMINISTER)
    if row.ended_by is not None or row.ends_at <= work.now:
        raise refuse(Code.CONFLICT, f"The silence {silence_id} is over already.", _LIST_HINT)
    await silences.end(work.tx, silence_id, actor.user_id, work.now)
    looked_at = await _look_at_held(work, silence_id)
    return Ended(await _found(work, silence_id), looked_at)


async def _look_at_held(work: Work, silence_id: UUID) -> int:
    """Queue a look at each open incident of which a silence held pages back; return how many there are."""
    count, batch = 0, await silences.held(work.tx, silence_id)
    while batch:
        for incident_id in batch:
            await paging.queue_escalation(work, incident_id, work.now)
        count += len(batch)
        batch = await silences.held(work.tx, silence_id, batch[-1])
    return count
