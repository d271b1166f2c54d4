"""What is owed to the server, on disk: a directory with one SQLite database, shared by threads and processes.

`put` returns True only after the commit has reached the disk. Everything else (leases, what is done) is written without
waiting for the disk: after a power cut a parcel may be sent twice, and the server knows it by its event id.

Over a fork no connection is open: it is closed before and opened again on both sides. SQLite keeps its locks per
process, and a child that inherits them believes that it holds what it does not.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Callable, TypeVar

from tocsin_sdk import clock, forks

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

_FILE = "spool.db"
_BUSY_SECONDS = 5.0
_ENDING_SECONDS = 0.2
_FORK_SECONDS = 1.0
_PAGE_BYTES = 8_192
"""Three reports of the usual size fit on a page: of half of it SQLite would write three for each of them."""
_CHECKPOINT_PAGES = 128
"""A commit is quickest where the log does not grow: it is begun anew after 1 MiB, and not after SQLite's 4."""
_GRANT_PARCELS = 64
_GRANT_BYTES = 1_048_576
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

T = TypeVar("T")
_encode = json.JSONEncoder(separators=(",", ":")).encode


class SpoolUnusableError(OSError):
    """The spool's directory or database cannot be used now; the text says why."""


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
            max_bytes: of the database; what is put beyond it is dropped and counted.
            max_parcels: that wait at one time.
            on_problem: is told of a corrupt database that was moved aside.
        """
        self._open: dict[bool, sqlite3.Connection] = {}
        self.directory = os.path.abspath(os.fspath(directory))
        self._file = os.path.join(self.directory, _FILE)
        self._max_bytes, self._max_parcels = max_bytes, max_parcels
        self._on_problem = on_problem
        self._lock = threading.RLock()
        self._identity: tuple[int, int] | None = None
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
        # A statement alone is a transaction by itself, and three are slower than one.
        begin = "" if len(parcels) == 1 else "BEGIN IMMEDIATE"
        return self._do(lambda connection: self._insert(connection, parcels), durable=True, begin=begin)

    def take(self, limit: int) -> list[tuple[int, Parcel]]:
        """Return the oldest parcels that nobody else has, and lease them for LEASE_SECONDS."""
        return self._do(lambda connection: _lease(connection, limit, self._owner))

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
        statement = "SELECT path, body, reason, refused_at FROM refused ORDER BY id DESC"
        return self._do(lambda connection: [Refused(*row) for row in connection.execute(statement)], begin="BEGIN")

    def is_empty(self, max_wait_seconds: float = LOCK_SECONDS) -> bool:
        """Return whether nothing waits, leased or not; False as well if that cannot be seen in time."""
        try:
            return self._do(_is_empty, begin="BEGIN", max_wait_seconds=max_wait_seconds)
        except SpoolBusyError:
            return False

    def counts(self) -> SpoolCounts:
        """Return how the spool stands."""
        return self._do(_counts, begin="BEGIN")

    def add_dropped(self, number: int) -> None:
        """Count parcels that were lost before they came here."""
        self._do(lambda connection: _add(connection, "dropped", number))

    def tell_dropped(self, notice: Callable[[int], Parcel]) -> bool:
        """Keep the notice of what was dropped since the last one; False if nothing was, or it found no room itself."""
        return self._do(lambda connection: self._tell(connection, notice), durable=True)

    def close(self, max_wait_seconds: float = LOCK_SECONDS) -> None:
        """Close the database. Nothing is lost; what still waits is sent by whoever opens the directory next."""
        self._hold(max_wait_seconds)
        try:
            self._closed = True
            self._disconnect()
        finally:
            self._let_go()

    def __del__(self) -> None:
        """Close what was not closed: a connection is part of a cycle, and might live on until after a fork."""
        self._disconnect()

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
        # Two rows do not share a page that both do not fit on: each may cost whole pages.
        cost = -(-(len(parcel.body) + len(parcel.path) + _ROW_BYTES) // _PAGE_BYTES) * _PAGE_BYTES
        if self._granted_parcels < 1 or self._granted_bytes < cost:
            self._granted_bytes = min(self._max_bytes - _used_bytes(connection), max(_GRANT_BYTES, cost))
            self._granted_parcels = min(
                self._max_parcels - _waiting_at_most(connection, self._max_parcels), _GRANT_PARCELS
            )
        if self._granted_parcels < 1 or self._granted_bytes < cost:
            return False
        self._granted_parcels -= 1
        self._granted_bytes -= cost
        return True

    def _do(
        self,
        action: Callable[[sqlite3.Connection], T],
        *,
        durable: bool = False,
        begin: str = "BEGIN IMMEDIATE",
        max_wait_seconds: float = LOCK_SECONDS,
    ) -> T:
        """Run one transaction. A corrupt database is moved aside, once, and the action runs on a new one.

        Args:
            action: what is done.
            durable: whether the disk is waited for.
            begin: the statement; "" for an action that writes with one statement, and needs none.
            max_wait_seconds: how long another action is waited for.
        """
        self._hold(max_wait_seconds)
        try:
            try:
                return self._transaction(action, durable, begin)
            except sqlite3.DatabaseError as error:
                if not _is_corrupt(error):
                    raise
                self._move_aside(str(error))
                return self._transaction(action, durable, begin)
        except (sqlite3.Error, OSError) as error:
            self._disconnect()
            raise SpoolUnusableError(f"the spool {self.directory} cannot be used: {error}") from error
        finally:
            self._let_go()

    def _transaction(self, action: Callable[[sqlite3.Connection], T], durable: bool, begin: str) -> T:
        connection = self._connection(durable)
        if begin:
            connection.execute(begin)
        try:
            result = action(connection)
            if begin:
                connection.execute("COMMIT")
        except BaseException:
            self._granted_parcels = self._granted_bytes = 0
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _hold(self, max_wait_seconds: float) -> None:
        """Hold the spool for one action of this thread, which lets it go."""
        # While the interpreter ends, whoever holds the lock may never run again.
        patience = max(0.0, min(max_wait_seconds, _ENDING_SECONDS if sys.is_finalizing() else LOCK_SECONDS))
        if not self._lock.acquire(timeout=patience):
            raise SpoolBusyError(f"the spool {self.directory} has been busy for {patience:g} s")
        if self._busy:  # A signal handler interrupted an action of its own thread.
            self._lock.release()
            raise SpoolBusyError(f"the spool {self.directory} is in use by the code that was interrupted")
        self._busy = True

    def _let_go(self) -> None:
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
            _make_file(self.directory, self._file)
        connection = sqlite3.connect(self._file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            if first:
                connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # it counts only where the file is new
                connection.executescript(_SCHEMA)
                self._identity = _identity(self._file)
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        self._granted_parcels = self._granted_bytes = 0
        while self._open:
            _, connection = self._open.popitem()
            connection.close()

    def _move_aside(self, why: str) -> None:
        opened = self._identity
        self._disconnect()
        if opened is not None and opened != _identity(self._file):
            return  # Another process has moved it already; what lies there now is new.
        aside = f"{self._file}.corrupt-{round(clock.now())}-{os.getpid()}"
        for suffix in ("-wal", "-shm", ""):
            if os.path.exists(self._file + suffix):
                os.replace(self._file + suffix, aside + suffix)
        if self._on_problem:
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

    def after_fork_in_child(self, before: bool) -> None:
        """Begin anew; a child that inherited an open database must never use it."""
        self._lock = threading.RLock()
        self._busy = False
        self._owner = os.urandom(16)
        if not before:
            _ABANDONED.append(self._open)
            self._open = {}
            self._cut_off = True


_ABANDONED: list[object] = []
"""Connections of a parent process: closing them here would touch its locks."""


@lru_cache(maxsize=_MAX_CACHED_HEADERS)
def _encoded(headers: tuple[tuple[str, str], ...]) -> str:
    """Return headers as they are stored: a program's reports all have the same."""
    return _encode(headers)


