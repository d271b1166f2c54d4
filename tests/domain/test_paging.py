"""Who is paged, and why the others are not: each candidate of a step has exactly one reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.oncall import Override, Schedule
from tocsin.domain.paging import Asked, Because, Decision, Directory, candidates, decide, spare
from tocsin.domain.policy import Duty, Target
from tocsin.domain.reach import Method, Reach
from tocsin.domain.rotation import Layer, Rotation, RotationKind
from tocsin.domain.silence import Silence, SilenceKind

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
LATER = NOW + timedelta(hours=2)
ADA, OLGA, SAM, DEE, MIA = (UUID(int=n) for n in range(1, 6))
PEOPLE = (ADA, OLGA, SAM, DEE, MIA)
PRIMARY = UUID(int=20)
ON_CALL = Target(duty=Duty.ON_CALL)
SUPERVISOR = Target(duty=Duty.SUPERVISOR)
SILENCE = Silence(UUID(int=30), SilenceKind.SILENCE, None, None, None, None, NOW, LATER, "We know", ADA)


def mail(user_id: UUID) -> Method:
    """Return somebody's mail address."""
    return Method(UUID(int=100 + user_id.int), "email", f"{user_id.int}@example.org", NOW)


def person(user_id: UUID, *, active: bool = True, reached: bool = True) -> Reach:
    """Return somebody who is reached by mail, or not at all."""
    return Reach(user_id, f"User {user_id.int}", "responder", active, (mail(user_id),) if reached else (), ())


def layer(*members: UUID) -> Layer:
    """Return a layer in which the first member has the first week's turn, which is now."""
    weekly = Rotation(RotationKind.WEEKLY, 1, NOW.date(), time(0))
    return Layer("week", weekly, members)


def primary(*layers: Layer, overrides: tuple[Override, ...] = (), people: int = 1) -> Schedule:
    """Return the schedule that holds the duty ON_CALL."""
    return Schedule(PRIMARY, "primary", ZoneInfo("UTC"), people, layers, overrides)


def directory(*changed: Reach, schedule: Schedule | None = None) -> Directory:
    """Return everybody: olga on call (or a schedule), sam supervisor, ada superadmin."""
    people = {user_id: person(user_id) for user_id in PEOPLE} | {one.user_id: one for one in changed}
    holder = Target(schedule_id=PRIMARY) if schedule else Target(user_id=OLGA)
    schedules = {PRIMARY: schedule} if schedule else {}
    return Directory(people, schedules, {Duty.ON_CALL: holder, Duty.SUPERVISOR: Target(user_id=SAM)}, (ADA,))


def asked(*targets: Target, then: tuple[tuple[Target, ...], ...] = ()) -> Asked:
    """Return a step for these."""
    return Asked("NO_ACK_1HR", "NO_ACK_1HR", targets, then)


def told(decisions: tuple[Decision, ...]) -> dict[UUID | None, str]:
    """Return the reason for each."""
    return {decision.user_id: str(decision.because) for decision in decisions}


def test_whoever_holds_the_duty_is_paged_over_their_contact_methods() -> None:
    (decision,) = decide(asked(ON_CALL), directory(), NOW)
    assert (decision.user_id, decision.via, decision.because) == (OLGA, "duty ON_CALL", Because.PAGED)
    assert [(planned.method, planned.after) for planned in decision.plan] == [(mail(OLGA), timedelta())]


def test_of_a_schedule_who_is_on_call_is_paged_and_the_others_are_told_who_it_is() -> None:
    schedule = primary(layer(OLGA, SAM, DEE))
    decisions = decide(asked(ON_CALL, Target(schedule_id=PRIMARY)), directory(schedule=schedule), NOW)
    assert told(decisions) == {OLGA: "PAGED", SAM: "NOT_ON_CALL", DEE: "NOT_ON_CALL"}
    assert {decision.about_user_id for decision in decisions if not decision.paged} == {OLGA}
    assert decisions[0].via == "duty ON_CALL, schedule primary; schedule primary"


