"""The pool and the transaction when the server goes away."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from tests.support.servers import Server
from tocsin.errors import Code, TocsinError
from tocsin.store.database import Database

pytestmark = pytest.mark.anyio


def _hang_up(server: Server, database_name: str) -> None:
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [database_name]
        )


@pytest.mark.slow
async def test_idle_connections_that_the_server_closed_are_replaced_unnoticed(
    server: Server, database_name: str
) -> None:
    database = Database(server.conninfo(database_name, user="tocsin_app"), size=4)
    await database.open()

    async def ask() -> int:
        async with database.transaction() as tx:
            answer: int = await tx.value(b"SELECT 1")
            await asyncio.sleep(0.01)
            return answer

    async with asyncio.timeout(5):
        for _ in range(4):
            assert await asyncio.gather(*(ask() for _ in range(8))) == [1] * 8
            _hang_up(server, database_name)
    await database.close()


async def test_a_transaction_that_loses_its_connection_is_refused_as_unavailable(
    server: Server, database_name: str
) -> None:
    database = Database(server.conninfo(database_name, user="tocsin_app"), size=2)
    await database.open()

    async def lose() -> None:
        async with database.transaction() as tx:
            await tx.value(b"SELECT 1")
            _hang_up(server, database_name)
            await tx.value(b"SELECT 2")

    with pytest.raises(TocsinError) as caught:
        await lose()
    assert caught.value.refusal.code is Code.UNAVAILABLE
    await database.close()


async def test_a_statement_that_nobody_waits_for_fails_the_transaction(server: Server, database_name: str) -> None:
    database = Database(server.conninfo(database_name, user="tocsin_app"), size=2)
    await database.open()
    worker = b"INSERT INTO workers (id, name, started_at, seen_at) VALUES (gen_random_uuid(), '', now(), now())"

    async def fail() -> None:
        async with database.transaction() as tx:
            await tx.run(worker)
            await tx.run(b"SELECT 1 / 0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        await fail()
    async with database.transaction() as tx:
        assert await tx.value(b"SELECT count(*) FROM workers") == 0
    await database.close()


async def test_what_must_be_read_whole_is_not_compiled_first(server: Server, database_name: str) -> None:
    database = Database(server.conninfo(database_name, user="tocsin_app"), size=1)
    await database.open()
    async with database.transaction() as tx:
        plan = await tx.value(b"EXPLAIN (ANALYZE, FORMAT JSON) SELECT count(*) FROM incidents WHERE title LIKE '%x%'")
    await database.close()
    assert "JIT" not in plan[0]
