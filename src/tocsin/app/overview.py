"""Is anything on fire, who has it, what gets louder when, and is the monitor itself well? And: has anything changed?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC

from tocsin.app import health
from tocsin.app.health import Condition
from tocsin.app.read_incidents import Stats, stats
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.incident import Status
from tocsin.store import incidents, overview
from tocsin.store.overview import Burning

__all__ = ["Burning", "Overview", "look_over", "pulse"]

SHOWN_OF_EACH = 20
"""Open incidents shown of each severity, or status; how many there are is told by the numbers above them."""


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that somebody who wakes up wants to know first."""

    stats: Stats
    waiting: Sequence[Burning]
    """Nobody has taken these yet; the worst first."""
    taken: Sequence[Burning]
    """Somebody is on these, or they wait to be closed."""
    condition: Condition
    begun: bool
    """There was an incident ever: who starts is told how to send a first error until then."""


async def look_over(work: Work, actor: Actor, machinery: health.Shared) -> Overview:
    """Return the overview."""
    require(actor, Permission.READ)
    found = await overview.burning(work.tx, SHOWN_OF_EACH)
    return Overview(
        stats=await stats(work, actor),
        waiting=[one for one in found if one.status == Status.REPORTED],
        taken=[one for one in found if one.status != Status.REPORTED],
        condition=await machinery.condition(work),
        begun=bool(found or await incidents.tallies(work.tx)),
    )


async def pulse(work: Work) -> str:
    """Return a short text that differs from the last one if something was recorded since."""
    now = await overview.pulse(work.tx)
    latest = now.latest_at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%f") if now.latest_at else "never"
    return f"{now.leaves}-{latest}"
