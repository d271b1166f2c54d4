"""A client's connection: uvicorn's protocol, whose answers leave in one piece.

uvicorn writes an answer's head and its body one after the other, and each goes to the kernel at once: two packets, for
which the client is woken twice. Here what is written within one turn of the event loop leaves together.

uvicorn also takes a head of any length and waits for it for ever. Here a head has a length, and says since when it is
awaited: the server ends who lets it wait too long.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tocsin.errors import Code, TocsinError, refuse
from tocsin.web.problems import problem_response

MAX_HEAD_BYTES = 65_536
"""Of a head that is not complete yet. What comes in one piece may be longer: up to what is read at once (256 KiB)."""
HEAD_PATIENCE_SECONDS = 20.0
"""How long a connection may stay without a complete head: from its beginning, or from the last answer."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol for HTTP/1.1, with everything that it bounds and a bound for heads.

    `waiting_since` says since when (the event loop's time) no request is under way: its head is awaited. None while
    one is.
    """

    waiting_since: float | None = None
    _is_in_head = False
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as theirs
        """Begin: everything that is written from now on is gathered."""
        self._gathering = _Gathering(transport, self.loop)
        self.waiting_since = self.loop.time()
        super().connection_made(self._gathering)  # type: ignore[arg-type]  # all of a transport that they use

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self._is_in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that a request is under way."""
        self._is_in_head, self.waiting_since = False, None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Read on, unless the head is too long."""
        super().data_received(data)
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                message = f"The head of the request is longer than {MAX_HEAD_BYTES:,} bytes."
                self._end(refuse(Code.TOO_LARGE, message, "Send shorter headers.", limitBytes=MAX_HEAD_BYTES))

    def on_response_complete(self) -> None:
        """Let an answer go out as soon as it is complete."""
        self._gathering.flush()
        self.waiting_since = None if self.pipeline else self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._end(refuse(Code.MALFORMED, msg, "Speak HTTP/1.1."))

    def end_waiting(self) -> None:
        """End a connection whose head did not come in time."""
        message = f"The head of the request did not arrive within {HEAD_PATIENCE_SECONDS:.0f} seconds."
        self._end(refuse(Code.MALFORMED, message, "Send it faster.") if self._is_in_head else None)

    def _end(self, error: TocsinError | None) -> None:
        """Close, with an answer if there is one to give and none has begun that it would break."""
        if error is not None and (self.waiting_since is not None or not self.cycle.response_started):
            answer = problem_response(error.refusal, {})
            headers = [*self.server_state.default_headers, *answer.raw_headers, (b"connection", b"close")]
            head = [STATUS_LINE[answer.status_code], *(b"%b: %b\r\n" % header for header in headers), b"\r\n"]
            self.transport.write(b"".join([*head, answer.body]))
        self._is_in_head = False
        self.transport.close()


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
