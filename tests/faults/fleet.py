"""Several real workers, each a process, on one database and one clock that steps; the dead are replaced."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import psycopg

from tests.faults.forks import forks
from tests.faults.mortal import SteppedClock, work_on
from tocsin.settings import Settings

LOOK_SECONDS = 0.05
SETTLE_SECONDS = 60.0
SENDING_SECONDS = 5.0
"""A page that is under way for longer was sent; the database was away when its worker wanted to say so."""
NUDGE_SECONDS = 0.5
STOP_SECONDS = 30.0
_CALL = "SELECT pg_notify('tocsin_jobs', '')"
_OWED = "SELECT count(*) FROM tocsin.notifications WHERE state = 'PENDING'"
_GET_LOUDER = "SELECT count(*) FROM tocsin.jobs WHERE kind = 'escalate'"
_BEGUN = "SELECT count(*) FROM tocsin.workers"
_UNDER_WAY = """
    SELECT count(*) FROM tocsin.attempts_begun b WHERE b.worker = ANY (%s)
    AND NOT EXISTS (SELECT FROM tocsin.delivery_attempts a WHERE a.id = b.id)
"""


@dataclass(slots=True)
class Fleet:
    """The workers, by their place; `ends` counts those that were killed at their point."""

    settings: Settings
    superuser: str
    clock: SteppedClock
    directory: Path
    workers: dict[int, BaseProcess] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    ends: int = 0

    def start(self, place: int, at: int = 0) -> None:
        """Start a worker that dies at a point (0: at none)."""
        journal = self.directory / f"worker{place}.journal"
        self.names[place] = f"worker {place}, after {self.ends} ends"
        arguments = (self.settings, self.names[place], self.clock, journal, at)
        self.workers[place] = forks().Process(target=work_on, args=arguments, daemon=True)
        self.workers[place].start()

    def replace_the_dead(self) -> None:
        """Count those that were killed, and start immortal ones in their places."""
        for place, worker in list(self.workers.items()):
            if worker.exitcode is not None:
                assert worker.exitcode == -signal.SIGKILL, f"worker {place} ended with {worker.exitcode}"
                self.ends += 1
                self.start(place)

    def call(self) -> None:
        """Let the workers look: the clock has stepped, and each of them sleeps by its own."""
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            connection.execute(_CALL)

    async def until_nothing_is_owed(self, *, step_seconds: float) -> None:
        """Let time go by in steps until every page is settled; whoever dies meanwhile is replaced."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._number(_OWED):
            assert time.monotonic() < deadline, f"{self._number(_OWED)} pages are still owed"
            self.replace_the_dead()
            if step_seconds:
                await self._until_no_page_is_under_way()
            self.clock.step(seconds=step_seconds)
            self.call()
            await asyncio.sleep(NUDGE_SECONDS)
        self.replace_the_dead()

    async def _until_no_page_is_under_way(self) -> None:
        """Wait until nobody who lives is sending: on a busy machine the clock would outrun their leases."""
        deadline = time.monotonic() + SENDING_SECONDS
        while self._number(_UNDER_WAY, self._living()) and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS)

    def _living(self) -> list[str]:
        return [self.names[place] for place, worker in self.workers.items() if worker.exitcode is None]

    async def until_begun(self) -> None:
        """Wait until each worker has said that it is here."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._number(_BEGUN) < len(self.workers):
            assert time.monotonic() < deadline, "not every worker began"
            await asyncio.sleep(LOOK_SECONDS)

    async def until_nothing_gets_louder(self) -> None:
        """Wait until no incident has a further step of its policy before it."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._number(_GET_LOUDER):
            assert time.monotonic() < deadline, "an incident still gets louder"
            await asyncio.sleep(LOOK_SECONDS)

    def _number(self, query: str, *parameters: object) -> int:
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            row = connection.execute(query.encode(), parameters).fetchone()
        assert row is not None
        return int(row[0])

    def stop(self) -> Iterator[BaseProcess]:
        """Terminate everybody; give those who did not stop in time, after killing them."""
        for worker in self.workers.values():
            worker.terminate()
        for worker in self.workers.values():
            worker.join(STOP_SECONDS)
            if worker.is_alive():
                worker.kill()
                yield worker


@asynccontextmanager
async def fleet(settings: Settings, superuser: str, directory: Path, dying_at: list[int]) -> AsyncIterator[Fleet]:
    """Run a worker for each of these points at which it dies (0: at none)."""
    made = Fleet(settings, superuser, SteppedClock(forks()), directory)
    for place, at in enumerate(dying_at):
        made.start(place, at)
    try:
        yield made
    finally:
        late = await asyncio.to_thread(lambda: list(made.stop()))
    assert not late, f"{len(late)} workers did not stop within {STOP_SECONDS:.0f} s"
