"""Tells open pages that something has changed, as server-sent events (WHATWG HTML, 9.2).

One look at the database for all pages of this process, and only while there are any.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import structlog
from starlette.responses import StreamingResponse

from tocsin.app.overview import Pulse, pulse
from tocsin.app.work import App
from tocsin.errors import TocsinError

log = structlog.get_logger()

LOOK_SECONDS = 0.4
RECOVERY_SECONDS = 2.0
SILENCE_SECONDS = 15.0
"""After so long without news a comment is sent: proxies close what is silent, and a sleeping laptop is found out."""
MAX_LISTENERS = 500
_CHANGED = b"event: changed\ndata: {}\n\n"
_STILL_THERE = b": still there\n\n"
_COME_AGAIN = b"retry: 1000\n\n"


class Live:
    """The pages that listen, and the one who looks for them."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._listeners: set[asyncio.Event] = set()
        self._looking: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    def stream(self) -> StreamingResponse:
        """Return the answer that goes on for as long as the page is open, or the server runs."""
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._news(), headers=headers, media_type="text/event-stream")

    @property
    def is_full(self) -> bool:
        """Tell whether no further page can listen; it then looks by itself from time to time."""
        return len(self._listeners) >= MAX_LISTENERS

    async def close(self) -> None:
        """End every stream: the server stops."""
        self._closed.set()
        for listener in self._listeners:
            listener.set()
        if self._looking is not None:
            self._looking.cancel()

    async def _news(self) -> AsyncIterator[bytes]:
        changed = asyncio.Event()
        self._listeners.add(changed)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            yield _COME_AGAIN
            while not self._closed.is_set():
                try:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        await changed.wait()
                except TimeoutError:
                    yield _STILL_THERE
                    continue
                changed.clear()
                yield _CHANGED
        finally:
            self._listeners.discard(changed)

    async def _look(self) -> None:
        """Look for changes while somebody listens. A database that is away is waited for; pages say so themselves."""
        last: Pulse | None = None
        while self._listeners:
            try:
                now = await pulse(self._app)
            except TocsinError as error:
                log.error("live.waiting", reason=error.refusal.message)
                await asyncio.sleep(RECOVERY_SECONDS)
                continue
            if last is not None and now != last:
                for listener in self._listeners:
                    listener.set()
            last = now
            await asyncio.sleep(LOOK_SECONDS)
