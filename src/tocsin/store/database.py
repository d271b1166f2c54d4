"""The pool and the transaction. Every statement runs in one; `Tx` turns rows into typed records."""

from __future__ import annotations

import logging
import select
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import msgspec
import psycopg
from psycopg import AsyncConnection, AsyncPipeline
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import class_row, tuple_row
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from tocsin.clock import monotonic_seconds
from tocsin.errors import Code, Refusal, TocsinError

set_json_dumps(msgspec.json.encode)
set_json_loads(msgspec.json.decode)

Row = TypeVar("Row")
Parameters = Mapping[str, Any]

APPLICATION_ROLE = "tocsin_app"
SCHEMA = "tocsin"
_GUARD_STATES = "TC"
_UNUSABLE_STATES = frozenset({"25006", "25P03"})
"""A standby that takes no writes, and a transaction that was idle for too long."""
_IMPATIENCE: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""So that a server which vanished without a word is noticed within half a minute (libpq's names; milliseconds last)."""
_LOOK_SECONDS = 0.1
_LISTEN = b"LISTEN tocsin_jobs"
POOL_TIMEOUT_SECONDS = 10.0
RECONNECT_SECONDS = 0.2
"""How often a lost database is looked for while somebody waits for it; twice in this time, to be exact."""
STATEMENT_TIMEOUT_MILLISECONDS = 30_000
ANSWER_SECONDS = STATEMENT_TIMEOUT_MILLISECONDS / 1_000 + 5
"""How long anything is waited for on a connection: by then a server that is well has ended the statement. One that was
stopped, or whose machine hangs, keeps the connection alive and says nothing."""
TRY_AGAIN = "Try again; with event ids or an Idempotency-Key nothing is done twice. `tocsin doctor` says what is wrong."
"""What to do while the database cannot be used."""
COMPLAINT_SECONDS = 10.0
"""How often the pool may say why it cannot connect."""
_LOST_RACES = (
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.UniqueViolation,
)


class _Sparing(logging.Filter):
    """Lets the pool complain now and then: it would at each attempt to connect, several times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._silent_until_seconds = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        now = monotonic_seconds()
        if record.levelno == logging.WARNING and now < self._silent_until_seconds:
            return False
        if record.levelno == logging.WARNING:
            self._silent_until_seconds = now + COMPLAINT_SECONDS
        return True


logging.getLogger("psycopg.pool").addFilter(_Sparing())


_TOO_MUCH = (
    psycopg.errors.QueryCanceled,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.StatementTooComplex,
    psycopg.errors.OutOfMemory,
)


class LostRaceError(TocsinError):
    """Another transaction was faster; this one did nothing and may be tried again."""


class TooMuchError(TocsinError):
    """A statement took too long, or needed more than the server has; a smaller one may not."""


class GuardRefusedError(Exception):
    """A guard of the schema refused a statement (SQLSTATE TC…): the application tried what must not happen."""


class Connection(AsyncConnection[Any]):
    """A connection that is given up when there is no answer within ANSWER_SECONDS, unless it takes its time."""

    takes_time = False

    async def wait(self, gen: PQGen[Row], interval: float = _LOOK_SECONDS, timeout: float | None = None) -> Row:  # noqa: ASYNC109  # theirs
        """Wait for the server. Whatever the driver waits for on a connection, it waits for here."""
        if self.takes_time or timeout is not None:
            return await super().wait(gen, interval, timeout)
        try:
            return await super().wait(gen, interval, ANSWER_SECONDS)
        except psycopg.errors._WaitTimeout as error:  # the only way to tell it from what the server says
            # Nobody knows what comes of the statement, and what it would still say is no answer to the next one.
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {ANSWER_SECONDS:.0f} seconds") from error


class Tx:
    """An open transaction. Its methods take a named query and its parameters."""

    def __init__(self, connection: AsyncConnection[Any], pipeline: AsyncPipeline | None = None) -> None:
        self.connection = connection
        self._pipeline = pipeline

    async def ask(
        self, query: bytes, row_type: type[Row], parameters: Parameters | None = None
    ) -> Callable[[], Awaitable[list[Row]]]:
        """Send a query; return what waits for its rows. Several, sent before one is waited for, cost one round trip."""
        cursor = self.connection.cursor(row_factory=class_row(row_type))
        await cursor.execute(query, parameters)
        return cursor.fetchall

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

    async def run(self, query: bytes, parameters: Parameters | None = None) -> None:
        """Run a statement. Nobody waits for it: if it fails, the next one that has an answer says so, or the commit."""
        await self.connection.execute(query, parameters)

    async def take_time(self) -> None:
        """Let the statements of this transaction take as long as they take."""
        await self.run(b"SET LOCAL statement_timeout = 0")
        if isinstance(self.connection, Connection):
            self.connection.takes_time = True

    async def touch(self, query: bytes, parameters: Parameters | None = None) -> int:
        """Run a statement; return how many rows it touched."""
        cursor = await self.connection.execute(query, parameters)
        if self._pipeline is not None:
            await self._pipeline.sync()
        return cursor.rowcount


class Database:
    """The pool of connections of one process, each in the application's role."""

    def __init__(self, conninfo: str, *, size: int) -> None:
        self.conninfo = make_conninfo(**(_IMPATIENCE | conninfo_to_dict(conninfo)))
        self._size = size
        self._pool = AsyncConnectionPool(
            self.conninfo,
            connection_class=Connection,
            # A transaction begins when `transaction` says so; a statement on its own is one by itself.
            kwargs={"options": connection_options(), "application_name": "tocsin", "autocommit": True},
            # None is made ahead: who asks first would not wait for it, but have a second one made.
            min_size=0,
            max_size=size,
            timeout=POOL_TIMEOUT_SECONDS,
            # The pool's own pauses double from one second on. Requests are held meanwhile, so each pause counts.
            reconnect_timeout=RECONNECT_SECONDS,
            reconnect_failed=_connect_for_those_who_wait,
            open=False,
        )

    async def open(self) -> None:
        """Open the pool; connections are made when they are needed, so this does not wait for the database."""
        await self._pool.open()

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self, *, streaming: bool = False) -> AsyncIterator[Tx]:
        """Open a transaction: committed when the block ends, rolled back when it raises.

        Statements are pipelined: one without an answer costs no round trip. `streaming` switches that off, because
        the server-side cursors that read whole tables cannot be pipelined.

        Raises UNAVAILABLE when no connection can be had in time or the database goes away, LostRaceError when
        another transaction was faster.
        """
        async with self._connection() as connection, AsyncExitStack() as stack:
            pipeline = None if streaming else await stack.enter_async_context(connection.pipeline())
            await stack.enter_async_context(connection.transaction())
            if streaming:
                await connection.execute("SET LOCAL enable_seqscan = on")
            yield Tx(connection, pipeline)

    @asynccontextmanager
    async def single(self) -> AsyncIterator[Tx]:
        """Give a connection on which each statement is a transaction of its own: one round trip, commit included.

        Raises as `transaction` does.
        """
        async with self._connection() as connection:
            yield Tx(connection)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        try:
            connection = await self._alive()
            try:
                async with connection:
                    yield connection
            finally:
                connection.takes_time = False
                await self._pool.putconn(connection)
        except PoolTimeout as error:
            raise TocsinError(_refusal(error)) from error
        except psycopg.Error as error:
            raise _translated(_origin(error)) from error

    async def _alive(self) -> Connection:
        """Take a connection that the server has not closed; raise PoolTimeout.

        The pool has such a check, too, but pauses for 1, 2, 4 … seconds between two dead connections, and after a crash
        of the server every one is dead.
        """
        deadline = monotonic_seconds() + POOL_TIMEOUT_SECONDS
        for _ in range(self._size):
            connection = await self._pool.getconn(deadline - monotonic_seconds())
            if not _has_hung_up(connection):
                return connection
            # Only a closed connection is replaced; any other goes back into the pool and would be handed out again.
            await connection.close()
            await self._pool.putconn(connection)
        return await self._pool.getconn(deadline - monotonic_seconds())

    async def notifications(self) -> AsyncIterator[str]:
        """Yield "" when listening has begun and the payload of each NOTIFY, on a connection of its own.

        Raises UNAVAILABLE when it breaks.
        """
        try:
            async with await AsyncConnection.connect(
                self.conninfo, autocommit=True, options=connection_options()
            ) as connection:
                await connection.execute(_LISTEN)
                yield ""
                async for notify in connection.notifies():
                    yield notify.payload
        except psycopg.OperationalError as error:
            raise TocsinError(_refusal(error)) from error


