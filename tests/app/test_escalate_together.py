"""Looks at many timers at once do what a look at each of them does."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.app.conftest import Crew, Tables, with_settings
from tests.support.clock import FakeClock
from tests.support.lives import ROOT_CAUSE, reported
from tests.support.policies import add_policy, add_silence
from tocsin import ids
from tocsin.app import respond
from tocsin.app.escalate import run_timers
from tocsin.app.escalate_together import run_timers_together
from tocsin.app.work import App, Work
from tocsin.domain.incident import Severity
from tocsin.domain.policy import Step, StepReason, Target
from tocsin.domain.workflow import Acknowledge
from tocsin.errors import TocsinError

pytestmark = pytest.mark.anyio

NextDue = dict[UUID, datetime | None]
Look = Callable[[Work, Sequence[UUID]], Awaitable[NextDue]]
WRITTEN = {
    "entries": "SELECT number, sequence, event_type, metadata, event_at FROM incident_lifecycle e",
    "escalations": "SELECT number, escalation_reason, escalated_to_user_id FROM incident_escalations e",
    "decisions": "SELECT number, step, e.reason, user_id, because, via, until FROM paging_decisions e",
    "pages": "SELECT number, e.reason, user_id, channel, address, subject, body, due_at FROM notifications e",
}


async def one_by_one(work: Work, incident_ids: Sequence[UUID]) -> NextDue:
    """Look at each incident by itself."""
    return {incident_id: (await run_timers(work, incident_id)).next_due_at for incident_id in sorted(incident_ids)}


async def outcome(app: App, look: Look, incident_ids: Sequence[UUID]) -> dict[str, Any]:
    """Return what a look says and what it writes, and take it back."""
    said: dict[str, Any] = {}
    async with app.work() as work:
        said["next_due"] = await look(work, incident_ids)
        for name, query in WRITTEN.items():
            listed = f"SELECT json_agg(row_to_json(r))::text FROM ({query} JOIN incidents i ON i.id = e.incident_id) r"
            rows = json.loads(await work.tx.value(listed.encode()) or "[]")
            said[name] = sorted(json.dumps(row, sort_keys=True) for row in rows)
        said["jobs"] = await work.tx.value(b"SELECT array_agg((kind, due_at)::text ORDER BY kind, due_at) FROM jobs")
        raise psycopg.Rollback
    return said


async def every_kind(app: App, crew: Crew, clock: FakeClock, tables: Tables) -> list[UUID]:
    """Return incidents of every kind: plain, critical, acknowledged, explained, of another policy, silenced."""
    further = Step(StepReason.POLICY_STEP, timedelta(minutes=30), (Target(user_id=crew.sam.user_id),))
    add_policy(tables.connection, "critical", [further], severities=["CRITICAL"], repeat=2)
    found = [await reported(app, f"plain {number}") for number in range(3)]
    found.append(await reported(app, "critical", Severity.CRITICAL))
    found += [await reported(app, name) for name in ("acknowledged", "explained")]
    async with app.work() as work:
        await respond.acknowledge(work, crew.olga, found[-2], Acknowledge("On it"))
        await respond.acknowledge(work, crew.olga, found[-1], Acknowledge("On it"))
        await respond.record_root_cause(work, crew.olga, found[-1], ROOT_CAUSE)
    add_silence(tables.connection, crew.ada.user_id, clock.now, timedelta(minutes=10))
    found.append(await reported(app, "silenced"))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("hours", [0.1, 1, 1.5, 4, 5, 24, 30])
async def test_looks_together_do_what_each_does_by_itself(
    app: App, crew: Crew, clock: FakeClock, tables: Tables, hours: float
) -> None:
    app = with_settings(app, session_blocking=True)
    incident_ids = await every_kind(app, crew, clock, tables)
    clock.forward(hours=hours)
    apart = await outcome(app, one_by_one, incident_ids)
    assert await outcome(app, run_timers_together, incident_ids) == apart
    assert len(apart["escalations"]) >= (3 if hours >= 1 else 0)


async def test_looks_that_run_twice_fire_nothing_twice(app: App, crew: Crew, clock: FakeClock, tables: Tables) -> None:
    incident_ids = [await reported(app, f"failure {number}") for number in range(10)]
    clock.forward(hours=1)
    for _ in range(2):
        async with app.work() as work:
            next_due = await run_timers_together(work, incident_ids)
        assert set(next_due.values()) == {FakeClock().now + timedelta(hours=4)}
    assert tables.escalations() == [("NO_ACK_1HR", "Olga")] * 10


async def test_an_incident_that_is_not_there_is_named(app: App, crew: Crew) -> None:
    missing = ids.new_id()
    with pytest.raises(TocsinError, match=str(missing)):
        await outcome(app, run_timers_together, [await reported(app), missing])
