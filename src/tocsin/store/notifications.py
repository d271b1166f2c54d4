"""Notifications and their attempts; whom to tell: duties, contact methods, rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from tocsin.domain.escalation import EscalationRule
from tocsin.domain.incident import EscalationReason
from tocsin.domain.notification import PageText
from tocsin.domain.policy import Duty
from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("notifications")
MAX_RECIPIENTS = 100
MAX_LISTED = 1_000


@dataclass(frozen=True, slots=True)
class Contact:
    """One way to reach a person."""

    user_id: UUID
    name: str
    channel: str
    address: str


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
class _RuleRow:
    reason: str
    after_seconds: int
    duty: str


async def contacts_of_duty(tx: Tx, duty: Duty) -> list[Contact]:
    """Return how the holder of a duty is reached; empty when nobody holds it."""
    return await tx.rows(QUERIES["contacts_of_duty"], Contact, {"duty": duty.value})


async def contacts_of_user(tx: Tx, user_id: UUID) -> list[Contact]:
    """Return how a person is reached."""
    return await tx.rows(QUERIES["contacts_of_user"], Contact, {"user_id": user_id})


async def contacts_of_superadmins(tx: Tx) -> list[Contact]:
    """Return how the superadmins are reached, the first one's contacts first."""
    return await tx.rows(QUERIES["contacts_of_superadmins"], Contact, {"limit": MAX_RECIPIENTS})


@dataclass(frozen=True, slots=True)
class NewNotification:
    """A page to owe to somebody."""

    id: UUID
    incident_id: UUID
    escalation_id: UUID | None
    reason: str
    contact: Contact
    page: PageText


async def insert_many(tx: Tx, owed: Sequence[NewNotification], now: datetime) -> None:
    """Owe pages."""
    if not owed:
        return
    rows = [
        {
            "id": one.id,
            "incident_id": one.incident_id,
            "escalation_id": one.escalation_id,
            "reason": one.reason,
            "user_id": one.contact.user_id,
            "channel": one.contact.channel,
            "address": one.contact.address,
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


async def rules(tx: Tx) -> tuple[EscalationRule, ...]:
    """Return the escalation rules in force, earliest first."""
    rows = await tx.rows(QUERIES["rules"], _RuleRow)
    return tuple(
        EscalationRule(EscalationReason(row.reason), timedelta(seconds=row.after_seconds), Duty(row.duty))
        for row in rows
    )


async def set_rule(tx: Tx, rule: EscalationRule) -> None:
    """Change when a rule fires and whom it pages."""
    columns = {"reason": rule.reason.value, "after_seconds": int(rule.after.total_seconds()), "duty": rule.duty.value}
    await tx.run(QUERIES["set_rule"], columns)


async def owed_since(tx: Tx, incident_id: UUID, reason: str, since: datetime) -> bool:
    """Tell whether a page was owed for an incident and a reason since then."""
    which = {"incident_id": incident_id, "reason": reason, "since": since}
    return bool(await tx.value(QUERIES["owed_since"], which))
