"""Any JSON: what somebody else's program sends, read with the field mapping that its project has for it.

The sender cannot be told to do better, so little is refused: a value that does not fit its field counts as absent.
Nothing is lost by that. What no field took stays in the context of its report, and what stands beside a list of items
in the context of the first.

A report without a severity is HIGH, and so is one whose word for it nobody knows: too loud is mended sooner than too
quiet. A signal has an event id of its own, or it would be taken for a copy of what it is about.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TypeVar

from tocsin.domain.field_mapping import Alternatives, FieldMapping, Literal
from tocsin.domain.incident import Severity
from tocsin.domain.report import MAX_FINGERPRINT_PARTS, MAX_MESSAGE_CHARACTERS, MAX_TAGS, ErrorReport, bounded, cut
from tocsin.errors import Code, TocsinError, refuse
from tocsin.intake import Rejected
from tocsin.intake.decoding import parse_json
from tocsin.intake.field_mapping import parse_mapping
from tocsin.intake.reading import SEVERITIES, instant_of, scalar_text

MAX_ITEMS = 1_000
"""Items of one request that are read; the others are rejected, and so counted."""

GUESSED = parse_mapping(
    {
        "fields": {
            "message": ["message", "msg", "error.message", "error", "summary", "title", "description", "text"],
            "type": ["type", "error.type", "error.name", "errorType", "error_type"],
            "severity": ["severity", "level", "error.severity", "error.level", "log.level"],
            "occurredAt": ["occurredAt", "timestamp", "@timestamp", "time", "ts"],
            # Not "id": in many documents that is a rule's, and all but its first report would pass for copies.
            "eventId": ["eventId", "event_id"],
            "fingerprint": ["fingerprint"],
            "service": ["service", "service.name", "app", "application"],
            "environment": ["environment", "env"],
            "release": ["release", "version"],
            "serverName": ["serverName", "hostname", "host", "host.name"],
            "logger": ["logger", "logger_name"],
            "traceId": ["traceId", "trace_id"],
            "userId": ["userId", "user_id", "user.id"],
            "tags": ["tags", "labels"],
        },
        "severities": {
            "emergency": "critical",
            "panic": "critical",
            "alert": "critical",
            "crit": "critical",
            "severe": "error",
            "err": "error",
            "notice": "info",
            "trace": "debug",
        },
    }
)
"""What a sender without a mapping probably means."""

_ABSENT = object()

T = TypeVar("T")


def parse_generic(
    body: bytes, mapping: FieldMapping, *, received_at: datetime, new_event_id: Callable[[], str]
) -> list[ErrorReport | Rejected]:
    """Return what one request reports, in its order: an object, an array of them, or a list at `mapping.items`.

    Args:
        body: decompressed.
        mapping: the project's; GUESSED if it has none.
        received_at: stands in where the sender does not say when (UTC).
        new_event_id: makes an id for a report that has none.

    Raises:
        TocsinError: MALFORMED, or INVALID (nothing at `mapping.items`).
    """
    document = parse_json(body)
    items, rest = _items(document, mapping)
    outcomes: list[ErrorReport | Rejected] = []
    for index, item in enumerate(items[:MAX_ITEMS]):
        try:
            outcomes.append(
                read_item(
                    item,
                    document,
                    mapping,
                    {} if index or not rest else {"request": rest},
                    received_at=received_at,
                    new_event_id=new_event_id,
                )
            )
        except TocsinError as error:
            outcomes.append(Rejected(index, error.refusal.message))
    # One object for all of them: a request may hold hundreds of thousands.
    beyond = Rejected(MAX_ITEMS, f"The request has more than {MAX_ITEMS:,} items.")
    return outcomes + [beyond] * (len(items) - MAX_ITEMS)


def read_item(
    item: object,
    document: object,
    mapping: FieldMapping,
    context: Mapping[str, object],
    *,
    received_at: datetime,
    new_event_id: Callable[[], str],
    left_out: Mapping[str, int] | None = None,
) -> ErrorReport:
    """Return the report that one item is.

    Args:
        item: where the mapping's paths start.
        document: where those start that begin with `$.`.
        mapping: which path leads to which field.
        context: what the report keeps beside what no field took.
        received_at: as `parse_generic`.
        new_event_id: as `parse_generic`.
        left_out: as `bounded`.

    Raises:
        TocsinError: INVALID (no object, or neither a message nor a type nor a signal in it).
    """
    if not isinstance(item, dict):
        raise refuse(Code.INVALID, "An item must be a JSON object.", "Correct `items` of the field mapping.")
    found = _Finder(item, document, mapping)
    signal = found.first("signal", lambda value: mapping.signals.get(_word(value)))
    error_type, message = found.text("type"), found.text("message") or found.first("message", _as_json) or ""
    if not error_type.strip() and not message.strip() and signal is None:
        raise refuse(
            Code.INVALID,
            "The item has no message and no type where they are looked for.",
            "Name where they stand in a file, and set it: `tocsin projects mapping PROJECT FILE`. Without one the usual"
            " names are tried: `message`, `msg`, `type`.",
        )
    event_id = found.text("eventId") or new_event_id()
    report = ErrorReport(
        event_id=f"{event_id}-{signal.value}" if signal else event_id,
        severity=found.first("severity", lambda value: _severity(value, mapping)) or Severity.HIGH,
        error_type=error_type,
        message=message,
        occurred_at=found.first("occurredAt", instant_of) or received_at,
        template=found.text("template"),
        fingerprint=found.fingerprint(),
        platform=found.text("platform"),
        service=found.text("service"),
        environment=found.text("environment"),
        release=found.text("release"),
        server_name=found.text("serverName"),
        logger=found.text("logger"),
        culprit=found.text("culprit"),
        trace_id=found.text("traceId"),
        user_id=found.text("userId"),
        tags=found.tags(),
        context={**context, **found.context()},
        signal=signal,
    )
    return bounded(report, received_at=received_at, left_out=left_out)


def _items(document: object, mapping: FieldMapping) -> tuple[list[object], object]:
    """Return the items of a document, and what stands beside them."""
    if mapping.items is None:
        return (document if isinstance(document, list) else [document]), {}
    found = _at(document, mapping.items.steps)
    if found is _ABSENT or found is None:
        raise refuse(
            Code.INVALID,
            f"Nothing stands at {'.'.join(mapping.items.steps)}, where the field mapping looks for items.",
            "Correct `items` of the field mapping, or what is sent.",
        )
    return (found if isinstance(found, list) else [found]), _without(document, [mapping.items.steps])


class _Finder:
    """Finds the fields of one item, and remembers which paths led to one: the context keeps the rest."""

    __slots__ = ("_document", "_item", "_mapping", "_used", "_within_reach")

    def __init__(self, item: dict[str, object], document: object, mapping: FieldMapping) -> None:
        self._item = item
        self._document = document
        self._mapping = mapping
        self._within_reach = mapping.within_reach(item)
        self._used: list[tuple[str, ...]] = []

    def first(self, name: str, fit: Callable[[object], T | None]) -> T | None:
        """Return the first alternative of a field that fits. A text without a character does not."""
        return self._first(self._mapping.fields[name], fit) if name in self._within_reach else None

    def text(self, name: str) -> str:
        return self.first(name, _text) or ""

    def fingerprint(self) -> tuple[str, ...]:
        """Return the parts: an absent one is empty and keeps its place, for it tells two failures apart, too."""
        found = [self._first(alternatives, _parts) or ("",) for alternatives in self._mapping.fingerprint]
        parts = tuple(part for some in found for part in some)
        return parts if any(part.strip() for part in parts) else ()

    def tags(self) -> dict[str, str]:
        return {**(self.first("tags", _texts) or {}), **dict(self._members("tags.", _text))}

    def context(self) -> dict[str, object]:
        """Return what is mapped to the context, and what no field took. To be asked for last."""
        mapped = {**(self.first("context", _object) or {}), **dict(self._members("context.", _anything))}
        rest = _without(self._item, self._used)
        return {**mapped, **rest} if isinstance(rest, dict) else mapped

    def _members(self, prefix: str, fit: Callable[[object], T | None]) -> Iterable[tuple[str, T]]:
        for name, alternatives in self._mapping.fields.items():
            if name not in self._within_reach or not name.startswith(prefix):
                continue
            if (found := self._first(alternatives, fit)) is not None:
                yield name.removeprefix(prefix), found

    def _first(self, alternatives: Alternatives, fit: Callable[[object], T | None]) -> T | None:
        for source in alternatives:
            if isinstance(source, Literal):
                value: object = source.value
            else:
                value = _at(self._document if source.from_document else self._item, source.steps)
            fitted = None if value is _ABSENT else fit(value)
            if fitted is not None:
                if not isinstance(source, Literal) and not source.from_document:
                    self._used.append(source.steps)
                return fitted
        return None


def _at(document: object, steps: Iterable[str]) -> object:
    """Return what stands at the end of a path, or _ABSENT."""
    value = document
    for step in steps:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and len(step) < 10 and int(step) < len(value):
            value = value[int(step)]
        else:
            return _ABSENT
    return value


def _without(value: object, paths: list[tuple[str, ...]]) -> object:
    """Return a copy without what stands at some paths. A list on the way is kept whole."""
    if not isinstance(value, dict):
        return value
    further: dict[str, list[tuple[str, ...]]] = {}
    for path in paths:
        further.setdefault(path[0], []).append(path[1:])
    kept: dict[str, object] = {}
    for name, member in value.items():
        rests = further.get(name)
        if rests is None:
            kept[name] = member
        elif () not in rests and (rest := _without(member, rests)) != {}:
            kept[name] = rest
    return kept


def _text(value: object) -> str | None:
    return scalar_text(value) or None


def _word(value: object) -> str:
    return (scalar_text(value) or "").strip().lower()


def _severity(value: object, mapping: FieldMapping) -> Severity | None:
    word = _word(value)
    return mapping.severities.get(word) or SEVERITIES.get(word)


def _as_json(value: object) -> str | None:
    """Return an object or a list as text: better than a report that says nothing."""
    return cut(json.dumps(value, ensure_ascii=False), MAX_MESSAGE_CHARACTERS) if value else None


def _parts(value: object) -> tuple[str, ...] | None:
    values = value[:MAX_FINGERPRINT_PARTS] if isinstance(value, list) else [value]
    return tuple(text for part in values if (text := scalar_text(part)) is not None) or None


def _texts(value: object) -> dict[str, str] | None:
    """Return the tags that an object is. One with too many members, or with others than texts, is none."""
    if not isinstance(value, dict) or len(value) > MAX_TAGS:
        return None
    texts = {name: text for name, one in value.items() if (text := scalar_text(one)) is not None}
    return texts if len(texts) == len(value) else None


def _object(value: object) -> dict[str, object] | None:
    return value if isinstance(value, dict) else None


def _anything(value: object) -> object | None:
    return value
