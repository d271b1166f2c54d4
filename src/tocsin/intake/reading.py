"""Reads the fields of a report out of plain JSON, and remembers what was wrong with them.

Every getter returns something usable: an empty value when the field is absent, null or of a wrong type. Whether a
wrong type refuses the report is for its parser to decide; the `Reader` only keeps the list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Protocol

import msgspec

from tocsin.domain.arrival import Arrival, Glimpse, is_plain_id
from tocsin.domain.fingerprint import Raised
from tocsin.domain.incident import Severity
from tocsin.domain.report import (
    MAX_EXCEPTION_MESSAGE_CHARACTERS,
    MAX_EXCEPTIONS,
    MAX_FRAME_NAME_CHARACTERS,
    MAX_FRAMES,
    MAX_INTEGER,
    MAX_SOURCE_LINE_CHARACTERS,
    MAX_TYPE_CHARACTERS,
    ErrorReport,
    Frame,
    RaisedException,
    both_ends,
)

MAX_KEPT_BYTES = 65_536
"""A larger document is read whole at once: kept to be read later it would hold memory, and then take long to read."""
MAX_PROBLEMS = 20
"""Problems that are named in one answer; a client that has more has one."""

SEVERITIES: dict[str, Severity] = {
    "fatal": Severity.CRITICAL,
    "critical": Severity.CRITICAL,
    "error": Severity.HIGH,
    "high": Severity.HIGH,
    "warning": Severity.MEDIUM,
    "warn": Severity.MEDIUM,
    "medium": Severity.MEDIUM,
    "info": Severity.LOW,
    "debug": Severity.LOW,
    "low": Severity.LOW,
}
"""What clients call a severity, in lower case."""

# From here on a number of seconds is one of milliseconds: as seconds it would be in the year 5138.
_FIRST_MILLISECONDS = 1e11

ExceptionType = Annotated[str, msgspec.Meta(max_length=MAX_TYPE_CHARACTERS)]
ExceptionMessage = Annotated[str, msgspec.Meta(max_length=MAX_EXCEPTION_MESSAGE_CHARACTERS)]
FrameName = Annotated[str, msgspec.Meta(max_length=MAX_FRAME_NAME_CHARACTERS)]
SourceLine = Annotated[str, msgspec.Meta(max_length=MAX_SOURCE_LINE_CHARACTERS)]
"""Texts of a report that need no cutting, for the types of a quick reader: of the others it knows nothing."""

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What the decoder of a quick reader says to what it was not made for."""

_FEW_BYTES = 4_096

