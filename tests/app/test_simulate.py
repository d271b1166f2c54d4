"""Simulating an incident: who would be paged when, told as `why` tells it, and nothing is written."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.app.conftest import Crew, Tables, with_settings
from tests.support.cases import cases
from tests.support.clock import FakeClock
from tests.support.policies import add_policy, add_schedule, add_silence
from tocsin.app.simulate import Foreseen, Question, simulate
from tocsin.app.work import App
from tocsin.domain.incident import Severity
from tocsin.domain.policy import DEFAULT_STEPS, Duty, Step, StepReason, Target
from tocsin.errors import TocsinError

pytestmark = pytest.mark.anyio

AT = datetime.fromisoformat("2026-12-24T02:00:00+00:00")
ON_CALL = (Target(duty=Duty.ON_CALL),)


def hours(count: float) -> timedelta:
    """Return so many hours."""
    return timedelta(hours=count)


async def foreseen(app: App, crew: Crew, **said: object) -> Foreseen:
    """Ask what an incident of Christmas Eve would lead to."""
    async with app.work() as work:
        question = Question(**({"incident_at": AT, "severity": Severity.HIGH} | said))  # type: ignore[arg-type]
        found = await simulate(work, crew.ada, question)
        assert await work.tx.value(b"SELECT pg_current_xact_id_if_assigned()::text") is None, "nothing is written"
        return found


def told(found: Foreseen) -> list[tuple[float, str, str | None, str]]:
    """Return after how many hours what becomes of whom, by which step."""
    return [
        ((step.at - AT) / hours(1), step.reason, one.name, one.words) for step in found.steps for one in step.candidates
    ]


def paged(found: Foreseen) -> list[tuple[float, str | None, str]]:
    """Return after how many hours who is paged over what."""
    return [
        ((page.due_at - AT) / hours(1), one.name, f"{page.channel} {page.address}")
        for step in found.steps
        for one in step.candidates
        for page in one.pages
    ]


async def test_without_an_answer_the_rules_are_played_one_after_the_other(app: App, crew: Crew) -> None:
    found = await foreseen(app, crew)
    assert found.policy == "default"
    assert told(found) == [
        (0, "INCIDENT_OPENED", "Olga", "was paged"),
        (1, "NO_ACK_1HR", "Olga", "was paged"),
        (4, "NO_ACK_4HR", "Sam", "was paged"),
        (24, "NO_ROOT_CAUSE_24HR", "Dee", "was paged"),
    ]
    assert paged(found)[0] == (0, "Olga", "email olga@example.org")


async def test_an_acknowledgment_makes_the_rest_moot_and_lapses_without_progress(app: App, crew: Crew) -> None:
    found = await foreseen(app, crew, ack_after=hours(2), root_cause_after=hours(5), close_after=hours(12))
    assert told(found) == [
        (0, "INCIDENT_OPENED", "Olga", "was paged"),
        (1, "NO_ACK_1HR", "Olga", "was paged"),
        (2, "NO_ACK_4HR", "Sam", "not paged: Olga had acknowledged"),
        (5, "NO_ROOT_CAUSE_24HR", "Dee", "not paged: the root cause was known by then"),
        (9, "ACK_LAPSED", "Olga", "was paged"),
    ], "who is paged first answers, and is asked four hours after the last thing they did"
    found = await foreseen(app, crew, ack_after=hours(2), ack_by="sam@example.org", days=1)
    assert told(found)[3:6] == [
        (6, "ACK_LAPSED", "Sam", "was paged"),
        (10, "ACK_LAPSED", "Sam", "was paged"),
        (10, "ACK_LAPSED", "Olga", "was paged"),
    ]


async def test_schedules_hand_over_silences_hold_and_delayed_rules_wait(
    app: App, crew: Crew, clock: FakeClock, tables: Tables
) -> None:
    # A week each from the first of March on: on the 24th of December at 02:00 it is Mia's, from the 27th on Dee's.
    schedule_id = add_schedule(tables.connection, "primary", [crew.mia.user_id, crew.dee.user_id], clock.now)
    further = Step(StepReason.POLICY_STEP, timedelta(days=3), (Target(schedule_id=schedule_id),))
    first = Step(StepReason.INCIDENT_OPENED, timedelta(), (Target(schedule_id=schedule_id),))
    add_policy(tables.connection, "shop", [first, further], service="shop")
    add_silence(tables.connection, crew.ada.user_id, AT - hours(1), hours(3), service="shop")
    tables.connection.execute(
        "INSERT INTO notification_rules SELECT gen_random_uuid(), user_id, id, unnest(ARRAY[0, 1800]), '2026-01-01Z'"
        " FROM contact_methods WHERE user_id = %s",
        [crew.mia.user_id],
    )
    found = await foreseen(app, crew, service="shop", days=4)
    assert found.policy == "shop"
    assert told(found) == [
        (0, "INCIDENT_OPENED", "Mia", "not paged: a maintenance window holds it back until 2026-12-24 04:00:00 UTC"
         " (We move the database)"),
        (0, "INCIDENT_OPENED", "Dee", "not paged: Mia is on call"),
        (1, "NO_ACK_1HR", "Olga", "not paged: a maintenance window holds it back until 2026-12-24 04:00:00 UTC"
         " (We move the database)"),
        (2, "SILENCE_ENDED", "Mia", "was paged"),
        (2, "SILENCE_ENDED", "Olga", "was paged"),
        (4, "NO_ACK_4HR", "Sam", "was paged"),
        (24, "NO_ROOT_CAUSE_24HR", "Dee", "was paged"),
        (72, "POLICY_STEP", "Dee", "was paged"),
        (72, "POLICY_STEP", "Mia", "not paged: Dee is on call"),
    ]  # fmt: skip
    assert paged(found)[:3] == [
        (2, "Mia", "email mia@example.org"),
        (2.5, "Mia", "email mia@example.org"),
        (2, "Olga", "email olga@example.org"),
    ]


async def test_an_empty_step_goes_on_to_the_next_and_sessions_are_blocked(app: App, crew: Crew, tables: Tables) -> None:
    tables.connection.execute("UPDATE users SET active = false WHERE id = %s", [crew.olga.user_id])
    found = await foreseen(with_settings(app, session_blocking=True), crew, severity=Severity.CRITICAL, days=1)
    nobody = "reached nobody, so those of the next steps were asked at once, at last the superadmins"
    assert told(found)[:3] == [
        (0, "INCIDENT_OPENED", "Olga", "not paged: is shut out (`tocsin users activate`)"),
        (0, "INCIDENT_OPENED", "Sam", "was paged"),
        (0, "INCIDENT_OPENED", None, nobody),
    ]
    assert [(step.reason, step.at) for step in found.steps if not step.candidates] == [
        ("SESSIONS_BLOCKED", AT + hours(2))
    ]


async def test_rounds_are_repeated_and_a_named_policy_is_played_whatever_the_routes_say(
    app: App, crew: Crew, tables: Tables
) -> None:
    steps = [*DEFAULT_STEPS[:3], Step(StepReason.POLICY_STEP, hours(2), (Target(user_id=crew.mia.user_id),))]
    add_policy(tables.connection, "loud", steps, service="nothing", repeat=1)
    found = await foreseen(app, crew, policy="loud", days=1)
    assert [(at, name) for at, _, name, _ in told(found)][:7] == [
        (0, "Olga"), (1, "Olga"), (2, "Mia"), (4, "Sam"), (5, "Olga"), (6, "Mia"), (8, "Sam"),
    ]  # fmt: skip


async def test_the_project_s_name_is_the_service_where_none_is_said(app: App, crew: Crew, tables: Tables) -> None:
    add_policy(tables.connection, "projects own", DEFAULT_STEPS, service="default")
    assert (await foreseen(app, crew, project="default")).policy == "projects own"
    assert (await foreseen(app, crew, project=1, service="shop")).policy == "default"


async def test_a_short_lease_is_cut_off_after_a_thousand_steps(app: App, crew: Crew, tables: Tables) -> None:
    add_policy(tables.connection, "impatient", DEFAULT_STEPS, service="shop", lease=timedelta(minutes=1))
    found = await foreseen(app, crew, service="shop", ack_after=timedelta(), days=60)
    assert found.cut_off
    assert len(found.steps) == 1_000


@cases(
    ("said", "words"),
    [
        ({"days": 0}, "days must be between 1 and 60"),
        ({"days": 61}, "days must be between 1 and 60"),
        ({"root_cause_after": hours(1)}, "rootCauseAfter needs ackAfter"),
        ({"ack_after": hours(1), "close_after": hours(2)}, "closeAfter needs rootCauseAfter"),
        ({"ack_after": hours(2), "root_cause_after": hours(1)}, "rootCauseAfter must be between ackAfter and 60 days"),
        ({"ack_after": timedelta(days=60)}, "ackAfter must be between 0 and 60 days"),
        ({"ack_after": hours(1), "ack_by": "nobody@example.org"}, "no active user"),
        ({"policy": "none of these"}, "There is no policy"),
        ({"project": "none of these"}, "There is no project"),
        ({"service": "two\nlines"}, "service must be one printable line"),
        ({"incident_at": AT.replace(year=1900)}, "incidentAt"),
    ],
)
async def test_what_cannot_be_imagined_is_refused_with_the_reason(
    app: App, crew: Crew, said: dict[str, object], words: str
) -> None:
    with pytest.raises(TocsinError, match=words):
        await foreseen(app, crew, **said)


async def test_nobody_at_all_cannot_acknowledge(app: App, crew: Crew, tables: Tables) -> None:
    tables.connection.execute("UPDATE users SET active = false")
    async with app.work() as work:
        with pytest.raises(TocsinError, match="ackBy must name somebody"):
            await simulate(work, crew.ada, Question(AT, Severity.HIGH, ack_after=hours(1)))
