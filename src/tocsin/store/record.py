"""Writes to the guarded tables: a sealed row each, inserted and never touched again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from tocsin.domain.timeline import Sealed, seal
from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("record")


@dataclass(frozen=True, slots=True)
class _Number:
    number: int


async def next_numbers(tx: Tx, count: int) -> list[int]:
    """Return the numbers for `count` new incidents."""
    return [row.number for row in await tx.rows(QUERIES["next_numbers"], _Number, {"count": count})]


async def write(tx: Tx, table: str, columns: Mapping[str, object]) -> Sealed:
    """Seal a row and insert it into one of the guarded tables."""
    sealed = seal(table, columns)
    await tx.run(QUERIES[f"insert_{table}"], parameters(sealed))
    return sealed


async def write_many(tx: Tx, table: str, rows: Sequence[Mapping[str, object]]) -> list[Sealed]:
    """Seal rows and insert them, in their order."""
    sealed = [seal(table, columns) for columns in rows]
    await tx.run_many(QUERIES[f"insert_{table}"], [parameters(one) for one in sealed])
    return sealed


def parameters(sealed: Sealed) -> dict[str, Any]:
    """Return a sealed row as the parameters of its insert."""
    adapted = {
        name: Jsonb(value) if isinstance(value, dict | list) else value for name, value in sealed.columns.items()
    }
    return adapted | {"canonical": sealed.canonical}
