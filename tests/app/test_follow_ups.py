"""Follow-up actions: owed from the closing on, listed by owner, marked once, and loud while they are overdue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from tests.app.conftest import Crew, Inbox, Tables, run
from tests.support.clock import FakeClock
from tests.support.lives import ROOT_CAUSE, reported
from tocsin.app import follow_ups, leases, respond
from tocsin.app.erase import Grounds, erase_incident
from tocsin.app.follow_ups import FollowUpPage, Wanted, Which
from tocsin.app.work import App
from tocsin.domain.access import Actor
from tocsin.domain.follow_up import FollowUpAction, due_instant, next_reminder
from tocsin.domain.workflow import Acknowledge, Close, Resolve
from tocsin.errors import Code, TocsinError
from tocsin.worker.handlers import REMIND

pytestmark = pytest.mark.anyio


async def closed(app: App, actor: Actor, actions: Sequence[FollowUpAction], failure: str = "ConnectionError") -> int:
    """Let an incident live and close with these promises; return its number."""
    incident_id = await reported(app, failure)
    steps = (
        lambda work: respond.acknowledge(work, actor, incident_id, Acknowledge("on it")),
        lambda work: respond.record_root_cause(work, actor, incident_id, ROOT_CAUSE),
        lambda work: respond.resolve(work, actor, incident_id, Resolve("mended")),
        lambda work: respond.close(work, actor, incident_id, Close("measure it", tuple(actions))),
    )
    for step in steps:
        async with app.work() as work:
            taken = await step(work)
    number: int = taken.head.number  # type: ignore[union-attr]  # the last step is the closing
    return number


def in_days(clock: FakeClock, days: int) -> str:
    """Return a day as people write it."""
    return (clock.now + timedelta(days=days)).date().isoformat()


async def listed(app: App, actor: Actor, **wanted: object) -> FollowUpPage:
    """List actions."""
    async with app.work() as work:
        return await follow_ups.list_follow_ups(work, actor, Wanted(**wanted))  # type: ignore[arg-type]


def titles(page: FollowUpPage) -> list[str | None]:
    """Return what a list shows."""
    return [row.title for row in page.follow_ups]


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2026-12-01", datetime(2026, 12, 2, tzinfo=UTC)),
        ("20261201", datetime(2026, 12, 2, tzinfo=UTC)),
        ("2026-W49-2", datetime(2026, 12, 2, tzinfo=UTC)),
        ("2026-12-01T09:00", datetime(2026, 12, 1, 9, tzinfo=UTC)),
        ("2026-12-01T09:00:00+02:00", datetime(2026, 12, 1, 7, tzinfo=UTC)),
        ("9999-12-31", None),
        ("0001-01-01T00:00:00+10:00", None),
        (None, None),
    ],
)
def test_a_day_is_over_at_its_end(written: str | None, instant: datetime | None) -> None:
    assert due_instant(written) == instant


def test_reminders_come_ever_more_seldom_and_never_end() -> None:
    assert [next_reminder(number).days for number in (1, 2, 3, 4, 5, 6, 7, 1_000)] == [1, 2, 4, 8, 16, 32, 32, 32]


async def test_promises_are_owed_from_the_closing_on(app: App, crew: Crew, clock: FakeClock) -> None:
    actions = [
        FollowUpAction("later", "Olga", in_days(clock, 9)),
        FollowUpAction("some time"),
        FollowUpAction("soon", "OLGA@example.org", in_days(clock, 1)),
        FollowUpAction("sam's", "sam", in_days(clock, 2)),
    ]
    await closed(app, crew.olga, actions)
    assert titles(await listed(app, crew.dee)) == ["soon", "sam's", "later", "some time"]
    assert titles(await listed(app, crew.olga, mine=True)) == ["soon", "later"]
    assert titles(await listed(app, crew.dee, owner=" SAM ")) == ["sam's"]
    assert titles(await listed(app, crew.dee, which=Which.OVERDUE)) == []
    clock.forward(days=3)
    page = await listed(app, crew.dee, which=Which.OVERDUE)
    assert (titles(page), page.overdue) == (["soon", "sam's"], 2)
    assert titles(await listed(app, crew.olga, mine=True, which=Which.OVERDUE)) == ["soon"]
    first = await listed(app, crew.dee, limit=1)
    assert (titles(first), first.has_more) == (["soon"], True)
    assert titles(await listed(app, crew.dee, limit=10, offset=3)) == ["some time"]


async def test_a_resolution_that_closes_promises_too(app: App, crew: Crew) -> None:
    incident_id = await reported(app)
    whole = Resolve("mended", None, None, "measure it", (FollowUpAction("alert"),))
    for step in (
        lambda work: respond.acknowledge(work, crew.olga, incident_id, Acknowledge("on it")),
        lambda work: respond.record_root_cause(work, crew.olga, incident_id, ROOT_CAUSE),
        lambda work: respond.resolve(work, crew.olga, incident_id, whole),
    ):
        async with app.work() as work:
            await step(work)
    assert titles(await listed(app, crew.olga)) == ["alert"]


async def test_who_marks_second_is_told_who_was_first(app: App, crew: Crew) -> None:
    number = await closed(app, crew.olga, [FollowUpAction("alert")])
    async with app.work() as work:
        row = await follow_ups.mark_done(work, crew.olga, number, 1, " alert at 1,000 ")
    assert (row.state, row.marked_by_name, row.note) == ("DONE", "Olga", "alert at 1,000")
    with pytest.raises(TocsinError, match="Olga has done action 1 of INC-"):
        async with app.work() as work:
            await follow_ups.mark_done(work, crew.sam, number, 1)
    assert titles(await listed(app, crew.dee, which=Which.DONE)) == ["alert"]
    async with app.work() as work:
        again = await follow_ups.reopen(work, crew.sam, number, 1)
    assert (again.state, again.marked_by_name, again.note) == ("REOPENED", "Sam", None)
    with pytest.raises(TocsinError) as caught:
        async with app.work() as work:
            await follow_ups.reopen(work, crew.sam, number, 1)
    assert caught.value.refusal.code is Code.CONFLICT


@pytest.mark.parametrize("position", [0, -1, 2, 51, 2**40])
async def test_an_action_that_is_not_there_is_not_found(app: App, crew: Crew, position: int) -> None:
    number = await closed(app, crew.olga, [FollowUpAction("alert")])
    with pytest.raises(TocsinError) as caught:
        async with app.work() as work:
            await follow_ups.mark_done(work, crew.olga, number, position)
    assert caught.value.refusal.code is Code.NOT_FOUND


@pytest.mark.parametrize("note", ["x" * 501, "two\nlines", "a\x00b"])
async def test_a_note_is_one_line(app: App, crew: Crew, note: str) -> None:
    number = await closed(app, crew.olga, [FollowUpAction("alert")])
    with pytest.raises(TocsinError) as caught:
        async with app.work() as work:
            await follow_ups.mark_done(work, crew.olga, number, 1, note)
    assert caught.value.refusal.code is Code.INVALID


async def test_only_who_responds_marks(app: App, crew: Crew) -> None:
    number = await closed(app, crew.olga, [FollowUpAction("alert")])
    for marking in (follow_ups.mark_done, follow_ups.reopen):
        with pytest.raises(TocsinError) as caught:
            async with app.work() as work:
                await marking(work, crew.dee, number, 1)
        assert caught.value.refusal.code is Code.FORBIDDEN


def reminders(tables: Tables) -> int:
    """Return how many reports of overdue actions there are."""
    count: int = tables.value("SELECT count(*) FROM audit_logs WHERE error_type = 'FollowUpOverdue'")
    return count


async def test_what_is_overdue_is_brought_up_ever_more_seldom_until_it_is_done(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    number = await closed(app, crew.olga, [FollowUpAction("secret words", "olga", in_days(clock, 0))])
    await run(app, inbox)
    assert reminders(tables) == 0
    days = []
    for day in range(1, 100):
        clock.forward(days=1)
        before = reminders(tables)
        async with app.work() as work:
            await follow_ups.remind(work)
            await follow_ups.remind(work)
        if reminders(tables) > before:
            days.append(day)
    assert days == [1, 2, 4, 8, 16, 32, 64, 96]
    message = tables.value("SELECT title FROM incidents WHERE project_id = 0 LIMIT 1")
    assert f"1 follow-up action of INC-{number} overdue since " in message
    assert "secret words" not in message
    assert tables.value("SELECT count(*) FROM incidents WHERE project_id = 0") == 1
    async with app.work() as work:
        await follow_ups.mark_done(work, crew.olga, number, 1)
    clock.forward(days=40)
    async with app.work() as work:
        await follow_ups.remind(work)
    assert reminders(tables) == 8
    async with app.work() as work:
        await follow_ups.reopen(work, crew.olga, number, 1)
        await follow_ups.remind(work)
    assert reminders(tables) == 9


async def test_the_worker_reminds_and_the_on_call_is_paged(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await leases.ensure_chores(app, (REMIND,))
    await closed(app, crew.olga, [FollowUpAction("alert", None, in_days(clock, 0))])
    await run(app, inbox)
    inbox.taken()
    clock.forward(days=1)
    await run(app, inbox)
    assert next(who for who, _ in inbox.taken()) == "olga"
    assert tables.value("SELECT severity FROM incidents WHERE project_id = 0") == "HIGH"


@pytest.mark.slow
async def test_many_at_once_are_one_page(app: App, crew: Crew, clock: FakeClock, tables: Tables) -> None:
    for index in range(follow_ups.MANY + 1):
        await closed(app, crew.olga, [FollowUpAction("alert", None, in_days(clock, 0))], f"Failure{index}")
    clock.forward(days=1)
    async with app.work() as work:
        await follow_ups.remind(work)
        await follow_ups.remind(work)
    assert reminders(tables) == 1
    assert "11 follow-up actions of 11 incidents are overdue" in tables.value(
        "SELECT title FROM incidents WHERE title LIKE 'FollowUpOverdue%%'"
    )


async def test_an_erasure_takes_title_and_owner_along(app: App, crew: Crew, tables: Tables) -> None:
    number = await closed(app, crew.olga, [FollowUpAction("call Eve", "eve")])
    async with app.work() as work:
        await erase_incident(work, crew.ada, number, ["follow_up_actions"], Grounds("she asked"))
    (row,) = (await listed(app, crew.dee)).follow_ups
    assert (row.title, row.owner, row.due) == (None, None, None)
    assert tables.value("SELECT count(*) FROM follow_ups WHERE owner IS NOT NULL") == 0
    async with app.work() as work:
        assert (await follow_ups.mark_done(work, crew.olga, number, 1)).title is None


async def test_the_next_one_is_shown_what_was_not_done(app: App, crew: Crew, clock: FakeClock) -> None:
    number = await closed(
        app,
        crew.olga,
        [FollowUpAction("late", None, in_days(clock, 0)), FollowUpAction("not yet", None, in_days(clock, 9))],
    )
    clock.forward(days=2)
    async with app.work() as work:
        assert [row.title for row in await follow_ups.overdue_of(work, crew.dee, number)] == ["late"]
