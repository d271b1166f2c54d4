"""A client's connection: uvicorn's protocol, whose answers leave in one piece.

uvicorn writes an answer's head and its body one after the other, and each goes to the kernel at once: two packets, for
which the client is woken twice. Here what is written within one turn of the event loop leaves together.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Connection(HttpToolsProtocol):
    """uvicorn's protocol for HTTP/1.1, with everything that it bounds."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as theirs
        """Begin: everything that is written from now on is gathered."""
        self._gathering = _Gathering(transport, self.loop)
        super().connection_made(self._gathering)  # type: ignore[arg-type]  # all of a transport that they use

    def on_response_complete(self) -> None:
        """Let an answer go out as soon as it is complete."""
        self._gathering.flush()
        super().on_response_complete()


class _Gathering:
    """A transport that holds back what is written until the turn of the event loop ends, at the latest."""

    __slots__ = ("_loop", "_transport", "_written", "is_closing")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write with what is written after it."""
        if not self._written:
            self._loop.call_soon(self.flush)
        self._written.append(data)

    def flush(self) -> None:
        """Let everything go out that was written."""
        if self._written:
            self._transport.write(b"".join(self._written))
            self._written.clear()

    def close(self) -> None:
        """Close when everything has gone out."""
        self.flush()
        self._transport.close()
