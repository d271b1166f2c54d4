"""What Sentry's SDKs send: envelopes, and the older store requests.

Nothing that such a client sends is refused for a detail: the SDKs throw away what is refused. A part of an event that
is not what it should be is left out; the event is taken.

Source of the formats: https://develop.sentry.dev/sdk/data-model/envelopes/ and …/event-payloads/, and what the
clients named in the tests really send.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from tocsin.domain.incident import Severity
from tocsin.domain.report import (
    MAX_FINGERPRINT_PARTS,
    MAX_INTEGER,
    MAX_TAGS,
    ErrorReport,
    Frame,
    RaisedException,
    bounded,
    cut,
)
from tocsin.errors import Code, TocsinError, refuse
from tocsin.intake import Rejected
from tocsin.intake.decoding import parse_json
from tocsin.intake.reading import (
    SEVERITIES,
    FrameKeys,
    Reader,
    instant_of,
    last_raised,
    scalar_text,
)

MAX_ITEMS = 100
"""Items of an envelope; the SDKs send a handful."""
MAX_BREADCRUMBS = 20
"""Breadcrumbs that are kept: the last ones, next to the error."""
MAX_LOSSES = 100
"""Entries of the client reports of one envelope."""
MAX_LABEL_CHARACTERS = 64
"""An item's type, and the reason and category of a loss (characters)."""

_FRAME_KEYS = FrameKeys(line="lineno", source_line="context_line", in_app="in_app")
_KEY = re.compile(r"[0-9A-Za-z_-]{1,64}")
_AUTH_PAIR = re.compile(r"\bsentry_key\s*=\s*([0-9A-Za-z_-]{1,64})(?![0-9A-Za-z_-])")
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_BLANK = re.compile(rb"\s*+")
_MAX_AUTH_CHARACTERS = 2_048
_CONTEXT_PARTS = ("request", "extra", "user", "dist")


@dataclass(frozen=True, slots=True)
class ClientLoss:
    """Events that the SDK itself dropped: why ("queue_overflow", …), of which category ("error", …), how many."""

    reason: str
    category: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """What one envelope carried.

    `event_id` is the id to answer with: the header's, else that of the first event; "" if there is neither.
    `others` counts the items that are acknowledged and not kept, by type.
    """

    event_id: str
    reports: list[ErrorReport | Rejected]
    client_reports: list[ClientLoss]
    others: dict[str, int]


def parse_auth(header: str | None, query_key: str | None, dsn: object = None) -> str | None:
    """Return the project key that a request names, or None.

    Args:
        header: `X-Sentry-Auth: Sentry sentry_key=…, sentry_version=7`.
        query_key: `?sentry_key=…`.
        dsn: the `dsn` of the envelope's header (see `envelope_dsn`), which tunnels send instead.
    """
    pair = _AUTH_PAIR.search((header or "")[:_MAX_AUTH_CHARACTERS])
    if pair:
        return pair[1]
    if query_key and _KEY.fullmatch(query_key):
        return query_key
    return _key_of_dsn(dsn)


def _key_of_dsn(dsn: object) -> str | None:
    if not isinstance(dsn, str) or len(dsn) > _MAX_AUTH_CHARACTERS:
        return None
    try:
        key = urlsplit(dsn).username or ""
    except ValueError:
        # Not a URL at all: it names no key, which the caller refuses as it refuses an absent one.
        return None
    return key if _KEY.fullmatch(key) else None


def envelope_dsn(body: bytes) -> object:
    """Return the `dsn` of an envelope's header, as it is there; None without one.

    Raises:
        TocsinError: MALFORMED.
    """
    return _header(body.partition(b"\n")[0]).get("dsn")


def parse_envelope(body: bytes, *, received_at: datetime, new_event_id: Callable[[], str]) -> Envelope:
    """Return what an envelope carries: a header line, then items of a header line and a payload each.

    Args:
        body: decompressed.
        received_at: stands in where the client does not say when (UTC).
        new_event_id: makes an id for an event that has none.

    Raises:
        TocsinError: MALFORMED (the envelope's own header cannot be read), TOO_LARGE (more than MAX_ITEMS items).
    """
    first, _, rest = body.partition(b"\n")
    header = _header(first)
    header_id = _event_id(header.get("event_id"))
    reports: list[ErrorReport | Rejected] = []
    losses: list[ClientLoss] = []
    others: Counter[str] = Counter()
    # The header's id belongs to one event; a second one under it would be taken for a copy of the first.
    unused_ids = iter([header_id] if header_id else [])
    for index, (kind, payload) in enumerate(_items(rest)):
        if kind == "event":
            reports.append(_outcome(index, payload, received_at, lambda: next(unused_ids, "") or new_event_id()))
        elif kind == "client_report":
            losses.extend(_losses(payload))
        else:
            others[kind] += 1
    ids = (report.event_id for report in reports if isinstance(report, ErrorReport))
    return Envelope(header_id or next(ids, ""), reports, losses[:MAX_LOSSES], dict(others))


