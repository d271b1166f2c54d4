"""Puts reports on the disk: one thread writes, so that many callers share a commit and none waits for a slow disk.

A caller waits for its commit, but no longer than it was promised. A signal handler may interrupt a caller anywhere and
capture too: nothing that both would need is locked (SimpleQueue is made for that).
"""

from __future__ import annotations

import queue
import sys
import threading
from typing import Callable

from tocsin_sdk import forks
from tocsin_sdk.memory import DISK_PAUSE_SECONDS, DiskOrMemory
from tocsin_sdk.spool import Parcel, SpoolUnusableError

MAX_QUEUED = 1_000
"""Reports that wait for the disk; what comes on top is dropped and counted."""
STOP_SECONDS = 0.2
LATE_SECONDS = 0.5
"""What a program that ends gives the disk to take what the spool itself did not take in time."""
MAX_COMMIT = 100
"""Reports in one commit."""


class Ticket:
    """A parcel on its way to the disk, or a mark behind others; `settled` is released when its fate is known."""

    __slots__ = ("is_kept", "parcel", "settled")

    def __init__(self, parcel: Parcel | None) -> None:
        """Begin unsettled."""
        self.parcel = parcel
        self.is_kept = False
        self.settled = threading.Lock()
        self.settled.acquire()

    def settle(self) -> None:
        """Let the caller go on; doing it twice changes nothing."""
        if self.settled.locked():
            self.settled.release()


