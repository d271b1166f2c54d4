"""What `tocsin doctor` asks of the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("inspection")


@dataclass(frozen=True, slots=True)
class ServerRow:
    """The server, its time, and how much our sign-in may do there."""

    version: str
    now: datetime
    sign_in: str
    is_superuser: bool
    can_become_owner: bool


@dataclass(frozen=True, slots=True)
class DutyHolder:
    """Who holds a duty, and over which channels they are reached; or which schedule does."""

    duty: str
    email: str | None
    active: bool | None
    channels: list[str]
    schedule: str | None = None


@dataclass(frozen=True, slots=True)
class TallyDifference:
    """A counter that does not say what counting says."""

    status: str
    current_severity: str
    counted: int
    tallied: int


async def server(tx: Tx) -> ServerRow:
    """Return what the server says of itself and of us."""
    row = await tx.first(QUERIES["server"], ServerRow)
    assert row is not None, "a query without FROM always has one row"
    return row


async def duty_holders(tx: Tx) -> list[DutyHolder]:
    """Return who holds each duty."""
    return await tx.rows(QUERIES["duty_holders"], DutyHolder)


async def tally_differences(tx: Tx) -> list[TallyDifference]:
    """Return the counters that are wrong; reads every head (about 0.2 s for a million)."""
    return await tx.rows(QUERIES["tally_differences"], TallyDifference)
