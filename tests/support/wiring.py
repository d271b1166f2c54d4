"""An application that is wired to the database of its settings, whose schema is known to be current."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tocsin.app.work import App
from tocsin.clock import Clock
from tocsin.settings import Settings
from tocsin.store.database import Database


@asynccontextmanager
async def wired(settings: Settings, clock: Clock, *, size: int = 4) -> AsyncIterator[App]:
    """Give the application, with `size` connections at most, and close it: a database in use cannot be cloned."""
    assert settings.database_url is not None
    database = Database(settings.database_url.get_secret_value(), size=size)
    await database.open()
    try:
        yield App(database, settings, clock)
    finally:
        await database.close()
