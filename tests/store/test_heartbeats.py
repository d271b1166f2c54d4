"""The schema of heartbeats refuses what makes no sense, and lets the application do its work."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.by_hand import Connection, connected
from tests.support.servers import Server
from tocsin import ids
from tocsin.domain.heartbeat import MAX_NOTE_CHARACTERS, MAX_SLUG_CHARACTERS, MAX_WAIT, MIN_INTERVAL
from tocsin.store.heartbeats import KEPT_CHECK_INS

AT = "2026-03-01 03:00:00+00"
SOUND = {
    "slug": "backup",
    "every_seconds": 3600,
    "crontab": None,
    "time_zone": None,
    "grace_seconds": 300,
    "severity": "HIGH",
    "created_at": AT,
    "paused_at": None,
    "due_at": AT,
    "alarm_at": AT,
    "run_id": None,
    "run_started_at": None,
}


@pytest.fixture
def connection(server: Server, database_name: str) -> Iterator[Connection]:
    """The application's own rights, on a database with one project."""
    with connected(server, database_name) as connection:
        connection.execute("SET ROLE tocsin_app")
        connection.execute("INSERT INTO projects (id, name, created_at) VALUES (1, 'shop', %s)", [AT])
        yield connection


def insert(connection: Connection, **changes: object) -> str:
    """Insert a heartbeat; return its id."""
    row = SOUND | {"id": str(ids.new_id()), "project_id": 1} | changes
    names, places = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    connection.execute(f"INSERT INTO heartbeats ({names}) VALUES ({places})".encode(), row)
    return str(row["id"])


def check_in(connection: Connection, heartbeat_id: str, slot: int, note: str = "") -> None:
    """Insert a check-in."""
    connection.execute(
        "INSERT INTO heartbeat_check_ins (heartbeat_id, slot, number, status, received_at, run_id, note)"
        " VALUES (%s, %s, 1, 'ok', %s, '', %s)",
        [heartbeat_id, slot, AT, note],
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"every_seconds": None},
        {"crontab": "0 3 * * *", "time_zone": "UTC"},
        {"every_seconds": None, "crontab": "0 3 * * *"},
        {"time_zone": "UTC"},
        {"paused_at": AT},
        {"due_at": None},
        {"alarm_at": None},
        {"due_at": None, "alarm_at": None},
        {"run_id": "r1"},
        {"severity": "BAD"},
        {"every_seconds": MIN_INTERVAL.seconds - 1},
        {"grace_seconds": 0},
        {"grace_seconds": MAX_WAIT.days * 86_400 + 1},
        {"slug": ""},
        {"slug": "x" * (MAX_SLUG_CHARACTERS + 1)},
        {"project_id": 2},
    ],
)
def test_a_heartbeat_that_makes_no_sense_is_refused(connection: Connection, changes: dict[str, object]) -> None:
    with pytest.raises((psycopg.errors.CheckViolation, psycopg.errors.ForeignKeyViolation)):
        insert(connection, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"every_seconds": None, "crontab": "* * * * *", "time_zone": "UTC"},
        {"paused_at": AT, "due_at": None, "alarm_at": None},
        {"run_id": "", "run_started_at": AT},
        {"every_seconds": MIN_INTERVAL.seconds, "grace_seconds": 1},
        {"every_seconds": MAX_WAIT.days * 86_400, "slug": "x" * MAX_SLUG_CHARACTERS},
    ],
)
def test_the_schema_and_the_domain_agree_on_the_bounds(connection: Connection, changes: dict[str, object]) -> None:
    insert(connection, **changes)


def test_a_name_is_taken_once_in_a_project(connection: Connection) -> None:
    insert(connection)
    with pytest.raises(psycopg.errors.UniqueViolation):
        insert(connection)


def test_a_heartbeat_keeps_so_many_check_ins_and_takes_them_with_it(connection: Connection) -> None:
    heartbeat_id = insert(connection)
    for slot in (0, KEPT_CHECK_INS - 1):
        check_in(connection, heartbeat_id, slot, "x" * MAX_NOTE_CHARACTERS)
    for slot, note in ((KEPT_CHECK_INS, ""), (1, "x" * (MAX_NOTE_CHARACTERS + 1))):
        with pytest.raises(psycopg.errors.CheckViolation):
            check_in(connection, heartbeat_id, slot, note)
    connection.execute("DELETE FROM heartbeats WHERE id = %s", [heartbeat_id])
    assert connection.execute("SELECT count(*) AS n FROM heartbeat_check_ins").fetchone() == {"n": 0}
