"""Room for requests: how many bytes of reports this process holds at once. Whoever finds none waits outside.

Without it a storm of large bodies would take all memory; with a refusal clients would throw their events away.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from starlette.requests import Request

from tocsin.app.lanes import HOLD_SECONDS
from tocsin.errors import Code, TocsinError, refuse

ROOM_BYTES = 67_108_864
MAX_REQUEST_BYTES = 20_971_520
"""One request, compressed as well as decompressed."""
SMALLEST_BYTES = 16_384
"""What any request counts for: its own objects take room too."""
UNDECLARED_BYTES = 262_144
"""What a request counts for that does not say how long it is."""
_LONGEST_NUMBER = 12
INFLATION = 8
"""By how much a compressed body is taken to grow."""


class Room:
    """A bounded number of bytes; requests get theirs in the order in which they came."""

    def __init__(self, capacity: int = ROOM_BYTES) -> None:
        self._capacity = capacity
        self._free = capacity
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def held(self, request: Request) -> Held:
        """Hold the room that a request needs until it is answered; raise UNAVAILABLE when there is none in time."""
        return Held(self, min(_expected(request), self._capacity))

    async def take(self, size: int) -> None:
        """Take room, waiting for it if need be; raise UNAVAILABLE when there is none within HOLD_SECONDS."""
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                await turn
        except BaseException as error:
            # Whoever stops waiting gives back what it was given meanwhile, and lets those behind it go on.
            self.give(0 if turn.cancelled() else size)
            if isinstance(error, TimeoutError):
                raise _full() from None
            raise

    def take_now(self, size: int) -> None:
        """Take more room for what turned out larger than it looked; raise UNAVAILABLE when there is none now.

        It does not wait: whoever waits while holding room keeps it from those who wait, too.
        """
        if size > self._free:
            raise _full()
        self._free -= size

    def give(self, size: int) -> None:
        """Give room back, to those who wait for it first."""
        self._free += size
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size
                turn.set_result(None)


@dataclass(slots=True)
class Held:
    """The room of one request."""

    room: Room
    size: int

    async def __aenter__(self) -> Held:
        """Take it, waiting for it if need be."""
        await self.room.take(self.size)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give all of it back."""
        self.room.give(self.size)

    def grow(self, size: int) -> None:
        """Hold as much as the request really needs; raise UNAVAILABLE when there is not so much now."""
        if size > self.size:
            self.room.take_now(size - self.size)
            self.size = size


def _full() -> TocsinError:
    return refuse(
        Code.UNAVAILABLE, "The server holds as many reports as it can.", "Nothing was recorded; send it again."
    )


def _expected(request: Request) -> int:
    """Return how many bytes a request is taken to need; one that says it is larger than allowed is not read at all."""
    declared, compressed = b"", False
    for name, value in request.scope["headers"]:
        if name == b"content-length":
            declared = value
        elif name == b"content-encoding":
            compressed = value != b"identity"
    if not (declared.isdigit() and len(declared) <= _LONGEST_NUMBER):
        return UNDECLARED_BYTES
    size = int(declared)
    return SMALLEST_BYTES if size > MAX_REQUEST_BYTES else max(SMALLEST_BYTES, size * (INFLATION if compressed else 1))
