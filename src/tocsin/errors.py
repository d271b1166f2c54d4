"""Every refusal of the product: a stable code, a message for people, and a hint what to do next."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Code(StrEnum):
    """The stable codes of the public contract; programs match on these, never on messages."""

    MALFORMED = "MALFORMED"
    UNAUTHORIZED = "UNAUTHORIZED"
    FORBIDDEN = "FORBIDDEN"
    SESSION_BLOCKED = "SESSION_BLOCKED"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    ALREADY_ACKNOWLEDGED = "ALREADY_ACKNOWLEDGED"
    NOT_ACKNOWLEDGED = "NOT_ACKNOWLEDGED"
    ALREADY_RECORDED = "ALREADY_RECORDED"
    NO_ROOT_CAUSE = "NO_ROOT_CAUSE"
    ALREADY_RESOLVED = "ALREADY_RESOLVED"
    NOT_RESOLVED = "NOT_RESOLVED"
    ALREADY_CLOSED = "ALREADY_CLOSED"
    CONTEXT_REQUIRED = "CONTEXT_REQUIRED"
    CONFLICT = "CONFLICT"
    TOO_LARGE = "TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    INVALID = "INVALID"
    RATE_LIMITED = "RATE_LIMITED"
    UNAVAILABLE = "UNAVAILABLE"
    MISCONFIGURED = "MISCONFIGURED"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something was not done: what happened, to what, and what to do next."""

    code: Code
    message: str
    hint: str = ""
    details: dict[str, object] = field(default_factory=dict)


class TocsinError(Exception):
    """A refusal on its way to the person or program that asked; the only exception callers need to catch."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refuse(code: Code, message: str, hint: str = "", **details: object) -> TocsinError:
    """Make the exception to raise for a refusal: `raise refuse(Code.NOT_FOUND, …)`."""
    return TocsinError(Refusal(code, message, hint, details))
