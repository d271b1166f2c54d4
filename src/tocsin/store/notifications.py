"""Notifications and their attempts; who holds the duties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from tocsin.domain.notification import PageText
from tocsin.domain.policy import Duty
from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("notifications")
MAX_LISTED = 1_000


@dataclass(frozen=True, slots=True)
class Notification:
    """A page that is owed."""

    id: UUID
    incident_id: UUID
    reason: str
    user_id: UUID
    channel: str
    address: str
    subject: str
    body: str
    payload: dict[str, Any]
    created_at: datetime
    state: str


@dataclass(frozen=True, slots=True)
class NotificationRow:
    """A page as lists show it, with the answer to its last attempt."""

    id: UUID
    reason: str
    user_id: UUID
    user_name: str
    channel: str
    address: str
    created_at: datetime
    state: str
    settled_at: datetime | None
    attempts: int | None
    last_answer: str | None


@dataclass(frozen=True, slots=True)
class DutyRow:
    """Who holds a duty: a user, or a schedule; what belongs to the other one is None."""

    duty: str
    user_id: UUID | None
    name: str | None
    email: str | None
    active: bool | None
    assigned_at: datetime
    schedule_id: UUID | None
    schedule: str | None


@dataclass(frozen=True, slots=True)
class NewNotification:
    """A page to owe to somebody."""

    id: UUID
    incident_id: UUID
    decision_id: UUID
    escalation_id: UUID | None
    reason: str
    user_id: UUID
    channel: str
    address: str
    due_at: datetime
    page: PageText


async def insert_many(tx: Tx, owed: Sequence[NewNotification], now: datetime) -> None:
    """Owe pages."""
    if not owed:
        return
    rows = [
        {
            "id": one.id,
            "incident_id": one.incident_id,
            "decision_id": one.decision_id,
            "escalation_id": one.escalation_id,
            "reason": one.reason,
            "user_id": one.user_id,
            "channel": one.channel,
            "address": one.address,
            "due_at": one.due_at,
            "subject": one.page.subject,
            "body": one.page.body,
            "payload": one.page.payload,
        }
        for one in owed
    ]
    await tx.run(QUERIES["insert"], {"rows": msgspec.json.encode(rows).decode(), "now": now})


async def get(tx: Tx, notification_id: UUID) -> Notification | None:
    """Return one page."""
    return await tx.first(QUERIES["get"], Notification, {"id": notification_id})


async def insert_attempt(
    tx: Tx,
    *,
    attempt_id: UUID,
    notification_id: UUID,
    started_at: datetime,
    finished_at: datetime,
    outcome: str,
    answer: str,
) -> None:
    """Record what came of one attempt."""
    columns = {
        "id": attempt_id,
        "notification_id": notification_id,
        "started_at": started_at,
        "finished_at": finished_at,
        "outcome": outcome,
        "answer": answer,
    }
    await tx.run(QUERIES["insert_attempt"], columns)


async def settle(tx: Tx, notification_id: UUID, state: str, now: datetime) -> None:
    """Say how a page ended: DELIVERED or FAILED."""
    await tx.run(QUERIES["settle"], {"id": notification_id, "state": state, "now": now})


async def of_incident(tx: Tx, incident_id: UUID) -> list[NotificationRow]:
    """Return the pages of an incident, oldest first (at most MAX_LISTED)."""
    return await tx.rows(QUERIES["of_incident"], NotificationRow, {"incident_id": incident_id, "limit": MAX_LISTED})


async def duties(tx: Tx) -> list[DutyRow]:
    """Return who holds which duty."""
    return await tx.rows(QUERIES["duties"], DutyRow)


async def assign_duty(
    tx: Tx, duty: Duty, user_id: UUID | None, now: datetime, *, schedule_id: UUID | None = None
) -> None:
    """Give a duty to a user, or to a schedule."""
    columns = {"duty": duty.value, "user_id": user_id, "schedule_id": schedule_id, "now": now}
    await tx.run(QUERIES["assign_duty"], columns)


async def owed_since(tx: Tx, incident_id: UUID, reason: str, since: datetime) -> bool:
    """Tell whether a page was owed for an incident and a reason since then."""
    which = {"incident_id": incident_id, "reason": reason, "since": since}
    return bool(await tx.value(QUERIES["owed_since"], which))
