"""The store is tested on the embedded server and on Debian's PostgreSQL 15, on databases that have lived."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql

from tests.support.by_hand import connected
from tests.support.clock import FakeClock
from tests.support.databases import TEMPLATE, clone, prepare_template
from tests.support.lives import Lived, application, live
from tests.support.servers import SYSTEM_BINARIES, Server, embedded_server, system_server
from tocsin.store.verification import DETAIL_TABLES


@pytest.fixture(scope="session", params=["embedded", pytest.param("PostgreSQL 15", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Both servers in turn (the other one in the whole run only), each with the template database."""
    if request.param != "embedded" and not SYSTEM_BINARIES.exists():
        pytest.skip(f"there is no PostgreSQL 15 in {SYSTEM_BINARIES}")
    with (embedded_server if request.param == "embedded" else system_server)() as running:
        prepare_template(running)
        yield running


@dataclass(frozen=True, slots=True)
class LivedDatabase:
    """A database that has lived, and the incidents in it."""

    server: Server
    name: str
    lived: Lived


@contextmanager
def copied(server: Server, template: str) -> Iterator[str]:
    """Give a copy of a database. A copy has the rights within the database, not those on it: they are given anew."""
    with clone(server, template) as name:
        with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"GRANT CREATE ON DATABASE {name} TO tocsin_owner".encode())
        yield name


@pytest.fixture(scope="session")
def past(server: Server) -> Iterator[LivedDatabase]:
    """A database with an incident at each stage; nobody connects to it, so that it can be copied."""
    clock = FakeClock()

    async def fill(name: str) -> Lived:
        async with application(server, name, clock, session_blocking=True) as app:
            return await live(app, clock)

    with copied(server, TEMPLATE) as name:
        yield LivedDatabase(server, name, asyncio.run(fill(name)))


@pytest.fixture(scope="session")
def lived(past: LivedDatabase) -> Iterator[LivedDatabase]:
    """A copy that all attacks share: whoever changes it has won, and fails the test."""
    with copied(past.server, past.name) as name:
        yield LivedDatabase(past.server, name, past.lived)


@pytest.fixture(scope="session")
def defenceless(past: LivedDatabase) -> Iterator[LivedDatabase]:
    """A copy from which a superuser has taken every guard: triggers, constraints, references."""
    with copied(past.server, past.name) as name:
        with connected(past.server, name) as superuser:
            superuser.execute("SELECT tocsin_guard.suspend()")
            for table in (*DETAIL_TABLES, "incident_lifecycle", "incident_heads", "audit_logs"):
                superuser.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER ALL").format(sql.Identifier(table)))
            checks = superuser.execute(
                "SELECT conrelid::regclass::text AS guarded, conname FROM pg_constraint"
                " WHERE connamespace = 'tocsin'::regnamespace AND contype = 'c' AND conrelid <> 0"
            ).fetchall()
            for check in checks:
                drop = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}")
                superuser.execute(drop.format(sql.Identifier(check["guarded"]), sql.Identifier(check["conname"])))
            superuser.execute("ALTER DOMAIN instant DROP CONSTRAINT instant_check")
        yield LivedDatabase(past.server, name, past.lived)


@pytest.fixture
def own_copy(defenceless: LivedDatabase) -> Iterator[LivedDatabase]:
    """A defenceless copy of this test alone, to be damaged."""
    with copied(defenceless.server, defenceless.name) as name:
        yield LivedDatabase(defenceless.server, name, defenceless.lived)
