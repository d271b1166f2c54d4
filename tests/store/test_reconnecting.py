"""How soon a database that was lost is found again by those who wait for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from tests.support.servers import Server
from tocsin.store.database import Database, _Sparing

pytestmark = pytest.mark.anyio

REFUSALS = 8
"""With the pool's own pauses (1, 2, 4, 8 … seconds) it would take two minutes to get past these."""


@dataclass(slots=True)
class Entrance:
    """A port before the server's socket that is shut for the first connections."""

    socket: Path
    port: int = 0
    refusals: int = REFUSALS
    open: set[asyncio.Task[None]] = field(default_factory=set)

    def admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin with a connection, and remember it."""
        task = asyncio.create_task(self._pass(reader, writer))
        self.open.add(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hang up, or be the way to the server."""
        if self.refusals:
            self.refusals -= 1
            await _close(writer)
            return
        answers, requests = await asyncio.open_unix_connection(str(self.socket))
        await asyncio.gather(_pass_on(reader, requests), _pass_on(answers, writer))


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    await _close(sink)


async def _close(sink: asyncio.StreamWriter) -> None:
    sink.close()
    with suppress(ConnectionError):
        await sink.wait_closed()


@asynccontextmanager
async def _entrance(server: Server) -> AsyncIterator[Entrance]:
    entrance = Entrance(server.host / f".s.PGSQL.{server.port}")
    async with await asyncio.start_server(entrance.admit, "127.0.0.1", 0) as listening:
        entrance.port = listening.sockets[0].getsockname()[1]
        yield entrance
        await asyncio.wait(entrance.open, timeout=5)


@pytest.mark.slow
async def test_whoever_waits_has_the_database_soon_after_it_is_back(
    server: Server, database_name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _entrance(server) as entrance:
        conninfo = f"host=127.0.0.1 port={entrance.port} dbname={database_name} user=tocsin_app sslmode=disable"
        monkeypatch.setattr(logging.getLogger("psycopg.pool"), "filters", [_Sparing()])  # one that said nothing yet
        database = Database(conninfo, size=4)
        await database.open()
        with caplog.at_level(logging.WARNING, "psycopg.pool"):
            async with asyncio.timeout(5), database.single() as tx:
                assert await tx.value(b"SELECT 1") == 1
        assert entrance.refusals == 0
        assert len(caplog.records) == 1, "why it does not connect is said once, not at each attempt"
        await database.close()


@pytest.mark.slow
async def test_many_dead_connections_delay_nobody(server: Server, database_name: str) -> None:
    """The pool's own check would pause for 1, 2 and 4 seconds before the fifth."""
    database = Database(server.conninfo(database_name, user="tocsin_app"), size=8)
    await database.open()
    together = asyncio.Barrier(8)

    async def ask() -> None:
        async with database.single() as tx:
            await tx.value(b"SELECT 1")
            await together.wait()

    await asyncio.gather(*(ask() for _ in range(8)))
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [database_name]
        )
    async with asyncio.timeout(0.9), database.single() as tx:
        assert await tx.value(b"SELECT 1") == 1
    await database.close()
