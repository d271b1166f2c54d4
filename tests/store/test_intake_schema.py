"""Intake's tables: a report names what exists, what opened an incident is there, and nobody has a right too many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString
from uuid import UUID

import pytest
from psycopg import sql

from tests.store.attacks.attackers import CHECK, IMMUTABLE, NO_RIGHT, PARTIES, UNIQUE, nothing_changes, refusal, refused
from tests.store.conftest import LivedDatabase
from tests.support.by_hand import Connection, connected
from tests.support.clock import START
from tocsin import ids

NO_SUCH_LINK, NOT_NULL, REFERENCED = "TC004", "23502", "23503"
WRITERS = ("application", "overgranted application", "owner", "owner of a replica")
NOBODY = UUID(int=4_711)


@contextmanager
def acting(lived: LivedDatabase, party: str) -> Iterator[Connection]:
    """Act as a party, in a transaction that leaves nothing behind."""
    with PARTIES[party][0](lived) as connection, connection.transaction(force_rollback=True):
        yield connection


def report(connection: Connection, **said: object) -> None:
    """Insert a report that is right but for what is said."""
    columns: Mapping[str, Any] = {
        "id": ids.new_id(),
        "project_id": 1,
        "event_id": ids.new_id().hex,
        "received_at": START,
        "occurred_at": START,
        "severity": "LOW",
        "error_type": "E",
        "title": "E",
        "fingerprint": "f",
        "fingerprint_version": 1,
        "fingerprint_basis": "client",
        "outcome": "recorded",
    } | said
    statement = sql.SQL("INSERT INTO audit_logs ({}) VALUES ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(", ").join(sql.SQL("%s") for _ in columns)
    )
    connection.execute(statement, list(columns.values()))


@pytest.mark.parametrize("party", WRITERS)
def test_a_report_names_a_project_and_an_incident_that_exist(lived: LivedDatabase, party: str) -> None:
    incident_id = lived.lived["reported"]
    with nothing_changes(lived), acting(lived, party) as connection:
        for wrong in (
            {"project_id": 4_711},
            {"project_id": -1},
            {"outcome": "joined", "incident_id": NOBODY},
            {"incident_id": NOBODY},
            {"project_id": 4_711, "outcome": "joined", "incident_id": incident_id},
        ):
            with refusal(connection, NO_SUCH_LINK, saying="does not exist"):
                report(connection, **wrong)
        for right in ({}, {"project_id": 0}, {"outcome": "joined", "incident_id": incident_id}):
            report(connection, **right)


@pytest.mark.parametrize("party", WRITERS)
def test_one_wrong_report_among_many_is_found(lived: LivedDatabase, party: str) -> None:
    statement: LiteralString = (
        "INSERT INTO audit_logs (id, project_id, event_id, received_at, occurred_at, severity, error_type, title,"
        " fingerprint, fingerprint_version, fingerprint_basis, outcome)"
        " SELECT gen_random_uuid(), CASE n WHEN 500 THEN 4711 ELSE 1 END, 'many-' || n, now(), now(), 'LOW', '', '',"
        " '', 1, '', 'recorded' FROM generate_series(1, 1000) n"
    )
    with nothing_changes(lived), acting(lived, party) as connection:
        refused(connection, statement, NO_SUCH_LINK)


@pytest.mark.parametrize("party", WRITERS)
def test_a_report_is_linked_only_to_an_incident_that_exists(lived: LivedDatabase, party: str) -> None:
    with nothing_changes(lived), acting(lived, party) as connection:
        with refusal(connection, NO_SUCH_LINK):
            connection.execute("UPDATE audit_logs SET incident_id = %s WHERE incident_id IS NULL", [NOBODY])
        linked = connection.execute(
            "UPDATE audit_logs SET incident_id = %s WHERE incident_id IS NULL", [lived.lived["reported"]]
        )
        assert linked.rowcount > 0, "the attack above must have had something to attack"


def test_a_table_of_the_same_name_in_front_of_ours_deceives_no_link(lived: LivedDatabase) -> None:
    with nothing_changes(lived), acting(lived, "application") as connection:
        connection.execute("CREATE TEMP TABLE projects (LIKE tocsin.projects)")
        connection.execute(
            "INSERT INTO pg_temp.projects (id, name, created_at, severity_rules) VALUES (4711, 'forged', now(), '[]')"
        )
        connection.execute("SET LOCAL search_path = pg_temp, tocsin")
        with refusal(connection, NO_SUCH_LINK):
            report(connection, project_id=4_711)


@pytest.mark.parametrize("party", WRITERS)
def test_an_incident_that_reports_name_is_never_taken_away(lived: LivedDatabase, party: str) -> None:
    """The links are looked at when a report comes, and not again: so what they name must stay."""
    with nothing_changes(lived), acting(lived, party) as connection:
        state = NO_RIGHT if party == "application" else IMMUTABLE
        refused(connection, "DELETE FROM incidents WHERE id IN (SELECT incident_id FROM audit_logs)", state)
        refused(connection, "TRUNCATE incidents CASCADE", state)


@pytest.mark.parametrize(("party", "state"), [("application", NO_RIGHT), ("owner", REFERENCED)])
def test_a_project_that_reports_name_is_not_taken_away(lived: LivedDatabase, party: str, state: str) -> None:
    with nothing_changes(lived), acting(lived, party) as connection:
        refused(connection, "DELETE FROM projects WHERE id IN (SELECT project_id FROM audit_logs)", state)


# --- what a row may say ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("party", WRITERS)
def test_what_opened_an_incident_is_there_whole_and_only_that_must_be(lived: LivedDatabase, party: str) -> None:
    incident_id = lived.lived["reported"]
    with nothing_changes(lived), acting(lived, party) as connection:
        with refusal(connection, CHECK):
            report(connection, outcome="opened", incident_id=incident_id)
        report(connection, outcome="opened", incident_id=incident_id, document=b"{}")
        for thin in ({"outcome": "joined", "incident_id": incident_id}, {"outcome": "recorded"}):
            report(connection, **thin)


@pytest.mark.parametrize(
    ("wrong", "state"),
    [
        ({"outcome": "joined"}, CHECK),
        ({"outcome": "opened", "document": b"{}"}, CHECK),
        ({"outcome": "duplicate"}, CHECK),
        ({"outcome": None}, NOT_NULL),
        ({"severity": "FATAL"}, CHECK),
        ({"signal": "close"}, CHECK),
        ({"event_id": ""}, CHECK),
        ({"event_id": "x" * 65}, CHECK),
    ],
)
def test_a_report_says_nothing_that_makes_no_sense(lived: LivedDatabase, wrong: dict[str, Any], state: str) -> None:
    with nothing_changes(lived), acting(lived, "application") as connection, refusal(connection, state):
        report(connection, **wrong)


def test_the_checksum_is_that_of_the_document_and_without_one_there_is_none(lived: LivedDatabase) -> None:
    with acting(lived, "application") as connection:
        thin, whole = ids.new_id(), ids.new_id()
        report(connection, id=thin)
        report(connection, id=whole, document=b"{}")
        found = connection.execute(
            r"SELECT id, checksum, sha256('\x00'::bytea || document) AS expected FROM audit_logs WHERE id = ANY (%s)",
            [[thin, whole]],
        ).fetchall()
        checksums = {row["id"]: (row["checksum"], row["expected"]) for row in found}
        assert checksums[thin] == (None, None)
        assert checksums[whole][0] == checksums[whole][1] is not None


@pytest.mark.parametrize("party", WRITERS)
def test_a_thin_report_is_never_given_a_document_later(lived: LivedDatabase, party: str) -> None:
    with nothing_changes(lived), acting(lived, party) as connection:
        report(connection, event_id="thin")
        state = NO_RIGHT if party == "application" else IMMUTABLE
        for attack in (
            "UPDATE audit_logs SET document = '{}' WHERE event_id = 'thin'",
            "UPDATE audit_logs SET signal = 'resolve' WHERE event_id = 'thin'",
        ):
            with refusal(connection, state):
                connection.execute(attack)


def test_an_event_is_recorded_once_in_each_project(lived: LivedDatabase) -> None:
    with nothing_changes(lived), acting(lived, "application") as connection:
        report(connection, event_id="same")
        report(connection, event_id="same", project_id=0)
        with refusal(connection, UNIQUE):
            report(connection, event_id="same")


# --- the ledger, and what projects decide ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO intake_changes VALUES (1, now(), 'stolen', '', 1)",
        "INSERT INTO intake_changes VALUES (1, now(), 'received', repeat('x', 201), 1)",
        "INSERT INTO ledger_progress VALUES (false, now())",
        "UPDATE projects SET dedup_window_seconds = -1 WHERE id = 1",
        "UPDATE projects SET dedup_window_seconds = 86401 WHERE id = 1",
        "UPDATE projects SET incident_threshold = 'CRITICAL' WHERE id = 1",
        "UPDATE projects SET severity_rules = '{}' WHERE id = 1",
        "UPDATE projects SET field_mapping = '[]' WHERE id = 1",
    ],
)
def test_what_makes_no_sense_is_refused_by_the_tables_themselves(
    lived: LivedDatabase, statement: LiteralString
) -> None:
    with nothing_changes(lived), acting(lived, "application") as connection:
        refused(connection, statement, CHECK)


def test_there_is_one_progress_of_the_ledger(lived: LivedDatabase) -> None:
    with acting(lived, "application") as connection:
        connection.execute("INSERT INTO ledger_progress (checked_to) VALUES (now()) ON CONFLICT DO NOTHING")
        refused(connection, "INSERT INTO ledger_progress (checked_to) VALUES (now())", UNIQUE)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE intake_changes SET quantity = 0",
        "UPDATE occurrence_changes SET occurrences = 0",
        "TRUNCATE intake_changes",
        "TRUNCATE intake_minutes",
        "TRUNCATE occurrence_changes",
        "DELETE FROM latest_reports",
        "DELETE FROM ledger_progress",
        "DELETE FROM failures",
        "DELETE FROM projects",
        "ALTER TABLE audit_logs DISABLE TRIGGER c_links",
        "DROP TRIGGER c_links ON audit_logs",
        "SELECT check_links()",
    ],
)
def test_the_application_may_do_with_counters_what_it_needs_and_no_more(
    lived: LivedDatabase, statement: LiteralString
) -> None:
    with nothing_changes(lived), acting(lived, "application") as connection:
        refused(connection, statement, NO_RIGHT)


def test_a_count_is_the_sum_of_what_was_folded_and_what_was_not(lived: LivedDatabase) -> None:
    with acting(lived, "application") as connection:
        minute = "2001-02-03 04:05:00+00"
        for table in ("intake_minutes", "intake_changes"):
            connection.execute(
                sql.SQL("INSERT INTO {} VALUES (1, %s, 'received', 'x', 3)").format(sql.Identifier(table)), [minute]
            )
        connection.execute("INSERT INTO intake_changes VALUES (1, %s, 'received', 'x', 4)", [minute])
        row = connection.execute("SELECT quantity FROM intake_ledger WHERE minute = %s", [minute]).fetchall()
        assert [one["quantity"] for one in row] == [10]


def test_a_signal_leads_nowhere_from_every_status_and_nothing_begins_with_one(lived: LivedDatabase) -> None:
    with connected(lived.server, lived.name) as superuser:
        statuses = ("REPORTED", "ACKNOWLEDGED", "INVESTIGATING", "RESOLVED", "CLOSED", None)
        for status in statuses:
            row = superuser.execute(
                "SELECT allowed_status_after('SIGNAL_RECEIVED', %s, true, true, NULL) AS after", [status]
            ).fetchone()
            assert row is not None
            assert row["after"] == status
