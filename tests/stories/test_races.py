"""Races between real processes: one incident, one acknowledgment, each rule once, each page once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Installation
from tests.support.by_hand import Connection, connected
from tests.support.clock import FakeClock
from tests.support.lives import error_report, reported
from tests.support.reporting import accept
from tests.support.servers import Server
from tocsin.app import accounts
from tocsin.app.verify import verify_database
from tocsin.app.work import App
from tocsin.clock import system_clock
from tocsin.domain.access import Role
from tocsin.domain.incident import Severity

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 300.0


@contextmanager
def racers(conninfo: str, calls: Sequence[Sequence[str]]) -> Iterator[list[subprocess.Popen[str]]]:
    """Start a process for each call and wait until all are ready; whatever happens, none is left behind."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.racing", action, conninfo, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        for action, *arguments in calls
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def signal(started: Sequence[subprocess.Popen[str]]) -> None:
    """Give every process its line: the start, or the end of its work."""
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def results(started: Sequence[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    """Return what came of it, in all processes together."""
    answers: list[dict[str, Any]] = []
    for process in started:
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
        answers += json.loads(out)
    return answers


def raced(conninfo: str, calls: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Let processes race from one signal; return what came of it."""
    with racers(conninfo, calls) as started:
        signal(started)
        return results(started)


@pytest.fixture
def conninfo(server: Server, database_name: str) -> str:
    """How the racing processes reach the database."""
    return server.conninfo(database_name, user="tocsin_app")


@pytest.fixture
def tables(server: Server, database_name: str) -> Iterator[Connection]:
    """A superuser's look into the tables."""
    with connected(server, database_name) as connection:
        yield connection


def value(tables: Connection, query: str) -> Any:
    """Return the only value of the only row."""
    (row,) = tables.execute(query.encode()).fetchall()
    return next(iter(row.values()))


async def assert_sound(app: App) -> None:
    """Verify the whole record."""
    async with app.work(streaming=True) as work:
        assert (await verify_database(work)).findings == []


async def test_64_reports_of_one_failure_at_once_make_one_incident_with_64_occurrences(
    app: App, conninfo: str, tables: Connection
) -> None:
    answers = raced(conninfo, [("report", "8")] * 8)
    assert Counter(answer["outcome"] for answer in answers) == {"opened": 1, "joined": 63}
    assert len({answer["incident"] for answer in answers}) == 1
    assert value(tables, "SELECT count(*) FROM incidents") == 1
    assert value(tables, "SELECT occurrences FROM current_incident_status") == 64
    assert value(tables, "SELECT count(*) FROM audit_logs WHERE incident_id IS NOT NULL") == 64
    assert value(tables, "SELECT count(*) FROM notifications") == 1
    await assert_sound(app)


async def test_of_16_acknowledgments_at_once_one_succeeds_and_15_are_told_who_did(
    installation: Installation, conninfo: str, tables: Connection
) -> None:
    app = installation.app
    await reported(app)
    for number in range(16):
        async with app.work() as work:
            email = f"responder-{number}@example.org"
            await accounts.add_user(
                work, installation.admin, email=email, name=f"R{number}", role=Role.RESPONDER, password=None
            )
    answers = raced(conninfo, [("acknowledge", f"responder-{number}@example.org", "1") for number in range(16)])
    assert Counter(answer["code"] for answer in answers) == {"OK": 1, "ALREADY_ACKNOWLEDGED": 15}
    (winner,) = [answer["by"] for answer in answers if answer["code"] == "OK"]
    for answer in answers:
        if answer["code"] != "OK":
            assert answer["details"]["acknowledgedBy"]["name"] == winner
            assert winner in answer["message"]
    assert value(tables, "SELECT count(*) FROM incident_acknowledgments") == 1
    assert value(tables, "SELECT sum(incident_ack_count) FROM users") == 1
    await assert_sound(app)


HOW_MANY = 1_000
RULES = ("NO_ACK_1HR", "NO_ACK_4HR", "NO_ROOT_CAUSE_24HR")


async def test_4_workers_and_1000_overdue_incidents_fire_each_rule_once_and_send_each_page_once(
    installation: Installation, clock: FakeClock, conninfo: str, tables: Connection
) -> None:
    clock.now = system_clock() - timedelta(hours=30)
    app = installation.app
    # As many within a minute would be a storm, and its incidents are not paged one by one.
    app = replace(app, settings=app.settings.model_copy(update={"storm_threshold": 10 * HOW_MANY}))
    for first in range(0, HOW_MANY, 100):
        failures = [f"failure {number}" for number in range(first, first + 100)]
        await accept(app, 1, [error_report(failure, Severity.HIGH) for failure in failures])
    assert value(tables, "SELECT count(*) FROM incidents") == HOW_MANY
    with racers(conninfo, [("work",)] * 4) as workers:
        signal(workers)
        wait_until_done(tables)
        signal(workers)
        sent = [page for worker in results(workers) for page in worker["sent"]]
    fired = tables.execute(
        "SELECT escalation_reason AS reason, count(*) AS times, count(DISTINCT incident_id) AS incidents"
        " FROM incident_escalations GROUP BY escalation_reason"
    ).fetchall()
    once = (HOW_MANY, HOW_MANY)
    assert {row["reason"]: (row["times"], row["incidents"]) for row in fired} == dict.fromkeys(RULES, once)
    pages = tables.execute(
        "SELECT reason, state, count(*) AS pages, count(DISTINCT incident_id) AS incidents FROM notifications"
        " GROUP BY reason, state"
    ).fetchall()
    assert {(row["reason"], row["state"]): (row["pages"], row["incidents"]) for row in pages} == {
        (reason, "DELIVERED"): once for reason in (*RULES, "INCIDENT_OPENED")
    }
    bundles = value(tables, "SELECT count(DISTINCT bundle_id) FROM notifications")
    assert len(sent) == len(set(sent)) == HOW_MANY + bundles, "nothing crashed, so nothing was sent twice"
    assert value(tables, "SELECT count(*) FROM delivery_attempts") == 4 * HOW_MANY
    await assert_sound(app)


def wait_until_done(tables: Connection) -> None:
    """Wait until no incident has a timer and no page is owed; the pauses between bundles are passed over."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends:
        if value(tables, "SELECT count(*) FROM jobs WHERE kind IN ('deliver', 'bundle', 'escalate')") == 0:
            return
        _pass_over_pauses(tables)
        time.sleep(0.2)
    left = tables.execute(
        "SELECT kind, key, due_at, attempts, lease_token, last_error FROM jobs ORDER BY due_at"
    ).fetchall()
    pytest.fail(f"the workers are not done: {left}")


def _pass_over_pauses(tables: Connection) -> None:
    """Let the bundles that wait for a minute be due, as if it was over."""
    tables.execute(
        "UPDATE notifications SET settled_at = settled_at - interval '1 minute' WHERE state = 'DELIVERED'"
        " AND bundle_id IS NOT NULL AND settled_at > now() - interval '1 minute'"
    )
    tables.execute("UPDATE jobs SET due_at = now() WHERE kind = 'bundle' AND lease_token IS NULL AND due_at > now()")
    tables.execute("SELECT pg_notify('tocsin_jobs', 'bundle')")
