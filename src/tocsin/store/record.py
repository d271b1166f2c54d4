"""Writes to the guarded tables: a sealed row each, inserted and never touched again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from tocsin.domain.timeline import Sealed, seal
from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("record")


async def next_number(tx: Tx) -> int:
    """Return the number for a new incident."""
    number: int = await tx.value(QUERIES["next_number"])
    return number


async def write(tx: Tx, table: str, columns: Mapping[str, object]) -> Sealed:
    """Seal a row and insert it into one of the guarded tables."""
    sealed = seal(table, columns)
    await tx.run(QUERIES[f"insert_{table}"], parameters(sealed))
    return sealed


def parameters(sealed: Sealed) -> dict[str, Any]:
    """Return a sealed row as the parameters of its insert."""
    adapted = {
        name: Jsonb(value) if isinstance(value, dict | list) else value for name, value in sealed.columns.items()
    }
    return adapted | {"canonical": sealed.canonical}
