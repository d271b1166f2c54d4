"""Writes to the guarded tables: a sealed row each, inserted and never touched again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tocsin import ids
from tocsin.domain.sealing import Sealed, seal
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
    sealed = [seal(table, columns, ids.new_nonce) for columns in rows]
    await tx.run(QUERIES[f"insert_{table}"], {"rows": f"[{b','.join(map(document, sealed)).decode()}]"})
    return sealed


def document(sealed: Sealed) -> bytes:
    """Return a row for its insert: its canonical document, and beside it the texts to which that commits."""
    texts = msgspec.json.encode({**sealed.disclosed, "disclosures": sealed.disclosures})
    # Joined, not encoded once more: each document must arrive as it was sealed.
    return b'{"canonical":' + sealed.canonical + b',"texts":' + texts + b"}"
