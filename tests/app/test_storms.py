"""In a storm people are told of the storm, once, with its rate; each failure still has its incident and its clock."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from tests.app.conftest import Crew, Inbox, Tables, run, with_settings
from tests.app.test_report_errors import closed
from tests.support.clock import FakeClock
from tests.support.lives import error_report, reported
from tests.support.reporting import accept
from tocsin.app import maintain
from tocsin.app.open_incident import open_by_hand
from tocsin.app.projects import add_project
from tocsin.app.storms import AGAIN_AFTER, MAX_ANNOUNCED, PERIOD, STORM
from tocsin.app.work import App
from tocsin.domain.deduplication import Outcome
from tocsin.domain.incident import Severity

pytestmark = pytest.mark.anyio

THRESHOLD = 10
OPENED = ("olga", "INCIDENT_OPENED")


async def failures(app: App, start: int, count: int, *, project: int = 1, severity: Severity = Severity.HIGH) -> None:
    """Report so many different failures in one request; each must open its incident."""
    batch = [error_report(f"failure {number}", severity) for number in range(start, start + count)]
    accepted = await accept(app, project, batch)
    assert {one.outcome for one in accepted} == {Outcome.OPENED}
    assert len({one.incident_id for one in accepted}) == count


async def paged(app: App, inbox: Inbox) -> list[tuple[str, str]]:
    """Deliver what is owed; return to whom, and about what."""
    await run(app, inbox)
    return inbox.taken()


def storm_incidents(tables: Tables) -> list[tuple[str, str, int]]:
    """Return the storms' incidents: title, current severity, occurrences."""
    return tables.rows(
        "SELECT title, current_severity, occurrences FROM current_incident_status"
        " WHERE project_id = 0 AND starts_with(title, %s) ORDER BY number",
        STORM,
    )


def folded(tables: Tables) -> int:
    """Return how many incidents are marked as part of a storm."""
    count: int = tables.value("SELECT count(*) FROM incident_lifecycle WHERE sequence = 1 AND metadata ? 'inStorm'")
    return count


async def test_three_hundred_failures_in_a_minute_are_as_many_incidents_and_eleven_pages(
    app: App, crew: Crew, tables: Tables, inbox: Inbox, clock: FakeClock
) -> None:
    for start in range(0, 300, 60):
        await failures(app, start, 60)
        clock.forward(seconds=10)
    assert tables.value("SELECT count(*) FROM incidents WHERE project_id = 1") == 300
    assert folded(tables) == 290
    assert await paged(app, inbox) == [OPENED] * (THRESHOLD + 1)
    ((title, severity, _),) = storm_incidents(tables)
    assert title == "ErrorStorm: Project 1 opens incidents faster than people can read: 60 within the last minute."
    assert severity == "HIGH"
    subjects = [subject for (subject,) in tables.rows("SELECT subject FROM notifications")]
    assert sum("failure " in subject for subject in subjects) == THRESHOLD
    assert sum(STORM in subject for subject in subjects) == 1


async def test_the_threshold_itself_is_no_storm(app: App, crew: Crew, tables: Tables, inbox: Inbox) -> None:
    await failures(app, 0, THRESHOLD)
    assert await paged(app, inbox) == [OPENED] * THRESHOLD
    assert (folded(tables), storm_incidents(tables)) == (0, [])
    await failures(app, THRESHOLD, 1)
    assert await paged(app, inbox) == [OPENED], "the storm's page, and none of the eleventh failure"
    assert folded(tables) == 1
    assert len(storm_incidents(tables)) == 1


async def test_the_same_failure_a_thousand_times_is_no_storm_of_incidents(
    app: App, crew: Crew, tables: Tables, inbox: Inbox
) -> None:
    await accept(app, 1, [error_report() for _ in range(500)])
    assert await paged(app, inbox) == [OPENED]
    assert (folded(tables), storm_incidents(tables)) == (0, [])


