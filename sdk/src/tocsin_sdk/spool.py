"""What is owed to the server, on disk: a directory with one SQLite database, shared by threads and processes.

`put` returns True only after the parcel has reached the disk: mostly in the journal, from which it is moved to the
database by whoever looks for parcels next. Everything else (leases, what is done) is written without waiting for the
disk: after a power cut a parcel may be sent twice, and the server knows it by its event id.

Over a fork no file is open: all are closed before and opened again on both sides. SQLite keeps its locks per process,
and a child that inherits them believes that it holds what it does not.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Callable, TypeVar

from tocsin_sdk import clock, files, forks, journal
from tocsin_sdk.journal import Journal, Row
from tocsin_sdk.lifted import Lifted, mark

MAX_SPOOL_BYTES = 268_435_456
MAX_SPOOL_PARCELS = 1_000_000
MAX_TAKEN_BYTES = 8_388_608
"""Bodies that one `take` returns; the first parcel is returned whatever its size."""
MAX_REFUSED = 200
"""Refused parcels that are kept to be looked at: the latest."""
MAX_REFUSED_BODY_BYTES = 65_536
MAX_REASON_CHARACTERS = 500

LEASE_SECONDS = 30.0
"""How long a taken parcel stays with its process. A sender that was killed delays what it held by this much."""
MAX_POSTPONED_SECONDS = 3_600.0
"""A lease that ends later than this was written by a clock that has since been set back; it does not count."""

LOCK_SECONDS = 10.0
"""How long an action waits for another one of its own process."""

_JOURNAL_BYTES = 1_048_576
_JOURNAL_SHARE = 8
"""Of a small spool the journal takes no more than this part."""
_BUSY_SECONDS = 5.0
_ENDING_SECONDS = 0.2
_FORK_SECONDS = 1.0
_PAGE_BYTES = 8_192
"""Three reports of the usual size fit on a page: of half of it SQLite would write three for each of them."""
_CHECKPOINT_PAGES = 512
"""SQLite's log is begun anew after 4 MiB, as it would be with pages of the usual size."""
_GRANT_PARCELS = 512
"""Some more than the journal holds: each grant after the first one is asked for when that is full."""
_GRANT_BYTES = 4_194_304
_ROW_BYTES = 64
_MAX_CACHED_HEADERS = 32

_SCHEMA = """
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS parcels (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL
);
-- Numbers come again once the last parcel has gone: by the owner a late `done` sees that its parcel is another one now.
CREATE TABLE IF NOT EXISTS leases (id INTEGER PRIMARY KEY, owner BLOB NOT NULL, due REAL NOT NULL);
CREATE TABLE IF NOT EXISTS refused (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL, body BLOB NOT NULL, reason TEXT NOT NULL, refused_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO totals VALUES ('refused', 0), ('dropped', 0), ('dropped_told', 0);
COMMIT;
"""
_INSERT = "INSERT INTO parcels (path, headers, body) VALUES (?, ?, ?)"
# What a flipped bit made of a text, or of its type, must not fail before we see it: all is read as bytes.
_FREE = """
SELECT id, CAST(path AS BLOB), CAST(headers AS BLOB), CAST(body AS BLOB) FROM parcels
WHERE id NOT IN (SELECT id FROM leases WHERE due > ?1 AND due <= ?1 + ?2) AND instr(ifnull(body, x''), ?4) AND id > ?5
ORDER BY id LIMIT ?3
"""

T = TypeVar("T")
_encode = json.JSONEncoder(separators=(",", ":")).encode


class SpoolUnusableError(OSError):
    """The spool's directory or database cannot be used now; the text says why."""


class SpoolUnwritableError(SpoolUnusableError):
    """The disk is full or takes no writing for another reason; what lies on it may be readable."""


class SpoolBusyError(SpoolUnusableError):
    """Another action of this process did not end in time. Nothing is wrong with the spool."""


@dataclass(frozen=True)
class Parcel:
    """One request that is owed to the server. `path` may carry a query; `headers` say how `body` is to be read."""

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class SpoolCounts:
    """How a spool stands: parcels that wait, that the server refused for good, and that found no room (both ever)."""

    waiting: int
    refused: int
    dropped: int


@dataclass(frozen=True)
class Refused:
    """A parcel the server will never take; `body` is cut to MAX_REFUSED_BODY_BYTES. `refused_at`: Unix time (s)."""

    path: str
    body: bytes
    reason: str
    refused_at: float


