"""One event of a Sentry SDK: an arrival at once, and the error report that it is when somebody keeps it.

Two readers of one format. The quick one knows only events that are as they should be, and of those only what decides:
its types make the decoder skip everything else. Whatever is odd or too large it leaves to the full one, whose word
counts; tests/intake/test_agreement.py holds the two against each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from tocsin.domain.arrival import Arrival, Glimpse
from tocsin.domain.incident import Severity
from tocsin.domain.report import (
    MAX_FINGERPRINT_PARTS,
    MAX_TAGS,
    ErrorReport,
    Frame,
    RaisedException,
    bounded,
)
from tocsin.errors import Code, refuse
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

MAX_BREADCRUMBS = 20
"""Breadcrumbs that are kept: the last ones, next to the error."""

_FRAME_KEYS = FrameKeys(line="lineno", source_line="context_line", in_app="in_app")
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_CONTEXT_PARTS = ("request", "extra", "user", "dist")


def read_event(payload: bytes, *, received_at: datetime, new_event_id: Callable[[], str]) -> Arrival:
    """Return the arrival of an event.

    Args:
        payload: one JSON object.
        received_at: stands in where the client does not say when (UTC).
        new_event_id: makes an id for an event that has none; called at most once.

    Raises:
        TocsinError: MALFORMED, or INVALID (not an object).
    """
    glimpse = _glimpse(payload, received_at)
    return arrival_of(glimpse, payload, _report, received_at=received_at, new_event_id=new_event_id)


def event_id_of(value: object) -> str:
    """Return the id in the form that the SDKs show: 32 hex digits. What is no UUID stays as it is."""
    text = (scalar_text(value) or "").strip()
    return text.lower().replace("-", "") if _UUID.fullmatch(text.lower()) else text


# ---- the quick reader


class _Frame(msgspec.Struct, frozen=True, gc=False, rename={"source_line": "context_line"}):
    function: FrameName | None = None
    module: FrameName | None = None
    filename: FrameName | None = None
    source_line: SourceLine | None = None
    in_app: bool | None = None


class _Stack(msgspec.Struct, frozen=True, gc=False):
    frames: tuple[_Frame, ...] | None = None


class _Exception(msgspec.Struct, frozen=True, gc=False, rename={"message": "value"}):
    type: ExceptionType | None = None
    message: ExceptionMessage | None = None
    stacktrace: _Stack | None = None

    @property
    def frames(self) -> tuple[_Frame, ...]:
        return (self.stacktrace and self.stacktrace.frames) or ()


class _Thread(msgspec.Struct, frozen=True, gc=False):
    crashed: bool | None = None
    current: bool | None = None
    stacktrace: _Stack | None = None


class _Exceptions(msgspec.Struct, frozen=True, gc=False):
    # Required: without it the object is itself an exception, which only old clients send.
    values: tuple[_Exception, ...]


class _Threads(msgspec.Struct, frozen=True, gc=False):
    values: tuple[_Thread, ...]


class _Event(msgspec.Struct, frozen=True, gc=False):
    """What decides of an event. What is cheap stays as it is, for both readers to make the same of it."""

    event_id: object = None
    level: object = None
    timestamp: object = None
    fingerprint: object = None
    logentry: object = None
    message: object = None
    exception: _Exceptions | tuple[_Exception, ...] | None = None
    # Looked into only where no exception brings a stack.
    threads: msgspec.Raw = msgspec.Raw(b"null")
    stacktrace: msgspec.Raw = msgspec.Raw(b"null")


_EVENT: msgspec.json.Decoder[_Event] = msgspec.json.Decoder(_Event)
_THREADS: msgspec.json.Decoder[_Threads | tuple[_Thread, ...] | None] = msgspec.json.Decoder(
    _Threads | tuple[_Thread, ...] | None
)
_STACK: msgspec.json.Decoder[_Stack | None] = msgspec.json.Decoder(_Stack | None)


def _glimpse(payload: bytes, received_at: datetime) -> Glimpse | None:
    """Return what decides of an event, or None where the full reader has to look."""
    try:
        event = _EVENT.decode(payload)
        if has_nul(payload, event) or not is_surely_shallow(payload):
            return None
        chain = _quick_chain(event)
    except UNREADABLE:
        return None
    reader = Reader()
    logged, template = _logged(reader, event.logentry, event.message)
    raised_type, raised_message = last_glimpsed(chain)
    glimpse = Glimpse(
        event_id=event_id_of(event.event_id),
        severity=_severity(event.level),
        error_type=raised_type,
        message=raised_message or logged,
        occurred_at=instant_of(event.timestamp) or received_at,
        template=template,
        fingerprint=_fingerprint(reader, event.fingerprint),
        exceptions=chain,
    )
    return None if reader.left_out else glimpse


def _quick_chain(event: _Event) -> Sequence[_Exception]:
    values = event.exception.values if isinstance(event.exception, _Exceptions) else event.exception
    if values:
        return values
    interface = _THREADS.decode(event.threads)
    threads = (interface.values if isinstance(interface, _Threads) else interface) or ()
    failing = [thread.stacktrace for thread in threads if thread.crashed or thread.current]
    for stack in (*failing[:1], _STACK.decode(event.stacktrace)):
        if stack and stack.frames:
            return (_Exception(stacktrace=stack),)
    return ()


# ---- the full reader


class _KeptFrame(msgspec.Struct, gc=False):
    """What is kept of a frame; most of a frame are the variables and the source around it, which are not."""

    function: object = UNSET
    module: object = UNSET
    filename: object = UNSET
    lineno: object = UNSET
    context_line: object = UNSET
    in_app: object = UNSET


class _KeptStack(msgspec.Struct, gc=False):
    frames: list[_KeptFrame] | UnsetType | None = UNSET


class _KeptException(msgspec.Struct, gc=False):
    type: object = UNSET
    value: object = UNSET
    module: object = UNSET
    mechanism: object = UNSET
    stacktrace: _KeptStack | UnsetType | None = UNSET


class _KeptExceptions(msgspec.Struct, gc=False):
    values: list[_KeptException]


class _KeptEvent(msgspec.Struct, gc=False):
    """Every part of an event at which the full reader looks: the decoder skips the rest, half of a real event."""

    event_id: object = UNSET
    level: object = UNSET
    timestamp: object = UNSET
    fingerprint: object = UNSET
    logentry: object = UNSET
    message: object = UNSET
    exception: _KeptExceptions | list[_KeptException] | UnsetType | None = UNSET
    threads: object = UNSET
    stacktrace: object = UNSET
    platform: object = UNSET
    environment: object = UNSET
    release: object = UNSET
    server_name: object = UNSET
    logger: object = UNSET
    transaction: object = UNSET
    culprit: object = UNSET
    contexts: object = UNSET
    user: object = UNSET
    tags: object = UNSET
    sdk: object = UNSET
    request: object = UNSET
    extra: object = UNSET
    dist: object = UNSET
    breadcrumbs: object = UNSET


_KEPT: msgspec.json.Decoder[_KeptEvent] = msgspec.json.Decoder(_KeptEvent)


def _kept_parts(payload: bytes) -> object:
    """Return what is kept of an event that was glimpsed; the whole of one that is not as it should be."""
    try:
        return msgspec.to_builtins(_KEPT.decode(payload))
    except UNREADABLE:
        return parse_json(payload, is_shallow=True)


def _report(payload: bytes, received_at: datetime, new_event_id: Callable[[], str], glimpsed: bool) -> ErrorReport:
    event = _kept_parts(payload) if glimpsed else parse_json(payload)
    if not isinstance(event, dict):
        raise refuse(
            Code.INVALID,
            "The event is not a JSON object.",
            "Send a Sentry event.",
            errors=[{"field": "", "problem": "must be an object"}],
        )
    reader = Reader()
    report = _read(reader, event, received_at, new_event_id)
    return bounded(report, received_at=received_at, left_out=reader.left_out)


def _read(
    reader: Reader, event: dict[str, object], received_at: datetime, new_event_id: Callable[[], str]
) -> ErrorReport:
    chain = _chain(reader, event)
    logged, template = _logged(reader, event.get("logentry"), event.get("message"))
    raised_type, raised_message = last_raised(chain)
    context = _context(reader, event)
    if logged and raised_message and logged != raised_message:
        context = {"logMessage": logged, **context}
    return ErrorReport(
        event_id=event_id_of(event.get("event_id")) or new_event_id(),
        severity=_severity(event.get("level")),
        error_type=raised_type,
        message=raised_message or logged,
        occurred_at=instant_of(event.get("timestamp")) or received_at,
        template=template,
        fingerprint=_fingerprint(reader, event.get("fingerprint")),
        exceptions=chain,
        platform=reader.text(event, "platform"),
        environment=reader.text(event, "environment"),
        release=reader.text(event, "release"),
        server_name=reader.text(event, "server_name"),
        logger=reader.text(event, "logger"),
        culprit=reader.text(event, "transaction") or reader.text(event, "culprit"),
        trace_id=reader.text(reader.mapping(reader.mapping(event, "contexts"), "trace"), "trace_id"),
        user_id=reader.text(reader.mapping(event, "user"), "id"),
        tags=_tags(reader, event),
        context=context,
    )


def _severity(level: object) -> Severity:
    """Return the severity of a level. An event without one is an error; a level that nobody knows is minor."""
    if not isinstance(level, str):
        return Severity.HIGH
    return SEVERITIES.get(level.strip().lower(), Severity.LOW)


def _fingerprint(reader: Reader, value: object) -> tuple[str, ...]:
    parts = value if isinstance(value, list) else [value]
    texts = (scalar_text(part) for part in reader.kept(parts, MAX_FINGERPRINT_PARTS, "fingerprint"))
    return tuple(text for text in texts if text is not None)


def _logged(reader: Reader, logentry: object, message: object) -> tuple[str, str]:
    """Return what was logged, and its template. Parameters are never filled in here: a format can ask for gigabytes."""
    for entry in (logentry, message):
        if isinstance(entry, dict):
            template = reader.text(entry, "message")
            formatted = reader.text(entry, "formatted")
            if formatted or template:
                # A message that had nothing to fill in is no template: the program may have formatted it itself.
                filled_in = bool(entry.get("params")) or formatted not in ("", template)
                return formatted or template, template if filled_in else ""
        elif isinstance(entry, str) and entry:
            return entry, ""
    return "", ""


def _tags(reader: Reader, event: dict[str, object]) -> dict[str, str]:
    """Return the tags: an object, a list of pairs, or a list of {key, value}."""
    tags = event.get("tags")
    pairs = list(tags.items()) if isinstance(tags, dict) else tags if isinstance(tags, list) else []
    texts = (_tag(pair) for pair in reader.kept(pairs, MAX_TAGS, "tags"))
    return dict(text for text in texts if text is not None)


def _tag(pair: object) -> tuple[str, str] | None:
    if isinstance(pair, dict):
        pair = (pair.get("key"), pair.get("value"))
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        return None
    key, value = scalar_text(pair[0]), scalar_text(pair[1])
    return (key, value) if key and value is not None else None


def _values(interface: object) -> list[object]:
    """Return the list of an interface: `{"values": […]}` or the bare list."""
    if isinstance(interface, dict):
        values = interface.get("values", [interface])
        return values if isinstance(values, list) else []
    return interface if isinstance(interface, list) else []


def _context(reader: Reader, event: dict[str, object]) -> dict[str, object]:
    """Return what helps a person: small things first, for the budget of a context is spent in this order."""
    sdk = reader.mapping(event, "sdk")
    context: dict[str, object] = {"sdk": {key: sdk[key] for key in ("name", "version") if key in sdk}}
    contexts = reader.mapping(event, "contexts")
    context["contexts"] = {key: value for key, value in contexts.items() if key != "trace"}
    for part in _CONTEXT_PARTS:
        context[part] = event.get(part)
    context["breadcrumbs"] = _values(event.get("breadcrumbs"))[-MAX_BREADCRUMBS:]
    return {key: value for key, value in context.items() if value not in (None, "", {}, [])}


def _chain(reader: Reader, event: dict[str, object]) -> tuple[RaisedException, ...]:
    """Return the chain of exceptions, cause first, as the SDKs send it."""
    values = [value for value in _values(event.get("exception")) if isinstance(value, dict)]
    if not values:
        return _stack_alone(reader, event)
    return tuple(_exception(reader, value) for value in reader.chain(values) if isinstance(value, dict))


def _stack_alone(reader: Reader, event: dict[str, object]) -> tuple[RaisedException, ...]:
    """Return the stack of a message (`attach_stacktrace`) as an exception that has no type."""
    threads = [thread for thread in _values(event.get("threads")) if isinstance(thread, dict)]
    failing = [thread for thread in threads if thread.get("crashed") or thread.get("current")]
    for holder in (*failing[:1], event):
        if frames := _frames(reader, holder):
            return (RaisedException(type="", frames=frames),)
    return ()


def _exception(reader: Reader, value: dict[str, object]) -> RaisedException:
    return RaisedException(
        type=reader.text(value, "type"),
        message=reader.text(value, "value"),
        module=reader.text(value, "module"),
        frames=_frames(reader, value),
        handled=reader.flag(reader.mapping(value, "mechanism"), "handled"),
    )


def _frames(reader: Reader, holder: Mapping[str, object]) -> tuple[Frame, ...]:
    stack = reader.mapping(holder, "stacktrace")
    return reader.frames(reader.sequence(stack, "frames"), _FRAME_KEYS, "frames")
