"""Writes to the guarded tables: a sealed row each, inserted and never touched again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    (sealed,) = await write_many(tx, table, [columns])
    return sealed


async def write_many(tx: Tx, table: str, rows: Sequence[Mapping[str, object]]) -> list[Sealed]:
    """Seal rows and insert them, in their order, with one statement."""
    sealed = [seal(table, columns) for columns in rows]
    # Joined, not encoded once more: each must arrive as it was sealed.
    documents = b",".join([one.canonical for one in sealed])
    await tx.run(QUERIES[f"insert_{table}"], {"rows": f"[{documents.decode()}]"})
    return sealed
