"""Follow-up actions: what is owed, by whom, and whether it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tocsin.domain.follow_up import FollowUpAction, FollowUpState, due_instant
from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("follow_ups")


@dataclass(frozen=True, slots=True)
class FollowUpRow:
    """One action. `title`, `owner` and `due` are as they were written; title None: erased."""

    incident_id: UUID
    incident_number: int
    incident_title: str | None
    position: int
    title: str | None
    owner: str | None
    due: str | None
    due_at: datetime | None
    state: str
    marked_at: datetime | None
    marked_by: UUID | None
    marked_by_name: str | None
    note: str | None
    reminders: int
    remind_at: datetime | None
    sought_owner: str | None

    def is_overdue(self, now: datetime) -> bool:
        """Tell whether its time has come and it is not done."""
        return self.state != FollowUpState.DONE and self.due_at is not None and self.due_at <= now


@dataclass(frozen=True, slots=True)
class Reminder:
    """An incident of whose overdue actions somebody must be reminded."""

    incident_id: UUID
    number: int
    overdue: int
    since: datetime
    reminders: int


@dataclass(frozen=True, slots=True)
class Portion:
    """Which part of a list is wanted."""

    limit: int
    offset: int = 0

    def parameters(self) -> dict[str, object]:
        """Return it as parameters of the queries."""
        return {"limit": self.limit, "offset": self.offset}


async def add(tx: Tx, incident_id: UUID, actions: Sequence[FollowUpAction]) -> None:
    """Add the actions of an incident that has just closed."""
    columns = {
        "positions": list(range(1, len(actions) + 1)),
        "owners": [action.owner for action in actions],
        "due": [due_instant(action.due_at) for action in actions],
    }
    await tx.run(QUERIES["add"], {"incident_id": incident_id, **columns})


async def open_ones(tx: Tx, portion: Portion) -> list[FollowUpRow]:
    """Return what is not done, the most urgent first."""
    return await tx.rows(QUERIES["open"], FollowUpRow, portion.parameters())


async def overdue(tx: Tx, now: datetime, portion: Portion) -> list[FollowUpRow]:
    """Return what is overdue, what waited longest first."""
    return await tx.rows(QUERIES["overdue"], FollowUpRow, portion.parameters() | {"now": now})


async def open_of(tx: Tx, owners: Sequence[str], due_by: datetime | None, portion: Portion) -> list[FollowUpRow]:
    """Return what some owner has not done (with `due_by`: although its time has come), the most urgent first."""
    whose = {"owners": [owner.lower() for owner in owners], "due_by": due_by}
    return await tx.rows(QUERIES["open_of"], FollowUpRow, portion.parameters() | whose)


async def done(tx: Tx, portion: Portion) -> list[FollowUpRow]:
    """Return what is done, the latest first."""
    return await tx.rows(QUERIES["done"], FollowUpRow, portion.parameters())


async def of_incident(tx: Tx, incident_id: UUID) -> list[FollowUpRow]:
    """Return what was promised when an incident was closed."""
    return await tx.rows(QUERIES["of_incident"], FollowUpRow, {"incident_id": incident_id})


async def lock(tx: Tx, incident_id: UUID, position: int) -> bool:
    """Lock one action; return whether there is one."""
    return bool(await tx.value(QUERIES["lock"], {"incident_id": incident_id, "position": position}))


async def mark(
    tx: Tx, incident_id: UUID, position: int, state: FollowUpState, user_id: UUID, note: str | None, now: datetime
) -> None:
    """Say that an action is done, or not after all."""
    which = {"incident_id": incident_id, "position": position}
    await tx.run(QUERIES["mark"], which | {"state": state.value, "user_id": user_id, "note": note, "now": now})


async def forget_owners(tx: Tx, incident_id: UUID) -> None:
    """Empty the owners of an incident whose promises were erased."""
    await tx.run(QUERIES["forget_owners"], {"incident_id": incident_id})


async def count_overdue(tx: Tx, now: datetime, most: int) -> int:
    """Return how many actions are overdue, counted up to `most`."""
    counted: int = await tx.value(QUERIES["count_overdue"], {"now": now, "most": most})
    return counted


async def to_remind_of(tx: Tx, now: datetime, limit: int) -> list[Reminder]:
    """Return the incidents of whose overdue actions somebody must be reminded now."""
    return await tx.rows(QUERIES["to_remind_of"], Reminder, {"now": now, "limit": limit})


async def reminded(tx: Tx, reminders: Sequence[Reminder], again_at: Sequence[datetime], now: datetime) -> None:
    """Note that somebody was reminded of each, and when to do so again."""
    columns = {
        "incident_ids": [one.incident_id for one in reminders],
        "reminders": [one.reminders + 1 for one in reminders],
        "remind_at": list(again_at),
    }
    await tx.run(QUERIES["reminded"], columns | {"now": now})
