"""CloudEvents 1.0 over HTTP: an envelope around any JSON, in structured, batched or binary mode.

The data is read with the project's field mapping, or by guessing. What the data does not say the envelope does: its
`type` is the error's type, its `time` when it occurred, its `source` the service, its `subject` the culprit. Source
and id together are the event's id, as the specification promises, so a repeated delivery is a copy.

Source: https://github.com/cloudevents/spec, v1.0.2: spec.md, formats/json-format.md, bindings/http-protocol-binding.md.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from urllib.parse import unquote

from tocsin.domain.field_mapping import Alternatives, FieldMapping, Path
from tocsin.domain.report import MAX_EVENT_ID_CHARACTERS, ErrorReport
from tocsin.errors import Code, TocsinError, refuse
from tocsin.intake import Rejected
from tocsin.intake.decoding import parse_json
from tocsin.intake.generic import GUESSED, read_item

MAX_EVENTS = 1_000
"""Events of one batch that are read; the others are rejected, and so counted."""
MAX_ATTRIBUTES = 50
MAX_HEADER_CHARACTERS = 4_096

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"

_REQUIRED = ("specversion", "id", "source", "type")
_READ = frozenset({*_REQUIRED, "time", "subject", "severitytext", "traceparent"})
"""Attributes that lead to a field of the report."""
_DATA = frozenset({"data", "data_base64"})
_JSON_TYPE = re.compile(r"(?:[^/;\s]++/)(?:json|[^;\s+]++\+json)")
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_QUOTED = re.compile(r'"(.*)"', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_PLAIN_ID = re.compile(rf"[!-~]{{1,{MAX_EVENT_ID_CHARACTERS}}}")
# Stand among an event's attributes, under names that no attribute may have.
_DERIVED_ID, _DERIVED_TRACE = "event id", "trace id"
_OF_ENVELOPE: dict[str, Alternatives] = {
    "type": (Path(("type",), from_document=True),),
    # The extension for severity; without it an event is HIGH, as any report that does not say.
    "severity": (Path(("severitytext",), from_document=True),),
    "occurredAt": (Path(("time",), from_document=True),),
    "service": (Path(("source",), from_document=True),),
    "culprit": (Path(("subject",), from_document=True),),
    "eventId": (Path((_DERIVED_ID,), from_document=True),),
    "traceId": (Path((_DERIVED_TRACE,), from_document=True),),
}


def parse(
    body: bytes,
    content_type: str,
    headers: Mapping[str, str],
    mapping: FieldMapping | None,
    *,
    received_at: datetime,
    new_event_id: Callable[[], str],
) -> list[ErrorReport | Rejected]:
    """Return what one request reports, in its order.

    Args:
        body: decompressed.
        content_type: decides between structured and batched mode; any other is that of the data in binary mode.
        headers: names in lower case; only those that begin with `ce-` are looked at.
        mapping: the project's, for the data; its paths that begin with `$.` start at the envelope, and its `items`
            is not looked at: an event is one report. None: by guessing.
        received_at: stands in where the event does not say when (UTC).
        new_event_id: as of the other parsers; an event has an id, so it is not called for one that is valid.

    Raises:
        TocsinError: MALFORMED, INVALID (the only event is none), UNSUPPORTED_MEDIA_TYPE (another format than JSON).
    """
    reader = _EventReader(mapping or GUESSED, received_at, new_event_id)
    mode = content_type.partition(";")[0].strip().lower()
    if mode == BATCH:
        return _batch(parse_json(body), reader)
    if mode == STRUCTURED:
        return [reader.report(_event_of(parse_json(body)))]
    if mode.startswith("application/cloudevents"):
        raise refuse(
            Code.UNSUPPORTED_MEDIA_TYPE,
            f"Cannot read CloudEvents as {mode[:60]!r}.",
            f"Send them as {STRUCTURED}, as {BATCH} or in binary mode.",
        )
    event, left_out = _binary(body, content_type, headers)
    return [reader.report(event, left_out)]


def _batch(events: object, reader: _EventReader) -> list[ErrorReport | Rejected]:
    if not isinstance(events, list):
        raise refuse(Code.INVALID, "A batch of CloudEvents must be a JSON array.", f"Send one event as {STRUCTURED}.")
    outcomes: list[ErrorReport | Rejected] = []
    for index, event in enumerate(events[:MAX_EVENTS]):
        try:
            outcomes.append(reader.report(_event_of(event)))
        except TocsinError as error:
            outcomes.append(Rejected(index, error.refusal.message))
    beyond = Rejected(MAX_EVENTS, f"The batch has more than {MAX_EVENTS:,} events.")
    return outcomes + [beyond] * (len(events) - MAX_EVENTS)


def _event_of(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise refuse(Code.INVALID, "A CloudEvent must be a JSON object.", "Send specversion, id, source and type.")
    return value


def _binary(body: bytes, content_type: str, headers: Mapping[str, str]) -> tuple[dict[str, object], int]:
    """Return the event of a request in binary mode as it would be in structured mode, and how many attributes it lacks.

    Headers are percent-encoded.
    """
    attributes = [name for name in headers if name.startswith("ce-")]
    left_out = max(0, len(attributes) - MAX_ATTRIBUTES)
    if left_out:
        # The order of headers means nothing, so what is read must not fall to what is only kept.
        attributes = sorted(attributes, key=lambda name: name.removeprefix("ce-") not in _READ)[:MAX_ATTRIBUTES]
    event: dict[str, object] = {
        name.removeprefix("ce-"): _header_value(headers[name][:MAX_HEADER_CHARACTERS]) for name in attributes
    }
    if body:
        event["data"] = _data_of(body, content_type)
    return event, left_out


def _header_value(header: str) -> str:
    """Return what a header says: without the quotes that HTTP allows, then percent-decoded once (binding, 3.1.3.2)."""
    quoted = _QUOTED.fullmatch(header)
    return unquote(_QUOTED_PAIR.sub(r"\1", quoted[1]) if quoted else header, errors="replace")


class _EventReader:
    """Reads events with one mapping."""

    __slots__ = ("_mapping", "_new_event_id", "_received_at")

    def __init__(self, mapping: FieldMapping, received_at: datetime, new_event_id: Callable[[], str]) -> None:
        # The envelope comes last: what the data says of itself is nearer to the failure.
        fields = {**mapping.fields}
        for name, alternatives in _OF_ENVELOPE.items():
            fields[name] = (*fields.get(name, ()), *alternatives)
        self._mapping = replace(mapping, fields=fields)
        self._received_at = received_at
        self._new_event_id = new_event_id

    def report(self, event: dict[str, object], attributes_left_out: int = 0) -> ErrorReport:
        """Return the report of one event.

        Raises:
            TocsinError: INVALID (an attribute is missing that every event has, or another version).
        """
        _check(event)
        attributes = {name: value for name, value in event.items() if name not in _DATA}
        derived = {_DERIVED_ID: _event_id(str(event["source"]), str(event["id"])), _DERIVED_TRACE: _trace_id(event)}
        return read_item(
            _item(event),
            {**attributes, **derived},
            self._mapping,
            {"cloudEvent": attributes},
            received_at=self._received_at,
            new_event_id=self._new_event_id,
            left_out={"attributes": attributes_left_out} if attributes_left_out else None,
        )


def _check(event: Mapping[str, object]) -> None:
    missing = [name for name in _REQUIRED if not isinstance(event.get(name), str) or not event[name]]
    if missing:
        raise refuse(
            Code.INVALID,
            f"The CloudEvent has no {', '.join(missing)}.",
            "Send specversion, id, source and type, each as a text.",
        )
    if not str(event["specversion"]).startswith("1."):
        raise refuse(
            Code.INVALID,
            f"Cannot read version {str(event['specversion'])[:20]!r} of CloudEvents.",
            'Send specversion "1.0".',
        )


def _event_id(source: str, event_id: str) -> str:
    """Return one id of both. A source is a URI reference: it has no bar in it, so no two pairs look the same."""
    both = f"{source}|{event_id}"
    if "|" not in source and _PLAIN_ID.fullmatch(both):
        return both
    return sha256(json.dumps([source, event_id]).encode("ascii")).hexdigest()


def _trace_id(event: Mapping[str, object]) -> str:
    """Return the trace, or "", of the extension for distributed tracing (W3C Trace Context)."""
    parent = event.get("traceparent")
    found = _TRACE_PARENT.fullmatch(parent) if isinstance(parent, str) else None
    return found[1] if found else ""


def _item(event: Mapping[str, object]) -> dict[str, object]:
    """Return where the mapping's paths start: the data. What is no object is its `message`."""
    data = event.get("data")
    encoded = event.get("data_base64")
    if data is None and isinstance(encoded, str):
        try:
            raw = b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            # Not base64, or not ASCII: kept as it is, for the event itself was readable.
            return {"data_base64": encoded}
        data = _data_of(raw, str(event.get("datacontenttype") or ""))
    if isinstance(data, dict):
        return data
    return {} if data is None else {"message": data}


def _data_of(body: bytes, content_type: str) -> object:
    """Return the data: JSON if it says so and is, else text."""
    if _JSON_TYPE.match(content_type.strip().lower()):
        try:
            return parse_json(body)
        except TocsinError:
            # The envelope is sound, so the event is taken; a person reads in it what was wrong.
            return body.decode("utf-8", "replace")
    return body.decode("utf-8", "replace")
