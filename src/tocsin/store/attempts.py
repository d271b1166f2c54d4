"""Runs statements that should be refused, the way somebody with a connection of their own would."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import AsyncConnection


async def attempt(conninfo: str, statements: Sequence[str]) -> str | None:
    """Run statements in one transaction and commit; return what the database says against it, None if nothing.

    Raises psycopg.OperationalError when there is no connection to try it on.
    """
    async with await AsyncConnection.connect(conninfo, options="-c search_path=tocsin") as connection:
        try:
            async with connection.transaction():
                for statement in statements:
                    await connection.execute(statement.encode())
        except psycopg.DatabaseError as error:
            return error.diag.message_primary or str(error)
    return None
