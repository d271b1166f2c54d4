"""Notifications and their attempts; who holds the duties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """A page that is owed, whom it is for, and how its incident stands by now."""

    id: UUID
    incident_id: UUID
    reason: str
    user_id: UUID
    user_name: str
    user_role: str
    user_active: bool
    channel: str
    address: str
    subject: str
    body: str
    payload: dict[str, Any]
    created_at: datetime
    due_at: datetime
    state: str
    bundle_id: UUID | None
    acknowledged_at: datetime | None
    root_cause_at: datetime | None
    closed_at: datetime | None
    progressed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Unsent:
    """As much of a page that is owed as its job needs."""

    id: UUID
    reason: str
    channel: str
    address: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class _Id:
    id: UUID


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
    last_outcome: str | None
    last_worker: str | None


@dataclass(frozen=True, slots=True)
class SentPage:
    """A page as its history shows it."""

    id: UUID
    incident_id: UUID
    incident_number: int
    reason: str
    user_id: UUID
    user_name: str
    channel: str
    address: str
    created_at: datetime
    due_at: datetime
    state: str
    because: str | None
    settled_at: datetime | None
    bundle_id: UUID | None
    link_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt to deliver a page. Without an outcome nobody has written one down, and nobody may ever."""

    notification_id: UUID
    attempt: int
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    answer: str | None
    worker: str | None


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
class Link:
    """A page whose link somebody follows, and whom it was for."""

    incident_id: UUID
    reason: str
    due_at: datetime
    link_used_at: datetime | None
    user_id: UUID
    user_name: str
    user_role: str
    user_active: bool


@dataclass(frozen=True, slots=True)
class SlackUser:
    """Somebody who clicks in Slack."""

    id: UUID
    name: str
    role: str


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


async def by_ids(tx: Tx, ids: Sequence[UUID]) -> list[Notification]:
    """Return these pages, the one that is due first first."""
    return await tx.rows(QUERIES["by_ids"], Notification, {"ids": list(ids)})


async def open_bundle(tx: Tx, channel: str, address: str) -> list[UUID]:
    """Return the pages of the bundle that is on its way over a contact method; empty if none is."""
    rows = await tx.rows(QUERIES["open_bundle"], _Id, {"channel": channel, "address": address})
    return [row.id for row in rows]


async def due_of_contact(
    tx: Tx, channel: str, address: str, *, alone: Sequence[str], now: datetime, limit: int
) -> list[UUID]:
    """Lock and return the pages that are due over a contact method and in no bundle, but for the reasons `alone`."""
    which = {"channel": channel, "address": address, "alone": list(alone), "now": now, "limit": limit}
    return [row.id for row in await tx.rows(QUERIES["due_of_contact"], _Id, which)]


async def bundle(tx: Tx, bundle_id: UUID, ids: Sequence[UUID]) -> None:
    """Fix which pages go out in one message."""
    await tx.run(QUERIES["bundle"], {"bundle_id": bundle_id, "ids": list(ids)})


async def next_of_contact(tx: Tx, channel: str, address: str, alone: Sequence[str]) -> datetime | None:
    """Return when the next page over a contact method is due, but for the reasons `alone`; None if none is owed."""
    which = {"channel": channel, "address": address, "alone": list(alone)}
    due_at: datetime | None = await tx.value(QUERIES["next_of_contact"], which)
    return due_at


async def last_bundle_at(tx: Tx, channel: str, address: str) -> datetime | None:
    """Return when a bundle was last delivered over a contact method."""
    settled_at: datetime | None = await tx.value(QUERIES["last_bundle_at"], {"channel": channel, "address": address})
    return settled_at


async def begin_attempt(tx: Tx, ids: Mapping[UUID, UUID], now: datetime, worker: str) -> None:
    """Record that an attempt to deliver pages begins: `ids` has the new attempt's id for each."""
    columns = {"ids": list(ids.values()), "notification_ids": list(ids), "now": now, "worker": worker}
    await tx.run(QUERIES["begin_attempt"], columns)


async def end_attempt(tx: Tx, ids: Sequence[UUID], now: datetime, outcome: str, answer: str) -> None:
    """Write down what came of an attempt, by its ids."""
    await tx.run(QUERIES["end_attempt"], {"ids": list(ids), "now": now, "outcome": outcome, "answer": answer})


async def settle(tx: Tx, ids: Sequence[UUID], state: str, now: datetime, because: str | None = None) -> None:
    """Say how pages ended: DELIVERED, FAILED, or CANCELLED because of something."""
    await tx.run(QUERIES["settle"], {"ids": list(ids), "state": state, "because": because, "now": now})


async def orphaned(tx: Tx, limit: int) -> list[Unsent]:
    """Return pages that are owed and have no living job."""
    return await tx.rows(QUERIES["orphaned"], Unsent, {"limit": limit})


async def slack_user(tx: Tx, notification_id: UUID, slack_id: str) -> SlackUser | None:
    """Return who is reached under a Slack user id: whom that page was for, or who verified that it is theirs."""
    if not slack_id.isprintable():
        return None
    return await tx.first(QUERIES["slack_user"], SlackUser, {"id": notification_id, "slack_id": slack_id})


async def link(tx: Tx, notification_id: UUID) -> Link | None:
    """Return the page of a link."""
    return await tx.first(QUERIES["link"], Link, {"id": notification_id})


async def use_link(tx: Tx, notification_id: UUID, now: datetime) -> None:
    """Note that the link of a page was followed to its end."""
    await tx.run(QUERIES["use_link"], {"id": notification_id, "now": now})


async def of_incident(tx: Tx, incident_id: UUID) -> list[NotificationRow]:
    """Return the pages of an incident, oldest first (at most MAX_LISTED)."""
    return await tx.rows(QUERIES["of_incident"], NotificationRow, {"incident_id": incident_id, "limit": MAX_LISTED})


async def pages_of_incident(tx: Tx, incident_id: UUID, before: UUID | None, limit: int) -> list[SentPage]:
    """Return the pages of an incident that were owed before one of them (None: all), newest first."""
    which = {"incident_id": incident_id, "before": before, "limit": limit}
    return await tx.rows(QUERIES["pages_of_incident"], SentPage, which)


async def pages(
    tx: Tx, *, user_id: UUID | None, state: str | None, since: datetime, before: UUID | None, limit: int
) -> list[SentPage]:
    """Return pages to a person (None: to everybody) owed since then and before one of them, newest first."""
    which = {"user_id": user_id, "state": state, "since": since, "before": before, "limit": limit}
    return await tx.rows(QUERIES["pages" if user_id is None else "pages_of_user"], SentPage, which)


async def attempts(tx: Tx, ids: Sequence[UUID]) -> list[AttemptRow]:
    """Return every attempt to deliver these pages, in their order."""
    return await tx.rows(QUERIES["attempts"], AttemptRow, {"ids": list(ids)})


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
