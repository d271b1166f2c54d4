"""Schedules: who may change them, what a duty held by one is, and what stays impossible."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeVar

import pytest

from tests.app.conftest import Crew, Tables
from tests.support.clock import FakeClock
from tocsin.app import accounts, erase, schedules
from tocsin.app.erase import Grounds
from tocsin.app.work import App, Work
from tocsin.domain.access import Actor
from tocsin.domain.oncall import on_call
from tocsin.domain.policy import Duty
from tocsin.domain.rotation import Layer, Restriction, Rotation, RotationKind
from tocsin.domain.schedule_bounds import MAX_LAYERS
from tocsin.errors import Code, TocsinError

pytestmark = pytest.mark.anyio

T = TypeVar("T")
Step = Callable[[Work], Awaitable[T]]
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


async def done(app: App, step: Step[T]) -> T:
    """Do something in a unit of work of its own."""
    async with app.work() as work:
        return await step(work)


async def refused(app: App, step: Step[Any]) -> TocsinError:
    """Return the refusal of something."""
    with pytest.raises(TocsinError) as caught:
        await done(app, step)
    return caught.value


def weekly(*people: Actor, name: str = "weeks") -> Layer:
    """Return a layer of weeks that begin on a Monday at 09:00."""
    rotation = Rotation(RotationKind.WEEKLY, 1, date(2026, 1, 5), time(9))
    return Layer(name, rotation, tuple(person.user_id for person in people))


@pytest.fixture
async def primary(app: App, crew: Crew, clock: FakeClock) -> str:
    """A schedule in which olga and sam take turns by the week; it is olga's, until Monday."""
    clock.now = datetime(2026, 1, 7, 12, tzinfo=UTC)
    await done(app, lambda work: schedules.add(work, crew.ada, name="primary", time_zone="Europe/Berlin"))
    await done(app, lambda work: schedules.add_layer(work, crew.ada, "primary", weekly(crew.olga, crew.sam)))
    return "primary"


async def names(app: App, actor: Actor, at: datetime | None = None) -> list[str]:
    """Return who is on call."""
    view = await done(app, lambda work: schedules.show(work, actor, "primary", at))
    return [turn.person.name for turn in view.on_call]


async def test_a_schedule_that_holds_a_duty_keeps_somebody_who_can_be_reached(
    app: App, crew: Crew, primary: str, tables: Tables
) -> None:
    await done(app, lambda work: accounts.assign_schedule(work, crew.ada, Duty.ON_CALL, primary))
    refusal = await refused(app, lambda work: schedules.remove_layer(work, crew.ada, primary, "weeks"))
    assert refusal.refusal.code is Code.CONFLICT
    assert "would reach nobody any more" in refusal.refusal.message
    tables.connection.execute("DELETE FROM contact_methods WHERE user_id = %s", [crew.dee.user_id])
    await done(app, lambda work: schedules.add(work, crew.ada, name="silent", time_zone="UTC"))
    await done(app, lambda work: schedules.add_layer(work, crew.ada, "silent", weekly(crew.dee)))
    unreached = await refused(app, lambda work: accounts.assign_schedule(work, crew.ada, Duty.ON_CALL, "silent"))
    assert unreached.refusal.code is Code.CONFLICT


async def test_what_is_stored_is_what_was_given(app: App, crew: Crew, primary: str) -> None:
    office = Restriction(frozenset(range(5)), time(9), time(17, 30))
    custom = Layer(
        "office",
        Rotation(RotationKind.CUSTOM, timedelta(hours=12, minutes=15), date(2026, 2, 1), time(7, 45)),
        (crew.dee.user_id, crew.ada.user_id, crew.dee.user_id),
        (office,),
        datetime(2026, 2, 1, tzinfo=UTC),
        datetime(2026, 3, 1, tzinfo=UTC),
    )
    changed = await done(app, lambda work: schedules.add_layer(work, crew.ada, primary, custom))
    loaded = await done(app, schedules.load)
    assert loaded == {changed.id: changed}
    assert changed.layers == (weekly(crew.olga, crew.sam), custom)
    assert await done(app, lambda work: schedules.load(work, [])) == {}
    assert await done(app, lambda work: schedules.load(work, [changed.id])) == loaded


async def test_who_is_on_call_is_shown_until_when_and_for_any_instant(app: App, crew: Crew, primary: str) -> None:
    view = await done(app, lambda work: schedules.show(work, crew.dee, primary))
    (turn,) = view.on_call
    assert (turn.person.name, turn.ends_at) == ("Olga", datetime(2026, 1, 12, 8, tzinfo=UTC))
    assert await names(app, crew.dee, turn.ends_at) == ["Sam"]
    assert [one.schedule.name for one in await done(app, lambda work: schedules.list_schedules(work, crew.dee))] == [
        primary
    ]


