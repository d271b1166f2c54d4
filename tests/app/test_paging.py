"""Whom an incident's policy pages when, what holds pages back, and the reason that each candidate is given."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from tests.app.conftest import Crew, Inbox, Tables, run
from tests.support.clock import FakeClock
from tests.support.lives import RESOLVED_WITH_LESSONS, ROOT_CAUSE, accept_one, error_report, reported
from tests.support.policies import DEFAULT, add_policy, add_schedule, add_silence, put_steps
from tocsin.app import escalate, maintain, respond
from tocsin.app.export_evidence import export_evidence
from tocsin.app.seal import seal_everything
from tocsin.app.sign import introduce_key, sign_log
from tocsin.app.verify import verify_database
from tocsin.app.why import Stage, explain, unexplained
from tocsin.app.work import App
from tocsin.channels import Rejected
from tocsin.domain.incident import EscalationReason, Severity
from tocsin.domain.policy import DEFAULT_STEPS, Duty, Step, StepReason, Target
from tocsin.domain.workflow import Acknowledge, AddNote, ChangeSeverity, Escalate
from tocsin.evidence.bundle import parse_bundle
from tocsin.evidence.policy import parse_policy
from tocsin.evidence.verify import verify
from tocsin.signing.signer import Signer

pytestmark = pytest.mark.anyio

ON_CALL = (Target(duty=Duty.ON_CALL),)


def minutes(count: float) -> timedelta:
    """Return so many minutes."""
    return timedelta(minutes=count)


def first(*targets: Target) -> Step:
    """Return a first alert for these."""
    return Step(StepReason.INCIDENT_OPENED, timedelta(), targets)


def further(after: timedelta, *targets: Target) -> Step:
    """Return a further step of a policy."""
    return Step(StepReason.POLICY_STEP, after, targets)


def reasons(tables: Tables, step: str) -> dict[str, str]:
    """Return the recorded reason of each candidate of a step; "-" is the step itself."""
    rows = tables.rows(
        "SELECT coalesce(lower(u.name), '-'), because FROM paging_decisions d LEFT JOIN users u ON u.id = d.user_id"
        " WHERE step LIKE %s ORDER BY d.id",
        f"{step}%",
    )
    assert len(dict(rows)) == len(rows)
    return dict(rows)


async def acknowledged(app: App, crew: Crew, incident_id: UUID) -> None:
    """Let olga take the incident."""
    async with app.work() as work:
        await respond.acknowledge(work, crew.olga, incident_id, Acknowledge("On it"))


async def heard(app: App, clock: FakeClock, inbox: Inbox, every: timedelta, times: int) -> list[tuple[float, str, str]]:
    """Let time pass; return who was told what after how many minutes."""
    began, found = clock.now, []
    for _ in range(times):
        await run(app, inbox)
        found += sorted(((clock.now - began) / minutes(1), who, what) for who, what in inbox.taken())
        clock.now += every
    return found


# --- policies --------------------------------------------------------------------------------------------------------


async def test_a_service_has_a_policy_of_its_own_which_is_played_round_after_round(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    steps = [
        first(Target(user_id=crew.mia.user_id)),
        further(minutes(5), Target(user_id=crew.dee.user_id)),
        Step(StepReason.NO_ACK_1HR, minutes(10), ON_CALL),
        Step(StepReason.NO_ACK_4HR, minutes(20), (Target(duty=Duty.SUPERVISOR),)),
    ]
    add_policy(tables.connection, "default project", steps, service="default", repeat=1)
    await reported(app)
    assert await heard(app, clock, inbox, minutes(5), 12) == [
        (0, "mia", "INCIDENT_OPENED"),
        (5, "dee", "POLICY_STEP"),
        (10, "olga", "NO_ACK_1HR"),
        (20, "sam", "NO_ACK_4HR"),
        (25, "dee", "POLICY_STEP"),
        (30, "olga", "POLICY_STEP"),
        (40, "sam", "POLICY_STEP"),
    ]
    assert tables.value("SELECT cardinality(fired_steps) FROM incident_heads") == 4
    assert tables.value("SELECT service FROM incident_heads") == "default", "without a service: the project's name"


async def test_the_report_s_service_decides_and_the_record_says_it(app: App, crew: Crew, tables: Tables) -> None:
    add_policy(tables.connection, "shop", [first(Target(user_id=crew.mia.user_id))], service="shop")
    await accept_one(app, msgspec.structs.replace(error_report("Broken"), service="shop"))
    await reported(app, "Other")
    assert tables.owed() == [("mia", "INCIDENT_OPENED"), ("olga", "INCIDENT_OPENED")]
    said = "SELECT metadata ->> 'service' FROM incident_lifecycle WHERE event_type = 'REPORTED' ORDER BY event_at, id"
    assert tables.rows(said) == [("shop",), ("default",)]


async def test_a_worse_incident_comes_under_the_policy_of_its_severity_and_takes_all_of_its_steps(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    mild = [first(*ON_CALL), further(minutes(5), Target(user_id=crew.dee.user_id))]
    bad = [first(Target(user_id=crew.mia.user_id)), further(minutes(30), Target(user_id=crew.sam.user_id))]
    add_policy(tables.connection, "bad", bad, severities=["CRITICAL"])
    put_steps(tables.connection, DEFAULT, mild)
    incident_id = await reported(app)
    assert await heard(app, clock, inbox, minutes(5), 2) == [(0, "olga", "INCIDENT_OPENED"), (5, "dee", "POLICY_STEP")]
    async with app.work() as work:
        await escalate.change_severity(work, crew.sam, incident_id, ChangeSeverity(Severity.CRITICAL, "All shops"))
    assert await heard(app, clock, inbox, minutes(5), 8) == [
        (0, "mia", "SEVERITY_ESCALATED"),
        (20, "sam", "POLICY_STEP"),
    ]


async def test_of_a_schedule_one_is_paged_and_the_others_know_who(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    schedule_id = add_schedule(tables.connection, "primary", [crew.dee.user_id, crew.mia.user_id], clock.now)
    put_steps(tables.connection, DEFAULT, [first(Target(schedule_id=schedule_id)), *DEFAULT_STEPS[1:]])
    await reported(app)
    assert tables.owed() == [("dee", "INCIDENT_OPENED")]
    assert reasons(tables, "INCIDENT_OPENED") == {"dee": "PAGED", "mia": "NOT_ON_CALL"}
    assert tables.value("SELECT about_user_id FROM paging_decisions WHERE NOT paged") == crew.dee.user_id


async def test_a_duty_may_be_held_by_a_schedule(app: App, crew: Crew, clock: FakeClock, tables: Tables) -> None:
    schedule_id = add_schedule(tables.connection, "primary", [crew.dee.user_id, crew.mia.user_id], clock.now)
    tables.connection.execute(
        "UPDATE duties SET user_id = NULL, schedule_id = %s WHERE duty = 'ON_CALL'", [schedule_id]
    )
    await reported(app)
    assert reasons(tables, "INCIDENT_OPENED") == {"dee": "PAGED", "mia": "NOT_ON_CALL"}


async def test_notification_rules_say_after_how_long_over_which_method(app: App, crew: Crew, tables: Tables) -> None:
    connection = tables.connection
    connection.execute(
        "INSERT INTO contact_methods (id, user_id, channel, address, created_at)"
        " VALUES (gen_random_uuid(), %s, 'webhook', 'https://pager.example.org', '2026-01-01Z')",
        [crew.olga.user_id],
    )
    connection.execute(
        "INSERT INTO notification_rules SELECT gen_random_uuid(), user_id, id,"
        " CASE channel WHEN 'email' THEN 0 ELSE 300 END, '2026-01-01Z' FROM contact_methods WHERE user_id = %s",
        [crew.olga.user_id],
    )
    await reported(app)
    assert tables.rows("SELECT channel, due_at - created_at FROM notifications ORDER BY due_at") == [
        ("email", minutes(0)),
        ("webhook", minutes(5)),
    ]
    assert tables.rows("SELECT j.due_at = n.due_at FROM jobs j, notifications n WHERE j.key = 'deliver:' || n.id") == [
        (True,),
        (True,),
    ]


# --- the reasons -----------------------------------------------------------------------------------------------------


async def test_an_acknowledgment_gives_those_a_reason_who_need_not_be_asked_any_more(
    app: App, crew: Crew, tables: Tables
) -> None:
    incident_id = await reported(app)
    await acknowledged(app, crew, incident_id)
    assert reasons(tables, "NO_ACK_1HR") == {"olga": "ACKNOWLEDGED"}
    assert reasons(tables, "NO_ACK_4HR") == {"sam": "ACKNOWLEDGED"}
    assert reasons(tables, "NO_ROOT_CAUSE") == {}
    async with app.work() as work:
        await respond.record_root_cause(work, crew.olga, incident_id, ROOT_CAUSE)
    assert reasons(tables, "NO_ROOT_CAUSE") == {"dee": "ROOT_CAUSE_KNOWN"}
    async with app.work() as work:
        await respond.resolve(work, crew.olga, incident_id, RESOLVED_WITH_LESSONS)
    assert tables.value("SELECT count(*) FROM paging_decisions") == 4, "closing makes nothing moot that was not"


async def test_a_step_without_a_reason_is_found(app: App, crew: Crew, clock: FakeClock, tables: Tables) -> None:
    incident_id = await reported(app)
    clock.forward(hours=1)
    async with app.work() as work:
        await escalate.run_timers(work, incident_id)
    connection = tables.connection
    connection.execute("SELECT tocsin_guard.suspend()")
    kept = connection.execute("SELECT * FROM paging_decisions").fetchall()
    connection.execute("ALTER TABLE paging_decisions DISABLE TRIGGER ALL")
    connection.execute("UPDATE notifications SET decision_id = NULL")
    connection.execute("DELETE FROM paging_decisions WHERE step = 'NO_ACK_1HR'")
    async with app.work() as work:
        missing = await unexplained(work, incident_id)
    assert {(one.step, one.user_id) for one in missing} == {("NO_ACK_1HR", None), ("NO_ACK_1HR", crew.olga.user_id)}
    for row in kept[1:]:
        names = ", ".join(row)
        places = ", ".join(["%s"] * len(row))
        connection.execute(f"INSERT INTO paging_decisions ({names}) VALUES ({places})".encode(), list(row.values()))


async def test_a_page_that_was_given_up_goes_to_the_others_and_each_has_a_reason(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    incident_id = await reported(app)
    inbox.answers.append(Rejected("550 no such mailbox"))
    await run(app, inbox)
    told = reasons(tables, "PAGE_NOT_DELIVERED")
    assert told == {"olga": "NO_CONTACT_METHOD", "sam": "PAGED", "dee": "PAGED", "ada": "PAGED"}
    async with app.work() as work:
        found = await explain(work, crew.ada, incident_id)
    (given_up,) = [step for step in found.steps if step.reason == "INCIDENT_OPENED"]
    (page,) = given_up.candidates[0].pages
    assert (page.state, page.attempts[0].answer) == ("FAILED", "550 no such mailbox")


async def test_why_tells_what_was_done_what_will_not_be_and_what_is_to_come(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox
) -> None:
    incident_id = await reported(app)
    await run(app, inbox)
    clock.forward(hours=1)
    await run(app, inbox)
    await acknowledged(app, crew, incident_id)
    async with app.work() as work:
        found = await explain(work, crew.ada, incident_id)
    assert [(step.reason, step.stage) for step in found.steps] == [
        ("INCIDENT_OPENED", Stage.TAKEN),
        ("NO_ACK_1HR", Stage.TAKEN),
        ("NO_ACK_4HR", Stage.MOOT),
        ("ACK_LAPSED", Stage.TO_COME),
        ("NO_ROOT_CAUSE_24HR", Stage.TO_COME),
    ]
    words = [
        (one.name, one.words, [page.state for page in one.pages]) for step in found.steps for one in step.candidates
    ]
    assert words == [
        ("Olga", "was paged", ["DELIVERED"]),
        ("Olga", "was paged", ["DELIVERED"]),
        ("Sam", "not paged: Olga had acknowledged", []),
        ("Olga", "is asked when it is due", []),
        ("Dee", "is asked when it is due", []),
    ]


# --- the lease of an acknowledgment -----------------------------------------------------------------------------------


async def test_who_acknowledged_and_is_not_heard_of_is_asked_and_then_the_first_ones_too(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    incident_id = await reported(app)
    await run(app, inbox)
    inbox.taken()
    async with app.work() as work:
        await respond.acknowledge(work, crew.sam, incident_id, Acknowledge("On it"))
    assert await heard(app, clock, inbox, minutes(30), 19) == [
        (240, "sam", "ACK_LAPSED"),
        (480, "olga", "ACK_LAPSED"),
        (480, "sam", "ACK_LAPSED"),
    ]
    async with app.work() as work:
        await respond.add_note(work, crew.sam, incident_id, AddNote("The replica is back"))
    assert await heard(app, clock, inbox, minutes(30), 9) == [(240, "sam", "ACK_LAPSED")]
    assert tables.value("SELECT lapses FROM incident_heads") == 1
    entries = (
        "SELECT count(*) FROM incident_lifecycle WHERE event_type = 'ACKNOWLEDGMENT_LAPSED' AND actor_role = 'system'"
    )
    assert tables.value(entries) == 3


async def test_a_page_that_waits_for_longer_than_a_lease_is_sent_however_often_it_lapses_meanwhile(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    add_policy(tables.connection, "brief", DEFAULT_STEPS, lease=minutes(60))
    tables.connection.execute(
        "INSERT INTO notification_rules (id, user_id, contact_method_id, after_seconds, created_at)"
        " SELECT gen_random_uuid(), user_id, id, 90 * 60, created_at FROM contact_methods"
    )
    incident_id = await reported(app)
    async with app.work() as work:
        await respond.acknowledge(work, crew.sam, incident_id, Acknowledge("On it"))
    assert await heard(app, clock, inbox, minutes(30), 6) == [
        (0, "olga", "INCIDENT_OPENED"),
        (60, "sam", "ACK_LAPSED"),
        (120, "olga", "ACK_LAPSED"),
        (120, "sam", "ACK_LAPSED"),
        (150, "sam", "ACK_LAPSED"),
    ]
    async with app.work() as work:
        await respond.add_note(work, crew.sam, incident_id, AddNote("The replica is back"))
    assert await heard(app, clock, inbox, minutes(30), 2) == []
    settled = tables.rows("SELECT because FROM notifications WHERE reason = 'ACK_LAPSED' AND state = 'CANCELLED'")
    assert settled == [("PROGRESS",)] * 2


async def test_an_acknowledgment_of_a_policy_without_a_lease_never_lapses(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    add_policy(tables.connection, "patient", DEFAULT_STEPS, lease=None)
    await acknowledged(app, crew, await reported(app))
    clock.forward(hours=100)
    await run(app, inbox)
    assert "ACK_LAPSED" not in [reason for _, reason in tables.owed()]


# --- silences --------------------------------------------------------------------------------------------------------


async def test_a_silence_holds_pages_back_says_so_once_and_pages_at_its_end_what_is_still_wanted(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    silence_id = add_silence(tables.connection, crew.ada.user_id, clock.now, timedelta(hours=5), service="default")
    await reported(app)
    assert await heard(app, clock, inbox, minutes(60), 5) == []
    assert tables.escalations() == [("NO_ACK_1HR", "Olga"), ("NO_ACK_4HR", "Sam")]
    assert reasons(tables, "INCIDENT_OPENED") == {"olga": "SILENCED"}
    held = tables.rows("SELECT metadata, personal FROM incident_lifecycle WHERE event_type = 'PAGES_HELD'")
    assert [(said["silenceId"], text) for said, text in held] == [
        (str(silence_id), {"reason": "We move the database"})
    ], "once, however many steps it held back"
    assert await heard(app, clock, inbox, minutes(60), 2) == [
        (0, "olga", "SILENCE_ENDED"),
        (0, "sam", "SILENCE_ENDED"),
    ]
    assert reasons(tables, "SILENCE_ENDED") == {"olga": "PAGED", "sam": "PAGED"}


async def test_what_was_answered_while_the_silence_held_is_not_paged_at_its_end(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    add_silence(tables.connection, crew.ada.user_id, clock.now, timedelta(hours=2))
    incident_id = await reported(app)
    clock.forward(hours=1)
    await run(app, inbox)
    await acknowledged(app, crew, incident_id)
    clock.forward(hours=1)
    await run(app, inbox)
    assert tables.owed() == []
    assert reasons(tables, "SILENCE_ENDED") == {"olga": "ACKNOWLEDGED"}


async def test_a_silence_after_a_silence_holds_on_and_the_last_one_releases(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    add_silence(tables.connection, crew.ada.user_id, clock.now, minutes(30))
    await reported(app)
    clock.forward(minutes=20)
    add_silence(tables.connection, crew.ada.user_id, clock.now, minutes(30))
    assert await heard(app, clock, inbox, minutes(5), 8) == [(30, "olga", "SILENCE_ENDED")]
    assert tables.value("SELECT count(*) FROM incident_lifecycle WHERE event_type = 'PAGES_HELD'") == 2


async def test_no_silence_holds_back_what_a_person_asks_for(
    app: App, crew: Crew, clock: FakeClock, tables: Tables
) -> None:
    add_silence(tables.connection, crew.ada.user_id, clock.now, minutes(30))
    incident_id = await reported(app)
    async with app.work() as work:
        help_ = Escalate(EscalationReason.MANUAL_ESCALATION, "The replica is gone too")
        await escalate.escalate_by_hand(work, crew.olga, incident_id, "dee@example.org", help_)
    assert tables.owed() == [("dee", "MANUAL_ESCALATION")]


# --- the safety net --------------------------------------------------------------------------------------------------


async def swept(app: App) -> int:
    """Run a sweep; return how many incidents it set going again."""
    async with app.work() as work:
        return (await maintain.sweep(work)).incidents


async def test_a_sweep_finds_what_a_lost_job_would_have_done_by_the_incident_s_own_policy(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    quick = [first(*ON_CALL), further(minutes(5), *ON_CALL), Step(StepReason.NO_ACK_1HR, minutes(10), ON_CALL)]
    add_policy(tables.connection, "quick", quick, severities=["CRITICAL"], repeat=1, lease=minutes(20))
    await reported(app, "slow")
    quick_id = await reported(app, "quick", Severity.CRITICAL)

    async def lost() -> int:
        tables.connection.execute("DELETE FROM jobs WHERE kind = 'escalate'")
        found = await swept(app)
        await run(app, inbox)
        return found

    await run(app, inbox)
    assert await lost() == 0
    for after, found in ((6, 1), (5, 1), (3, 0), (235, 2)):
        clock.forward(minutes=after)
        assert await lost() == found, after
    async with app.work() as work:
        await respond.acknowledge(work, crew.sam, quick_id, Acknowledge("On it"))
    clock.forward(minutes=19)
    assert await lost() == 0
    clock.forward(minutes=2)
    assert await lost() == 1
    assert ("sam", "ACK_LAPSED") in tables.owed()


async def test_a_sweep_releases_what_a_silence_held_and_then_forgets_the_silence(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    add_silence(tables.connection, crew.ada.user_id, clock.now, minutes(30))
    await reported(app)
    tables.connection.execute("DELETE FROM jobs")
    clock.forward(minutes=31)
    assert await swept(app) == 1
    await run(app, inbox)
    assert inbox.taken() == [("olga", "SILENCE_ENDED")]
    assert await swept(app) == 0
    assert tables.value("SELECT released_at FROM silences") is None
    clock.forward(minutes=60)
    await swept(app)
    assert tables.value("SELECT released_at FROM silences") == clock.now


async def test_nobody_is_told_of_by_an_incident_of_its_own_and_that_ends(
    app: App, crew: Crew, inbox: Inbox, tables: Tables
) -> None:
    tables.connection.execute("UPDATE users SET active = false")
    await reported(app)
    for _ in range(3):
        await run(app, inbox)
    assert inbox.taken() == []
    assert tables.value("SELECT count(*) FROM incidents WHERE title LIKE 'StepReachesNobody%%'") == 1
    assert tables.value("SELECT count(*) FROM jobs WHERE kind = 'reaches-nobody'") == 0


# --- the record ------------------------------------------------------------------------------------------------------


async def test_the_record_of_all_of_this_verifies_and_so_does_its_evidence_elsewhere(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables, tmp_path: Path
) -> None:
    add_silence(tables.connection, crew.ada.user_id, clock.now, minutes(7))
    steps = [first(*ON_CALL), further(minutes(5), Target(user_id=crew.dee.user_id))]
    add_policy(tables.connection, "shop", steps, service="default")
    incident_id = await reported(app)
    await heard(app, clock, inbox, minutes(5), 3)
    await acknowledged(app, crew, incident_id)
    clock.forward(hours=5)
    await run(app, inbox)
    kinds = [kind for (kind,) in tables.rows("SELECT event_type FROM incident_lifecycle ORDER BY sequence")]
    assert kinds == ["REPORTED", "PAGES_HELD", "ESCALATED", "ACKNOWLEDGED", "ACKNOWLEDGMENT_LAPSED"]
    signer = Signer(tmp_path / "signer")
    signer.make("example.org/tocsin")
    await introduce_key(app, signer)
    await seal_everything(app)
    await sign_log(app, signer)
    async with app.work(streaming=True) as work:
        assert (await verify_database(work)).findings == []
    bundle = parse_bundle(await export_evidence(app, crew.ada, incident_id))
    report = verify(bundle, parse_policy(f"log {signer.key().vkey}\nquorum none\n".encode()))
    assert report.proven, report.missing
    assert report.entries == 5
    assert {"reason": "We move the database"} in [text.value for text in report.texts]
