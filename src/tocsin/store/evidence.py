"""What a bundle of evidence is made of: recorded bytes, and what others say of the log's checkpoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from tocsin.store.database import Tx
from tocsin.store.log import PublishedCheckpoint
from tocsin.store.queries import Queries

QUERIES = Queries("evidence")


@dataclass(frozen=True, slots=True)
class RecordedEntry:
    """An entry as it was recorded, and the texts that it commits to as far as they are there."""

    sequence: int
    canonical: bytes
    disclosures: list[str]


@dataclass(frozen=True, slots=True)
class RecordedDetail:
    """What an entry names by its checksum."""

    checksum: bytes
    canonical: bytes
    disclosures: list[str]


@dataclass(frozen=True, slots=True)
class _Size:
    size: int


@dataclass(frozen=True, slots=True)
class _Cosignature:
    size: int
    line: str


@dataclass(frozen=True, slots=True)
class _Timestamp:
    size: int
    token: bytes


async def entries(tx: Tx, incident_id: UUID) -> list[RecordedEntry]:
    """Return a timeline's entries in their order."""
    return await tx.rows(QUERIES["entries"], RecordedEntry, {"incident_id": incident_id})


async def details(tx: Tx, incident_id: UUID) -> dict[bytes, RecordedDetail]:
    """Return an incident's details by their checksums."""
    rows = await tx.rows(QUERIES["details"], RecordedDetail, {"incident_id": incident_id})
    return {bytes(row.checksum): row for row in rows}


async def first_vouched(tx: Tx, indexes: Sequence[int]) -> list[int]:
    """Return the sizes of the checkpoints by which others first vouched for these leaves."""
    return [row.size for row in await tx.rows(QUERIES["first_vouched"], _Size, {"indexes": list(indexes)})]


async def last_vouched(tx: Tx, size: int) -> list[int]:
    """Return the sizes of the last checkpoints that others vouched for, from `size` on."""
    return [row.size for row in await tx.rows(QUERIES["last_vouched"], _Size, {"size": size})]


async def checkpoints(tx: Tx, sizes: Sequence[int]) -> list[PublishedCheckpoint]:
    """Return published checkpoints, the smallest first."""
    return await tx.rows(QUERIES["checkpoints"], PublishedCheckpoint, {"sizes": list(sizes)})


async def cosignatures(tx: Tx, sizes: Sequence[int]) -> dict[int, list[str]]:
    """Return the cosignature lines of checkpoints by their sizes."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for row in await tx.rows(QUERIES["cosignatures"], _Cosignature, {"sizes": list(sizes)}):
        found[row.size].append(row.line)
    return found


async def timestamps(tx: Tx, sizes: Sequence[int]) -> dict[int, list[bytes]]:
    """Return the time-stamp tokens of checkpoints by their sizes."""
    found: defaultdict[int, list[bytes]] = defaultdict(list)
    for row in await tx.rows(QUERIES["timestamps"], _Timestamp, {"sizes": list(sizes)}):
        found[row.size].append(bytes(row.token))
    return found
