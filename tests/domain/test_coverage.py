"""When a step reaches nobody, reckoned with intervals, is what asking at each instant says."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.coverage import Reached, forecast, people_of
from tocsin.domain.oncall import Override, Schedule
from tocsin.domain.paging import Asked, Because, Directory, decide
from tocsin.domain.policy import Duty, Policy, Step, StepReason, Target
from tocsin.domain.reach import Method, Reach
from tocsin.domain.rotation import Layer, Restriction, Rotation, RotationKind

START = datetime(2026, 3, 23, 10, 30, tzinfo=UTC)  # the clocks change within these days
END = START + timedelta(days=14)
PEOPLE = [UUID(int=number) for number in range(1, 6)]
SCHEDULES = [UUID(int=number) for number in (11, 12)]


def person(user_id: UUID, *, active: bool = True, methods: int = 1, verified: bool = True) -> Reach:
    """Return somebody with so many contact methods."""
    found = tuple(
        Method(UUID(int=100 * user_id.int + number), "email", f"{number}@example.org", START if verified else None)
        for number in range(methods)
    )
    return Reach(user_id, f"Person {user_id.int}", "responder", active, found, ())


def schedule(schedule_id: UUID, *layers: Layer, overrides: tuple[Override, ...] = (), people: int = 1) -> Schedule:
    """Return a schedule of Vienna."""
    return Schedule(schedule_id, f"s{schedule_id.int}", ZoneInfo("Europe/Vienna"), people, layers, overrides)


def layer(*members: UUID, ends_at: datetime | None = None, restrictions: tuple[Restriction, ...] = ()) -> Layer:
    """Return a layer in which each member has a day."""
    rotation = Rotation(RotationKind.DAILY, 1, date(2026, 3, 1), time(9))
    return Layer("days", rotation, members, restrictions, None, ends_at)


def policy(*targets: Target) -> Policy:
    """Return a policy of one step."""
    return Policy(UUID(int=99), "p", (Step(StepReason.INCIDENT_OPENED, timedelta(), targets),))


def spans(directory: Directory, *targets: Target) -> list[tuple[float, float, Reached, str]]:
    """Return the weaknesses of a step, in days from the start."""
    return [
        (
            (one.span.starts_at - START) / timedelta(days=1),
            (one.span.ends_at - START) / timedelta(days=1),
            one.span.reached,
            "; ".join(obstacle.words() for obstacle in one.span.obstacles),
        )
        for one in forecast([policy(*targets)], directory, START, END)
    ]


def test_a_step_that_reaches_somebody_all_the_time_has_no_weakness() -> None:
    people = {one: person(one) for one in PEOPLE}
    schedules = {SCHEDULES[0]: schedule(SCHEDULES[0], layer(*PEOPLE))}
    directory = Directory(people, schedules, {Duty.ON_CALL: Target(schedule_id=SCHEDULES[0])})
    assert spans(directory, Target(duty=Duty.ON_CALL)) == []
    assert spans(directory, Target(user_id=PEOPLE[0]), Target(duty=Duty.DIRECTOR)) == []


def test_a_schedule_that_runs_out_leaves_a_gap_from_then_on() -> None:
    people = {one: person(one) for one in PEOPLE}
    ending = layer(*PEOPLE, ends_at=START + timedelta(days=3))
    directory = Directory(people, {SCHEDULES[0]: schedule(SCHEDULES[0], ending)})
    told = "schedule s11: nobody is on call"
    assert spans(directory, Target(schedule_id=SCHEDULES[0])) == [(3.0, 14.0, Reached.NOBODY, told)]


def test_who_took_over_and_cannot_be_reached_is_a_gap_for_as_long() -> None:
    people = {one: person(one) for one in PEOPLE} | {PEOPLE[1]: person(PEOPLE[1], methods=0)}
    override = Override(UUID(int=50), PEOPLE[1], START + timedelta(days=2), START + timedelta(days=2, hours=12))
    directory = Directory(people, {SCHEDULES[0]: schedule(SCHEDULES[0], layer(PEOPLE[0]), overrides=(override,))})
    told = "duty ON_CALL, schedule s11: somebody, who has taken over, has no contact method"
    held = Directory(people, directory.schedules, {Duty.ON_CALL: Target(schedule_id=SCHEDULES[0])})
    assert spans(held, Target(duty=Duty.ON_CALL)) == [(2.0, 2.5, Reached.NOBODY, told)]


def test_what_is_in_the_way_of_each_target_is_told_and_nobody_s_duty_too() -> None:
    people = {PEOPLE[0]: person(PEOPLE[0], active=False)}
    told = "by name: somebody is shut out; duty DIRECTOR: nobody holds it"
    found = spans(Directory(people), Target(user_id=PEOPLE[0]), Target(duty=Duty.DIRECTOR))
    assert found == [(0.0, 14.0, Reached.NOBODY, told)]


def test_unverified_ways_are_a_weakness_of_their_own() -> None:
    people = {PEOPLE[0]: person(PEOPLE[0], verified=False)}
    told = "by name: somebody has only contact methods that nobody verified"
    assert spans(Directory(people), Target(user_id=PEOPLE[0])) == [(0.0, 14.0, Reached.UNVERIFIED, told)]


def test_everybody_whom_a_policy_may_page_is_found_members_and_overriders_too() -> None:
    people = {one: person(one) for one in PEOPLE}
    override = Override(UUID(int=50), PEOPLE[2], START, END)
    schedules = {SCHEDULES[0]: schedule(SCHEDULES[0], layer(PEOPLE[1]), overrides=(override,))}
    directory = Directory(people, schedules, {Duty.ON_CALL: Target(schedule_id=SCHEDULES[0])})
    found = people_of([policy(Target(duty=Duty.ON_CALL), Target(user_id=PEOPLE[3]))], directory)
    assert {one.user_id for one in found} == {PEOPLE[1], PEOPLE[2], PEOPLE[3]}


MOMENTS = st.integers(0, 14 * 24 * 4 - 1).map(lambda quarter: START + timedelta(minutes=15 * quarter))
STATES = st.builds(
    lambda active, methods, verified: {"active": active, "methods": methods, "verified": verified},
    st.booleans(),
    st.integers(0, 1),
    st.booleans(),
)
HOURS = st.builds(
    Restriction,
    st.frozensets(st.integers(0, 6), min_size=1),
    st.sampled_from([time(0), time(8), time(22)]),
    st.sampled_from([time(0), time(6), time(18)]),
)
LAYERS = st.builds(
    lambda members, ends_at, hours: layer(*members, ends_at=ends_at, restrictions=tuple(hours)),
    st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=3),
    st.none() | MOMENTS,
    st.lists(HOURS, max_size=1),
)
OVERRIDES = st.builds(
    lambda number, user, start, hours: Override(UUID(int=500 + number), user, start, start + timedelta(hours=hours)),
    st.integers(0, 99),
    st.sampled_from(PEOPLE),
    MOMENTS,
    st.integers(1, 60),
)
HOLDERS = st.one_of(
    st.sampled_from(PEOPLE).map(lambda user: Target(user_id=user)),
    st.sampled_from(SCHEDULES).map(lambda one: Target(schedule_id=one)),
)


@st.composite
def directories(draw: st.DrawFn) -> Directory:
    """Anybody, however they are reached, with any schedules and duties."""
    people = {one: person(one, **draw(STATES)) for one in PEOPLE}
    schedules = {
        one: schedule(
            one,
            *draw(st.lists(LAYERS, max_size=2)),
            overrides=tuple(draw(st.lists(OVERRIDES, max_size=3))),
            people=draw(st.integers(1, 2)),
        )
        for one in SCHEDULES
    }
    return Directory(people, schedules, draw(st.dictionaries(st.sampled_from(list(Duty)), HOLDERS, max_size=3)))


@given(
    directory=directories(),
    targets=st.lists(
        st.one_of(HOLDERS, st.sampled_from(list(Duty)).map(lambda duty: Target(duty=duty))),
        min_size=1,
        max_size=3,
        unique=True,
    ),
    moments=st.lists(MOMENTS, min_size=1, max_size=20),
)
def test_the_forecast_is_what_a_page_at_any_instant_finds(
    directory: Directory, targets: list[Target], moments: list[datetime]
) -> None:
    weaknesses = forecast([policy(*targets)], directory, START, END)
    edges = [edge for one in weaknesses for edge in (one.span.starts_at, one.span.ends_at) if edge < END]
    for at in [*moments, *edges]:
        decided = decide(Asked("", "", tuple(targets)), directory, at)
        found = [one.span for one in weaknesses if one.span.starts_at <= at < one.span.ends_at]
        paged = [one for one in decided if one.paged and one.user_id]
        known = any(plan.method.verified_at for one in paged for plan in one.plan)
        assert len(found) <= 1
        reached = found[0].reached if found else Reached.SOMEBODY
        nobody = any(one.because is Because.NOBODY for one in decided)
        assert nobody is (reached is Reached.NOBODY)
        assert nobody or known is (reached is Reached.SOMEBODY)
