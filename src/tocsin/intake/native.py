"""Tocsin's own intake: one JSON object, an array of them, or one per line (NDJSON).

Two readers of one format. The quick one knows only reports that are as they should be, and of those only what decides
and what could be wrong; the decoder skips the rest. To the full one it leaves whatever is odd, too large or wrong:
that one names the problems. tests/intake/test_agreement.py holds the two against each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, TypeVar

import msgspec

from tocsin.domain.arrival import Arrival, Glimpse
from tocsin.domain.incident import Severity
from tocsin.domain.report import (
    MAX_EVENT_ID_CHARACTERS,
    MAX_FINGERPRINT_PARTS,
    MAX_INTEGER,
    MAX_TAGS,
    ErrorReport,
    RaisedException,
    bounded,
)
from tocsin.errors import Code, TocsinError, refuse
from tocsin.intake import Rejected
from tocsin.intake.decoding import is_surely_shallow, parse_json
from tocsin.intake.reading import (
    SEVERITIES,
    UNREADABLE,
    ExceptionMessage,
    ExceptionType,
    FrameKeys,
    FrameName,
    Reader,
    SourceLine,
    arrival_of,
    has_nul,
    instant_of,
    last_glimpsed,
    last_raised,
    scalar_text,
)

MAX_BATCH = 1_000
"""Reports in one request."""

_FRAME_KEYS = FrameKeys(line="line", source_line="sourceLine", in_app="inApp")
_EVENT_ID = re.compile(rf"[!-~]{{1,{MAX_EVENT_ID_CHARACTERS}}}")
_FIELDS = frozenset(
    {
        "eventId",
        "severity",
        "type",
        "message",
        "occurredAt",
        "template",
        "fingerprint",
        "exceptions",
        "platform",
        "service",
        "environment",
        "release",
        "serverName",
        "logger",
        "culprit",
        "traceId",
        "userId",
        "tags",
        "context",
    }
)
_LINES_TYPES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})

T = TypeVar("T")


def parse(
    body: bytes, content_type: str, *, received_at: datetime, new_event_id: Callable[[], str]
) -> list[Arrival | Rejected]:
    """Return what one request reports, in its order.

    Args:
        body: decompressed; a JSON object, an array, or objects separated by newlines.
        content_type: the Content-Type header; only NDJSON's is looked at, and it need not be there.
        received_at: stands in where the client does not say when (UTC).
        new_event_id: makes an id for a report that has none.

    Raises:
        TocsinError: MALFORMED; INVALID (nothing in it, or the only object is wrong: `errors` in the details names
            every wrong field); TOO_LARGE (more than MAX_BATCH reports).
    """

    def read(document: bytes) -> Arrival:
        glimpse = _glimpse(document, received_at)
        return arrival_of(glimpse, document, _parsed_report, received_at=received_at, new_event_id=new_event_id)

    if content_type.partition(";")[0].strip().lower() in _LINES_TYPES:
        return _batch(_lines(body), read)
    items = _array(body)
    if items is not None:
        return _batch(items, read)
    glimpse = _glimpse(body, received_at)
    if glimpse is not None:
        return [arrival_of(glimpse, body, _parsed_report, received_at=received_at, new_event_id=new_event_id)]
    try:
        document = parse_json(body)
    except TocsinError:
        if not _looks_like_lines(body):
            raise
        return _batch(_lines(body), read)
    if isinstance(document, list):
        return _batch(document, lambda item: Arrival.of(_report(item, received_at, new_event_id)))
    return [Arrival.of(_report(document, received_at, new_event_id))]


def _looks_like_lines(body: bytes) -> bool:
    first, newline, _ = body.strip().partition(b"\n")
    if not newline:
        return False
    try:
        return isinstance(parse_json(first), dict)
    except TocsinError:
        return False


def _lines(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\n") if line.strip()]


def _array(body: bytes) -> list[bytes] | None:
    """Return the items of an array, each as it stands there; None if it is none, or not surely a sound one."""
    if body.lstrip()[:1] != b"[":
        return None
    try:
        # Bytes of their own: an item that is kept must not keep the whole request.
        return [bytes(item) for item in _ITEMS.decode(body)] if is_surely_shallow(body) else None
    except UNREADABLE:
        return None


def _batch(items: Sequence[T], read: Callable[[T], Arrival]) -> list[Arrival | Rejected]:
    if not items:
        raise refuse(Code.INVALID, "The request contains no report.", "Send at least one JSON object.")
    if len(items) > MAX_BATCH:
        raise refuse(
            Code.TOO_LARGE,
            f"The request contains {len(items):,} reports, more than {MAX_BATCH:,}.",
            f"Send at most {MAX_BATCH:,} reports in a request.",
            limitReports=MAX_BATCH,
        )
    return list(_outcomes(items, read))


def _outcomes(items: Sequence[T], read: Callable[[T], Arrival]) -> Iterable[Arrival | Rejected]:
    for index, item in enumerate(items):
        try:
            yield read(item)
        except TocsinError as error:
            yield Rejected(index, error.refusal.message)


# ---- the quick reader


class _Frame(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    function: FrameName | None = None
    module: FrameName | None = None
    filename: FrameName | None = None
    line: Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)] | None = None
    source_line: SourceLine | None = None
    in_app: bool | None = None


class _Exception(msgspec.Struct, frozen=True, gc=False):
    type: ExceptionType | None = None
    message: ExceptionMessage | None = None
    module: str | None = None
    handled: bool | None = None
    stack: tuple[_Frame, ...] | None = msgspec.field(default=None, name="frames")

    @property
    def frames(self) -> tuple[_Frame, ...]:
        return self.stack or ()


class _Object(msgspec.Struct, frozen=True, gc=False):
    """Any object; what is in it does not decide."""


_Tag = str | bool | Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)] | float | None


class _Report(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What decides of a report; and what decides nothing but may be wrong, which refuses the report."""

    event_id: str | None = None
    severity: str = ""
    type: str | None = None
    message: str | None = None
    occurred_at: str | int | float | None = None
    template: str | None = None
    fingerprint: str | tuple[str, ...] | None = None
    exceptions: tuple[_Exception, ...] | None = None
    platform: str | None = None
    service: str | None = None
    environment: str | None = None
    release: str | None = None
    server_name: str | None = None
    logger: str | None = None
    culprit: str | None = None
    trace_id: str | None = None
    user_id: str | None = None
    tags: dict[str, _Tag] | None = None
    context: _Object | None = None