def _insert(connection: sqlite3.Connection, parcel: Parcel) -> bool:
    connection.execute(
        "INSERT INTO parcels (path, headers, body) VALUES (?, ?, ?)",
        (parcel.path, _encoded(parcel.headers), parcel.body),
    )
    return True


def _lease(connection: sqlite3.Connection, limit: int, owner: bytes) -> list[tuple[int, Parcel]]:
    now = clock.now()
    cursor = connection.execute(
        "SELECT id, path, headers, body FROM parcels"
        " WHERE id NOT IN (SELECT id FROM leases WHERE due > ?1 AND due <= ?1 + ?2) ORDER BY id LIMIT ?3",
        (now, MAX_POSTPONED_SECONDS, limit),
    )
    taken: list[tuple[int, Parcel]] = []
    size = 0
    for number, path, headers, body in cursor:
        size += len(body)
        if taken and size > MAX_TAKEN_BYTES:
            break
        taken.append((number, Parcel(path, body, tuple((name, value) for name, value in json.loads(headers)))))
    cursor.close()
    due = now + LEASE_SECONDS
    connection.executemany(
        "INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", [(number, owner, due) for number, _ in taken]
    )
    return taken


def _forget(connection: sqlite3.Connection, ids: Sequence[int], owner: bytes) -> None:
    rows = [(number, owner) for number in ids]
    connection.executemany(
        "DELETE FROM parcels WHERE id = ?1 AND EXISTS (SELECT 1 FROM leases WHERE id = ?1 AND owner = ?2)", rows
    )
    connection.executemany("DELETE FROM leases WHERE id = ? AND owner = ?", rows)


def _put_aside(connection: sqlite3.Connection, number: int, reason: str, owner: bytes) -> None:
    kept = connection.execute(
        "INSERT INTO refused (path, body, reason, refused_at) SELECT path, substr(body, 1, ?1), ?2, ?3 FROM parcels"
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


def _identity(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make_file(directory: str, file: str) -> None:
    """Make the directory and an empty database that nobody else may read; both survive a power cut."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    if os.path.exists(file):
        return
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    if os.name == "posix":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
