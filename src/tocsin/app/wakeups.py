"""Listens for the database's call that there is work."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tocsin.app.work import App


async def wakeups(app: App) -> AsyncIterator[None]:
    """Yield once after the connection stands (something may have been missed before) and at every call.

    Raises UNAVAILABLE when the connection breaks.
    """
    async for _ in app.database.notifications():
        yield
