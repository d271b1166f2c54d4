"""Tells open pages that something has changed, as server-sent events (WHATWG HTML, 9.2).

One look at the database for all pages of this process, and only while there are any. Each page says which pulse it was
made at: what was recorded since then is news to it, before it began to listen as well as after.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import structlog
from starlette.responses import StreamingResponse

from tocsin.app.overview import pulse
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


@dataclass(slots=True, eq=False)
class _Listener:
    """A page that listens, and the pulse that it knows (None: it knows what the next look finds)."""

    known: str | None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, now: str) -> None:
        """Tell it the pulse of now."""
        if self.known not in (None, now):
            self.changed.set()
        self.known = now


class Live:
    """The pages that listen, and the one who looks for them."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._listeners: set[_Listener] = set()
        self._looking: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    def stream(self, known: str | None) -> StreamingResponse:
        """Return the answer that goes on for as long as the page is open, or the server runs.

        `known` is the pulse that the page was made at. Anything else differs, which one event tells.
        """
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._news(known), headers=headers, media_type="text/event-stream")

    @property
    def is_full(self) -> bool:
        """Tell whether no further page can listen; it then looks by itself from time to time."""
        return len(self._listeners) >= MAX_LISTENERS

    async def close(self) -> None:
        """End every stream: the server stops."""
        self._closed.set()
        for listener in self._listeners:
            listener.changed.set()
        if self._looking is not None:
            self._looking.cancel()

    async def _news(self, known: str | None) -> AsyncIterator[bytes]:
        listener = _Listener(known)
        self._listeners.add(listener)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            yield _COME_AGAIN
            while not self._closed.is_set():
                try:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        await listener.changed.wait()
                except TimeoutError:
                    yield _STILL_THERE
                    continue
                listener.changed.clear()
                yield _CHANGED
        finally:
            self._listeners.discard(listener)

    async def _look(self) -> None:
        """Look for changes while somebody listens. A database that is away is waited for; pages say so themselves."""
        while self._listeners:
            # Who comes during this look may know more than it finds.
            listening = tuple(self._listeners)
            try:
                async with self._app.work() as work:
                    now = await pulse(work)
            except TocsinError as error:
                log.error("live.waiting", reason=error.refusal.message)
                await asyncio.sleep(RECOVERY_SECONDS)
                continue
            for listener in listening:
                listener.tell(now)
            await asyncio.sleep(LOOK_SECONDS)
