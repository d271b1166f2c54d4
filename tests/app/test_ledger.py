"""The ledger adds up for each project and minute, and is compared with what is recorded: tampering is noticed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, LiteralString

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.app.conftest import Tables
from tests.support.clock import START, FakeClock
from tests.support.lives import error_report
from tests.support.reporting import accept
from tocsin import ids
from tocsin.app import ledger, maintain
from tocsin.app.ledger import DIFFERENCE, MAX_CHECKED_AT_ONCE, MAX_NAMED, SETTLED_AFTER, Tally, check_ledger
from tocsin.app.projects import add_project
from tocsin.app.take_in import Intake
from tocsin.app.work import App
from tocsin.domain.access import Actor, Role
from tocsin.domain.incident import Severity
from tocsin.errors import TocsinError
from tocsin.store import ledger as books
from tocsin.store.ledger import Difference

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)
LONG_AGO, FAR_AHEAD = START - timedelta(days=400), START + timedelta(days=400)


async def check(app: App) -> list[Difference]:
    """Run the chore that compares."""
    async with app.work() as work:
        return await check_ledger(work)


async def check_after(app: App, clock: FakeClock, wait: timedelta = SETTLED_AFTER + MINUTE) -> list[Difference]:
    """Run the chore once the present minute has settled."""
    clock.now += wait
    return await check(app)


async def tallies(app: App, admin: Actor, project_id: int | None = None) -> list[Tally]:
    """Return the ledger of all times."""
    async with app.work() as work:
        return await ledger.tallies(work, admin, LONG_AGO, FAR_AHEAD, project_id)


async def count(app: App, project_id: int, **counts: int) -> None:
    """Enter counts as the doors do: `rejected=3` was received as well."""
    intake = Intake(app)
    await intake.count(project_id, {(measure, "X"): quantity for measure, quantity in counts.items()})
    await intake.close()


async def every_outcome(app: App, project_id: int = 1) -> None:
    """Report something that opens, joins, is recorded, and comes twice; reject two, and lose three."""
    loud = error_report("loud", event_id=f"loud-{ids.new_id()}")
    await accept(app, project_id, [loud, error_report("loud"), error_report("quiet", Severity.LOW)])
    await accept(app, project_id, [loud])
    await count(app, project_id, received=2, rejected=2, lost=3)


def differences(tables: Tables) -> list[tuple[Any, ...]]:
    """Return the incidents that tell of differences: severity, occurrences, description."""
    return tables.rows(
        "SELECT current_severity, occurrences, description FROM current_incident_status"
        " WHERE project_id = 0 AND starts_with(title, %s) ORDER BY number",
        DIFFERENCE,
    )


# --- it adds up ------------------------------------------------------------------------------------------------

ACTS = st.lists(
    st.tuples(
        st.sampled_from(["loud", "quiet", "copy", "reject", "lose", "fold", "wait"]),
        st.integers(0, 1),
        st.integers(1, 3),
    ),
    max_size=12,
)


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
@given(ACTS)
async def test_received_is_the_sum_of_what_became_of_it_in_each_project_and_minute(
    app: App, admin: Actor, tables: Tables, clock: FakeClock, acts: Sequence[tuple[str, int, int]]
) -> None:
    async with app.work() as work:
        projects = [(await add_project(work, admin, ids.new_id().hex))[0] for _ in range(2)]
    same = [error_report(event_id=f"same {project}") for project in projects]
    for act, which, number in acts:
        match act:
            case "loud" | "quiet":
                severity = Severity.HIGH if act == "loud" else Severity.LOW
                await accept(app, projects[which], [error_report(act, severity) for _ in range(number)])
            case "copy":
                await accept(app, projects[which], [same[which]] * number)
            case "reject":
                await count(app, projects[which], received=number, rejected=number)
            case "lose":
                await count(app, projects[which], lost=number)
            case "fold":
                async with app.work() as work:
                    await maintain.fold_counters(work)
            case _:
                clock.forward(seconds=20 * number)
    for project_id in projects:
        async with app.work() as work:
            for _, tally in await ledger.minutes(work, admin, LONG_AGO, FAR_AHEAD, project_id):
                assert tally.difference == 0
        rows = tables.value("SELECT count(*) FROM audit_logs WHERE project_id = %s", project_id)
        assert sum(one.opened + one.joined + one.recorded for one in await tallies(app, admin, project_id)) == rows
    async with app.work() as work:
        assert await books.differences(work.tx, LONG_AGO, FAR_AHEAD) == []


async def test_the_tally_tells_protocols_and_reasons_apart_and_losses_are_no_part_of_the_sum(
    app: App, admin: Actor
) -> None:
    await every_outcome(app)
    (tally,) = await tallies(app, admin)
    assert (tally.opened, tally.joined, tally.recorded, tally.duplicate) == (1, 1, 1, 1)
    assert tally.received == {"test": 4, "X": 2}
    assert tally.rejected == {"X": 2}
    assert tally.lost == {"X": 3}
    assert tally.difference == 0


async def test_a_difference_is_what_is_missing_or_too_much() -> None:
    assert Tally(1, {"a": 2, "b": 3}, opened=1, joined=1, recorded=1, duplicate=1, rejected={"X": 1}).difference == 0
    assert Tally(1, {"a": 2}, joined=1).difference == 1
    assert Tally(1, {"a": 2}, joined=3, lost={"X": 9}).difference == -1


async def test_only_those_who_may_read_see_the_ledger(app: App, admin: Actor) -> None:
    member = replace(admin, role=Role.MEMBER)
    with pytest.raises(TocsinError, match="may not"):
        await tallies(app, member)
    async with app.work() as work:
        with pytest.raises(TocsinError, match="may not"):
            await ledger.minutes(work, member, LONG_AGO, FAR_AHEAD)


async def test_folding_changes_no_sum_and_leaves_one_row_for_each_count(
    app: App, admin: Actor, tables: Tables, clock: FakeClock
) -> None:
    for _ in range(3):
        await every_outcome(app)
    before = await tallies(app, admin)
    for _ in range(2):
        async with app.work() as work:
            await maintain.fold_counters(work)
        assert await tallies(app, admin) == before
    assert tables.value("SELECT count(*) FROM intake_changes") == 0
    assert tables.value("SELECT count(*) FROM intake_minutes") == 8, "each measure and reason of this minute once"
    await every_outcome(app)
    async with app.work() as work:
        await maintain.fold_counters(work)
    assert tables.value("SELECT count(*) FROM intake_minutes") == 8
    assert await check_after(app, clock) == []


# --- it is compared --------------------------------------------------------------------------------------------


async def test_a_ledger_that_is_right_is_silent_and_each_minute_is_compared_once(
    app: App, tables: Tables, clock: FakeClock
) -> None:
    await every_outcome(app)
    assert await check_after(app, clock) == []
    assert differences(tables) == []
    progress = tables.value("SELECT checked_to FROM ledger_progress")
    assert progress == START + MINUTE
    tables.connection.execute("DELETE FROM intake_changes")
    assert await check(app) == [], "nothing has settled since"
    assert tables.value("SELECT checked_to FROM ledger_progress") == progress


async def test_a_minute_is_compared_when_it_has_settled_and_not_before(
    app: App, tables: Tables, clock: FakeClock
) -> None:
    clock.now = START + timedelta(seconds=59, microseconds=999_999)
    await accept(app, 1, [error_report()])
    tables.connection.execute("DELETE FROM intake_changes WHERE measure = 'opened'")
    clock.now = START + MINUTE + SETTLED_AFTER - timedelta(microseconds=1)
    assert await check(app) == []
    clock.forward(microseconds=1)
    assert {one.measure for one in await check(app)} == {"opened", "received"}


async def test_reports_at_both_ends_of_a_minute_are_counted_in_their_own(
    app: App, admin: Actor, clock: FakeClock
) -> None:
    for offset in (0.0, 59.999999, 60.0, 119.999999, 120.0):
        clock.now = START + timedelta(seconds=offset)
        await accept(app, 1, [error_report("A", Severity.LOW)])
    async with app.work() as work:
        by_minute = await ledger.minutes(work, admin, LONG_AGO, FAR_AHEAD)
    assert [(minute, tally.recorded) for minute, tally in by_minute] == [
        (START + 2 * MINUTE, 1),
        (START + MINUTE, 2),
        (START, 2),
    ]
    assert await check_after(app, clock) == []


async def test_after_a_long_pause_the_check_catches_up_an_hour_at_a_time(
    app: App, tables: Tables, clock: FakeClock
) -> None:
    await check(app)
    clock.forward(minutes=90)
    await accept(app, 1, [error_report()])
    tables.connection.execute("DELETE FROM intake_changes WHERE measure = 'opened'")
    clock.forward(hours=3)
    first = tables.value("SELECT checked_to FROM ledger_progress")
    found = [await check(app) for _ in range(5)]
    assert [bool(one) for one in found] == [False, True, False, False, False]
    assert tables.value("SELECT checked_to FROM ledger_progress") == clock.now - SETTLED_AFTER
    assert tables.value("SELECT checked_to FROM ledger_progress") - first > 4 * MAX_CHECKED_AT_ONCE


# --- tampering -------------------------------------------------------------------------------------------------

GUARDS_OFF = "ALTER TABLE audit_logs DISABLE TRIGGER ALL"
TAMPERING: dict[str, tuple[LiteralString, list[tuple[str, int, int]]]] = {
    "a report is removed": ("DELETE FROM audit_logs WHERE outcome = 'recorded'", [("recorded", 1, 0)]),
    "the report that opened an incident is removed": (
        "DELETE FROM audit_logs WHERE outcome = 'opened'",
        [("opened", 1, 0)],
    ),
    "a report is put in": (
        "INSERT INTO audit_logs (id, project_id, event_id, received_at, occurred_at, severity, error_type, title,"
        " fingerprint, fingerprint_version, fingerprint_basis, outcome) SELECT gen_random_uuid(), project_id, 'forged',"
        " received_at, occurred_at, severity, error_type, title, fingerprint, fingerprint_version, fingerprint_basis,"
        " outcome FROM audit_logs WHERE outcome = 'recorded'",
        [("recorded", 1, 2)],
    ),
    "a report is said to have ended otherwise": (
        "UPDATE audit_logs SET outcome = 'recorded' WHERE outcome = 'joined'",
        [("joined", 1, 0), ("recorded", 1, 2)],
    ),
    "a report is moved to another project": (
        "UPDATE audit_logs SET project_id = 0 WHERE outcome = 'recorded'",
        [("recorded", 0, 1), ("recorded", 1, 0)],
    ),
    "a report is moved to another minute": (
        "UPDATE audit_logs SET received_at = received_at - interval '1 minute' WHERE outcome = 'recorded'",
        [("recorded", 0, 1), ("recorded", 1, 0)],
    ),
    "a count is removed": (
        "DELETE FROM intake_minutes WHERE measure = 'joined'",
        [("joined", 0, 1), ("received", 6, 5)],
    ),
    "a count is raised": (
        "UPDATE intake_minutes SET quantity = 3 WHERE measure = 'opened'",
        [("opened", 3, 1), ("received", 6, 8)],
    ),
    "a count is added": (
        "INSERT INTO intake_changes SELECT * FROM intake_minutes WHERE measure = 'recorded'",
        [("received", 6, 7), ("recorded", 2, 1)],
    ),
    "it is said that less was received": (
        "UPDATE intake_minutes SET quantity = 1 WHERE measure = 'received' AND reason = 'test'",
        [("received", 3, 6)],
    ),
    "what was rejected is forgotten": (
        "DELETE FROM intake_minutes WHERE measure = 'rejected'",
        [("received", 6, 4)],
    ),
    "everything in the ledger is gone": (
        "DELETE FROM intake_minutes",
        [("joined", 0, 1), ("opened", 0, 1), ("recorded", 0, 1)],
    ),
}


@pytest.mark.parametrize("tampering", TAMPERING)
async def test_tampering_becomes_a_critical_incident_once(
    app: App, tables: Tables, clock: FakeClock, tampering: str
) -> None:
    attack, expected = TAMPERING[tampering]
    await check(app)
    await every_outcome(app)
    async with app.work() as work:
        await maintain.fold_counters(work)
    tables.connection.execute("SELECT tocsin_guard.suspend()")
    tables.connection.execute(GUARDS_OFF)
    tables.connection.execute(attack)
    found = await check_after(app, clock)
    assert sorted((one.measure, one.said, one.found) for one in found) == expected
    for _ in range(3):
        assert await check_after(app, clock) == []
    told = differences(tables)
    assert len(told) == len({one.project_id for one in found})
    for severity, occurrences, description in told:
        assert (severity, occurrences) == ("CRITICAL", 1)
        assert "The ledger of project" in description
    assert tables.owed()[-1] == ("ada", "INCIDENT_OPENED")


async def test_a_second_difference_joins_the_incident_of_the_first_and_another_project_has_its_own(
    app: App, admin: Actor, tables: Tables, clock: FakeClock
) -> None:
    async with app.work() as work:
        other, _ = await add_project(work, admin, "other")
    for project_id in (1, 1, other):
        await accept(app, project_id, [error_report("A", Severity.LOW)])
        tables.connection.execute("DELETE FROM intake_changes WHERE measure = 'recorded'")
        assert len(await check_after(app, clock)) == 2
    assert [(severity, occurrences) for severity, occurrences, _ in differences(tables)] == [
        ("CRITICAL", 2),
        ("CRITICAL", 1),
    ]


async def test_a_difference_names_project_minute_measure_and_both_numbers(
    app: App, tables: Tables, clock: FakeClock
) -> None:
    await accept(app, 1, [error_report("A", Severity.LOW)])
    tables.connection.execute("UPDATE intake_changes SET quantity = 7 WHERE measure = 'recorded'")
    await check_after(app, clock)
    ((_, _, description),) = differences(tables)
    assert description == (
        "The ledger of project 1 is wrong:\n"
        "2026-03-01 03:00 UTC: received 1, but 7 are there\n"
        "2026-03-01 03:00 UTC: recorded 7, but 1 are there"
    )


async def test_of_many_differences_the_first_ones_are_named_and_the_others_counted(
    app: App, tables: Tables, clock: FakeClock
) -> None:
    await check(app)
    for _ in range(MAX_NAMED):
        await accept(app, 1, [error_report("A", Severity.LOW)])
        clock.forward(minutes=1)
    tables.connection.execute("DELETE FROM intake_changes WHERE measure = 'recorded'")
    found = await check_after(app, clock)
    assert len(found) == 2 * MAX_NAMED
    ((_, _, description),) = differences(tables)
    assert description.count("UTC") == MAX_NAMED
    assert description.endswith(f"and {MAX_NAMED} more")


async def test_the_report_of_a_difference_is_in_the_ledger_itself(
    app: App, admin: Actor, tables: Tables, clock: FakeClock
) -> None:
    await accept(app, 1, [error_report("A", Severity.LOW)])
    tables.connection.execute("DELETE FROM intake_changes WHERE measure = 'recorded'")
    await check_after(app, clock)
    (ours,) = await tallies(app, admin, 0)
    assert (ours.received, ours.opened, ours.difference) == ({"internal": 1}, 1, 0)
    assert await check_after(app, clock) == []


async def test_when_the_check_fails_it_begins_again_where_it_was(
    app: App, tables: Tables, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await check(app)
    await accept(app, 1, [error_report("A", Severity.LOW)])
    tables.connection.execute("DELETE FROM intake_changes WHERE measure = 'recorded'")

    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    before = tables.value("SELECT checked_to FROM ledger_progress")
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "report_internal", fail)
        with pytest.raises(ZeroDivisionError):
            await check_after(app, clock)
    assert tables.value("SELECT checked_to FROM ledger_progress") == before
    assert len(await check(app)) == 2


async def test_minutes_long_past_are_removed_only_once_they_were_compared(
    app: App, tables: Tables, clock: FakeClock
) -> None:
    await accept(app, 1, [error_report("A", Severity.LOW)])
    async with app.work() as work:
        await maintain.fold_counters(work)
    clock.now += maintain.KEEP_LEDGER_FOR + MINUTE

    async def expire() -> int:
        async with app.work() as work:
            await maintain.expire(work)
        rows: int = tables.value("SELECT count(*) FROM intake_minutes")
        return rows

    assert await expire() == 2, "it was never compared"
    async with app.work() as work:
        await books.set_checked_to(work.tx, START)
    assert await expire() == 2
    async with app.work() as work:
        await books.set_checked_to(work.tx, START + MINUTE)
    assert await expire() == 0