async def _connect_for_those_who_wait(pool: AsyncConnectionPool[Connection]) -> None:
    """Begin anew when the pool gives up an attempt to connect; with nobody waiting, the next one to ask begins."""
    if pool.get_stats()["requests_waiting"]:
        await pool.check()  # it grows a pool that has no connection, and starts no second attempt beside another


def _has_hung_up(connection: Connection) -> bool:
    """Tell whether the server closed a connection: an idle one has nothing to read unless that is its end.

    It asks the socket, not the server: that would cost a round trip each time.
    """
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    return bool(socket.poll(0))


def connection_options() -> str:
    """Return the libpq options of every connection: the least role, our schema, UTC, and a bound on each statement.

    A statement that is prepared while its tables are still small would keep reading them whole when they are not any
    more, so nothing is read whole unless there is no other way; `streaming` transactions, which mean to, may. What must
    be read whole looks so dear to the planner then that a server with LLVM would compile it first, for a second or two.
    """
    return (
        f"-c role={APPLICATION_ROLE} -c search_path={SCHEMA} -c timezone=UTC -c enable_seqscan=off -c jit=off "
        f"-c statement_timeout={STATEMENT_TIMEOUT_MILLISECONDS} -c idle_in_transaction_session_timeout=60000"
    )


def _origin(error: psycopg.Error) -> psycopg.Error:
    """Return the error behind an aborted pipeline: the abort is raised while the error that caused it is handled."""
    origin: BaseException | None = error
    while isinstance(origin, psycopg.errors.PipelineAborted):
        origin = origin.__context__
    return origin if isinstance(origin, psycopg.Error) else error


def _translated(error: psycopg.Error) -> Exception:
    """Return what a database error means to callers; the error itself when it is a bug of ours."""
    if isinstance(error, _LOST_RACES):
        return LostRaceError(_refusal(error))
    if isinstance(error, _TOO_MUCH):
        return TooMuchError(_refusal(error))
    if isinstance(error, psycopg.OperationalError) or error.sqlstate in _UNUSABLE_STATES:
        return TocsinError(_refusal(error))
    if (error.sqlstate or "").startswith(_GUARD_STATES):
        return GuardRefusedError(error.diag.message_primary)
    return error


def _refusal(error: Exception) -> Refusal:
    text = str(error).strip()
    return Refusal(
        Code.UNAVAILABLE,
        f"The database cannot be used: {text.splitlines()[0] if text else type(error).__name__}",
        TRY_AGAIN,
    )
