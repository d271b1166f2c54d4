"""Follow-up actions: what is left to do so that the failure does not come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from tocsin.errors import Code, TocsinError, refuse

MAX_FOLLOW_UPS = 50
MAX_FOLLOW_UP_CHARACTERS = 500
LONGEST_REMINDER = timedelta(days=32)


class FollowUpState(StrEnum):
    """Whether an action is done. Reopened: it was said to be done, and is not."""

    OPEN = "OPEN"
    DONE = "DONE"
    REOPENED = "REOPENED"


@dataclass(frozen=True, slots=True)
class FollowUpAction:
    """One thing to do, by whom and until when, where that is known (`due_at`: RFC 3339)."""

    title: str
    owner: str | None = None
    due_at: str | None = None

    def document(self) -> dict[str, object]:
        """Return the form that is stored and shown; absent parts are left out."""
        parts = {"title": self.title, "owner": self.owner, "dueAt": self.due_at}
        return {key: value for key, value in parts.items() if value is not None}


def due_instant(due_at: str | None) -> datetime | None:
    """Return from when on an action is overdue: a day is over at its end, and what names no zone is UTC.

    None when it has no date, or one at the edge of what a calendar can hold.
    """
    if due_at is None:
        return None
    try:
        if len(due_at) <= len("2026-W49-2"):
            return datetime.combine(date.fromisoformat(due_at) + timedelta(days=1), time(), UTC)
        said = datetime.fromisoformat(due_at)
        return said.astimezone(UTC) if said.tzinfo else said.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def next_reminder(reminders: int) -> timedelta:
    """Return how long after its n-th reminder an action is brought up again: 1, 2, 4, … days, then every 32.

    A promise that nobody keeps must not fall silent, and must not ring every day either.
    """
    return min(timedelta(days=2 ** min(reminders - 1, 10)), LONGEST_REMINDER)


def parse_follow_ups(value: object) -> tuple[FollowUpAction, ...]:
    """Read a list of strings or of `{title, owner?, dueAt?}`; raise INVALID for anything else."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise _invalid("it must be a list of strings or of {title, owner?, dueAt?}")
    if len(value) > MAX_FOLLOW_UPS:
        raise _invalid(f"at most {MAX_FOLLOW_UPS} follow-up actions, not {len(value)}")
    return tuple(_parse_one(item) for item in value)


def _parse_one(item: object) -> FollowUpAction:
    fields = {"title": item} if isinstance(item, str) else item
    if not isinstance(fields, dict) or not set(fields) <= {"title", "owner", "dueAt"}:
        raise _invalid("each one must be a string or {title, owner?, dueAt?}")
    title, owner, due_at = (_text(fields.get(name), name) for name in ("title", "owner", "dueAt"))
    if title is None:
        raise _invalid("each one needs a title")
    if due_at is not None:
        _check_time(due_at)
    return FollowUpAction(title, owner, due_at)


def _text(value: object, name: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _invalid(f"{name} must be text")
    cleaned = value.strip()
    if len(cleaned) > MAX_FOLLOW_UP_CHARACTERS or "\x00" in cleaned or not cleaned.isprintable():
        raise _invalid(f"{name} must be one printable line of at most {MAX_FOLLOW_UP_CHARACTERS} characters")
    return cleaned or None


def _check_time(text: str) -> None:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise _invalid("dueAt must be a date or time such as 2026-12-01 or 2026-12-01T09:00:00Z") from None


def _invalid(problem: str) -> TocsinError:
    return refuse(
        Code.INVALID,
        f"followUpActions: {problem}.",
        'Example: ["Alert on queue depth", {"title": "Raise the pool size", "owner": "ana", "dueAt": "2026-12-01"}]',
        errors=[{"field": "followUpActions", "problem": problem}],
    )
