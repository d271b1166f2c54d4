"""What a timeline must be by itself, without any log: continuous, in order, its details unchanged, each step allowed.

Nothing here needs to be believed: who has the bytes can compute it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import rfc8785

from tocsin.domain.timeline import CANONICAL_VERSION, EntryKind
from tocsin.domain.workflow import TRANSITIONS
from tocsin.evidence import EvidenceError
from tocsin.evidence.bundle import Detail, LoggedLeaf, load_json
from tocsin.evidence.texts import Erasures, RecordTexts, Text, erasures_of, texts_of
from tocsin.tlog.merkle import leaf_hash

_DETAILS = {
    EntryKind.REPORTED: ("incidents", "created_by_user_id"),
    EntryKind.ACKNOWLEDGED: ("incident_acknowledgments", "ack_by_user_id"),
    EntryKind.ROOT_CAUSE_RECORDED: ("incident_root_causes", "identified_by_user_id"),
    EntryKind.RESOLVED: ("incident_resolution", "resolved_by_user_id"),
    EntryKind.CLOSED: ("incident_closures", "closed_by_user_id"),
    EntryKind.ESCALATED: ("incident_escalations", "escalated_by_user_id"),
    EntryKind.ESCALATION_ACKNOWLEDGED: ("incident_escalation_acknowledgments", "acknowledged_by_user_id"),
}
"""The table of the detail that an entry of each kind names, and the column that must be the entry's actor."""
_LEADS = {(str(kind), before, str(after)) for kind, pairs in TRANSITIONS.items() for before, after in pairs}
_COLUMNS = (
    *("incident_id", "sequence", "previous_checksum", "event_type", "status_before", "status_after"),
    *("actor_user_id", "actor_role", "detail_checksum", "metadata", "event_at", "nonce"),
)
_ONCE = frozenset({EntryKind.ROOT_CAUSE_RECORDED})


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, read: what the other checks need of it."""

    kind: EntryKind
    checksum: bytes
    event_at: datetime
    status_after: str
    said: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Detail:
    """A detail, read, with its texts."""

    said: dict[str, Any]
    texts: RecordTexts


@dataclass(frozen=True, slots=True)
class Timeline:
    """A timeline that holds together."""

    incident_id: str
    number: int
    entries: tuple[Entry, ...]
    details: int
    texts: tuple[Text, ...]

    @property
    def last(self) -> Entry:
        """Return the newest entry."""
        return self.entries[-1]


def check_timeline(incident_id: str, number: int, entries: Sequence[LoggedLeaf], details: Sequence[Detail]) -> Timeline:
    """Return the timeline if it is one, of this incident. Raises EvidenceError naming the entry that breaks it."""
    if not entries:
        raise EvidenceError("the bundle has no entry")
    read: list[Entry] = []
    for place, leaf in enumerate(entries, 1):
        try:
            read.append(_entry(incident_id, place, leaf.data, read))
        except EvidenceError as error:
            raise EvidenceError(f"entry {place}: {error}") from None
    erased = _erased(read)
    by_checksum = _details(incident_id, details, erased)
    named: list[_Detail | None] = []
    texts: list[Text] = []
    for place, (entry, leaf) in enumerate(zip(read, entries, strict=True), 1):
        try:
            detail = _take_detail(entry, by_checksum, named)
            own = texts_of(entry.said, leaf.disclosures, erased.pop(("incident_lifecycle", entry.checksum.hex()), {}))
        except EvidenceError as error:
            raise EvidenceError(f"entry {place} ({entry.kind}): {error}") from None
        named.append(detail)
        for part in (detail.texts if detail else None, own):
            texts += part.of_entry(place, entry.kind) if part else ()
    if by_checksum:
        raise EvidenceError("no entry names one of the details")
    if erased:
        raise EvidenceError("an entry erased texts of a record that is not there")
    if named[0] is None or named[0].said.get("number") != number:
        raise EvidenceError("the incident's own record has another number than the bundle says")
    return Timeline(incident_id, number, tuple(read), len(details), tuple(texts))


def canonical(data: bytes, what: str) -> dict[str, Any]:
    """Read a record that must be in its canonical form (RFC 8785). Raises EvidenceError."""
    said = load_json(data, what)
    if not isinstance(said, dict):
        raise EvidenceError(f"{what} is not an object")
    try:
        again = rfc8785.dumps(said)
    except (ValueError, RecursionError) as error:
        raise EvidenceError(f"{what} has no canonical form: {error}") from None
    if again != data:
        raise EvidenceError(f"{what} is not in its canonical form")
    return said


def _entry(incident_id: str, place: int, data: bytes, before: Sequence[Entry]) -> Entry:
    said = canonical(data, "the entry")
    if (said.get("record"), said.get("v")) != ("incident_lifecycle", CANONICAL_VERSION):
        raise EvidenceError(f"it is not a timeline entry of version {CANONICAL_VERSION}")
    if missing := [column for column in _COLUMNS if column not in said]:
        raise EvidenceError(f"it lacks {missing[0]}")
    if said["incident_id"] != incident_id:
        raise EvidenceError("it belongs to another incident")
    if said["sequence"] != place:
        raise EvidenceError(f"it says that it is number {_shown(said['sequence'])}: an entry is missing or moved")
    last = before[-1] if before else None
    if said["previous_checksum"] != (_bytea(last.checksum) if last else None):
        raise EvidenceError("it does not continue the entry before it")
    if said["status_before"] != (last.status_after if last else None):
        raise EvidenceError("it starts from another status than the entry before it led to")
    return _stepped(data, said, before)


def _stepped(data: bytes, said: dict[str, Any], before: Sequence[Entry]) -> Entry:
    kind, after = said["event_type"], said["status_after"]
    if not isinstance(kind, str) or not isinstance(after, str):
        raise EvidenceError("it does not say what happened, or where that led")
    if (kind, said["status_before"], after) not in _LEADS:
        raise EvidenceError(f"{_shown(kind)} is a step out of order")
    step = EntryKind(kind)
    recorded = {entry.kind for entry in before}
    if step in _ONCE and step in recorded:
        raise EvidenceError(f"{step} happens once")
    if step is EntryKind.RESOLVED and EntryKind.ROOT_CAUSE_RECORDED not in recorded:
        raise EvidenceError("RESOLVED without a root cause")
    return Entry(step, leaf_hash(data), _instant(said["event_at"]), after, said)


def _erased(entries: Sequence[Entry]) -> Erasures:
    """Return which texts the entries erased."""
    found: Erasures = {}
    for place, entry in enumerate(entries, 1):
        if entry.kind is EntryKind.PERSONAL_DATA_ERASED:
            try:
                erasures_of(place, entry.said, found)
            except EvidenceError as error:
                raise EvidenceError(f"entry {place} ({entry.kind}): {error}") from None
    return found


def _details(incident_id: str, details: Sequence[Detail], erased: Erasures) -> dict[str, _Detail]:
    """Return the details by their checksums, as entries name them; take what of them was erased."""
    found: dict[str, _Detail] = {}
    for place, detail in enumerate(details, 1):
        what = f"detail {place}"
        said = canonical(detail.data, what)
        table = said.get("record")
        if said.get("v") != CANONICAL_VERSION or table not in [name for name, _ in _DETAILS.values()]:
            raise EvidenceError(f"{what} is no detail of version {CANONICAL_VERSION}")
        if said.get("id" if table == "incidents" else "incident_id") != incident_id:
            raise EvidenceError(f"{what} belongs to another incident")
        checksum = leaf_hash(detail.data)
        try:
            texts = texts_of(said, detail.disclosures, erased.pop((table, checksum.hex()), {}))
        except EvidenceError as error:
            raise EvidenceError(f"{what} ({table}): {error}") from None
        found[_bytea(checksum)] = _Detail(said, texts)
    if len(found) != len(details):
        raise EvidenceError("a detail is there twice")
    return found


def _take_detail(entry: Entry, left: dict[str, _Detail], earlier: Sequence[_Detail | None]) -> _Detail | None:
    """Take the detail that an entry names out of those that are left; None if it names none and need not."""
    checksum = entry.said["detail_checksum"]
    table, actor = _DETAILS.get(entry.kind, ("", ""))
    if checksum is None and entry.kind is EntryKind.CLOSED:
        _check_resolution_closes(earlier)
        return None
    if checksum is None and not table:
        return None
    if checksum is None or not table:
        raise EvidenceError("it names no detail" if table else "it names a detail, and its kind has none")
    detail = left.pop(checksum, None) if isinstance(checksum, str) else None
    if detail is None:
        raise EvidenceError("the detail that it names is not there, was changed, or belongs to an earlier entry")
    if detail.said["record"] != table or detail.said.get(actor) != entry.said["actor_user_id"]:
        raise EvidenceError("the detail that it names is of another kind, or of another person")
    return detail


def _check_resolution_closes(earlier: Sequence[_Detail | None]) -> None:
    resolutions = [detail.texts for detail in earlier if detail and detail.texts.table == "incident_resolution"]
    # It always has a summary as well: where texts are withheld, so many there must be.
    if not any(texts.may_have("resolution_summary", "lessons_learned", "follow_up_actions") for texts in resolutions):
        raise EvidenceError("neither it nor the resolution has lessons learned and follow-up actions")


def _bytea(checksum: bytes) -> str:
    return "\\x" + checksum.hex()


def _instant(value: object) -> datetime:
    try:
        return datetime.fromisoformat(value if isinstance(value, str) and value.endswith("Z") else "")
    except ValueError:
        raise EvidenceError("it does not say when it happened") from None


def _shown(value: object) -> str:
    return repr(value)[:40]
