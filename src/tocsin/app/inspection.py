"""Looks an installation over for the doctor: everything that the database can tell, at one instant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tocsin.app import health
from tocsin.app.guards import GuardReport, examine_guards
from tocsin.app.health import Condition
from tocsin.app.read_ledger import IntakeCondition, intake_condition
from tocsin.app.work import App
from tocsin.store import inspection
from tocsin.store.inspection import DutyHolder, ServerRow, TallyDifference
from tocsin.store.jobs import DeadJob


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was seen. `clock_ahead` is how far the database's clock is ahead of this machine's."""

    server: ServerRow
    clock_ahead: timedelta
    duty_holders: tuple[DutyHolder, ...]
    tally_differences: tuple[TallyDifference, ...]
    condition: Condition
    dead_jobs: tuple[DeadJob, ...]
    intake: IntakeCondition
    guards: GuardReport


async def inspect(app: App) -> Inspection:
    """Look at the server, the duties, the counters, the machinery, the intake and the guards of the record."""
    async with app.work() as work:
        before = app.clock()
        server = await inspection.server(work.tx)
        # The database answered somewhere between the two readings.
        here = before + (app.clock() - before) / 2
        return Inspection(
            server=server,
            clock_ahead=server.now - here,
            duty_holders=tuple(await inspection.duty_holders(work.tx)),
            tally_differences=tuple(await inspection.tally_differences(work.tx)),
            condition=await health.condition(work),
            dead_jobs=tuple(await health.dead_jobs(work)),
            intake=await intake_condition(work),
            guards=await examine_guards(work.tx),
        )
