"""Jobs: a page is tried until it arrives or is given up loudly; a worker that dies takes no job with it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.app.conftest import Crew, Inbox, Tables, run
from tests.conftest import ADMIN_EMAIL
from tests.support.clock import FakeClock
from tests.support.lives import reported
from tocsin.app import health, leases, maintain, read_incidents
from tocsin.app.leases import DOUBT, LEASE, MAX_FAILURES
from tocsin.app.outbox import DELIVER, MAX_ATTEMPTS
from tocsin.app.paging import ESCALATE
from tocsin.app.work import App
from tocsin.channels import Rejected, Retry
from tocsin.store import jobs
from tocsin.store.jobs import NewJob
from tocsin.worker.handlers import CHORES, EXPIRE, FOLD_COUNTERS, Handlers
from tocsin.worker.run import run_due

pytestmark = pytest.mark.anyio


def attempts(tables: Tables) -> list[tuple[Any, ...]]:
    """Return every attempt of every delivery."""
    return tables.rows("SELECT attempt, outcome, answer FROM delivery_attempts ORDER BY started_at, attempt")


def deliver_due_at(tables: Tables) -> datetime:
    """Return when the only delivery is due."""
    due_at: datetime = tables.value("SELECT due_at FROM jobs WHERE kind = 'deliver'")
    return due_at


async def test_a_failed_delivery_waits_longer_each_time_and_then_arrives(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await reported(app)
    inbox.answers = [Retry("451 try later"), Retry("connection refused"), Retry("timeout")]
    waits = []
    for _ in range(3):
        await run(app, inbox)
        waits.append((deliver_due_at(tables) - clock.now).total_seconds())
        clock.now = deliver_due_at(tables) - timedelta(microseconds=1)
        assert await run(app, inbox) == 0, "not a moment early"
        clock.now = deliver_due_at(tables)
    await run(app, inbox)
    for wait, doubled in zip(waits, (5, 10, 20), strict=True):
        assert 0.8 * doubled <= wait <= 1.2 * doubled
    assert attempts(tables) == [
        (1, "RETRY", "451 try later"),
        (2, "RETRY", "connection refused"),
        (3, "RETRY", "timeout"),
        (4, "DELIVERED", "250 OK"),
    ]
    assert tables.rows("SELECT state, settled_at FROM notifications") == [("DELIVERED", clock.now)]
    assert len({message.notification_id for _, _, message in inbox.sent}) == 1, "receivers recognise repetitions"


async def test_the_receiver_s_own_wish_for_a_pause_is_respected(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await reported(app)
    inbox.answers = [Retry("429", after_seconds=120), Retry("429", after_seconds=0)]
    await run(app, inbox)
    assert deliver_due_at(tables) == clock.now + timedelta(minutes=2)
    clock.forward(minutes=2)
    await run(app, inbox)
    assert deliver_due_at(tables) == clock.now + timedelta(seconds=1), "no hot loop on anybody's wish"


async def test_what_is_given_up_after_many_attempts_becomes_an_incident(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await reported(app)
    tables.connection.execute("DELETE FROM jobs WHERE kind = 'escalate'")
    inbox.answers = [Retry("451 try later")] * MAX_ATTEMPTS
    for _ in range(MAX_ATTEMPTS):
        clock.now = deliver_due_at(tables)
        if len(attempts(tables)) == MAX_ATTEMPTS - 1:
            break
        await run(app, inbox)
    began = FakeClock().now
    assert timedelta(hours=4) < clock.now - began < timedelta(hours=12)
    await run(app, inbox)
    failed, *others = tables.rows("SELECT state, subject FROM notifications ORDER BY created_at")
    assert failed[0] == "FAILED"
    assert {state for state, _ in others} == {"DELIVERED"}
    (of_ours,) = [subject for _, subject in others if "PageNotDelivered" in subject]
    assert f"email olga@example.org was given up after {MAX_ATTEMPTS} attempts: 451 try later" in of_ours
    assert tables.rows("SELECT project_id, severity FROM incidents ORDER BY number") == [(1, "HIGH"), (0, "HIGH")]
    async with app.work() as work:
        names = [problem.name for problem in (await health.condition(work)).problems]
    assert "failed_pages" in names


async def test_a_rejected_page_is_not_tried_again_and_somebody_is_told(
    app: App, crew: Crew, inbox: Inbox, tables: Tables
) -> None:
    await reported(app)
    inbox.answers = [Rejected("550 no such user")]
    await run(app, inbox)
    told = "SELECT address FROM notifications WHERE state = 'DELIVERED' AND reason = 'PAGE_NOT_DELIVERED' ORDER BY 1"
    assert [address for (address,) in tables.rows(told)] == [ADMIN_EMAIL, "dee@example.org", "sam@example.org"]
    assert tables.rows("SELECT address FROM notifications WHERE state = 'FAILED'") == [("olga@example.org",)]
    assert attempts(tables)[0] == (1, "REJECTED", "550 no such user")
    assert {outcome for _, outcome, _ in attempts(tables)[1:]} == {"DELIVERED"}


async def test_a_mail_server_that_rejects_everything_ends_in_an_incident_for_each_person_and_not_in_a_storm(
    app: App, crew: Crew, inbox: Inbox, tables: Tables
) -> None:
    for name in ("one", "two", "three"):
        await reported(app, name)
    inbox.answers = [Rejected("550 no")] * 500
    await run(app, inbox)
    people = 4
    assert tables.value("SELECT count(*) FROM incidents WHERE project_id = 0") == people
    # Each incident, theirs and ours, is told once to the on-call and once to each of the others.
    assert tables.value("SELECT count(*) FROM notifications WHERE state = 'FAILED'") == (3 + people) * people
    assert tables.value("SELECT count(*) FROM notifications WHERE state <> 'FAILED'") == 0


async def test_a_channel_that_is_not_configured_is_a_reason_to_wait_and_to_say_so(
    app: App, crew: Crew, tables: Tables
) -> None:
    await reported(app)
    await run_due(app, {})
    ((_, outcome, answer),) = attempts(tables)
    assert outcome == "RETRY"
    assert "TOCSIN_SMTP_HOST" in answer


async def test_a_settled_page_is_not_sent_again(app: App, crew: Crew, inbox: Inbox, tables: Tables) -> None:
    await reported(app)
    (claimed,) = (await leases.claim(app, [DELIVER], 10)).leases
    handlers = Handlers(app, {"email": inbox}, "test")
    await handlers.run(claimed)
    await handlers.run(claimed)
    assert inbox.taken() == [("olga", "INCIDENT_OPENED")]


# --- leases ----------------------------------------------------------------------------------------------------


async def end_leases(app: App, clock: FakeClock, kind: str) -> None:
    """Let the leases end that somebody has: first they are doubted, then they are over."""
    clock.now += LEASE
    assert (await leases.claim(app, [kind], 10)).leases == []
    clock.now += DOUBT


async def test_a_worker_that_died_after_claiming_leaves_its_job_to_the_next_one(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox
) -> None:
    await reported(app)
    assert len((await leases.claim(app, [DELIVER], 10)).leases) == 1
    assert (await leases.claim(app, [DELIVER], 10)).leases == []
    clock.now += LEASE
    for _ in range(2):
        await run(app, inbox)
        assert inbox.taken() == [], "a lease that has ended is doubted"
        clock.now += DOUBT / 2
    await run(app, inbox)
    assert inbox.taken() == [("olga", "INCIDENT_OPENED")]


async def test_a_clock_that_steps_forward_takes_no_job_from_the_worker_that_is_at_it(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await reported(app)
    (held,) = (await leases.claim(app, [DELIVER], 10)).leases
    tables.connection.execute("DELETE FROM jobs WHERE kind = 'escalate'")
    clock.forward(hours=1)
    assert await run(app, inbox) == 0
    async with app.work() as work:
        assert await leases.finish(work, held)


async def test_a_job_that_is_wanted_while_somebody_is_at_it_is_run_once_more(
    app: App, crew: Crew, clock: FakeClock, tables: Tables
) -> None:
    await reported(app)
    (held,) = (await leases.claim(app, [DELIVER], 10)).leases
    async with app.work() as work:
        again = NewJob(work.new_id(), DELIVER, held.job.key, held.job.payload, work.now)
        await jobs.enqueue_many(work.tx, [again], work.now)
    (second,) = (await leases.claim(app, [DELIVER], 10)).leases
    async with app.work() as work:
        assert not await leases.finish(work, held), "it belongs to whoever runs it once more"
        assert await leases.finish(work, second)


async def test_a_worker_that_was_slower_than_its_lease_cannot_settle_what_another_took(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await reported(app)
    (slow,) = (await leases.claim(app, [DELIVER], 10)).leases
    await end_leases(app, clock, DELIVER)
    (quick,) = (await leases.claim(app, [DELIVER], 10)).leases
    async with app.work() as work:
        await leases.finish(work, slow)
        await leases.reschedule(work, slow, clock.now)
        await leases.retry(work, slow, clock.now, "slow")
    await leases.fail(app, slow, RuntimeError("slow"))
    assert tables.rows("SELECT lease_token, attempts, last_error FROM jobs WHERE kind = 'deliver'") == [
        (quick.token, 2, None)
    ]
    async with app.work() as work:
        await leases.finish(work, quick)
    assert tables.value("SELECT count(*) FROM jobs WHERE kind = 'deliver'") == 0


async def test_an_escalation_that_died_between_claim_and_commit_is_done_by_the_next_worker(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await reported(app)
    clock.forward(hours=1)
    assert len((await leases.claim(app, [ESCALATE], 10)).leases) == 1
    await end_leases(app, clock, ESCALATE)
    await run(app, inbox)
    assert tables.escalations() == [("NO_ACK_1HR", "Olga")]


async def test_a_claim_takes_no_more_than_asked_and_the_earliest_first(app: App, crew: Crew, clock: FakeClock) -> None:
    for name in ("one", "two", "three"):
        await reported(app, name)
        clock.forward(seconds=1)
    first = await leases.claim(app, [DELIVER], 2)
    rest = await leases.claim(app, [DELIVER], 2)
    assert (len(first.leases), len(rest.leases)) == (2, 1)
    assert rest.next_due_at == clock.now + LEASE
    assert (await leases.claim(app, ["unknown"], 2)).next_due_at is None


# --- poison ----------------------------------------------------------------------------------------------------


async def poison(app: App, kind: str = ESCALATE, key: str = "poison") -> UUID:
    """Add a job that cannot be run."""
    async with app.work() as work:
        job_id = work.new_id()
        await jobs.enqueue_many(work.tx, [NewJob(job_id, kind, key, {"nonsense": True}, work.now)], work.now)
    return job_id


@pytest.mark.slow
async def test_a_poisoned_job_is_set_aside_loudly(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    job_id = await poison(app)
    for attempt in range(1, MAX_FAILURES + 1):
        await run(app, inbox)
        state = tables.rows("SELECT attempts, dead_at IS NOT NULL FROM jobs WHERE id = %s", job_id)
        assert state == [(attempt, attempt == MAX_FAILURES)]
        clock.forward(minutes=6)
    assert "KeyError" in tables.value("SELECT last_error FROM jobs WHERE id = %s", job_id)
    ((severity, title),) = tables.rows("SELECT severity, title FROM incidents WHERE project_id = 0")
    assert severity == "CRITICAL"
    assert title.startswith("JobSetAside: Job poison was set aside after 10 attempts: KeyError")
    async with app.work() as work:
        assert [job.key for job in await health.dead_jobs(work)] == ["poison"]
        assert "dead_jobs" in [problem.name for problem in (await health.condition(work)).problems]
    await run(app, inbox)
    assert ("olga", "INCIDENT_OPENED") in inbox.taken()


async def test_a_poisoned_job_holds_up_no_other(app: App, crew: Crew, inbox: Inbox) -> None:
    await poison(app)
    await reported(app)
    await run(app, inbox)
    assert inbox.taken() == [("olga", "INCIDENT_OPENED")]


@pytest.mark.slow
async def test_a_channel_that_raises_against_its_word_is_tried_again(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await reported(app)
    inbox.answers = [RuntimeError("a bug\x00 in the channel")]
    await run(app, inbox)
    assert "RuntimeError: a bug" in tables.value("SELECT last_error FROM jobs WHERE kind = 'deliver'")
    clock.forward(seconds=3)
    await run(app, inbox)
    assert tables.value("SELECT state FROM notifications") == "DELIVERED"


async def test_a_page_whose_job_was_set_aside_is_taken_up_again_by_the_sweep(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await reported(app)
    tables.connection.execute("UPDATE jobs SET dead_at = due_at, attempts = 10 WHERE kind = 'deliver'")
    await run(app, inbox)
    assert inbox.taken() == []
    async with app.work() as work:
        assert (await maintain.sweep(work)).pages == 1
    await run(app, inbox)
    assert inbox.taken() == [("olga", "INCIDENT_OPENED")]


# --- chores ----------------------------------------------------------------------------------------------------


async def test_a_chore_that_fails_is_told_and_never_set_aside(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await poison(app, "no such chore", "no such chore")
    for _ in range(MAX_FAILURES):
        lease = (await leases.claim(app, ["no such chore"], 1)).leases[0]
        await leases.fail(app, lease, RuntimeError("out of order"))
        clock.forward(minutes=6)
    assert tables.rows("SELECT attempts, dead_at FROM jobs WHERE kind = 'no such chore'") == [(0, None)]
    assert "ChoreFailing" in tables.value("SELECT title FROM incidents WHERE project_id = 0")


async def test_a_chore_that_was_set_aside_by_an_older_version_comes_back_at_the_next_start(
    app: App, crew: Crew, tables: Tables
) -> None:
    await leases.ensure_chores(app, tuple(CHORES))
    tables.connection.execute("UPDATE jobs SET dead_at = due_at, attempts = 10")
    await leases.ensure_chores(app, tuple(CHORES))
    assert tables.value("SELECT count(*) FROM jobs WHERE dead_at IS NULL") == len(CHORES)


async def test_chores_are_there_once_and_come_again(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    for _ in range(2):
        await leases.ensure_chores(app, tuple(CHORES))
    assert await run(app, inbox) == len(CHORES)
    due = dict(tables.rows("SELECT kind, due_at FROM jobs"))
    assert due == {kind: clock.now + interval for kind, (interval, _) in CHORES.items()}


async def test_folding_the_counters_changes_no_count(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    for number in range(6):
        await reported(app, f"failure {number}")
    async with app.work() as work:
        before = await read_incidents.stats(work, crew.ada)
    await leases.ensure_chores(app, (FOLD_COUNTERS,))
    await run(app, inbox)
    async with app.work() as work:
        assert await read_incidents.stats(work, crew.ada) == before
    assert tables.rows("SELECT status, current_severity, change FROM incident_tallies") == [("REPORTED", "HIGH", 6)]


async def test_what_has_expired_goes_and_what_has_not_stays(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    tables.connection.execute(
        "INSERT INTO idempotency_keys SELECT 'p', k, '', 200, '', %s::timestamptz + n * interval '1 hour'"
        " FROM (VALUES ('old', 0), ('young', 2)) v (k, n)",
        [clock.now],
    )
    await leases.worker_seen(app, UUID(int=1), "gone")
    clock.forward(hours=25)
    await leases.worker_seen(app, UUID(int=2), "here")
    await leases.ensure_chores(app, (EXPIRE,))
    await run(app, inbox)
    assert tables.rows("SELECT key FROM idempotency_keys") == [("young",)]
    assert tables.rows("SELECT name FROM workers") == [("here",)]


async def test_health_says_that_nobody_is_working(app: App, crew: Crew, clock: FakeClock) -> None:
    async def names() -> list[str]:
        async with app.work() as work:
            problems = (await health.condition(work)).problems
        return [problem.name for problem in problems if problem.name != "channel_not_configured"]

    assert await names() == ["no_worker"]
    await leases.worker_seen(app, UUID(int=1), "here")
    assert await names() == []
    await reported(app)
    clock.forward(minutes=3)
    assert await names() == ["no_worker", "late_jobs", "unsent_pages", "log_waits"]
