"""The call by which somebody outside notices that nobody here can page any more: when it is due, and how it went."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("watchdog")


@dataclass(frozen=True, slots=True)
class Calls:
    """How the last calls went: since when they are held back or not answered (None: they are not), and why."""

    called_at: datetime | None
    withheld_since: datetime | None
    withheld: str | None
    failing_since: datetime | None
    failures: int
    failure: str | None


async def claim(tx: Tx, now: datetime, lease_until: datetime) -> Calls | None:
    """Take the next call if it is due; None otherwise, or when another worker is at it."""
    return await tx.first(QUERIES["claim"], Calls, {"now": now, "lease_until": lease_until})


async def called(tx: Tx, now: datetime, due_at: datetime) -> None:
    """Note that the call was answered."""
    await tx.run(QUERIES["called"], {"now": now, "due_at": due_at})


async def withhold(tx: Tx, withheld: str, now: datetime, due_at: datetime) -> None:
    """Note why the call was not made."""
    await tx.run(QUERIES["withhold"], {"withheld": withheld, "now": now, "due_at": due_at})


async def failed(tx: Tx, failure: str, now: datetime, due_at: datetime) -> None:
    """Note that the call was not answered."""
    await tx.run(QUERIES["failed"], {"failure": failure, "now": now, "due_at": due_at})


async def state(tx: Tx, seen_since: datetime) -> Calls | None:
    """Return how the calls go; None if nobody has made any since then."""
    return await tx.first(QUERIES["state"], Calls, {"seen_since": seen_since})
