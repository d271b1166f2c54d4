"""OTLP's two encodings, protobuf and JSON, read into one form. What it means is for `tocsin.intake.otlp` to say.

JSON is read into structures that bear the names of the protobuf messages, so that one walk serves both. In JSON
identifiers are hexadecimal, integers of 64 bits may be text, and fields that nobody knows are skipped.

Source: https://opentelemetry.io/docs/specs/otlp/ (1.10), "JSON Protobuf Encoding".
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from operator import attrgetter
from typing import Any, TypeVar

import msgspec
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tocsin.domain.report import ELLIPSIS
from tocsin.errors import Code, TocsinError, refuse
from tocsin.intake import Rejected
from tocsin.intake.decoding import parse_json_emptied
from tocsin.intake.otlp_mend import mended

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

MAX_RECORDS = 8_192
"""Log records of one request, or spans, or exceptions of its spans: the rest is rejected, and so answered. As many as
the OpenTelemetry Collector puts in a batch; the SDKs put 512."""
MAX_SOURCES = 10_000
"""Resources and scopes of one request together; each may be empty, so the number of records does not bound them."""
MAX_ATTRIBUTES = 128
"""Attributes of one record: as many as the SDKs send unless they are told otherwise."""
MAX_ENTRIES = 100
"""Entries of a list or an object in a value."""

_EXCEPTION_EVENT = "exception"
_MAX_INTEGER_CHARACTERS = 20
_canonically = msgspec.json.Encoder(order="sorted").encode


class Source(msgspec.Struct, frozen=True, gc=False):
    """Where records come from. `identity` is what tells it from every other source."""

    resource: dict[str, object]
    scope: str
    identity: bytes


class Record(msgspec.Struct, frozen=True, gc=False):
    """A log record, or an exception of a span: then `span_name` is set. Times are nanoseconds since 1970, or 0.

    `identity` is all that tells it from other records of its source.
    """

    source: Source
    identity: bytes
    time: int
    observed: int
    attributes: dict[str, object]
    attributes_left_out: int
    body: object = None
    severity_number: int = 0
    severity_text: str = ""
    event_name: str = ""
    trace_id: str = ""
    span_id: str = ""
    span_name: str = ""


class Surplus(msgspec.Struct, frozen=True, gc=False):
    """What came on top of MAX_RECORDS and was not read: how many of a kind, which may be hundreds of thousands."""

    kind: str
    number: int


class _Json(msgspec.Struct, rename="camel"):
    """A message in JSON; null is as good as absent."""


class _JsonValue(_Json):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    array_value: _JsonArray | None = None
    kvlist_value: _JsonKeyValues | None = None
    bytes_value: str | None = None


class _JsonArray(_Json):
    values: list[_JsonValue] | None = None


class _JsonKeyValue(_Json):
    key: str = ""
    value: _JsonValue | None = None


class _JsonKeyValues(_Json):
    values: list[_JsonKeyValue] | None = None


class _JsonResource(_Json):
    attributes: list[_JsonKeyValue] | None = None


class _JsonScope(_Json):
    name: str | None = None


class _JsonScopeLogs(_Json):
    scope: _JsonScope | None = None
    log_records: list[object] | None = None


class _JsonResourceLogs(_Json):
    resource: _JsonResource | None = None
    scope_logs: list[_JsonScopeLogs] | None = None


class _JsonLogs(_Json):
    resource_logs: list[_JsonResourceLogs] | None = None


class _JsonScopeSpans(_Json):
    scope: _JsonScope | None = None
    spans: list[object] | None = None


class _JsonResourceSpans(_Json):
    resource: _JsonResource | None = None
    scope_spans: list[_JsonScopeSpans] | None = None


class _JsonTraces(_Json):
    resource_spans: list[_JsonResourceSpans] | None = None


class _JsonLogRecord(_Json):
    time_unix_nano: int | str | None = None
    observed_time_unix_nano: int | str | None = None
    severity_number: int | None = None
    severity_text: str | None = None
    body: _JsonValue | None = None
    attributes: list[_JsonKeyValue] | None = None
    trace_id: str | None = None
    span_id: str | None = None
    event_name: str | None = None


class _JsonEvent(_Json):
    time_unix_nano: int | str | None = None
    name: str | None = None
    attributes: list[_JsonKeyValue] | None = None


class _JsonSpan(_Json):
    trace_id: str | None = None
    span_id: str | None = None
    name: str | None = None
    events: list[_JsonEvent] | None = None


_contents = attrgetter(*_JsonValue.__struct_fields__)

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


def read_logs(body: bytes, content_type: str) -> Iterator[Record | Rejected | Surplus]:
    """Yield the log records of an ExportLogsServiceRequest, in their order.

    Raises:
        TocsinError: UNSUPPORTED_MEDIA_TYPE, MALFORMED, INVALID (JSON of another shape), TOO_LARGE (sources).
    """
    request: ExportLogsServiceRequest | _JsonLogs
    if encoding_of(content_type) == PROTOBUF:
        request = _decoded(ExportLogsServiceRequest(), body)
    else:
        request = _converted(parse_json_emptied(body), _JsonLogs)
    budget, read, surplus = _Budget(), 0, 0
    for resource_logs in budget.sources(request.resource_logs):
        resource = _plain_attributes(_attributes_of(resource_logs.resource))[0]
        for scope_logs in budget.sources(resource_logs.scope_logs):
            source = _source(resource, scope_logs.scope)
            raw = scope_logs.log_records or ()
            taken = raw[: MAX_RECORDS - read]
            for index, one in enumerate(taken, read):
                yield _log_record(source, one, index)
            read += len(taken)
            surplus += len(raw) - len(taken)
    yield Surplus("log records", surplus)


def read_exceptions(body: bytes, content_type: str) -> Iterator[Record | Rejected | Surplus]:
    """Yield the exceptions of an ExportTraceServiceRequest: the events of that name, span by span. As `read_logs`.

    Raises:
        TocsinError: as `read_logs`.
    """
    request: ExportTraceServiceRequest | _JsonTraces
    if encoding_of(content_type) == PROTOBUF:
        request = _decoded(ExportTraceServiceRequest(), body)
    else:
        request = _converted(parse_json_emptied(body), _JsonTraces)
    budget, read, spans, surplus, surplus_spans = _Budget(), 0, 0, 0, 0
    for resource_spans in budget.sources(request.resource_spans):
        resource = _plain_attributes(_attributes_of(resource_spans.resource))[0]
        for scope_spans in budget.sources(resource_spans.scope_spans):
            source = _source(resource, scope_spans.scope)
            raw = scope_spans.spans or ()
            taken = raw[: MAX_RECORDS - spans]
            for span in taken:
                found, more = _exceptions(source, span, read)
                yield from found
                read += len(found)
                surplus += more
            spans += len(taken)
            surplus_spans += len(raw) - len(taken)
    yield Surplus("exceptions", surplus)
    yield Surplus("spans", surplus_spans)


def encoding_of(content_type: str) -> str:
    """Return PROTOBUF or JSON.

    Raises:
        TocsinError: UNSUPPORTED_MEDIA_TYPE.
    """
    name = content_type.partition(";")[0].strip().lower()
    if name in (PROTOBUF, JSON):
        return name
    raise refuse(
        Code.UNSUPPORTED_MEDIA_TYPE,
        f"Cannot read OTLP with Content-Type {name[:40]!r}.",
        f"Export over HTTP as {PROTOBUF} or {JSON}.",
    )


class _Budget:
    """Counts the sources of a request."""

    __slots__ = ("_remaining",)

    def __init__(self) -> None:
        self._remaining = MAX_SOURCES

    def sources(self, some: Sequence[T] | None) -> Sequence[T]:
        """Return them, or none if there are none, unless there are too many."""
        self._remaining -= len(some or ())
        if self._remaining < 0:
            raise refuse(
                Code.TOO_LARGE,
                f"The request has more than {MAX_SOURCES:,} resources and scopes.",
                "Export in smaller batches.",
                limitSources=MAX_SOURCES,
            )
        return some or ()


M = TypeVar("M", ExportLogsServiceRequest, ExportTraceServiceRequest)


def _decoded(message: M, body: bytes) -> M:
    """Read a body into a message: as it is, or mended if it is not, which takes far longer."""
    try:
        try:
            message.ParseFromString(body)
        except DecodeError:
            message.ParseFromString(mended(type(message), body))
    except DecodeError as error:
        raise refuse(
            Code.MALFORMED,
            "The body is not the protobuf message that OTLP sends to this path.",
            "Point the logs exporter at /v1/logs and the traces exporter at /v1/traces.",
        ) from error
    return message


def _converted(document: object, kind: type[S]) -> S:
    try:
        return msgspec.convert(document, kind)
    except (msgspec.ValidationError, RecursionError, UnicodeEncodeError) as error:
        # No field has a name with half a surrogate pair in it: that is where a name cannot be encoded.
        raise refuse(Code.INVALID, f"This is not OTLP in JSON: {error}.", "Send what the exporters send.") from error


def _source(resource: dict[str, object], scope: object) -> Source:
    name = getattr(scope, "name", None) or ""
    return Source(resource, name, sha256(_canonical([resource, name])).digest())


def _canonical(value: object) -> bytes:
    try:
        return _canonically(value)
    except UnicodeEncodeError:  # half a surrogate pair
        return json.dumps(value, sort_keys=True).encode("ascii")


def _attributes_of(resource: object) -> Sequence[KeyValue | _JsonKeyValue]:
    return getattr(resource, "attributes", None) or ()


def _log_record(source: Source, raw: LogRecord | object, index: int) -> Record | Rejected:
    if isinstance(raw, LogRecord):
        return _record_of_protobuf(source, raw)
    try:
        return _record_of_json(source, _converted(raw, _JsonLogRecord), _canonical(raw))
    except TocsinError as error:
        return Rejected(index, error.refusal.message)


def _record_of_protobuf(source: Source, record: LogRecord) -> Record:
    attributes, left_out = _plain_attributes(record.attributes)
    return Record(
        source=source,
        identity=record.SerializeToString(deterministic=True),
        time=record.time_unix_nano,
        observed=record.observed_time_unix_nano,
        attributes=attributes,
        attributes_left_out=left_out,
        body=_plain(record.body) if record.HasField("body") else None,
        severity_number=record.severity_number,
        severity_text=record.severity_text,
        event_name=record.event_name,
        trace_id=record.trace_id.hex(),
        span_id=record.span_id.hex(),
    )


def _record_of_json(source: Source, record: _JsonLogRecord, identity: bytes) -> Record:
    attributes, left_out = _plain_attributes(record.attributes) if record.attributes else ({}, 0)
    return Record(
        source=source,
        identity=identity,
        time=_integer(record.time_unix_nano),
        observed=_integer(record.observed_time_unix_nano),
        attributes=attributes,
        attributes_left_out=left_out,
        body=_plain(record.body) if record.body else None,
        severity_number=record.severity_number or 0,
        severity_text=record.severity_text or "",
        event_name=record.event_name or "",
        trace_id=record.trace_id.lower() if record.trace_id else "",
        span_id=record.span_id.lower() if record.span_id else "",
    )


def _exceptions(source: Source, raw: Span | object, read: int) -> tuple[Sequence[Record | Rejected], int]:
    """Return the exceptions of one span, and how many more there are than may be read after those before."""
    try:
        span = raw if isinstance(raw, Span) else _converted(raw, _JsonSpan)
    except TocsinError as error:
        return (Rejected(read, error.refusal.message),), 0
    events = [event for event in span.events or () if event.name == _EXCEPTION_EVENT]
    surplus = min(len(events), max(0, read + len(events) - MAX_RECORDS))
    taken = events[: len(events) - surplus] if surplus else events
    return [_exception(source, span, event) for event in taken], surplus


def _exception(source: Source, span: Span | _JsonSpan, event: Span.Event | _JsonEvent) -> Record:
    trace_id, span_id = _hexadecimal(span.trace_id), _hexadecimal(span.span_id)
    attributes, left_out = _plain_attributes(event.attributes) if event.attributes else ({}, 0)
    time = _integer(event.time_unix_nano)
    return Record(
        source=source,
        identity=_canonical([trace_id, span_id, time, attributes]),
        time=time,
        observed=0,
        attributes=attributes,
        attributes_left_out=left_out,
        trace_id=trace_id,
        span_id=span_id,
        span_name=span.name or "",
    )


def _hexadecimal(identifier: bytes | str | None) -> str:
    return identifier.hex() if isinstance(identifier, bytes) else (identifier or "").lower()


def _integer(value: int | str | None) -> int:
    """Return an integer of 64 bits, which JSON writes as text; 0 for what is none."""
    if not value:
        return 0
    if isinstance(value, str):
        return int(value) if len(value) <= _MAX_INTEGER_CHARACTERS and value.isdecimal() else 0
    return value


def _plain_attributes(attributes: Sequence[KeyValue | _JsonKeyValue]) -> tuple[dict[str, object], int]:
    """Return the first MAX_ATTRIBUTES as plain JSON, and how many more there are."""
    # A slice is a list; protobuf's own sequence makes an IndexError at the end of each walk.
    return _plain_pairs(attributes[:MAX_ATTRIBUTES]), max(0, len(attributes) - MAX_ATTRIBUTES)


def _plain_pairs(pairs: Sequence[KeyValue | _JsonKeyValue]) -> dict[str, object]:
    # Most values are texts: to ask for that here saves a call for each.
    return {pair.key: ((value := pair.value) and value.string_value) or _plain(value) for pair in pairs}


def _plain(value: AnyValue | _JsonValue | None) -> object:
    """Return a value as plain JSON. Both encodings have a depth limit of their own, so the recursion has one."""
    if value is None:
        return None
    kind = _kind_of_json(value) if isinstance(value, _JsonValue) else value.WhichOneof("value")
    content: Any = getattr(value, kind) if kind else None
    if kind == "array_value":
        return _plain_entries(content.values or ())
    if kind == "kvlist_value":
        return _plain_pairs(_first(content.values or ()))
    if kind == "int_value" and isinstance(content, str):
        return _integer_or_text(content)
    # As JSON writes them.
    return b64encode(content).decode("ascii") if isinstance(content, bytes) else content


def _kind_of_json(value: _JsonValue) -> str | None:
    for name, content in zip(_JsonValue.__struct_fields__, _contents(value), strict=True):
        if content is not None:
            return name
    return None


def _plain_entries(values: Sequence[AnyValue | _JsonValue]) -> list[object]:
    kept = [value.string_value or _plain(value) for value in _first(values)]
    return [*kept, f"{ELLIPSIS} {len(values) - len(kept)} more"] if len(values) > len(kept) else kept


def _first(items: Sequence[T]) -> Sequence[T]:
    return items[:MAX_ENTRIES]


def _integer_or_text(text: str) -> object:
    digits = text.removeprefix("-")
    return int(text) if digits.isdecimal() and len(digits) <= _MAX_INTEGER_CHARACTERS else text
