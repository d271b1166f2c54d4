"""The timeline: kinds of entries, and the canonical bytes of everything that is recorded.

Every recorded row is written together with its canonical bytes (RFC 8785 JSON of its columns), which nobody
rebuilds afterwards; its checksum is the leaf hash of RFC 6962, 2.1: sha256(0x00 || bytes).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import msgspec
import rfc8785

from tocsin.domain.report import MAX_INTEGER

CANONICAL_VERSION = 1
MAX_ENTRY_BYTES = 65_535
MAX_DETAIL_BYTES = 524_288

_FOUR_BYTE_CHARACTER = re.compile(rb"[\xf0-\xf7]")


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


@dataclass(frozen=True, slots=True)
class Sealed:
    """A record ready to be written: its columns, its canonical bytes and their checksum (32 bytes)."""

    columns: Mapping[str, object]
    canonical: bytes
    checksum: bytes


def seal(table: str, columns: Mapping[str, object]) -> Sealed:
    """Make the canonical bytes and the checksum of a row.

    `columns` are the row's columns except `canonical` and `checksum`: text, int, bool, None, UUID, aware
    datetime (microseconds kept), bytes, and JSON of those without floats. Raises ValueError for a float or a time
    without zone and TypeError for any other type: what cannot be written canonically must not be recorded.
    """
    document = {name: _canonical_value(value) for name, value in columns.items()}
    document |= {"record": table, "v": CANONICAL_VERSION}
    canonical = _canonical_bytes(document)
    return Sealed(columns, canonical, leaf_hash(canonical))


def _canonical_bytes(document: dict[str, object]) -> bytes:
    """Return the RFC 8785 form of what `_canonical_value` made.

    msgspec writes the same ten times as fast: its escapes are the RFC's, and no floats come here. Only its order is
    that of UTF-8 where the RFC wants that of UTF-16: they differ if there are characters beyond the first 65,536.
    """
    written = msgspec.json.encode(document, order="sorted")
    if _FOUR_BYTE_CHARACTER.search(written):
        return rfc8785.dumps(document)  # type: ignore[arg-type]  # _canonical_value lets nothing else through
    return written


def leaf_hash(canonical: bytes) -> bytes:
    """Return the RFC 6962 leaf hash (32 bytes) of a record's canonical bytes."""
    return hashlib.sha256(b"\x00" + canonical).digest()


def _canonical_value(value: object) -> object:
    match value:
        case int() if abs(value) > MAX_INTEGER:
            raise ValueError("a recorded number must be exact everywhere: write a larger one as text")
        case None | bool() | int() | str():
            return str(value) if isinstance(value, StrEnum) else value
        case UUID():
            return str(value)
        case datetime():
            return time_text(value)
        case bytes():
            return "\\x" + value.hex()
        case dict():
            return {str(key): _canonical_value(item) for key, item in value.items()}
        case list() | tuple():
            return [_canonical_value(item) for item in value]
        case float():
            raise ValueError("a recorded value must not be a float: write it as text")
        case _:
            raise TypeError(f"a recorded value cannot be a {type(value).__name__}")


def time_text(instant: datetime) -> str:
    """Return an instant as text in UTC with exactly six decimals, so that what is hashed is what is stored."""
    if instant.tzinfo is None:
        raise ValueError("a recorded time needs its time zone")
    # Not strftime: it does not pad years before 1000, and PostgreSQL would read another year.
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
