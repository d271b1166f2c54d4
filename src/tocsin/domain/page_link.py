"""The link in a page: what who follows it may do, and why not any more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from tocsin.domain.access import Permission, Role, may
from tocsin.domain.incident import Status
from tocsin.domain.notification import ACK_LAPSED

GOOD_FOR = timedelta(days=7)
"""How long after its page was due a link is good."""


class Standing(StrEnum):
    """What a link is good for by now."""

    ACKNOWLEDGE = "ACKNOWLEDGE"
    """It takes the incident."""
    RENEW = "RENEW"
    """Whose incident it is may say that they are still on it."""
    TAKEN = "TAKEN"
    """Somebody has the incident."""
    OVER = "OVER"
    """The incident is resolved or closed."""
    EXPIRED = "EXPIRED"
    """It is too old."""
    SHUT_OUT = "SHUT_OUT"
    """Whom the page was for is inactive, or may not respond."""


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """What is known of a link: its page, whom that was for, and where the incident stands."""

    notification_id: UUID
    incident_id: UUID
    reason: str
    due_at: datetime
    link_used_at: datetime | None
    user_id: UUID
    user_name: str
    user_role: Role
    user_active: bool
    status: Status
    acknowledged_by: UUID | None


def standing(link: LinkFacts, now: datetime) -> Standing:
    """Return what a link is good for."""
    if not link.user_active or not may(link.user_role, Permission.RESPOND):
        return Standing.SHUT_OUT
    if now >= link.due_at + GOOD_FOR:
        return Standing.EXPIRED
    if link.status in (Status.RESOLVED, Status.CLOSED):
        return Standing.OVER
    if link.status is Status.REPORTED:
        return Standing.ACKNOWLEDGE
    renews = link.reason == ACK_LAPSED and link.acknowledged_by == link.user_id and link.link_used_at is None
    return Standing.RENEW if renews else Standing.TAKEN
