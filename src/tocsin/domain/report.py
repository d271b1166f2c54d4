"""An error report: what a client says went wrong, bounded and cleaned at the door.

Everything that is stored, fingerprinted or shown went through `bounded`: the one place that knows how much of
a report is kept. What it leaves out is never silent: a cut text ends with an ellipsis, and what is missing
altogether is counted in `context["tocsin"]["leftOut"]`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, TypeVar

import msgspec

from tocsin.domain.fingerprint import Raised
from tocsin.domain.incident import Severity

MAX_REPORT_BYTES = 1_048_576
"""A single report, decompressed (bytes)."""

MAX_TITLE_CHARACTERS = 200
MAX_EVENT_ID_CHARACTERS = 64
MAX_TYPE_CHARACTERS = 256
"""The type of an error or exception, and the module that defines it (characters)."""
MAX_MESSAGE_CHARACTERS = 8_192
"""The message of a report, and its template (characters)."""
MAX_EXCEPTION_MESSAGE_CHARACTERS = 4_096
MAX_NAME_CHARACTERS = 200
"""Platform, service, environment, release, server, logger, culprit, trace and user (characters each)."""

MAX_EXCEPTIONS = 10
"""Exceptions of a chain: the outermost and the innermost halves are kept."""
MAX_FRAMES = 100
"""Frames of all stacks of a report together: of each the outermost and the innermost halves are kept."""
MAX_FRAME_NAME_CHARACTERS = 256
"""A frame's function, module and file name (characters each)."""
MAX_SOURCE_LINE_CHARACTERS = 512

MAX_TAGS = 50
MAX_TAG_KEY_CHARACTERS = 64
MAX_TAG_VALUE_CHARACTERS = 256
MAX_FINGERPRINT_PARTS = 10
MAX_FINGERPRINT_PART_CHARACTERS = 200

MAX_CONTEXT_DEPTH = 6
"""Containers within each other, the context itself included."""
MAX_CONTEXT_ENTRIES = 100
"""Entries of one container of the context."""
MAX_CONTEXT_KEY_CHARACTERS = 128
MAX_CONTEXT_TEXT_CHARACTERS = 4_096
MAX_CONTEXT_CHARACTERS = 65_536
"""All keys and values of the context together (characters; a value counts for at least 8)."""

MAX_INTEGER = 2**53 - 1
"""Beyond it other programs read another number than we wrote, and RFC 8785 refuses it: it becomes text."""

EARLIEST_CLOCK = datetime(2000, 1, 1, tzinfo=UTC)
"""A client whose clock is before this has no clock."""
MAX_CLOCK_AHEAD = timedelta(days=1)
"""How far in the future a client's clock is still believed."""

UNLABELED = "<unlabeled event>"
"""The title of a report that has neither a type nor a message."""

ELLIPSIS = "…"
REPLACEMENT = "\ufffd"

# PostgreSQL cannot store U+0000 in text or jsonb, and UTF-8 has no form for half a surrogate pair.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_VALUE_COST_CHARACTERS = 8

