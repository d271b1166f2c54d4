"""Loads histories with COPY from several processes, the guards switched off meanwhile as only a superuser can."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from bench.support.progress import progress, say
from bench.support.rows import Rows
from tocsin.domain.disclosure import BESIDE, commitments
from tocsin.domain.sealing import canonical_bytes
from tocsin.store.verification import DETAIL_TABLES

LOADERS = 4
"""Twice the cores: while one makes rows, PostgreSQL takes those of another."""
CHUNK_INCIDENTS = 2_000
SAMPLED_ROWS = 200
FOR_LOADING = {
    "max_wal_size": "16GB",
    "checkpoint_timeout": "30min",
    "maintenance_work_mem": "512MB",
    "autovacuum": "off",
}
"""Settings of the server while it is loaded; what is measured runs with the product's own."""

_TRIGGERS = """
SELECT c.relname, t.tgname, t.tgenabled::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = 'tocsin'::regnamespace ORDER BY 1, 2
"""
_SETTLE = (
    """INSERT INTO incident_tallies
       SELECT status, current_severity, count(*) FROM incident_heads GROUP BY status, current_severity""",
    "SELECT setval('incident_number', (SELECT max(number) FROM incidents))",
    """UPDATE users u SET incident_ack_count = a.count, last_incident_ack_id = a.last
       FROM (SELECT ack_by_user_id, count(*), (array_agg(id ORDER BY ack_at DESC, id))[1] AS last
             FROM incident_acknowledgments GROUP BY ack_by_user_id) a
       WHERE u.id = a.ack_by_user_id""",
    """INSERT INTO log_pending (entry_id, incident_id, number, sequence, leaf_hash, waiting_since)
       SELECT e.id, i.id, i.number, e.sequence, e.checksum, e.event_at
       FROM incident_lifecycle e JOIN incidents i ON i.id = e.incident_id ORDER BY e.event_at, i.number, e.sequence""",
)

Triggers = list[tuple[str, str, str]]
Write = Callable[[range], Rows]
"""Gives every row of the incidents of these numbers, in any process: it travels by pickle."""


def load(superuser: str, incidents: int, write: Write) -> None:
    """Load so many incidents into a migrated database without incidents, and analyse it."""
    with _connect(superuser) as connection, _guards_off(connection):
        _copy_all(superuser, incidents, write)
        say("Counting, vacuuming, analysing…")
        for statement in _SETTLE:
            connection.execute(statement.encode())
    with _connect(superuser) as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


def check_sample(superuser: str) -> None:
    """Hold some rows of each guarded table against the product's own seal; raise RuntimeError if one differs."""
    with psycopg.connect(superuser, options="-c search_path=tocsin", row_factory=dict_row) as connection:
        for table in (*DETAIL_TABLES, "incident_lifecycle"):
            query = sql.SQL("SELECT * FROM {} TABLESAMPLE BERNOULLI (10) LIMIT {}")
            for row in connection.execute(query.format(sql.Identifier(table), SAMPLED_ROWS)):
                canonical, disclosures = row["canonical"], row.get("disclosures")
                committed = commitments(disclosures) if disclosures is not None else None
                columns = {name: value for name, value in row.items() if name not in BESIDE}
                if canonical_bytes(table, columns, committed) != canonical:
                    raise RuntimeError(f"{table} {row['id']} is not what the product would have recorded")


def _connect(conninfo: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(conninfo, autocommit=True, options="-c search_path=tocsin -c timezone=UTC")


@contextmanager
def _guards_off(connection: psycopg.Connection[tuple[object, ...]]) -> Iterator[None]:
    """Switch every trigger off and afterwards each one back to what it was; raise RuntimeError if one is not."""
    before = _triggers(connection)
    tables = sorted({table for table, _, _ in before})
    connection.execute("SELECT tocsin_guard.suspend()")
    for table in tables:
        connection.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER ALL").format(sql.Identifier(table)))
    try:
        yield
    finally:
        for table in tables:
            connection.execute(sql.SQL("ALTER TABLE {} ENABLE TRIGGER ALL").format(sql.Identifier(table)))
        for table, trigger, enabled in before:
            if enabled == "A":
                always = sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}")
                connection.execute(always.format(sql.Identifier(table), sql.Identifier(trigger)))
        if _triggers(connection) != before:
            raise RuntimeError("the triggers are not what they were before loading: do not measure this database")
        connection.execute("SELECT tocsin_guard.resume()")


def _triggers(connection: psycopg.Connection[tuple[object, ...]]) -> Triggers:
    return [(str(table), str(name), str(enabled)) for table, name, enabled in connection.execute(_TRIGGERS.encode())]


def _copy_all(superuser: str, incidents: int, write: Write) -> None:
    chunks = [
        range(first, min(first + CHUNK_INCIDENTS, incidents + 1)) for first in range(1, incidents + 1, CHUNK_INCIDENTS)
    ]
    processes = multiprocessing.get_context("spawn")
    with (
        progress("Loading incidents", incidents) as advance,
        processes.Pool(LOADERS, _Loader.start, (superuser, write)) as pool,
    ):
        for loaded in pool.imap_unordered(_Loader.load_chunk, chunks):
            advance(loaded)


class _Loader:
    """One loading process: its connection, and what writes the rows, set once when it starts."""

    connection: psycopg.Connection[tuple[object, ...]]
    write: Write

    @classmethod
    def start(cls, superuser: str, write: Write) -> None:
        cls.connection = _connect(superuser)
        cls.write = staticmethod(write)

    @classmethod
    def load_chunk(cls, numbers: range) -> int:
        _copy(cls.connection, cls.write(numbers))
        return len(numbers)


def _copy(connection: psycopg.Connection[tuple[object, ...]], rows: Rows) -> None:
    with connection.transaction():
        for table, lines in rows.lines.items():
            columns = sql.SQL(", ").join(map(sql.Identifier, rows.columns[table]))
            statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write(("\n".join(lines) + "\n").encode())
