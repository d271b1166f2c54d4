"""What one wants to see of an incident besides its record: reports, how often, what can be done now, the seal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from tocsin.app.work import Work
from tocsin.domain.follow_up import FollowUpAction
from tocsin.domain.incident import RootCauseCategory
from tocsin.domain.workflow import Acknowledge, Action, Close, RecordRootCause, Resolve, decide
from tocsin.errors import Code, Refusal, refuse
from tocsin.store import incidents, log, reports
from tocsin.store.incidents import EntryRow, IncidentRow
from tocsin.store.log import LogEntry, PublishedCheckpoint
from tocsin.store.reports import KeptReport, SampleRow
from tocsin.tlog import merkle
from tocsin.tlog.errors import ProofError

MAX_KEPT = 200
MAX_PERIODS = 48
MAX_IN_PERIOD = 500
"""How far the reports of one period are counted: a storm's bar is cut off there."""
_WIDTHS = (60, 300, 900, 3_600, 10_800, 21_600, 86_400, 604_800, 2_592_000, 31_536_000)


# --- single reports


@dataclass(frozen=True, slots=True)
class Sample:
    """One report that was kept whole, and its place among those of its incident (newest first)."""

    report: SampleRow
    place: int
    of: int
    newer: UUID | None
    older: UUID | None


async def sample(work: Work, incident: IncidentRow, report_id: UUID | None) -> Sample | None:
    """Return a kept report of an incident (None: the newest), None where none is kept; raise NOT_FOUND."""
    kept = await reports.kept_of_incident(work.tx, incident.id, MAX_KEPT)
    if report_id is None and not kept:
        return None
    wanted = report_id or kept[0].id
    found = await reports.kept(work.tx, incident.id, wanted)
    if found is None:
        raise refuse(Code.NOT_FOUND, "No such report of this incident is kept.", "It may have been erased since.")
    return _placed(found, kept)


def _placed(found: SampleRow, kept: Sequence[KeptReport]) -> Sample:
    ids = [one.id for one in kept]
    place = ids.index(found.id) if found.id in ids else len(ids)
    return Sample(
        found,
        place + 1,
        max(len(ids), place + 1),
        ids[place - 1] if 0 < place <= len(ids) else None,
        ids[place + 1] if place + 1 < len(ids) else None,
    )


# --- how often


@dataclass(frozen=True, slots=True)
class Frequency:
    """How many reports came in each of the periods since an instant, each up to MAX_IN_PERIOD."""

    since: datetime
    width: timedelta
    reports: list[int]


async def frequency(work: Work, incident: IncidentRow) -> Frequency | None:
    """Return how often an incident's failure was reported, from the first time to the last; None for a single time."""
    if incident.occurrences < 2:
        return None
    lasted = max((incident.last_seen_at - incident.created_at).total_seconds(), 1)
    seconds = next((width for width in _WIDTHS if lasted / width < MAX_PERIODS), _WIDTHS[-1])
    since = datetime.fromtimestamp(incident.created_at.timestamp() // seconds * seconds, incident.created_at.tzinfo)
    periods = int((incident.last_seen_at - since).total_seconds() // seconds) + 1
    counted = await reports.occurrences_over_time(
        work.tx,
        incident.id,
        since=since,
        seconds=seconds,
        periods=min(periods, MAX_PERIODS + 1),
        most=MAX_IN_PERIOD,
    )
    return Frequency(since, timedelta(seconds=seconds), counted)


# --- what can be done now

_SOME = "…"
_STEPS: dict[str, Action] = {
    "acknowledge": Acknowledge(_SOME),
    "root-cause": RecordRootCause(_SOME, RootCauseCategory.UNKNOWN, _SOME),
    "resolve": Resolve(_SOME),
    "close": Close(_SOME, (FollowUpAction(_SOME),)),
}
"""The steps to the end, each with everything that it needs said: what is refused then is refused for the state."""


async def outlook(work: Work, incident: IncidentRow) -> dict[str, Refusal | None]:
    """Return of each step to the end why it cannot be taken now; None where it can."""
    head = await incidents.head(work.tx, incident.id)
    assert head is not None, "an incident that was found has a head"
    state = head.state()
    decisions = {name: decide(state, action) for name, action in _STEPS.items()}
    return {name: said if isinstance(said, Refusal) else None for name, said in decisions.items()}


# --- the seal


class SealState(StrEnum):
    """How far the log vouches for what a page shows."""

    VERIFIED = "VERIFIED"
    """Every entry is in the log, under its last signed checkpoint, and the proof of it was computed just now."""
    NOT_SIGNED = "NOT_SIGNED"
    """Every entry is in the log; the checkpoint that has them all is not signed yet."""
    NOT_SEALED = "NOT_SEALED"
    """Some entries wait for the log still."""
    BROKEN = "BROKEN"
    """The log says something else than the record."""


@dataclass(frozen=True, slots=True)
class Seal:
    """What the log knows of an incident: how many of its entries are in it, and under which signed checkpoint."""

    state: SealState
    entries: int
    sealed: int
    signed: int
    checkpoint_size: int | None
    signed_at: datetime | None


async def seal(work: Work, incident: IncidentRow, timeline: Sequence[EntryRow]) -> Seal:
    """Compare a timeline with the log, and prove its newest signed entry: each one commits to those before it."""
    logged = {entry.sequence: entry for entry in await log.entries_of(work.tx, incident.number)}
    checkpoint = await log.last_checkpoint(work.tx)
    sealed = [logged[entry.sequence] for entry in timeline if entry.sequence in logged]
    signed = [entry for entry in sealed if checkpoint is not None and entry.index < checkpoint.size]
    agree = all(
        bytes(logged[entry.sequence].leaf_hash) == bytes(entry.checksum)
        for entry in timeline
        if entry.sequence in logged
    )
    if not agree or (checkpoint and signed and not await _is_proven(work, checkpoint, signed[-1])):
        state = SealState.BROKEN
    elif len(sealed) < len(timeline):
        state = SealState.NOT_SEALED
    else:
        state = SealState.VERIFIED if len(signed) == len(timeline) else SealState.NOT_SIGNED
    size, at = (checkpoint.size, checkpoint.signed_at) if checkpoint else (None, None)
    return Seal(state, len(timeline), len(sealed), len(signed), size, at)


async def _is_proven(work: Work, checkpoint: PublishedCheckpoint, entry: LogEntry) -> bool:
    size = checkpoint.size
    hashes = await log.hashes(work.tx, merkle.inclusion_coordinates(entry.index, size))
    try:
        proof = merkle.inclusion_proof(entry.index, size, hashes)
        merkle.verify_inclusion(entry.index, size, bytes(entry.leaf_hash), proof, bytes(checkpoint.root))
    except (KeyError, ProofError):
        return False
    return True
