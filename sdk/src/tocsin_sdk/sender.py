"""Sends what the spool holds until the server has it: one daemon thread in each process.

A parcel leaves the spool only when Tocsin answered that it has it (done), or will never take it (put aside, visible).
Everything else is tried again, later and later. Nothing here ever gives up.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Callable, Protocol

from tocsin_sdk import clock, forks
from tocsin_sdk.delivery import ERRORS_PATH, Answer, Connection, Verdict, unusable
from tocsin_sdk.spool import LEASE_SECONDS, Parcel

LINES_TYPE = "application/x-ndjson"
"""Reports of this type, one on a line, may travel together in one request."""
MAX_JOINED_BYTES = 1_048_576
MAX_JOINED_REPORTS = 200

LINGER_SECONDS = 0.05
"""How long a new parcel waits for company, and how long the sender rests when it has sent all that there was."""
IDLE_SECONDS = 5.0
"""How often an idle sender looks for what another process has left behind."""
FIRST_PAUSE_SECONDS = 0.1
LAST_PAUSE_SECONDS = 30.0
STOP_SECONDS = 0.2
"""What a thread gets to stop, when the time to flush is over."""
SPOOL_PAUSE_SECONDS = 1.0
"""Between two looks at a spool that cannot be read."""
MAX_BROKEN_IN_A_ROW = 3
"""After so many requests at which the server failed, one after the other, it is the server."""

_FLUSH_LOOK_SECONDS = 0.01


class Outbox(Protocol):
    """What the sender needs of a spool."""

    def take(self, limit: int) -> list[tuple[int, Parcel]]: ...
    def done(self, ids: Sequence[int]) -> None: ...
    def again(self, ids: Sequence[int], not_before: float) -> None: ...
    def refuse(self, id: int, reason: str) -> None: ...  # noqa: A002
    def is_empty(self, max_wait_seconds: float = ...) -> bool: ...


@dataclass(frozen=True)
class Bundle:
    """Parcels that travel in one request."""

    taken: tuple[tuple[int, Parcel], ...]

    @property
    def ids(self) -> list[int]:
        """Return the numbers of the parcels in the spool."""
        return [number for number, _ in self.taken]

    @property
    def body(self) -> bytes:
        """Return the request's body: lines, if there are several parcels."""
        return b"\n".join(parcel.body.rstrip(b"\n") for _, parcel in self.taken) if self.is_joined else self.first.body

    @property
    def first(self) -> Parcel:
        """Return the parcel whose path and headers stand for all."""
        return self.taken[0][1]

    @property
    def is_joined(self) -> bool:
        """Return whether there is more than one parcel."""
        return len(self.taken) > 1


def bundles(taken: Iterable[tuple[int, Parcel]]) -> list[Bundle]:
    """Return what may travel together, in its order."""
    groups: list[list[tuple[int, Parcel]]] = []
    size = 0
    for number, parcel in taken:
        last = groups[-1] if groups else []
        fits = len(last) < MAX_JOINED_REPORTS and size + len(parcel.body) < MAX_JOINED_BYTES
        if last and fits and _may_join(parcel) and last[0][1].headers == parcel.headers and _may_join(last[0][1]):
            last.append((number, parcel))
            size += len(parcel.body) + 1
        else:
            groups.append([(number, parcel)])
            size = len(parcel.body)
    return [Bundle(tuple(group)) for group in groups]


def _may_join(parcel: Parcel) -> bool:
    """Return whether a parcel is plain lines. What a forwarder took in may be compressed or spread over lines."""
    headers = {name.lower(): value for name, value in parcel.headers}
    is_lines = headers.get("content-type") == LINES_TYPE and "content-encoding" not in headers
    # Lines are counted in `rejected`: only a parcel of exactly one can be found again by its place.
    return is_lines and parcel.path == ERRORS_PATH and b"\n" not in parcel.body.rstrip(b"\n")