def test_an_override_says_who_took_over() -> None:
    override = Override(UUID(int=40), DEE, NOW, LATER, OLGA)
    schedule = primary(layer(OLGA, SAM), overrides=(override,))
    decisions = decide(asked(ON_CALL), directory(schedule=schedule), NOW)
    assert told(decisions) == {DEE: "PAGED", OLGA: "OVERRIDDEN", SAM: "NOT_ON_CALL"}
    assert [decision.about_user_id for decision in decisions] == [None, DEE, DEE]


def test_who_is_a_candidate_twice_has_one_decision_and_being_paged_counts() -> None:
    schedule = primary(layer(OLGA, SAM))
    decisions = decide(asked(ON_CALL, SUPERVISOR), directory(schedule=schedule), NOW)
    assert told(decisions) == {OLGA: "PAGED", SAM: "PAGED"}
    assert decisions[1].via == "duty SUPERVISOR"


def test_a_step_that_reaches_nobody_asks_those_of_the_next_steps_at_once() -> None:
    away = directory(person(OLGA, active=False))
    step = asked(ON_CALL, then=((ON_CALL,), (SUPERVISOR,), (Target(user_id=DEE),)))
    decisions = decide(step, away, NOW)
    assert told(decisions) == {OLGA: "INACTIVE", SAM: "PAGED", None: "NOBODY"}
    assert decisions[0].via == "duty ON_CALL; next step: duty ON_CALL"
    assert decisions[1].via == "next step: duty SUPERVISOR"
    assert decisions[2].via == "duty ON_CALL"


def test_at_last_the_superadmins_are_asked() -> None:
    away = directory(person(OLGA, reached=False), person(SAM, active=False))
    decisions = decide(asked(ON_CALL, then=((SUPERVISOR,),)), away, NOW)
    assert told(decisions) == {OLGA: "NO_CONTACT_METHOD", SAM: "INACTIVE", ADA: "PAGED", None: "NOBODY"}
    assert decisions[2].via == "superadmin"


def test_a_duty_that_nobody_holds_is_a_step_that_reaches_nobody() -> None:
    assert told(decide(asked(Target(duty=Duty.DIRECTOR)), directory(), NOW)) == {ADA: "PAGED", None: "NOBODY"}


def test_a_silence_holds_back_whoever_would_have_been_paged_and_says_until_when() -> None:
    schedule = primary(layer(OLGA, SAM))
    decisions = decide(asked(ON_CALL), directory(schedule=schedule), NOW, hold=SILENCE)
    assert told(decisions) == {OLGA: "SILENCED", SAM: "NOT_ON_CALL"}
    assert (decisions[0].silence_id, decisions[0].until) == (SILENCE.id, LATER)
    assert told(decide(asked(ON_CALL), directory(), NOW, hold=SILENCE, in_storm=True)) == {OLGA: "IN_STORM"}


def test_who_is_spared_has_a_reason_too() -> None:
    step = replace(asked(), spared=((OLGA, Because.ACKNOWLEDGED),))
    assert told(decide(step, directory(), NOW)) == {OLGA: "ACKNOWLEDGED"}
    assert told(spare(asked(ON_CALL, SUPERVISOR), directory(), NOW, Because.CLOSED, DEE)) == {
        OLGA: "CLOSED",
        SAM: "CLOSED",
    }


def test_a_spared_step_without_a_candidate_has_a_reason_itself() -> None:
    (decision,) = spare(asked(Target(duty=Duty.DIRECTOR)), directory(), NOW, Because.ACKNOWLEDGED, DEE)
    assert (decision.user_id, decision.via, decision.because) == (None, "duty DIRECTOR", Because.ACKNOWLEDGED)
    assert spare(asked(), directory(), NOW, Because.ACKNOWLEDGED, DEE) == ()


