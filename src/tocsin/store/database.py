"""The pool and the transaction. Every statement runs in one; `Tx` turns rows into typed records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row, tuple_row
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from tocsin.errors import Code, Refusal, TocsinError

set_json_dumps(msgspec.json.encode)
set_json_loads(msgspec.json.decode)

Row = TypeVar("Row")
Parameters = Mapping[str, Any]

APPLICATION_ROLE = "tocsin_app"
SCHEMA = "tocsin"
_GUARD_STATES = "TC"
_LISTEN = b"LISTEN tocsin_jobs"
POOL_TIMEOUT_SECONDS = 10.0
STATEMENT_TIMEOUT_MILLISECONDS = 30_000
_LOST_RACES = (
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.UniqueViolation,
)


class LostRaceError(TocsinError):
    """Another transaction was faster; this one did nothing and may be tried again."""


class GuardRefusedError(Exception):
    """A guard of the schema refused a statement (SQLSTATE TC…): the application tried what must not happen."""


class Tx:
    """An open transaction. Its methods take a named query and its parameters."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self.connection = connection

    async def rows(self, query: bytes, row_type: type[Row], parameters: Parameters | None = None) -> list[Row]:
        """Return every row, as `row_type` (its fields are the columns)."""
        async with self.connection.cursor(row_factory=class_row(row_type)) as cursor:
            await cursor.execute(query, parameters)
            return await cursor.fetchall()

    async def first(self, query: bytes, row_type: type[Row], parameters: Parameters | None = None) -> Row | None:
        """Return the first row or None."""
        async with self.connection.cursor(row_factory=class_row(row_type)) as cursor:
            await cursor.execute(query, parameters)
            return await cursor.fetchone()

    async def value(self, query: bytes, parameters: Parameters | None = None) -> Any:
        """Return the first column of the first row, or None when there is no row."""
        async with self.connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(query, parameters)
            row = await cursor.fetchone()
            return row[0] if row else None

    async def run(self, query: bytes, parameters: Parameters | None = None) -> int:
        """Run a statement; return how many rows it touched."""
        cursor = await self.connection.execute(query, parameters)
        return cursor.rowcount

    async def run_many(self, query: bytes, parameters: Sequence[Parameters]) -> None:
        """Run a statement once for each set of parameters, in one round trip."""
        if parameters:
            async with self.connection.cursor() as cursor:
                await cursor.executemany(query, parameters)


class Database:
    """The pool of connections of one process, each in the application's role."""

    def __init__(self, conninfo: str, *, size: int) -> None:
        self.conninfo = conninfo
        self._pool = AsyncConnectionPool(
            conninfo,
            kwargs={"options": connection_options(), "application_name": "tocsin"},
            min_size=1,
            max_size=size,
            timeout=POOL_TIMEOUT_SECONDS,
            check=AsyncConnectionPool.check_connection,
            open=False,
        )

    async def open(self) -> None:
        """Open the pool; connections are made when they are needed, so this does not wait for the database."""
        await self._pool.open()

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """Open a transaction: committed when the block ends, rolled back when it raises.

        Raises UNAVAILABLE when no connection can be had in time or the database goes away, LostRaceError when
        another transaction was faster.
        """
        try:
            async with self._pool.connection() as connection, connection.transaction():
                yield Tx(connection)
        except _LOST_RACES as error:
            raise LostRaceError(_refusal(error)) from error
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise TocsinError(_refusal(error)) from error
        except psycopg.DatabaseError as error:
            if (error.sqlstate or "").startswith(_GUARD_STATES):
                raise GuardRefusedError(error.diag.message_primary) from error
            raise

    async def notifications(self) -> AsyncIterator[None]:
        """Yield when listening has begun and at each NOTIFY, on a connection of its own.

        Raises UNAVAILABLE when it breaks.
        """
        try:
            async with await AsyncConnection.connect(
                self.conninfo, options=connection_options(), autocommit=True
            ) as connection:
                await connection.execute(_LISTEN)
                yield
                async for _ in connection.notifies():
                    yield
        except psycopg.OperationalError as error:
            raise TocsinError(_refusal(error)) from error


def connection_options() -> str:
    """Return the libpq options of every connection: the least role, our schema, UTC, and a bound on each statement."""
    return (
        f"-c role={APPLICATION_ROLE} -c search_path={SCHEMA} -c timezone=UTC "
        f"-c statement_timeout={STATEMENT_TIMEOUT_MILLISECONDS} -c idle_in_transaction_session_timeout=60000"
    )


def _refusal(error: Exception) -> Refusal:
    text = str(error).strip()
    return Refusal(
        Code.UNAVAILABLE,
        f"The database cannot be used: {text.splitlines()[0] if text else type(error).__name__}",
        "Nothing was recorded; try again. `tocsin doctor` says what is wrong.",
    )
