"""The unit of work: an open transaction, the instant it stands for, and what every use case may ask for."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tocsin import ids
from tocsin.clock import Clock
from tocsin.settings import Settings
from tocsin.store.database import Database, Tx


@dataclass(frozen=True, slots=True)
class Work:
    """One transaction at one instant. Everything in it is committed together, or none of it."""

    tx: Tx
    now: datetime
    settings: Settings
    new_id: Callable[[], UUID] = ids.new_id


@dataclass(frozen=True, slots=True)
class App:
    """The wired application: what `bootstrap` builds and every entry point is given."""

    database: Database
    settings: Settings
    clock: Clock

    @asynccontextmanager
    async def work(self, *, streaming: bool = False) -> AsyncIterator[Work]:
        """Open a unit of work; it commits when the block ends and rolls back when it raises.

        `streaming` is for reading whole tables, row by row.
        """
        async with self.database.transaction(streaming=streaming) as tx:
            yield Work(tx, self.clock(), self.settings)


def secret_hash(secret: str) -> bytes:
    """Return the SHA-256 of a random secret, the only form in which it is kept."""
    return hashlib.sha256(secret.encode()).digest()
