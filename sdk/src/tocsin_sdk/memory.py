"""What is owed to the server while the disk refuses: in memory, bounded, and back to the disk when that works again."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

from tocsin_sdk import clock
from tocsin_sdk.spool import (
    LEASE_SECONDS,
    LOCK_SECONDS,
    MAX_POSTPONED_SECONDS,
    Parcel,
    Spool,
    SpoolUnusableError,
    SpoolUnwritableError,
)

MAX_MEMORY_PARCELS = 1_000
MAX_MEMORY_BYTES = 16_777_216
DISK_PAUSE_SECONDS = 5.0
"""How long a disk that failed is left alone: nobody should wait for it at every report."""

_FIRST_LIFTED = -(2**62)
"""Numbers of parcels that lie on a disk which can only be read: no memory holds as many."""


class MemorySpool:
    """Parcels in memory. Their numbers are negative: those of a disk are positive."""

    def __init__(self) -> None:
        """Begin empty."""
        self._lock = threading.RLock()
        self._parcels: dict[int, tuple[Parcel, float]] = {}
        self._bytes = 0
        self._numbers = itertools.count(-1, -1)

    def put_all(self, parcels: Sequence[Parcel]) -> list[bool]:
        """Keep parcels while there is room; False where there is none."""
        with self._lock:
            return [self._put(parcel) for parcel in parcels]

    def take(self, limit: int) -> list[tuple[int, Parcel]]:
        """Return the oldest parcels that nobody else has."""
        now = clock.now()
        with self._lock:
            free = (number for number, (_, due) in self._parcels.items() if due <= now)
            taken = [(number, self._parcels[number][0]) for number in itertools.islice(free, limit)]
            self.again([number for number, _ in taken], now + LEASE_SECONDS)
        return taken

    def done(self, ids: Sequence[int]) -> None:
        """Forget parcels that the server has, or the disk."""
        with self._lock:
            for number in ids:
                parcel, _ = self._parcels.pop(number, (None, 0.0))
                self._bytes -= len(parcel.body) if parcel else 0

    def again(self, ids: Sequence[int], not_before: float) -> None:
        """Give parcels back, to be taken from `not_before` on (seconds since 1970)."""
        with self._lock:
            for number in ids:
                if number in self._parcels:
                    self._parcels[number] = (self._parcels[number][0], not_before)

    def refuse(self, id: int, reason: str) -> None:  # noqa: A002, ARG002  # as a Spool has it; here is no room to keep why
        """Forget a parcel that the server will never take."""
        self.done((id,))

    def is_empty(self) -> bool:
        """Return whether nothing waits."""
        return not self._parcels

    def parcels(self) -> list[Parcel]:
        """Return everything, and leave it here."""
        with self._lock:
            return [parcel for parcel, _ in self._parcels.values()]

    def give_back(self) -> int:
        """End all leases; return how many parcels there are."""
        with self._lock:
            self.again(list(self._parcels), 0.0)
            return len(self._parcels)

    def _put(self, parcel: Parcel) -> bool:
        if len(self._parcels) >= MAX_MEMORY_PARCELS or self._bytes + len(parcel.body) > MAX_MEMORY_BYTES:
            return False
        self._parcels[next(self._numbers)] = (parcel, 0.0)
        self._bytes += len(parcel.body)
        return True

    def after_fork(self) -> None:
        """Begin empty in the child: the parent sends what it holds."""
        self.__init__()  # type: ignore[misc]


@dataclass(frozen=True)
class Earlier:
    """A spool of several programs, and what stands in the reports of this one."""

    spool: Spool
    holding: bytes


class DiskOrMemory:
    """A spool on disk, and memory for as long as the disk refuses."""

    def __init__(self, disk: Spool, on_problem: Callable[[str], None], earlier: Earlier | None = None) -> None:
        """Take a spool; whatever is wrong with it is told to `on_problem`, never raised.

        What this program's earlier versions left in another spool moves to this one with the first `take`s.
        """
        self.disk = disk
        self._earlier = earlier
        self.memory = MemorySpool()
        self._on_problem = on_problem
        self._disk_is_left_alone_until = 0.0
        self._is_unwritable = False
        self._lifted: dict[int, bytes] = {}
        self._numbers = itertools.count(_FIRST_LIFTED)
        self._lost = 0

    def put_all(self, parcels: Sequence[Parcel]) -> list[bool]:
        """Keep parcels on the disk, or in memory if it refuses; False where there is no room."""
        if time.monotonic() >= self._disk_is_left_alone_until:
            try:
                kept = self.disk.put_all(parcels)
                self._move_to_disk()
            except SpoolUnusableError as error:
                self._leave_alone(error)
            else:
                return kept
        kept = self.memory.put_all(parcels)
        self._lost += kept.count(False)
        return kept

    def take(self, limit: int) -> list[tuple[int, Parcel]]:
        """Return what may be sent now; what is in memory first, for it is less safe there."""
        taken = self.memory.take(limit)
        if taken:
            return taken
        if time.monotonic() >= self._disk_is_left_alone_until:
            try:
                self._move_earlier(limit)
                return self.disk.take(limit)
            except SpoolUnusableError as error:
                self._leave_alone(error)
        return self._lift(limit) if self._is_unwritable else []

    def done(self, ids: Sequence[int]) -> None:
        """Forget parcels that the server has."""
        for known in self._put_down(ids):
            self.disk.lifted.sent(known)
        self.memory.done([number for number in ids if number < 0])
        if on_disk := [number for number in ids if number > 0]:
            self.disk.done(on_disk)

    def again(self, ids: Sequence[int], not_before: float) -> None:
        """Give parcels back."""
        for known in self._put_down(ids):
            self.disk.lifted.postpone(known, not_before)
        self.memory.again([number for number in ids if number < 0], not_before)
        if on_disk := [number for number in ids if number > 0]:
            self.disk.again(on_disk, not_before)

    def refuse(self, id: int, reason: str) -> None:  # noqa: A002  # as a Spool has it
        """Put a parcel aside that the server will never take; on a disk that takes no writing it is left for later."""
        for known in self._put_down((id,)):
            self.disk.lifted.postpone(known, clock.now() + MAX_POSTPONED_SECONDS)
        (self.memory if id < 0 else self.disk).refuse(id, reason)

    def is_empty(self, max_wait_seconds: float = LOCK_SECONDS) -> bool:
        """Return whether nothing waits that this process could send. What cannot be seen waits."""
        if not self.memory.is_empty() or self._earlier is not None:
            return False
        try:
            return self.disk.is_empty(max_wait_seconds) or self.disk.lifted.is_all_sent
        except SpoolUnusableError as error:
            self._leave_alone(error)
            return self.disk.lifted.is_all_sent or not self.disk.may_hold()

    def _lift(self, limit: int) -> list[tuple[int, Parcel]]:
        """Take from a disk that can only be read."""
        try:
            lifted = {next(self._numbers): found for found in self.disk.lift(limit)}
        except SpoolUnusableError as error:
            self._leave_alone(error)
            return []
        self._lifted.update((number, known) for number, (known, _) in lifted.items())
        return [(number, parcel) for number, (_, parcel) in lifted.items()]

    def _put_down(self, ids: Sequence[int]) -> list[bytes]:
        """Return the marks of those parcels that were lifted; they are that no more."""
        return [self._lifted.pop(number) for number in ids if number in self._lifted]

    def after_fork(self) -> None:
        """Begin empty in the child: the parent sends and counts what it holds."""
        self.memory.after_fork()
        self._lifted.clear()
        self._lost = 0

    def back_to_disk(self) -> None:
        """Move what is in memory to the disk, unless that is left alone."""
        if time.monotonic() < self._disk_is_left_alone_until:
            return
        try:
            self._move_to_disk()
        except SpoolUnusableError as error:
            self._leave_alone(error)

    def keep_late(self, parcels: Sequence[Parcel]) -> bool:
        """Keep parcels, and what memory holds, on a disk that another action holds; return whether that was done."""
        late = [*self.memory.parcels(), *parcels]
        try:
            return not late or self.disk.put_late(late)
        except OSError as error:
            self._on_problem(f"the spool {self.disk.directory} cannot be used: {error}")
            return False

    def close(self) -> None:
        """Move what is in memory to the disk, for the program ends. What it does not take is lost, and that is said."""
        if not self.memory.give_back():
            return
        self._disk_is_left_alone_until = 0.0
        self.back_to_disk()
        if lost := self.memory.give_back():
            self._on_problem(
                f"{lost} reports are lost: neither the disk nor the server took them before the program ended"
            )

    def _move_to_disk(self) -> None:
        if self._lost:
            self.disk.add_dropped(self._lost)
            self._lost = 0
        while not self.memory.is_empty() and (taken := self.memory.take(100)):
            kept = self.disk.put_all([parcel for _, parcel in taken])
            self.memory.done([number for (number, _), is_kept in zip(taken, kept) if is_kept])
            if not all(kept):
                return

    def _move_earlier(self, limit: int) -> None:
        """Move a helping of what earlier versions left. Killed in between, the server gets it twice, and knows it."""
        if self._earlier is None:
            return
        try:
            taken = self._earlier.spool.take(limit, self._earlier.holding)
            kept = self.disk.put_all([parcel for _, parcel in taken])
            self._earlier.spool.done([number for (number, _), is_kept in zip(taken, kept) if is_kept])
        except SpoolUnusableError as error:
            self._on_problem(f"{error}; what earlier versions left there is sent after the next start")
            kept = []
        if not kept or not all(kept):
            self._earlier = None

    def _leave_alone(self, error: SpoolUnusableError) -> None:
        self._disk_is_left_alone_until = time.monotonic() + DISK_PAUSE_SECONDS
        self._is_unwritable = isinstance(error, SpoolUnwritableError)
        self._on_problem(f"{error}; reports are held in memory until it can, and end with this process")