@pytest.mark.slow
async def test_a_storm_that_goes_on_is_paged_once(
    app: App, crew: Crew, tables: Tables, inbox: Inbox, clock: FakeClock
) -> None:
    await failures(app, 0, 20)
    await paged(app, inbox)
    for step in range(1, 13):
        clock.forward(seconds=20)
        await failures(app, 20 * step, 20)
    assert await paged(app, inbox) == []
    ((_, _, occurrences),) = storm_incidents(tables)
    assert occurrences == 5, "it is seen once in each minute"
    assert tables.value("SELECT count(*) FROM intake_ledger WHERE project_id = 0 AND measure = 'duplicate'") == 0


async def test_after_a_quiet_minute_failures_are_paged_one_by_one_again(
    app: App, crew: Crew, tables: Tables, inbox: Inbox, clock: FakeClock
) -> None:
    await failures(app, 0, 30)
    await paged(app, inbox)
    clock.now += PERIOD - timedelta(microseconds=1)
    await failures(app, 30, 1)
    assert await paged(app, inbox) == []
    clock.now += PERIOD
    await failures(app, 31, THRESHOLD)
    assert await paged(app, inbox) == [OPENED] * THRESHOLD


async def test_another_project_is_paged_as_ever_and_has_a_storm_of_its_own(
    app: App, crew: Crew, tables: Tables, inbox: Inbox
) -> None:
    async with app.work() as work:
        other, _ = await add_project(work, crew.ada, "other")
    await failures(app, 0, 50)
    await paged(app, inbox)
    await failures(app, 0, 3, project=other)
    assert await paged(app, inbox) == [OPENED] * 3
    await failures(app, 3, 20, project=other)
    assert await paged(app, inbox) == [OPENED] * (THRESHOLD - 3 + 1)
    assert [title.split(" opens")[0] for title, _, _ in storm_incidents(tables)] == [
        "ErrorStorm: Project 1",
        f"ErrorStorm: Project {other}",
    ]


@pytest.mark.slow
async def test_what_a_person_opens_and_what_tocsin_reports_is_never_folded(
    app: App, crew: Crew, tables: Tables, inbox: Inbox
) -> None:
    await failures(app, 0, 50)
    await paged(app, inbox)
    async with app.work() as work:
        await open_by_hand(work, crew.ada, severity=Severity.HIGH, title="Seen by a person", description="")
    assert await paged(app, inbox) == [OPENED]
    await failures(app, 0, 2 * THRESHOLD, project=0)
    assert await paged(app, inbox) == [OPENED] * 2 * THRESHOLD


async def test_the_first_critical_failure_of_a_storm_raises_the_storm(
    app: App, crew: Crew, tables: Tables, inbox: Inbox, clock: FakeClock
) -> None:
    await failures(app, 0, 30)
    await paged(app, inbox)
    clock.forward(seconds=5)
    await failures(app, 30, 1, severity=Severity.CRITICAL)
    assert [severity for _, severity, _ in storm_incidents(tables)] == ["CRITICAL"]
    assert await paged(app, inbox) == [("olga", "SEVERITY_ESCALATED")]
    await failures(app, 31, 1, severity=Severity.CRITICAL)
    assert await paged(app, inbox) == []


@pytest.mark.slow
async def test_folded_incidents_escalate_by_the_clock_in_the_record_and_page_nobody(
    app: App, crew: Crew, tables: Tables, inbox: Inbox, clock: FakeClock
) -> None:
    await failures(app, 0, 30)
    await paged(app, inbox)
    clock.forward(hours=1)
    pages = await paged(app, inbox)
    assert Counter(pages) == {("olga", "NO_ACK_1HR"): THRESHOLD + 1}
    reasons = tables.rows(
        "SELECT escalation_reason, escalated_to_user_id IS NULL, count(*) FROM incident_escalations"
        " GROUP BY 1, 2 ORDER BY 2"
    )
    assert reasons == [("NO_ACK_1HR", False, THRESHOLD + 1), ("NO_ACK_1HR", True, 20)]
    clock.forward(hours=3)
    assert Counter(await paged(app, inbox)) == {("sam", "NO_ACK_4HR"): THRESHOLD + 1}
    assert tables.value("SELECT count(*) FROM incident_escalations WHERE escalation_reason = 'NO_ACK_4HR'") == 31