class Spool:
    """Parcels in a directory, oldest first. Nothing is opened before the first use.

    Any method may raise SpoolUnusableError; what it was to do has then not happened.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        max_bytes: int = MAX_SPOOL_BYTES,
        max_parcels: int = MAX_SPOOL_PARCELS,
        on_problem: Callable[[str], None] | None = None,
    ) -> None:
        """Name the directory; it is made (0700) when it is first needed.

        Args:
            directory: for this spool alone; several processes may share it.
            max_bytes: of the database and its journal; what is put beyond it is dropped and counted.
            max_parcels: that wait at one time.
            on_problem: is told of damage: what cannot be read is moved aside.
        """
        self._open: dict[bool, sqlite3.Connection] = {}
        self.directory = os.path.abspath(os.fspath(directory))
        self._file = os.path.join(self.directory, files.DATABASE_FILE)
        journal_bytes = min(_JOURNAL_BYTES, max_bytes // _JOURNAL_SHARE)
        self._max_bytes, self._max_parcels = max_bytes - journal_bytes, max_parcels
        self._on_problem = on_problem or _ignore
        self._journal = Journal(os.path.join(self.directory, files.JOURNAL_FILE), journal_bytes, self._on_problem)
        self.lifted = Lifted(self.directory)
        self._lock = threading.RLock()
        self._identity: tuple[int, int] | None = None
        self._log_identity: tuple[int, int] | None = None
        self._owner = os.urandom(16)
        self._busy = self._closed = self._cut_off = False
        self._granted_parcels = self._granted_bytes = 0
        forks.watch(self)

    @property
    def dropped(self) -> int:
        """Parcels that found no room, ever."""
        return self.counts().dropped

    def put(self, parcel: Parcel) -> bool:
        """Keep a parcel. True: it is on the disk. False: the spool is full, and the loss is counted."""
        return self.put_all((parcel,))[0]

    def put_all(self, parcels: Sequence[Parcel]) -> list[bool]:
        """Keep several parcels in one commit; the answers are those of `put`, in the same order."""
        return self._attempt(lambda: self._put(parcels))

    def put_late(self, parcels: Sequence[Parcel]) -> bool:
        """Keep parcels although another action holds the spool, for the program ends; return whether that is possible.

        They get a journal of their own, which whoever looks for parcels next moves to the database.
        """
        if not journal.IS_SUPPORTED:
            return False
        name = f"{files.LATE_PREFIX}{os.urandom(8).hex()}{files.LATE_SUFFIX}"
        journal.write(os.path.join(self.directory, name), [_row(parcel) for parcel in parcels])
        return True

    def take(self, limit: int, holding: bytes = b"") -> list[tuple[int, Parcel]]:
        """Return the oldest parcels that nobody else has, with this in their bodies; lease them for LEASE_SECONDS."""
        taken, damaged = self._do(lambda connection: self._take(connection, limit, holding), gathers=True)
        if damaged:
            self._on_problem(f"{damaged} reports in the spool were damaged on the disk: they are put aside")
        self.lifted.end()
        if not taken:
            self.lifted.forget()
        return taken

    def lift(self, limit: int) -> list[tuple[bytes, Parcel]]:
        """Return the oldest parcels of a disk that takes no writing, which `lifted` remembers by their marks."""
        return self._attempt(lambda: self._lift(limit))

    def done(self, ids: Sequence[int]) -> None:
        """Forget parcels that the server has."""
        self._do(lambda connection: _forget(connection, ids, self._owner))

    def again(self, ids: Sequence[int], not_before: float) -> None:
        """Give leases back: from `not_before` on (seconds since 1970) anybody may take these parcels."""
        due = min(not_before, clock.now() + MAX_POSTPONED_SECONDS)
        rows = [(due, number, self._owner) for number in ids]
        statement = "UPDATE leases SET due = ? WHERE id = ? AND owner = ?"
        self._do(lambda connection: connection.executemany(statement, rows))

    def refuse(self, id: int, reason: str) -> None:  # noqa: A002
        """Put a parcel aside that the server will never take. The latest MAX_REFUSED stay to be looked at."""
        self._do(lambda connection: _put_aside(connection, id, reason[:MAX_REASON_CHARACTERS], self._owner))

    def refused(self) -> list[Refused]:
        """Return what the server refused, the latest first."""
        return self._do(_refused, begin="BEGIN")

    def is_empty(self, max_wait_seconds: float = LOCK_SECONDS) -> bool:
        """Return whether nothing waits, leased or not; False as well if that cannot be seen in time."""
        try:
            return self._attempt(self._is_empty, max_wait_seconds)
        except SpoolBusyError:
            return False

    def counts(self) -> SpoolCounts:
        """Return how the spool stands."""
        return self._do(_counts, gathers=True, begin="BEGIN")

    def add_dropped(self, number: int) -> None:
        """Count parcels that were lost before they came here."""
        self._do(lambda connection: _add(connection, "dropped", number))

    def tell_dropped(self, notice: Callable[[int], Parcel]) -> bool:
        """Keep the notice of what was dropped since the last one; False if nothing was, or it found no room itself."""
        return self._do(lambda connection: self._tell(connection, notice), gathers=True, durable=True)

    def may_hold(self) -> bool:
        """Return whether something may lie on the disk that this process could send."""
        return not self._cut_off and os.path.exists(self._file)

    def close(self, max_wait_seconds: float = LOCK_SECONDS) -> None:
        """Close the database. Nothing is lost; what still waits is sent by whoever opens the directory next."""
        self._hold(max_wait_seconds)
        try:
            self._closed = True
            self._disconnect()
            self.lifted.end()
        finally:
            self._let_go()

    def __del__(self) -> None:
        """Close what was not closed: a connection is part of a cycle, and might live on until after a fork."""
        self._close_database()

    def _put(self, parcels: Sequence[Parcel]) -> list[bool]:
        self._connection(durable=True)  # Where somebody deleted the files, the journal is closed with them.
        self.lifted.is_all_sent = False
        costs = [_cost(parcel) for parcel in parcels]
        is_granted = self._is_granted(len(costs), sum(costs))
        if is_granted and self._journal.add([_row(parcel) for parcel in parcels]):
            self._use(len(costs), sum(costs))
            return [True] * len(costs)
        self._gather()
        return self._transaction(lambda connection: self._insert(connection, parcels), True, "BEGIN IMMEDIATE")

    def _is_empty(self) -> bool:
        """Look, and write nothing: another process may hold the database, or the disk be full."""
        self._connection(durable=True)  # before the journal, for the same reason
        is_empty = self._journal.is_empty() and not self._late()
        return is_empty and self._transaction(_is_empty, False, "BEGIN")

    def _gather(self) -> None:
        """Move what is in the journal to the database."""
        self._connection(durable=True)  # before the journal, for the same reason
        for file, late in self._late():
            self._gather_from(late)
            late.close()
            with suppress(FileNotFoundError):  # another process did the same
                os.unlink(file)
        self._gather_from(self._journal)

    def _late(self) -> list[tuple[str, Journal]]:
        """Return the journals of programs that ended while the spool was locked."""
        names = os.listdir(self.directory)
        late = [name for name in names if name.startswith(files.LATE_PREFIX) and name.endswith(files.LATE_SUFFIX)]
        places = [os.path.join(self.directory, name) for name in late]
        return [(place, Journal(place, 0, self._on_problem)) for place in places]

    def _gather_from(self, source: Journal) -> None:
        with source.emptied() as rows:
            owed = [row for row in rows if not self._is_sent(row)]
            if owed:
                self._transaction(lambda connection: connection.executemany(_INSERT, owed), True, "BEGIN IMMEDIATE")

    def _is_sent(self, row: Row) -> bool:
        return not self.lifted.is_empty() and self.lifted.is_sent(mark(*row))

    def _take(self, connection: sqlite3.Connection, limit: int, holding: bytes) -> tuple[list[tuple[int, Parcel]], int]:
        """Lease parcels that are still owed; what was sent while the disk took no writing goes now."""
        damaged = 0
        while True:
            taken, more = _lease(connection, limit, holding, self._owner)
            damaged += more
            owed = [(number, parcel) for number, parcel in taken if not self._is_sent(_row(parcel))]
            _forget(connection, sorted({number for number, _ in taken} - {number for number, _ in owed}), self._owner)
            if owed or not taken:
                return owed, damaged

    def _lift(self, limit: int) -> list[tuple[bytes, Parcel]]:
        if not self.lifted.has_turn():
            return []
        found: list[tuple[bytes, Parcel]] = []
        now, size = clock.now(), 0
        with self._reading() as connection, closing(self._lying(connection, now)) as lying:
            for number, parcel in lying:
                known = mark(*_row(parcel))
                if not self.lifted.is_free(known, now):
                    continue
                size += len(parcel.body)
                if found and (size > MAX_TAKEN_BYTES or len(found) >= limit):
                    return found
                found.append((known, parcel))
                self.lifted.postpone(known, now + LEASE_SECONDS)
                self.lifted.after = number
        if not found:
            self.lifted.look_through()
        return found

    def _lying(self, connection: sqlite3.Connection, now: float) -> Generator[tuple[int, Parcel], None, None]:
        """Give what lies on the disk and is not leased: first that of the database, with its numbers."""
        after = self.lifted.after
        for number, *parts in connection.execute(_FREE, (now, MAX_POSTPONED_SECONDS, -1, b"", after)):
            after = number
            parcel = _parcel(*parts)
            if parcel is not None:
                yield number, parcel
        for source in (*(late for _, late in self._late()), self._journal):
            for path, headers, body in source.rows():
                parcel = _parcel(path.encode(), headers.encode(), body)
                if parcel is not None:
                    yield after, parcel

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Open the database to read in it, where there may be no room for SQLite's index of its log."""
        try:
            connection = self._connection(durable=False)
        except sqlite3.Error:
            if os.path.getsize(self._file + "-wal"):
                raise
            place = f"{Path(self._file).as_uri()}?immutable=1"
            with closing(sqlite3.connect(place, uri=True, isolation_level=None)) as connection:
                yield connection
        else:
            yield connection

    def _insert(self, connection: sqlite3.Connection, parcels: Sequence[Parcel]) -> list[bool]:
        kept = [self._has_room(connection, parcel) and _insert(connection, parcel) for parcel in parcels]
        if not all(kept):
            _add(connection, "dropped", kept.count(False))
        return kept

    def _tell(self, connection: sqlite3.Connection, notice: Callable[[int], Parcel]) -> bool:
        totals = dict(connection.execute("SELECT name, value FROM totals"))
        number = totals["dropped"] - totals["dropped_told"]
        if number <= 0:
            return False
        parcel = notice(number)
        if not self._has_room(connection, parcel):
            return False
        _add(connection, "dropped_told", number)
        return _insert(connection, parcel)

    def _has_room(self, connection: sqlite3.Connection, parcel: Parcel) -> bool:
        """Return whether a parcel fits. The database is measured now and then; in between it may grow by a grant."""
        cost = _cost(parcel)
        if not self._is_granted(1, cost):
            self._granted_bytes = min(self._max_bytes - _used_bytes(connection), max(_GRANT_BYTES, cost))
            self._granted_parcels = min(
                self._max_parcels - _waiting_at_most(connection, self._max_parcels), _GRANT_PARCELS
            )
        if not self._is_granted(1, cost):
            return False
        self._use(1, cost)
        return True

    def _is_granted(self, parcels: int, cost: int) -> bool:
        return self._granted_parcels >= parcels and self._granted_bytes >= cost

    def _use(self, parcels: int, cost: int) -> None:
        self._granted_parcels -= parcels
        self._granted_bytes -= cost

    def _do(
        self,
        action: Callable[[sqlite3.Connection], T],
        *,
        gathers: bool = False,
        durable: bool = False,
        begin: str = "BEGIN IMMEDIATE",
        max_wait_seconds: float = LOCK_SECONDS,
    ) -> T:
        """Run one transaction.

        Args:
            action: what is done.
            gathers: whether it must see what is still in the journal.
            durable: whether the disk is waited for.
            begin: the statement.
            max_wait_seconds: how long another action is waited for.
        """

        def work() -> T:
            if gathers:
                self._gather()
            return self._transaction(action, durable, begin)

        return self._attempt(work, max_wait_seconds)

    def _attempt(self, work: Callable[[], T], max_wait_seconds: float = LOCK_SECONDS) -> T:
        """Hold the spool and work. A corrupt database is moved aside, once, and the work done on a new one."""
        self._hold(max_wait_seconds)
        try:
            try:
                return work()
            except sqlite3.DatabaseError as error:
                if not _is_corrupt(error):
                    raise
                self._move_aside(str(error))
                return work()
        except (sqlite3.Error, OSError) as error:
            self._disconnect()
            kind = SpoolUnwritableError if _is_unwritable(error) else SpoolUnusableError
            raise kind(f"the spool {self.directory} cannot be used: {error}") from error
        finally:
            self._let_go()

    def _transaction(self, action: Callable[[sqlite3.Connection], T], durable: bool, begin: str) -> T:
        connection = self._connection(durable)
        connection.execute(begin)
        try:
            result = action(connection)
            connection.execute("COMMIT")
        except BaseException:
            self._granted_parcels = self._granted_bytes = 0
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _hold(self, max_wait_seconds: float) -> None:
        """Hold the spool for one action of this thread, which lets it go."""
        forks.notice()
        # While the interpreter ends, whoever holds the lock may never run again.
        patience = max(0.0, min(max_wait_seconds, _ENDING_SECONDS if sys.is_finalizing() else LOCK_SECONDS))
        if not self._lock.acquire(timeout=patience):
            raise SpoolBusyError(f"the spool {self.directory} has been busy for {patience:g} s")
        if self._busy:  # A signal handler interrupted an action of its own thread.
            self._lock.release()
            raise SpoolBusyError(f"the spool {self.directory} is in use by the code that was interrupted")
        self._busy = True

    def _let_go(self) -> None:
        try:
            if self._open and forks.is_before_workers():
                self._disconnect()
        finally:  # also at the very end of the stack: a spool that nobody lets go is lost
            self._busy = False
            self._lock.release()

    def _connection(self, durable: bool) -> sqlite3.Connection:
        if self._closed:
            raise OSError("it has been closed")
        if self._cut_off:
            raise OSError("this process was forked while its disk hung")
        if self._open and self._identity != _identity(self._file):
            # Somebody deleted or replaced the file: what is written into the old one would be gone.
            self._disconnect()
        if durable not in self._open:
            self._open[durable] = self._connect(durable)
        return self._open[durable]

    def _connect(self, durable: bool) -> sqlite3.Connection:
        first = not self._open
        if first:
            files.make(self._file)
        connection = sqlite3.connect(self._file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            if first:
                connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # it counts only where the file is new
                connection.executescript(_SCHEMA)
                self._identity, self._log_identity = _identity(self._file), _identity(self._file + "-wal")
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        self._granted_parcels = self._granted_bytes = 0
        self._journal.close()
        self._close_database()

    def _close_database(self) -> None:
        while self._open:
            _, connection = self._open.popitem()
            connection.close()

    def _move_aside(self, why: str) -> None:
        opened = self._identity
        self._disconnect()
        if opened is not None and opened != _identity(self._file):
            return  # Another process has moved it already; what lies there now is new.
        aside = files.move_aside(self._file, "-wal", "-shm")
        self._on_problem(f"the spool was damaged ({why}); it is kept as {aside}, and a new one is begun")

    def before_fork(self) -> bool:
        """Close the database, so that nothing of it is inherited; False if that cannot be done in time."""
        if not self._lock.acquire(timeout=_FORK_SECONDS):
            return False
        if self._busy:
            self._lock.release()
            return False
        self._disconnect()
        return True

    def after_fork_in_parent(self, before: bool) -> None:
        """Go on; the next use opens the database again."""
        if before:
            self._lock.release()

    def after_fork_in_child(self, before: bool | None) -> None:
        """Begin anew; a child that inherited a database in the midst of something must never use it."""
        is_idle = before if before is not None else self._is_idle()
        self._lock = threading.RLock()
        self._busy = False
        self._owner = os.urandom(16)
        self.lifted.forget()
        if is_idle:
            self._disconnect()
            return
        _ABANDONED.append(self._open)
        self._open = {}
        self._granted_parcels = self._granted_bytes = 0
        self._journal.close()
        self._cut_off = True

    def _is_idle(self) -> bool:
        """Return whether the database may be closed here, although a parent process had opened it.

        SQLite then believes that it holds the parent's lock, which says no more than that the database is open. If it
        was the last to close it, it would remove the log: it must be the one that it knows.
        """
        return not self._busy and (not self._open or self._log_identity == _identity(self._file + "-wal"))


_ABANDONED: list[object] = []
"""Connections of a parent process: closing them here would touch its locks."""


@lru_cache(maxsize=_MAX_CACHED_HEADERS)
def _encoded(headers: tuple[tuple[str, str], ...]) -> str:
    """Return headers as they are stored: a program's reports all have the same."""
    return _encode(headers)


def _row(parcel: Parcel) -> Row:
    return parcel.path, _encoded(parcel.headers), parcel.body


def _cost(parcel: Parcel) -> int:
    # Two rows do not share a page that both do not fit on: each may cost whole pages.
    return -(-(len(parcel.body) + len(parcel.path) + _ROW_BYTES) // _PAGE_BYTES) * _PAGE_BYTES


def _insert(connection: sqlite3.Connection, parcel: Parcel) -> bool:
    connection.execute(_INSERT, _row(parcel))
    return True


def _lease(
    connection: sqlite3.Connection, limit: int, holding: bytes, owner: bytes
) -> tuple[list[tuple[int, Parcel]], int]:
    """Return parcels, and how many others are damaged and put aside: one row that cannot be read must hold up none."""
    now = clock.now()
    cursor = connection.execute(_FREE, (now, MAX_POSTPONED_SECONDS, limit, holding, 0))
    taken: list[tuple[int, Parcel]] = []
    damaged: list[int] = []
    size = 0
    for number, *parts in cursor:
        parcel = _parcel(*parts)
        if parcel is None:
            damaged.append(number)
            continue
        size += len(parcel.body)
        if taken and size > MAX_TAKEN_BYTES:
            break
        taken.append((number, parcel))
    cursor.close()
    due = now + LEASE_SECONDS
    leases = [(number, owner, due) for number in (*damaged, *(number for number, _ in taken))]
    connection.executemany("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", leases)
    for number in damaged:
        _put_aside(connection, number, "it was damaged on the disk", owner)
    return taken, len(damaged)


def _parcel(path: bytes | None, headers: bytes | None, body: bytes | None) -> Parcel | None:
    """Return a row as a parcel, None if it is damaged."""
    if path is None or headers is None or body is None:
        return None
    try:
        return Parcel(path.decode(), body, tuple((str(name), str(value)) for name, value in json.loads(headers)))
    except (ValueError, TypeError, RecursionError):
        return None


def _refused(connection: sqlite3.Connection) -> list[Refused]:
    statement = "SELECT CAST(path AS BLOB), CAST(body AS BLOB), reason, refused_at FROM refused ORDER BY id DESC"
    rows = connection.execute(statement)
    return [Refused(path.decode("utf-8", "replace"), body, reason, at) for path, body, reason, at in rows]


def _forget(connection: sqlite3.Connection, ids: Sequence[int], owner: bytes) -> None:
    rows = [(number, owner) for number in ids]
    connection.executemany(
        "DELETE FROM parcels WHERE id = ?1 AND EXISTS (SELECT 1 FROM leases WHERE id = ?1 AND owner = ?2)", rows
    )
    connection.executemany("DELETE FROM leases WHERE id = ? AND owner = ?", rows)


def _put_aside(connection: sqlite3.Connection, number: int, reason: str, owner: bytes) -> None:
    kept = connection.execute(
        "INSERT INTO refused (path, body, reason, refused_at)"
        " SELECT ifnull(path, ''), substr(ifnull(body, x''), 1, ?1), ?2, ?3 FROM parcels"
        " WHERE id = ?4 AND EXISTS (SELECT 1 FROM leases WHERE id = ?4 AND owner = ?5)",
        (MAX_REFUSED_BODY_BYTES, reason, clock.now(), number, owner),
    )
    if kept.rowcount > 0:
        _add(connection, "refused", 1)
    _forget(connection, (number,), owner)
    connection.execute(
        "DELETE FROM refused WHERE id NOT IN (SELECT id FROM refused ORDER BY id DESC LIMIT ?)", (MAX_REFUSED,)
    )


def _add(connection: sqlite3.Connection, name: str, number: int) -> None:
    connection.execute("UPDATE totals SET value = value + ? WHERE name = ?", (number, name))


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM parcels LIMIT 1").fetchone() is None


def _counts(connection: sqlite3.Connection) -> SpoolCounts:
    (waiting,) = connection.execute("SELECT count(*) FROM parcels").fetchone()
    totals = dict(connection.execute("SELECT name, value FROM totals"))
    return SpoolCounts(waiting, totals["refused"], totals["dropped"])


def _used_bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _waiting_at_most(connection: sqlite3.Connection, limit: int) -> int:
    """Return a number that waiting parcels do not exceed; they are counted only where the guess would forbid a put."""
    # Two selects: one that asks for both ends reads the whole table.
    (guess,) = connection.execute("SELECT (SELECT max(id) FROM parcels) - (SELECT min(id) FROM parcels) + 1").fetchone()
    if guess is None or guess < limit:
        return guess or 0
    return int(connection.execute("SELECT count(*) FROM parcels").fetchone()[0])


def _is_corrupt(error: sqlite3.DatabaseError) -> bool:
    # SQLITE_CORRUPT and SQLITE_NOTADB arrive as the base class; what may pass by itself is an OperationalError.
    return type(error) is sqlite3.DatabaseError


def _is_unwritable(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return str(error) in ("database or disk is full", "attempt to write a readonly database", "disk I/O error")


def _identity(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _ignore(_: str) -> None:
    return
