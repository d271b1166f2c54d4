"""What `tocsin verify --db` reads of the log: leaves by the tile, checkpoints in a stream, and what does not match."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg.rows import tuple_row

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("verify_log")
_CHUNK = 500
_HEADS_CHUNK = 50_000
MAX_ODD = 10_000
"""How many rows of one kind that do not match are looked at."""


class LeafTile(NamedTuple):
    """Up to 256 leaf hashes from index `first` to `last`, and whether their tile is kept as it should be."""

    first: int
    last: int
    hashes: bytes
    kept: bool


class Newest(NamedTuple):
    """The newest entry that the log has of an incident; without the incident's row its id is None."""

    number: int
    incident_id: str | None
    sequence: int
    checksum: str


class SignedCheckpoint(NamedTuple):
    """A checkpoint as it is kept."""

    size: int
    root: bytes
    note: str


@dataclass(frozen=True, slots=True)
class OddEntry:
    """An entry of an incident for which rows and log do not say the same."""

    number: int | None
    sequence: int
    index: int | None
    problem: str


@dataclass(frozen=True, slots=True)
class _Index:
    index: int


async def leaf_tiles(tx: Tx) -> AsyncIterator[LeafTile]:
    """Yield all leaves in their order."""
    async for row in _stream(tx, "leaf_tiles", _CHUNK):
        yield LeafTile._make(row)


async def checkpoints(tx: Tx) -> AsyncIterator[SignedCheckpoint]:
    """Yield every checkpoint, the smallest first."""
    async for row in _stream(tx, "every_checkpoint", _CHUNK):
        yield SignedCheckpoint._make(row)


async def newest_entries(tx: Tx) -> AsyncIterator[Newest]:
    """Yield the newest entry of each incident in the log, by the incident's number."""
    async for row in _stream(tx, "newest_entries", _HEADS_CHUNK):
        yield Newest._make(row)


async def _stream(tx: Tx, query: str, chunk: int) -> AsyncIterator[tuple[Any, ...]]:
    async with tx.connection.cursor(name=f"verify_{query}", row_factory=tuple_row, binary=True) as cursor:
        cursor.itersize = chunk
        await cursor.execute(QUERIES[query])
        async for row in cursor:
            yield row


async def upper_tiles(tx: Tx) -> dict[tuple[int, int], bytes]:
    """Return the tiles above those of the leaves."""
    return await _kept(tx, "upper_tiles")


async def head_nodes(tx: Tx) -> dict[tuple[int, int], bytes]:
    """Return the head tree as it is kept: about 35 MB for a million incidents."""
    return await _kept(tx, "every_head_node")


async def _kept(tx: Tx, query: str) -> dict[tuple[int, int], bytes]:
    async with tx.connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        await cursor.execute(QUERIES[query])
        return {(level, index): hashes for level, index, hashes in await cursor.fetchall()}


async def leaf_tile_count(tx: Tx) -> int:
    """Return how many tiles of leaves there are."""
    counted: int = await tx.value(QUERIES["leaf_tile_count"])
    return counted


async def odd_entries(tx: Tx) -> list[OddEntry]:
    """Return every entry for which rows and log do not say the same, up to MAX_ODD of each kind."""
    kinds = ("entries_against_log", "waiting_against_entries", "log_out_of_order")
    return [odd for kind in kinds for odd in await tx.rows(QUERIES[kind], OddEntry, {"limit": MAX_ODD})]


async def broken_leaves(tx: Tx) -> list[int]:
    """Return which of the system's own leaves are not what was hashed."""
    return [row.index for row in await tx.rows(QUERIES["broken_leaves"], _Index, {"limit": MAX_ODD})]
