"""The link in a page: who has it acknowledges in the name of whom the page was for. Made when sent, never stored."""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass
from uuid import UUID

from tocsin.app import respond
from tocsin.app.timeline import locked_head
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Role
from tocsin.domain.incident import Status
from tocsin.domain.page_link import LinkFacts, Standing, standing
from tocsin.domain.workflow import Acknowledge, AddNote
from tocsin.errors import Code, TocsinError, refuse
from tocsin.store import incidents, notifications
from tocsin.store.incidents import IncidentRow

_PURPOSE = b"tocsin: links that acknowledge, version 1"
_ID_BYTES = 16
_PROOF_BYTES = 16
"""RFC 2104, 5: an HMAC may be cut to half its length."""
TOKEN_CHARACTERS = 43


class Links:
    """Makes and reads the tokens of links: a page's id, and the proof that it was this installation who made it."""

    def __init__(self, secret_key: bytes) -> None:
        """`secret_key` signs other things as well; each purpose has a key of its own, derived from it."""
        self._key = hmac.digest(secret_key, _PURPOSE, "sha256")

    def url(self, base_url: str, notification_id: UUID) -> str:
        """Return the link of a page."""
        return f"{base_url}/a/{self.token(notification_id)}"

    def token(self, notification_id: UUID) -> str:
        """Return the token of a page's link: 43 characters of base64url."""
        return base64.urlsafe_b64encode(notification_id.bytes + self._proof(notification_id.bytes)).decode().rstrip("=")

    def notification_of(self, token: str) -> UUID | None:
        """Return the page of a token; None if nobody here made it."""
        if len(token) != TOKEN_CHARACTERS or not token.isascii():
            return None
        try:
            named = UUID(bytes=base64.b64decode(f"{token}=", altchars=b"-_", validate=True)[:_ID_BYTES])
        except binascii.Error:
            return None
        return named if hmac.compare_digest(token, self.token(named)) else None

    def _proof(self, named: bytes) -> bytes:
        return hmac.digest(self._key, named, "sha256")[:_PROOF_BYTES]


@dataclass(frozen=True, slots=True)
class Followed:
    """A link that somebody follows: what it is good for, and the incident as it stands."""

    link: LinkFacts
    incident: IncidentRow
    standing: Standing

    @property
    def actor(self) -> Actor:
        """Return in whose name it acts."""
        return Actor(self.link.user_id, self.link.user_name, self.link.user_role)


async def look(work: Work, notification_id: UUID) -> Followed:
    """Return what a link is good for; changes nothing. Raises NOT_FOUND."""
    row = await notifications.link(work.tx, notification_id)
    incident = await incidents.get(work.tx, row.incident_id) if row else None
    if row is None or incident is None:
        raise not_a_link()
    link = LinkFacts(
        notification_id=notification_id,
        incident_id=row.incident_id,
        reason=row.reason,
        due_at=row.due_at,
        link_used_at=row.link_used_at,
        user_id=row.user_id,
        user_name=row.user_name,
        user_role=Role(row.user_role),
        user_active=row.user_active,
        status=Status(incident.status),
        acknowledged_by=incident.acknowledged_by,
    )
    return Followed(link, incident, standing(link, work.now))


async def follow(work: Work, notification_id: UUID, notes: str) -> Followed:
    """Do what a link is good for, once; return how it was found, locked. Who finds nothing to do changes nothing."""
    first = await look(work, notification_id)
    # What is decided is decided on the locked incident: of two who follow links at once, one takes it.
    await locked_head(work, first.link.incident_id)
    found = await look(work, notification_id)
    if found.standing is Standing.ACKNOWLEDGE:
        await respond.acknowledge(work, found.actor, found.link.incident_id, Acknowledge(notes))
    elif found.standing is Standing.RENEW:
        await respond.add_note(work, found.actor, found.link.incident_id, AddNote(notes))
    else:
        return found
    await notifications.use_link(work.tx, notification_id, work.now)
    return found


def not_a_link() -> TocsinError:
    """Return the refusal for a token that nobody here made, or whose page is gone."""
    return refuse(
        Code.NOT_FOUND,
        "This link leads nowhere: it is incomplete, or was made by another installation or with another secret key.",
        "Copy the whole link from the message, or acknowledge with `tocsin incidents ack`.",
    )
