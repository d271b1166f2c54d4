"""OpenTelemetry: log records become reports, and so do the exceptions that spans recorded (OTLP/HTTP).

Every log record is a report, however minor: what is LOW is recorded and opens nothing. Of spans only the events named
"exception" are: a span that ended in an error without one says nothing that its log does not.

OTLP has no event ids. One is derived, so that an export that is sent again is a copy: SHA-256 over the resource, the
scope, everything in the record, and how many equal ones preceded it in the request. Two requests with equal records
are therefore taken for one; their times are in nanoseconds. Only a record that has no time at all gets a new id: its
copies cannot be told from its repetitions, and to count twice is better than to lose one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from tocsin.domain.arrival import Arrival, Glimpse
from tocsin.domain.incident import Severity
from tocsin.domain.report import (
    ELLIPSIS,
    MAX_FRAME_NAME_CHARACTERS,
    MAX_MESSAGE_CHARACTERS,
    MAX_NAME_CHARACTERS,
    ErrorReport,
    RaisedException,
    bounded,
    cut,
    exceptions_fit,
    is_storable,
)
from tocsin.errors import TocsinError
from tocsin.intake import Rejected
from tocsin.intake.otlp_mend import varint
from tocsin.intake.otlp_wire import (
    JSON,
    MAX_RECORDS,
    PROTOBUF,
    Record,
    Surplus,
    encoding_of,
    read_exceptions,
    read_logs,
)
from tocsin.intake.reading import SEVERITIES, scalar_text
from tocsin.intake.stack_text import read_stack

MAX_RESOURCE_CHARACTERS = 2_048
"""What is kept of the attributes of a resource, for every one of its records keeps them (characters)."""
MAX_ANSWER_CHARACTERS = 1_000

_EVENT_ID_DIGITS = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_TIME = 2**63 - 1
_TEMPLATES = ("message_template.text", "message_template", "messagetemplate.text", "log.template", "{OriginalFormat}")
_ANY_TEMPLATE = frozenset(_TEMPLATES)
_BODY_MESSAGES = ("message", "msg", "event", "error")
_CULPRITS = ("code.function.name", "code.function")
_USERS = ("user.id", "enduser.id")
_ENVIRONMENTS = ("deployment.environment.name", "deployment.environment")
_NOTHING = ("", "", "", "")
_EXCEPTION = ("exception.type", "exception.message", "exception.stacktrace")
_RESOURCE_READ = frozenset({"service.name", "service.version", "host.name", "telemetry.sdk.language", *_ENVIRONMENTS})
_ATTRIBUTES_READ = frozenset({*_EXCEPTION, *_USERS})
_ATTRIBUTES_GLIMPSED = frozenset({*_EXCEPTION, *_TEMPLATES})


@dataclass(frozen=True, slots=True)
class _Origin:
    """What a resource says of each of its records; `others` are the attributes that have no field of a report."""

    platform: str
    service: str
    environment: str
    release: str
    server_name: str
    others: dict[str, object]


class _Glimpse(Glimpse, frozen=True, gc=False):
    """What decides of a record, and what was looked at on the way.

    `log_message` is what the record said where its exception said something else; `stack` is one that is no chain.
    `is_brief` says that all that was said of exceptions is too short for any part of them to be too long.
    """

    exceptions: tuple[RaisedException, ...]
    log_message: str
    stack: str
    is_brief: bool


class _Whole(msgspec.Struct, frozen=True, gc=False):
    """Makes the report of a record. No `partial`: of thousands of those the collector would look through each."""

    record: Record
    origin: _Origin
    glimpse: _Glimpse
    received_at: datetime

    def __call__(self) -> ErrorReport:
        return _report(self.record, self.origin, self.glimpse, self.received_at)


def parse_logs(
    body: bytes, content_type: str, *, received_at: datetime, new_event_id: Callable[[], str]
) -> list[Arrival | Rejected]:
    """Return what an export of logs (`/v1/logs`) reports, in its order.

    Args:
        body: decompressed.
        content_type: application/x-protobuf or application/json.
        received_at: stands in where a record does not say when (UTC).
        new_event_id: makes an id for a record that has no time.

    Raises:
        TocsinError: UNSUPPORTED_MEDIA_TYPE, MALFORMED, INVALID, TOO_LARGE.
    """
    return _arrivals(read_logs(body, content_type), received_at, new_event_id)


def parse_traces(
    body: bytes, content_type: str, *, received_at: datetime, new_event_id: Callable[[], str]
) -> list[Arrival | Rejected]:
    """Return the exceptions that an export of spans (`/v1/traces`) reports; none is common. As `parse_logs`."""
    return _arrivals(read_exceptions(body, content_type), received_at, new_event_id)


def answer_logs(content_type: str, rejected: int, message: str) -> tuple[bytes, str]:
    """Return the body of a 200 for logs and its Content-Type, which is the request's.

    Args:
        content_type: the request's.
        rejected: how many records were not taken. The sender does not send them again.
        message: why, or a warning where nothing was rejected; "" if all is well.
    """
    text = cut(message, MAX_ANSWER_CHARACTERS)
    if encoding_of(content_type) == JSON:
        return _json_success("rejectedLogRecords", rejected, text), JSON
    answer = ExportLogsServiceResponse()
    if rejected or text:
        answer.partial_success.CopyFrom(ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=text))
    return answer.SerializeToString(), PROTOBUF


def answer_traces(content_type: str, rejected: int, message: str) -> tuple[bytes, str]:
    """Return the body of a 200 for spans and its Content-Type. As `answer_logs`."""
    text = cut(message, MAX_ANSWER_CHARACTERS)
    if encoding_of(content_type) == JSON:
        return _json_success("rejectedSpans", rejected, text), JSON
    answer = ExportTraceServiceResponse()
    if rejected or text:
        answer.partial_success.CopyFrom(ExportTracePartialSuccess(rejected_spans=rejected, error_message=text))
    return answer.SerializeToString(), PROTOBUF


def error_status(content_type: str, message: str) -> tuple[bytes, str]:
    """Return the body of a 4xx or 5xx and its Content-Type: a google.rpc.Status. A stranger's is JSON.

    Written by hand, for it is one field: number 2, text, `message`. OTLP does not use its `code`.
    """
    text = cut(message, MAX_ANSWER_CHARACTERS)
    try:
        encoding = encoding_of(content_type)
    except TocsinError:
        # The very refusal that is being answered: its reader gets what can be read without a schema.
        encoding = JSON
    if encoding == JSON:
        return json.dumps({"message": text}).encode("ascii"), JSON
    encoded = text.encode()
    return b"\x12" + varint(len(encoded)) + encoded, PROTOBUF


def _json_success(counted: str, rejected: int, message: str) -> bytes:
    """Return the answer in JSON, where an integer of 64 bits is text."""
    partial = {counted: str(rejected), "errorMessage": message}
    return json.dumps({"partialSuccess": partial} if rejected or message else {}).encode("ascii")


def _arrivals(
    records: Iterable[Record | Rejected | Surplus], received_at: datetime, new_event_id: Callable[[], str]
) -> list[Arrival | Rejected]:
    equals: dict[bytes, int] = {}
    origins: dict[bytes, _Origin] = {}
    arrivals: list[Arrival | Rejected] = []
    for record in records:
        if isinstance(record, Rejected):
            arrivals.append(record)
            continue
        if isinstance(record, Surplus):
            beyond = Rejected(MAX_RECORDS, f"The request has more than {MAX_RECORDS:,} {record.kind}.")
            arrivals += [beyond] * record.number
            continue
        source = record.source
        origin = origins.get(source.identity)
        if origin is None:
            origin = origins[source.identity] = _origin(source.resource)
        event_id = _event_id(record, equals) or new_event_id()
        arrivals.append(_arrival(record, origin, event_id, received_at))
    return arrivals


def _event_id(record: Record, equals: dict[bytes, int]) -> str:
    """Return the id of a record, or "" if it has no time."""
    if not record.time and not record.observed:
        return ""
    identity = record.source.identity + record.identity
    equals[identity] = number = equals.get(identity, 0) + 1
    return sha256(number.to_bytes(4, "big") + identity).hexdigest()[:_EVENT_ID_DIGITS]


def _arrival(record: Record, origin: _Origin, event_id: str, received_at: datetime) -> Arrival:
    """Return the arrival of a record: most are only counted, and their reports never asked for."""
    glimpse = _glimpse(record, event_id, received_at)
    whole = _Whole(record, origin, glimpse, received_at)
    is_sound = (
        is_storable(glimpse.error_type + glimpse.message + glimpse.template)
        and glimpse.is_bounded(received_at)
        and (glimpse.is_brief or exceptions_fit(glimpse.exceptions))
    )
    return glimpse.arrival(event_id, whole) if is_sound else Arrival.of(whole())


def _glimpse(record: Record, event_id: str, received_at: datetime) -> _Glimpse:
    said = _body_text(record.body)
    raised_type, raised_message, stack, template = _asked(record.attributes)
    is_exception = bool(raised_type or raised_message)
    chain = read_stack(stack, raised_type, raised_message) if stack else ()
    message = raised_message or said
    return _Glimpse(
        event_id=event_id,
        severity=_severity(record, is_exception),
        error_type=raised_type or record.event_name,
        message=message,
        occurred_at=_instant(record.time) or _instant(record.observed) or received_at,
        template=template,
        fingerprint=(),
        exceptions=chain or ((RaisedException(raised_type, raised_message),) if is_exception else ()),
        log_message="" if said == message else said,
        stack="" if chain else stack,
        is_brief=len(raised_message) + len(stack) <= MAX_FRAME_NAME_CHARACTERS and is_storable(stack),
    )


def _asked(attributes: Mapping[str, object]) -> tuple[str, str, str, str]:
    """Return type, message and stack of the exception that attributes tell of, and the template of what was logged."""
    # Most records have none of these attributes, and asking for each costs more than the rest.
    if _ATTRIBUTES_GLIMPSED.isdisjoint(attributes):
        return _NOTHING
    raised_type, raised_message, stack = [
        said if isinstance(said := attributes.get(name, ""), str) else scalar_text(said) or "" for name in _EXCEPTION
    ]
    template = "" if _ANY_TEMPLATE.isdisjoint(attributes) else _text(attributes, *_TEMPLATES)
    return raised_type, raised_message, stack, template


def _report(record: Record, origin: _Origin, glimpse: _Glimpse, received_at: datetime) -> ErrorReport:
    report = ErrorReport(
        event_id=glimpse.event_id,
        severity=glimpse.severity,
        error_type=glimpse.error_type,
        message=glimpse.message,
        occurred_at=glimpse.occurred_at,
        template=glimpse.template,
        exceptions=glimpse.exceptions,
        platform=origin.platform,
        service=origin.service,
        environment=origin.environment,
        release=origin.release,
        server_name=origin.server_name,
        logger=record.source.scope,
        culprit=_text(record.attributes, *_CULPRITS) or record.span_name,
        trace_id=record.trace_id,
        user_id=_text(record.attributes, *_USERS),
        context=_context(record, origin, glimpse),
    )
    left_out = {"attributes": record.attributes_left_out} if record.attributes_left_out else None
    return bounded(report, received_at=received_at, left_out=left_out)


def _severity(record: Record, is_exception: bool) -> Severity:
    """Return the severity: the number's, else the text's, else an exception's (HIGH), else LOW. Spans have neither."""
    number = record.severity_number
    if number >= 21:
        return Severity.CRITICAL
    if number >= 17:
        return Severity.HIGH
    if number >= 13:
        return Severity.MEDIUM
    if number > 0:
        return Severity.LOW
    unknown = Severity.HIGH if is_exception or record.span_name else Severity.LOW
    return SEVERITIES.get(record.severity_text.strip().lower(), unknown) if record.severity_text else unknown


