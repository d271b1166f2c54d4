"""The timeline: kinds of entries, and the canonical bytes of everything that is recorded.

Every recorded row is written together with its canonical bytes (RFC 8785 JSON of its columns), which nobody
rebuilds afterwards; its checksum is the leaf hash of RFC 6962, 2.1: sha256(0x00 || bytes). Of what people wrote the
bytes hold commitments only (`tocsin.domain.disclosure`), so that it can be erased.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import msgspec
import rfc8785

from tocsin.domain.disclosure import COMMITMENTS, DISCLOSABLE, commitments, disclose
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
    PERSONAL_DATA_ERASED = "PERSONAL_DATA_ERASED"


PERSONAL: Mapping[EntryKind, tuple[str, ...]] = {
    # A report can be guessed whole; so its checksum is committed to with a salt, as the texts are.
    EntryKind.REPORTED: ("errorChecksum",),
    EntryKind.ACKNOWLEDGED: ("notes",),
    EntryKind.ESCALATED: ("notes",),
    EntryKind.SEVERITY_CHANGED: ("reason",),
    EntryKind.NOTE_ADDED: ("text",),
    EntryKind.SIGNAL_RECEIVED: ("text", "eventId"),
}
"""What of an entry's particulars may concern a person, by its kind. The rest are facts, and stay for ever."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A record ready to be written: its columns, its canonical bytes and their checksum (32 bytes).

    `disclosed` are the columns that the bytes only commit to, as plain JSON; `disclosures` are what they commit to.
    """

    columns: Mapping[str, object]
    canonical: bytes
    checksum: bytes
    disclosed: Mapping[str, object]
    disclosures: tuple[str, ...]


def seal(table: str, columns: Mapping[str, object], new_salt: Callable[[], bytes]) -> Sealed:
    """Make the canonical bytes and the checksum of a row.

    `columns` are the row's columns except `canonical`, `checksum`, `disclosures` and `erased`: text, int, bool, None,
    UUID, aware datetime (microseconds kept), bytes, and JSON of those without floats. `new_salt` gives 16 random bytes.
    Raises ValueError for a float or a time without zone and TypeError for any other type: what cannot be written
    canonically must not be recorded.
    """
    disclosed = plain_texts(table, columns)
    disclosures = tuple([disclose(name, value, new_salt()) for name, value in disclosed.items()])
    canonical = canonical_bytes(table, columns, commitments(disclosures) if table in DISCLOSABLE else None)
    return Sealed(columns, canonical, leaf_hash(canonical), disclosed, disclosures)


def plain_texts(table: str, columns: Mapping[str, object]) -> dict[str, object]:
    """Return the disclosable columns of a row that hold something, as plain JSON."""
    return {
        name: _canonical_value(columns[name]) for name in DISCLOSABLE.get(table, ()) if columns.get(name) is not None
    }


def canonical_bytes(table: str, columns: Mapping[str, object], committed: Sequence[str] | None) -> bytes:
    """Return the canonical bytes of a row with these commitments; without any (None) each column stands in them itself.

    Raises as `seal` does.
    """
    left_out = DISCLOSABLE.get(table, ()) if committed is not None else ()
    document = {name: _canonical_value(value) for name, value in columns.items() if name not in left_out}
    document |= {"record": table, "v": CANONICAL_VERSION}
    if committed is not None:
        document[COMMITMENTS] = list(committed)
    return _canonical_bytes(document)


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
