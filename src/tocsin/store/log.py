"""The transparency log in the database: what waits for it, its tiles, its heads, its checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from psycopg.rows import tuple_row

from tocsin.domain.log_leaf import LeafKind
from tocsin.store.database import Tx
from tocsin.store.queries import Queries
from tocsin.tlog.merkle import Coordinate, Hashes
from tocsin.tlog.tiles import hashes_in, tiles_of

QUERIES = Queries("log")

Place = tuple[int, int]
"""Where a tile, or a group of nodes of the head tree, is kept: level and index."""


@dataclass(frozen=True, slots=True)
class State:
    """How many leaves the log has, and how many incidents its head tree."""

    size: int
    incidents: int


class Waiting(NamedTuple):
    """A leaf that waits: of an entry (its incident, sequence, checksum in hex), or of the system's own (then None)."""

    id: int
    number: int | None
    incident_id: str | None
    sequence: int | None
    checksum: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be sealed: the ids of what waited, the leaf of the heads after it, and the nodes that changed."""

    size_before: int
    waiting: Sequence[int]
    heads: bytes
    incidents_after: int
    nodes: Mapping[Place, bytes]


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Where an entry of an incident stands in the log."""

    index: int
    sequence: int
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class PublishedCheckpoint:
    """A checkpoint as it was published: the note is what was signed, with its signatures."""

    size: int
    root: bytes
    note: str
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class LogCondition:
    """The state of the log; `waiting` is counted up to 100,000. Without a checkpoint or a signer theirs are None."""

    size: int
    signed_size: int | None
    signed_at: datetime | None
    waiting: int
    waiting_since: datetime | None
    signer_seen_at: datetime | None
    refused_at: datetime | None
    refusal: str | None


@dataclass(frozen=True, slots=True)
class RareLeaf:
    """A leaf of the system's own; without an index it still waits."""

    leaf: bytes
    index: int | None = None


async def lock(tx: Tx) -> State | None:
    """Lock the log until the transaction ends; return None when another sealer is at it."""
    return await tx.first(QUERIES["lock_log"], State)


async def state(tx: Tx) -> State:
    """Return the size of the log."""
    found = await tx.first(QUERIES["state"], State)
    assert found is not None, "the migration made this row, and nobody may remove it"
    return found


async def is_anything_waiting(tx: Tx) -> bool:
    """Tell whether there is anything to seal."""
    return bool(await tx.value(QUERIES["is_anything_waiting"]))


async def waiting(tx: Tx, limit: int) -> list[Waiting]:
    """Return what has waited longest, each incident's entries in their order."""
    async with tx.connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(QUERIES["waiting"], {"limit": limit})
        return [Waiting._make(row) for row in await cursor.fetchall()]


async def seal(tx: Tx, batch: Batch) -> int:
    """Give a batch its place in the log; return the new size. Raises GuardRefusedError if it would not be whole."""
    places = list(batch.nodes)
    parameters = {
        "size_before": batch.size_before,
        "waiting": list(batch.waiting),
        "heads": batch.heads,
        "incidents_after": batch.incidents_after,
        "node_levels": [level for level, _ in places],
        "node_indexes": [index for _, index in places],
        "node_hashes": list(batch.nodes.values()),
    }
    size: int = await tx.value(QUERIES["seal"], parameters)
    return size


async def await_leaf(tx: Tx, kind: LeafKind, leaf: bytes, now: datetime) -> None:
    """Owe the log a leaf of the system's own."""
    await tx.run(QUERIES["await_leaf"], {"kind": kind.value, "leaf": leaf, "now": now})


async def leaves_of_kind(tx: Tx, kind: LeafKind) -> list[RareLeaf]:
    """Return every leaf of a rare kind (not the heads), in order; those that still wait come last."""
    return await tx.rows(QUERIES["leaves_of_kind"], RareLeaf, {"kind": kind.value})


async def leaf_at(tx: Tx, index: int) -> bytes | None:
    """Return the bytes of a leaf of the system's own; None when there is none at this index."""
    leaf: bytes | None = await tx.value(QUERIES["leaf_at"], {"index": index})
    return leaf


async def hashes(tx: Tx, coordinates: Iterable[Coordinate]) -> Hashes:
    """Fetch the tiles that are needed for the hashes at these coordinates; return what answers with them."""
    return hashes_in(await _kept(tx, "tiles", tiles_of(coordinates)))


async def tiles(tx: Tx, places: Iterable[Place]) -> dict[Place, bytes]:
    """Return tiles by their places."""
    return await _kept(tx, "tiles", places)


async def head_nodes(tx: Tx, places: Iterable[Place]) -> dict[Place, bytes]:
    """Return groups of nodes of the head tree; those that are still empty are left out."""
    return await _kept(tx, "head_nodes", places)


async def _kept(tx: Tx, query: str, places: Iterable[Place]) -> dict[Place, bytes]:
    wanted = list(places)
    async with tx.connection.cursor(row_factory=tuple_row, binary=True) as cursor:
        parameters = {"levels": [level for level, _ in wanted], "indexes": [index for _, index in wanted]}
        await cursor.execute(QUERIES[query], parameters)
        return {(level, index): found for level, index, found in await cursor.fetchall()}


async def entries_of(tx: Tx, number: int) -> list[LogEntry]:
    """Return where the entries of an incident are in the log, in their order."""
    return await tx.rows(QUERIES["entries_of"], LogEntry, {"number": number})


async def last_checkpoint(tx: Tx) -> PublishedCheckpoint | None:
    """Return the latest checkpoint that was published."""
    return await tx.first(QUERIES["last_checkpoint"], PublishedCheckpoint)


async def checkpoint_at(tx: Tx, size: int) -> PublishedCheckpoint | None:
    """Return the checkpoint of a size, if one was published."""
    return await tx.first(QUERIES["checkpoint_at"], PublishedCheckpoint, {"size": size})


async def insert_checkpoint(tx: Tx, *, size: int, root: bytes, note: str, now: datetime) -> None:
    """Publish a checkpoint; one that is there stays."""
    await tx.run(QUERIES["insert_checkpoint"], {"size": size, "root": root, "note": note, "now": now})


async def signer_seen(tx: Tx, *, key: str, worker: str, now: datetime, refusal: str | None) -> None:
    """Note that a signer is at work, and what it refuses."""
    await tx.run(QUERIES["signer_seen"], {"key": key, "worker": worker, "now": now, "refusal": refusal})


async def signer_gone(tx: Tx, key: str) -> None:
    """Forget a signer that signs no more."""
    await tx.run(QUERIES["signer_gone"], {"key": key})


async def condition(tx: Tx, seen_since: datetime | None = None) -> LogCondition:
    """Return the state of the log. A signer that was not seen since then (None: ever) is left out with its refusal."""
    found = await tx.first(QUERIES["condition"], LogCondition, {"seen_since": seen_since})
    assert found is not None, "the migration made the row of the state, and nobody may remove it"
    return found
