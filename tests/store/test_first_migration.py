"""The first migration of a whole server: the roles do not exist yet, and nobody is superuser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.servers import SYSTEM_BINARIES, Server, embedded_server, system_server
from tocsin.store.migrate import migrate, pending_migrations

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture(params=["embedded", "PostgreSQL 15"])
def untouched(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server on which Tocsin has never been, with two databases of an administrator who may create roles."""
    if request.param != "embedded" and not SYSTEM_BINARIES.exists():
        pytest.skip(f"there is no PostgreSQL 15 in {SYSTEM_BINARIES}")
    with (embedded_server if request.param == "embedded" else system_server)() as server:
        with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
            connection.execute("CREATE ROLE administrator LOGIN CREATEROLE")
            for name in ("one", "two", "three"):
                connection.execute(f"CREATE DATABASE {name} OWNER administrator".encode())
        yield server


async def test_an_administrator_who_is_no_superuser_can_migrate(untouched: Server) -> None:
    """From PostgreSQL 16 on, who creates a role may not act as it before that is granted."""
    theirs = untouched.conninfo("one", user="administrator")
    assert await migrate(theirs)
    assert await pending_migrations(theirs) == []
    with psycopg.connect(theirs) as connection:
        assert connection.execute("SET ROLE tocsin_app").statusmessage == "SET"


async def test_two_databases_of_one_server_can_be_migrated_at_the_same_time(untouched: Server) -> None:
    names = ("one", "two", "three")
    applied = await asyncio.gather(*(migrate(untouched.conninfo(name)) for name in names))
    assert all(applied)