async def test_a_responder_takes_over_a_shift_and_gives_it_back(
    app: App, crew: Crew, primary: str, clock: FakeClock
) -> None:
    start, end = clock.now + 5 * DAY, clock.now + 6 * DAY
    assert await names(app, crew.olga, start) == ["Sam"]
    mine = await done(
        app,
        lambda work: schedules.add_override(
            work, crew.olga, primary, "olga@example.org", start, end, "sam@example.org"
        ),
    )
    assert await names(app, crew.olga, start) == ["Olga"]
    other = lambda work: schedules.add_override(work, crew.olga, primary, "sam@example.org", start, end)  # noqa: E731
    assert (await refused(app, other)).refusal.code is Code.FORBIDDEN
    theirs = await done(
        app, lambda work: schedules.add_override(work, crew.ada, primary, "dee@example.org", start, end)
    )
    assert await names(app, crew.olga, start) == ["Dee"]
    take = lambda work: schedules.remove_override(work, crew.olga, primary, theirs.id)  # noqa: E731
    assert (await refused(app, take)).refusal.code is Code.FORBIDDEN
    await done(app, lambda work: schedules.remove_override(work, crew.sam, primary, theirs.id))
    await done(app, lambda work: schedules.remove_override(work, crew.olga, primary, mine.id))
    gone = await refused(app, lambda work: schedules.remove_override(work, crew.olga, primary, mine.id))
    assert gone.refusal.code is Code.NOT_FOUND
    assert await names(app, crew.olga, start) == ["Sam"]


async def test_an_override_that_is_over_still_tells_who_had_the_shift(
    app: App, crew: Crew, primary: str, clock: FakeClock
) -> None:
    start, end = clock.now + HOUR, clock.now + 2 * HOUR
    await done(app, lambda work: schedules.add_override(work, crew.ada, primary, "dee@example.org", start, end))
    clock.now += 30 * DAY
    found = await done(app, lambda work: schedules.shifts_of(work, crew.dee, primary, start, clock.now))
    assert [turn.person.name for turn in found[:3]] == ["Dee", "Olga", "Sam"]
    assert await names(app, crew.dee, start) == ["Dee"]
    view = await done(app, lambda work: schedules.show(work, crew.dee, primary))
    assert view.schedule.overrides == ()


async def test_what_cannot_work_is_refused_and_changes_nothing(
    app: App, crew: Crew, primary: str, clock: FakeClock
) -> None:
    now = clock.now
    steps: list[tuple[Step[Any], Code]] = [
        (lambda work: schedules.add(work, crew.ada, name="PRIMARY", time_zone="UTC"), Code.CONFLICT),
        (lambda work: schedules.add(work, crew.ada, name="other", time_zone="Mars/Olympus"), Code.INVALID),
        (lambda work: schedules.add(work, crew.ada, name=" ", time_zone="UTC"), Code.INVALID),
        (lambda work: schedules.add(work, crew.ada, name="other", time_zone="UTC", people=0), Code.INVALID),
        (lambda work: schedules.add(work, crew.olga, name="other", time_zone="UTC"), Code.FORBIDDEN),
        (lambda work: schedules.change(work, crew.ada, primary, people=3), Code.INVALID),
        (lambda work: schedules.add_layer(work, crew.ada, primary, weekly(crew.olga)), Code.INVALID),
        (lambda work: schedules.add_layer(work, crew.olga, primary, weekly(crew.olga, name="b")), Code.FORBIDDEN),
        (lambda work: schedules.add_layer(work, crew.ada, "nothing", weekly(crew.olga)), Code.NOT_FOUND),
        (lambda work: schedules.remove_layer(work, crew.ada, primary, "nothing"), Code.NOT_FOUND),
        (lambda work: schedules.add_override(work, crew.ada, primary, "x@y.z", now, now + HOUR), Code.INVALID),
        (lambda work: schedules.add_override(work, crew.ada, primary, "sam@example.org", now - DAY, now), Code.INVALID),
        (
            lambda work: schedules.add_override(work, crew.ada, primary, "sam@example.org", now, now + 400 * DAY),
            Code.INVALID,
        ),
        (lambda work: schedules.shifts_of(work, crew.ada, primary, now, now + 367 * DAY), Code.INVALID),
        (lambda work: schedules.gaps_of(work, crew.ada, primary, now, now), Code.INVALID),
        (lambda work: schedules.show(work, crew.ada, primary, datetime.max.replace(tzinfo=UTC)), Code.INVALID),
        (lambda work: schedules.show(work, crew.mia, primary), Code.FORBIDDEN),
    ]
    before = await done(app, schedules.load)
    for number, (step, code) in enumerate(steps):
        assert (await refused(app, step)).refusal.code is code, number
    assert await done(app, schedules.load) == before


