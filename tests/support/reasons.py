"""That each candidate of each step has a reason: a missing one is a bug, wherever it is found."""

from __future__ import annotations

from tocsin.app import read_incidents
from tocsin.app.why import unexplained
from tocsin.app.work import App
from tocsin.domain.access import Actor


async def check_reasons(app: App, admin: Actor) -> None:
    """Assert that every candidate of every step of the latest incidents was paged or not for a recorded reason."""
    async with app.work() as work:
        found = await read_incidents.list_incidents(work, admin, read_incidents.IncidentFilter(), limit=20)
        missing = {f"INC-{row.number}": await unexplained(work, row.id) for row in found.incidents}
    assert not any(missing.values()), missing
