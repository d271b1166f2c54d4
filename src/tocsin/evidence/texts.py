"""What people wrote: a record commits to it (RFC 9901), and a bundle may disclose it, all of it or some.

What is disclosed must be what the record commits to, in a column that holds texts. What is not is *withheld* by whoever
made the bundle, or *erased*: then an entry PERSONAL_DATA_ERASED names it. Either way everything else is proven as well.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import rfc8785

from tocsin.domain.disclosure import COMMITMENTS, DISCLOSABLE, commitment
from tocsin.domain.timeline import EntryKind
from tocsin.evidence import EvidenceError
from tocsin.evidence.bundle import load_json

_COMMITMENT = re.compile(r"[A-Za-z0-9_-]{43}")
_DISCLOSURE = re.compile(r"[A-Za-z0-9_-]+")
_SALT = re.compile(r"[A-Za-z0-9_-]{22,}")
_CHECKSUM = re.compile(r"[0-9a-f]{64}")
Erasures = dict[tuple[str, str], dict[str, int]]
"""Which columns of which row (table, checksum in hex) were erased, and by which entry."""


class TextState(StrEnum):
    """What a bundle has of a text."""

    DISCLOSED = "disclosed"
    WITHHELD = "withheld"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Text:
    """A text of the incident.

    Args:
        entry: the entry of the timeline that it belongs to.
        table: the table of the record that commits to it: that of the entry, or of its detail.
        name: the column; None if it is withheld, and could be one of several.
        value: what it says: text, or plain JSON. None unless it is disclosed.
        erased_by: the entry that erased it. Who kept the disclosure of such a text can still show it.
    """

    entry: int
    kind: EntryKind
    table: str
    name: str | None
    state: TextState
    value: Any = None
    erased_by: int | None = None


@dataclass(frozen=True, slots=True)
class RecordTexts:
    """The texts of one record: by their columns those that are disclosed and those that were erased, and the rest."""

    table: str
    disclosed: Mapping[str, Any] = field(default_factory=dict)
    erased: Mapping[str, int] = field(default_factory=dict)
    withheld: int = 0

    def may_have(self, *names: str) -> bool:
        """Tell whether these may all be there, as far as can be known: what is withheld can be any of them."""
        unknown = [name for name in names if name not in self.disclosed and name not in self.erased]
        return len(unknown) <= self.withheld and all(self.disclosed.get(name, True) for name in names)

    def of_entry(self, entry: int, kind: EntryKind) -> Iterator[Text]:
        """Yield them as those of an entry."""
        left: list[str | None] = []
        for name in DISCLOSABLE.get(self.table, ()):
            by = self.erased.get(name)
            if name in self.disclosed:
                yield Text(entry, kind, self.table, name, TextState.DISCLOSED, self.disclosed[name], by)
            elif by is not None:
                yield Text(entry, kind, self.table, name, TextState.ERASED, erased_by=by)
            else:
                left.append(name)
        for one in left if len(left) == self.withheld else [None] * self.withheld:
            yield Text(entry, kind, self.table, one, TextState.WITHHELD)


def texts_of(said: Mapping[str, Any], disclosures: Sequence[str], erased: Mapping[str, int]) -> RecordTexts:
    """Return the texts of a record, of which entries say that some were erased. Raises EvidenceError."""
    table = said["record"]
    names = DISCLOSABLE.get(table, ())
    committed = _commitments(said, names)
    if committed is None:
        if disclosures or erased:
            raise EvidenceError("it commits to no texts, so none can be disclosed or erased")
        return RecordTexts(table, {name: said[name] for name in names if said.get(name) is not None})
    disclosed: dict[str, Any] = {}
    for disclosure in disclosures:
        if commitment(disclosure) not in committed:
            raise EvidenceError("a disclosure is none of its own: it was changed, invented, or is another record's")
        name, value = _read(disclosure)
        if name not in names or not _is_form(name, value):
            raise EvidenceError(f"it discloses {name[:40]!r}, which is no text of {table}")
        if name in disclosed:
            raise EvidenceError(f"it discloses {name} twice")
        disclosed[name] = value
    withheld = len(committed) - len(disclosed.keys() | erased.keys())
    if withheld < 0:
        raise EvidenceError("more of its texts are disclosed or erased than it has")
    return RecordTexts(table, disclosed, erased, withheld)


def _commitments(said: Mapping[str, Any], names: Sequence[str]) -> list[str] | None:
    """Return what a record commits to; None for one that holds its texts, or can have none."""
    if COMMITMENTS not in said:
        return None
    committed = said[COMMITMENTS]
    if not isinstance(committed, list) or not all(
        isinstance(one, str) and _COMMITMENT.fullmatch(one) for one in committed
    ):
        raise EvidenceError("its commitments are no list of hashes")
    if committed != sorted(set(committed)) or len(committed) > len(names) or not said.keys().isdisjoint(names):
        raise EvidenceError("its commitments are not those of a record of its table")
    return committed


def _is_form(name: str, value: object) -> bool:
    """Tell whether such a column holds such a value: text, and in two of them plain objects."""
    if name == "follow_up_actions":
        return isinstance(value, list) and all(map(_is_plain, value))
    return _is_plain(value) if name == "personal" else isinstance(value, str)


def _is_plain(value: object) -> bool:
    return isinstance(value, dict) and not any(isinstance(item, dict | list) for item in value.values())


def _read(disclosure: str) -> tuple[str, Any]:
    """Return name and value of a disclosure, read as strictly as everything else in a bundle."""
    told: Any = None
    if _DISCLOSURE.fullmatch(disclosure) and len(disclosure) % 4 != 1:
        told = load_json(base64.urlsafe_b64decode(disclosure + "=" * (-len(disclosure) % 4)), "a disclosure")
    match told:
        case [str(salt), str(name), value] if _SALT.fullmatch(salt) and value is not None:
            try:
                rfc8785.dumps(value)
            except (ValueError, RecursionError) as error:
                raise EvidenceError(f"a disclosure has no canonical form: {error}") from None
            return name, value
        case _:
            raise EvidenceError("a disclosure is not base64url of [salt, name, value]")


def erasures_of(sequence: int, said: Mapping[str, Any], known: Erasures) -> None:
    """Add to `known` which texts an entry PERSONAL_DATA_ERASED names. Raises EvidenceError if it names none well."""
    account = said["metadata"]
    named = account.get("erased") if isinstance(account, dict) else None
    if not isinstance(named, list) or not named:
        raise EvidenceError("it does not say what it erased")
    for item in named:
        match item:
            case {"table": "audit_logs"}:
                continue
            case {"table": str(table), "checksum": str(checksum), "columns": [*columns]} if (
                _CHECKSUM.fullmatch(checksum)
                and columns
                and all(isinstance(name, str) and name in DISCLOSABLE.get(table, ()) for name in columns)
            ):
                known.setdefault((table, checksum), {}).update(dict.fromkeys(columns, sequence))
            case _:
                raise EvidenceError("it erased what is no text of the record")
