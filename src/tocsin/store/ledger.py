"""The ledger of intake: what was received, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("ledger")
MAX_MINUTES_LISTED = 10_000
MAX_DIFFERENCES = 100

LedgerKey = tuple[int, str, str]
"""A project, a measure ("received", "rejected", …) and its reason."""


@dataclass(frozen=True, slots=True)
class MinuteRow:
    """One count of one minute."""

    project_id: int
    minute: datetime
    measure: str
    reason: str
    quantity: int


@dataclass(frozen=True, slots=True)
class TotalRow:
    """One count over some time."""

    project_id: int
    measure: str
    reason: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the ledger (`said`) and what is there (`found`) do not agree."""

    project_id: int
    minute: datetime
    measure: str
    said: int
    found: int


@dataclass(frozen=True, slots=True)
class DifferenceIncident:
    """The incident of a difference, and when it was seen last."""

    number: int
    last_seen_at: datetime


async def count(tx: Tx, counts: Mapping[LedgerKey, int], now: datetime) -> None:
    """Count what came in at `now`; part of the transaction that recorded it."""
    rows = [
        {"project_id": project_id, "measure": measure, "reason": reason, "quantity": quantity}
        for (project_id, measure, reason), quantity in counts.items()
        if quantity
    ]
    if rows:
        await tx.run(QUERIES["count"], {"rows": msgspec.json.encode(rows).decode(), "now": now})


async def fold(tx: Tx) -> None:
    """Fold the ledger's differences."""
    await tx.run(QUERIES["fold"])


async def minutes(tx: Tx, since: datetime, until: datetime, project_id: int | None) -> list[MinuteRow]:
    """Return the ledger of some time minute by minute, newest first (at most MAX_MINUTES_LISTED)."""
    period = {"since": since, "until": until, "project_id": project_id, "limit": MAX_MINUTES_LISTED}
    return await tx.rows(QUERIES["ledger"], MinuteRow, period)


async def totals(tx: Tx, since: datetime, until: datetime, project_id: int | None) -> list[TotalRow]:
    """Return the ledger of some time, added up."""
    period = {"since": since, "until": until, "project_id": project_id}
    return await tx.rows(QUERIES["totals"], TotalRow, period)


async def differences(tx: Tx, since: datetime, until: datetime) -> list[Difference]:
    """Return where the ledger of some time is wrong (at most MAX_DIFFERENCES)."""
    period = {"since": since, "until": until, "limit": MAX_DIFFERENCES}
    return await tx.rows(QUERIES["differences"], Difference, period)


async def last_difference(tx: Tx, project_id: int, title: str, since: datetime) -> DifferenceIncident | None:
    """Return the last incident of a project whose title begins like this, if it was seen since an instant."""
    which = {"project_id": project_id, "title": title, "since": since}
    return await tx.first(QUERIES["last_difference"], DifferenceIncident, which)


async def checked_to(tx: Tx) -> datetime | None:
    """Return up to where the ledger was compared; None before the first time."""
    at: datetime | None = await tx.value(QUERIES["checked_to"])
    return at


async def set_checked_to(tx: Tx, at: datetime) -> None:
    """Note up to where the ledger was compared."""
    await tx.run(QUERIES["set_checked_to"], {"checked_to": at})


async def expire(tx: Tx, before: datetime) -> None:
    """Remove compared minutes before an instant."""
    await tx.run(QUERIES["expire"], {"before": before})
