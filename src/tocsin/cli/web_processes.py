"""Several web processes on one listening socket: started together, each started again when it dies, stopped together.

The socket is bound here, once, and inherited. Who waits to be accepted waits in it, not in a process: when one dies,
only the connections that it had are cut, and while a new one starts the others take in what comes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import NamedTuple

import structlog

from tocsin.app.report_internal import report_internal
from tocsin.app.work import App
from tocsin.bootstrap import Sources
from tocsin.child_process import end, launch
from tocsin.clock import monotonic_seconds
from tocsin.errors import Code, Refusal, TocsinError, refuse
from tocsin.settings import Settings
from tocsin.web.listener import listen, url_of
from tocsin.web.shares import Shares, make_shares

log = structlog.get_logger()

START_SECONDS = 60.0
"""How long a process may take until it answers; it takes a second."""
BACKOFF_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)
"""The pause before a process that keeps dying is started again; the last one from then on."""
STEADY_SECONDS = 30.0
"""A process that lived this long does not keep dying, however it ended."""
DIED = "WebProcessDied"
_CHILD = "tocsin.cli.web_process"


async def serve(app: App, sources: Sources, stop: asyncio.Event, on_ready: Callable[[str], None]) -> None:
    """Serve in several processes until `stop` is set; `on_ready` is called with the URL when all of them answer.

    This process does nothing with `app` but report when one dies. Raises MISCONFIGURED when it cannot listen, what a
    process says that cannot start, and UNAVAILABLE when one does not stop as it should.
    """
    settings = app.settings
    listener = await listen(settings.host, settings.port)
    with listener, TemporaryDirectory(prefix="tocsin-counts-") as counts, TemporaryFile() as shared:
        shares = make_shares(settings.number_of_web_processes, shared.fileno())
        async with asyncio.TaskGroup() as group:
            places = [
                _Place(app, listener, shares, (sources, settings, Path(counts), number), group)
                for number in range(settings.number_of_web_processes)
            ]
            telling = group.create_task(_tell_ready(places, url_of(listener), on_ready))
            keeping = [group.create_task(place.keep(stop)) for place in places]
            await stop.wait()
            telling.cancel()
            # Nobody shall wait in it for a process that will not come.
            listener.close()
    # Only now: raised among the others, it would have ended what they had under way.
    if bad := [end for end in (one.result() for one in keeping) if end is not None]:
        raise refuse(Code.UNAVAILABLE, " ".join(bad), "What was under way is done again at the next start.")


async def _tell_ready(places: list[_Place], url: str, on_ready: Callable[[str], None]) -> None:
    for place in places:
        await place.answered.wait()
    on_ready(url)


class _End(NamedTuple):
    """How a process ended, and whether it did so with nothing left under way."""

    how: str
    is_clean: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of one process, and of those that follow it when it dies."""

    app: App
    listener: socket.socket
    shares: Shares
    orders: tuple[Sources, Settings, Path, int]
    group: asyncio.TaskGroup
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self, stop: asyncio.Event) -> str | None:
        """Keep a process in this place until `stop` is set; return how it ended then, if not as it should.

        Raises what the first one says if it cannot start.
        """
        deaths = 0
        while not stop.is_set():
            began = monotonic_seconds()
            end = await self._live(stop)
            if stop.is_set():
                return None if end.is_clean else end.how
            deaths = 1 if monotonic_seconds() - began >= STEADY_SECONDS else deaths + 1
            pause = BACKOFF_SECONDS[min(deaths, len(BACKOFF_SECONDS)) - 1]
            log.error("web.process_died", how=end.how, started_again_in_seconds=pause)
            self.group.create_task(self._report(end.how))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
        return None

    async def _live(self, stop: asyncio.Event) -> _End:
        """Run one process from its start to its end."""
        try:
            async with self._started(stop) as process:
                await _hear(process)
                self.answered.set()
                await process.wait()
        except TocsinError as error:
            if not self.answered.is_set() and not stop.is_set():
                raise
            return _End(error.refusal.message, is_clean=True)  # it had taken nothing up yet
        return _End(f"A web process {_end_of(process)}.", process.returncode == 0)

    @asynccontextmanager
    async def _started(self, stop: asyncio.Event) -> AsyncIterator[Process]:
        process = await _launched(self.listener.fileno(), self.shares.descriptor)
        assert process.stdin is not None
        stopping = asyncio.create_task(_pass_on(stop, process))
        try:
            process.stdin.write(base64.b64encode(pickle.dumps(self.orders)) + b"\n")
            yield process
        finally:
            stopping.cancel()
            await end(process)
            *_, place = self.orders
            self.shares.leave(place)

    async def _report(self, how: str) -> None:
        try:
            async with self.app.work() as work:
                await report_internal(work, DIED, how)
        except Exception:  # whatever it is, it must not take the living processes down
            log.exception("web.death_not_reported", how=how)


async def _launched(*descriptors: int) -> Process:
    try:
        return await launch(
            *(sys.executable, "-P", "-m", _CHILD, *map(str, descriptors)),
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=descriptors,
            # Out of reach of the terminal's Ctrl-C while it cannot ignore that yet.
            start_new_session=True,
        )
    except OSError as error:
        message = f"A web process cannot be started: {error.strerror or error}."
        raise refuse(Code.UNAVAILABLE, message, "This machine is short of memory or of processes.") from None


async def _pass_on(stop: asyncio.Event, process: Process) -> None:
    """Tell a process to stop when we are told; the line stays open, for its end would mean more."""
    assert process.stdin is not None
    await stop.wait()
    if not process.stdin.is_closing():
        process.stdin.write(b".")


async def _hear(process: Process) -> None:
    """Wait until a process answers; raise what it refuses, UNAVAILABLE if it ends or takes too long."""
    assert process.stdout is not None
    try:
        said = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
    except TimeoutError:
        message = f"A web process did not answer within {START_SECONDS:g} seconds."
        raise refuse(
            Code.UNAVAILABLE, message, "This machine is too busy: run fewer with TOCSIN_WEB_PROCESSES."
        ) from None
    if not said:
        await process.wait()
        message = f"A web process {_end_of(process)} before it answered."
        raise refuse(Code.UNAVAILABLE, message, "The log above may say why.")
    if refused := json.loads(said):
        raise TocsinError(Refusal(**refused | {"code": Code(refused["code"])}))


def _end_of(process: Process) -> str:
    code = process.returncode or 0
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
