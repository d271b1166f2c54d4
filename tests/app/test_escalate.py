"""It gets louder on the clock: fixture, move the clock, expect exactly these pages and no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest

from tests.app.conftest import Crew, Inbox, Tables, run, with_settings
from tests.support import reached
from tests.support.clock import FakeClock
from tests.support.lives import RESOLVED_WITH_LESSONS, ROOT_CAUSE, reported
from tocsin.app import accounts, escalate, leases, maintain, policies, read_incidents, respond
from tocsin.app.work import App, Work
from tocsin.domain.access import Actor
from tocsin.domain.incident import EscalationReason, Severity
from tocsin.domain.policy import StepReason
from tocsin.domain.policy_document import TargetKind, TargetName
from tocsin.domain.workflow import Acknowledge, AddNote, ChangeSeverity, Close, Escalate
from tocsin.errors import Code, TocsinError
from tocsin.worker.handlers import CHORES

pytestmark = pytest.mark.anyio

HELP = Escalate(EscalationReason.MANUAL_ESCALATION, "The replica is gone too")


async def acknowledged(app: App, crew: Crew, incident_id: UUID) -> None:
    """Let olga take the incident."""
    async with app.work() as work:
        await respond.acknowledge(work, crew.olga, incident_id, Acknowledge("On it"))


async def test_nobody_answers_and_it_gets_louder_step_by_step(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    incident_id = await reported(app, severity=Severity.HIGH)
    heard: list[tuple[float, str, str]] = []
    for quarter in range(26 * 4):
        await run(app, inbox)
        heard += [(quarter / 4, who, what) for who, what in inbox.taken()]
        clock.forward(minutes=15)
    assert heard == [
        (0, "olga", "INCIDENT_OPENED"),
        (1, "olga", "NO_ACK_1HR"),
        (4, "sam", "NO_ACK_4HR"),
        (24, "dee", "NO_ROOT_CAUSE_24HR"),
    ]
    assert tables.escalations() == [("NO_ACK_1HR", "Olga"), ("NO_ACK_4HR", "Sam"), ("NO_ROOT_CAUSE_24HR", "Dee")]
    async with app.work() as work:
        shown = await read_incidents.show_incident(work, crew.ada, incident_id)
        counted = await read_incidents.escalation_stats(work, crew.ada)
    assert [entry.event_type for entry in shown.timeline] == ["REPORTED", "ESCALATED", "ESCALATED", "ESCALATED"]
    assert {entry.actor_role for entry in shown.timeline} == {"system"}
    assert {each.escalation_reason: each.count for each in counted} == {"NO_ACK_4HR": 1, "NO_ROOT_CAUSE_24HR": 1}
    assert tables.value("SELECT count(*) FROM jobs") == 0, "nothing is left to wait for"


async def test_a_timer_does_not_fire_a_moment_early(app: App, crew: Crew, clock: FakeClock, inbox: Inbox) -> None:
    await reported(app)
    await run(app, inbox)
    inbox.taken()
    clock.forward(minutes=59, seconds=59.999999)
    await run(app, inbox)
    assert inbox.taken() == []
    clock.forward(seconds=0.000001)
    await run(app, inbox)
    assert inbox.taken() == [("olga", "NO_ACK_1HR")]


async def test_an_acknowledgment_silences_all_but_the_questions_for_progress_and_for_the_cause(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    incident_id = await reported(app)
    clock.forward(minutes=59)
    await acknowledged(app, crew, incident_id)
    clock.forward(hours=24)
    await run(app, inbox)
    assert sorted(tables.owed()) == [
        ("dee", "NO_ROOT_CAUSE_24HR"),
        ("olga", "ACK_LAPSED"),
        ("olga", "INCIDENT_OPENED"),
    ]


async def test_a_root_cause_silences_all_but_the_question_for_progress_until_it_is_resolved(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    incident_id = await reported(app)
    await acknowledged(app, crew, incident_id)
    async with app.work() as work:
        await respond.record_root_cause(work, crew.olga, incident_id, ROOT_CAUSE)
    clock.forward(hours=100)
    await run(app, inbox)
    assert tables.owed() == [("olga", "INCIDENT_OPENED"), ("olga", "ACK_LAPSED")]
    async with app.work() as work:
        await respond.resolve(work, crew.olga, incident_id, RESOLVED_WITH_LESSONS)
    clock.forward(hours=100)
    await run(app, inbox)
    assert len(tables.owed()) == 2
    assert tables.value("SELECT count(*) FROM jobs") == 0


async def test_thirty_hours_of_downtime_are_made_up_at_the_start(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await reported(app)
    clock.forward(hours=30)
    await run(app, inbox)
    await run(app, inbox)
    assert sorted(inbox.taken()) == [
        ("dee", "NO_ROOT_CAUSE_24HR"),
        ("olga", "INCIDENT_OPENED"),
        ("olga", "NO_ACK_1HR"),
        ("sam", "NO_ACK_4HR"),
    ]
    assert len(tables.escalations()) == 3


async def test_looking_twice_or_late_fires_nothing_twice(
    app: App, crew: Crew, clock: FakeClock, tables: Tables
) -> None:
    incident_id = await reported(app)
    clock.forward(hours=2)
    for _ in range(3):
        async with app.work() as work:
            escalated = await escalate.run_timers(work, incident_id)
    assert tables.escalations() == [("NO_ACK_1HR", "Olga")]
    assert escalated.fired == ()
    assert escalated.next_due_at == FakeClock().now + timedelta(hours=4)


# --- the safety net --------------------------------------------------------------------------------------------


async def swept(app: App) -> maintain.Swept:
    """Run a sweep."""
    async with app.work() as work:
        return await maintain.sweep(work)


async def test_a_sweep_finds_the_incident_whose_timer_was_lost(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await reported(app)
    await run(app, inbox)
    tables.connection.execute("DELETE FROM jobs")
    clock.forward(hours=1, seconds=29)
    assert await swept(app) == maintain.Swept(0, 0), "it may just be under way"
    clock.forward(seconds=1)
    assert await swept(app) == maintain.Swept(1, 0)
    await run(app, inbox)
    assert tables.escalations() == [("NO_ACK_1HR", "Olga")]
    assert await swept(app) == maintain.Swept(0, 0)


@pytest.mark.parametrize(("hours", "reason"), [(4, "NO_ACK_4HR"), (24, "NO_ROOT_CAUSE_24HR")])
async def test_a_sweep_watches_over_each_rule(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables, hours: int, reason: str
) -> None:
    await reported(app)
    clock.forward(hours=hours - 1)
    await run(app, inbox)
    tables.connection.execute("DELETE FROM jobs")
    clock.forward(hours=1, minutes=1)
    assert (await swept(app)).incidents == 1
    await run(app, inbox)
    assert reason in [found for found, _ in tables.escalations()]


async def test_a_sweep_finds_the_page_that_nobody_is_sending(
    app: App, crew: Crew, inbox: Inbox, tables: Tables
) -> None:
    await reported(app)
    tables.connection.execute("DELETE FROM jobs WHERE kind = 'deliver'")
    assert await swept(app) == maintain.Swept(0, 1)
    assert await swept(app) == maintain.Swept(0, 0)
    await run(app, inbox)
    assert inbox.taken() == [("olga", "INCIDENT_OPENED")]
    assert await swept(app) == maintain.Swept(0, 0)


async def test_the_sweep_runs_by_itself_every_five_minutes(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await leases.ensure_chores(app, tuple(CHORES))
    await run(app, inbox)
    await reported(app)
    await run(app, inbox)
    tables.connection.execute("DELETE FROM jobs WHERE kind = 'escalate'")
    clock.forward(hours=1, minutes=6)
    await run(app, inbox)
    assert tables.escalations() == [("NO_ACK_1HR", "Olga")]
    due_at = tables.value("SELECT due_at FROM jobs WHERE kind = 'sweep'")
    assert due_at == clock.now + timedelta(minutes=5)


async def test_a_shorter_rule_reaches_open_incidents_with_the_next_sweep(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await reported(app)
    await run(app, inbox)
    clock.forward(minutes=20)
    async with app.work() as work:
        targets = [TargetName(TargetKind.DUTY, "DIRECTOR")]
        await policies.set_rule(work, crew.ada, "", StepReason.NO_ACK_1HR, after=timedelta(minutes=15), targets=targets)
    await run(app, inbox)
    assert tables.escalations() == []
    assert (await swept(app)).incidents == 1
    await run(app, inbox)
    assert tables.escalations() == [("NO_ACK_1HR", "Dee")]


async def test_a_longer_rule_holds_back_what_was_queued_under_the_shorter_one(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await reported(app)
    async with app.work() as work:
        await policies.set_rule(work, crew.ada, "", StepReason.NO_ACK_1HR, after=timedelta(hours=2))
    clock.forward(hours=1)
    await run(app, inbox)
    assert tables.escalations() == []
    clock.forward(hours=1)
    await run(app, inbox)
    assert tables.escalations() == [("NO_ACK_1HR", "Olga")]


# --- whom it reaches -------------------------------------------------------------------------------------------


async def test_when_nobody_holds_the_duty_those_of_the_next_steps_are_told_at_once_and_it_becomes_an_incident(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    # No command lets it come so far, but a schedule that runs out does.
    tables.connection.execute(b"UPDATE users SET active = false WHERE email = 'olga@example.org'")
    await reported(app)
    assert tables.owed() == [("sam", "INCIDENT_OPENED")]
    await run(app, inbox)
    assert inbox.taken() == [("sam", "INCIDENT_OPENED"), ("sam", "INCIDENT_OPENED")]
    assert tables.rows("SELECT title FROM incidents WHERE project_id = 0") == [
        (tables.value("SELECT title FROM incidents WHERE title LIKE 'StepReachesNobody%%'"),)
    ]
    clock.forward(hours=1)
    await run(app, inbox)
    assert tables.escalations() == [("NO_ACK_1HR", "Sam"), ("NO_ACK_1HR", "Sam")]


async def test_when_nobody_of_a_policy_can_be_reached_every_superadmin_is_told(
    app: App, crew: Crew, tables: Tables
) -> None:
    tables.connection.execute(b"UPDATE users SET active = false WHERE name <> 'ada'")
    await reported(app)
    assert tables.owed() == [("ada", "INCIDENT_OPENED")]


async def test_a_page_goes_to_every_contact_method(app: App, crew: Crew, tables: Tables) -> None:
    async with app.work() as work:
        await reached.also_by(work, "olga@example.org", "webhook", "https://pager.example.org/olga")
    await reported(app)
    assert tables.rows("SELECT channel, address FROM notifications ORDER BY channel") == [
        ("email", "olga@example.org"),
        ("webhook", "https://pager.example.org/olga"),
    ]


# --- by hand ---------------------------------------------------------------------------------------------------


async def test_a_person_asks_a_person_for_help_and_they_say_that_it_arrived(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    incident_id = await reported(app)
    await run(app, inbox)
    inbox.taken()
    async with app.work() as work:
        escalation_id = await escalate.escalate_by_hand(work, crew.olga, incident_id, "dee@example.org", HELP)
    await run(app, inbox)
    ((_, address, page),) = inbox.sent
    assert address == "dee@example.org"
    assert "note: The replica is gone too" in page.text
    clock.forward(minutes=3)
    for somebody_else in (crew.ada, crew.olga):
        with pytest.raises(TocsinError, match="somebody else") as caught:
            async with app.work() as work:
                await escalate.acknowledge_escalation(work, somebody_else, incident_id, escalation_id)
        assert caught.value.refusal.code is Code.FORBIDDEN
    async with app.work() as work:
        await escalate.acknowledge_escalation(work, crew.dee, incident_id, escalation_id)
    assert tables.rows("SELECT acknowledged_at, acknowledged_by_user_id FROM escalation_status") == [
        (clock.now, crew.dee.user_id)
    ]
    with pytest.raises(TocsinError, match="already") as caught:
        async with app.work() as work:
            await escalate.acknowledge_escalation(work, crew.dee, incident_id, escalation_id)
    assert caught.value.refusal.code is Code.ALREADY_ACKNOWLEDGED
    assert tables.value("SELECT status FROM incident_heads") == "REPORTED", "help is no acknowledgment"


async def test_an_escalation_is_looked_for_in_its_own_incident(app: App, crew: Crew) -> None:
    one, two = await reported(app, "one"), await reported(app, "two")
    async with app.work() as work:
        escalation_id = await escalate.escalate_by_hand(work, crew.olga, one, "dee@example.org", HELP)
    with pytest.raises(TocsinError) as caught:
        async with app.work() as work:
            await escalate.acknowledge_escalation(work, crew.dee, two, escalation_id)
    assert caught.value.refusal.code is Code.NOT_FOUND


async def test_help_that_cannot_be_reached_is_refused_at_once(app: App, crew: Crew, tables: Tables) -> None:
    incident_id = await reported(app)
    async with app.work() as work:
        await accounts.set_active(work, crew.ada, "mia@example.org", active=False)
    tables.connection.execute("DELETE FROM contact_methods WHERE address = 'ada@example.org'")
    for email in ("nobody@example.org", "mia@example.org", "ada@example.org", "a\x00b@example.org"):
        with pytest.raises(TocsinError, match="Cannot escalate INC-1") as caught:
            async with app.work() as work:
                await escalate.escalate_by_hand(work, crew.olga, incident_id, email, HELP)
        assert caught.value.refusal.code is Code.INVALID
    assert tables.escalations() == []


async def test_a_closed_incident_is_not_escalated(app: App, crew: Crew) -> None:
    incident_id = await reported(app)
    await acknowledged(app, crew, incident_id)
    async with app.work() as work:
        await respond.record_root_cause(work, crew.olga, incident_id, ROOT_CAUSE)
        await respond.resolve(work, crew.olga, incident_id, RESOLVED_WITH_LESSONS)
    with pytest.raises(TocsinError) as caught:
        async with app.work() as work:
            await escalate.escalate_by_hand(work, crew.olga, incident_id, "dee@example.org", HELP)
    assert caught.value.refusal.code is Code.ALREADY_CLOSED


async def test_a_person_who_raises_the_severity_tells_the_on_call_and_who_lowers_it_does_not(
    app: App, crew: Crew, inbox: Inbox, tables: Tables
) -> None:
    incident_id = await reported(app)
    await run(app, inbox)
    inbox.taken()
    async with app.work() as work:
        await escalate.change_severity(work, crew.sam, incident_id, ChangeSeverity(Severity.MEDIUM, "One shop only"))
    await run(app, inbox)
    assert inbox.taken() == []
    async with app.work() as work:
        await escalate.change_severity(work, crew.sam, incident_id, ChangeSeverity(Severity.CRITICAL, "All shops"))
    await run(app, inbox)
    assert inbox.taken() == [("olga", "SEVERITY_ESCALATED")]
    assert tables.rows("SELECT severity, current_severity FROM current_incident_status") == [("HIGH", "CRITICAL")]


def responses(by: Actor, incident_id: UUID) -> list[Callable[[Work], Awaitable[object]]]:
    """Return what only those may do who can respond."""
    return [
        lambda work: escalate.escalate_by_hand(work, by, incident_id, "dee@example.org", HELP),
        lambda work: escalate.change_severity(work, by, incident_id, ChangeSeverity(Severity.LOW, "x")),
        lambda work: respond.acknowledge(work, by, incident_id, Acknowledge("x")),
        lambda work: respond.start_investigation(work, by, incident_id),
        lambda work: respond.record_root_cause(work, by, incident_id, ROOT_CAUSE),
        lambda work: respond.resolve(work, by, incident_id, RESOLVED_WITH_LESSONS),
        lambda work: respond.close(work, by, incident_id, Close()),
        lambda work: respond.add_note(work, by, incident_id, AddNote("x")),
    ]


async def test_who_may_not_respond_changes_nothing(app: App, crew: Crew, tables: Tables) -> None:
    incident_id = await reported(app)
    for actor in (crew.dee, crew.mia):
        for response in responses(actor, incident_id):
            with pytest.raises(TocsinError) as caught:
                async with app.work() as work:
                    await response(work)
            assert caught.value.refusal.code is Code.FORBIDDEN
    assert tables.value("SELECT sequence FROM incident_heads") == 1


# --- a policy that is switched on later -----------------------------------------------------------------------------


async def test_switching_session_blocking_on_reaches_incidents_that_are_open_already(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await reported(app, severity=Severity.CRITICAL)
    clock.forward(hours=3)
    await run(app, inbox)
    assert tables.value("SELECT sessions_blocked_at FROM incident_heads") is None
    blocking = with_settings(app, session_blocking=True)
    assert (await swept(blocking)).incidents == 1
    await run(blocking, inbox)
    assert tables.value("SELECT sessions_blocked_at FROM incident_heads") == clock.now
