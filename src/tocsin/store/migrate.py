"""Migrations: numbered SQL files, forward only, each in its own transaction, all under one lock; then the hardening.

The migrations run as tocsin_owner. The hardening, which holds that very role back afterwards, takes a superuser: where
the sign-in is one it is installed by itself, and suspended within the transaction of each later migration.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql

from tocsin.errors import Code, refuse
from tocsin.store import guards
from tocsin.store.database import SCHEMA, Tx

_log = logging.getLogger(__name__)

_FILE = re.compile(r"^(\d{4})_(\w+)\.sql$")
_LOCK_KEY = 0x70C51
"""The advisory lock under which migrations run; any constant of our own will do."""
OLDEST_SERVER = 150_000
CONNECT_TIMEOUT_SECONDS = 10
MOST_NAMED = 5
HARDENED = "TC007"
TRAPPED = "TC008"
"""The SQLSTATEs of hardening.sql: the schema is hardened; somebody else owns where that would be installed."""
_LET_A_SUPERUSER = (
    "Let a superuser run SELECT tocsin_guard.suspend() before, and what `tocsin migrate --print-hardening` prints "
    "after it; or give TOCSIN_MIGRATE_DATABASE_URL a superuser."
)

_CREATE_HISTORY = b"""
CREATE TABLE IF NOT EXISTS tocsin.schema_migrations
    (version integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL,
     applied_at timestamptz NOT NULL DEFAULT now())
"""

# A sign-in that inherits nothing sees the schema only as the role that it may become, as on the pool's connections.
_BECOME_APPLICATION = b"""
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'tocsin_app') THEN
        IF pg_has_role(session_user, 'tocsin_app', 'MEMBER') THEN SET ROLE tocsin_app; END IF;
    END IF;
END $$
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, its name and its text."""

    version: int
    name: str
    text: str

    @property
    def label(self) -> str:
        """Return how people call it: `0001_core`."""
        return f"{self.version:04d}_{self.name}"

    @property
    def sha256(self) -> str:
        """Return the hash by which an edited file is noticed."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Version:
    version: int


def migrations() -> list[Migration]:
    """Return every migration of this version of Tocsin, in order."""
    folder = resources.files("tocsin.store").joinpath("migrations")
    found = [(match, entry) for entry in folder.iterdir() if (match := _FILE.match(entry.name))]
    return sorted(
        (Migration(int(match[1]), match[2], entry.read_text("utf-8")) for match, entry in found),
        key=lambda migration: migration.version,
    )


async def migrate(conninfo: str) -> list[str]:
    """Bring the schema up to date; return the names of what was applied. Several at once wait for each other.

    Raises MISCONFIGURED when the server is older than 15, the sign-in may not create roles or schemas, or the
    schema was made by a newer Tocsin.
    """
    async with _connected(conninfo) as connection:
        _check_server(connection)
        await connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK_KEY])
        try:
            await _prepare_owner(connection)
            applied = await _applied(connection)
            _refuse_newer(applied)
            pending = _pending(applied)
            superuser = await _is_superuser(connection)
            suspending = superuser and bool(pending) and await _is_hardened_and_whole(connection)
            for migration in pending:
                await _apply(connection, migration, suspending=suspending)
            if superuser:
                await _harden(connection)
        except psycopg.errors.InsufficientPrivilege as error:
            raise refuse(
                Code.MISCONFIGURED,
                f"The database sign-in may not set up the schema: {error.diag.message_primary}",
                "Give TOCSIN_MIGRATE_DATABASE_URL a role with CREATEROLE that owns the database; "
                "docs/how-to/own-postgresql.md has the statements for your administrator.",
            ) from None
        except psycopg.DatabaseError as error:
            if error.sqlstate not in (HARDENED, TRAPPED):
                raise
            said = f"The database may not be migrated: {error.diag.message_primary}"
            hint = error.diag.message_hint if error.sqlstate == TRAPPED else None
            raise refuse(Code.MISCONFIGURED, said, hint or _LET_A_SUPERUSER) from None
    return [migration.label for migration in pending]


async def pending_migrations(conninfo: str) -> list[str]:
    """Return the names of migrations that this database still lacks.

    A database that a newer Tocsin has migrated lacks nothing: during an upgrade old processes run beside new ones.
    """
    async with _connected(conninfo) as connection:
        _check_server(connection)
        try:
            await connection.execute(_BECOME_APPLICATION)
            return [migration.label for migration in _pending(await _applied(connection))]
        except psycopg.errors.InsufficientPrivilege as error:
            raise refuse(
                Code.MISCONFIGURED,
                f"The database sign-in may not use the schema: {error.diag.message_primary}",
                "Let your administrator run: GRANT tocsin_app TO the role of TOCSIN_DATABASE_URL.",
            ) from None


async def lacking(tx: Tx) -> list[str]:
    """Return the names of migrations that the database of an open transaction lacks."""
    applied = await tx.rows(b"SELECT version FROM schema_migrations", _Version)
    versions = {row.version for row in applied}
    return [migration.label for migration in migrations() if migration.version not in versions]


