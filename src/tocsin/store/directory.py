"""Who can be paged: who holds the duties, and who is told where nobody else can be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tocsin.domain.policy import Duty, Target
from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("directory")
MAX_SUPERADMINS = 20


@dataclass(frozen=True, slots=True)
class _DutyRow:
    duty: str
    user_id: UUID | None
    schedule_id: UUID | None
    assigned_at: datetime


@dataclass(frozen=True, slots=True)
class _Id:
    id: UUID


@dataclass(frozen=True, slots=True)
class Holders:
    """Who holds each duty and since when, and the superadmins (at most MAX_SUPERADMINS)."""

    duties: dict[Duty, Target]
    assigned_at: dict[Duty, datetime]
    superadmins: tuple[UUID, ...]


async def ask_holders(tx: Tx) -> Callable[[], Awaitable[Holders]]:
    """Ask who holds the duties, and for the superadmins; return what waits for them, as `Tx.ask` does."""
    asked = await tx.ask(QUERIES["duties"], _DutyRow)
    asked_superadmins = await tx.ask(QUERIES["superadmins"], _Id, {"limit": MAX_SUPERADMINS})

    async def loaded() -> Holders:
        rows = await asked()
        return Holders(
            {Duty(row.duty): Target(user_id=row.user_id, schedule_id=row.schedule_id) for row in rows},
            {Duty(row.duty): row.assigned_at for row in rows},
            tuple(row.id for row in await asked_superadmins()),
        )

    return loaded
