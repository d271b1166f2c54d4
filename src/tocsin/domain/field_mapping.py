"""A field mapping as it is used: which path of a foreign JSON document leads to which part of a report.

`tocsin.intake.field_mapping` reads it from what an operator wrote; `tocsin.intake.generic` follows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tocsin.domain.incident import Severity
from tocsin.domain.report import Signal

SIGNALS = {
    "resolved": Signal.RESOLVE,
    "resolve": Signal.RESOLVE,
    "ok": Signal.RESOLVE,
    "acknowledged": Signal.ACKNOWLEDGE,
    "acknowledge": Signal.ACKNOWLEDGE,
}
"""What other systems call a signal, in lower case, where the mapping does not say."""


@dataclass(frozen=True, slots=True)
class Path:
    """The way to a value: names and indexes. `from_document` starts at the whole document, not at the item."""

    steps: tuple[str, ...]
    from_document: bool = False


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that the mapping itself gives."""

    value: str


Alternatives = tuple[Path | Literal, ...]


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """A validated mapping. `fields` has no fingerprint: its parts are in `fingerprint`, in their order."""

    fields: dict[str, Alternatives]
    fingerprint: tuple[Alternatives, ...] = ()
    items: Path | None = None
    severities: dict[str, Severity] = field(default_factory=dict)
    signals: dict[str, Signal] = field(default_factory=lambda: dict(SIGNALS))
