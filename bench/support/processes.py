"""The product's halves as processes of their own, so that what measures does not share an interpreter with them."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from typing import Any

import uvloop

from tocsin import bootstrap
from tocsin.bootstrap import Sources
from tocsin.clock import Clock, system_clock
from tocsin.settings import Settings

START_SECONDS = 30.0
STOP_SECONDS = 20.0

Main = Callable[..., Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class StandingClock:
    """A clock that always says the same, so that nothing becomes due while a database is measured."""

    instant: datetime

    def __call__(self) -> datetime:
        """Return the instant."""
        return self.instant


@dataclass(frozen=True, slots=True)
class OffClock:
    """The machine's clock, off by a fixed time: what was loaded for an instant is measured at another."""

    off: timedelta

    def __call__(self) -> datetime:
        """Return the instant."""
        return system_clock() + self.off


@contextmanager
def running(main: Main, *arguments: object) -> Iterator[tuple[Any, Connection]]:
    """Run `main(line, *arguments)` in a process; give the first thing it sends and the line to it.

    The process ends when the line is closed, or is ended. Raises RuntimeError when it does not start.
    """
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_run, args=(main, theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield _first_word(main.__name__, ours), ours
    finally:
        ours.close()
        process.join(STOP_SECONDS)
        if process.is_alive():
            process.kill()


def _first_word(name: str, line: Connection) -> Any:
    try:
        if line.poll(START_SECONDS):
            return line.recv()
    except EOFError:
        raise RuntimeError(f"the process of {name} ended at once: its last words stand above") from None
    raise RuntimeError(f"the process of {name} did not start within {START_SECONDS:.0f} s")


def _run(main: Main, line: Connection, *arguments: object) -> None:
    # The loop that the product's own programs run on.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(line, *arguments))


def stop_at_end_of(line: Connection) -> asyncio.Event:
    """Return an event that is set when the other end of the line is closed."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def heard() -> None:
        # Nobody speaks on this line: whatever makes it readable is its end.
        loop.remove_reader(line.fileno())
        stop.set()

    loop.add_reader(line.fileno(), heard)
    return stop


async def web(line: Connection, sources: Sources, settings: Settings, clock: Clock = system_clock) -> None:
    """Be the web server on a free port of loopback; sends its URL."""
    from tocsin.web.server import serve  # noqa: PLC0415  # only this process needs it

    stop = stop_at_end_of(line)
    async with bootstrap.wired(sources, settings, clock) as app:
        await serve(app, stop, host="127.0.0.1", port=0, on_ready=line.send)


async def worker(line: Connection, sources: Sources, settings: Settings, clock: Clock = system_clock) -> None:
    """Be a worker; sends its process id when it begins."""
    from tocsin.worker.run import Worker  # noqa: PLC0415  # only this process needs it

    stop = stop_at_end_of(line)
    async with bootstrap.wired(sources, settings, clock) as app, bootstrap.outbound_channels(settings) as channels:
        line.send(os.getpid())
        await Worker(app, channels, "bench").run(stop)
