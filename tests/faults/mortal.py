"""A worker that dies at a numbered point of its work: around each commit of its database, around each sending.

Nobody lists these points: they are counted as the work comes to them, so that a commit which is new tomorrow is a
point tomorrow. The product knows nothing of it: its database and its channels are wrapped here.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from multiprocessing.context import BaseContext
from pathlib import Path
from types import FrameType

from tests.faults.journal import append, opened
from tests.support.clock import FakeClock
from tocsin.app.work import App
from tocsin.bootstrap import outbound_channels
from tocsin.channels import Channel, Message, Outcome
from tocsin.cli import logs
from tocsin.clock import system_clock
from tocsin.errors import Code, TocsinError, refuse
from tocsin.settings import Settings
from tocsin.store.database import Database, Tx
from tocsin.worker.run import Worker, run_due

_PLUMBING = frozenset({"transaction", "work", "reach", "_where"})


class SteppedClock:
    """The machine's clock, off by a number of seconds that several processes share: it steps for all of them."""

    def __init__(self, context: BaseContext) -> None:
        self._off_seconds = context.Value("d", 0.0)

    def __call__(self) -> datetime:
        """Return the instant at which it stands."""
        return system_clock() + timedelta(seconds=self._off_seconds.value)

    def step(self, **duration: float) -> None:
        """Step forward, or backward by a negative duration."""
        self._off_seconds.value += timedelta(**duration).total_seconds()


class End(Enum):
    """What happens at the point: the process is killed, or its connection is and the process lives on."""

    KILL = "kill"
    CUT = "cut"


@dataclass(slots=True)
class Fate:
    """Counts the points that are reached, writes each into a journal, and ends at one of them (0: at none).

    A point is met by its number among all, or by its name and its number among those of this name ("send: before
    COMMIT 2"): jobs that are due at one instant are claimed in any order, and so the one number says little.
    """

    journal: int
    at: int | str
    end: End = End.KILL
    reached: Counter[str] = field(default_factory=Counter)

    def reach(self, point: str) -> bool:
        """Note a point; return whether the connection is to be cut here."""
        self.reached[point] += 1
        name = f"{point} {self.reached[point]}"
        append(self.journal, name)
        if self.at not in (name, self.reached.total()):
            return False
        if self.end is End.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        return True


class MortalDatabase(Database):
    """A database whose transactions are points: just before COMMIT is sent, and when its answer is there."""

    def __init__(self, conninfo: str, fate: Fate) -> None:
        super().__init__(conninfo, size=12)
        self._fate = fate

    @asynccontextmanager
    async def transaction(self, *, streaming: bool = False) -> AsyncIterator[Tx]:
        async with super().transaction(streaming=streaming) as tx:
            yield tx
            if self._fate.reach(f"{_where()}: before COMMIT"):
                await tx.connection.close()
        if self._fate.reach(f"{_where()}: after COMMIT"):
            raise refuse(Code.UNAVAILABLE, "The database cannot be used: the answer to COMMIT never came.")


class MortalChannel:
    """A channel around which there are points: before it begins, and when it has an answer."""

    def __init__(self, channel: Channel, name: str, fate: Fate) -> None:
        self._channel = channel
        self._name = name
        self._fate = fate

    async def send(self, address: str, message: Message) -> Outcome:
        """Send as the real channel does. There is no database connection to cut here."""
        self._fate.reach(f"{self._name}: before sending")
        outcome = await self._channel.send(address, message)
        self._fate.reach(f"{self._name}: {type(outcome).__name__.lower()}")
        return outcome


def _where() -> str:
    """Return the function of the product that the transaction belongs to."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("tocsin.") and frame.f_code.co_name not in _PLUMBING:
            return frame.f_code.co_name.strip("_")
        frame = frame.f_back
    return "somewhere"


def work_once(settings: Settings, now: datetime, journal: Path, at: int | str, end: End) -> None:
    """Be a worker that runs what is due at an instant, in one process; the main function of that process."""
    asyncio.run(_work(settings, now, Fate(_begun(journal), at, end)))


def _begun(journal: Path) -> int:
    """Speak as a service does, on standard error; return the open journal."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logs.for_services()
    return opened(journal)


async def _work(settings: Settings, now: datetime, fate: Fate) -> None:
    assert settings.database_url is not None
    database = MortalDatabase(settings.database_url.get_secret_value(), fate)
    await database.open()
    try:
        async with outbound_channels(settings) as channels:
            await _run(App(database, settings, FakeClock(now)), wrapped(channels, fate), fate)
    finally:
        await database.close()


async def _run(app: App, channels: Mapping[str, Channel], fate: Fate) -> None:
    try:
        await run_due(app, channels)
    except TocsinError:
        # The loop of a real worker begins anew; whoever is asked afterwards does it here.
        if fate.end is End.KILL:
            raise


def work_on(settings: Settings, name: str, clock: SteppedClock, journal: Path, at: int) -> None:
    """Be a worker until it is terminated; the main function of its process. Its first line is that it begins."""
    asyncio.run(_work_on(settings, name, clock, Fate(_begun(journal), at)))


async def _work_on(settings: Settings, name: str, clock: SteppedClock, fate: Fate) -> None:
    assert settings.database_url is not None
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    database = MortalDatabase(settings.database_url.get_secret_value(), fate)
    await database.open()
    try:
        async with outbound_channels(settings) as channels:
            await Worker(App(database, settings, clock), wrapped(channels, fate), name).run(stop)
    finally:
        await database.close()


def wrapped(channels: Mapping[str, Channel], fate: Fate) -> dict[str, Channel]:
    """Return the channels, each a point of this fate."""
    return {name: MortalChannel(channel, name, fate) for name, channel in channels.items()}