class Sender:
    """Sends from a spool to one server. `wake` after each put; threads, forks and signal handlers may call anything."""

    def __init__(
        self,
        spool: Outbox,
        base_url: str,
        *,
        timeout_seconds: float = 10,
        on_problem: Callable[[str], None],
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Name the spool and the server; nothing runs before `start` or `wake`.

        Args:
            spool: where the parcels are.
            base_url: a parcel's path is appended to it.
            timeout_seconds: for connecting, and for each wait for the server.
            on_problem: is told once of each kind of trouble, and again after it had passed.
            headers: sent with every request; they win over a parcel's own.
        """
        self._spool = spool
        self._base_url = base_url
        self._connection = Connection(base_url, timeout_seconds)
        self._headers = tuple(headers)
        self._unusable = unusable(base_url, headers)
        self._on_problem = on_problem
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        # SimpleQueue alone may be used by a signal handler that interrupted its own user.
        self._work: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._hurry: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._leased: list[int] = []
        self._is_closing = self._is_asking = False
        self._failures = self._broken = 0
        self._held_until = 0.0
        self._said: set[str] = set()
        forks.watch(self)

    def start(self) -> None:
        """Start the thread, if it does not run in this process."""
        forks.notice()
        forks.say_if_threads_stand_still()
        if self._unusable:
            self._say(
                "locked", f"{self._base_url}: {self._unusable}. Reports are kept, and none can be sent: repair the DSN"
            )
        if forks.is_before_workers():
            forks.start_in_workers(self)
            return
        if self._thread is not None or self._is_closing or not self._starting.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="tocsin-sender", daemon=True)
                thread.start()
                self._thread = thread
        except RuntimeError as error:  # The interpreter is ending: the next process sends what is on the disk.
            self._say("thread", f"no thread can be started ({error}); what is kept is sent by the next process")
        finally:
            self._starting.release()

    def wake(self) -> None:
        """Say that there is something to send. Never blocks."""
        forks.notice()
        if self._thread is None:
            self.start()
        if self._work.empty():
            self._work.put(None)

    def flush(self, timeout_seconds: float) -> bool:
        """Send now, even in the midst of a pause; return whether the spool became empty in time."""
        deadline = time.monotonic() + timeout_seconds
        self._interrupt()
        try:
            while not self._is_empty(deadline):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                time.sleep(min(_FLUSH_LOOK_SECONDS, remaining))
            return True
        finally:
            self._calm_down()

    def close(self, timeout_seconds: float) -> bool:
        """Flush, then stop the thread; return whether everything was sent. What is left stays in the spool.

        It may take STOP_SECONDS longer than it was given.
        """
        forks.notice()
        deadline = time.monotonic() + timeout_seconds
        sent = self._is_empty(deadline) or self.flush(timeout_seconds)
        self._is_closing = True
        self._interrupt()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(STOP_SECONDS, deadline - time.monotonic()))
            if thread.is_alive() and self._is_asking:
                self._give_back()
        return sent

    def _give_back(self) -> None:
        """End the leases of a thread that still waits for an answer: the next process need not wait for them, too."""
        try:
            self._spool.again(self._leased, 0.0)
        except OSError as error:
            self._say("spool", f"what is kept cannot be given back now: {error}")

    def _interrupt(self) -> None:
        """End whatever pause the thread is in."""
        self._hurry.put(None)
        self.wake()

    def _calm_down(self) -> None:
        """Take back what ended no pause: left there it would end a later one, in which nobody is in a hurry."""
        with contextlib.suppress(queue.Empty):
            self._hurry.get_nowait()

    def _is_empty(self, deadline: float) -> bool:
        try:
            return self._spool.is_empty(max(0.0, deadline - time.monotonic()))
        except OSError as error:
            self._say("spool", f"what is kept cannot be read now: {error}")
            return False

    def _run(self) -> None:
        pause: float | None = 0.0
        while not self._is_closing:
            try:
                pause = self._round()
            except Exception as error:  # noqa: BLE001  # the thread must outlive whatever goes wrong in a round
                self._say("spool", f"what is kept cannot be sent now: {error}")
                pause = SPOOL_PAUSE_SECONDS
            if pause is None:
                self._idle()
            elif pause > 0:
                self._sleep(pause)
        self._connection.close()

    def _idle(self) -> None:
        """Wait for work; new work waits a moment for company."""
        try:
            self._work.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            return
        if self._hurry.empty():
            time.sleep(LINGER_SECONDS)

    def _sleep(self, seconds: float) -> None:
        """Wait until the time is over, or somebody is in a hurry and the server has not asked us to stay away."""
        deadline = time.monotonic() + seconds
        while not self._is_closing and (remaining := deadline - time.monotonic()) > 0:
            try:
                self._hurry.get(timeout=remaining)
            except queue.Empty:
                return
            if time.monotonic() >= self._held_until:
                self._failures = 0
                return

    def _round(self) -> float | None:
        """Send one helping. Return the pause before the next one (seconds), or None if there is nothing to do."""
        taken = self._spool.take(MAX_JOINED_REPORTS)
        self._leased = [number for number, _ in taken]
        if not taken:
            return None
        # A lease must not end while we still mean to send: then another process would send the same.
        deadline = time.monotonic() + LEASE_SECONDS / 2
        waiting = bundles(taken)
        pause = 0.0
        while waiting and not pause and not self._is_closing and time.monotonic() < deadline:
            bundle = waiting.pop(0)
            verdict, pause = self._send(bundle)
            if verdict in (Verdict.NEVER, Verdict.BROKEN) and bundle.is_joined:
                waiting[:0] = [Bundle((one,)) for one in bundle.taken]
            elif verdict in (Verdict.BUSY, Verdict.LOCKED):
                waiting.insert(0, bundle)
        if waiting:
            self._spool.again([number for bundle in waiting for number in bundle.ids], 0.0)
        elif not pause and len(taken) < MAX_JOINED_REPORTS:
            # That was all there was. A program that reports one error after the other must not be held up by a request
            # for each of them: who has just captured and this thread take turns in holding the interpreter.
            return LINGER_SECONDS
        return pause

    def _send(self, bundle: Bundle) -> tuple[Verdict, float]:
        """Send one request and settle what can be settled; return the verdict and the pause it asks for (seconds)."""
        if self._unusable:
            return Verdict.LOCKED, LAST_PAUSE_SECONDS
        headers = dict((*bundle.first.headers, *self._headers))
        self._is_asking = True
        try:
            answer = self._connection.post(bundle.first.path, bundle.body, headers)
        except (OSError, ValueError) as error:  # ValueError: a header or path of the parcel that HTTP cannot carry
            if isinstance(error, ValueError) and not isinstance(error, OSError):
                return self._never(bundle, f"it is no request: {error}")
            self._say("network", f"{self._base_url} cannot be reached ({error}); reports are kept and sent later")
            return Verdict.BUSY, self._longer_pause()
        finally:
            self._is_asking = False
        return self._settle(bundle, answer)

    def _settle(self, bundle: Bundle, answer: Answer) -> tuple[Verdict, float]:
        verdict = answer.verdict
        if verdict is Verdict.DONE:
            return self._done(bundle, answer)
        if verdict is Verdict.NEVER:
            return self._never(bundle, answer.reason)
        if verdict is Verdict.LOCKED:
            self._say("locked", f"{self._base_url} lets no report in: {answer.reason}. They are kept; repair the DSN")
            return verdict, LAST_PAUSE_SECONDS
        if verdict is Verdict.BROKEN:
            self._broken += 1
            if self._broken <= MAX_BROKEN_IN_A_ROW:
                if not bundle.is_joined:
                    self._spool.again(bundle.ids, clock.now() + LAST_PAUSE_SECONDS)
                    self._say(
                        "broken", f"{self._base_url} answers {answer.reason} to a report; it is kept and sent again"
                    )
                return verdict, 0.0
        self._say("busy", f"{self._base_url} answers {answer.reason}; reports are kept and sent later")
        asked = answer.retry_after_seconds or 0.0
        self._held_until = time.monotonic() + asked
        return Verdict.BUSY, max(self._longer_pause(), asked)

    def _done(self, bundle: Bundle, answer: Answer) -> tuple[Verdict, float]:
        self._failures = self._broken = 0
        self._said.clear()
        for place, reason in answer.rejected().items():
            if place < len(bundle.taken) or not bundle.is_joined:
                self._refuse(bundle.ids[place if bundle.is_joined else 0], reason)
        self._spool.done(bundle.ids)
        return Verdict.DONE, 0.0

    def _never(self, bundle: Bundle, reason: str) -> tuple[Verdict, float]:
        if not bundle.is_joined:
            self._refuse(bundle.ids[0], reason)
        return Verdict.NEVER, 0.0

    def _refuse(self, number: int, reason: str) -> None:
        self._spool.refuse(number, reason)
        self._say("refused", f"the server refused a report for good: {reason[:300]}. It is kept aside in the spool")

    def _longer_pause(self) -> float:
        """Return the next pause (seconds): twice as long each time, and never the same for all who wait."""
        longest = min(LAST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 20))
        self._failures += 1
        return longest * (0.5 + os.urandom(1)[0] / 512)

    def _say(self, kind: str, text: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self._on_problem(text)

    def before_fork(self) -> None:
        """Nothing is needed: what the thread does now it does for the parent."""

    def after_fork_in_parent(self, _: None) -> None:
        """Nothing has changed here."""

    def after_fork_in_child(self, _: None) -> None:
        """Begin as a sender that has not been started: the thread and the connection stayed with the parent."""
        self._thread = None
        self._starting = threading.Lock()
        self._work, self._hurry = queue.SimpleQueue(), queue.SimpleQueue()
        self._leased, self._is_asking = [], False
        self._connection.forget()
