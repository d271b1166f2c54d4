"""What the database holds of a project: whether everything that was accepted is there, and since when."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from psycopg import AsyncConnection

from bench.support.installation import Installation
from tocsin.app import projects
from tocsin.clock import monotonic_seconds

PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.05
_COUNTED = b"""
SELECT count(*), count(DISTINCT fingerprint), coalesce(sum(occurrences), 0)::bigint
FROM tocsin.current_incident_status WHERE project_id = %(project_id)s
"""


@dataclass(frozen=True, slots=True)
class Counted:
    """Incidents, of how many failures, and their occurrences; `seconds` after the moment that was asked about."""

    incidents: int
    failures: int
    occurrences: int
    seconds: float


async def new_project(installation: Installation, name: str) -> tuple[int, str]:
    """Make a project for one measurement; return its number and intake key."""
    async with installation.app.work() as work:
        return await projects.add_project(work, installation.admin, name)


async def counted(installation: Installation, project_id: int, occurrences: int, since: float) -> Counted:
    """Look until so many occurrences are counted, at most PATIENCE_SECONDS; `since` is a monotonic instant."""
    deadline = monotonic_seconds() + PATIENCE_SECONDS
    async with await AsyncConnection.connect(installation.sources.migrator, autocommit=True) as connection:
        while True:
            found = await (await connection.execute(_COUNTED, {"project_id": project_id})).fetchone()
            assert found is not None, "an aggregate has a row"
            incidents, failures, counts = found
            result = Counted(incidents, failures, counts, monotonic_seconds() - since)
            if result.occurrences >= occurrences or monotonic_seconds() > deadline:
                return result
            await asyncio.sleep(PAUSE_SECONDS)
