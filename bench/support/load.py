"""A load generator that costs little: a process of its own which writes bytes that were made before the clock starts.

A closed loop: each connection sends its next request when the answer to the last one has come. Of an answer only the
status and the length are read. What the generator itself costs is measured and told.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import cast

from bench.support.events import Workload
from bench.support.figures import Figure
from tocsin.clock import monotonic_seconds

MAX_PREPARED_BYTES = 512 * 1024 * 1024
MAX_PREPARED_A_SECOND = 5_000
LAST_ANSWERS_SECONDS = 60.0
"""How long what is under way at the end may take to be answered."""
RECONNECT_SECONDS = 0.05
NO_ANSWER = 0
"""Stands for the status of a request whose connection was lost."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one generator sends: over so many connections, for so long, or until so many requests are sent."""

    workload: Workload
    host: str
    port: int
    connections: int
    seconds: float
    max_requests: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a load. `latencies` are seconds, of all requests with an answer."""

    latencies: array[float]
    statuses: Counter[int]
    seconds: float
    cpu_seconds: float
    last_answer: float
    events_a_request: int

    @property
    def accepted_requests(self) -> int:
        """Return how many were answered 2xx."""
        return sum(count for status, count in self.statuses.items() if 200 <= status < 300)

    @property
    def accepted(self) -> int:
        """Return how many events were in what was answered 2xx."""
        return self.accepted_requests * self.events_a_request

    @property
    def refused(self) -> dict[int, int]:
        """Return how often each status came that is not 2xx; 0 is a connection lost before the answer."""
        return {status: count for status, count in sorted(self.statuses.items()) if not 200 <= status < 300}

    @property
    def rate(self) -> float:
        """Return accepted events a second."""
        return self.accepted / self.seconds if self.accepted else 0.0

    @property
    def cpu_microseconds(self) -> float:
        """Return what a request cost the generator itself."""
        return self.cpu_seconds / max(sum(self.statuses.values()), 1) * 1e6

    def figure(self, name: str) -> Figure:
        """Return the latencies of the requests."""
        return Figure(name, [seconds * 1_000 for seconds in self.latencies] or [0.0])


async def generator(line: Connection, load: Load) -> None:
    """Be a load generator: say that everything is prepared, send when told to, say what came of it."""
    run = _Run(load, prepared(load))
    gc.freeze()  # what was prepared is not looked through again while it is sent
    line.send(True)
    with suppress(EOFError):  # they who started us have ended, so do we
        line.recv()
        line.send(await run.to_the_end())
        line.recv()


def prepared(load: Load) -> Iterator[bytes]:
    """Make requests until MAX_PREPARED_BYTES are used; those after them are made when they are sent."""
    requests = itertools.islice(load.workload.requests(), load.max_requests)
    kept, size = [], 0
    for request in requests:
        kept.append(request)
        size += len(request)
        if size >= MAX_PREPARED_BYTES or len(kept) >= load.seconds * MAX_PREPARED_A_SECOND:
            break
    return itertools.chain(kept, requests)


@dataclass(slots=True)
class _Run:
    """One run: where every connection gets its requests from, and tells what came of them."""

    load: Load
    requests: Iterator[bytes]
    latencies: array[float] = field(default_factory=lambda: array("d"))
    statuses: Counter[int] = field(default_factory=Counter)
    end: float = 0.0
    last_answer: float = 0.0
    under_way: int = 0
    exhausted: bool = False

    async def to_the_end(self) -> Outcome:
        """Send over all connections, and wait for the last answers."""
        cpu, began = time.process_time(), monotonic_seconds()
        self.end, self.last_answer = began + self.load.seconds, began
        with suppress(TimeoutError):  # what was not answered by then is counted as lost
            async with asyncio.timeout(self.load.seconds + LAST_ANSWERS_SECONDS), asyncio.TaskGroup() as group:
                for _ in range(self.load.connections):
                    group.create_task(self._connected())
        self.statuses[NO_ANSWER] += self.under_way
        return Outcome(
            latencies=self.latencies,
            statuses=+self.statuses,
            seconds=self.last_answer - began,
            cpu_seconds=time.process_time() - cpu,
            last_answer=self.last_answer,
            events_a_request=self.load.workload.events,
        )

    async def _connected(self) -> None:
        """Keep one connection busy; one that the server ends is followed by another."""
        loop = asyncio.get_running_loop()
        while not self.exhausted:
            try:
                transport, client = await loop.create_connection(
                    lambda: _Client(self, loop.create_future()), self.load.host, self.load.port
                )
            except OSError:
                self.exhausted |= monotonic_seconds() >= self.end
                await asyncio.sleep(RECONNECT_SECONDS)
                continue
            try:
                client.send_next()
                await client.ended
            finally:
                transport.abort()

    def next_request(self) -> bytes | None:
        """Return what is to be sent now; None when the time is up, or there is nothing left."""
        request = next(self.requests, None) if monotonic_seconds() < self.end else None
        if request is None:
            self.exhausted = True
        else:
            self.under_way += 1
        return request

    def answered(self, status: int, began: float) -> None:
        """Take down an answer, or with NO_ANSWER that there will be none."""
        self.under_way -= 1
        self.statuses[status] += 1
        if status != NO_ANSWER:
            self.last_answer = monotonic_seconds()
            self.latencies.append(self.last_answer - began)


class _Client(asyncio.Protocol):
    """One connection. `ended` is done when nothing more can or shall be sent over it."""

    def __init__(self, run: _Run, ended: asyncio.Future[None]) -> None:
        self.ended = ended
        self._run = run
        self._began = monotonic_seconds()  # a server that closes after each answer is waited for with each connection
        self._waiting = False
        self._answer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send_next(self) -> None:
        """Send the next request, if there is one."""
        assert self._transport is not None, "it is connected"
        request = self._run.next_request()
        if request is None:
            self._end()
            return
        self._waiting = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer = self._answer + data if self._answer else data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found:
            return
        head = head.lower()
        _, found, length = head.partition(b"\r\ncontent-length:")
        if not found or len(body) < int(length.partition(b"\r\n")[0]):
            return  # without a length it ends with its connection
        self._finish()
        if b"\r\nconnection: close" in head:
            self._end()
        else:
            self._began = monotonic_seconds()
            self.send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting and exc is None and b"\r\n\r\n" in self._answer:
            self._finish()
        self._end()

    def _finish(self) -> None:
        self._waiting = False
        self._run.answered(int(self._answer[9:12]), self._began)
        self._answer = b""

    def _end(self) -> None:
        if self._waiting:
            self._waiting = False
            self._run.answered(NO_ANSWER, self._began)
        if not self.ended.done():
            self.ended.set_result(None)