@asynccontextmanager
async def _connected(conninfo: str) -> AsyncIterator[AsyncConnection[Any]]:
    """Connect; raise UNAVAILABLE when the database cannot be reached, MISCONFIGURED when that is no database's URL."""
    try:
        connection = await AsyncConnection.connect(conninfo, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS)
        async with connection:
            yield connection
    except psycopg.OperationalError as error:
        raise refuse(
            Code.UNAVAILABLE,
            f"The database cannot be used: {' '.join(str(error).split())}",
            "See that it runs and that TOCSIN_DATABASE_URL is right; without one, the embedded database is used.",
        ) from error
    except psycopg.ProgrammingError as error:
        if error.sqlstate is not None:
            raise
        # libpq quotes what it could not read, and that may hold the password: its words are not repeated.
        raise refuse(
            Code.MISCONFIGURED,
            "TOCSIN_DATABASE_URL or TOCSIN_MIGRATE_DATABASE_URL cannot be read as a database's URL.",
            "It looks like postgresql://user:password@host:5432/tocsin.",
        ) from None


def _check_server(connection: AsyncConnection[Any]) -> None:
    if connection.info.server_version < OLDEST_SERVER:
        raise refuse(
            Code.MISCONFIGURED,
            f"PostgreSQL {connection.info.server_version // 10000} is too old: Tocsin needs 15 or newer.",
            "Point TOCSIN_DATABASE_URL at a newer server, or unset it to use the embedded one.",
        )


async def _prepare_owner(connection: AsyncConnection[Any]) -> None:
    roles = resources.files("tocsin.store").joinpath("migrations", "roles.sql").read_bytes()
    await connection.execute(roles)
    await connection.execute("SET ROLE tocsin_owner")
    if await _has_history(connection):
        return
    await connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SCHEMA)))
    await connection.execute(_CREATE_HISTORY)
    await connection.execute(b"GRANT USAGE ON SCHEMA tocsin TO tocsin_app")
    await connection.execute(b"GRANT SELECT ON tocsin.schema_migrations TO tocsin_app")


async def _has_history(connection: AsyncConnection[Any]) -> bool:
    cursor = await connection.execute("SELECT to_regclass('tocsin.schema_migrations') IS NOT NULL")
    return (await cursor.fetchone() or (False,))[0] is True


async def _applied(connection: AsyncConnection[Any]) -> dict[int, str]:
    if not await _has_history(connection):
        return {}
    cursor = await connection.execute("SELECT version, sha256 FROM tocsin.schema_migrations")
    return dict(await cursor.fetchall())


def _refuse_newer(applied: dict[int, str]) -> None:
    if unknown := sorted(set(applied) - {migration.version for migration in migrations()}):
        raise refuse(
            Code.MISCONFIGURED,
            f"The database has migration {unknown[-1]:04d}, which this version of Tocsin does not know.",
            "A newer Tocsin has migrated it: use that version or a newer one.",
        )


def _pending(applied: dict[int, str]) -> list[Migration]:
    known = {migration.version: migration for migration in migrations()}
    for version, sha256 in applied.items():
        if version in known and known[version].sha256 != sha256:
            raise refuse(
                Code.MISCONFIGURED,
                f"Migration {version:04d} was applied with another text than this version of Tocsin carries.",
                "Applied migrations never change: install the released package, and look at what was edited.",
            )
    return [migration for version, migration in sorted(known.items()) if version not in applied]


async def _apply(connection: AsyncConnection[Any], migration: Migration, *, suspending: bool) -> None:
    async with connection.transaction():
        if suspending:
            await _as_superuser(connection, b"SELECT tocsin_guard.suspend()")
        await connection.execute("SET LOCAL search_path = tocsin")
        await connection.execute(migration.text.encode())
        await connection.execute(
            "INSERT INTO tocsin.schema_migrations (version, name, sha256) VALUES (%s, %s, %s)",
            [migration.version, migration.name, migration.sha256],
        )
        if suspending:
            await _as_superuser(connection, b"SELECT tocsin_guard.resume()")


async def _as_superuser(connection: AsyncConnection[Any], statements: bytes) -> None:
    """Run statements as the superuser who signed in, and be the owner again; within a transaction."""
    await connection.execute("SET LOCAL ROLE NONE")
    await connection.execute(statements)
    await connection.execute("SET LOCAL ROLE tocsin_owner")


async def _is_superuser(connection: AsyncConnection[Any]) -> bool:
    cursor = await connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = session_user")
    return (await cursor.fetchone() or (False,))[0] is True


async def _is_hardened_and_whole(connection: AsyncConnection[Any]) -> bool:
    """Say whether there is a hardening to suspend; raise MISCONFIGURED when what it holds was changed meanwhile.

    To set it again would make somebody's change look like ours.
    """
    async with connection.transaction():
        found = await guards.read(Tx(connection))
    if not found.armed:
        return False
    if not found.unchanged_since_hardened:
        raise refuse(
            Code.MISCONFIGURED,
            "The schema is not what it was when it was hardened; it is not migrated before that is understood.",
            "See what differs: SELECT * FROM tocsin_guard.differences(); mend it, or accept it with "
            "SELECT tocsin_guard.resume(), as a superuser.",
        )
    return True


async def _harden(connection: AsyncConnection[Any]) -> None:
    """Harden the schema against its owner, unless that is done or the schema is not as its migrations make it."""
    async with connection.transaction():
        found = await guards.read(Tx(connection))
        wrong = guards.faults(found)
        if found.hardened and found.baseline_is_current and not wrong:
            return
        if strange := [name for name in wrong if not guards.is_of_hardening(name)]:
            _log.error(
                "The schema is not hardened, for %s things are not as its migrations make them: %s%s",
                len(strange),
                "; ".join(strange[:MOST_NAMED]),
                " …" if len(strange) > MOST_NAMED else "",
            )
            return
        await _as_superuser(connection, guards.hardening())
