"""What must be true of the record when everything has settled, whoever was killed meanwhile. Own SQL, own words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg

from tests.conftest import ADMIN_EMAIL
from tests.support.mailbox import Mailbox
from tocsin.store.ledger import QUERIES as LEDGER

_COUNTERS = """
    SELECT s.number, s.occurrences, count(a.id) FROM current_incident_status s
    LEFT JOIN audit_logs a ON a.incident_id = s.id AND a.outcome IN ('opened', 'joined')
    GROUP BY s.id, s.number, s.occurrences HAVING s.occurrences <> count(a.id)
"""
_REPORTED = """
    SELECT i.id, count(l.incident_id) FROM incidents i
    LEFT JOIN incident_lifecycle l ON l.incident_id = i.id AND l.event_type = 'REPORTED'
    GROUP BY i.id HAVING count(l.incident_id) <> 1
"""
_IDENTITY = """
    SELECT project_id, minute,
        coalesce(sum(quantity) FILTER (WHERE measure = 'received'), 0),
        coalesce(sum(quantity) FILTER (WHERE measure IN ('opened', 'joined', 'recorded', 'duplicate', 'rejected')), 0)
    FROM intake_ledger GROUP BY project_id, minute
"""
_KEPT = "SELECT coalesce(sum(quantity), 0) FROM intake_ledger WHERE measure IN ('opened', 'joined', 'recorded')"


@dataclass(frozen=True, slots=True)
class Reckoning:
    """How much there was to be right about."""

    reports: int
    incidents: int
    duplicates: int
    rejected: int
    pages: int
    pages_twice: int


def reckon(connection: psycopg.Connection, accepted: Iterable[str], mailbox: Mailbox) -> Reckoning:
    """Assert that every event accepted in project 1 is there once, and that all counts and pages agree."""
    connection.execute("SET search_path = tocsin")
    reports = _check_reports(connection, accepted)
    incidents = _check_incidents(connection)
    duplicates, rejected = _check_ledger(connection)
    pages, twice = _check_pages(connection, mailbox)
    return Reckoning(reports, incidents, duplicates, rejected, pages, twice)


def _check_reports(connection: psycopg.Connection, accepted: Iterable[str]) -> int:
    rows = connection.execute("SELECT event_id FROM audit_logs WHERE project_id = 1").fetchall()
    recorded, expected = Counter(event_id for (event_id,) in rows), set(accepted)
    lost = sorted(expected - set(recorded))
    assert not lost, f"{len(lost)} accepted events are not there: {lost[:5]}"
    twice = [event_id for event_id, times in recorded.items() if times > 1]
    assert not twice, f"{len(twice)} events are there more than once: {twice[:5]}"
    strange = [one for one in recorded if one not in expected and not one.startswith("storm-")]
    assert not strange, f"{len(strange)} events are there that nobody sent: {strange[:5]}"
    return len(expected)


def _check_incidents(connection: psycopg.Connection) -> int:
    assert not connection.execute(_COUNTERS).fetchall(), "an incident's counter is not the number of its reports"
    assert not connection.execute(_REPORTED).fetchall(), "an incident was not reported exactly once"
    opened = _number(connection, "SELECT count(*) FROM audit_logs WHERE outcome = 'opened'")
    incidents = _number(connection, "SELECT count(*) FROM incidents WHERE project_id IS NOT NULL")
    assert opened == incidents
    return incidents


def _check_ledger(connection: psycopg.Connection) -> tuple[int, int]:
    wrong = [row for row in connection.execute(_IDENTITY).fetchall() if row[2] != row[3]]
    assert not wrong, f"minutes in which what was received is not what became of it: {wrong}"
    assert _number(connection, _KEPT) == _number(connection, "SELECT count(*) FROM audit_logs")
    ever = {"since": datetime(2000, 1, 1, tzinfo=UTC), "until": datetime(2100, 1, 1, tzinfo=UTC), "limit": 100}
    assert not connection.execute(LEDGER["differences"], ever).fetchall()
    said = dict[str, Any](
        connection.execute("SELECT measure, sum(quantity) FROM intake_ledger GROUP BY measure").fetchall()
    )
    return int(said.get("duplicate", 0)), int(said.get("rejected", 0))


def _check_pages(connection: psycopg.Connection, mailbox: Mailbox) -> tuple[int, int]:
    owed = connection.execute("SELECT id, address, state FROM notifications").fetchall()
    assert {(address, state) for _, address, state in owed} <= {(ADMIN_EMAIL, "DELIVERED")}
    arrived = Counter(str(mail["Message-ID"]).strip("<>").partition("@")[0] for mail in mailbox.mails())
    times = [arrived[str(page)] for page, _, _ in owed]
    assert all(times), f"{times.count(0)} of {len(times)} pages did not arrive"
    assert max(times, default=0) <= 2, (
        "a page may arrive twice when its worker was killed after sending, not more often"
    )
    return len(times), times.count(2)


def _number(connection: psycopg.Connection, query: LiteralString) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])