T = TypeVar("T")


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One frame of a stack, outermost call first in its stack."""

    function: str
    module: str = ""
    filename: str = ""
    line: int | None = None
    source_line: str = ""
    in_app: bool = True


class RaisedException(msgspec.Struct, frozen=True, gc=False):
    """One exception of a chain. Chains run cause first: the last one is what the program saw."""

    type: str
    message: str = ""
    module: str = ""
    frames: tuple[Frame, ...] = ()
    handled: bool | None = None


class Signal(StrEnum):
    """What another system says of a failure beyond that it happened. It is an entry and changes no status."""

    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"


class ErrorReport(msgspec.Struct, frozen=True, gc=False):
    """One error as a client reported it.

    `event_id` is the client's own id (1–64 characters): with the project it is the idempotency key.
    `occurred_at` is the client's clock, UTC. `fingerprint` is the client's own grouping, if it sent one.
    `template` is the message before its parameters were filled in, where the client knows it.
    `signal` makes of it another system's word about a failure rather than an error. `expires_at` is when an alert that
    nobody repeats is over (UTC): silence then counts as its RESOLVE.
    """

    event_id: str
    severity: Severity
    error_type: str
    message: str
    occurred_at: datetime
    template: str = ""
    fingerprint: tuple[str, ...] = ()
    exceptions: tuple[RaisedException, ...] = ()
    platform: str = ""
    service: str = ""
    environment: str = ""
    release: str = ""
    server_name: str = ""
    logger: str = ""
    culprit: str = ""
    trace_id: str = ""
    user_id: str = ""
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    context: dict[str, object] = msgspec.field(default_factory=dict)
    signal: Signal | None = None
    expires_at: datetime | None = None

    @property
    def title(self) -> str:
        """Return one line of 1–200 characters that names the failure: `ValueError: no such order`."""
        return title_of(self.error_type, self.message)


def title_of(error_type: str, message: str) -> str:
    """Return the title of a report of this type and message."""
    name = " ".join(error_type.split())
    said = message.strip()
    line = said.splitlines()[0].rstrip() if said else ""
    return cut(f"{name}: {line}" if name and line else name or line or UNLABELED, MAX_TITLE_CHARACTERS)


def cut(text: str, limit: int) -> str:
    """Return `text` in at most `limit` characters, and storable: the last one is an ellipsis if it was longer."""
    # Most texts are empty, and nearly all others may stay as they are: a request may bring a hundred thousand.
    if not text or (len(text) <= limit and text.isascii() and "\x00" not in text):
        return text
    kept = text if len(text) <= limit else text[: limit - 1] + ELLIPSIS
    return _UNSTORABLE.sub(REPLACEMENT, kept)


def both_ends(items: Sequence[T], limit: int) -> Sequence[T]:
    """Return at most `limit` items: the first half and the last half of what there is.

    Where a stack starts and where it failed both matter; what repeats in the middle matters least.
    """
    if len(items) <= limit:
        return items
    head = limit // 2
    return [*items[:head], *items[len(items) - (limit - head) :]]


def bounded(report: ErrorReport, *, received_at: datetime, left_out: Mapping[str, int] | None = None) -> ErrorReport:
    """Return the report as it may be stored: every part within its MAX_*, every text storable.

    Args:
        report: any report; its event_id must not be empty.
        received_at: stands in for a client's clock that cannot be right (UTC).
        left_out: what a parser has already left out, by kind ("frames", "exceptions").
    """
    if not left_out and _fits(report, received_at):
        return report
    exceptions, missing = _bounded_chain(report.exceptions, dict(left_out or {}))
    _count(missing, "tags", len(report.tags) - MAX_TAGS)
    _count(missing, "fingerprint", len(report.fingerprint) - MAX_FINGERPRINT_PARTS)
    occurred_at = _believable(report.occurred_at, received_at)
    return ErrorReport(
        event_id=_bounded_event_id(report.event_id),
        severity=report.severity,
        error_type=cut(report.error_type, MAX_TYPE_CHARACTERS),
        message=cut(report.message, MAX_MESSAGE_CHARACTERS),
        occurred_at=occurred_at or received_at,
        template=cut(report.template, MAX_MESSAGE_CHARACTERS),
        fingerprint=tuple(
            cut(part, MAX_FINGERPRINT_PART_CHARACTERS) for part in report.fingerprint[:MAX_FINGERPRINT_PARTS]
        ),
        exceptions=exceptions,
        platform=cut(report.platform, MAX_NAME_CHARACTERS),
        service=cut(report.service, MAX_NAME_CHARACTERS),
        environment=cut(report.environment, MAX_NAME_CHARACTERS),
        release=cut(report.release, MAX_NAME_CHARACTERS),
        server_name=cut(report.server_name, MAX_NAME_CHARACTERS),
        logger=cut(report.logger, MAX_NAME_CHARACTERS),
        culprit=cut(report.culprit, MAX_NAME_CHARACTERS),
        trace_id=cut(report.trace_id, MAX_NAME_CHARACTERS),
        user_id=cut(report.user_id, MAX_NAME_CHARACTERS),
        tags=_bounded_tags(report.tags),
        context=_bounded_context(report.context, missing, None if occurred_at else report.occurred_at.isoformat()),
        signal=report.signal,
        expires_at=_believable(report.expires_at, received_at) if report.expires_at else None,
    )


def _fits(report: ErrorReport, received_at: datetime) -> bool:
    """Tell whether a report is within all bounds and may stay as it is; some that may get no for an answer.

    Most may, and to look takes a fraction of the time of a copy. What is shorter than the limit together needs no look
    at its parts.
    """
    names = "".join(
        (
            report.event_id,
            report.error_type,
            report.platform,
            report.service,
            report.environment,
            report.release,
            report.server_name,
            report.logger,
            report.culprit,
            report.trace_id,
            report.user_id,
        )
    )
    return (
        len(names) <= MAX_NAME_CHARACTERS
        and len(report.event_id) <= MAX_EVENT_ID_CHARACTERS
        and len(report.message) <= MAX_MESSAGE_CHARACTERS
        and len(report.template) <= MAX_MESSAGE_CHARACTERS
        and is_storable(names + report.message + report.template)
        and (not report.fingerprint or _parts_fit(report.fingerprint))
        and (not report.tags or _tags_fit(report.tags))
        and (not report.exceptions or (is_short_chain(report.exceptions) and exceptions_fit(report.exceptions)))
        and _is_believed(report.occurred_at, received_at)
        and (report.expires_at is None or _is_believed(report.expires_at, received_at))
        and (not report.context or _is_within_bounds(report.context))
    )


def is_storable(text: str) -> bool:
    """Tell whether nothing in a text has to be replaced."""
    return "\x00" not in text if text.isascii() else not _UNSTORABLE.search(text)


def is_short_fingerprint(parts: Sequence[str]) -> bool:
    """Tell whether a client's fingerprint is within its bounds."""
    return len(parts) <= MAX_FINGERPRINT_PARTS and max(map(len, parts)) <= MAX_FINGERPRINT_PART_CHARACTERS


