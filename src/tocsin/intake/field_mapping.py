"""A field mapping: where, in a JSON document of somebody else, the parts of a report stand.

```json
{
  "items": "alerts",
  "fields": {
    "message": ["annotations.summary", "annotations.description"],
    "severity": ["labels.severity", {"value": "error"}],
    "fingerprint": ["labels.alertname", "labels.host"],
    "tags.region": "/labels/cloud.region",
    "service": "$.cluster"
  },
  "severities": {"P1": "critical", "P2": "error"},
  "signals": {"resolved": "resolve", "acked": "acknowledge"}
}
```

A path is dotted (`labels.host`, `results.0.text`) or, where a name contains a dot, a JSON Pointer (RFC 6901:
`/labels/cloud.region`). It starts at the item; one that begins with `$.` starts at the whole document, but not for
`message` and `context`, of which every item would keep a copy. Of a list the first path counts at which something
stands that fits its field; `{"value": …}` is a literal. The list of a fingerprint is one of its parts instead, and
each of them may be a list of paths in turn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from tocsin.domain.field_mapping import SIGNALS, Alternatives, FieldMapping, Literal, Path
from tocsin.domain.report import MAX_FINGERPRINT_PARTS, MAX_TAGS, Signal
from tocsin.errors import Code, refuse
from tocsin.intake.reading import SEVERITIES, Reader, scalar_text

MAX_FIELDS = 100
MAX_ALTERNATIVES = 8
MAX_PATH_CHARACTERS = 200
MAX_PATH_STEPS = 16
MAX_WORDS = 100
"""Entries of `severities` and of `signals`."""
MAX_LITERAL_CHARACTERS = 1_000

TEXT_FIELDS = (
    "eventId",
    "type",
    "message",
    "template",
    "platform",
    "service",
    "environment",
    "release",
    "serverName",
    "logger",
    "culprit",
    "userId",
    "traceId",
)
"""Fields that hold a text."""

_NAMED = frozenset({*TEXT_FIELDS, "severity", "occurredAt", "fingerprint", "signal", "tags", "context"})
_PARTS = ("tags.", "context.")
_MEMBERS = ("items", "fields", "severities", "signals")
_WORDS = {signal.value: signal for signal in Signal}
_STRAY_TILDE = re.compile("~(?![01])")

T = TypeVar("T")


def parse_mapping(document: object) -> FieldMapping:
    """Return the mapping that a JSON document describes.

    Raises:
        TocsinError: INVALID; `errors` in the details names every wrong entry.
    """
    reader = _MappingReader()
    mapping = reader.mapping_of(document)
    if reader.problems:
        named = "; ".join(f"{problem['field']} {problem['problem']}" for problem in reader.problems[:5])
        raise refuse(
            Code.INVALID,
            f"The field mapping is not valid: {named}.",
            "Correct the entries. Only message or type has to be mapped; a path is alert.labels.name or /alert/name.",
            errors=reader.problems,
        )
    return mapping


class _MappingReader(Reader):
    """Reads a mapping and remembers what is wrong with it."""

    __slots__ = ()

    def mapping_of(self, document: object) -> FieldMapping:
        if not isinstance(document, dict):
            self.wrong_kind("mapping", "an object", document)
            return FieldMapping({})
        for unknown in sorted(set(document).difference(_MEMBERS)):
            self.problem(unknown, f"is unknown: a mapping has {', '.join(_MEMBERS)}")
        sources = self._at_most(self.mapping(document, "fields"), MAX_FIELDS, "fields")
        fields = {name: self._alternatives(f"fields.{name}", sources[name]) for name in self._known(sources)}
        if not sources.keys() & {"message", "type", "signal"}:
            self.problem("fields", "must name message or type: a report has to say what went wrong")
        signals = self._words(document, "signals", _WORDS)
        return FieldMapping(
            fields=fields,
            fingerprint=self._fingerprint(sources.get("fingerprint")),
            items=self._items(document.get("items")),
            severities=self._words(document, "severities", SEVERITIES),
            signals=signals or dict(SIGNALS),
        )

    def _known(self, sources: Mapping[str, object]) -> list[str]:
        """Return the names of the fields whose sources are alternatives."""
        for name in sources:
            if name not in _NAMED and not any(name.startswith(part) and name != part for part in _PARTS):
                self.problem(f"fields.{name}", "is not a field of a report")
            elif name.startswith(("context", "message")) and _starts_at_document(sources[name]):
                self.problem(f"fields.{name}", "must not begin with $.: every item would keep a copy of it")
        if sum(name.startswith("tags.") for name in sources) > MAX_TAGS:
            self.problem("fields", f"must not have more than {MAX_TAGS} tags")
        return [name for name in sources if name != "fingerprint"]

    def _at_most(self, entries: dict[str, object], limit: int, at: str) -> dict[str, object]:
        if len(entries) <= limit:
            return entries
        self.problem(at, f"must not have more than {limit} entries")
        return {}

    def _words(self, document: Mapping[str, object], at: str, known: Mapping[str, T]) -> dict[str, T]:
        """Return a map from what a sender says, in lower case, to what it means."""
        entries = self._at_most(self.mapping(document, at), MAX_WORDS, at)
        words: dict[str, T] = {}
        for word, meant in entries.items():
            meaning = known.get(meant.strip().lower()) if isinstance(meant, str) else None
            if meaning is None:
                self.problem(f"{at}.{word}", f"must be one of {', '.join(known)}")
            else:
                words[word.strip().lower()] = meaning
        return words

    def _items(self, value: object) -> Path | None:
        path = None if value is None else self._path("items", value)
        if path is not None and path.from_document:
            self.problem("items", "must not begin with $.: it starts at the whole document anyway")
        return path

    def _fingerprint(self, value: object) -> tuple[Alternatives, ...]:
        if value is None:
            return ()
        parts = value if isinstance(value, list) else [value]
        if not 0 < len(parts) <= MAX_FINGERPRINT_PARTS:
            self.problem("fields.fingerprint", f"must have 1 to {MAX_FINGERPRINT_PARTS} parts")
            return ()
        return tuple(self._alternatives(f"fields.fingerprint[{index}]", part) for index, part in enumerate(parts))

    def _alternatives(self, at: str, value: object) -> Alternatives:
        if not isinstance(value, list):
            return self._source(at, value)
        if not 0 < len(value) <= MAX_ALTERNATIVES:
            self.problem(at, f"must be 1 to {MAX_ALTERNATIVES} paths")
            return ()
        return tuple(source for index, part in enumerate(value) for source in self._source(f"{at}[{index}]", part))

    def _source(self, at: str, value: object) -> Alternatives:
        """Return a path or a literal, or nothing if it is neither."""
        if isinstance(value, dict) and value.keys() == {"value"}:
            text = scalar_text(value["value"])
            if text is not None and len(text) <= MAX_LITERAL_CHARACTERS:
                return (Literal(text),)
            self.problem(f"{at}.value", f"must be a text or a number of at most {MAX_LITERAL_CHARACTERS:,} characters")
            return ()
        path = self._path(at, value)
        return () if path is None else (path,)

    def _path(self, at: str, value: object) -> Path | None:
        if not isinstance(value, str):
            self.problem(at, 'must be a path, {"value": …} or a list of them')
            return None
        from_document = value.startswith("$.")
        steps = _pointer(value) if value.startswith("/") else value.removeprefix("$.").split(".")
        if len(value) > MAX_PATH_CHARACTERS or len(steps) > MAX_PATH_STEPS:
            self.problem(at, f"must have at most {MAX_PATH_CHARACTERS} characters and {MAX_PATH_STEPS} steps")
        elif value.startswith("/") and _STRAY_TILDE.search(value):
            self.problem(at, "must write ~ as ~0 and / within a name as ~1 (RFC 6901)")
        elif not value.startswith("/") and not all(steps):
            self.problem(at, "must not have an empty step: a name may be written as a JSON Pointer instead")
        else:
            return Path(tuple(steps), from_document)
        return None


def _starts_at_document(value: object) -> bool:
    paths = value if isinstance(value, list) else [value]
    return any(isinstance(path, str) and path.startswith("$.") for path in paths)


def _pointer(text: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in text[1:].split("/")]