class Writer:
    """Keeps parcels for its callers; any thread and any signal handler may call `keep`."""

    def __init__(
        self,
        store: DiskOrMemory,
        *,
        max_wait_seconds: float,
        on_kept: Callable[[], None],
        on_problem: Callable[[str], None],
        drop_notice: Callable[[int], Parcel],
    ) -> None:
        """Name what is needed; the thread starts with the first parcel.

        Args:
            store: where parcels are kept.
            max_wait_seconds: how long `keep` may block.
            on_kept: is called after each commit.
            on_problem: is told what could not be kept.
            drop_notice: makes the report that tells how many others were lost.
        """
        self._store = store
        self._max_wait_seconds = max_wait_seconds
        self._on_kept, self._on_problem, self._drop_notice = on_kept, on_problem, drop_notice
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._in_hand: list[Ticket] = []
        self._begin()
        forks.watch(self)

    def keep(self, parcel: Parcel) -> bool:
        """Keep a parcel; return whether it is on the disk now (in memory, while the disk refuses).

        If not, it is late and follows, or it is lost; both are told to `on_problem`.
        """
        forks.notice()
        if self._queue.qsize() >= MAX_QUEUED:
            self._lost.put(1)
            self._on_problem(f"{MAX_QUEUED:,} reports wait for the disk: this one is lost, and counted")
            return False
        ticket = Ticket(parcel)
        if sys.is_finalizing() or not self._is_running():
            self._write([ticket])  # No thread runs here: the interpreter is ending, or workers are still to be forked.
            return ticket.is_kept
        self._queue.put(ticket)
        if threading.get_ident() == self._thread_id:
            return False
        if ticket.settled.acquire(timeout=self._max_wait_seconds):
            return ticket.is_kept
        if self._is_finished:
            self._write([ticket])  # It came just as the thread ended. Written twice it would still be one event.
            return ticket.is_kept
        self._on_problem(
            f"the disk took longer than {self._max_wait_seconds:g} s: the report is in memory, and written when it can"
        )
        return False

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until what was late is on the disk as well; return whether it was in time."""
        forks.notice()
        if self._thread is None or self._is_finished:
            return True
        mark = Ticket(None)
        self._queue.put(mark)
        return mark.settled.acquire(timeout=max(0.0, timeout_seconds))

    def close(self, timeout_seconds: float) -> bool:
        """Write what is queued and stop; return whether that was done in time, in STOP_SECONDS at the least."""
        forks.notice()
        thread = self._thread
        if thread is None:
            return True
        self._queue.put(None)
        thread.join(max(STOP_SECONDS, timeout_seconds))
        if not thread.is_alive():
            return True
        if not self._keep_late():
            self._on_problem(f"the disk took longer than {timeout_seconds:g} s: what waited for it may be lost")
        return False

    def _keep_late(self) -> bool:
        """Keep what the thread could not bring to the disk in time; return whether that was possible.

        The spool may be locked, or its disk hang: that must not keep the program from ending.
        """
        late: list[Ticket | None] = [ticket for ticket in self._in_hand if ticket.settled.locked()]
        while not self._queue.empty():
            late.append(self._queue.get())
        self._queue.put(None)
        parcels = [ticket.parcel for ticket in late if ticket is not None and ticket.parcel is not None]
        kept: queue.SimpleQueue[bool] = queue.SimpleQueue()
        try:
            threading.Thread(target=lambda: kept.put(self._store.keep_late(parcels)), daemon=True).start()
            return kept.get(timeout=LATE_SECONDS)
        except (RuntimeError, queue.Empty):  # no thread can be started any more; it did not end in time
            return False

    def _is_running(self) -> bool:
        if self._thread is not None:
            return not self._is_finished
        if forks.is_before_workers():
            return False
        if not self._starting.acquire(blocking=False):
            return True  # Somebody is just starting it: the queue is served soon.
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="tocsin-writer", daemon=True)
                thread.start()
                self._thread = thread
        except RuntimeError:
            return False
        finally:
            self._starting.release()
        return True

    def _run(self) -> None:
        self._thread_id = threading.get_ident()
        is_open = True
        while is_open:
            tickets = [self._next()]
            while len(tickets) < MAX_COMMIT and not self._queue.empty():
                tickets.append(self._queue.get())
            is_open = None not in tickets
            self._in_hand = [ticket for ticket in tickets if ticket is not None]
            self._write(self._in_hand)
            self._in_hand = []
        self._is_finished = True

    def _next(self) -> Ticket | None:
        """Wait for a parcel; what memory holds meanwhile goes back to the disk as soon as that takes it."""
        while not self._store.memory.is_empty():
            try:
                return self._queue.get(timeout=DISK_PAUSE_SECONDS)
            except queue.Empty:
                self._back_to_disk()
        return self._queue.get()

    def _back_to_disk(self) -> None:
        try:
            self._store.back_to_disk()
        except Exception as error:  # noqa: BLE001  # as with a commit
            self._on_problem(f"what memory holds cannot be written now: {error!r}")

    def _write(self, tickets: list[Ticket]) -> None:
        kept: list[bool] = []
        try:
            full = [ticket for ticket in tickets if ticket.parcel is not None]
            kept = self._store.put_all([ticket.parcel for ticket in full if ticket.parcel is not None])
            for ticket, is_kept in zip(full, kept):
                ticket.is_kept = is_kept
        except Exception as error:  # noqa: BLE001  # the thread must outlive whatever goes wrong with one commit
            self._on_problem(f"{len(tickets)} reports are lost: {error!r}")
        finally:
            for ticket in tickets:
                ticket.settle()
        self._on_kept()
        self._report_losses(has_room=all(kept))

    def _report_losses(self, *, has_room: bool) -> None:
        """Count what found no room, and once there is some again, report how many those were."""
        try:
            if not has_room:
                self._is_owing_notice = True
                self._on_problem("the spool is full: new reports are dropped, and counted, until there is room again")
            self._count_lost()
            if has_room and self._is_owing_notice:
                self._store.disk.tell_dropped(self._drop_notice)
                self._is_owing_notice = False
        except SpoolUnusableError as error:
            self._on_problem(str(error))

    def _count_lost(self) -> None:
        if lost := self._lost.qsize():
            self._store.disk.add_dropped(lost)
            self._is_owing_notice = True
            for _ in range(lost):
                self._lost.get()

    def _begin(self) -> None:
        self._queue: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._lost: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._thread = None
        self._thread_id = 0
        self._in_hand = []
        self._is_finished = False
        self._is_owing_notice = True

    def before_fork(self) -> None:
        """Nothing is needed: the parent goes on writing what is queued."""

    def after_fork_in_parent(self, _: None) -> None:
        """Nothing has changed here."""

    def after_fork_in_child(self, _: None) -> None:
        """Begin empty and without a thread; what was queued is the parent's."""
        self._starting = threading.Lock()
        self._begin()
        self._store.after_fork()
