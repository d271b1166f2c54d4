"""A field mapping as it is used: which path of a foreign JSON document leads to which part of a report.

`tocsin.intake.field_mapping` reads it from what an operator wrote; `tocsin.intake.generic` follows it.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    _by_member: dict[str, set[str]] = field(init=False, repr=False, compare=False, default_factory=dict)
    _by_any: set[str] = field(init=False, repr=False, compare=False, default_factory=set)

    def __post_init__(self) -> None:
        for name, alternatives in self.fields.items():
            for source in alternatives:
                if isinstance(source, Path) and not source.from_document:
                    self._by_member.setdefault(source.steps[0], set()).add(name)
                else:
                    self._by_any.add(name)

    def within_reach(self, item: Mapping[str, object]) -> set[str]:
        """Return the names of the fields that may be found for an item: of a mapping with many paths these are few."""
        return self._by_any.union(*[self._by_member[member] for member in self._by_member.keys() & item.keys()])
