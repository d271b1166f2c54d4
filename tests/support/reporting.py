"""Reports errors as the doors do, without a server: through an intake of its own, as of one process."""

from __future__ import annotations

from collections.abc import Sequence

from tocsin.app.projects import rules_of
from tocsin.app.report_errors import Accepted
from tocsin.app.take_in import Intake
from tocsin.app.work import App
from tocsin.domain.arrival import Arrival
from tocsin.domain.report import ErrorReport


async def accept(app: App, project_id: int, batch: Sequence[ErrorReport]) -> list[Accepted]:
    """Take in the reports of one request; when this returns, they are committed, and samples of them kept."""
    async with app.work() as work:
        project = await rules_of(work, project_id)
    intake = Intake(app)
    accepted = await intake.take_in(project, [Arrival.of(report) for report in batch], "test")
    await intake.close()
    return accepted