def _instant(nanoseconds: int) -> datetime | None:
    if not 0 < nanoseconds <= _MAX_TIME:
        return None
    return _EPOCH + nanoseconds // 1_000 * _MICROSECOND


def _text(attributes: Mapping[str, object], *names: str) -> str:
    """Return the first of some attributes that is there, as text."""
    for name in names:
        if name in attributes and (text := scalar_text(attributes[name])):
            return text
    return ""


def _body_text(body: object) -> str:
    """Return what was said: a text, the message of a structured body, or all of it as JSON."""
    if body is None or isinstance(body, (dict, list)):
        said = _text(body, *_BODY_MESSAGES) if isinstance(body, dict) else ""
        return said or (cut(json.dumps(body, ensure_ascii=False), MAX_MESSAGE_CHARACTERS) if body else "")
    return scalar_text(body) or ""


def _context(record: Record, origin: _Origin, glimpse: _Glimpse) -> dict[str, object]:
    """Return what helps a person: small things first, for the budget of a context is spent in this order."""
    parts = (
        ("logMessage", glimpse.log_message),
        ("spanId", record.span_id),
        ("spanName", record.span_name),
        ("eventName", record.event_name),
        ("severityText", record.severity_text),
        ("attributes", {name: value for name, value in record.attributes.items() if name not in _ATTRIBUTES_READ}),
        ("body", record.body if isinstance(record.body, (dict, list)) else None),
        ("resource", origin.others),
        ("stack", glimpse.stack),
    )
    return {name: part for name, part in parts if part}


def _origin(resource: Mapping[str, object]) -> _Origin:
    return _Origin(
        platform=_text(resource, "telemetry.sdk.language"),
        service=_text(resource, "service.name"),
        environment=_text(resource, *_ENVIRONMENTS),
        release=_text(resource, "service.version"),
        server_name=_text(resource, "host.name"),
        others=_within_budget({name: value for name, value in resource.items() if name not in _RESOURCE_READ}),
    )


def _within_budget(attributes: Mapping[str, object]) -> dict[str, object]:
    kept: dict[str, object] = {}
    remaining = MAX_RESOURCE_CHARACTERS
    for name, value in attributes.items():
        text = cut(scalar_text(value) or json.dumps(value), MAX_NAME_CHARACTERS)
        remaining -= len(name) + len(text)
        if remaining >= 0:
            kept[name] = text
    if len(kept) < len(attributes):
        kept[ELLIPSIS] = f"{len(attributes) - len(kept)} more"
    return kept
