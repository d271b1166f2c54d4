"""Silences: what holds pages back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from tocsin.domain.incident import Severity
from tocsin.domain.silence import Silence, SilenceKind
from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("silences")
MAX_LISTED = 1_000
_FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True)
class SilenceRow:
    """A silence as people see it, with the names of what it is about."""

    id: UUID
    kind: str
    incident_id: UUID | None
    incident_number: int | None
    project_id: int | None
    project_name: str | None
    service: str | None
    severities: list[str] | None
    starts_at: datetime
    ends_at: datetime
    reason: str
    created_by: UUID
    created_by_name: str
    created_at: datetime
    ended_by: UUID | None
    ended_by_name: str | None


@dataclass(frozen=True, slots=True)
class _SilenceRow:
    id: UUID
    kind: str
    incident_id: UUID | None
    project_id: int | None
    service: str | None
    severities: list[str] | None
    starts_at: datetime
    ends_at: datetime
    reason: str
    created_by: UUID


@dataclass(frozen=True, slots=True)
class _Id:
    id: UUID


async def lock(tx: Tx) -> None:
    """Hold off others who add silences until this transaction ends."""
    await tx.run(QUERIES["lock_silences"])


async def load_active(tx: Tx, now: datetime, ahead: timedelta = timedelta()) -> list[Silence]:
    """Return the silences that hold now, or begin within the time ahead."""
    return await (await ask_active(tx, now, ahead))()


async def ask_active(tx: Tx, now: datetime, ahead: timedelta = timedelta()) -> Callable[[], Awaitable[list[Silence]]]:
    """Ask for the silences that hold now, or begin within the time ahead; return what waits for them."""
    asked = await tx.ask(QUERIES["active"], _SilenceRow, {"now": now, "until": now + ahead})

    async def loaded() -> list[Silence]:
        return [_silence(row) for row in await asked()]

    return loaded


def _silence(row: _SilenceRow) -> Silence:
    severities = frozenset(Severity(name) for name in row.severities) if row.severities is not None else None
    return Silence(
        row.id,
        SilenceKind(row.kind),
        row.incident_id,
        row.project_id,
        row.service,
        severities,
        row.starts_at,
        row.ends_at,
        row.reason,
        row.created_by,
    )


async def hold(tx: Tx, silence_id: UUID, now: datetime) -> bool:
    """Tell whether a silence still holds, and let nobody end it before this transaction has written what it held.

    Who ends it looks for what it held back: a page that is held by a silence that just ended would be found by nobody.
    """
    return bool(await tx.value(QUERIES["hold"], {"id": silence_id, "now": now}))


async def lock_to_end(tx: Tx, silence_id: UUID) -> None:
    """Wait for everybody who holds pages back by a silence, and let nobody else begin to."""
    await tx.run(QUERIES["lock_to_end"], {"id": silence_id})


async def insert(tx: Tx, silence: Silence, now: datetime) -> None:
    """Add a silence."""
    severities = silence.severities
    columns = {
        "id": silence.id,
        "kind": silence.kind.value,
        "incident_id": silence.incident_id,
        "project_id": silence.project_id,
        "service": silence.service,
        "severities": [one.value for one in Severity if one in severities] if severities is not None else None,
        "starts_at": silence.starts_at,
        "ends_at": silence.ends_at,
        "reason": silence.reason,
        "created_by": silence.created_by,
        "now": now,
    }
    await tx.run(QUERIES["insert"], columns)


async def end(tx: Tx, silence_id: UUID, user_id: UUID, now: datetime) -> None:
    """End a silence early, in somebody's name."""
    await tx.run(QUERIES["end"], {"id": silence_id, "user_id": user_id, "now": now})


async def standing(tx: Tx, now: datetime) -> int:
    """Return how many silences are not over yet."""
    number: int = await tx.value(QUERIES["standing"], {"now": now})
    return number


async def get(tx: Tx, silence_id: UUID) -> SilenceRow | None:
    """Return one silence."""
    return await tx.first(QUERIES["get"], SilenceRow, {"id": silence_id})


async def listed(tx: Tx, now: datetime) -> list[SilenceRow]:
    """Return the silences that are not over, the one that ends first before the others (at most MAX_LISTED)."""
    return await tx.rows(QUERIES["listed"], SilenceRow, {"now": now, "limit": MAX_LISTED})


async def listed_all(tx: Tx) -> list[SilenceRow]:
    """Return every silence, the one that ends last before the others (at most MAX_LISTED)."""
    return await tx.rows(QUERIES["listed_all"], SilenceRow, {"limit": MAX_LISTED})


async def held(tx: Tx, silence_id: UUID, after: UUID = _FIRST) -> list[UUID]:
    """Return open incidents of which a silence held pages back, from an id on (at most MAX_LISTED)."""
    which = {"id": silence_id, "after": after, "limit": MAX_LISTED}
    return [row.id for row in await tx.rows(QUERIES["held"], _Id, which)]
