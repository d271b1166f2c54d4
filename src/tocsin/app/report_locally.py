"""Takes reports straight into a project, for somebody at the machine's shell: no key, no server in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tocsin.app.report_errors import accept
from tocsin.app.work import App
from tocsin.domain.deduplication import Outcome
from tocsin.domain.report import ErrorReport
from tocsin.errors import Code, refuse
from tocsin.store import incidents, projects


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one report; `incident_number` is None when it was only recorded."""

    event_id: str
    outcome: Outcome
    incident_number: int | None


async def report_locally(app: App, project_id: int, batch: Sequence[ErrorReport]) -> list[Taken]:
    """Take in reports; when this returns, they are committed. Raises NOT_FOUND when there is no such project."""
    async with app.work() as work:
        if all(project.id != project_id for project in await projects.listed(work.tx)):
            raise refuse(Code.NOT_FOUND, f"There is no project {project_id}.", "List them: `tocsin projects list`.")
    accepted = await accept(app, project_id, batch)
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
