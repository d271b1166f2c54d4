"""Writes the list of guards that the migrations make: `python -m tools.guards`. A test fails when it is out of date.

Run it after each change of a migration, and read the difference: it is what `tocsin verify --db` will insist on.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import psycopg
from psycopg.rows import class_row

import tocsin.store
from tocsin import embedded
from tocsin.store import guards
from tocsin.store.guards import Guard
from tocsin.store.migrate import migrate

FILE = Path(tocsin.store.__file__).parent / "migrations" / guards.MANIFEST


def made(conninfo: str) -> str:
    """Return the list for a migrated database; hardens it, as a superuser."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(guards.hardening())
        connection.execute("SET search_path = pg_catalog, pg_temp")
        with connection.cursor(row_factory=class_row(Guard)) as cursor:
            return guards.manifest_of(cursor.execute(guards.QUERIES["state"]).fetchall())


def main() -> None:
    """Migrate an empty database and write down what is in it."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)  # root runs the server as somebody else
        with embedded.use(Path(directory)) as server:
            conninfo = server.conninfo(server.superuser, "postgres")
            asyncio.run(migrate(conninfo))
            FILE.write_text(made(conninfo), "utf-8")


if __name__ == "__main__":
    main()
