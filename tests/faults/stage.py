"""Workers at work on a scene in which pages are owed, with real receivers: no page may be lost on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import psycopg

from tests.conftest import ADMIN_EMAIL
from tests.faults.fleet import LOOK_SECONDS, Fleet, fleet
from tests.faults.page_reckoning import Pages, reckon_pages
from tests.faults.paging_matrix import scene
from tests.support.databases import clone
from tests.support.receivers import Receivers, receiving
from tests.support.servers import Server
from tests.support.wiring import wired
from tocsin.app.open_incident import open_by_hand
from tocsin.app.work import App
from tocsin.domain.delivery import BUNDLE_PAUSE
from tocsin.domain.incident import Severity
from tocsin.store import users

ARRIVAL_SECONDS = 30.0
REST_SECONDS = 2 * BUNDLE_PAUSE.total_seconds()
"""After it a page to an address that has just had one goes out by itself."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Workers at work on a clone of a scene, and the application on their clock."""

    running: Fleet
    app: App
    superuser: str
    receivers: Receivers

    async def open(self, title: str) -> None:
        """Open an incident: two pages are owed."""
        async with self.app.work() as work:
            admin = await users.by_email(work.tx, ADMIN_EMAIL)
            assert admin is not None
            await open_by_hand(work, admin.actor(), severity=Severity.HIGH, title=title, description="")

    async def begin_anew(self) -> None:
        """Let the scene's own incident get as loud as it can, its pages go out, their addresses rest; forget them."""
        await self.running.until_begun()
        await self.running.until_nothing_gets_louder()
        await self.running.until_nothing_is_owed(step_seconds=REST_SECONDS)
        self.running.clock.step(seconds=REST_SECONDS)
        self.receivers.forget()

    def reckoned(self, ends: int) -> Pages:
        """Hold what has arrived against what the database says."""
        with psycopg.connect(self.superuser) as connection:
            return reckon_pages(connection, self.receivers.times(), ends=ends)


@asynccontextmanager
async def staged(server: Server, dying_at: list[int]) -> AsyncIterator[Stage]:
    """Let a worker work for each of these points at which it dies (0: at none)."""
    async with AsyncExitStack() as stack:
        receivers = await stack.enter_async_context(receiving())
        made = await stack.enter_async_context(scene(server, receivers, "two ways"))
        database = stack.enter_context(clone(server, made.database))
        settings, superuser = made.settings(database), server.conninfo(database)
        workers = await stack.enter_async_context(fleet(settings, superuser, made.directory, dying_at))
        app = await stack.enter_async_context(wired(settings, workers.clock))
        yield Stage(workers, app, superuser, receivers)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds; fail after ARRIVAL_SECONDS."""
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {ARRIVAL_SECONDS:.0f} s"
        await asyncio.sleep(LOOK_SECONDS)
