"""Reports open, join or are recorded; each once; all of a request or none of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from uuid import UUID

import pytest

from tests.app.conftest import Crew, Inbox, Tables, run, with_settings
from tests.support.clock import FakeClock
from tests.support.lives import LESSONS, RESOLVED_WITH_LESSONS, ROOT_CAUSE, accept_one, error_report, reported
from tests.support.reporting import accept
from tocsin.app import read_incidents, respond
from tocsin.app.report_errors import report_errors
from tocsin.app.work import App
from tocsin.domain.access import Actor
from tocsin.domain.deduplication import Outcome
from tocsin.domain.incident import Severity
from tocsin.domain.workflow import Acknowledge

pytestmark = pytest.mark.anyio


async def closed(app: App, actor: Actor, incident_id: UUID) -> None:
    """Take an incident to its end, with the lessons."""
    async with app.work() as work:
        await respond.acknowledge(work, actor, incident_id, Acknowledge("On it"))
        await respond.record_root_cause(work, actor, incident_id, ROOT_CAUSE)
        await respond.resolve(work, actor, incident_id, RESOLVED_WITH_LESSONS)


@pytest.mark.parametrize(("severity", "kind"), [(Severity.CRITICAL, "P0_INCIDENT"), (Severity.HIGH, "P1_INCIDENT")])
async def test_a_loud_error_opens_an_incident_with_everything_it_needs(
    app: App, admin: Actor, tables: Tables, severity: Severity, kind: str
) -> None:
    taken = await accept_one(app, error_report("ValueError", severity, message="no such order"))
    assert taken.outcome is Outcome.OPENED
    assert taken.incident_id is not None
    async with app.work() as work:
        shown = await read_incidents.show_incident(work, admin, taken.incident_id)
    assert (shown.incident.incident_type, shown.incident.status) == (kind, "REPORTED")
    assert (shown.incident.title, shown.incident.description) == ("ValueError: no such order", "no such order")
    assert shown.incident.created_by_system
    assert shown.incident.occurrences == 1
    assert [entry.event_type for entry in shown.timeline] == ["REPORTED"]
    assert shown.timeline[0].metadata["trigger"] == "HIGH_SEVERITY_ERROR_LOGGED"
    assert shown.timeline[0].actor_role == "system"
    assert shown.error is not None
    assert (shown.error.event_id, shown.error.outcome) == (taken.event_id, "opened")
    assert [page.reason for page in shown.notifications] == ["INCIDENT_OPENED"]
    kinds = tables.rows("SELECT kind, count(*) FROM jobs GROUP BY kind ORDER BY kind")
    assert kinds == [("deliver", 1), ("escalate", 1)]


@pytest.mark.parametrize("severity", [Severity.MEDIUM, Severity.LOW])
async def test_a_quiet_error_is_recorded_and_no_more(app: App, tables: Tables, severity: Severity) -> None:
    taken = await accept_one(app, error_report(severity=severity))
    assert (taken.outcome, taken.incident_id) == (Outcome.RECORDED, None)
    assert tables.rows("SELECT severity, outcome, incident_id FROM audit_logs") == [(severity.value, "recorded", None)]
    assert tables.value("SELECT count(*) FROM incidents") == 0
    assert tables.value("SELECT count(*) FROM jobs") == 0


async def test_a_quiet_error_joins_the_open_incident_of_its_failure(app: App, tables: Tables) -> None:
    incident_id = await reported(app)
    taken = await accept_one(app, error_report(severity=Severity.LOW))
    assert (taken.outcome, taken.incident_id) == (Outcome.JOINED, incident_id)
    assert tables.value("SELECT occurrences FROM current_incident_status") == 2
    assert tables.value("SELECT count(*) FROM notifications") == 1, "a join pages nobody"


async def test_the_operator_can_have_medium_errors_open_incidents(app: App, tables: Tables) -> None:
    louder = with_settings(app, incident_threshold=Severity.MEDIUM)
    assert (await accept_one(louder, error_report(severity=Severity.MEDIUM))).outcome is Outcome.OPENED
    assert (await accept_one(louder, error_report("other", Severity.LOW))).outcome is Outcome.RECORDED
    assert tables.value("SELECT incident_type FROM incidents") == "P2_INCIDENT"


async def test_other_failures_and_other_projects_open_their_own(app: App, tables: Tables) -> None:
    first = await reported(app, "one")
    assert await reported(app, "two") != first
    (elsewhere,) = await accept(app, 0, [error_report("one")])
    assert elsewhere.outcome is Outcome.OPENED
    assert tables.value("SELECT count(*) FROM incidents") == 3


async def test_a_critical_report_raises_the_incident_it_joins_and_pages_again(
    app: App, crew: Crew, tables: Tables, inbox: Inbox
) -> None:
    incident_id = await reported(app)
    await run(app, inbox)
    assert inbox.taken() == [("olga", "INCIDENT_OPENED")]
    taken = await accept_one(app, error_report(severity=Severity.CRITICAL))
    assert (taken.outcome, taken.incident_id) == (Outcome.JOINED, incident_id)
    await run(app, inbox)
    assert inbox.taken() == [("olga", "SEVERITY_ESCALATED")]
    async with app.work() as work:
        shown = await read_incidents.show_incident(work, crew.ada, incident_id)
    assert (shown.incident.severity, shown.incident.current_severity) == ("HIGH", "CRITICAL")
    assert shown.incident.incident_type == "P1_INCIDENT", "what was recorded never changes"
    assert [entry.event_type for entry in shown.timeline] == ["REPORTED", "SEVERITY_CHANGED", "ESCALATED"]
    assert tables.escalations() == [("SEVERITY_ESCALATED", "Olga")]
    await accept_one(app, error_report(severity=Severity.CRITICAL))
    await accept_one(app, error_report(severity=Severity.HIGH))
    assert tables.escalations() == [("SEVERITY_ESCALATED", "Olga")], "severity rises once, and never falls by itself"


async def test_a_closed_incident_is_joined_within_the_window_and_then_comes_back_as_its_recurrence(
    app: App, crew: Crew, clock: FakeClock, tables: Tables, inbox: Inbox
) -> None:
    incident_id = await reported(app)
    await closed(app, crew.ada, incident_id)
    clock.forward(minutes=4, seconds=59)
    again = await accept_one(app, error_report())
    assert (again.outcome, again.incident_id) == (Outcome.JOINED, incident_id)
    await run(app, inbox)
    inbox.taken()
    clock.forward(seconds=1)
    anew = await accept_one(app, error_report())
    assert anew.outcome is Outcome.OPENED
    assert tables.value("SELECT recurrence_of FROM incidents WHERE id = %s", anew.incident_id) == incident_id
    await run(app, inbox)
    ((_, address, page),) = inbox.sent
    assert address == "olga@example.org"
    assert f"What was learned last time:\n  {LESSONS}" in page.text
    assert page.payload["previousLesson"] == LESSONS


async def test_a_critical_report_raises_even_a_closed_incident_within_the_window(
    app: App, crew: Crew, tables: Tables
) -> None:
    incident_id = await reported(app)
    await closed(app, crew.ada, incident_id)
    taken = await accept_one(app, error_report(severity=Severity.CRITICAL))
    assert taken.outcome is Outcome.JOINED
    assert tables.rows("SELECT status, current_severity FROM incident_heads") == [("CLOSED", "CRITICAL")]
    assert tables.owed() == [("olga", "INCIDENT_OPENED"), ("olga", "SEVERITY_ESCALATED")]


async def test_a_window_of_zero_never_joins_what_is_closed(app: App, crew: Crew) -> None:
    incident_id = await reported(app)
    await closed(app, crew.ada, incident_id)
    taken = await accept_one(with_settings(app, dedup_window=0), error_report())
    assert taken.outcome is Outcome.OPENED


async def test_an_event_id_counts_once_in_a_batch_and_across_batches(app: App, tables: Tables) -> None:
    same = error_report(event_id="same")
    first = await accept(app, 1, [same, same, error_report(event_id="other")])
    assert [taken.outcome for taken in first] == [Outcome.OPENED, Outcome.DUPLICATE, Outcome.JOINED]
    second = await accept(app, 1, [error_report("another failure", event_id="same")])
    assert [taken.outcome for taken in second] == [Outcome.DUPLICATE]
    assert {taken.incident_id for taken in first + second} == {first[0].incident_id}
    assert tables.value("SELECT occurrences FROM current_incident_status") == 2
    elsewhere = await accept(app, 0, [same])
    assert elsewhere[0].outcome is Outcome.OPENED, "another project's ids are other ids"


async def test_a_recorded_event_sent_again_is_a_duplicate_without_incident(app: App) -> None:
    quiet = error_report(severity=Severity.LOW, event_id="quiet")
    await accept_one(app, quiet)
    assert (await accept_one(app, quiet)) == (await accept_one(app, quiet))
    assert (await accept_one(app, quiet)).outcome is Outcome.DUPLICATE


async def test_the_same_event_over_many_connections_at_once_is_recorded_once(app: App, tables: Tables) -> None:
    # Different failures on purpose: their locks do not keep the two apart, only the event id does.
    batches = [[error_report(f"failure {number}", event_id="same")] for number in range(8)]
    answers = await asyncio.gather(*(accept(app, 1, batch) for batch in batches))
    outcomes = Counter(taken.outcome for (taken,) in answers)
    assert outcomes == {Outcome.OPENED: 1, Outcome.DUPLICATE: 7}
    assert tables.value("SELECT count(*) FROM incidents") == 1
    assert tables.value("SELECT count(*) FROM audit_logs") == 1


async def test_a_batch_of_many_failures_is_told_in_its_order(app: App, tables: Tables) -> None:
    batch = [error_report(f"failure {number % 7}", Severity.HIGH) for number in range(70)]
    batch += [error_report("failure 3", Severity.CRITICAL), error_report("quiet", Severity.LOW)]
    accepted = await accept(app, 1, batch)
    assert [taken.event_id for taken in accepted] == [report.event_id for report in batch]
    assert [taken.outcome for taken in accepted[:7]] == [Outcome.OPENED] * 7
    assert {taken.outcome for taken in accepted[7:71]} == {Outcome.JOINED}
    assert accepted[71].outcome is Outcome.RECORDED
    assert tables.rows("SELECT occurrences FROM current_incident_status ORDER BY occurrences") == [(10,)] * 6 + [(11,)]
    assert tables.escalations() == [("SEVERITY_ESCALATED", "ada")]


async def test_batches_that_name_the_same_failures_in_any_order_never_wait_in_a_circle(
    app: App, tables: Tables
) -> None:
    failures = [f"failure {number}" for number in range(12)]
    batches = [[error_report(name) for name in failures[turn:] + failures[:turn]] for turn in range(12)]
    await asyncio.gather(*(accept(app, 1, batch) for batch in batches))
    assert tables.rows("SELECT occurrences FROM current_incident_status WHERE project_id = 1") == [(12,)] * 12


async def test_when_something_fails_late_nothing_of_the_request_is_there(app: App, tables: Tables) -> None:
    class LateFailureError(Exception):
        pass

    async def fail_late() -> None:
        async with app.work() as work:
            await report_errors(work, 1, [error_report("one"), error_report("two", Severity.LOW)])
            raise LateFailureError

    with pytest.raises(LateFailureError):
        await fail_late()
    for table in ("audit_logs", "failures", "incidents", "incident_lifecycle", "notifications", "jobs"):
        assert tables.value(f"SELECT count(*) FROM {table}") == 0, table
    assert (await accept_one(app, error_report("one"))).outcome is Outcome.OPENED


async def test_the_counters_and_the_lists_say_the_same(app: App, crew: Crew, clock: FakeClock) -> None:
    for number in range(5):
        await reported(app, f"failure {number}", Severity.CRITICAL if number % 2 else Severity.HIGH)
    first = await reported(app, "failure 0")
    async with app.work() as work:
        await respond.acknowledge(work, crew.olga, first, Acknowledge("On it"))
    clock.forward(hours=1)
    async with app.work() as work:
        stats = await read_incidents.stats(work, crew.dee)
    assert stats.total_open == 5
    assert {status.value: count for status, count in stats.by_status.items() if count} == {
        "REPORTED": 4,
        "ACKNOWLEDGED": 1,
    }
    assert {severity.value: count for severity, count in stats.by_severity.items() if count} == {
        "HIGH": 3,
        "CRITICAL": 2,
    }
    assert stats.overdue == 4