def is_short_chain(chain: Sequence[Raised]) -> bool:
    """Tell whether there are no more exceptions and frames in a chain than are kept."""
    return len(chain) <= MAX_EXCEPTIONS and sum([len(exception.frames) for exception in chain]) <= MAX_FRAMES


def _parts_fit(parts: Sequence[str]) -> bool:
    return is_short_fingerprint(parts) and is_storable("".join(parts))


def _bounded_tags(tags: Mapping[str, str]) -> dict[str, str]:
    kept = dict(islice(tags.items(), MAX_TAGS))
    if not kept or _tags_fit(kept):
        return kept
    return {cut(key, MAX_TAG_KEY_CHARACTERS): cut(value, MAX_TAG_VALUE_CHARACTERS) for key, value in kept.items()}


def _tags_fit(tags: Mapping[str, str]) -> bool:
    return (
        len(tags) <= MAX_TAGS
        and max(map(len, tags)) <= MAX_TAG_KEY_CHARACTERS
        and max(map(len, tags.values())) <= MAX_TAG_VALUE_CHARACTERS
        and is_storable("".join(tags))
        and is_storable("".join(tags.values()))
    )


def exceptions_fit(chain: Sequence[RaisedException]) -> bool:
    """Tell whether each exception is within its bounds and may stay as it is; their number is another question."""
    return all(map(_exception_fits, chain))


def _exception_fits(exception: RaisedException) -> bool:
    return (
        len(exception.type) <= MAX_TYPE_CHARACTERS
        and len(exception.message) <= MAX_EXCEPTION_MESSAGE_CHARACTERS
        and len(exception.module) <= MAX_TYPE_CHARACTERS
        and is_storable(exception.type + exception.message + exception.module)
        and all(map(_frame_fits, exception.frames))
    )


def _frame_fits(frame: Frame) -> bool:
    texts = frame.function + frame.module + frame.filename
    return (
        len(texts) <= MAX_FRAME_NAME_CHARACTERS
        and len(frame.source_line) <= MAX_SOURCE_LINE_CHARACTERS
        and (frame.line is None or 0 <= frame.line <= MAX_INTEGER)
        and is_storable(texts + frame.source_line)
    )


def _is_believed(instant: datetime, received_at: datetime) -> bool:
    return instant.tzinfo is UTC and EARLIEST_CLOCK <= instant <= received_at + MAX_CLOCK_AHEAD


def document(report: ErrorReport) -> dict[str, object]:
    """Return the report as plain JSON: the form that is stored and shown, absent parts left out.

    The names are those of the native intake: what is stored can be sent again.
    """
    return _present(
        {
            "eventId": report.event_id,
            "signal": report.signal.value if report.signal else None,
            "severity": report.severity.value,
            "type": report.error_type,
            "message": report.message,
            "occurredAt": _timestamp(report.occurred_at),
            "template": report.template,
            "fingerprint": list(report.fingerprint),
            "exceptions": [_exception_document(exception) for exception in report.exceptions],
            "platform": report.platform,
            "service": report.service,
            "environment": report.environment,
            "release": report.release,
            "serverName": report.server_name,
            "logger": report.logger,
            "culprit": report.culprit,
            "traceId": report.trace_id,
            "userId": report.user_id,
            "tags": dict(report.tags),
            "context": dict(report.context),
        }
    )


def _exception_document(exception: RaisedException) -> dict[str, object]:
    return _present(
        {
            "type": exception.type,
            "message": exception.message,
            "module": exception.module,
            "handled": exception.handled,
            "frames": [_frame_document(frame) for frame in exception.frames],
        }
    )


