"""Listens for the database's call that there is work."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tocsin.app.work import App


async def wakeups(app: App) -> AsyncIterator[str]:
    """Yield "" once after the connection stands (something may have been missed before), then the kind of each call.

    Raises UNAVAILABLE when the connection breaks.
    """
    async for kind in app.database.notifications():
        yield kind