_KINDS = {
    str: "text",
    dict: "an object",
    list: "a list",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class FrameKeys:
    """What a protocol calls the parts of a frame."""

    line: str
    source_line: str
    in_app: str


class Reader:
    """Reads one report; `problems` are {field, problem}, `left_out` counts what was skipped for its number."""

    __slots__ = ("left_out", "problems")

    def __init__(self) -> None:
        self.problems: list[dict[str, str]] = []
        self.left_out: dict[str, int] = {}

    def problem(self, at: str, problem: str) -> None:
        """Remember a problem, up to MAX_PROBLEMS."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append({"field": at, "problem": problem})

    def wrong_kind(self, at: str, expected: str, value: object) -> None:
        """Remember that a field is not of the kind it should be."""
        self.problem(at, f"must be {expected}, not {_KINDS.get(type(value), 'that')}")

    def text(self, source: Mapping[str, object], key: str, at: str = "") -> str:
        """Return a text; numbers and truth values are taken as text."""
        value = source.get(key)
        if isinstance(value, str):
            return value
        if value is None:
            return ""
        as_text = scalar_text(value)
        if as_text is None:
            self.wrong_kind(at + key, "text", value)
        return as_text or ""

    def mapping(self, source: Mapping[str, object], key: str, at: str = "") -> dict[str, object]:
        """Return an object."""
        value = source.get(key)
        if isinstance(value, dict):
            return value
        if value is not None:
            self.wrong_kind(at + key, "an object", value)
        return {}

    def sequence(self, source: Mapping[str, object], key: str, at: str = "") -> list[object]:
        """Return a list."""
        value = source.get(key)
        if isinstance(value, list):
            return value
        if value is not None:
            self.wrong_kind(at + key, "a list", value)
        return []

    def flag(self, source: Mapping[str, object], key: str, at: str = "") -> bool | None:
        """Return true, false, or None if the client does not say."""
        value = source.get(key)
        if value is None or isinstance(value, bool):
            return value
        self.wrong_kind(at + key, "true or false", value)
        return None

    def line_number(self, source: Mapping[str, object], key: str, at: str = "") -> int | None:
        """Return a line number (0 or more), or None if the client does not say."""
        value = source.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER:
            return value
        if value is not None:
            self.problem(at + key, "must be a whole number from 0")
        return None

    def instant(self, source: Mapping[str, object], key: str) -> datetime | None:
        """Return an instant, or None if the client does not say."""
        value = source.get(key)
        instant = instant_of(value)
        if instant is None and value is not None:
            self.problem(key, "must be an RFC 3339 timestamp or seconds since 1970")
        return instant

    def kept(self, items: Sequence[object], limit: int, kind: str) -> Sequence[object]:
        """Return both ends of too long a list, and count what is skipped: it is not even looked at."""
        kept = both_ends(items, limit)
        if len(kept) < len(items):
            self.left_out[kind] = self.left_out.get(kind, 0) + len(items) - len(kept)
        return kept

    def frames(self, items: Sequence[object], keys: FrameKeys, at: str) -> tuple[Frame, ...]:
        """Return the frames of one stack, in the order they came."""
        frames = []
        for index, item in enumerate(self.kept(items, MAX_FRAMES, "frames")):
            if isinstance(item, dict):
                frames.append(self._frame(item, keys, f"{at}[{index}]."))
            else:
                self.wrong_kind(f"{at}[{index}]", "an object", item)
        return tuple(frames)

    def _frame(self, item: Mapping[str, object], keys: FrameKeys, at: str) -> Frame:
        in_app = self.flag(item, keys.in_app, at)
        return Frame(
            function=self.text(item, "function", at),
            module=self.text(item, "module", at),
            filename=self.text(item, "filename", at),
            line=self.line_number(item, keys.line, at),
            source_line=self.text(item, keys.source_line, at),
            in_app=True if in_app is None else in_app,
        )

    def chain(self, items: Sequence[object]) -> Sequence[object]:
        """Return the exceptions of a chain that are worth reading."""
        return self.kept(items, MAX_EXCEPTIONS, "exceptions")


def scalar_text(value: object) -> str | None:
    """Return a text, number or truth value as text; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    # Python refuses to write an integer of more than 4,300 digits in decimal.
    if isinstance(value, int) and value.bit_length() <= 4_096:
        return str(value)
    if isinstance(value, float):
        return str(value)
    return None


def instant_of(value: object) -> datetime | None:
    """Return an RFC 3339 text, or a number of seconds or milliseconds since 1970, as an instant in UTC.

    A text without an offset is taken as UTC. Returns None for everything else.
    """
    try:
        if isinstance(value, str):
            instant = datetime.fromisoformat(value.strip().upper())
            return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return datetime.fromtimestamp(value / 1000 if abs(value) >= _FIRST_MILLISECONDS else value, UTC)
    except (ValueError, OverflowError, OSError):
        # No calendar has this day: for the caller the same as a text that is no date at all.
        return None
    return None


def last_raised(chain: Sequence[RaisedException]) -> tuple[str, str]:
    """Return type and message of what the program saw: the last exception of its chain."""
    return (chain[-1].type, chain[-1].message) if chain else ("", "")


def last_glimpsed(chain: Sequence[Raised]) -> tuple[str, str]:
    """Return the same of a chain that a quick reader found."""
    return (chain[-1].type or "", chain[-1].message or "") if chain else ("", "")


def has_nul(document: bytes, decoded: msgspec.Struct) -> bool:
    """Tell whether there may be a U+0000 in any text that a decoder kept of a document. JSON has one way to write it.

    Of a large document little was kept, and that little is encoded more quickly than the whole is searched.
    """
    return b"\\u0000" in (document if len(document) <= _FEW_BYTES else msgspec.json.encode(decoded))


class FullReader(Protocol):
    """Reads the whole of a report, asking for an id if it has none; what it cannot read it refuses.

    Of one that was `glimpsed` it need not ask again how deep it is: the quick reader did.
    """

    def __call__(
        self, document: bytes, received_at: datetime, new_event_id: Callable[[], str], glimpsed: bool, /
    ) -> ErrorReport: ...


def arrival_of(
    glimpse: Glimpse | None,
    document: bytes,
    read: FullReader,
    *,
    received_at: datetime,
    new_event_id: Callable[[], str],
) -> Arrival:
    """Return the arrival that a quick reader's glimpse of a document promises; without one, what it really is.

    Args:
        glimpse: None where the quick reader could not judge.
        document: what it looked at; kept until the arrival is gone.
        read: the full reader, on whose word the arrival relies.
        received_at: when it came in (UTC).
        new_event_id: makes an id for a report that has none; called at most once.

    Raises:
        TocsinError: what the full reader raises.
    """
    if glimpse is None or len(document) > MAX_KEPT_BYTES or not glimpse.is_bounded(received_at):
        return Arrival.of(read(document, received_at, new_event_id, glimpse is not None))
    event_id = glimpse.event_id or new_event_id()
    whole = partial(_whole, read, document, received_at, event_id)
    return glimpse.arrival(event_id, whole) if is_plain_id(event_id) else Arrival.of(whole())


def _whole(read: FullReader, document: bytes, received_at: datetime, event_id: str) -> ErrorReport:
    return read(document, received_at, lambda: event_id, True)
