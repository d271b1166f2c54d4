"""The figures of weeks: counted once, exact to what a bucket allows, and the same as PostgreSQL's own percentiles."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tests.app.conftest import Crew, Inbox, Tables, run
from tests.support.clock import FakeClock
from tests.support.lives import FOLLOW_UPS, LESSONS, ROOT_CAUSE, reported
from tocsin.app import learning, leases, respond
from tocsin.app.learning import Learned
from tocsin.app.open_incident import open_by_hand
from tocsin.app.work import App
from tocsin.domain.access import Actor
from tocsin.domain.incident import RootCauseCategory, Severity
from tocsin.domain.learning import duration_of, week_of
from tocsin.domain.workflow import Acknowledge, Close, Resolve
from tocsin.errors import Code, TocsinError
from tocsin.store import learning as store
from tocsin.worker.handlers import COUNT_WEEKS

pytestmark = pytest.mark.anyio


async def lived(
    app: App, clock: FakeClock, actor: Actor, failure: str, minutes: tuple[int, int], severity: Severity = Severity.HIGH
) -> None:
    """Let an incident be acknowledged and resolved after so many minutes each, and closed."""
    incident_id = await reported(app, failure, severity)
    clock.forward(minutes=minutes[0])
    async with app.work() as work:
        await respond.acknowledge(work, actor, incident_id, Acknowledge("on it"))
    async with app.work() as work:
        await respond.record_root_cause(work, actor, incident_id, ROOT_CAUSE)
    clock.forward(minutes=minutes[1])
    async with app.work() as work:
        await respond.resolve(work, actor, incident_id, Resolve("mended"))
    async with app.work() as work:
        await respond.close(work, actor, incident_id, Close(LESSONS, FOLLOW_UPS))


async def counted(app: App, actor: Actor, weeks: int = 13) -> Learned:
    """Count, and return the figures."""
    async with app.work() as work:
        await learning.count_weeks(work)
        return await learning.learned(work, actor, weeks)


def near(found: timedelta, minutes: float) -> bool:
    """Tell whether a figure is exact to 2.5 % (and a second)."""
    return abs(found.total_seconds() - minutes * 60) <= minutes * 60 * 0.0251 + 1


async def test_nothing_is_counted_before_the_first_count(app: App, crew: Crew) -> None:
    async with app.work() as work:
        found = await learning.learned(work, crew.dee)
    assert (found.counted_at, found.acknowledged, found.recurring) == (None, None, [])
    assert len(found.weeks) == 13


async def test_what_a_process_keeps_is_what_was_counted_last(app: App, crew: Crew, clock: FakeClock) -> None:
    kept = learning.Kept()

    async def figures(weeks: int = 13) -> Learned:
        async with app.work() as work:
            found = await learning.learned(work, crew.dee, weeks, kept)
            assert found == await learning.learned(work, crew.dee, weeks)
        return found

    assert (await figures()).acknowledged is None
    for expected in (1, 2):
        await lived(app, clock, crew.olga, f"Failure{expected}", (1, 5))
        clock.forward(minutes=5)
        await counted(app, crew.dee)
        for weeks in (13, 1, 13, 52):
            acknowledged = (await figures(weeks)).acknowledged
            assert acknowledged is not None
            assert acknowledged.number == expected
    first = await figures()
    assert (await figures()).weeks is first.weeks, "nothing was summed up again"
    clock.forward(days=7)
    assert (await figures()).since == first.since + timedelta(days=7)


async def test_how_long_it_takes_is_told_by_severity_and_week(app: App, crew: Crew, clock: FakeClock) -> None:
    for index, minutes in enumerate((1, 5, 9, 13, 100)):
        await lived(app, clock, crew.olga, f"Failure{index}", (minutes, 60))
    await lived(app, clock, crew.olga, "Worse", (2, 30), Severity.CRITICAL)
    found = await counted(app, crew.dee)
    assert found.acknowledged is not None
    assert found.resolved is not None
    assert (found.acknowledged.number, found.resolved.number) == (6, 6)
    assert near(found.acknowledged.median, 5)
    assert near(found.acknowledged.p90, 100)
    assert near(found.acknowledged.mean, 130 / 6)
    assert [one.name for one in found.acknowledged_by_severity] == ["CRITICAL", "HIGH"]
    assert near(found.acknowledged_by_severity[0].median, 2)
    assert near(found.resolved_by_severity[0].median, 32)
    assert [(one.name, one.number) for one in found.acknowledged_by_service] == [("default", 6)]
    assert found.causes[RootCauseCategory.CONFIGURATION] == 6
    last = found.weeks[-1]
    assert (last.week, last.opened, last.came_back) == (week_of(clock.now), 6, 0)
    assert last.acknowledged is not None
    assert near(last.acknowledged.median, 5)


async def test_what_happened_earlier_keeps_its_week(app: App, crew: Crew, clock: FakeClock, tables: Tables) -> None:
    await lived(app, clock, crew.olga, "Early", (10, 10))
    week = week_of(clock.now)
    await counted(app, crew.dee)
    clock.forward(days=15)
    await lived(app, clock, crew.olga, "Late", (20, 10))
    found = await counted(app, crew.dee)
    assert [(one.week, one.opened) for one in found.weeks if one.opened] == [(week, 1), (week_of(clock.now), 1)]
    narrow = await counted(app, crew.dee, weeks=1)
    assert narrow.acknowledged is not None
    assert near(narrow.acknowledged.median, 20)
    tables.connection.execute(b"UPDATE learning_weeks SET incidents = 7 WHERE week = %s", [week])
    again = await counted(app, crew.dee)
    opened = {one.week: one.opened for one in again.weeks}
    assert opened[week] == 7, "a week that is over is not counted again"


async def test_every_week_of_a_year_is_counted_once(app: App, crew: Crew, tables: Tables) -> None:
    runs = []
    for _ in range(5):
        async with app.work() as work:
            runs.append(await learning.count_weeks(work))
    assert runs == [13, 13, 13, 13, 4]
    assert tables.value("SELECT count(*) FROM learned_weeks") == 52


async def test_what_comes_back_is_told_with_its_chain(app: App, crew: Crew, clock: FakeClock, tables: Tables) -> None:
    for _ in range(3):
        await lived(app, clock, crew.olga, "Again", (1, 1))
        clock.forward(days=2)
    await lived(app, clock, crew.olga, "Once", (1, 1))
    found = await counted(app, crew.dee)
    (one,) = found.recurring
    assert (one.times, one.project_name, one.category) == (2, "default", "CONFIGURATION")
    assert one.chain == sorted(one.chain)
    assert one.number == one.chain[-1]
    assert len(one.chain) == 3
    assert sum(week.came_back for week in found.weeks) == 2


async def test_services_beyond_the_largest_are_one(
    app: App, crew: Crew, tables: Tables, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in ("payments", "search", "payments", "mail"):
        async with app.work() as work:
            said = {"severity": Severity.HIGH, "title": "It broke", "description": "", "service": service}
            incident_id = await open_by_hand(work, crew.olga, **said)  # type: ignore[arg-type]
        async with app.work() as work:
            await respond.acknowledge(work, crew.olga, incident_id, Acknowledge("on it"))
    monkeypatch.setattr(store, "MAX_SERVICES", 1)
    async with app.work() as work:
        await learning.count_weeks(work)
    names = tables.rows("SELECT name, incidents FROM learning_weeks WHERE scope = 'SERVICE' ORDER BY name")
    assert names == [("(other services)", 2), ("payments", 2)]


async def test_the_worker_counts(app: App, crew: Crew, inbox: Inbox, tables: Tables) -> None:
    await leases.ensure_chores(app, (COUNT_WEEKS,))
    await run(app, inbox)
    assert tables.value("SELECT count(*) FROM learned_weeks") == 13


@pytest.mark.parametrize("weeks", [0, -1, 53])
async def test_a_period_has_a_bound(app: App, crew: Crew, weeks: int) -> None:
    with pytest.raises(TocsinError) as caught:
        async with app.work() as work:
            await learning.learned(work, crew.dee, weeks)
    assert caught.value.refusal.code is Code.INVALID


async def test_a_member_learns_nothing(app: App, crew: Crew) -> None:
    with pytest.raises(TocsinError) as caught:
        async with app.work() as work:
            await learning.learned(work, crew.mia)
    assert caught.value.refusal.code is Code.FORBIDDEN


def test_a_bucket_stands_for_a_duration() -> None:
    assert duration_of(0) == timedelta()
    assert abs(duration_of(131).total_seconds() - 600) < 15
    assert week_of(FakeClock().now) <= FakeClock().now.date() < week_of(FakeClock().now) + timedelta(weeks=1)
    assert date(2026, 3, 2).weekday() == 0
