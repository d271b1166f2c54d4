"""When a policy comes to reach nobody, whoever asks is told: readiness, the doctor, the forecast."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.app.conftest import Crew, Tables, with_settings
from tests.conftest import Installation
from tests.support.clock import FakeClock
from tests.support.policies import DEFAULT, add_policy, add_schedule, put_steps
from tocsin.app import policies
from tocsin.app.coverage import Forecast, forecast
from tocsin.app.health import Problem, condition
from tocsin.app.work import App
from tocsin.domain.coverage import Reached
from tocsin.domain.policy import DEFAULT_STEPS, Duty, Step, StepReason, Target
from tocsin.domain.policy_document import PolicyDraft, StepDraft, TargetKind, TargetName
from tocsin.errors import TocsinError

pytestmark = pytest.mark.anyio

WATCHED = ("policy_reaches_nobody", "coverage_gap", "channel_not_configured", "unverified_contact")
HOST = {"smtp_host": "mail.example.org"}


@pytest.fixture
def app(app: App, tables: Tables) -> App:
    """An installation with a mail server, in which every contact method is verified."""
    tables.connection.execute("UPDATE contact_methods SET verified_at = created_at")
    return with_settings(app, **HOST)


async def problems(app: App) -> dict[str, Problem]:
    """Return what readiness says of whom policies reach."""
    async with app.work() as work:
        found = (await condition(work)).problems
    named = {one.name: one for one in found if one.name in WATCHED}
    assert len(named) == len([one for one in found if one.name in WATCHED]), "one line each"
    assert not any(one.stops_service for one in named.values())
    return named


async def foreseen(app: App, crew: Crew, days: int = 14) -> Forecast:
    """Return the forecast."""
    async with app.work() as work:
        return await forecast(work, crew.ada, days)


def verified(tables: Tables) -> None:
    """Let every contact method be verified."""
    tables.connection.execute("UPDATE contact_methods SET verified_at = created_at")


async def test_where_everybody_is_reached_there_is_nothing_to_say(app: App, crew: Crew, tables: Tables) -> None:
    verified(tables)
    assert await problems(app) == {}
    found = await foreseen(app, crew)
    assert (found.policies, found.weaknesses, found.people) == (["default"], [], [])


async def test_a_policy_that_reaches_nobody_is_refused_at_once_with_the_reason(
    app: App, crew: Crew, tables: Tables
) -> None:
    tables.connection.execute("DELETE FROM contact_methods WHERE user_id = %s", [crew.mia.user_id])
    mia = TargetName(TargetKind.USER, "mia@example.org")
    draft = PolicyDraft("quiet", (StepDraft(StepReason.INCIDENT_OPENED, timedelta(), (mia,)),))
    async with app.work() as work:
        with pytest.raises(TocsinError, match=r"reaches nobody: mia@example.org, who has no contact method"):
            await policies.add_policy(work, crew.ada, draft)


async def test_a_schedule_that_runs_out_is_a_gap_ahead_and_then_a_policy_that_reaches_nobody(
    app: App, crew: Crew, clock: FakeClock, tables: Tables
) -> None:
    verified(tables)
    schedule_id = add_schedule(tables.connection, "primary", [crew.mia.user_id], clock.now)
    put_steps(
        tables.connection, DEFAULT, [Step(StepReason.INCIDENT_OPENED, timedelta(), (Target(schedule_id=schedule_id),))]
    )
    assert await problems(app) == {}
    tables.connection.execute("UPDATE schedule_layers SET ends_at = %s", [clock.now + timedelta(days=15)])
    assert await problems(app) == {}, "further ahead than one looks"
    clock.forward(days=3)
    found = await problems(app)
    assert list(found) == ["coverage_gap"]
    assert found["coverage_gap"].risk
    assert found["coverage_gap"].message == (
        "Policy default: the step INCIDENT_OPENED will reach nobody from 2026-03-16 03:00 UTC"
        " until 2026-03-18 03:00 UTC: schedule primary: nobody is on call (the superadmins are paged instead)."
    )
    (thin,) = (await foreseen(app, crew, days=20)).weaknesses
    assert (thin.starts_at, thin.reached) == (clock.now + timedelta(days=12), Reached.NOBODY)
    clock.forward(days=12)
    found = await problems(app)
    assert list(found) == ["policy_reaches_nobody"]
    assert found["policy_reaches_nobody"].message == (
        "Policy default: the step INCIDENT_OPENED reaches nobody: schedule primary: nobody is on call"
        " (the superadmins are paged instead)."
    )
    async with app.work() as work:
        assert ((await condition(work)).steps_unreached, (await condition(work)).coverage_gaps) == (1, 0)


async def test_whoever_is_shut_out_past_the_product_is_noticed(app: App, crew: Crew, tables: Tables) -> None:
    verified(tables)
    tables.connection.execute("UPDATE users SET active = false WHERE id = %s", [crew.olga.user_id])
    found = (await problems(app))["policy_reaches_nobody"]
    assert found.message == (
        "Policy default: the step INCIDENT_OPENED reaches nobody: duty ON_CALL: somebody is shut out"
        " (the superadmins are paged instead). And 1 more like it."
    )
    assert "olga" not in found.message.lower(), "who asks for readiness need not be known"
    assert (await foreseen(app, crew)).weaknesses[0].why == "duty ON_CALL: Olga is shut out"


async def test_a_contact_method_that_is_removed_past_the_product_is_noticed(
    app: App, crew: Crew, tables: Tables
) -> None:
    verified(tables)
    tables.connection.execute("DELETE FROM contact_methods WHERE user_id = %s", [crew.dee.user_id])
    assert "duty DIRECTOR: somebody has no contact method" in (await problems(app))["policy_reaches_nobody"].message
    tables.connection.execute("DELETE FROM contact_methods")
    assert "no superadmin can be reached either" in (await problems(app))["policy_reaches_nobody"].message


async def test_a_duty_that_nobody_holds_is_noticed(app: App, crew: Crew, tables: Tables) -> None:
    verified(tables)
    tables.connection.execute("DELETE FROM duties WHERE duty = 'SUPERVISOR'")
    assert (
        "the step NO_ACK_4HR after 4h reaches nobody: duty SUPERVISOR: nobody holds it"
        in (await problems(app))["policy_reaches_nobody"].message
    )


async def test_a_policy_that_no_incident_follows_is_left_alone(app: App, crew: Crew, tables: Tables) -> None:
    verified(tables)
    tables.connection.execute("DELETE FROM contact_methods WHERE user_id = %s", [crew.mia.user_id])
    first = Step(StepReason.INCIDENT_OPENED, timedelta(), (Target(user_id=crew.mia.user_id),))
    add_policy(tables.connection, "quiet", [first, *DEFAULT_STEPS[1:]], service="shop")
    assert list(await problems(app)) == ["policy_reaches_nobody"]
    tables.connection.execute("DELETE FROM policy_routes")
    assert await problems(app) == {}


async def test_who_is_reached_only_by_a_channel_that_is_not_set_up_or_by_unverified_ways_is_counted(
    app: App, crew: Crew, tables: Tables
) -> None:
    verified(tables)
    method = "UPDATE contact_methods SET channel = 'sms', address = '+4366012345' WHERE user_id = %s"
    tables.connection.execute(method, [crew.olga.user_id])
    unverified = "UPDATE contact_methods SET verified_at = NULL WHERE user_id = ANY (%s)"
    tables.connection.execute(unverified, [[crew.olga.user_id, crew.sam.user_id]])
    found = await problems(app)
    assert {name: (one.message, one.risk) for name, one in found.items()} == {
        "channel_not_configured": (
            "1 person who may be paged is reached only by a channel that is not set up (sms): no page can get there.",
            False,
        ),
        "unverified_contact": (
            "1 person who may be paged is reached only by contact methods of which nobody knows whether they work.",
            True,
        ),
    }
    told = {one.name: one.problem for one in (await foreseen(app, crew)).people}
    assert told == {
        "Olga": "is reached by sms only, which is not set up",
        "Sam": "is reached by email, and nobody verified that it works",
    }
    weak = {(one.reason, one.reached, one.why) for one in (await foreseen(app, crew)).weaknesses}
    only = "has only contact methods that nobody verified"
    assert weak == {
        (StepReason.INCIDENT_OPENED, Reached.UNVERIFIED, f"duty {Duty.ON_CALL}: Olga {only}"),
        (StepReason.NO_ACK_1HR, Reached.UNVERIFIED, f"duty {Duty.ON_CALL}: Olga {only}"),
        (StepReason.NO_ACK_4HR, Reached.UNVERIFIED, f"duty {Duty.SUPERVISOR}: Sam {only}"),
    }


async def test_a_fresh_installation_without_a_mail_server_hears_one_line(installation: Installation) -> None:
    found = await problems(installation.app)
    assert {name: one.message for name, one in found.items()} == {
        "channel_not_configured": "1 person who may be paged is reached only by a channel that is not set up (email):"
        " no page can get there."
    }
    with_mail = await problems(with_settings(installation.app, **HOST))
    assert list(with_mail) == ["unverified_contact"]


@pytest.mark.parametrize("days", [0, 61])
async def test_a_forecast_looks_at_most_sixty_days_ahead(app: App, crew: Crew, days: int) -> None:
    with pytest.raises(TocsinError, match="days must be between 1 and 60"):
        await foreseen(app, crew, days)
