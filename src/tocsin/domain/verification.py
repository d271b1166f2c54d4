"""Verification of contact methods: a code that was sent over one, and how it is judged when it comes back."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

GOOD_FOR = timedelta(minutes=15)
MAX_TRIES = 5
SHORTEST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)

_CODE = re.compile(r"[0-9]{8}", re.ASCII)
_BETWEEN = re.compile(r"[\s-]+")


class Verdict(StrEnum):
    """What a code that came back is."""

    RIGHT = "RIGHT"
    WRONG = "WRONG"
    STALE = "STALE"
    """None was sent, it is too old, or it was tried too often: another one is needed, whatever this one says."""


@dataclass(frozen=True, slots=True)
class Pending:
    """The code that was sent last: its hash alone, when, and how often it was tried. No hash: none is good any more."""

    contact_id: UUID
    code_hash: bytes | None
    sent_at: datetime | None
    tries: int


def read_code(text: str) -> str | None:
    """Return a code as it was sent, however people type it (`1234 5678`), or None if it can be none."""
    code = _BETWEEN.sub("", text)
    return code if _CODE.fullmatch(code) else None


def code_hash(contact_id: UUID, code: str) -> bytes:
    """Return what is kept of a code: SHA-256 with the contact method's id, so that it is good for no other one."""
    return hashlib.sha256(contact_id.bytes + code.encode()).digest()


def judge(pending: Pending, code: str, now: datetime) -> Verdict:
    """Return what a code is. The comparison takes the same time for every wrong one."""
    if pending.code_hash is None or pending.sent_at is None:
        return Verdict.STALE
    if now > pending.sent_at + GOOD_FOR or pending.tries >= MAX_TRIES:
        return Verdict.STALE
    right = hmac.compare_digest(pending.code_hash, code_hash(pending.contact_id, code))
    return Verdict.RIGHT if right else Verdict.WRONG


def pause_left(created_at: datetime, last_sent_at: datetime | None, now: datetime) -> timedelta:
    """Return how long to wait before the next code or test goes over a contact method; zero if it may go now.

    The pause grows with the time in which somebody keeps asking, from a minute to an hour: about thirty messages in the
    first hour and one an hour from then on, whoever's number it is.
    """
    if last_sent_at is None:
        return timedelta(0)
    pause = min(max((last_sent_at - created_at) / 10, SHORTEST_PAUSE), LONGEST_PAUSE)
    return max(last_sent_at + pause - now, timedelta(0))
