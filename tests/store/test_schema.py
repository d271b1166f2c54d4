"""The schema that is declared is the schema that is migrated: tables, views, guards, rights; and how it gets there."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.store.attacks.attackers import GUARDED, RECORD
from tests.store.conftest import copied
from tests.support.by_hand import Connection, connected
from tests.support.databases import TEMPLATE
from tests.support.servers import Server
from tocsin import ids
from tocsin.errors import Code, TocsinError
from tocsin.store.migrate import migrate, migrations, pending_migrations

pytestmark = pytest.mark.anyio

COLUMNS = {
    "audit_logs": "id severity incident_id",
    "incidents": "id incident_type severity description created_from_error_id created_at created_by_system checksum",
    "incident_lifecycle": "id incident_id event_type status_before status_after actor_user_id actor_role metadata"
    " event_at checksum",
    "incident_acknowledgments": "ack_by_user_id ack_at ack_notes severity_at_ack checksum",
    "incident_root_causes": "root_cause_summary root_cause_category identified_by_user_id identified_at"
    " remediation_steps verified_at checksum",
    "incident_escalations": "escalation_reason escalated_to_user_id escalated_at checksum",
    "incident_resolution": "resolved_by_user_id resolved_at resolution_summary resolution_notes impact_assessment"
    " lessons_learned follow_up_actions checksum",
    "users": "last_incident_ack_id incident_ack_count",
    "sessions": "blocked_due_to_incident",
    "audit_access_log": "user_id action target accessed_at client_address outcome",
    "current_incident_status": "id status severity",
    "open_incidents": "id status age",
    "overdue_incidents": "id status age",
    "escalation_status": "escalation_reason acknowledged_at",
}
"""What 1-mission.md requires by name."""

READ = {"SELECT"}
APPEND = {"INSERT", "SELECT"}
KEEP = {"INSERT", "SELECT", "UPDATE"}
ANYTHING = {"DELETE", "INSERT", "SELECT", "UPDATE"}
KEPT_BY_SEALER = ("log_pending", "log_entries", "log_state", "log_tiles", "log_head_nodes", "log_erased")
KEPT_BY_SIGNER = ("log_checkpoints", "log_cosignatures", "log_timestamps")
RIGHTS: dict[str, set[str]] = {
    **dict.fromkeys(GUARDED, APPEND),
    "audit_logs": APPEND,
    "incident_heads": READ,
    "schema_migrations": READ,
    "users": KEEP,
    "api_tokens": KEEP,
    "projects": KEEP,
    "project_keys": KEEP,
    "failures": KEEP,
    "incident_occurrences": KEEP,
    "heartbeat_check_ins": ANYTHING,
    "heartbeat_refusals": ANYTHING,
    "heartbeats": ANYTHING,
    "latest_reports": KEEP,
    "ledger_progress": KEEP,
    "intake_minutes": ANYTHING,
    "occurrence_changes": {"DELETE", "INSERT", "SELECT"},
    "intake_changes": {"DELETE", "INSERT", "SELECT"},
    "intake_ledger": READ,
    "notifications": KEEP,
    "sessions": ANYTHING,
    "jobs": ANYTHING,
    "workers": ANYTHING,
    "duties": ANYTHING,
    "contact_methods": ANYTHING,
    "incident_tallies": {"DELETE", "INSERT", "SELECT"},
    "idempotency_keys": {"DELETE", "INSERT", "SELECT"},
    "current_incident_status": READ,
    "open_incidents": READ,
    "overdue_incidents": READ,
    "further_steps": READ,
    "follow_up_list": READ,
    "escalation_status": READ,
    "incident_lessons": READ,
    **dict.fromkeys(KEPT_BY_SEALER, READ),
    **dict.fromkeys(KEPT_BY_SIGNER, APPEND),
    "log_signers": ANYTHING,
    "notification_rules": ANYTHING,
    "schedules": ANYTHING,
    "schedule_layers": ANYTHING,
    "schedule_members": ANYTHING,
    "schedule_overrides": ANYTHING,
    "calendar_feeds": KEEP,
    "policies": ANYTHING,
    "policy_steps": ANYTHING,
    "policy_targets": ANYTHING,
    "policy_routes": ANYTHING,
    "silences": KEEP,
    "paging_decisions": APPEND,
    "follow_ups": KEEP,
    "learning_weeks": ANYTHING,
    "learned_weeks": ANYTHING,
    "log_outside": ANYTHING,
    "watchdog": KEEP,
    "saved_views": ANYTHING,
    "refused_keys": ANYTHING,
    "second_factors": ANYTHING,
    "recovery_codes": {"SELECT", "INSERT", "DELETE"},
    "pending_sign_ins": ANYTHING,
    "provider_accounts": {"SELECT", "INSERT", "DELETE"},
}
COLUMN_RIGHTS = {
    ("audit_logs", "incident_id", "UPDATE"),
}


@pytest.fixture(scope="session")
def schema(server: Server) -> Iterator[Connection]:
    """A superuser's connection to a freshly migrated database, to look and not to touch."""
    with copied(server, TEMPLATE) as name, connected(server, name) as connection:
        yield connection


def rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    """Return rows as tuples."""
    return [tuple(row.values()) for row in connection.execute(query.encode())]


@pytest.mark.parametrize("relation", COLUMNS)
def test_everything_that_the_mission_names_is_there(schema: Connection, relation: str) -> None:
    found = {
        name
        for (name,) in rows(
            schema, f"SELECT attname::text FROM pg_attribute WHERE attrelid = '{relation}'::regclass AND attnum > 0"
        )
    }
    assert set(COLUMNS[relation].split()) <= found


def test_every_guard_fires_always(schema: Connection) -> None:
    found = set(
        rows(
            schema,
            "SELECT tgrelid::regclass::text, tgname::text, tgenabled::text FROM pg_trigger t"
            " JOIN pg_class c ON c.oid = t.tgrelid AND c.relnamespace = 'tocsin'::regnamespace WHERE NOT tgisinternal",
        )
    )
    expected = {(table, name, "A") for table in GUARDED for name in ("a_no_change", "a_no_row_change")}
    expected |= {(table, "b_canonical", "A") for table in RECORD}
    expected |= {(table, "c_step", "A") for table in RECORD if table != "incidents"}
    expected |= {(table, "d_entry_exists", "A") for table in RECORD if table != "incident_lifecycle"}
    links = ("b_link_once", "c_links", "c_links_changed")
    expected |= {("audit_logs", name, "A") for name in ("a_no_change", "a_no_row_change", *links)}
    expected |= {("incident_heads", name, "A") for name in ("a_no_change", "a_no_row_change", "c_follows")}
    expected |= {("incident_lifecycle", "d_log", "A")}
    expected |= {
        (table, name, "A")
        for table in (*KEPT_BY_SEALER, *KEPT_BY_SIGNER)
        for name in ("a_no_change", "a_no_row_change")
    }
    expected |= {("paging_decisions", name, "A") for name in ("a_no_change", "a_no_row_change")}
    expected |= {(table, "e_erase", "A") for table in ("incident_lifecycle", "log_pending")}
    expected |= {("log_pending", "c_sealed", "A"), ("log_entries", "c_gapless", "A"), ("log_tiles", "b_suffix", "A")}
    expected |= {("log_state", "b_grows", "A"), ("log_checkpoints", "b_true", "A"), ("log_erased", "c_named", "A")}
    assert found == expected


def test_the_application_has_exactly_these_rights(schema: Connection) -> None:
    granted: dict[str, set[str]] = {}
    for table, right in rows(
        schema,
        "SELECT c.relname::text, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a"
        " WHERE c.relnamespace = 'tocsin'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p', 'f')"
        " AND a.grantee = 'tocsin_app'::regrole",
    ):
        granted.setdefault(table, set()).add(right)
    assert granted == RIGHTS
    columns = rows(
        schema,
        "SELECT c.relname::text, attname::text, a.privilege_type FROM pg_class c"
        " JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a"
        " WHERE c.relnamespace = 'tocsin'::regnamespace",
    )
    assert set(columns) == COLUMN_RIGHTS


def test_nobody_else_has_any_right_and_the_application_calls_few_functions(schema: Connection) -> None:
    strangers = rows(
        schema,
        "SELECT c.relname::text, a.grantee FROM pg_class c, aclexplode(c.relacl) a"
        " WHERE c.relnamespace = 'tocsin'::regnamespace AND a.grantee NOT IN"
        " ('tocsin_app'::regrole, 'tocsin_owner'::regrole)",
    )
    assert strangers == []
    callable_by_application = rows(
        schema,
        "SELECT proname::text FROM pg_proc WHERE pronamespace = 'tocsin'::regnamespace"
        " AND has_function_privilege('tocsin_app', oid, 'EXECUTE') ORDER BY 1",
    )
    assert callable_by_application == [("await_leaf",), ("lock_head",), ("lock_log",), ("policy_of",), ("seal",)]
    owners = rows(
        schema, "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'tocsin'::regnamespace"
    )
    assert owners == [("tocsin_owner",)]


def test_functions_with_the_owner_s_rights_trust_no_search_path(schema: Connection) -> None:
    loose = rows(
        schema,
        "SELECT proname::text FROM pg_proc WHERE pronamespace = 'tocsin'::regnamespace AND prosecdef"
        " AND NOT coalesce(proconfig::text LIKE '%search_path=tocsin, pg_temp%', false)",
    )
    assert loose == []


