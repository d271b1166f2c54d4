"""Those outside who vouch for the log: how it goes with each, and what they said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tocsin.store.database import Tx
from tocsin.store.log import PublishedCheckpoint
from tocsin.store.queries import Queries

QUERIES = Queries("outside")


@dataclass(frozen=True, slots=True)
class Standing:
    """How it goes with one: up to which size it vouches, since when it fails (None: it does not), and why."""

    name: str
    kind: str
    size: int
    succeeded_at: datetime | None
    failing_since: datetime | None
    failures: int
    failure: str | None


@dataclass(frozen=True, slots=True)
class _Leaf:
    leaf: bytes


async def introduce(tx: Tx, name: str, kind: str, now: datetime) -> None:
    """Note that somebody looks after it."""
    await tx.run(QUERIES["introduce"], {"name": name, "kind": kind, "now": now})


async def claim(tx: Tx, name: str, now: datetime, lease_until: datetime) -> Standing | None:
    """Take it if it is due and lacks the last checkpoint; None otherwise, or when another worker is at it."""
    return await tx.first(QUERIES["claim"], Standing, {"name": name, "now": now, "lease_until": lease_until})


async def succeeded(tx: Tx, name: str, size: int, now: datetime, due_at: datetime) -> None:
    """Note that it vouches for the log up to a size."""
    await tx.run(QUERIES["succeeded"], {"name": name, "size": size, "now": now, "due_at": due_at})


async def failed(tx: Tx, name: str, failure: str, now: datetime, due_at: datetime) -> datetime:
    """Note why it does not vouch; return since when it fails."""
    parameters = {"name": name, "failure": failure, "now": now, "due_at": due_at}
    since: datetime | None = await tx.value(QUERIES["failed"], parameters)
    return since or now


async def standings(tx: Tx, seen_since: datetime) -> list[Standing]:
    """Return how it goes with each that somebody looked after since then."""
    return await tx.rows(QUERIES["all"], Standing, {"seen_since": seen_since})


async def keep_cosignature(tx: Tx, size: int, witness: str, line: str, now: datetime) -> None:
    """Keep a witness's cosignature line."""
    await tx.run(QUERIES["insert_cosignature"], {"size": size, "witness": witness, "line": line, "now": now})


async def keep_timestamp(tx: Tx, size: int, authority: str, token: bytes, now: datetime) -> None:
    """Keep an authority's token."""
    await tx.run(QUERIES["insert_timestamp"], {"size": size, "authority": authority, "token": token, "now": now})


async def cosigned_size(tx: Tx, witness: str) -> int:
    """Return the largest size that a witness cosigned, 0 if none."""
    return int(await tx.value(QUERIES["cosigned_size"], {"witness": witness}) or 0)


async def next_checkpoint(tx: Tx, size: int, reach: int) -> PublishedCheckpoint | None:
    """Return the largest checkpoint of at most `reach` leaves more than `size`, or else the next one."""
    return await tx.first(QUERIES["next_checkpoint"], PublishedCheckpoint, {"size": size, "reach": reach})


async def leaves(tx: Tx, first: int, after: int) -> Sequence[bytes]:
    """Return the bytes of the leaves from `first` to before `after`."""
    return [bytes(row.leaf) for row in await tx.rows(QUERIES["leaves"], _Leaf, {"first": first, "after": after})]
