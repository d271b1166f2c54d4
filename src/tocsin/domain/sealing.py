"""Sealing: the canonical bytes and the checksum of a row that is to be recorded.

Every recorded row is written together with its canonical bytes (RFC 8785 JSON of its columns), which nobody rebuilds
afterwards. Of what people wrote the bytes hold commitments only (`tocsin.domain.disclosure`), so that it can be erased.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec
import rfc8785

from tocsin.domain.disclosure import COMMITMENTS, DISCLOSABLE, commitments, disclose
from tocsin.domain.report import MAX_INTEGER
from tocsin.domain.timeline import CANONICAL_VERSION, leaf_hash, time_text

_FOUR_BYTE_CHARACTER = re.compile(rb"[\xf0-\xf7]")


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


def _canonical_bytes(document: dict[str, object]) -> bytes:
    """Return the RFC 8785 form of what `_canonical_value` made.

    msgspec writes the same ten times as fast: its escapes are the RFC's, and no floats come here. Only its order is
    that of UTF-8 where the RFC wants that of UTF-16: they differ if there are characters beyond the first 65,536.
    """
    written = msgspec.json.encode(document, order="sorted")
    if _FOUR_BYTE_CHARACTER.search(written):
        return rfc8785.dumps(document)  # type: ignore[arg-type]  # _canonical_value lets nothing else through
    return written


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