def test_neither_role_may_sign_in_or_be_more_than_it_is(schema: Connection) -> None:
    found = dict(
        rows(
            schema,
            "SELECT rolname::text, rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication"
            " OR rolinherit FROM pg_roles WHERE rolname LIKE 'tocsin%'",
        )
    )
    assert found == {"tocsin_app": False, "tocsin_owner": False}
    signs_in = rows(schema, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'tocsin_owner'")
    assert signs_in == [(False,)]


def test_every_checksum_is_generated_from_the_canonical_bytes(schema: Connection) -> None:
    found = dict(
        rows(
            schema,
            "SELECT adrelid::regclass::text, pg_get_expr(adbin, adrelid) FROM pg_attrdef d"
            " JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attname = 'checksum'",
        )
    )
    expected = dict.fromkeys(RECORD, r"sha256(('\x00'::bytea || canonical))")
    assert found == expected | {"audit_logs": r"sha256(('\x00'::bytea || document))"}


# --- how it gets there -----------------------------------------------------------------------------------------


@pytest.fixture
def bare(server: Server) -> Iterator[str]:
    """An empty database."""
    with copied(server, "template0") as name:
        yield name


async def test_migrating_twice_changes_nothing(server: Server, bare: str) -> None:
    names = [f"{migration.version:04d}_{migration.name}" for migration in migrations()]
    assert await pending_migrations(server.conninfo(bare)) == names
    assert await migrate(server.conninfo(bare)) == names
    assert await migrate(server.conninfo(bare)) == []
    assert await pending_migrations(server.conninfo(bare)) == []
    assert await pending_migrations(server.conninfo(bare, user="tocsin_app")) == []


@pytest.mark.slow
async def test_several_migrations_at_once_wait_for_each_other(server: Server, bare: str) -> None:
    applied = await asyncio.gather(*(migrate(server.conninfo(bare)) for _ in range(4)))
    assert sorted(map(len, applied)) == [0, 0, 0, len(migrations())]


async def test_a_migration_that_fails_leaves_nothing_behind(
    server: Server, bare: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = migrations()[0]
    broken = type(first)(first.version, first.name, first.text + "\nSELECT 1 / 0;")
    monkeypatch.setattr("tocsin.store.migrate.migrations", lambda: [broken])
    with pytest.raises(psycopg.errors.DivisionByZero):
        await migrate(server.conninfo(bare))
    monkeypatch.undo()
    with connected(server, bare) as connection:
        tables = rows(
            connection,
            "SELECT relname::text FROM pg_class WHERE relnamespace = 'tocsin'::regnamespace AND relkind = 'r'",
        )
        assert tables == [("schema_migrations",)]
    assert await migrate(server.conninfo(bare))


async def test_a_newer_schema_is_not_migrated_but_old_processes_may_still_start(
    server: Server, database_name: str
) -> None:
    with connected(server, database_name) as connection:
        connection.execute("INSERT INTO schema_migrations (version, name, sha256) VALUES (9999, 'future', '')")
    with pytest.raises(TocsinError, match="9999") as caught:
        await migrate(server.conninfo(database_name))
    assert caught.value.refusal.code is Code.MISCONFIGURED
    assert "newer" in caught.value.refusal.hint
    assert await pending_migrations(server.conninfo(database_name)) == []


@pytest.mark.parametrize("ask", [migrate, pending_migrations])
async def test_an_edited_migration_is_refused(server: Server, database_name: str, ask: Any) -> None:
    with connected(server, database_name) as connection:
        connection.execute("UPDATE schema_migrations SET sha256 = %s", [hashlib.sha256(b"edited").hexdigest()])
    with pytest.raises(TocsinError, match="another text") as caught:
        await ask(server.conninfo(database_name))
    assert caught.value.refusal.code is Code.MISCONFIGURED


@pytest.fixture
def administrator(server: Server, bare: str) -> Iterator[str]:
    """A sign-in that owns the database and may use the two roles, which are there already, and nothing else."""
    name = f"administrator_{ids.new_id().hex}"
    role, database, superuser = sql.Identifier(name), sql.Identifier(bare), sql.Identifier(server.superuser)
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE").format(role))
        connection.execute(sql.SQL("GRANT tocsin_owner, tocsin_app TO {} WITH ADMIN OPTION").format(role))
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, role))
        yield name
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, superuser))
        connection.execute(sql.SQL("DROP ROLE {}").format(role))


async def test_whoever_owns_the_database_and_may_use_the_roles_can_migrate(
    server: Server, bare: str, administrator: str
) -> None:
    assert await migrate(server.conninfo(bare, user=administrator))
    assert await migrate(server.conninfo(bare, user=administrator)) == []


async def test_a_sign_in_that_may_not_is_told_what_it_needs(server: Server, bare: str) -> None:
    with pytest.raises(TocsinError, match="may not set up the schema") as caught:
        await migrate(server.conninfo(bare, user="tocsin_app"))
    assert "CREATEROLE" in caught.value.refusal.hint
