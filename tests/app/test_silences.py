"""Silences: bounded, explained, said by who may, and ended together with what they held."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

import pytest

from tests.app.conftest import Crew, Tables
from tests.support.cases import cases
from tests.support.clock import FakeClock
from tests.support.lives import FOLLOW_UPS, LESSONS, RESOLVED, ROOT_CAUSE, reported
from tocsin import ids
from tocsin.app import respond, silences
from tocsin.app.silences import Ended, Wanted
from tocsin.app.work import App, Work
from tocsin.domain.access import Actor
from tocsin.domain.incident import Severity
from tocsin.domain.silence import SilenceFacts, SilenceKind, holding
from tocsin.domain.workflow import Acknowledge, Close
from tocsin.errors import Code, Refusal, TocsinError
from tocsin.store import silences as store
from tocsin.store.silences import SilenceRow

pytestmark = pytest.mark.anyio

T = TypeVar("T")
Change = Callable[[Work], Awaitable[T]]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DEPLOY = Wanted("deploy", service="payments", length=2 * HOUR)


async def done(app: App, change: Change[T]) -> T:
    """Do something in a unit of work of its own."""
    async with app.work() as work:
        return await change(work)


async def refused(app: App, change: Change[object]) -> Refusal:
    """Return the refusal of something."""
    with pytest.raises(TocsinError) as caught:
        await done(app, change)
    return caught.value.refusal


async def added(app: App, actor: Actor, wanted: Wanted) -> SilenceRow:
    """Add a silence."""
    return await done(app, lambda work: silences.add_silence(work, actor, wanted))


async def refusal_of(app: App, actor: Actor, wanted: Wanted) -> Refusal:
    """Return why a silence is refused."""
    return await refused(app, lambda work: silences.add_silence(work, actor, wanted))


async def ended(app: App, actor: Actor, silence_id: UUID) -> Ended:
    """End a silence."""
    return await done(app, lambda work: silences.end_silence(work, actor, silence_id))


async def holds(app: App, facts: SilenceFacts, at: datetime) -> str | None:
    """Return the reason of the silence that holds the pages of an incident back."""
    async with app.work() as work:
        found = holding(await store.load_active(work.tx, at), facts, at)
    return found.reason if found else None


def facts(**changes: object) -> SilenceFacts:
    """Return an incident of payments."""
    return replace(SilenceFacts(ids.new_id(), 1, "payments", Severity.HIGH), **changes)  # type: ignore[arg-type]


async def test_what_is_said_holds_from_its_start_to_its_end(app: App, crew: Crew, clock: FakeClock) -> None:
    row = await added(app, crew.ada, DEPLOY)
    assert (row.kind, row.service, row.created_by_name, row.ended_by) == ("SILENCE", "payments", "ada", None)
    assert row.ends_at - row.starts_at == 2 * HOUR
    assert await holds(app, facts(), clock.now) == "deploy"
    assert await holds(app, facts(service="search"), clock.now) is None
    window = Wanted(
        "new disks",
        SilenceKind.MAINTENANCE,
        project="default",
        severities={Severity.HIGH, Severity.LOW},
        starts_at=clock.now + DAY,
        ends_at=clock.now + 2 * DAY,
    )
    planned = await added(app, crew.ada, window)
    assert (planned.kind, planned.project_name, planned.severities) == ("MAINTENANCE", "default", ["LOW", "HIGH"])
    listed = await done(app, lambda work: silences.list_silences(work, crew.dee))
    assert [one.reason for one in listed] == ["deploy", "new disks"]
    async with app.work() as work:
        assert [one.reason for one in await store.load_active(work.tx, clock.now, 2 * DAY)] == ["deploy", "new disks"]
    clock.forward(hours=2)
    assert await holds(app, facts(), clock.now) is None
    clock.forward(hours=22)
    assert await holds(app, facts(service="search"), clock.now) == "new disks"
    assert [one.reason for one in await done(app, lambda work: silences.list_silences(work, crew.dee))] == ["new disks"]
    everything = await done(app, lambda work: silences.list_silences(work, crew.dee, all_of_them=True))
    assert [one.reason for one in everything] == ["new disks", "deploy"]


async def test_a_window_that_began_already_begins_now(app: App, crew: Crew, clock: FakeClock) -> None:
    row = await added(app, crew.ada, replace(DEPLOY, starts_at=clock.now - DAY))
    assert (row.starts_at, row.ends_at) == (clock.now, clock.now + 2 * HOUR)


@cases(
    ("changes", "field"),
    [
        ({"reason": " "}, "reason"),
        ({"reason": "x" * 1_001}, "reason"),
        ({"reason": "\ud800"}, "reason"),
        ({"service": ""}, "service"),
        ({"service": "x" * 201}, "service"),
        ({"service": "a\nb"}, "service"),
        ({"service": None}, "everything"),
        ({"severities": set(), "service": None}, "everything"),
        ({"everything": True}, "everything"),
        ({"length": None}, "endsAt"),
        ({"length": timedelta()}, "endsAt"),
        ({"length": -HOUR}, "endsAt"),
        ({"length": 30 * DAY + timedelta.resolution}, "length"),
        ({"length": timedelta.max}, "length"),
        ({"ends": timedelta(hours=1)}, "endsAt"),
        ({"length": None, "ends": timedelta()}, "endsAt"),
        ({"length": None, "ends": -DAY, "starts": -2 * DAY}, "endsAt"),
        ({"length": None, "ends": 31 * DAY}, "endsAt"),
        ({"length": None, "ends": 2 * DAY, "starts": 3 * DAY}, "endsAt"),
        ({"starts": 90 * DAY + timedelta.resolution}, "startsAt"),
        ({"starts": 2_900_000 * DAY}, "startsAt"),
    ],
)
async def test_what_no_silence_can_be_is_refused(
    app: App, crew: Crew, clock: FakeClock, changes: dict[str, object], field: str
) -> None:
    said = dict(changes)
    for name in ("starts", "ends"):
        if name in said:
            said[f"{name}_at"] = clock.now + said.pop(name)  # type: ignore[operator]
    refusal = await refusal_of(app, crew.ada, replace(DEPLOY, **said))  # type: ignore[arg-type]
    assert refusal.code is Code.INVALID
    assert refusal.details["errors"][0]["field"] == field  # type: ignore[index]


async def test_the_bounds_themselves_are_taken(app: App, crew: Crew, clock: FakeClock) -> None:
    await added(app, crew.ada, replace(DEPLOY, length=30 * DAY, starts_at=clock.now + 90 * DAY, reason="x" * 1_000))
    await added(app, crew.ada, Wanted("blackout", everything=True, length=timedelta(seconds=1)))
    assert await holds(app, facts(service=None, project_id=None), clock.now) == "blackout"


async def test_what_is_not_there_cannot_be_silenced(app: App, crew: Crew) -> None:
    for wanted in (
        replace(DEPLOY, incident=4711),
        replace(DEPLOY, incident=UUID(int=1)),
        replace(DEPLOY, project=4711),
        replace(DEPLOY, project="nothing"),
    ):
        assert (await refusal_of(app, crew.ada, wanted)).code is Code.NOT_FOUND
    closed = await reported(app)
    async with app.work() as work:
        await respond.acknowledge(work, crew.ada, closed, Acknowledge("On it"))
        await respond.record_root_cause(work, crew.ada, closed, ROOT_CAUSE)
        await respond.resolve(work, crew.ada, closed, RESOLVED)
        await respond.close(work, crew.ada, closed, Close(LESSONS, FOLLOW_UPS))
    assert (await refusal_of(app, crew.ada, replace(DEPLOY, incident=closed))).code is Code.ALREADY_CLOSED


async def test_there_are_only_so_many_at_a_time(
    app: App, crew: Crew, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silences, "MAX_STANDING", 2)
    rows = [await added(app, crew.ada, DEPLOY) for _ in range(2)]
    assert (await refusal_of(app, crew.ada, DEPLOY)).code is Code.CONFLICT
    await ended(app, crew.ada, rows[0].id)
    await added(app, crew.ada, DEPLOY)
    clock.forward(hours=2)
    outcomes = await asyncio.gather(*(added(app, crew.ada, DEPLOY) for _ in range(3)), return_exceptions=True)
    assert len([one for one in outcomes if isinstance(one, SilenceRow)]) == 2


# --- who -------------------------------------------------------------------------------------------------------


async def test_who_may_silence_what(app: App, crew: Crew) -> None:
    incident = await reported(app)
    one = Wanted("on it", incident=incident, length=DAY)
    longer = replace(one, length=DAY + timedelta(seconds=1))
    later = replace(one, starts_at=FakeClock().now + HOUR)
    may: dict[str, tuple[Wanted, set[str]]] = {
        "one incident for a day": (one, {"ada", "Olga"}),
        "for longer": (longer, {"ada"}),
        "a day that ends later": (later, {"ada"}),
        "a service": (DEPLOY, {"ada"}),
        "everything": (Wanted("blackout", everything=True, length=HOUR), {"ada"}),
    }
    for wanted, allowed in may.values():
        for actor in (crew.ada, crew.olga, crew.dee, crew.mia):
            if actor.name in allowed:
                await added(app, actor, wanted)
            else:
                assert (await refusal_of(app, actor, wanted)).code is Code.FORBIDDEN


async def test_who_may_read_and_end_them(app: App, crew: Crew) -> None:
    incident = await reported(app)
    for wanted, allowed in ((Wanted("on it", incident=incident, length=DAY), {"ada", "Olga"}), (DEPLOY, {"ada"})):
        for actor in (crew.ada, crew.olga, crew.dee, crew.mia):
            row = await added(app, crew.ada, wanted)
            if actor.name in allowed:
                assert (await ended(app, actor, row.id)).silence.ended_by == actor.user_id
            else:
                refusal = await refused(app, lambda work, row=row, by=actor: silences.end_silence(work, by, row.id))  # type: ignore[misc]
                assert refusal.code is Code.FORBIDDEN
    assert len(await done(app, lambda work: silences.list_silences(work, crew.dee))) == 5
    assert (await refused(app, lambda work: silences.list_silences(work, crew.mia))).code is Code.FORBIDDEN


# --- the end ---------------------------------------------------------------------------------------------------


def held(tables: Tables, silence: SilenceRow, incident_id: UUID, step: str = "INCIDENT_OPENED") -> None:
    """Write that a silence held a page of an incident back."""
    tables.connection.execute(
        b"INSERT INTO paging_decisions (id, incident_id, step, reason, via, paged, because, silence_id, decided_at)"
        b" VALUES (%s, %s, %s, %s, '', false, 'SILENCED', %s, now())",
        [ids.new_id(), incident_id, step, step, silence.id],
    )


async def test_ending_one_early_sets_off_the_looks_at_what_it_held(
    app: App, crew: Crew, clock: FakeClock, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_LISTED", 2)
    incidents = [await reported(app, f"Failure{number}") for number in range(6)]
    row, other = await added(app, crew.ada, DEPLOY), await added(app, crew.ada, DEPLOY)
    for incident_id in incidents[:5]:
        held(tables, row, incident_id)
        held(tables, row, incident_id, "NO_ACK_1HR")
    held(tables, other, incidents[5])
    async with app.work() as work:
        await respond.acknowledge(work, crew.ada, incidents[4], Acknowledge("On it"))
        await respond.record_root_cause(work, crew.ada, incidents[4], ROOT_CAUSE)
        await respond.resolve(work, crew.ada, incidents[4], RESOLVED)
        await respond.close(work, crew.ada, incidents[4], Close(LESSONS, FOLLOW_UPS))
    clock.forward(minutes=10)
    answer = await ended(app, crew.ada, row.id)
    assert (answer.incidents, answer.silence.ends_at, answer.silence.ended_by_name) == (4, clock.now, "ada")
    due = dict(tables.rows("SELECT key, due_at FROM jobs WHERE kind = 'escalate'"))
    assert [due[f"escalate:{one}"] == clock.now for one in incidents[:4]] == [True] * 4
    assert due[f"escalate:{incidents[5]}"] > clock.now
    assert await holds(app, facts(), clock.now) == "deploy", "the other one still holds"
    again = await refused(app, lambda work: silences.end_silence(work, crew.ada, row.id))
    assert (again.code, "over already" in again.message) == (Code.CONFLICT, True)
    assert (await refused(app, lambda work: silences.end_silence(work, crew.ada, UUID(int=1)))).code is Code.NOT_FOUND


async def test_one_that_is_ended_before_it_began_never_does(app: App, crew: Crew, clock: FakeClock) -> None:
    row = await added(app, crew.ada, replace(DEPLOY, starts_at=clock.now + DAY))
    await ended(app, crew.ada, row.id)
    assert await done(app, lambda work: silences.list_silences(work, crew.ada)) == []
    clock.forward(hours=25)
    assert await holds(app, facts(), clock.now) is None
    assert (await refused(app, lambda work: silences.end_silence(work, crew.ada, row.id))).code is Code.CONFLICT


async def test_who_holds_a_page_back_while_it_is_ended_is_waited_for(
    app: App, crew: Crew, clock: FakeClock, tables: Tables
) -> None:
    row, incident_id = await added(app, crew.ada, DEPLOY), await reported(app)
    async with app.work() as work:
        assert await store.hold(work.tx, row.id, clock.now)
        ending = asyncio.create_task(ended(app, crew.ada, row.id))
        async with asyncio.timeout(10):
            while not tables.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                assert not ending.done()
                await asyncio.sleep(0.01)
        await work.tx.connection.execute(
            b"INSERT INTO paging_decisions (id, incident_id, step, reason, via, paged, because, silence_id, decided_at)"
            b" VALUES (%s, %s, 'INCIDENT_OPENED', 'INCIDENT_OPENED', '', false, 'SILENCED', %s, now())",
            [ids.new_id(), incident_id, row.id],
        )
    assert (await ending).incidents == 1
    async with app.work() as work:
        assert not await store.hold(work.tx, row.id, clock.now)
