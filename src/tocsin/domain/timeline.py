"""The timeline: kinds of entries, what of them may concern a person, and the checksum of everything that is recorded.

A record's checksum is the leaf hash of RFC 6962, 2.1: sha256(0x00 || its canonical bytes), which
`tocsin.domain.sealing` makes. What checks evidence needs this module, so it needs the standard library alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

CANONICAL_VERSION = 1
MAX_ENTRY_BYTES = 65_535
MAX_DETAIL_BYTES = 524_288


class EntryKind(StrEnum):
    """What a timeline entry says happened."""

    REPORTED = "REPORTED"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    INVESTIGATION_STARTED = "INVESTIGATION_STARTED"
    ROOT_CAUSE_RECORDED = "ROOT_CAUSE_RECORDED"
    RESOLVED = "RESOLVED"
    CLOSED = "CLOSED"
    ESCALATED = "ESCALATED"
    ESCALATION_ACKNOWLEDGED = "ESCALATION_ACKNOWLEDGED"
    SEVERITY_CHANGED = "SEVERITY_CHANGED"
    NOTE_ADDED = "NOTE_ADDED"
    SESSIONS_BLOCKED = "SESSIONS_BLOCKED"
    SIGNAL_RECEIVED = "SIGNAL_RECEIVED"
    PERSONAL_DATA_ERASED = "PERSONAL_DATA_ERASED"
    ACKNOWLEDGMENT_LAPSED = "ACKNOWLEDGMENT_LAPSED"
    PAGES_HELD = "PAGES_HELD"


PERSONAL: Mapping[EntryKind, tuple[str, ...]] = {
    # A report can be guessed whole; so its checksum is committed to with a salt, as the texts are.
    EntryKind.REPORTED: ("errorChecksum",),
    EntryKind.ACKNOWLEDGED: ("notes",),
    EntryKind.ESCALATED: ("notes",),
    EntryKind.SEVERITY_CHANGED: ("reason",),
    EntryKind.NOTE_ADDED: ("text",),
    EntryKind.SIGNAL_RECEIVED: ("text", "eventId"),
    EntryKind.PAGES_HELD: ("reason",),
}
"""What of an entry's particulars may concern a person, by its kind. The rest are facts, and stay for ever."""


def split_particulars(
    kind: EntryKind, particulars: Mapping[str, object]
) -> tuple[dict[str, object], dict[str, object] | None]:
    """Part what an entry says into facts (`metadata`) and what may concern a person (`personal`; None: nothing)."""
    names = PERSONAL.get(kind, ())
    facts = {name: value for name, value in particulars.items() if name not in names}
    personal = {name: particulars[name] for name in names if particulars.get(name) is not None}
    return facts, personal or None


def whole_particulars(kind: EntryKind, personal: Mapping[str, object] | None) -> dict[str, object]:
    """Return everything that an entry of this kind says of a person, None for what it does not say (any more)."""
    return dict.fromkeys(PERSONAL.get(kind, ())) | dict(personal or {})


def leaf_hash(canonical: bytes) -> bytes:
    """Return the RFC 6962 leaf hash (32 bytes) of a record's canonical bytes."""
    return hashlib.sha256(b"\x00" + canonical).digest()


def time_text(instant: datetime) -> str:
    """Return an instant as text in UTC with exactly six decimals, so that what is hashed is what is stored."""
    if instant.tzinfo is None:
        raise ValueError("a recorded time needs its time zone")
    # Not strftime: it does not pad years before 1000, and PostgreSQL would read another year.
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