async def test_layers_have_an_end_and_can_be_taken_away(app: App, crew: Crew, primary: str) -> None:
    many = [replace(weekly(crew.olga), name=f"layer {number}") for number in range(MAX_LAYERS)]
    await done(app, lambda work: schedules.change(work, crew.ada, primary, layers=many))
    more = await refused(app, lambda work: schedules.add_layer(work, crew.ada, primary, weekly(crew.sam)))
    assert more.refusal.code is Code.INVALID
    await done(app, lambda work: schedules.remove_layer(work, crew.ada, primary, "LAYER 7"))
    left = (await done(app, lambda work: schedules.find(work, primary))).layers
    assert [layer.name for layer in left] == [one.name for one in many if one.name != "layer 7"]


async def test_a_schedule_that_is_used_stays(app: App, crew: Crew, primary: str, tables: Tables) -> None:
    await done(app, lambda work: accounts.assign_schedule(work, crew.ada, Duty.ON_CALL, primary))
    used = await refused(app, lambda work: schedules.remove(work, crew.ada, primary))
    assert used.refusal.code is Code.CONFLICT
    assert "duty ON_CALL" in used.refusal.message
    await done(app, lambda work: accounts.assign_duty(work, crew.ada, Duty.ON_CALL, "olga@example.org"))
    policy = tables.value("SELECT id FROM tocsin.policies")
    schedule_id = (await done(app, lambda work: schedules.find(work, primary))).id
    tables.rows(
        "UPDATE tocsin.policy_targets SET duty = NULL, schedule_id = %s WHERE step = 0 RETURNING 1", schedule_id
    )
    used = await refused(app, lambda work: schedules.remove(work, crew.ada, primary))
    assert "policy default" in used.refusal.message
    tables.rows("UPDATE tocsin.policy_targets SET duty = 'ON_CALL', schedule_id = NULL WHERE step = 0 RETURNING 1")
    assert policy
    await done(app, lambda work: schedules.remove(work, crew.ada, primary))
    assert tables.value("SELECT count(*) FROM tocsin.schedule_members") == 0
    assert await done(app, schedules.load) == {}


async def test_a_duty_is_held_by_a_user_or_a_schedule_that_has_layers(app: App, crew: Crew, primary: str) -> None:
    await done(app, lambda work: schedules.add(work, crew.ada, name="empty", time_zone="UTC"))
    empty = await refused(app, lambda work: accounts.assign_schedule(work, crew.ada, Duty.ON_CALL, "empty"))
    assert empty.refusal.code is Code.INVALID
    await done(app, lambda work: accounts.assign_schedule(work, crew.ada, Duty.ON_CALL, primary))
    held = {row.duty: row for row in await done(app, lambda work: accounts.list_duties(work, crew.dee))}
    assert (held["ON_CALL"].schedule, held["ON_CALL"].user_id) == (primary, None)
    assert (held["SUPERVISOR"].schedule, held["SUPERVISOR"].user_id) == (None, crew.sam.user_id)
    await done(app, lambda work: accounts.assign_duty(work, crew.ada, Duty.ON_CALL, "olga@example.org"))
    held = {row.duty: row for row in await done(app, lambda work: accounts.list_duties(work, crew.dee))}
    assert (held["ON_CALL"].schedule, held["ON_CALL"].email) == (None, "olga@example.org")


async def test_who_has_turns_is_not_erased(app: App, crew: Crew, primary: str, clock: FakeClock) -> None:
    await done(app, lambda work: accounts.assign_duty(work, crew.ada, Duty.ON_CALL, "dee@example.org"))
    grounds = Grounds("asked for", None)
    refusal = await refused(app, lambda work: erase.erase_user(work, crew.ada, "olga@example.org", grounds))
    assert refusal.refusal.code is Code.CONFLICT
    assert "primary" in refusal.refusal.message
    await done(app, lambda work: schedules.change(work, crew.ada, primary, layers=[weekly(crew.sam)]))
    await done(app, lambda work: erase.erase_user(work, crew.ada, "olga@example.org", grounds))


async def test_the_domain_gets_what_the_engine_needs_in_one_call(
    app: App, crew: Crew, primary: str, clock: FakeClock
) -> None:
    (schedule,) = (await done(app, schedules.load)).values()
    assert on_call(schedule, clock.now) == (crew.olga.user_id,)
    assert on_call(schedule, clock.now + 7 * DAY) == (crew.sam.user_id,)
