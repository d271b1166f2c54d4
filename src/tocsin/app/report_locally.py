"""Takes reports straight into a project, for somebody at the machine's shell: no key, no server in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tocsin.app.projects import rules_of
from tocsin.app.take_in import Intake
from tocsin.app.work import App
from tocsin.domain.arrival import Arrival
from tocsin.domain.deduplication import Outcome
from tocsin.domain.report import ErrorReport
from tocsin.store import incidents

LOCAL = "local"
"""The protocol of what was reported from the machine's shell."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one report; `incident_number` is None when it was only recorded."""

    event_id: str
    outcome: Outcome
    incident_number: int | None


async def report_locally(app: App, project_id: int, batch: Sequence[ErrorReport]) -> list[Taken]:
    """Take in reports; when this returns, they are committed. Raises NOT_FOUND when there is no such project."""
    async with app.work() as work:
        project = await rules_of(work, project_id)
    intake = Intake(app)
    accepted = await intake.take_in(project, [Arrival.of(report) for report in batch], LOCAL)
    await intake.close()
    async with app.work() as work:
        numbers = {
            incident_id: row.number
            for incident_id in {one.incident_id for one in accepted if one.incident_id}
            if (row := await incidents.get(work.tx, incident_id)) is not None
        }
    return [
        Taken(one.event_id, one.outcome, numbers.get(one.incident_id))
        if one.incident_id
        else Taken(one.event_id, one.outcome, None)
        for one in accepted
    ]