_REPORT: msgspec.json.Decoder[_Report] = msgspec.json.Decoder(_Report)
_ITEMS: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(
    Annotated[list[msgspec.Raw], msgspec.Meta(max_length=MAX_BATCH)]
)


def _glimpse(document: bytes, received_at: datetime) -> Glimpse | None:
    """Return what decides of a report, or None where the full reader has to look."""
    try:
        report = _REPORT.decode(document)
        if has_nul(document, report) or not is_surely_shallow(document):
            return None
    except UNREADABLE:
        return None
    chain = report.exceptions or ()
    raised_type, raised_message = last_glimpsed(chain)
    error_type = report.type or raised_type
    message = report.message or raised_message
    severity = SEVERITIES.get(report.severity.strip().lower())
    occurred_at = instant_of(report.occurred_at) if report.occurred_at is not None else received_at
    is_sound = _EVENT_ID.fullmatch(report.event_id or "-") and (error_type.strip() or message.strip())
    if severity is None or occurred_at is None or not is_sound:
        return None
    return Glimpse(
        event_id=report.event_id or "",
        severity=severity,
        error_type=error_type,
        message=message,
        occurred_at=occurred_at,
        template=report.template or "",
        fingerprint=(report.fingerprint,) if isinstance(report.fingerprint, str) else report.fingerprint or (),
        exceptions=chain,
    )


# ---- the full reader


def _parsed_report(
    document: bytes, received_at: datetime, new_event_id: Callable[[], str], glimpsed: bool
) -> ErrorReport:
    return _report(parse_json(document, is_shallow=glimpsed), received_at, new_event_id)


