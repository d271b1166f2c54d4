"""The owner of the schema, who is everything there but superuser: the schema is hardened, so it can only add, in order.

`ATTACKS` is every way past the triggers that we know of. Each is tried in a transaction of its own: what comes before
its last statement is preparation and must succeed, the last is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tests.store.attacks.attackers import (
    GUARDED,
    HARDENED,
    IMMUTABLE,
    NO_RIGHT,
    NOT_WHOLE,
    OUT_OF_ORDER,
    nothing_changes,
    owner,
    owner_of_a_replica,
    refusal,
    refused,
    unhardened_owner,
)
from tests.store.conftest import LivedDatabase
from tests.support.by_hand import ByHand, Connection, connected

pytestmark = pytest.mark.slow

ELSEWHERE = "CREATE SCHEMA elsewhere"
SWALLOW = (
    ELSEWHERE,
    "CREATE FUNCTION elsewhere.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
)
LIE = (
    ELSEWHERE,
    "CREATE FUNCTION elsewhere.lie() RETURNS boolean LANGUAGE plpgsql AS"
    " $$BEGIN IF set_config('lie.told', coalesce(current_setting('lie.told', true), '') || '.', true) = '.' THEN"
    " UPDATE tocsin.incidents SET title = 'nothing happened'; END IF; RETURN true; END$$",
)
HARMLESS = "LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"

ATTACKS: dict[str, tuple[str, ...]] = {
    # Triggers
    "switch a trigger off": ("ALTER TABLE incidents DISABLE TRIGGER a_no_change",),
    "switch all one's triggers off": ("ALTER TABLE incidents DISABLE TRIGGER USER",),
    "a trigger that sleeps on replicas": ("ALTER TABLE incidents ENABLE TRIGGER a_no_change",),
    "a trigger for replicas only": ("ALTER TABLE incidents ENABLE REPLICA TRIGGER a_no_row_change",),
    "drop a trigger": ("DROP TRIGGER c_step ON incident_lifecycle",),
    "drop a trigger and all that hangs on it": ("DROP TRIGGER b_canonical ON incidents CASCADE",),
    "rename a trigger": ("ALTER TRIGGER a_no_change ON incidents RENAME TO z_no_change",),
    "another trigger under its name": (
        "CREATE OR REPLACE TRIGGER a_no_change AFTER DELETE ON incidents EXECUTE FUNCTION refuse_change()",
    ),
    "a trigger under another condition": (
        "CREATE OR REPLACE TRIGGER a_no_row_change BEFORE UPDATE OR DELETE ON incidents FOR EACH ROW"
        " WHEN (false) EXECUTE FUNCTION refuse_change()",
    ),
    "a new trigger that swallows rows": (
        *SWALLOW,
        "CREATE TRIGGER a_first BEFORE INSERT ON incidents FOR EACH ROW EXECUTE FUNCTION elsewhere.swallow()",
    ),
    "a new trigger on what is derived": (
        *SWALLOW,
        "CREATE TRIGGER a_first BEFORE UPDATE ON incident_heads FOR EACH ROW EXECUTE FUNCTION elsewhere.swallow()",
    ),
    "a new trigger that swallows pages": (
        *SWALLOW,
        "CREATE TRIGGER a_first BEFORE INSERT ON notifications FOR EACH ROW EXECUTE FUNCTION elsewhere.swallow()",
    ),
    # Functions
    "replace a guard": (f"CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger {HARMLESS}",),
    "replace the guard of the order": (f"CREATE OR REPLACE FUNCTION take_step() RETURNS trigger {HARMLESS}",),
    "replace a question of a guard": (
        "CREATE OR REPLACE FUNCTION detail_is_there(entry incident_lifecycle) RETURNS boolean LANGUAGE sql STABLE"
        " AS 'SELECT true'",
    ),
    "take away its search path": ("ALTER FUNCTION check_canonical_incidents() RESET ALL",),
    "give it another search path": ("ALTER FUNCTION take_step() SET search_path = elsewhere, tocsin",),
    "take away its rights": ("ALTER FUNCTION take_step() SECURITY INVOKER",),
    "rename a guard": ("ALTER FUNCTION refuse_change() RENAME TO allow_change",),
    "move a guard": (ELSEWHERE, "ALTER FUNCTION refuse_change() SET SCHEMA elsewhere"),
    "drop a guard": ("DROP FUNCTION refuse_change() CASCADE",),
    "drop a question of a guard": ("DROP FUNCTION escalation_reason_of(incident_lifecycle)",),
    "a function that fits better than PostgreSQL's own": (
        "CREATE FUNCTION jsonb_populate_record(incidents, jsonb) RETURNS incidents LANGUAGE sql AS 'SELECT $1'",
    ),
    "an operator that fits better": (
        ELSEWHERE,
        "CREATE FUNCTION elsewhere.same(incidents, incidents) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "CREATE OPERATOR tocsin.= (LEFTARG = incidents, RIGHTARG = incidents, FUNCTION = elsewhere.same)",
    ),
    "a cast": (
        ELSEWHERE,
        "CREATE FUNCTION elsewhere.shown(incidents) RETURNS text LANGUAGE sql AS 'SELECT $1.title'",
        "CREATE CAST (incidents AS text) WITH FUNCTION elsewhere.shown(incidents) AS IMPLICIT",
    ),
    "a type": ("CREATE DOMAIN tocsin.uuid AS text",),
    "lend the right to move heads": ("GRANT EXECUTE ON FUNCTION move_head TO tocsin_app",),
    "lend a guard to everybody": ("GRANT EXECUTE ON FUNCTION take_step TO PUBLIC",),
    "an aggregate": ("CREATE AGGREGATE tocsin.sum(text) (SFUNC = textcat, STYPE = text)",),
    # Tables written anew
    "write a column anew": ("ALTER TABLE incident_root_causes ALTER root_cause_summary TYPE text USING 'an accident'",),
    "write entries anew": ("ALTER TABLE incident_lifecycle ALTER metadata TYPE jsonb USING '{}'::jsonb",),
    "write the access log anew": ("ALTER TABLE audit_access_log ALTER outcome TYPE text USING 'OK'",),
    "write reports anew": ("ALTER TABLE audit_logs ALTER title TYPE text USING 'nothing'",),
    "write heads anew": ("ALTER TABLE incident_heads ALTER no_ack_1hr_at TYPE timestamptz USING now()",),
    "another type": ("ALTER TABLE incident_root_causes ALTER root_cause_summary TYPE varchar(200)",),
    "a column that everybody sees": ("ALTER TABLE incidents ADD COLUMN approved float DEFAULT random()",),
    "not logged": ("ALTER TABLE delivery_attempts SET UNLOGGED",),
    "change rows while a constraint is checked": (
        *LIE,
        "ALTER TABLE incidents DISABLE TRIGGER USER, ADD CHECK (elsewhere.lie())",
    ),
    "change rows while another table is checked": (
        *LIE,
        "CREATE FUNCTION elsewhere.unguarded() RETURNS boolean LANGUAGE plpgsql AS $$BEGIN"
        " ALTER TABLE tocsin.incidents DISABLE TRIGGER USER; PERFORM elsewhere.lie();"
        " ALTER TABLE tocsin.incidents ENABLE ALWAYS TRIGGER a_no_change; RETURN true; END$$",
        "CREATE TABLE elsewhere.one AS SELECT 1",
        "ALTER TABLE elsewhere.one ADD CHECK (elsewhere.unguarded())",
    ),
    "off, change, on, in one breath": (
        "ALTER TABLE incidents DISABLE TRIGGER USER; UPDATE incidents SET title = 'nothing happened';"
        " ALTER TABLE incidents ENABLE ALWAYS TRIGGER a_no_change",
    ),
    "within a block that catches": (
        "DO $$BEGIN BEGIN ALTER TABLE incidents DISABLE TRIGGER USER; EXCEPTION WHEN OTHERS THEN NULL; END;"
        " ALTER TABLE incidents DISABLE TRIGGER USER; END$$",
    ),
    "at the commit": (
        ELSEWHERE,
        "CREATE FUNCTION elsewhere.later() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN ALTER TABLE tocsin.incidents DISABLE TRIGGER USER; RETURN NULL; END$$",
        "CREATE TABLE elsewhere.one (id int)",
        "CREATE CONSTRAINT TRIGGER later AFTER INSERT ON elsewhere.one DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION elsewhere.later()",
        "INSERT INTO elsewhere.one VALUES (1)",
        "SET CONSTRAINTS ALL IMMEDIATE",
    ),
    # Columns and constraints
    "drop a column": ("ALTER TABLE incidents DROP COLUMN description CASCADE",),
    "rename a column": ("ALTER TABLE incidents RENAME COLUMN title TO heading",),
    "a column may be empty": ("ALTER TABLE incidents ALTER severity DROP NOT NULL",),
    "a column with a default": ("ALTER TABLE incident_lifecycle ALTER actor_role SET DEFAULT 'system'",),
    "a checksum that is written": ("ALTER TABLE incidents ALTER checksum DROP EXPRESSION",),
    "drop a check": ("ALTER TABLE incidents DROP CONSTRAINT incidents_severity_check",),
    "drop a primary key": ("ALTER TABLE incidents DROP CONSTRAINT incidents_pkey CASCADE",),
    "drop a unique constraint": (
        "ALTER TABLE incident_lifecycle DROP CONSTRAINT incident_lifecycle_incident_id_sequence_key",
    ),
    "drop a reference": ("ALTER TABLE incident_lifecycle DROP CONSTRAINT incident_lifecycle_incident_id_fkey",),
    "rename a constraint": ("ALTER TABLE incidents RENAME CONSTRAINT incidents_pkey TO other",),
    "a check that forbids incidents": ("ALTER TABLE incidents ADD CHECK (severity = 'LOW') NOT VALID",),
    "a reference that deletes": (
        "ALTER TABLE incident_lifecycle ADD FOREIGN KEY (actor_user_id) REFERENCES users (id) ON DELETE CASCADE",
    ),
    "a reference that waits": (
        "ALTER TABLE incident_lifecycle ALTER CONSTRAINT incident_lifecycle_incident_id_fkey DEFERRABLE",
    ),
    "times that are no times": ("ALTER DOMAIN instant DROP CONSTRAINT instant_check",),
    "no time at all": ("DROP DOMAIN instant CASCADE",),
    "times that nobody has": ("ALTER DOMAIN instant ADD CHECK (value < '2000-01-01') NOT VALID",),
    # Indexes that forbid
    "drop a unique index": ("DROP INDEX incident_escalations_once",),
    "a unique index that forbids": ("CREATE UNIQUE INDEX forbid ON incidents (severity)",),
    "an index that computes": (*LIE, "CREATE INDEX compute ON incidents ((elsewhere.lie()))"),
    "rename a unique index": ("ALTER INDEX incident_lifecycle_detail RENAME TO other",),
    # Rules and row security
    "a rule that swallows": ("CREATE RULE swallow AS ON INSERT TO incidents DO INSTEAD NOTHING",),
    "a rule that does more": (
        "CREATE RULE more AS ON INSERT TO incidents DO ALSO UPDATE users SET incident_ack_count = 0",
    ),
    "rows that nobody sees": ("ALTER TABLE incidents ENABLE ROW LEVEL SECURITY",),
    "rows that not even the owner sees": ("ALTER TABLE incident_lifecycle FORCE ROW LEVEL SECURITY",),
    "a policy for later": ("CREATE POLICY hide ON incidents USING (severity <> 'CRITICAL')",),
    # Names and places
    "rename a table": ("ALTER TABLE incidents RENAME TO old_incidents",),
    "rename and swap": (
        ELSEWHERE,
        "CREATE TABLE elsewhere.incidents (LIKE incidents INCLUDING ALL)",
        "ALTER TABLE incidents RENAME TO old_incidents; ALTER TABLE elsewhere.incidents SET SCHEMA tocsin",
    ),
    "move a table": (ELSEWHERE, "ALTER TABLE incident_lifecycle SET SCHEMA elsewhere"),
    "move a table into the schema": (
        ELSEWHERE,
        "CREATE TABLE elsewhere.pg_attribute (id int)",
        "ALTER TABLE elsewhere.pg_attribute SET SCHEMA tocsin",
    ),
    "a table in the schema": ("CREATE TABLE tocsin.pg_attribute (attname name)",),
    "a copy in the schema": ("CREATE TABLE tocsin.copy AS SELECT * FROM incidents",),
    "a copy by SELECT INTO": ("SELECT * INTO tocsin.copy FROM incidents",),
    "a view in the schema": ("CREATE VIEW tocsin.pg_attribute AS SELECT 1 AS one",),
    "rename the schema": ("ALTER SCHEMA tocsin RENAME TO old",),
    "drop the schema": ("DROP SCHEMA tocsin CASCADE",),
    "drop a table": ("DROP TABLE incidents CASCADE",),
    "drop everything": ("DROP OWNED BY tocsin_owner CASCADE",),
    "a view that hides": (
        "CREATE OR REPLACE VIEW escalation_status AS SELECT e.id, e.incident_id, e.escalation_reason,"
        " e.escalated_to_user_id, e.escalated_by_user_id, e.escalation_notes, e.escalated_at,"
        " e.escalated_at AS acknowledged_at, e.escalated_to_user_id AS acknowledged_by_user_id, e.checksum"
        " FROM incident_escalations e",
    ),
    "drop a view": ("DROP VIEW overdue_incidents",),
    "a view with other rights": ("ALTER VIEW open_incidents SET (security_invoker = true)",),
    "other numbers": ("ALTER SEQUENCE incident_number INCREMENT BY -1 MINVALUE -100 NO CYCLE",),
    # Ghosts
    "a child": (ELSEWHERE, "CREATE TABLE elsewhere.ghost () INHERITS (incidents)"),
    "a child for this session": ("CREATE TEMP TABLE ghost () INHERITS (incidents)",),
    "a child that was there before": (
        ELSEWHERE,
        "CREATE TABLE elsewhere.ghost (LIKE incidents INCLUDING ALL)",
        "ALTER TABLE elsewhere.ghost INHERIT incidents",
    ),
    "a parent": (
        ELSEWHERE,
        "CREATE TABLE elsewhere.parent (id uuid NOT NULL)",
        "ALTER TABLE incidents INHERIT elsewhere.parent",
    ),
    "a partition of something": (
        ELSEWHERE,
        "CREATE TABLE elsewhere.whole (LIKE incidents INCLUDING GENERATED) PARTITION BY RANGE (created_at)",
        "ALTER TABLE elsewhere.whole ATTACH PARTITION incidents DEFAULT",
    ),
    "a table of a type": (
        ELSEWHERE,
        "CREATE TYPE elsewhere.kind AS (status text, current_severity text, change bigint)",
        "ALTER TABLE incident_tallies OF elsewhere.kind",
    ),
    # Rights
    "let the application change": ("GRANT UPDATE ON incidents TO tocsin_app",),
    "let the application change a column": ("GRANT UPDATE (title) ON incidents TO tocsin_app",),
    "let the application do everything": ("GRANT ALL ON ALL TABLES IN SCHEMA tocsin TO tocsin_app",),
    "let everybody read": ("GRANT SELECT ON audit_access_log TO PUBLIC",),
    "let the application lend": ("GRANT INSERT ON incidents TO tocsin_app WITH GRANT OPTION",),
    "let nobody report": ("REVOKE INSERT ON audit_logs FROM tocsin_app",),
    "let the application set numbers": ("GRANT UPDATE ON SEQUENCE incident_number TO tocsin_app",),
    "let the application make tables": ("GRANT CREATE ON SCHEMA tocsin TO tocsin_app",),
}

NOT_FOR_AN_OWNER: dict[str, tuple[str, ...]] = {
    "references switched off": ("ALTER TABLE incidents DISABLE TRIGGER ALL",),
    "a session of a replica": ("SET session_replication_role = replica",),
    "a table of somebody else": ("ALTER TABLE incidents OWNER TO tocsin_app",),
    "a guard of somebody else": ("ALTER FUNCTION refuse_change() OWNER TO tocsin_app",),
    "everything to somebody else": ("REASSIGN OWNED BY tocsin_owner TO tocsin_app",),
    "an event trigger switched off": ("ALTER EVENT TRIGGER tocsin_difference DISABLE",),
    "an event trigger dropped": ("DROP EVENT TRIGGER tocsin_rewrite",),
    "an event trigger renamed": ("ALTER EVENT TRIGGER tocsin_index RENAME TO other",),
    "another event trigger": (
        ELSEWHERE,
        "CREATE FUNCTION elsewhere.first() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "CREATE EVENT TRIGGER a_first ON ddl_command_end EXECUTE FUNCTION elsewhere.first()",
    ),
    "the hardening suspended": ("SELECT tocsin_guard.suspend()",),
    "the hardening renewed": ("SELECT tocsin_guard.resume()",),
    "the hardening's function replaced": (
        "CREATE OR REPLACE FUNCTION tocsin_guard.refuse_difference() RETURNS event_trigger LANGUAGE plpgsql"
        " AS 'BEGIN END'",
    ),
    "the hardening's schema dropped": ("DROP SCHEMA tocsin_guard CASCADE",),
    "another baseline": ("UPDATE tocsin_guard.baseline SET definition = ''",),
    "no baseline": ("TRUNCATE tocsin_guard.baseline",),
    "a setting of the application": ("ALTER ROLE tocsin_app SET session_replication_role = replica",),
    "itself a superuser": ("ALTER ROLE tocsin_owner SUPERUSER",),
    "the application its member": ("GRANT tocsin_owner TO tocsin_app",),
    "the catalogs": ("UPDATE pg_catalog.pg_trigger SET tgenabled = 'D'",),
}


@pytest.fixture(scope="module")
def seized(lived: LivedDatabase) -> Iterator[Connection]:
    """Be the owner for all attacks of this module; at the end nothing has changed, and the hardening is whole."""
    with nothing_changes(lived), owner(lived) as connection:
        yield connection
        with connected(lived.server, lived.name) as superuser:
            assert superuser.execute("SELECT * FROM tocsin_guard.differences()").fetchall() == []


def attacked(connection: Connection, statements: tuple[str, ...], *states: str) -> psycopg.Error:
    """Try an attack in a transaction that is taken back; return how its last statement was refused."""
    with connection.transaction(force_rollback=True):
        for statement in statements[:-1]:
            connection.execute(statement.encode())
        with pytest.raises(psycopg.Error) as caught, connection.transaction():
            connection.execute(statements[-1].encode())
    assert caught.value.sqlstate in states, caught.value
    return caught.value


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_owner_cannot_change_the_schema_of_the_record(seized: Connection, attack: str) -> None:
    error = attacked(seized, ATTACKS[attack], HARDENED)
    assert "tocsin_guard.suspend()" in (error.diag.message_hint or ""), "a refusal says what to do"


@pytest.mark.parametrize("table", [*GUARDED, "incident_heads", "audit_logs"])
def test_no_guarded_table_was_forgotten(seized: Connection, table: str) -> None:
    for attack in (
        "ALTER TABLE {} DISABLE TRIGGER USER",
        "ALTER TABLE {} ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE {} RENAME TO other",
        "CREATE RULE swallow AS ON INSERT TO {} DO INSTEAD NOTHING",
        "CREATE TEMP TABLE ghost () INHERITS ({})",
        "GRANT ALL ON {} TO tocsin_app",
        "ALTER TABLE {} SET UNLOGGED",
        "DROP TABLE {} CASCADE",
    ):
        # Before an event trigger is asked, PostgreSQL refuses to unlog a table to which logged ones refer.
        states = (HARDENED, "42P16") if "UNLOGGED" in attack else (HARDENED,)
        attacked(seized, (attack.format(table),), *states)


def test_concurrent_index_commands_are_refused_before_they_commit_half_of_it(seized: Connection) -> None:
    for attack in (
        "DROP INDEX CONCURRENTLY incident_escalations_once",
        "CREATE UNIQUE INDEX CONCURRENTLY forbid ON incidents (severity)",
    ):
        with pytest.raises(psycopg.Error) as caught:
            seized.execute(attack.encode())
        assert caught.value.sqlstate == HARDENED
    invalid = seized.execute("SELECT count(*) AS n FROM pg_index WHERE NOT indisvalid").fetchone()
    assert invalid == {"n": 0}


@pytest.mark.parametrize("attack", NOT_FOR_AN_OWNER)
def test_the_hardening_belongs_to_nobody_but_a_superuser(seized: Connection, attack: str) -> None:
    attacked(seized, NOT_FOR_AN_OWNER[attack], NO_RIGHT)


def test_a_setting_of_the_server_takes_a_superuser(seized: Connection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        seized.execute("ALTER SYSTEM SET session_replication_role = replica")


def test_event_triggers_cannot_be_switched_off_for_a_session(seized: Connection) -> None:
    if seized.info.server_version < 170_000:
        pytest.skip("the setting came with PostgreSQL 17")
    attacked(seized, ("SET event_triggers = off",), NO_RIGHT)


def test_an_extension_cannot_bring_functions_into_the_schema(seized: Connection) -> None:
    trusted = seized.execute(
        "SELECT name FROM pg_available_extension_versions WHERE trusted AND NOT installed AND requires IS NULL LIMIT 1"
    ).fetchone()
    if trusted is None:
        pytest.skip("this server has no trusted extension")
    attacked(seized, (f"CREATE EXTENSION {trusted['name']} SCHEMA tocsin",), HARDENED)


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE incident_heads SET status = 'CLOSED'",
        "UPDATE incident_heads SET current_severity = 'LOW'",
        "UPDATE incident_heads SET sequence = sequence + 1",
        "UPDATE incident_heads SET sequence = sequence - 1",
        "UPDATE incident_heads SET sequence = sequence",
        "UPDATE incident_heads SET acknowledged_at = created_at",
        "UPDATE incident_heads SET no_ack_1hr_at = created_at",
        "UPDATE incident_heads SET number = number + 1000",
        "UPDATE incident_heads SET checksum = '\\x00'",
        "DELETE FROM incident_heads",
        "DELETE FROM incident_heads WHERE false",
        "TRUNCATE incident_heads CASCADE",
        "WITH gone AS (DELETE FROM incident_heads RETURNING *) INSERT INTO incident_heads SELECT * FROM gone",
        "INSERT INTO incident_heads SELECT gen_random_uuid(), number + 1000, status, current_severity, sequence,"
        " checksum, created_at, last_event_at FROM incident_heads",
        "INSERT INTO incident_heads SELECT * FROM incident_heads"
        " ON CONFLICT (incident_id) DO UPDATE SET status = 'CLOSED'",
        "MERGE INTO incident_heads h USING incidents i ON h.incident_id = i.id WHEN MATCHED THEN DELETE",
    ],
)
def test_a_head_says_what_its_timeline_says_whoever_writes_it(seized: Connection, attack: str) -> None:
    # Before our trigger, the one of the reference to the incident is asked.
    attacked(seized, (attack,), IMMUTABLE, *(("23503",) if "gen_random_uuid" in attack else ()))


@pytest.mark.parametrize(
    "attack",
    [
        "DELETE FROM log_pending",
        "DELETE FROM log_pending WHERE id = (SELECT max(id) FROM log_pending)",
        "WITH gone AS (DELETE FROM log_pending RETURNING *) SELECT count(*) FROM gone",
        "UPDATE log_pending SET leaf_hash = sha256('x')",
        "UPDATE log_pending SET sequence = 99 WHERE false",
        "TRUNCATE log_pending",
        "INSERT INTO log_entries (index, leaf_hash, kind, leaf)"
        " VALUES (7, sha256('\\x00'::bytea || 'x'), 'log_key', 'x')",
        "UPDATE log_entries SET leaf_hash = sha256('x')",
        "DELETE FROM log_entries",
        "TRUNCATE log_entries",
        "DELETE FROM log_state",
        "UPDATE log_state SET size = 0",
        "UPDATE log_state SET size = size + 1",
        "INSERT INTO log_state VALUES (false, 0, 0)",
        "UPDATE log_tiles SET hashes = hashes WHERE false; DELETE FROM log_tiles",
        "DELETE FROM log_head_nodes",
        "TRUNCATE log_tiles, log_head_nodes",
        "DELETE FROM log_checkpoints",
        "UPDATE log_checkpoints SET note = ''",
        "INSERT INTO log_checkpoints VALUES (1, sha256('x'), 'x', now())",
        "INSERT INTO log_checkpoints VALUES (9999, sha256('x'), 'x', now())",
        "DELETE FROM log_cosignatures",
        "UPDATE log_timestamps SET token = 'x'",
    ],
)
def test_the_owner_cannot_make_the_log_say_something_else(seized: Connection, attack: str) -> None:
    attacked(seized, (attack,), IMMUTABLE, NOT_WHOLE)


def test_the_owner_of_a_replica_cannot_write_a_head_either(lived: LivedDatabase) -> None:
    with nothing_changes(lived), owner_of_a_replica(lived) as connection:
        refused(connection, "UPDATE incident_heads SET status = 'CLOSED'", IMMUTABLE)
        refused(connection, "DELETE FROM incident_heads", IMMUTABLE)
        refused(connection, "ALTER TABLE incidents DISABLE TRIGGER USER", HARDENED)
        refused(connection, "ALTER TABLE audit_logs ALTER title TYPE text USING 'x'", HARDENED)


def test_an_owner_takes_steps_in_their_order_like_everybody(seized: Connection, lived: LivedDatabase) -> None:
    hand = ByHand(seized, lived.lived.admin)
    assert hand.accepts(lived.lived["reported"], "ACKNOWLEDGED") == ""
    assert hand.accepts(lived.lived["reported"], "RESOLVED") == OUT_OF_ORDER


@pytest.mark.parametrize(
    "allowed",
    [
        "ANALYZE incidents",
        "COMMENT ON TABLE incidents IS 'the record'",
        "ALTER TABLE incidents SET (autovacuum_vacuum_scale_factor = 0.01)",
        "ALTER TABLE incidents ALTER title SET STATISTICS 1000",
        "REINDEX TABLE incidents",
        "CREATE SCHEMA elsewhere CREATE TABLE own (id uuid REFERENCES users)",
        "CREATE TEMP TABLE own AS SELECT * FROM incidents",
    ],
)
def test_what_guards_nothing_is_still_the_owner_s(seized: Connection, allowed: str) -> None:
    with seized.transaction(force_rollback=True):
        seized.execute(allowed.encode())


def test_a_superuser_s_slip_is_refused_too(lived: LivedDatabase) -> None:
    with nothing_changes(lived), connected(lived.server, lived.name) as superuser:
        for slip in (
            "ALTER TABLE incidents DISABLE TRIGGER ALL",
            "DROP SCHEMA tocsin CASCADE",
            "ALTER TABLE incidents OWNER TO CURRENT_USER",
            "GRANT ALL ON ALL TABLES IN SCHEMA tocsin TO tocsin_app",
        ):
            refused(superuser, slip, HARDENED)
        refused(superuser, "DROP TABLE tocsin_guard.baseline", "42P01")


def test_a_schema_given_away_stays_hardened_for_whoever_has_it(lived: LivedDatabase) -> None:
    """REASSIGN OWNED is the one command that fires no event trigger; it gives the schema away as it is, hardened."""
    with (
        nothing_changes(lived),
        connected(lived.server, lived.name) as superuser,
        superuser.transaction(force_rollback=True),
    ):
        superuser.execute("CREATE ROLE heir")
        superuser.execute("REASSIGN OWNED BY tocsin_owner TO heir")
        found = superuser.execute("SELECT count(*) AS n FROM tocsin_guard.differences()").fetchone()
        assert found is not None
        assert found["n"] > 50
        superuser.execute("SET LOCAL ROLE heir")
        refused(superuser, "ALTER TABLE tocsin.incidents DISABLE TRIGGER USER", HARDENED)
        refused(superuser, "ALTER TABLE tocsin.audit_logs ALTER title TYPE text USING ''", HARDENED)
        refused(superuser, "UPDATE tocsin.incidents SET title = 'nothing'", IMMUTABLE)
        refused(superuser, "COMMENT ON TABLE tocsin.incidents IS 'mine'", HARDENED)


def test_what_stands_in_front_of_the_schema_deceives_no_guard(seized: Connection, lived: LivedDatabase) -> None:
    with seized.transaction(force_rollback=True):
        seized.execute("CREATE SCHEMA elsewhere")
        seized.execute("CREATE VIEW elsewhere.incident_heads AS SELECT * FROM tocsin.incident_heads")
        seized.execute(
            "CREATE TABLE elsewhere.incident_resolution"
            " (LIKE incident_resolution INCLUDING GENERATED INCLUDING DEFAULTS)"
        )
        seized.execute(
            "CREATE TEMP TABLE incident_root_causes"
            " (LIKE tocsin.incident_root_causes INCLUDING GENERATED INCLUDING DEFAULTS)"
        )
        seized.execute("SET LOCAL search_path = pg_temp, elsewhere, tocsin")
        hand = ByHand(seized, lived.lived.admin)
        assert hand.accepts(lived.lived["reported"], "RESOLVED") == OUT_OF_ORDER
        refused(seized, "UPDATE elsewhere.incident_heads SET status = 'CLOSED'", IMMUTABLE)


# --- where no superuser ever hardened the schema, the triggers stand alone ----------------------------------------


@pytest.mark.parametrize("table", GUARDED)
def test_an_owner_cannot_delete_through_a_parent_with_a_cascade(lived: LivedDatabase, table: str) -> None:
    for action in ("ON DELETE CASCADE", "ON DELETE SET NULL", "ON UPDATE CASCADE"):
        with nothing_changes(lived), unhardened_owner(lived) as connection:
            connection.execute("CREATE TABLE trap (id uuid PRIMARY KEY)")
            connection.execute(sql.SQL("INSERT INTO trap SELECT id FROM {}").format(sql.Identifier(table)))
            reference = "ALTER TABLE {} ADD FOREIGN KEY (id) REFERENCES trap (id) " + action
            connection.execute(sql.SQL(reference).format(sql.Identifier(table)))
            # ADD FOREIGN KEY leaves trigger events behind that would forbid nothing here.
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            attack = "UPDATE trap SET id = gen_random_uuid()" if "UPDATE" in action else "DELETE FROM trap"
            refused(connection, attack, IMMUTABLE)
            refused(connection, "TRUNCATE trap CASCADE", IMMUTABLE)


@pytest.mark.parametrize("table", GUARDED)
def test_an_owner_cannot_change_rows_through_a_parent_table_or_a_view(lived: LivedDatabase, table: str) -> None:
    with nothing_changes(lived), unhardened_owner(lived) as connection:
        name = sql.Identifier(table)
        connection.execute(sql.SQL("CREATE TABLE ghost (LIKE {} INCLUDING GENERATED)").format(name))
        connection.execute(sql.SQL("ALTER TABLE {} INHERIT ghost").format(name))
        for attack in (
            "UPDATE ghost SET id = gen_random_uuid()",
            "DELETE FROM ghost",
            "TRUNCATE ghost CASCADE",
            "MERGE INTO ghost t USING ghost s ON t.id = s.id WHEN MATCHED THEN DELETE",
        ):
            refused(connection, attack, IMMUTABLE)
        connection.execute(
            sql.SQL("CREATE VIEW window AS SELECT * FROM {}").format(name).as_string().replace("window", "pane")
        )
        refused(connection, "UPDATE pane SET id = gen_random_uuid()", IMMUTABLE)
        refused(connection, "DELETE FROM pane", IMMUTABLE)


def test_the_owner_of_a_replica_takes_no_step_out_of_order_either(lived: LivedDatabase) -> None:
    with nothing_changes(lived), owner_of_a_replica(lived) as connection:
        hand = ByHand(connection, lived.lived.admin)
        assert hand.accepts(lived.lived["reported"], "RESOLVED") == OUT_OF_ORDER
        assert hand.accepts(lived.lived["reported"], "CLOSED") == OUT_OF_ORDER
        with refusal(connection, OUT_OF_ORDER, saying="no timeline entry names it"):
            hand.detail_row("incident_acknowledgments", lived.lived["reported"])
