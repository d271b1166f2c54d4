"""Prepares a server of our own: the database, and the application's role allowed to sign in."""

from __future__ import annotations

from contextlib import suppress

import psycopg
from psycopg import AsyncConnection

DATABASE = "tocsin"


async def provision(superuser_conninfo: str) -> None:
    """Create the database and the application's sign-in, unless they are there; two at once are fine."""
    async with await AsyncConnection.connect(superuser_conninfo, autocommit=True) as connection:
        cursor = await connection.execute("SELECT FROM pg_roles WHERE rolname = 'tocsin_app' AND rolcanlogin")
        if cursor.rowcount == 0:
            with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
                await connection.execute("CREATE ROLE tocsin_app LOGIN NOINHERIT")
        cursor = await connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
        if cursor.rowcount == 0:
            with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                await connection.execute("CREATE DATABASE tocsin")
