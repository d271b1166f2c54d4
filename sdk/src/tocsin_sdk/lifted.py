"""Parcels on a disk that can be read and not written: what would be noted there about them is remembered here.

As soon as the disk can be written, what was sent is removed from it. Whoever is killed before has the next process send
it again: the server knows it by its event id.
"""

from __future__ import annotations

import hashlib
import math
import os

from tocsin_sdk import journal

_MARK_BYTES = 16


def mark(path: str, headers: str, body: bytes) -> bytes:
    """Return by what a parcel is known, wherever it lies: a number of the database may be another parcel's by now."""
    parts = (path.encode("utf-8", "replace"), headers.encode("utf-8", "replace"), body)
    return hashlib.blake2b(b"\0".join(parts), digest_size=_MARK_BYTES).digest()


class Lifted:
    """Which parcels this process has taken without a lease, and which of them were sent. For one thread at a time."""

    def __init__(self, directory: str) -> None:
        """Name the spool's directory: one process at a time takes from it so."""
        self._directory = directory
        self._handle = -1
        self._due: dict[bytes, float] = {}
        self.after = 0
        """The number in the database up to which all has been looked at."""
        self.is_all_sent = False

    def has_turn(self) -> bool:
        """Return whether no other process does the same; it is so until `end`, or until this process ends."""
        if not journal.IS_SUPPORTED:
            return True
        if self._handle < 0:
            self._handle = os.open(self._directory, os.O_RDONLY)
        return journal.is_locked(self._handle)

    def is_free(self, parcel: bytes, now: float) -> bool:
        """Return whether a parcel may be taken."""
        return self._due.get(parcel, 0.0) <= now

    def is_sent(self, parcel: bytes) -> bool:
        """Return whether the server has a parcel."""
        return self._due.get(parcel) == math.inf

    def postpone(self, parcel: bytes, due: float) -> None:
        """Leave a parcel alone until then (seconds since 1970)."""
        self._due[parcel] = due
        self.after = 0
        self.is_all_sent = False

    def sent(self, parcel: bytes) -> None:
        """Note that the server has a parcel."""
        self._due[parcel] = math.inf

    def is_empty(self) -> bool:
        """Return whether nothing is remembered."""
        return not self._due

    def look_through(self) -> None:
        """Note that all has been looked at, and nothing was free."""
        self.after = 0
        self.is_all_sent = all(due == math.inf for due in self._due.values())

    def end(self) -> None:
        """Let another process have its turn. A child does this after a fork: it leaves its parent's turn alone."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1
        self.is_all_sent = False

    def forget(self) -> None:
        """Begin anew: the disk has been written, and knows."""
        self.end()
        self._due.clear()
        self.after = 0
