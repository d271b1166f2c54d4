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
    return await _block(work, principal.blocked_due_to_incident)


async def blocking_incident(work: Work) -> SessionBlock | None:
    """Return the incident that blocks sessions now; None while blocking is switched off."""
    if not work.settings.session_blocking:
        return None
    incident_id = await incidents.blocking(work.tx)
    return await _block(work, incident_id) if incident_id else None


async def _block(work: Work, incident_id: UUID) -> SessionBlock | None:
    incident = await incidents.get(work.tx, incident_id)
    return SessionBlock(incident.id, incident.number, incident.created_at) if incident else None
