"""The ledger of intake: received = opened + joined + recorded + duplicate + rejected, for each project and minute.

It is written in the transactions that take in, and compared continuously with what is really recorded: a difference
means that a report was lost, or counted twice, and is itself a CRITICAL incident.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tocsin.app.report_internal import report_internal
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.incident import Severity
from tocsin.store import ledger
from tocsin.store.ledger import Difference

SETTLED_AFTER = timedelta(minutes=2)
"""A minute is compared when no transaction can still add to it: a statement ends within 30 seconds."""
MAX_CHECKED_AT_ONCE = timedelta(hours=1)
MAX_NAMED = 10
DIFFERENCE = "IntakeLedgerDifference"


@dataclass(slots=True)
class Tally:
    """What was received of a project in some time (by protocol), and what became of it."""

    project_id: int
    received: dict[str, int] = field(default_factory=dict)
    opened: int = 0
    joined: int = 0
    recorded: int = 0
    duplicate: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)

    @property
    def difference(self) -> int:
        """Return by how much the sum is wrong; 0 when it is right."""
        settled = self.opened + self.joined + self.recorded + self.duplicate + sum(self.rejected.values())
        return sum(self.received.values()) - settled


async def tallies(
    work: Work, actor: Actor, since: datetime, until: datetime, project_id: int | None = None
) -> list[Tally]:
    """Return the ledger of some time, one tally for each project that reported."""
    require(actor, Permission.READ)
    return await tallied(work, since, until, project_id)


async def tallied(work: Work, since: datetime, until: datetime, project_id: int | None = None) -> list[Tally]:
    """Return the ledger of some time for the machinery itself: the doctor and the metrics."""
    found: dict[int, Tally] = {}
    for row in await ledger.totals(work.tx, since, until, project_id):
        _add(found.setdefault(row.project_id, Tally(row.project_id)), row.measure, row.reason, row.quantity)
    return list(found.values())


async def minutes(
    work: Work, actor: Actor, since: datetime, until: datetime, project_id: int | None = None
) -> list[tuple[datetime, Tally]]:
    """Return the ledger minute by minute, newest first."""
    require(actor, Permission.READ)
    found: dict[tuple[datetime, int], Tally] = {}
    for row in await ledger.minutes(work.tx, since, until, project_id):
        tally = found.setdefault((row.minute, row.project_id), Tally(row.project_id))
        _add(tally, row.measure, row.reason, row.quantity)
    return [(minute, tally) for (minute, _), tally in found.items()]


def _add(tally: Tally, measure: str, reason: str, quantity: int) -> None:
    match measure:
        case "received":
            tally.received[reason] = tally.received.get(reason, 0) + quantity
        case "rejected":
            tally.rejected[reason] = tally.rejected.get(reason, 0) + quantity
        case "lost":
            tally.lost[reason] = tally.lost.get(reason, 0) + quantity
        case _:
            setattr(tally, measure, getattr(tally, measure) + quantity)


async def check_ledger(work: Work) -> list[Difference]:
    """Compare the minutes that have settled since the last time with what is recorded; report every difference."""
    until = (work.now - SETTLED_AFTER).replace(second=0, microsecond=0)
    since = await ledger.checked_to(work.tx) or until - MAX_CHECKED_AT_ONCE
    until = min(until, since + MAX_CHECKED_AT_ONCE)
    if until <= since:
        return []
    found = await ledger.differences(work.tx, since, until)
    for project_id, differences in _by_project(found).items():
        message = f"The ledger of project {project_id} is wrong:\n{_named(differences)}"
        await report_internal(work, DIFFERENCE, message, Severity.CRITICAL, about=str(project_id))
    await ledger.set_checked_to(work.tx, until)
    return found


def _by_project(found: Sequence[Difference]) -> dict[int, list[Difference]]:
    projects: dict[int, list[Difference]] = defaultdict(list)
    for one in found:
        projects[one.project_id].append(one)
    return projects


def _named(differences: Sequence[Difference]) -> str:
    lines = [
        f"{one.minute:%Y-%m-%d %H:%M} UTC: {one.measure} {one.said}, but {one.found} are there"
        for one in differences[:MAX_NAMED]
    ]
    more = len(differences) - MAX_NAMED
    return "\n".join([*lines, *([f"and {more} more"] if more > 0 else [])])