def test_an_address_that_does_not_answer_is_not_tried_again_for_anybody() -> None:
    step = replace(asked(ON_CALL, SUPERVISOR), superadmins_too=True)
    decisions = decide(step, directory().without(mail(OLGA).address), NOW)
    assert told(decisions) == {OLGA: "NO_CONTACT_METHOD", SAM: "PAGED", ADA: "PAGED"}


# --- properties ------------------------------------------------------------------------------------------------------

users = st.sampled_from(PEOPLE)
targets = st.lists(
    st.builds(lambda user: Target(user_id=user), users)
    | st.builds(lambda duty: Target(duty=duty), st.sampled_from(Duty))
    | st.just(Target(schedule_id=PRIMARY)),
    max_size=4,
).map(tuple)
schedules = st.builds(
    lambda layers, overrides, people: primary(*layers, overrides=tuple(overrides), people=people),
    st.lists(st.lists(users, min_size=1, max_size=3, unique=True).map(lambda members: layer(*members)), max_size=2),
    st.lists(
        st.builds(Override, st.uuids(), users, st.just(NOW), st.just(LATER), st.none() | users),
        max_size=2,
        unique_by=lambda override: override.id,
    ),
    st.integers(1, 2),
)
holders = users.map(lambda user: Target(user_id=user)) | st.just(Target(schedule_id=PRIMARY))
directories = st.builds(
    Directory,
    st.fixed_dictionaries(
        {user: st.builds(person, st.just(user), active=st.booleans(), reached=st.booleans()) for user in PEOPLE}
    ),
    schedules.map(lambda schedule: {PRIMARY: schedule}),
    st.dictionaries(st.sampled_from(Duty), holders),
    st.lists(users, max_size=2, unique=True).map(tuple),
)
steps = st.builds(
    Asked,
    st.just("NO_ACK_1HR"),
    st.just("NO_ACK_1HR"),
    targets,
    st.lists(targets, max_size=3).map(tuple),
    superadmins_too=st.booleans(),
)


@given(steps, directories)
def test_every_candidate_has_exactly_one_decision_and_it_does_not_depend_on_chance(
    step: Asked, known: Directory
) -> None:
    decisions = decide(step, known, NOW)
    decided = [decision.user_id for decision in decisions]
    assert len(set(decided)) == len(decided)
    assert set(candidates(step.targets, known, NOW)) <= set(decided)
    assert decide(step, known, NOW) == decisions
    assert all(len(decision.via) <= 500 for decision in decisions)


@given(steps, directories)
def test_whoever_is_paged_is_active_and_gets_something_at_once(step: Asked, known: Directory) -> None:
    for decision in decide(step, known, NOW):
        assert decision.paged == bool(decision.plan)
        if decision.paged:
            assert decision.user_id is not None
            assert known.people[decision.user_id].active
            assert any(not planned.after for planned in decision.plan)


@given(steps.filter(lambda step: bool(step.targets)), directories)
def test_nobody_is_paged_only_where_nobody_at_all_could_be(step: Asked, known: Directory) -> None:
    decisions = decide(step, known, NOW)
    if not any(decision.paged for decision in decisions):
        assert None in told(decisions)
        for superadmin in known.superadmins:
            assert told(decisions)[superadmin] in {"INACTIVE", "NO_CONTACT_METHOD"}


@given(steps, directories, st.booleans())
def test_a_silence_and_a_storm_page_nobody_and_change_no_other_reason(
    step: Asked, known: Directory, in_storm: bool
) -> None:
    loud = decide(step, known, NOW)
    quiet = decide(step, known, NOW, hold=None if in_storm else SILENCE, in_storm=in_storm)
    assert not any(decision.paged for decision in quiet)
    instead = "IN_STORM" if in_storm else "SILENCED"
    assert told(quiet) == {user: instead if because == "PAGED" else because for user, because in told(loud).items()}
