"""Erasures: which texts there are by name, why somebody asks, and how an account of it is written down.

An account is what an entry PERSONAL_DATA_ERASED (or a leaf log_erasure) says: what is erased, why, on which request.
It is kept for ever, and so are the names in it: a reason names no person.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from tocsin.domain.timeline import EntryKind
from tocsin.domain.workflow import checked_text
from tocsin.errors import Code, refuse

MAX_REASON_CHARACTERS = 500
MAX_REQUEST_CHARACTERS = 200
MAX_NAMED_BYTES = 40_000
"""How much one account may name: an entry has at most 65,535 bytes."""
_IDS_EACH = 500

_Place = tuple[str, str, EntryKind | None]
TEXTS: Mapping[str, tuple[_Place, ...]] = {
    "title": (("incidents", "title", None),),
    "description": (("incidents", "description", None),),
    "ack_notes": (
        ("incident_acknowledgments", "ack_notes", None),
        ("incident_lifecycle", "personal", EntryKind.ACKNOWLEDGED),
    ),
    "root_cause_summary": (("incident_root_causes", "root_cause_summary", None),),
    "remediation_steps": (("incident_root_causes", "remediation_steps", None),),
    "escalation_notes": (
        ("incident_escalations", "escalation_notes", None),
        ("incident_lifecycle", "personal", EntryKind.ESCALATED),
        ("incident_lifecycle", "personal", EntryKind.SEVERITY_CHANGED),
    ),
    "resolution_summary": (("incident_resolution", "resolution_summary", None),),
    "resolution_notes": (("incident_resolution", "resolution_notes", None),),
    "impact_assessment": (("incident_resolution", "impact_assessment", None),),
    "lessons_learned": (
        ("incident_resolution", "lessons_learned", None),
        ("incident_closures", "lessons_learned", None),
    ),
    "follow_up_actions": (
        ("incident_resolution", "follow_up_actions", None),
        ("incident_closures", "follow_up_actions", None),
    ),
    "notes": (("incident_lifecycle", "personal", EntryKind.NOTE_ADDED),),
    "signals": (("incident_lifecycle", "personal", EntryKind.SIGNAL_RECEIVED),),
}
"""The texts of an incident by the names that people use, and every place where each of them stands."""

Named = dict[str, object]
"""One item of what an account names: rows of a table by their checksum and columns, or by their ids."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """Why something is erased, and on which request (its number in another system, say). Neither names a person."""

    reason: str
    request: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", _line("reason", self.reason, MAX_REASON_CHARACTERS))
        request = (self.request or "").strip()
        object.__setattr__(self, "request", _line("request", request, MAX_REQUEST_CHARACTERS) if request else None)

    def account(self, named: Sequence[Named]) -> dict[str, object]:
        """Return what an entry says of an erasure."""
        return {"erased": list(named), "reason": self.reason, "request": self.request}


def _line(field: str, value: str, limit: int) -> str:
    text = checked_text(field, value)
    if len(text) > limit or not text.isprintable():
        problem = f"must be one printable line of at most {limit} characters"
        raise refuse(Code.INVALID, f"{field} {problem}.", errors=[{"field": field, "problem": problem}])
    return text


@dataclass(frozen=True, slots=True)
class ErasableRow:
    """A row that holds texts, by its checksum, with the columns that do; of an entry also its kind and its event.

    `for_ever` says that it was recorded before there were disclosures: its texts stand in its canonical bytes.
    """

    table: str
    checksum: bytes
    columns: tuple[str, ...]
    kind: EntryKind | None = None
    event_id: str | None = None
    for_ever: bool = False

    def of(self, names: Iterable[str]) -> ErasableRow | None:
        """Return the row with those of its columns alone that texts of these names stand in; None without any."""
        places = {place for name in names for place in TEXTS[name]}
        columns = tuple(column for column in self.columns if (self.table, column, self.kind) in places)
        return replace(self, columns=columns) if columns else None

    def named(self) -> Named:
        """Return how an account names it."""
        return {"table": self.table, "checksum": self.checksum.hex(), "columns": list(self.columns)}


ALL_REPORTS: Named = {"table": "audit_logs", "all": True}
"""Every report that the incident of an account had when it was written."""


def by_ids(table: str, ids: Sequence[UUID]) -> list[Named]:
    """Return how accounts name rows by their ids, a portion in each item."""
    return [
        {"table": table, "ids": [str(one) for one in ids[start : start + _IDS_EACH]]}
        for start in range(0, len(ids), _IDS_EACH)
    ]


def portions(named: Iterable[Named]) -> Iterator[list[Named]]:
    """Part what is to be named into accounts, none of which is too large for an entry."""
    portion: list[Named] = []
    size = 0
    for item in named:
        weight = len(json.dumps(item))
        if portion and size + weight > MAX_NAMED_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(item)
        size += weight
    if portion:
        yield portion


def checked_texts(names: Iterable[str] | None) -> tuple[str, ...]:
    """Return the names of texts, None for all of them; raise INVALID for one that there is not."""
    wanted = tuple(TEXTS) if names is None else tuple(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in TEXTS]
    if unknown or not wanted:
        problem = f"must be some of {', '.join(TEXTS)}"
        raise refuse(
            Code.INVALID,
            f"There is no text {', '.join(unknown) or 'named'}: the texts {problem}.",
            errors=[{"field": "texts", "problem": problem}],
        )
    return wanted
