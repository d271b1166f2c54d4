"""Keys that open nothing: a program that goes on with a revoked one loses its errors, and somebody should be told.

Of a key that nobody knows nothing is kept but that it came: neither the key nor a row of its own.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from tocsin.app.work import App, Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.errors import TocsinError
from tocsin.store import refused_keys
from tocsin.store.refused_keys import RefusedRow

__all__ = ["SHOWN_FOR", "RefusedKeys", "RefusedRow", "refused_lately"]

log = structlog.get_logger()

SHOWN_FOR = timedelta(hours=24)
WRITE_SECONDS = 2.0
"""Between two writes, however many requests are refused."""
MAX_WAITING = 1_000
"""Revoked keys that are counted one by one between two writes; more of them count as unknown."""


class RefusedKeys:
    """Counts in memory what this process refuses, and writes it down from time to time."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._waiting: dict[UUID | None, tuple[int, datetime]] = {}
        self._writing: asyncio.Task[None] | None = None

    def count(self, key_id: UUID | None) -> None:
        """Count a request with a revoked key, or (None) with one that nobody knows."""
        if key_id not in self._waiting and len(self._waiting) >= MAX_WAITING:
            key_id = None
        many, _ = self._waiting.get(key_id, (0, None))
        self._waiting[key_id] = many + 1, self._app.clock()
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_soon())

    async def close(self) -> None:
        """Write what waits: the server stops."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])
        await self._write()

    async def _write_soon(self) -> None:
        while self._waiting:
            await asyncio.sleep(WRITE_SECONDS)
            await self._write()

    async def _write(self) -> None:
        """Write what waits; while the database is away it goes on waiting."""
        taken, self._waiting = self._waiting, {}
        if not taken:
            return
        try:
            async with self._app.work() as work:
                await refused_keys.add(work.tx, taken)
        except (TocsinError, asyncio.CancelledError) as error:
            for key_id, (many, last_at) in taken.items():
                more, later_at = self._waiting.get(key_id, (0, last_at))
                self._waiting[key_id] = many + more, later_at
            if isinstance(error, asyncio.CancelledError):
                raise
            log.warning("intake.refused_keys_wait", reason=error.refusal.message)


async def refused_lately(work: Work, actor: Actor, project_id: int | None = None) -> list[RefusedRow]:
    """Return what was refused within SHOWN_FOR, in whole hours: for each revoked key, and for all that nobody knows.

    With a project, only what showed a key that was its own.
    """
    require(actor, Permission.ADMINISTER)
    return await refused_keys.since(work.tx, work.now - SHOWN_FOR, project_id)