def parse_store(body: bytes, *, received_at: datetime, new_event_id: Callable[[], str]) -> ErrorReport:
    """Return the event of a store request: one JSON object.

    Raises:
        TocsinError: MALFORMED, or INVALID (not an object).
    """
    return _report(parse_json(body), received_at, new_event_id)


def _header(line: bytes) -> dict[str, object]:
    header = parse_json(line)
    if not isinstance(header, dict):
        raise refuse(Code.MALFORMED, "The envelope's header is not a JSON object.", "Send a Sentry envelope.")
    return header


def _items(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield type and payload of each item. One with an unreadable header ends it: nobody knows where it ends."""
    position = _next_line(body, 0)
    count = 0
    while position < len(body):
        line, position = _line(body, position)
        count += 1
        if count > MAX_ITEMS:
            raise refuse(
                Code.TOO_LARGE,
                f"The envelope has more than {MAX_ITEMS} items.",
                "Send them in several envelopes.",
                limitItems=MAX_ITEMS,
            )
        header = _item_header(line)
        if header is None:
            # As an event, so that what cannot be read is reported as rejected and not just counted.
            yield "event", line
            return
        payload, position = _payload(body, position, header.get("length"))
        yield _label(header.get("type")), payload
        position = _next_line(body, position)


def _item_header(line: bytes) -> dict[str, object] | None:
    try:
        header = parse_json(line)
    except TocsinError:
        return None
    return header if isinstance(header, dict) else None


def _next_line(body: bytes, start: int) -> int:
    """Return where the next line begins that is not blank. One call, not one per line: a body may be all newlines."""
    blank = _BLANK.match(body, start)
    return blank.end() if blank else start


def _line(body: bytes, start: int) -> tuple[bytes, int]:
    end = body.find(b"\n", start)
    return (body[start:], len(body)) if end < 0 else (body[start:end], end + 1)


def _payload(body: bytes, start: int, length: object) -> tuple[bytes, int]:
    """Return an item's payload. A length that does not lead to the end of a line is wrong: the line counts then."""
    if isinstance(length, int) and 0 <= length <= len(body) - start:
        end = start + length
        if body[end : end + 1] in (b"\n", b""):
            return body[start:end], end + 1
    return _line(body, start)


def _outcome(
    index: int, payload: bytes, received_at: datetime, new_event_id: Callable[[], str]
) -> ErrorReport | Rejected:
    try:
        return _report(parse_json(payload), received_at, new_event_id)
    except TocsinError as error:
        return Rejected(index, error.refusal.message)


def _losses(payload: bytes) -> Iterator[ClientLoss]:
    try:
        report = parse_json(payload)
    except TocsinError:
        report = None
    discarded = report.get("discarded_events") if isinstance(report, dict) else None
    for entry in (discarded if isinstance(discarded, list) else [])[:MAX_LOSSES]:
        quantity = entry.get("quantity") if isinstance(entry, dict) else None
        if isinstance(quantity, int) and not isinstance(quantity, bool) and 0 < quantity <= MAX_INTEGER:
            yield ClientLoss(_label(entry.get("reason")), _label(entry.get("category")), quantity)


def _label(value: object) -> str:
    return cut(scalar_text(value) or "unknown", MAX_LABEL_CHARACTERS)


def _event_id(value: object) -> str:
    """Return the id in the form that the SDKs show: 32 hex digits. What is no UUID stays as it is."""
    text = (scalar_text(value) or "").strip()
    return text.lower().replace("-", "") if _UUID.fullmatch(text.lower()) else text


def _report(event: object, received_at: datetime, new_event_id: Callable[[], str]) -> ErrorReport:
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
    logged, template = _logged(reader, event)
    raised_type, raised_message = last_raised(chain)
    context = _context(reader, event)
    if logged and raised_message and logged != raised_message:
        context = {"logMessage": logged, **context}
    return ErrorReport(
        event_id=_event_id(event.get("event_id")) or new_event_id(),
        severity=_severity(event.get("level")),
        error_type=raised_type,
        message=raised_message or logged,
        occurred_at=instant_of(event.get("timestamp")) or received_at,
        template=template,
        fingerprint=_fingerprint(reader, event),
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


def _fingerprint(reader: Reader, event: dict[str, object]) -> tuple[str, ...]:
    value = event.get("fingerprint")
    parts = value if isinstance(value, list) else [value]
    texts = (scalar_text(part) for part in reader.kept(parts, MAX_FINGERPRINT_PARTS, "fingerprint"))
    return tuple(text for text in texts if text is not None)


def _logged(reader: Reader, event: dict[str, object]) -> tuple[str, str]:
    """Return what was logged, and its template. Parameters are never filled in here: a format can ask for gigabytes."""
    for entry in (event.get("logentry"), event.get("message")):
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