def _frame_document(frame: Frame) -> dict[str, object]:
    return _present(
        {
            "function": frame.function,
            "module": frame.module,
            "filename": frame.filename,
            "line": frame.line,
            "sourceLine": frame.source_line,
            "inApp": frame.in_app,
        }
    )


def _present(parts: dict[str, object]) -> dict[str, object]:
    return {
        name: part
        for name, part in parts.items()
        if part is not None and not (isinstance(part, (str, list, dict)) and not part)
    }


def _timestamp(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _bounded_event_id(event_id: str) -> str:
    """Return an id that fits. A cut would make one id of two, and the second report would be lost as a copy."""
    storable = cut(event_id, len(event_id))
    if storable == event_id and len(event_id) <= MAX_EVENT_ID_CHARACTERS:
        return event_id
    return hashlib.sha256(event_id.encode("utf-8", "surrogatepass")).hexdigest()


def _believable(occurred_at: datetime, received_at: datetime) -> datetime | None:
    instant = occurred_at if occurred_at.tzinfo is not None else occurred_at.replace(tzinfo=UTC)
    if not EARLIEST_CLOCK <= instant <= received_at + MAX_CLOCK_AHEAD:
        return None
    return instant.astimezone(UTC)


def _count(missing: dict[str, int], kind: str, number: int) -> None:
    if number > 0:
        missing[kind] = missing.get(kind, 0) + number


def _bounded_chain(
    chain: Sequence[RaisedException], missing: dict[str, int]
) -> tuple[tuple[RaisedException, ...], dict[str, int]]:
    if not chain:
        return (), missing
    kept = both_ends(chain, MAX_EXCEPTIONS)
    _count(missing, "exceptions", len(chain) - len(kept))
    shares = _fair_shares([len(exception.frames) for exception in kept], MAX_FRAMES)
    exceptions = []
    for exception, share in zip(kept, shares, strict=True):
        _count(missing, "frames", len(exception.frames) - share)
        exceptions.append(_bounded_exception(exception, share))
    return tuple(exceptions), missing


def _fair_shares(wanted: Sequence[int], total: int) -> list[int]:
    """Divide `total` so that small wishes are met in full and the large ones share what remains."""
    shares = [0] * len(wanted)
    smallest_first = sorted(range(len(wanted)), key=wanted.__getitem__)
    for position, index in enumerate(smallest_first):
        shares[index] = min(wanted[index], total // (len(wanted) - position))
        total -= shares[index]
    return shares


def _bounded_exception(exception: RaisedException, frames: int) -> RaisedException:
    return RaisedException(
        type=cut(exception.type, MAX_TYPE_CHARACTERS),
        message=cut(exception.message, MAX_EXCEPTION_MESSAGE_CHARACTERS),
        module=cut(exception.module, MAX_TYPE_CHARACTERS),
        frames=tuple(_bounded_frame(frame) for frame in both_ends(exception.frames, frames)),
        handled=exception.handled,
    )


def _bounded_frame(frame: Frame) -> Frame:
    return Frame(
        function=cut(frame.function, MAX_FRAME_NAME_CHARACTERS),
        module=cut(frame.module, MAX_FRAME_NAME_CHARACTERS),
        filename=cut(frame.filename, MAX_FRAME_NAME_CHARACTERS),
        line=frame.line if frame.line is not None and 0 <= frame.line <= MAX_INTEGER else None,
        source_line=cut(frame.source_line, MAX_SOURCE_LINE_CHARACTERS),
        in_app=frame.in_app,
    )


def _bounded_context(
    context: Mapping[str, object], missing: Mapping[str, int], client_clock: str | None
) -> dict[str, object]:
    notes = _present({"leftOut": dict(missing), "clientClock": client_clock})
    # Ours first: it is small, and must not fall to the budget that a client's own context uses up.
    noted = {"tocsin": notes, **{key: context[key] for key in context if key != "tocsin"}} if notes else dict(context)
    return noted if _is_within_bounds(noted) else _ContextCleaner().mapping(noted, MAX_CONTEXT_DEPTH)


class _DoesNotFitError(Exception):
    """Something in a context has to be cut, or is no JSON."""


def _is_within_bounds(context: dict[str, object]) -> bool:
    """Tell whether a context may stay as it is: to look takes a fifth of the time of a copy, and most contexts may."""
    try:
        if _cost_characters(context, MAX_CONTEXT_DEPTH) > MAX_CONTEXT_CHARACTERS:
            return False
        # Half a surrogate pair cannot be encoded. A text that only speaks of \\u0000 is copied, which does no harm.
        return b"\\u0000" not in msgspec.json.encode(context)
    except (_DoesNotFitError, TypeError, UnicodeEncodeError):
        return False


def _cost_characters(container: dict[str, object] | list[object], depth: int) -> int:
    """Return what a container takes of a context's budget; raise TypeError if a key is no text."""
    if depth == 0 or len(container) > MAX_CONTEXT_ENTRIES:
        raise _DoesNotFitError
    cost = _VALUE_COST_CHARACTERS * len(container)
    values: Iterable[object] = container
    if isinstance(container, dict):
        keys = "".join(container)
        if len(keys) > MAX_CONTEXT_KEY_CHARACTERS and max(map(len, container)) > MAX_CONTEXT_KEY_CHARACTERS:
            raise _DoesNotFitError
        cost += len(keys)
        values = container.values()
    for value in values:
        if type(value) is str and len(value) <= MAX_CONTEXT_TEXT_CHARACTERS:
            cost += len(value)
        elif type(value) is dict or type(value) is list:
            cost += _cost_characters(value, depth - 1)
        elif not _is_plain(value):
            raise _DoesNotFitError
    return cost


def _is_plain(value: object) -> bool:
    """Tell whether a value is a number, a truth value or null that every reader of JSON takes for the same."""
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, int):
        return abs(value) <= MAX_INTEGER
    return isinstance(value, float) and math.isfinite(value) and not _is_huge_whole(value)


class _ContextCleaner:
    """Copies JSON within the bounds of a context; one budget of characters serves the whole of it."""

    __slots__ = ("_copies", "_remaining")

    def __init__(self) -> None:
        self._remaining = MAX_CONTEXT_CHARACTERS
        self._copies: dict[tuple[int, int], tuple[object, int]] = {}

    def mapping(self, source: Mapping[Any, object], depth: int) -> dict[str, object]:
        kept: dict[str, object] = {}
        for key, value in self._affordable(source.items()):
            name = self._text(key if isinstance(key, str) else _as_text(key), MAX_CONTEXT_KEY_CHARACTERS)
            kept[name] = self._value(value, depth - 1)
        if len(source) > len(kept):
            kept[ELLIPSIS] = f"{len(source) - len(kept)} more"
        return kept

    def _sequence(self, source: Sequence[object], depth: int) -> list[object]:
        kept = [self._value(value, depth - 1) for value in self._affordable(source)]
        if len(source) > len(kept):
            kept.append(f"{ELLIPSIS} {len(source) - len(kept)} more")
        return kept

    def _affordable(self, items: Iterable[T]) -> Iterable[T]:
        for item in islice(items, MAX_CONTEXT_ENTRIES):
            if self._remaining <= 0:
                return
            yield item

    def _value(self, value: object, depth: int) -> object:
        self._remaining -= _VALUE_COST_CHARACTERS
        if isinstance(value, str):
            return self._text(value, MAX_CONTEXT_TEXT_CHARACTERS)
        if _is_plain(value):
            return value
        if isinstance(value, (dict, list, tuple)):
            return ELLIPSIS if depth <= 0 else self._container(value, depth)
        return self._text(_as_text(value), MAX_CONTEXT_TEXT_CHARACTERS)

    def _container(self, value: dict[Any, object] | Sequence[object], depth: int) -> object:
        """Return a copy. A field mapping may lead to one container many times: it costs as often and is copied once."""
        known, cost = self._copies.get((id(value), depth), (None, 0))
        if known is not None and cost <= self._remaining:
            self._remaining -= cost
            return known
        before = self._remaining
        copy = self.mapping(value, depth) if isinstance(value, dict) else self._sequence(value, depth)
        self._copies[id(value), depth] = copy, before - self._remaining
        return copy

    def _text(self, text: str, limit: int) -> str:
        kept = cut(text, max(1, min(limit, self._remaining)))
        self._remaining -= len(kept)
        return kept


def _is_huge_whole(value: float) -> bool:
    # RFC 8785 writes 2.5e16 as an integer, and then it is one that MAX_INTEGER forbids.
    return abs(value) > MAX_INTEGER and value.is_integer()


def _as_text(value: object) -> str:
    """Return a number that JSON cannot hold as text, and of anything else only its type: str() may run its code."""
    if isinstance(value, int):
        # Decimal digits take quadratic time, and Python refuses more than 4,300 of them; hexadecimal ones do not.
        return str(value) if value.bit_length() <= 4_096 else hex(value)
    if value is None or isinstance(value, float):
        return str(value)
    return f"<{type(value).__name__}>"
