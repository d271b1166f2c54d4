"""Says which incident blocks a session, to the one who is blocked: no more than they need to know."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tocsin.app.sessions import Principal
from tocsin.app.work import Work
from tocsin.domain.access import NEVER_BLOCKED
from tocsin.store import incidents


@dataclass(frozen=True, slots=True)
class SessionBlock:
    """The incident for which a session is blocked. Not its title: who is blocked may not be allowed to read it."""

    incident_id: UUID
    number: int
    since: datetime


async def block_of(work: Work, principal: Principal) -> SessionBlock | None:
    """Return what blocks the session of this principal.

    None for tokens, for everybody who can respond, and while blocking is switched off.
    """
    if not work.settings.session_blocking or principal.actor.role in NEVER_BLOCKED:
        return None
    if principal.blocked_due_to_incident is None:
        return None
    incident = await incidents.get(work.tx, principal.blocked_due_to_incident)
    if incident is None:
        return None
    return SessionBlock(incident.id, incident.number, incident.created_at)
