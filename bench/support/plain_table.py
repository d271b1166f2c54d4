"""The yardstick: a table without guards, triggers or foreign keys, into which plain rows go, a commit each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from tocsin.ids import new_id

_CREATE = "CREATE TABLE public.plain (id uuid PRIMARY KEY, body bytea NOT NULL)"
_STORE_AS_IT_IS = "ALTER TABLE public.plain ALTER COLUMN body SET STORAGE PLAIN"
_INSERT = "INSERT INTO public.plain (id, body) VALUES (%s, %s)"

InsertOne = Callable[[], Awaitable[UUID]]


@asynccontextmanager
async def plain_inserts(superuser: str, *, row_bytes: int, connections: int) -> AsyncIterator[InsertOne]:
    """Make the table; give what inserts one row of this size and returns after its commit. At most 7,000 bytes."""
    async with await AsyncConnection.connect(superuser, autocommit=True) as connection:
        await connection.execute(_CREATE)
        await connection.execute(_STORE_AS_IT_IS)
    body = bytes(index * 251 % 256 for index in range(min(row_bytes, 7_000)))
    async with AsyncConnectionPool(superuser, min_size=connections, max_size=connections, open=False) as pool:
        await pool.wait()

        async def insert_one() -> UUID:
            row_id = new_id()
            async with pool.connection() as connection:
                await connection.execute(_INSERT, (row_id, body))
            return row_id

        yield insert_one
