"""Who attacks the record, what they must not change, and how it is seen that they were refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from tests.store.conftest import LivedDatabase
from tests.support.by_hand import Connection, columns_of, connected
from tocsin.domain.disclosure import BESIDE
from tocsin.store.verification import DETAIL_TABLES

RECORD = (*DETAIL_TABLES, "incident_lifecycle")
GUARDED = (*RECORD, "audit_access_log", "attempts_begun", "delivery_attempts")
DERIVED = ("incident_heads", "incident_tallies", "audit_logs")
NO_RIGHT, IMMUTABLE, OUT_OF_ORDER, NOT_WHAT_THE_BYTES_SAY = "42501", "TC001", "TC002", "TC003"
NOT_WHOLE, HARDENED = "TC005", "TC007"
UNIQUE, CHECK = "23505", "23514"


def digest(connection: Connection) -> str:
    """Return a hash over everything that no attack may change."""
    tables = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {name} || t::text FROM {table} t").format(name=table, table=sql.Identifier(table))
        for table in (*GUARDED, *DERIVED)
    )
    row = connection.execute(
        sql.SQL("SELECT string_agg(line, E'\\n' ORDER BY line) AS all FROM ({}) AS every(line)").format(tables)
    ).fetchone()
    assert row is not None
    return hashlib.sha256(row["all"].encode()).hexdigest()


@contextmanager
def nothing_changes(lived: LivedDatabase) -> Iterator[None]:
    """Compare everything before and after, as somebody who sees it all."""
    with connected(lived.server, lived.name) as superuser:
        before = digest(superuser)
        yield
        assert digest(superuser) == before


@contextmanager
def application(lived: LivedDatabase) -> Iterator[Connection]:
    """Sign in as the application."""
    with connected(lived.server, lived.name, user="tocsin_app") as connection:
        yield connection


@contextmanager
def overgranted_application(lived: LivedDatabase) -> Iterator[Connection]:
    """Be the application on the day when an administrator granted it everything: the triggers stand alone."""
    with connected(lived.server, lived.name) as connection, connection.transaction(force_rollback=True):
        connection.execute("SELECT tocsin_guard.suspend()")
        connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA tocsin TO tocsin_app")
        connection.execute("SET LOCAL ROLE tocsin_app")
        yield connection


@contextmanager
def owner(lived: LivedDatabase) -> Iterator[Connection]:
    """Be the schema's owner, to whom PostgreSQL grants everything on it."""
    with connected(lived.server, lived.name) as connection:
        connection.execute("SET ROLE tocsin_owner")
        yield connection


@contextmanager
def owner_of_a_replica(lived: LivedDatabase) -> Iterator[Connection]:
    """Be the owner in a session where ordinary triggers sleep."""
    with connected(lived.server, lived.name) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET ROLE tocsin_owner")
        yield connection


@contextmanager
def unhardened_owner(lived: LivedDatabase) -> Iterator[Connection]:
    """Be the owner where no superuser ever hardened the schema, in a transaction that is taken back."""
    with connected(lived.server, lived.name) as connection, connection.transaction(force_rollback=True):
        connection.execute("SELECT tocsin_guard.suspend()")
        connection.execute("SET LOCAL ROLE tocsin_owner")
        yield connection


PARTIES = {
    "application": (application, NO_RIGHT),
    "overgranted application": (overgranted_application, IMMUTABLE),
    "owner": (owner, IMMUTABLE),
    "owner of a replica": (owner_of_a_replica, IMMUTABLE),
}


@contextmanager
def refusal(connection: Connection, *states: str, saying: str | None = None) -> Iterator[None]:
    """Run the block in a transaction that must be refused, at its commit at the latest, with one of these SQLSTATEs."""
    with pytest.raises(psycopg.Error, match=saying) as caught, connection.transaction():
        yield
    assert caught.value.sqlstate in states, caught.value


def refused(connection: Connection, statement: sql.Composed | sql.SQL | LiteralString, *states: str) -> None:
    """Run a statement that must be refused."""
    with refusal(connection, *states):
        connection.execute(statement)
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")


def table_column(connection: Connection, table: str) -> str:
    """Return the last column that can be written."""
    row = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND attgenerated = ''"
        " ORDER BY attnum DESC LIMIT 1",
        [table],
    ).fetchone()
    assert row is not None
    return str(row["attname"])


def recorded(connection: Connection, table: str) -> dict[str, Any]:
    """Return a row of a table as it would be sealed."""
    query = sql.SQL("SELECT {} FROM {} LIMIT 1").format(columns_of(connection, table), sql.Identifier(table))
    row = connection.execute(query).fetchone()
    assert row is not None
    return {name: value for name, value in row.items() if name not in BESIDE}


OF_TYPE: dict[str, object] = {
    "uuid": UUID(int=1),
    "text": "something else",
    "timestamptz": datetime.fromisoformat("2001-02-03T04:05:06.789012+00:00"),
    "instant": datetime.fromisoformat("2001-02-03T04:05:06.789012+00:00"),
    "int4": 424242,
    "int8": 424242,
    "bytea": b"\x01",
    "jsonb": [{"title": "something else"}],
    "_text": ["something else"],
}


def another(value: object, type_name: str) -> object:
    """Return another value of the same type, as near as possible."""
    match value:
        case bool():
            return not value
        case datetime():
            return value + timedelta(microseconds=1)
        case dict():
            return value | {"more": 1}
        case _ if type_name == "bool":
            return True
        case _:
            return OF_TYPE[type_name]
