"""Room for requests: how many bytes of reports this process holds at once. Whoever finds none waits outside.

Without it a storm of large bodies would take all memory; with a refusal clients would throw their events away.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from tocsin.app.lanes import HOLD_SECONDS
from tocsin.errors import Code, refuse

ROOM_BYTES = 67_108_864
SMALLEST_BYTES = 16_384
"""What any request counts for: its own objects take room too."""
UNDECLARED_BYTES = 262_144
"""What a request counts for that does not say how long it is."""
INFLATION = 8
"""By how much a compressed body is taken to grow."""


class Room:
    """A bounded number of bytes; requests get theirs in the order in which they came."""

    def __init__(self, capacity: int = ROOM_BYTES) -> None:
        self._capacity = capacity
        self._free = capacity
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def held(self, request: Request) -> AsyncIterator[None]:
        """Hold the room that a request needs until it is answered; raise UNAVAILABLE when there is none in time."""
        size = min(_expected(request), self._capacity)
        await self._take(size)
        try:
            yield
        finally:
            self._give(size)

    async def _take(self, size: int) -> None:
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._give(size)
            if isinstance(error, TimeoutError):
                raise refuse(
                    Code.UNAVAILABLE,
                    "The server holds as many reports as it can.",
                    "Nothing was recorded; send it again.",
                ) from None
            raise

    def _give(self, size: int) -> None:
        self._free += size
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size
                turn.set_result(None)


def _expected(request: Request) -> int:
    declared = request.headers.get("content-length", "")
    if not (declared.isdecimal() and len(declared) <= 12):
        return UNDECLARED_BYTES
    compressed = request.headers.get("content-encoding", "identity") != "identity"
    return max(SMALLEST_BYTES, int(declared) * (INFLATION if compressed else 1))
