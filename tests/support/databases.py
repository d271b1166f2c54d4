"""Databases for the tests: each one a clone of a migrated template."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.support.servers import Server
from tocsin.store.migrate import migrate

TEMPLATE = "tocsin_template"
_numbers = itertools.count(1)
_done: defaultdict[Server, list[str]] = defaultdict(list)
"""The databases of each server that no test uses any more."""


def prepare_template(server: Server) -> None:
    """Make the template: migrated, without any user."""
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
    asyncio.run(migrate(server.conninfo(TEMPLATE)))
    with psycopg.connect(server.conninfo(TEMPLATE), autocommit=True) as connection:
        hardened = connection.execute("SELECT to_regclass('tocsin_guard.baseline') IS NOT NULL").fetchone()
        assert hardened == (True,), "the migrations make other guards than those listed: run `python -m tools.guards`"
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("ALTER ROLE tocsin_app LOGIN")


def derive_template(server: Server, name: str, template: str) -> None:
    """Make a template out of another; whoever fills it must have left before it is cloned."""
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        _copy(connection, name, template)


def _copy(connection: psycopg.Connection[Any], name: str, template: str) -> None:
    connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")


@contextmanager
def clone(server: Server, template: str = TEMPLATE) -> Iterator[str]:
    """Give the name of a fresh clone of the template, or of another database that nobody uses.

    It is dropped when the next but one is made: dropped at once, PostgreSQL waits a tenth of a second for the test's
    connections, which have been closed but are not gone yet.
    """
    name = f"t_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        while len(_done[server]) > 1:
            connection.execute(f"DROP DATABASE {_done[server].pop(0)} WITH (FORCE)")
        _copy(connection, name, template)
    try:
        yield name
    finally:
        _done[server].append(name)
