"""Answers leave in one piece, and as soon as uvicorn's own protocol would let them go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from tocsin.web.connection import Connection

PATIENCE_SECONDS = 10.0
REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]}


class Writes(asyncio.Protocol):
    """A client that keeps what it gets, piece by piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ended = asyncio.Event()
        self.came = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        self.came.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()

    async def until(self, wanted: Callable[[bytes], bool]) -> bytes:
        """Return everything that came, once it is what is wanted."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not wanted(b"".join(self.pieces)):
                self.came.clear()
                await self.came.wait()
        return b"".join(self.pieces)


@asynccontextmanager
async def client_of(app: ASGIApp) -> AsyncIterator[tuple[asyncio.WriteTransport, Writes]]:
    """Serve an application over our protocol, and give a connection to it."""
    config = uvicorn.Config(
        app, port=0, http=Connection, ws="none", lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    address = server.servers[0].sockets[0].getsockname()
    try:
        transport, client = await asyncio.get_running_loop().create_connection(Writes, *address[:2])
        yield transport, client
        transport.abort()
    finally:
        await server.shutdown()


async def ten_bytes(_: Scope, __: Receive, send: Send) -> None:
    await send(START)
    await send({"type": "http.response.body", "body": b"0123456789"})


async def test_head_and_body_leave_together(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []

    def recorded(self: Any, data: bytes) -> None:
        written.append(data)
        write(self, data)

    async with client_of(ten_bytes) as (transport, client):
        write = type(transport).write
        monkeypatch.setattr(type(transport), "write", recorded)
        transport.write(REQUEST)
        await client.until(lambda data: data.endswith(b"0123456789"))
        assert len(written) == 2, "the request, and the answer"


async def test_what_was_written_does_not_wait_for_the_rest() -> None:
    seen = asyncio.Event()

    async def slow(_: Scope, __: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"01234", "more_body": True})
        await seen.wait()
        await send({"type": "http.response.body", "body": b"56789"})

    async with client_of(slow) as (transport, client):
        transport.write(REQUEST)
        await client.until(lambda data: data.endswith(b"01234"))
        seen.set()
        await client.until(lambda data: data.endswith(b"0123456789"))


async def test_an_answer_is_whole_before_its_connection_closes() -> None:
    async with client_of(ten_bytes) as (transport, client):
        transport.write(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await asyncio.wait_for(client.ended.wait(), PATIENCE_SECONDS)
        assert b"".join(client.pieces).endswith(b"\r\n\r\n0123456789")


async def test_requests_that_came_together_are_answered_in_turn() -> None:
    async with client_of(ten_bytes) as (transport, client):
        transport.write(3 * REQUEST)
        data = await client.until(lambda data: data.count(b"0123456789") == 3)
        assert data.count(b"HTTP/1.1 200") == 3


async def test_what_is_no_request_is_refused_and_its_connection_closed() -> None:
    async with client_of(ten_bytes) as (transport, client):
        transport.write(b"no request\r\n\r\n")
        await asyncio.wait_for(client.ended.wait(), PATIENCE_SECONDS)
        assert b"".join(client.pieces).startswith(b"HTTP/1.1 400")