def _report(item: object, received_at: datetime, new_event_id: Callable[[], str]) -> ErrorReport:
    if not isinstance(item, dict):
        raise refuse(
            Code.INVALID,
            "A report must be a JSON object.",
            'Send {"severity": "error", "message": "what went wrong"}.',
            errors=[{"field": "", "problem": "must be an object"}],
        )
    reader = Reader()
    report = _read(reader, item, received_at, new_event_id)
    if reader.problems:
        named = "; ".join(f"{problem['field']} {problem['problem']}" for problem in reader.problems[:5])
        raise refuse(
            Code.INVALID,
            f"The report is not valid: {named}.",
            "Correct the fields and send it again.",
            errors=reader.problems,
        )
    return bounded(report, received_at=received_at, left_out=reader.left_out)


def _read(
    reader: Reader, item: dict[str, object], received_at: datetime, new_event_id: Callable[[], str]
) -> ErrorReport:
    chain = _chain(reader, item)
    raised_type, raised_message = last_raised(chain)
    error_type = reader.text(item, "type") or raised_type
    message = reader.text(item, "message") or raised_message
    if not error_type.strip() and not message.strip():
        reader.problem("message", "is missing: say what went wrong in message, type or both")
    return ErrorReport(
        event_id=_event_id(reader, item) or new_event_id(),
        severity=_severity(reader, item),
        error_type=error_type,
        message=message,
        occurred_at=reader.instant(item, "occurredAt") or received_at,
        template=reader.text(item, "template"),
        fingerprint=_fingerprint(reader, item),
        exceptions=chain,
        platform=reader.text(item, "platform"),
        service=reader.text(item, "service"),
        environment=reader.text(item, "environment"),
        release=reader.text(item, "release"),
        server_name=reader.text(item, "serverName"),
        logger=reader.text(item, "logger"),
        culprit=reader.text(item, "culprit"),
        trace_id=reader.text(item, "traceId"),
        user_id=reader.text(item, "userId"),
        tags=_tags(reader, item),
        context=_context(reader, item),
    )


def _event_id(reader: Reader, item: dict[str, object]) -> str:
    event_id = reader.text(item, "eventId")
    if event_id and not _EVENT_ID.fullmatch(event_id):
        reader.problem("eventId", f"must be 1 to {MAX_EVENT_ID_CHARACTERS} printable ASCII characters without spaces")
    return event_id


def _severity(reader: Reader, item: dict[str, object]) -> Severity:
    severity = SEVERITIES.get(reader.text(item, "severity").strip().lower())
    if severity is None:
        reader.problem("severity", f"must be one of {', '.join(SEVERITIES)}")
        return Severity.HIGH
    return severity


def _fingerprint(reader: Reader, item: dict[str, object]) -> tuple[str, ...]:
    value = item.get("fingerprint")
    parts = value if isinstance(value, list) else [] if value is None else [value]
    texts = [scalar_text(part) for part in reader.kept(parts, MAX_FINGERPRINT_PARTS, "fingerprint")]
    if None in texts:
        reader.problem("fingerprint", "must be text or a list of texts")
    return tuple(text for text in texts if text is not None)


def _tags(reader: Reader, item: dict[str, object]) -> dict[str, str]:
    tags = reader.mapping(item, "tags")
    names = reader.kept(list(tags), MAX_TAGS, "tags")
    return {str(name): reader.text(tags, str(name), "tags.") for name in names if tags[str(name)] is not None}


def _context(reader: Reader, item: dict[str, object]) -> dict[str, object]:
    """Return the context; fields that nobody knows are kept there too, for a misspelt one must not be lost."""
    unknown = {key: value for key, value in item.items() if key not in _FIELDS}
    return {**unknown, **reader.mapping(item, "context")}


def _chain(reader: Reader, item: dict[str, object]) -> tuple[RaisedException, ...]:
    chain = []
    for index, exception in enumerate(reader.chain(reader.sequence(item, "exceptions"))):
        at = f"exceptions[{index}]"
        if isinstance(exception, dict):
            chain.append(_exception(reader, exception, f"{at}."))
        else:
            reader.wrong_kind(at, "an object", exception)
    return tuple(chain)


def _exception(reader: Reader, item: dict[str, object], at: str) -> RaisedException:
    return RaisedException(
        type=reader.text(item, "type", at),
        message=reader.text(item, "message", at),
        module=reader.text(item, "module", at),
        frames=reader.frames(reader.sequence(item, "frames", at), _FRAME_KEYS, f"{at}frames"),
        handled=reader.flag(item, "handled", at),
    )