async def test_a_recurrence_outside_of_the_storm_is_paged(
    app: App, crew: Crew, tables: Tables, inbox: Inbox, clock: FakeClock
) -> None:
    await failures(app, 0, 12)
    await paged(app, inbox)
    incident_id = tables.value("SELECT id FROM incidents WHERE starts_with(title, 'failure 11')")
    await closed(app, crew.ada, incident_id)
    clock.forward(minutes=10)
    assert await reported(app, "failure 11") != incident_id
    assert (await paged(app, inbox))[-1] == OPENED
    assert folded(tables) == 2


async def test_the_operator_sets_the_threshold(app: App, crew: Crew, tables: Tables, inbox: Inbox) -> None:
    await failures(with_settings(app, storm_threshold=1), 0, 5)
    assert await paged(app, inbox) == [OPENED] * 2
    assert folded(tables) == 4


@pytest.mark.slow
async def test_two_processes_in_the_same_storm_lose_no_incident_and_page_the_storm_once(
    app: App, crew: Crew, tables: Tables, inbox: Inbox
) -> None:
    await asyncio.gather(*(failures(app, 100 * process, 40) for process in range(3)))
    assert tables.value("SELECT count(*) FROM incidents WHERE project_id = 1") == 120
    pages = await paged(app, inbox)
    assert len(pages) == 120 - folded(tables) + 1
    assert len(storm_incidents(tables)) == 1
    assert len(pages) <= 3 * THRESHOLD + 1, "processes that do not see each other's commits may each page their share"


# --- a storm of one failure ------------------------------------------------------------------------------------


async def gain(app: App, count: int) -> None:
    """Report one failure so many times, and fold the counters."""
    await accept(app, 1, [error_report() for _ in range(count)])
    async with app.work() as work:
        await maintain.fold_counters(work)


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many reports are a storm in these tests."""
    monkeypatch.setattr(maintain, "MANY_REPORTS", 20)
    return 20


async def test_a_failure_that_becomes_a_storm_is_told_once_with_its_rate(
    app: App, crew: Crew, tables: Tables, inbox: Inbox, clock: FakeClock, few_are_many: int
) -> None:
    await gain(app, 2)
    assert await paged(app, inbox) == [OPENED]
    await gain(app, 10 * few_are_many)
    assert await paged(app, inbox) == [("olga", "STORM")]
    ((metadata, personal),) = tables.rows(
        "SELECT metadata, personal FROM incident_lifecycle WHERE event_type = 'NOTE_ADDED'"
    )
    assert metadata["storm"] is True
    assert "about 40 times a second" in personal["text"]
    clock.now += AGAIN_AFTER - timedelta(seconds=1)
    await run(app, inbox)
    inbox.taken()
    await gain(app, 10 * few_are_many)
    assert ("olga", "STORM") not in await paged(app, inbox)
    clock.forward(seconds=1)
    await gain(app, 10 * few_are_many)
    assert ("olga", "STORM") in await paged(app, inbox), "an hour later it is worth a word again"
    assert tables.rows("SELECT status, occurrences FROM current_incident_status") == [("REPORTED", 602)]


async def test_as_many_as_a_storm_needs_and_no_fewer(
    app: App, crew: Crew, tables: Tables, inbox: Inbox, few_are_many: int
) -> None:
    await gain(app, 1)
    await gain(app, few_are_many - 1)
    assert await paged(app, inbox) == [OPENED]
    await gain(app, few_are_many)
    assert await paged(app, inbox) == [("olga", "STORM")]


async def test_many_failures_in_a_storm_at_once_are_told_up_to_a_bound(
    app: App, crew: Crew, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintain, "MANY_REPORTS", 2)
    names = [f"failure {number}" for number in range(MAX_ANNOUNCED + 5)]
    await accept(with_settings(app, storm_threshold=1_000), 1, [error_report(name) for name in names for _ in range(5)])
    async with app.work() as work:
        await maintain.fold_counters(work)
    assert tables.value("SELECT count(*) FROM notifications WHERE reason = 'STORM'") == MAX_ANNOUNCED


async def test_a_closed_incident_is_not_called_a_storm(
    app: App, crew: Crew, tables: Tables, inbox: Inbox, few_are_many: int
) -> None:
    await closed(app, crew.ada, await reported(app))
    await gain(app, 10 * few_are_many)
    assert ("olga", "STORM") not in await paged(app, inbox)
