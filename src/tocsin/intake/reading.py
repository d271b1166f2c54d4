"""Reads the fields of a report out of plain JSON, and remembers what was wrong with them.

Every getter returns something usable: an empty value when the field is absent, null or of a wrong type. Whether a
wrong type refuses the report is for its parser to decide; the `Reader` only keeps the list.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tocsin.domain.incident import Severity
from tocsin.domain.report import (
    MAX_EXCEPTIONS,
    MAX_FRAMES,
    MAX_INTEGER,
    Frame,
    RaisedException,
    both_ends,
)

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
