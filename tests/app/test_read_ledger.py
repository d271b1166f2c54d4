"""The ledger is shown as it is written, and what is wrong with it is said aloud; samples are shown with their count."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.app.conftest import Crew, Tables
from tests.support.clock import START, FakeClock
from tests.support.lives import error_report
from tests.support.reporting import accept
from tocsin.app import health, ledger, read_incidents, read_ledger, take_in
from tocsin.app.projects import rules_of
from tocsin.app.read_ledger import LedgerView
from tocsin.app.take_in import Intake
from tocsin.app.work import App
from tocsin.domain.access import Actor
from tocsin.domain.arrival import Arrival
from tocsin.domain.incident import Severity
from tocsin.errors import Code, TocsinError

pytestmark = pytest.mark.anyio


async def view(app: App, actor: Actor, **asked: object) -> LedgerView:
    """Return the ledger as a person sees it."""
    async with app.work() as work:
        return await read_ledger.read_ledger(work, actor, **asked)  # type: ignore[arg-type]


async def test_the_ledger_adds_up_and_says_what_became_of_each_report(app: App, admin: Actor, clock: FakeClock) -> None:
    loud = error_report("A")
    await accept(app, 1, [loud, error_report("A"), error_report("B", Severity.LOW)])
    await accept(app, 1, [loud])
    intake = Intake(app)
    await intake.count(1, {("received", "test"): 2, ("rejected", "INVALID"): 2})
    await intake.close()
    shown = await view(app, admin)
    (tally,) = shown.tallies
    assert (tally.opened, tally.joined, tally.recorded, tally.duplicate) == (1, 1, 1, 1)
    assert (tally.received, tally.rejected, tally.difference) == ({"test": 6}, {"INVALID": 2}, 0)
    assert (shown.since, shown.until) == (START - timedelta(minutes=59), START + timedelta(minutes=1))
    assert shown.minutes is None


async def test_the_ledger_is_shown_of_a_time_of_a_project_and_by_minute(
    app: App, admin: Actor, clock: FakeClock
) -> None:
    await accept(app, 1, [error_report("A")])
    clock.forward(seconds=90)
    await accept(app, 1, [error_report("A")])
    await accept(app, 0, [error_report("A")])
    both = await view(app, admin, project_id=1, by_minute=True)
    assert both.minutes is not None
    assert [(minute, sum(tally.received.values())) for minute, tally in both.minutes] == [
        (START + timedelta(minutes=1), 1),
        (START, 1),
    ]
    assert [tally.project_id for tally in (await view(app, admin)).tallies] == [0, 1]
    first = await view(app, admin, project_id=1, until=START)
    assert [tally.received for tally in first.tallies] == [{"test": 1}]
    second = await view(app, admin, project_id=1, since=START + timedelta(seconds=61))
    assert [(tally.opened, tally.joined) for tally in second.tallies] == [(0, 1)]


@pytest.mark.parametrize("ago", [timedelta(days=-1), timedelta(minutes=-1), timedelta(days=90, minutes=2)])
async def test_a_time_that_is_none_or_too_long_is_refused(app: App, admin: Actor, ago: timedelta) -> None:
    with pytest.raises(TocsinError) as caught:
        await view(app, admin, since=START - ago)
    assert caught.value.refusal.code is Code.INVALID
    assert (await view(app, admin, since=START - timedelta(days=90))).tallies == []


async def test_minutes_are_refused_rather_than_cut_short(
    app: App, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accept(app, 1, [error_report("A"), error_report("B", Severity.LOW)])
    monkeypatch.setattr(read_ledger, "MAX_MINUTES_LISTED", 4)
    assert (await view(app, admin, by_minute=True)).minutes
    monkeypatch.setattr(read_ledger, "MAX_MINUTES_LISTED", 3)
    with pytest.raises(TocsinError) as caught:
        await view(app, admin, by_minute=True)
    assert "name a project" in caught.value.refusal.message


async def test_the_ledger_and_the_reports_are_for_who_may_read(app: App, crew: Crew) -> None:
    (opened,) = await accept(app, 1, [error_report("A")])
    assert opened.incident_id is not None
    assert (await view(app, crew.dee)).tallies
    async with app.work() as work:
        assert (await read_incidents.list_reports(work, crew.dee, opened.incident_id)).occurrences == 1
    with pytest.raises(TocsinError) as caught:
        await view(app, crew.mia)
    assert caught.value.refusal.code is Code.FORBIDDEN
    with pytest.raises(TocsinError) as caught:
        async with app.work() as work:
            await read_incidents.list_reports(work, crew.mia, opened.incident_id)
    assert caught.value.refusal.code is Code.FORBIDDEN


async def test_a_difference_is_a_problem_for_a_day_and_stops_nothing(
    app: App, clock: FakeClock, tables: Tables
) -> None:
    await accept(app, 1, [error_report("A")])
    tables.connection.execute(
        "UPDATE tocsin.intake_changes SET quantity = 2 WHERE measure = 'joined' OR measure = 'opened'"
    )
    clock.forward(minutes=5)
    assert [problem for problem in await _problems(app) if problem.name == "intake_ledger"] == []
    async with app.work() as work:
        assert await ledger.check_ledger(work)
    (problem,) = [problem for problem in await _problems(app) if problem.name == "intake_ledger"]
    assert not problem.stops_service
    number = tables.value("SELECT number FROM current_incident_status WHERE project_id = 0")
    assert f"incidents show {number}" in problem.hint
    clock.forward(hours=24, seconds=1)
    assert [problem for problem in await _problems(app) if problem.name == "intake_ledger"] == []


async def _problems(app: App) -> tuple[health.Problem, ...]:
    async with app.work() as work:
        return (await health.condition(work)).problems


async def test_the_condition_of_intake_knows_real_losses_from_deliberate_ones(app: App) -> None:
    async with app.work() as work:
        project = await rules_of(work, 1)
    intake = Intake(app)
    await intake.tell_losses(
        project,
        {("queue_overflow", "error"): 3, ("sample_rate", "error"): 5, ("queue_overflow", "transaction"): 7},
        "origin",
    )
    await intake.close()
    async with app.work() as work:
        condition = await read_ledger.intake_condition(work)
    assert condition.checked_to is None
    (tally,) = condition.tallies
    assert sum(tally.lost.values()) == 15
    assert read_ledger.errors_lost(tally) == {"queue_overflow/error": 3}


async def test_samples_are_shown_newest_first_with_how_many_they_stand_for(
    app: App, admin: Actor, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow the machine: after a real pause one more would be kept.
    monkeypatch.setattr(take_in, "monotonic_seconds", lambda: 0.0)
    intake = Intake(app)
    async with app.work() as work:
        project = await rules_of(work, 1)
    for number in range(25):
        clock.forward(seconds=1)
        report = error_report("A", event_id=f"e{number}")
        (taken,) = await intake.take_in(project, [Arrival.of(report)], "test")
    await intake.close()
    assert taken.incident_id is not None
    async with app.work() as work:
        shown = await read_incidents.list_reports(work, admin, taken.incident_id, limit=50)
        three = await read_incidents.list_reports(work, admin, taken.incident_id, limit=3)
    assert shown.occurrences == 25
    assert [row.event_id for row in shown.reports][:3] == ["e24", "e15", "e3"], "the latest, the 16th, the 4th"
    assert len(shown.reports) == 6
    assert [row.event_id for row in three.reports] == ["e24", "e15", "e3"]
    assert shown.reports[-1].outcome == "opened"


@pytest.mark.parametrize("limit", [0, 51])
async def test_a_number_of_reports_out_of_bounds_is_refused(app: App, admin: Actor, limit: int) -> None:
    (taken,) = await accept(app, 1, [error_report("A")])
    assert taken.incident_id is not None
    with pytest.raises(TocsinError) as caught:
        async with app.work() as work:
            await read_incidents.list_reports(work, admin, taken.incident_id, limit)
    assert caught.value.refusal.code is Code.INVALID
