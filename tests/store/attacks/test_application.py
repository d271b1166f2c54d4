"""The application's role, on the day when our code is wrong or somebody else has its password: it can add, in order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from tests.store.attacks.attackers import (
    CHECK,
    GUARDED,
    IMMUTABLE,
    NO_RIGHT,
    NOT_WHAT_THE_BYTES_SAY,
    OUT_OF_ORDER,
    PARTIES,
    RECORD,
    UNIQUE,
    another,
    application,
    nothing_changes,
    recorded,
    refusal,
    refused,
    table_column,
)
from tests.store.conftest import LivedDatabase
from tests.support.by_hand import (
    DETAILS,
    NATURAL_STATUS,
    STEPS,
    ByHand,
    Connection,
    columns_of,
    connected,
    insert,
    row_of,
    seal,
)
from tests.support.lives import STAGES
from tocsin import ids
from tocsin.domain.disclosure import BESIDE

CHANGES = {
    "update": "UPDATE {table} SET id = id",
    "update of no row": "UPDATE {table} SET id = id WHERE false",
    "update of one column": "UPDATE {table} SET {column} = {column}",
    "delete": "DELETE FROM {table}",
    "delete of no row": "DELETE FROM {table} WHERE false",
    "delete within a query": "WITH gone AS (DELETE FROM {table} RETURNING id) SELECT count(*) FROM gone",
    "truncate with everything that refers to it": "TRUNCATE {table} CASCADE",
    "merge that updates": "MERGE INTO {table} t USING {table} s ON t.id = s.id WHEN MATCHED THEN UPDATE SET id = s.id",
    "merge that deletes": "MERGE INTO {table} t USING {table} s ON t.id = s.id WHEN MATCHED THEN DELETE",
    "upsert": "INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}"
    " ON CONFLICT (id) DO UPDATE SET {column} = excluded.{column}",
}


@pytest.mark.parametrize("table", GUARDED)
@pytest.mark.parametrize("party", PARTIES)
def test_no_statement_changes_what_was_recorded(lived: LivedDatabase, party: str, table: str) -> None:
    sign_in, state = PARTIES[party]
    with nothing_changes(lived), sign_in(lived) as connection:
        columns = columns_of(connection, table)
        names = {
            "table": sql.Identifier(table),
            "columns": columns,
            "column": sql.Identifier(table_column(connection, table)),
        }
        for template in CHANGES.values():
            refused(connection, sql.SQL(template).format(**names), state)
        # Before its triggers are asked, PostgreSQL itself refuses to empty a table to which others refer.
        refused(connection, sql.SQL("TRUNCATE {}").format(names["table"]), state, "0A000")


@pytest.mark.parametrize("table", [*GUARDED, "incident_heads"])
def test_the_application_may_neither_lock_rows_nor_touch_the_guards(lived: LivedDatabase, table: str) -> None:
    name = sql.Identifier(table)
    with nothing_changes(lived), application(lived) as connection:
        for attack in (
            "SELECT * FROM {} FOR UPDATE",
            "SELECT * FROM {} FOR SHARE",
            "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
            "ALTER TABLE {} DISABLE TRIGGER ALL",
            "ALTER TABLE {} ADD COLUMN extra text",
            "DROP TABLE {} CASCADE",
            "CREATE TRIGGER own BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION refuse_change()",
            "CREATE RULE own AS ON INSERT TO {} DO INSTEAD NOTHING",
            "COMMENT ON TABLE {} IS 'mine'",
            "ALTER TABLE {} ENABLE ROW LEVEL SECURITY",
        ):
            refused(connection, sql.SQL(attack).format(name), NO_RIGHT)


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE incident_heads SET status = 'CLOSED'",
        "DELETE FROM incident_heads",
        "TRUNCATE incident_heads",
        "INSERT INTO incident_heads SELECT * FROM incident_heads",
        "SET session_replication_role = replica",
        "SET ROLE tocsin_owner",
        "CREATE TABLE tocsin.mine (id int)",
        "CREATE TABLE public.mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION tocsin.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "SELECT tocsin.open_head(e) FROM tocsin.incident_lifecycle e",
        "SELECT move_head(e, h) FROM incident_lifecycle e JOIN incident_heads h USING (incident_id)",
        "SELECT setval('incident_number', 1)",
        "TRUNCATE audit_logs",
        "DELETE FROM audit_logs",
        "UPDATE audit_logs SET document = 'x'",
        "DELETE FROM users",
        "DELETE FROM notifications",
        "DELETE FROM delivery_attempts",
        "UPDATE delivery_attempts SET answer = 'OK'",
    ],
)
def test_the_application_may_do_no_more_than_it_was_granted(lived: LivedDatabase, attack: str) -> None:
    with nothing_changes(lived), application(lived) as connection:
        refused(connection, attack, NO_RIGHT)


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE log_pending SET leaf_hash = sha256('x')",
        "DELETE FROM log_pending",
        "INSERT INTO log_pending (kind, leaf, leaf_hash, waiting_since) VALUES ('log_key', 'x', sha256('x'), now())",
        "INSERT INTO log_entries (index, leaf_hash, kind, leaf) VALUES (0, sha256('x'), 'log_key', 'x')",
        "UPDATE log_entries SET leaf_hash = sha256('x')",
        "UPDATE log_state SET size = 0",
        "UPDATE log_tiles SET hashes = ''",
        "UPDATE log_head_nodes SET hashes = ''",
        "DELETE FROM log_checkpoints",
        "TRUNCATE log_entries",
        "SELECT grow_tiles(0, 1)",
        "SELECT setval('log_pending_id_seq', 1)",
        "SELECT tocsin_guard.suspend()",
        "SELECT tocsin_guard.resume()",
        "SELECT * FROM tocsin_guard.differences()",
        "DELETE FROM tocsin_guard.baseline",
        "ALTER EVENT TRIGGER tocsin_difference DISABLE",
        "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION tocsin_guard.refuse_index()",
        "CREATE TEMP TABLE ghost () INHERITS (incidents)",
        "CREATE OR REPLACE VIEW tocsin.open_incidents AS SELECT 1 AS one",
        "CREATE POLICY hide ON incidents USING (false)",
        "CREATE UNIQUE INDEX forbid ON incidents (severity)",
        "ALTER SEQUENCE incident_number RESTART",
        "COPY incidents FROM PROGRAM 'true'",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT lo_export(lo_creat(-1), '/tmp/record')",
        "ALTER SYSTEM SET session_replication_role = replica",
        "SET session_replication_role = local",
        "SET allow_system_table_mods = on",
        "UPDATE pg_catalog.pg_trigger SET tgenabled = 'D'",
        "DELETE FROM pg_largeobject_metadata",
    ],
)
def test_the_application_reaches_neither_log_nor_guards_nor_server(lived: LivedDatabase, attack: str) -> None:
    with nothing_changes(lived), application(lived) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(attack.encode())
    assert caught.value.sqlstate == NO_RIGHT, caught.value


def test_rights_that_the_application_does_not_have_it_cannot_give(lived: LivedDatabase) -> None:
    """PostgreSQL warns and does nothing, instead of refusing, where somebody has other rights on the table."""
    with application(lived) as connection:
        connection.execute("GRANT UPDATE ON incidents TO tocsin_app")
        connection.execute("REVOKE ALL ON incidents FROM tocsin_owner")
    with connected(lived.server, lived.name) as superuser:
        assert superuser.execute("SELECT * FROM tocsin_guard.differences()").fetchall() == []


def test_settings_that_anybody_may_change_weaken_no_guard(lived: LivedDatabase) -> None:
    with nothing_changes(lived), application(lived) as connection:
        for name, value in {
            "transform_null_equals": "on",
            "standard_conforming_strings": "off",
            "array_nulls": "off",
            "row_security": "off",
            "check_function_bodies": "off",
            "DateStyle": "ISO, DMY",
            "IntervalStyle": "postgres_verbose",
            "TimeZone": "Pacific/Kiritimati",
            "bytea_output": "escape",
            "extra_float_digits": "-15",
            "quote_all_identifiers": "on",
            "xmloption": "document",
            "default_transaction_isolation": "serializable",
            "constraint_exclusion": "on",
            "enable_seqscan": "off",
            "enable_indexscan": "off",
            "plan_cache_mode": "force_generic_plan",
            "search_path": "pg_temp, public",
        }.items():
            connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        hand = ByHand(connection, lived.lived.admin)
        connection.execute("SET search_path = tocsin")
        assert hand.accepts(lived.lived["reported"], "ACKNOWLEDGED") == ""
        assert hand.accepts(lived.lived["reported"], "RESOLVED") == OUT_OF_ORDER
        assert hand.accepts(lived.lived["acknowledged"], "ACKNOWLEDGED") in (OUT_OF_ORDER, UNIQUE)
        with refusal(connection, NOT_WHAT_THE_BYTES_SAY):
            hand.insert("incidents", recorded(connection, "incidents") | {"id": ids.new_id()}, canonical=b"{}")


def test_a_table_may_be_locked_against_nobody_s_reading(lived: LivedDatabase) -> None:
    """Who may insert may take the lock of an insert, and no stronger one."""
    with application(lived) as connection:
        for mode in ("SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"):
            refused(connection, sql.SQL("LOCK TABLE incident_lifecycle IN {} MODE").format(sql.SQL(mode)), NO_RIGHT)


def test_a_row_is_not_written_twice_by_copying_it(lived: LivedDatabase) -> None:
    with nothing_changes(lived), application(lived) as connection:
        for table in RECORD:
            columns = columns_of(connection, table)
            copy = sql.SQL("INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}")
            refused(connection, copy.format(table=sql.Identifier(table), columns=columns), UNIQUE)
            writing = sql.SQL("WITH again AS (" + copy.as_string() + " RETURNING id) SELECT count(*) FROM again")
            refused(connection, writing.format(table=sql.Identifier(table), columns=columns), UNIQUE)
            swallowing = sql.SQL(copy.as_string() + " ON CONFLICT DO NOTHING")
            connection.execute(swallowing.format(table=sql.Identifier(table), columns=columns))


def test_large_objects_and_temporary_tables_are_no_way_in(lived: LivedDatabase) -> None:
    with nothing_changes(lived), application(lived) as connection, connection.transaction(force_rollback=True):
        connection.execute("SELECT lo_from_bytea(0, 'x')")
        connection.execute("CREATE TEMP TABLE incidents (LIKE tocsin.incidents)")
        connection.execute("CREATE FUNCTION pg_temp.lie() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
        refused(
            connection,
            "CREATE TRIGGER lie BEFORE INSERT ON tocsin.incidents FOR EACH ROW EXECUTE FUNCTION pg_temp.lie()",
            NO_RIGHT,
        )
        refused(connection, "UPDATE tocsin.incidents SET title = 'x'", NO_RIGHT)


def test_a_table_of_the_same_name_in_front_of_ours_deceives_no_guard(lived: LivedDatabase) -> None:
    with nothing_changes(lived), application(lived) as connection:
        hand = ByHand(connection, lived.lived.admin)
        with connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL search_path = pg_temp, tocsin")
            # The application may have temporary tables; the guards must not look at them.
            connection.execute("CREATE TEMP TABLE incident_root_causes (LIKE tocsin.incident_root_causes)")
            connection.execute("CREATE TEMP TABLE incident_heads (LIKE tocsin.incident_heads)")
            connection.execute("INSERT INTO pg_temp.incident_heads SELECT * FROM tocsin.incident_heads")
            connection.execute("UPDATE pg_temp.incident_heads SET status = 'INVESTIGATING', root_cause_at = created_at")
            assert hand.accepts(lived.lived["reported"], "RESOLVED", status_before="REPORTED") == OUT_OF_ORDER
            assert hand.accepts(lived.lived["reported"], "RESOLVED", status_before="INVESTIGATING") == OUT_OF_ORDER


# --- reports ---------------------------------------------------------------------------------------------------

REPORT_COLUMNS = {
    "id": "gen_random_uuid()",
    "project_id": "0",
    "event_id": "'another'",
    "received_at": "received_at + interval '1 second'",
    "occurred_at": "occurred_at + interval '1 second'",
    "severity": "'MEDIUM'",
    "error_type": "'Another'",
    "title": "'Another'",
    "fingerprint": "'another'",
    "fingerprint_version": "99",
    "fingerprint_basis": "'another'",
    "document": "'{}'",
    "signal": "'resolve'",
    "outcome": "'joined'",
    "erased": "true",
}


@pytest.mark.parametrize("party", ["overgranted application", "owner", "owner of a replica"])
def test_no_column_of_a_report_can_be_changed(lived: LivedDatabase, party: str) -> None:
    sign_in, _ = PARTIES[party]
    with nothing_changes(lived), sign_in(lived) as connection:
        known = connection.execute(
            "SELECT array_agg(attname::text ORDER BY attname) AS names FROM pg_attribute"
            " WHERE attrelid = 'audit_logs'::regclass AND attnum > 0 AND attgenerated = ''"
        ).fetchone()
        assert known is not None
        assert sorted([*REPORT_COLUMNS, "incident_id"]) == known["names"], "a new column needs its attack"
        for column, value in REPORT_COLUMNS.items():
            for also in ("", ", incident_id = (SELECT id FROM incidents LIMIT 1)"):
                attack = f"UPDATE audit_logs SET {column} = {value}{also} WHERE outcome = 'recorded'"
                refused(connection, attack, IMMUTABLE)
        refused(connection, "DELETE FROM audit_logs", IMMUTABLE)
        refused(connection, "TRUNCATE audit_logs CASCADE", IMMUTABLE)
        refused(connection, "MERGE INTO audit_logs USING incidents ON false WHEN MATCHED THEN DELETE", IMMUTABLE)


@pytest.mark.parametrize("party", ["application", "owner"])
def test_a_report_is_linked_to_its_incident_once(lived: LivedDatabase, party: str) -> None:
    sign_in = PARTIES[party][0]
    link = sql.SQL("UPDATE audit_logs SET incident_id = (SELECT id FROM incidents ORDER BY id {} LIMIT 1) WHERE {}")
    with nothing_changes(lived), sign_in(lived) as connection, connection.transaction(force_rollback=True):
        recorded = sql.SQL("outcome = 'recorded'")
        linked = sql.SQL("outcome = 'opened'")
        refused(connection, link.format(sql.SQL("ASC"), linked), IMMUTABLE)
        refused(connection, "UPDATE audit_logs SET incident_id = NULL WHERE outcome = 'opened'", IMMUTABLE)
        refused(connection, "UPDATE audit_logs SET incident_id = incident_id WHERE outcome = 'opened'", IMMUTABLE)
        refused(
            connection,
            "INSERT INTO audit_logs (id, project_id, event_id, received_at, occurred_at, severity, error_type, title,"
            " fingerprint, fingerprint_version, fingerprint_basis, document, outcome, incident_id)"
            " SELECT id, project_id, event_id, received_at, occurred_at, severity, error_type, title, fingerprint,"
            " fingerprint_version, fingerprint_basis, document, outcome, incident_id FROM audit_logs"
            " WHERE outcome = 'opened' ON CONFLICT (id) DO UPDATE SET incident_id = excluded.incident_id",
            IMMUTABLE,
        )
        connection.execute(link.format(sql.SQL("ASC"), recorded))
        refused(connection, link.format(sql.SQL("DESC"), recorded), IMMUTABLE)


# --- steps out of order ----------------------------------------------------------------------------------------

ALWAYS = {"NOTE_ADDED", "SIGNAL_RECEIVED", "ESCALATED SEVERITY_ESCALATED", "SEVERITY_CHANGED up by the system"}
OPEN = {*ALWAYS, "SEVERITY_CHANGED by a person", "ESCALATED MANUAL_ESCALATION", "PAGES_HELD"}
NO_CAUSE = {*OPEN, "ESCALATED NO_ROOT_CAUSE_24HR"}
ACCEPTED = {
    "reported": {*NO_CAUSE, "ACKNOWLEDGED", "ESCALATED NO_ACK_1HR", "ESCALATED NO_ACK_4HR", "ESCALATED POLICY_STEP"},
    # Critical, blocking, escalated by each rule; its manual escalation is acknowledged.
    "escalated": {*OPEN, "ACKNOWLEDGED", "ESCALATED POLICY_STEP"} - {"SEVERITY_CHANGED up by the system"},
    "acknowledged": {*NO_CAUSE, "INVESTIGATION_STARTED", "ACKNOWLEDGMENT_LAPSED"},
    "investigating": {*NO_CAUSE, "ROOT_CAUSE_RECORDED", "ACKNOWLEDGMENT_LAPSED"},
    "cause known": {*OPEN, "RESOLVED", "RESOLVED with lessons", "ACKNOWLEDGMENT_LAPSED"},
    "resolved": {*OPEN, "CLOSED"},
    "closed": ALWAYS,
    "closed at once": ALWAYS - {"SEVERITY_CHANGED up by the system"},
}
"""Written down by hand from the mission, not computed: which steps each stage allows."""


@pytest.mark.parametrize("step", [name for name in STEPS if name != "ESCALATION_ACKNOWLEDGED"])
@pytest.mark.parametrize("stage", STAGES)
def test_the_database_takes_a_step_only_in_its_order(lived: LivedDatabase, stage: str, step: str) -> None:
    with nothing_changes(lived), application(lived) as connection:
        state = ByHand(connection, lived.lived.admin).accepts(lived.lived[stage], step)
    if step in ACCEPTED[stage]:
        assert state == ""
    else:
        # A timed rule that has fired is refused by the index that lets each fire once; so is a second detail.
        assert state in (OUT_OF_ORDER, UNIQUE), state


@pytest.mark.parametrize("stage", STAGES)
def test_no_step_leads_anywhere_but_where_it_must(lived: LivedDatabase, stage: str) -> None:
    statuses = [*dict.fromkeys(NATURAL_STATUS.values()), "BOGUS", ""]
    with nothing_changes(lived), application(lived) as connection:
        hand = ByHand(connection, lived.lived.admin)
        natural = hand.head(lived.lived[stage])["status"]
        for step in ACCEPTED[stage]:
            own = NATURAL_STATUS.get(step.split()[0], natural)
            for after in set(statuses) - {own}:
                assert hand.accepts(lived.lived[stage], step, status_after=after) == OUT_OF_ORDER, (step, after)
            for before in [*(set(statuses) - {natural}), None]:
                assert hand.accepts(lived.lived[stage], step, status_before=before) == OUT_OF_ORDER, (step, before)


@pytest.mark.parametrize("stage", STAGES)
def test_an_entry_must_continue_the_last_one(lived: LivedDatabase, stage: str) -> None:
    incident_id = lived.lived[stage]
    with nothing_changes(lived), application(lived) as connection:
        hand = ByHand(connection, lived.lived.admin)
        last = hand.head(incident_id)["sequence"]
        for sequence in (1, last, last + 2, last + 1000):
            assert hand.accepts(incident_id, "NOTE_ADDED", sequence=sequence) in (OUT_OF_ORDER, UNIQUE)
        for sequence in (0, -1):
            assert hand.accepts(incident_id, "NOTE_ADDED", sequence=sequence) == CHECK
        for previous in (None, b"\x00" * 32, b"", hand.head(other(lived, stage))["checksum"]):
            assert hand.accepts(incident_id, "NOTE_ADDED", previous_checksum=previous) == OUT_OF_ORDER
        assert hand.accepts(incident_id, "NOTE_ADDED", event_type="REPORTED") == OUT_OF_ORDER
        assert hand.accepts(incident_id, "NOTE_ADDED", event_type="FORGOTTEN") == CHECK


def other(lived: LivedDatabase, stage: str) -> UUID:
    """Return another incident than that of this stage."""
    return next(incident_id for name, incident_id in lived.lived.incidents.items() if name != stage)


def test_severity_changes_only_from_what_it_is_to_what_exists(lived: LivedDatabase) -> None:
    with nothing_changes(lived), application(lived) as connection:
        hand = ByHand(connection, lived.lived.admin)
        for metadata in (
            {},
            {"to": "LOW"},
            {"from": "CRITICAL", "to": "LOW"},
            {"from": "HIGH", "to": "HIGH"},
            {"from": "HIGH", "to": "SEVERE"},
            {"from": "HIGH", "to": None},
        ):
            step = "SEVERITY_CHANGED by a person"
            assert hand.accepts(lived.lived["reported"], step, metadata=metadata) == OUT_OF_ORDER


def test_a_timed_rule_fires_once_and_its_escalation_is_told_once(lived: LivedDatabase) -> None:
    incident_id = lived.lived["reported"]
    with nothing_changes(lived), application(lived) as connection, connection.transaction(force_rollback=True):
        hand = ByHand(connection, lived.lived.admin)
        hand.step(incident_id, "ESCALATED NO_ACK_1HR")
        assert hand.accepts(incident_id, "ESCALATED NO_ACK_1HR") == UNIQUE
        told = connection.execute(
            "SELECT checksum FROM incident_escalations WHERE incident_id = %s", [incident_id]
        ).fetchone()
        assert told is not None
        with refusal(connection, UNIQUE):
            hand.entry(incident_id, "ESCALATED", detail=told["checksum"], by_system=True)


def test_an_escalation_is_acknowledged_once_by_the_right_person_in_its_own_incident(lived: LivedDatabase) -> None:
    incident_id, elsewhere = lived.lived["reported"], lived.lived["escalated"]
    with nothing_changes(lived), application(lived) as connection, connection.transaction(force_rollback=True):
        hand = ByHand(connection, lived.lived.admin)
        bob = connection.execute("SELECT id FROM users WHERE email = 'bob@example.org'").fetchone()
        assert bob is not None
        bobs = ByHand(connection, bob["id"], "responder")
        foreign = hand.latest_escalation(elsewhere)
        hand.step(incident_id, "ESCALATED MANUAL_ESCALATION")
        escalation_id = hand.latest_escalation(incident_id)

        def acknowledged(by: ByHand, escalation: UUID | None, **overrides: object) -> str:
            try:
                with connection.transaction(force_rollback=True):
                    table = "incident_escalation_acknowledgments"
                    detail = by.detail_row(table, incident_id, escalation_id=escalation)
                    by.entry(incident_id, "ESCALATION_ACKNOWLEDGED", detail=detail.checksum, **overrides)  # type: ignore[arg-type]
            except psycopg.Error as error:
                return error.sqlstate or "unknown"
            return ""

        assert acknowledged(bobs, escalation_id) == OUT_OF_ORDER
        assert acknowledged(hand, escalation_id, actor_user_id=bob["id"]) == OUT_OF_ORDER
        assert acknowledged(hand, foreign) in (OUT_OF_ORDER, UNIQUE)
        assert acknowledged(hand, escalation_id) == ""
        hand.step(incident_id, "ESCALATION_ACKNOWLEDGED")
        assert acknowledged(hand, escalation_id) == UNIQUE


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"escalated_to_user_id": None}, "to nobody"),
        ({"escalated_by_user_id": None}, "by nobody"),
        ({"escalation_notes": ""}, "without a reason"),
        ({"escalation_reason": "NO_ACK_1HR"}, "a rule of the clock by a person"),
    ],
)
def test_a_manual_escalation_names_who_to_whom_and_why(
    lived: LivedDatabase, columns: dict[str, object], why: str
) -> None:
    with nothing_changes(lived), application(lived) as connection:
        hand = ByHand(connection, lived.lived.admin)
        with refusal(connection, CHECK):
            hand.detail_row("incident_escalations", lived.lived["reported"], **columns)


# --- details and entries belong together -----------------------------------------------------------------------

DETAIL_AT = {
    "incident_acknowledgments": ("reported", "ACKNOWLEDGED"),
    "incident_root_causes": ("investigating", "ROOT_CAUSE_RECORDED"),
    "incident_resolution": ("cause known", "RESOLVED"),
    "incident_closures": ("resolved", "CLOSED"),
    "incident_escalations": ("reported", "ESCALATED"),
}


@pytest.mark.parametrize("table", DETAIL_AT)
def test_a_detail_without_its_entry_is_refused_at_the_commit(lived: LivedDatabase, table: str) -> None:
    stage, kind = DETAIL_AT[table]
    incident_id = lived.lived[stage]
    with nothing_changes(lived), application(lived) as connection:
        hand = ByHand(connection, lived.lived.admin)
        with refusal(connection, OUT_OF_ORDER, saying="no timeline entry names it"):
            connection.execute("SET CONSTRAINTS ALL DEFERRED")
            hand.detail_row(table, incident_id)
        # The entry is written, taken back to a savepoint, and something harmless put in its place.
        with refusal(connection, OUT_OF_ORDER, saying="no timeline entry names it"):
            detail = hand.detail_row(table, incident_id)
            with connection.transaction(force_rollback=True):
                hand.entry(incident_id, kind, detail=detail.checksum)
            hand.entry(incident_id, "NOTE_ADDED", metadata={"text": "nothing happened"})


@pytest.mark.parametrize("table", DETAIL_AT)
def test_an_entry_without_its_detail_is_refused(lived: LivedDatabase, table: str) -> None:
    stage, kind = DETAIL_AT[table]
    incident_id = lived.lived[stage]
    with nothing_changes(lived), application(lived) as connection:
        hand = ByHand(connection, lived.lived.admin)
        for detail in (None, b"\x00" * 32, hand.head(incident_id)["checksum"], foreign_detail(connection, table)):
            with refusal(connection, OUT_OF_ORDER):
                hand.entry(incident_id, kind, detail=detail)
        # The detail is written, taken back to a savepoint, and its entry written all the same.
        with refusal(connection, OUT_OF_ORDER):
            with connection.transaction(force_rollback=True):
                sealed = hand.detail_row(table, incident_id)
            hand.entry(incident_id, kind, detail=sealed.checksum)


def foreign_detail(connection: Connection, table: str) -> bytes:
    """Return the checksum of a detail of this kind that belongs to another incident."""
    query = sql.SQL("SELECT checksum FROM {} LIMIT 1").format(sql.Identifier(table))
    row = connection.execute(query).fetchone()
    assert row is not None
    return bytes(row["checksum"])


@pytest.mark.parametrize("table", DETAIL_AT)
def test_an_entry_names_the_person_who_wrote_the_detail(lived: LivedDatabase, table: str) -> None:
    stage, kind = DETAIL_AT[table]
    with nothing_changes(lived), application(lived) as connection:
        bob = connection.execute("SELECT id FROM users WHERE email = 'bob@example.org'").fetchone()
        assert bob is not None
        hand = ByHand(connection, lived.lived.admin)
        with refusal(connection, OUT_OF_ORDER):
            detail = hand.detail_row(table, lived.lived[stage])
            hand.entry(lived.lived[stage], kind, detail=detail.checksum, actor_user_id=bob["id"])


def test_an_entry_cannot_pretend_that_the_system_acted(lived: LivedDatabase) -> None:
    with nothing_changes(lived), application(lived) as connection:
        hand = ByHand(connection, lived.lived.admin)
        for who in ({"actor_role": "system"}, {"actor_user_id": None}, {"actor_role": "root"}):
            assert hand.accepts(lived.lived["reported"], "NOTE_ADDED", **who) == CHECK


def test_an_incident_without_its_first_entry_is_refused_at_the_commit(lived: LivedDatabase) -> None:
    with nothing_changes(lived), application(lived) as connection:
        hand = ByHand(connection, lived.lived.admin)
        template = recorded(connection, "incidents") | {"id": ids.new_id(), "number": 4_000_000}
        with refusal(connection, OUT_OF_ORDER, saying="no timeline entry names it"):
            hand.insert("incidents", template)
        # Any other first entry than REPORTED, or one by somebody else than who opened it, is none.
        for overrides in ({"event_type": "NOTE_ADDED"}, {"sequence": 2}, {"status_after": "CLOSED"}, {}):
            with refusal(connection, OUT_OF_ORDER):
                sealed = hand.insert("incidents", template)
                first = hand.first_entry(template["id"], sealed.checksum)
                hand.insert("incident_lifecycle", first | overrides)


def test_an_incident_opened_by_hand_with_correct_rows_is_accepted(lived: LivedDatabase) -> None:
    with nothing_changes(lived), application(lived) as connection, connection.transaction(force_rollback=True):
        hand = ByHand(connection, lived.lived.admin)
        incident_id = hand.open()
        assert hand.head(incident_id)["status"] == "REPORTED"
        shown = connection.execute("SELECT occurrences FROM open_incidents WHERE id = %s", [incident_id]).fetchone()
        assert shown == {"occurrences": 0}, "no incident hides from the lists"


# --- several rows at once --------------------------------------------------------------------------------------


def entries(hand: ByHand, incident_id: UUID, *kinds: str) -> list[dict[str, Any]]:
    """Return rows that would continue the timeline one after the other, each with its canonical bytes."""
    head = hand.head(incident_id)
    rows: list[dict[str, Any]] = []
    sequence, checksum, status = head["sequence"], head["checksum"], head["status"]
    for kind in kinds:
        sequence += 1
        columns = {
            "id": ids.new_id(),
            "incident_id": incident_id,
            "sequence": sequence,
            "previous_checksum": checksum,
            "event_type": kind,
            "status_before": status,
            "status_after": NATURAL_STATUS.get(kind, status),
            "actor_user_id": hand.actor,
            "actor_role": hand.role,
            "detail_checksum": None,
            "metadata": {},
            "event_at": head["last_event_at"],
            "nonce": ids.new_nonce(),
        }
        sealed = seal("incident_lifecycle", columns)
        checksum, status = sealed.checksum, columns["status_after"]
        rows.append(row_of(sealed))
    return rows


def insert_together(connection: Connection, rows: list[dict[str, Any]], tail: str = "") -> None:
    """Insert several entries in one statement."""
    names = list(rows[0])
    values = sql.SQL(", ").join(
        sql.SQL("({})").format(sql.SQL(", ").join(sql.Placeholder(f"{name}_{index}") for name in names))
        for index in range(len(rows))
    )
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    statement = sql.SQL("INSERT INTO incident_lifecycle ({}) VALUES {} " + tail).format(columns, values)
    parameters = {f"{name}_{index}": row[name] for index, row in enumerate(rows) for name in names}
    connection.execute(statement, parameters)


def test_several_entries_of_one_statement_are_judged_one_after_the_other(lived: LivedDatabase) -> None:
    incident_id = lived.lived["acknowledged"]
    with nothing_changes(lived), application(lived) as connection:
        hand = ByHand(connection, lived.lived.admin)

        def outcome(rows: list[dict[str, Any]], tail: str = "") -> str:
            try:
                with connection.transaction(force_rollback=True):
                    insert_together(connection, rows, tail)
            except psycopg.Error as error:
                return error.sqlstate or "unknown"
            return ""

        assert outcome(entries(hand, incident_id, "NOTE_ADDED", "INVESTIGATION_STARTED", "NOTE_ADDED")) == ""
        in_reverse = entries(hand, incident_id, "NOTE_ADDED", "NOTE_ADDED")[::-1]
        assert outcome(in_reverse) == OUT_OF_ORDER
        twice = entries(hand, incident_id, "INVESTIGATION_STARTED", "INVESTIGATION_STARTED")
        assert outcome(twice) == OUT_OF_ORDER
        fork = entries(hand, incident_id, "NOTE_ADDED") + entries(hand, incident_id, "NOTE_ADDED")
        assert outcome(fork) == UNIQUE
        assert outcome(fork, "ON CONFLICT DO NOTHING") == ""


def test_an_insert_that_does_nothing_moves_no_head(lived: LivedDatabase) -> None:
    incident_id = lived.lived["acknowledged"]
    with nothing_changes(lived), application(lived) as connection:
        hand = ByHand(connection, lived.lived.admin)
        rows = entries(hand, incident_id, "INVESTIGATION_STARTED")
        existing = connection.execute(
            "SELECT id FROM incident_lifecycle WHERE incident_id = %s AND sequence = 1", [incident_id]
        ).fetchone()
        assert existing is not None
        sealed = seal("incident_lifecycle", _columns(rows[0]) | {"id": existing["id"]})
        insert_together(connection, [row_of(sealed)], "ON CONFLICT (id) DO NOTHING")


def _columns(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in BESIDE} | {"metadata": {}}


def test_copy_and_merge_can_only_append_in_order(lived: LivedDatabase) -> None:
    incident_id = lived.lived["acknowledged"]
    with nothing_changes(lived), application(lived) as connection:
        hand = ByHand(connection, lived.lived.admin)

        def copied(rows: list[dict[str, Any]]) -> str:
            names = list(rows[0])
            columns = sql.SQL(", ").join(map(sql.Identifier, names))
            try:
                with (
                    connection.transaction(force_rollback=True),
                    connection.cursor() as cursor,
                    cursor.copy(sql.SQL("COPY incident_lifecycle ({}) FROM STDIN").format(columns)) as copy,
                ):
                    for row in rows:
                        copy.write_row([row[name] for name in names])
            except psycopg.Error as error:
                return error.sqlstate or "unknown"
            return ""

        assert copied(entries(hand, incident_id, "INVESTIGATION_STARTED")) == ""
        assert copied(entries(hand, incident_id, "CLOSED")) == OUT_OF_ORDER
        assert copied(entries(hand, incident_id, "NOTE_ADDED", "NOTE_ADDED")[::-1]) == OUT_OF_ORDER
        over = row_of(seal("incident_lifecycle", recorded(connection, "incident_lifecycle")))
        assert copied([over]) == UNIQUE
        merge = sql.SQL(
            "MERGE INTO incident_lifecycle t USING (SELECT 1) s ON false WHEN NOT MATCHED THEN INSERT ({}) VALUES ({})"
        )
        row = entries(hand, incident_id, "CLOSED")[0]
        names, places = map(sql.Identifier, row), map(sql.Placeholder, row)
        with refusal(connection, OUT_OF_ORDER):
            connection.execute(merge.format(sql.SQL(", ").join(names), sql.SQL(", ").join(places)), row)


# --- columns and canonical bytes -------------------------------------------------------------------------------


@pytest.mark.parametrize("table", RECORD)
@pytest.mark.parametrize("party", ["application", "owner of a replica"])
def test_every_column_says_what_the_canonical_bytes_say(lived: LivedDatabase, party: str, table: str) -> None:
    with nothing_changes(lived), PARTIES[party][0](lived) as connection:
        row = recorded(connection, table) | {"id": ids.new_id()}
        types = connection.execute(
            "SELECT attname, typname FROM pg_attribute a JOIN pg_type t ON t.oid = atttypid"
            " WHERE attrelid = %s::regclass AND attnum > 0 AND attgenerated = '' AND attname <> ALL (%s)",
            [table, list(BESIDE)],
        ).fetchall()
        assert {column["attname"] for column in types} == set(row)
        for column in types:
            name, type_name = column["attname"], column["typname"]
            said = seal(table, row).canonical
            lie = row_of(seal(table, row | {name: another(row[name], type_name)})) | {"canonical": said}
            assert insertion(connection, table, lie) == NOT_WHAT_THE_BYTES_SAY, name
            silence = row_of(seal(table, row))
            if row[name] is not None:
                silence["canonical"] = seal(table, {key: value for key, value in row.items() if key != name}).canonical
                assert insertion(connection, table, silence) == NOT_WHAT_THE_BYTES_SAY, name
        assert insertion(connection, table, row_of(seal(table, row))) != NOT_WHAT_THE_BYTES_SAY


def insertion(connection: Connection, table: str, parameters: Mapping[str, Any]) -> str:
    """Try to insert a row; return the SQLSTATE of the refusal."""
    try:
        with connection.transaction():
            insert(connection, table, parameters)
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except psycopg.Error as error:
        return error.sqlstate or "unknown"
    return ""


@pytest.mark.parametrize("table", RECORD)
def test_canonical_bytes_name_their_table_and_version_and_nothing_more(lived: LivedDatabase, table: str) -> None:
    with nothing_changes(lived), application(lived) as connection:
        row = recorded(connection, table) | {"id": ids.new_id()}
        sealed = seal(table, row)
        document = json.loads(sealed.canonical)
        for lie in (
            document | {"record": "users"},
            document | {"v": 2},
            document | {"approved": True},
            document | {"checksum": "\\x00"},
            document | {"canonical": "\\x00"},
            {name: value for name, value in document.items() if name != "v"},
            {name: value for name, value in document.items() if name != "record"},
        ):
            parameters = row_of(sealed) | {"canonical": json.dumps(lie).encode()}
            assert insertion(connection, table, parameters) == NOT_WHAT_THE_BYTES_SAY, lie
        for nonsense in (b"", b"{", b"[]", b"null", b"7", b"\xff", sealed.canonical[:-1], b'"\\u0000"'):
            parameters = row_of(sealed) | {"canonical": nonsense}
            assert insertion(connection, table, parameters).startswith(("22", "TC003")), nonsense
        huge = document | {"record": "x" * 262_144}
        parameters = row_of(sealed) | {"canonical": json.dumps(huge).encode()}
        assert insertion(connection, table, parameters) == NOT_WHAT_THE_BYTES_SAY


@pytest.mark.parametrize("table", DETAILS)
def test_a_time_that_nobody_could_read_again_is_refused(lived: LivedDatabase, table: str) -> None:
    with nothing_changes(lived), application(lived) as connection:
        row = recorded(connection, table) | {"id": ids.new_id()}
        column = next(name for name, value in row.items() if isinstance(value, datetime))
        for time in ("infinity", "-infinity", "0044-03-15 00:00:00+00 BC", "12000-01-01T00:00:00Z"):
            parameters = row_of(seal(table, row | {column: time}))
            assert insertion(connection, table, parameters) == CHECK, time
