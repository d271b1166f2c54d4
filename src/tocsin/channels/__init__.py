"""Outbound channels: what is sent, what came of it, and the one thing every channel can do.

A channel answers for one attempt and decides nothing about the next one: the worker stores the answer, retries
after `Retry`, tells somebody after `Rejected`. An attempt may be repeated after a crash, so every channel
carries the notification's id to the receiver, who can recognise the second copy.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

MAX_ANSWER_CHARACTERS = 500

# They make a line read otherwise than it is ("Trojan Source"); joiners, which many scripts need, are left alone.
_DIRECTION_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean_line(text: str, limit: int) -> str:
    """Return `text` as one printable line of at most `limit` characters.

    Control characters, surrogates and direction overrides become spaces, and runs of spaces collapse: the text
    goes into headers, logs and terminals, where a line break or an escape sequence would be a command.
    """
    # Cleaning costs time per character, and a receiver chooses how much it says.
    head = text[: limit * 4]
    printable = "".join(" " if _is_unsafe(char) else char for char in head)
    line = " ".join(printable.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _is_unsafe(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs") or char in _DIRECTION_OVERRIDES


@dataclass(frozen=True, slots=True)
class Message:
    """One notification, ready to be sent over any channel.

    Args:
        notification_id: the same on every attempt; receivers recognise repetitions by it.
        subject: one line.
        text: the plain text body.
        payload: the JSON object that webhooks carry.
        sent_at: when this attempt is made, timezone-aware. Receivers of signed webhooks refuse a timestamp that
            is minutes old, so a retry needs its own (Standard Webhooks, "Webhook metadata").
        reply_thread: what the message belongs to (the incident's id); e-mails of one thread are shown together.
        title: what happened, in the words of the error; the subject without its lead; empty if there is no incident.
        severity: CRITICAL, HIGH, MEDIUM or LOW; empty if there is no incident.
        incident_number: of the incident; None if the message is about none, and nothing is to be acknowledged.
        url: where a person looks at the incident.
        acknowledge_url: the link that acknowledges it; empty if there is none.
    """

    notification_id: UUID
    subject: str
    text: str
    payload: dict[str, object]
    sent_at: datetime
    reply_thread: str = ""
    title: str = ""
    severity: str = ""
    incident_number: int | None = None
    url: str = ""
    acknowledge_url: str = ""

    def __post_init__(self) -> None:
        if self.sent_at.tzinfo is None:
            raise ValueError("Message.sent_at needs a time zone")


@dataclass(frozen=True, slots=True)
class Delivered:
    """The other side confirmed the message; `answer` is what it said."""

    answer: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "answer", clean_line(self.answer, MAX_ANSWER_CHARACTERS))


@dataclass(frozen=True, slots=True)
class Retry:
    """Not confirmed; another attempt may succeed, not before `after_seconds` if the other side named a time."""

    answer: str
    after_seconds: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "answer", clean_line(self.answer, MAX_ANSWER_CHARACTERS))


@dataclass(frozen=True, slots=True)
class Rejected:
    """Refused for good: the same message to the same address will not get through; somebody must be told."""

    answer: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "answer", clean_line(self.answer, MAX_ANSWER_CHARACTERS))


Outcome = Delivered | Retry | Rejected


class Channel(Protocol):
    """A way to reach somebody."""

    async def send(self, address: str, message: Message) -> Outcome:
        """Make one attempt, within the channel's `timeout_seconds`.

        Never raises for what the network or the receiver does: that is an `Outcome`.
        """
        ...
