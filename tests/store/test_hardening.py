"""The hardening: installed after the migrations, suspended by the next one, never put over what somebody changed."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tests.store.attacks.attackers import HARDENED, owner, refused
from tests.store.conftest import LivedDatabase, copied
from tests.support.by_hand import Connection, connected
from tests.support.clock import FakeClock
from tests.support.databases import TEMPLATE
from tests.support.lives import application
from tests.support.servers import SYSTEM_BINARIES, Server
from tocsin import ids
from tocsin.app.guards import GuardReport, examine_guards
from tocsin.errors import Code, TocsinError
from tocsin.store import guards
from tocsin.store.migrate import Migration, migrate, migrations
from tools import guards as guards_tool

pytestmark = pytest.mark.anyio

OFF = "ALTER TABLE incidents DISABLE TRIGGER a_no_change"
LATER = Migration(
    9998, "later", "CREATE TABLE later (id uuid PRIMARY KEY); ALTER TABLE incidents ADD COLUMN later text;"
)
NOT_HARDENED = "The schema is not hardened"


@pytest.fixture
def own(server: Server) -> Iterator[LivedDatabase]:
    """A migrated database of this test alone."""
    with copied(server, TEMPLATE) as name:
        yield LivedDatabase(server, name, None)  # type: ignore[arg-type]  # nobody lived there


@pytest.fixture
def superuser(own: LivedDatabase) -> Iterator[Connection]:
    """Its superuser."""
    with connected(own.server, own.name) as connection:
        yield connection


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version of Tocsin, with one migration more."""
    known = migrations()
    monkeypatch.setattr("tocsin.store.migrate.migrations", lambda: [*known, LATER])


async def report(own: LivedDatabase) -> GuardReport:
    """Return what the application says of its guards."""
    async with application(own.server, own.name, FakeClock()) as app, app.work() as work:
        return await examine_guards(work.tx)


def unhardened(superuser: Connection) -> None:
    """Leave the database as a sign-in without a superuser's rights would have made it."""
    superuser.execute("SELECT tocsin_guard.suspend()")
    for name in ("tocsin_difference", "tocsin_rewrite", "tocsin_index"):
        superuser.execute(sql.SQL("DROP EVENT TRIGGER {}").format(sql.Identifier(name)))
    superuser.execute("DROP SCHEMA tocsin_guard CASCADE")


def test_the_list_of_guards_is_what_the_migrations_make(own: LivedDatabase) -> None:
    made = guards_tool.made(own.server.conninfo(own.name))
    listed = guards_tool.FILE.read_text("utf-8")
    assert listed.splitlines() == made.splitlines(), "run `python -m tools.guards`, and read what it changes"


async def test_a_migrated_database_is_hardened_and_nothing_is_wrong_with_it(own: LivedDatabase) -> None:
    assert await report(own) == GuardReport(hardened=True)


async def test_migrating_again_leaves_a_whole_hardening_alone(own: LivedDatabase, superuser: Connection) -> None:
    query = "SELECT oid, xmin::text FROM pg_event_trigger ORDER BY evtname"
    before = superuser.execute(query).fetchall()
    assert await migrate(own.server.conninfo(own.name)) == []
    assert superuser.execute(query).fetchall() == before


async def test_a_later_migration_suspends_the_hardening_and_puts_it_back(
    own: LivedDatabase, superuser: Connection, later: None
) -> None:
    assert await migrate(own.server.conninfo(own.name)) == ["9998_later"]
    assert superuser.execute("SELECT * FROM tocsin_guard.differences()").fetchall() == []
    with owner(own) as connection:
        for attack in ("DROP TABLE later", "ALTER TABLE incidents DROP COLUMN later", OFF):
            refused(connection, attack, HARDENED)


async def test_a_later_migration_that_fails_leaves_the_hardening_whole(
    own: LivedDatabase, superuser: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = migrations()
    broken = Migration(9998, "broken", LATER.text + "SELECT 1 / 0")
    monkeypatch.setattr("tocsin.store.migrate.migrations", lambda: [*known, broken])
    with pytest.raises(psycopg.errors.DivisionByZero):
        await migrate(own.server.conninfo(own.name))
    with owner(own) as connection:
        refused(connection, OFF, HARDENED)
    assert superuser.execute("SELECT * FROM tocsin_guard.differences()").fetchall() == []


async def test_while_one_migrates_the_others_are_held_back(own: LivedDatabase, superuser: Connection) -> None:
    with superuser.transaction(force_rollback=True):
        superuser.execute("SELECT tocsin_guard.suspend()")
        superuser.execute("CREATE TABLE later (id int)")
        with owner(own) as connection:
            refused(connection, OFF, HARDENED)


@pytest.fixture
def migrator(own: LivedDatabase, superuser: Connection) -> Iterator[str]:
    """A sign-in that may migrate, and is no superuser."""
    name = f"migrator_{ids.new_id().hex}"
    role = sql.Identifier(name)
    superuser.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    superuser.execute(sql.SQL("GRANT tocsin_owner, tocsin_app TO {}").format(role))
    database = sql.Identifier(own.name)
    superuser.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, role))
    yield own.server.conninfo(own.name, user=name)
    superuser.execute(sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(database))
    superuser.execute(sql.SQL("DROP ROLE {}").format(role))


async def test_who_is_no_superuser_is_told_who_must_suspend_the_hardening(
    own: LivedDatabase, superuser: Connection, migrator: str, later: None
) -> None:
    with pytest.raises(TocsinError, match="hardened") as caught:
        await migrate(migrator)
    assert caught.value.refusal.code is Code.MISCONFIGURED
    assert "--print-hardening" in caught.value.refusal.hint
    superuser.execute("SELECT tocsin_guard.suspend()")
    assert await migrate(migrator) == ["9998_later"]
    superuser.execute(guards.hardening())
    with owner(own) as connection:
        refused(connection, "DROP TABLE later", HARDENED)


async def test_without_a_superuser_the_schema_is_made_and_not_hardened(
    own: LivedDatabase, superuser: Connection, migrator: str
) -> None:
    unhardened(superuser)
    assert await migrate(migrator) == []
    assert await report(own) == GuardReport(hardened=False)
    assert await migrate(own.server.conninfo(own.name)) == []
    assert await report(own) == GuardReport(hardened=True), "a superuser hardens what others made"


async def test_a_schema_that_somebody_changed_is_neither_migrated_nor_hardened(
    own: LivedDatabase, superuser: Connection, later: None
) -> None:
    superuser.execute("SET allow_system_table_mods = on")
    superuser.execute("UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname = 'c_step'")
    with pytest.raises(TocsinError, match="before that is understood") as caught:
        await migrate(own.server.conninfo(own.name))
    assert "tocsin_guard.differences()" in caught.value.refusal.hint


async def test_what_was_changed_before_the_hardening_is_not_hardened_as_if_it_were_right(
    own: LivedDatabase, superuser: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    unhardened(superuser)
    superuser.execute(OFF)
    with caplog.at_level(logging.ERROR):
        assert await migrate(own.server.conninfo(own.name)) == []
    assert NOT_HARDENED in caplog.text
    assert "trigger a_no_change on tocsin.incidents" in caplog.text
    found = await report(own)
    assert not found.hardened
    assert found.faults[0].startswith("trigger a_no_change on tocsin.incidents is not what the migrations made it")


async def test_a_database_made_from_a_dump_is_hardened_anew(own: LivedDatabase, superuser: Connection) -> None:
    """In a restored dump every object has another OID than the baseline says, and each command would be refused."""
    superuser.execute("UPDATE tocsin_guard.baseline SET object = object + 1")
    with owner(own) as connection:
        refused(connection, "COMMENT ON TABLE incidents IS 'x'", HARDENED)
        assert await migrate(own.server.conninfo(own.name)) == []
        connection.execute("COMMENT ON TABLE incidents IS 'x'")
        refused(connection, OFF, HARDENED)


def restore_a_dump(server: Server, dumped: str, restored: str) -> None:
    """Dump a database and restore it into another one."""
    dump = subprocess.run(
        [str(SYSTEM_BINARIES / "pg_dump"), "-d", server.conninfo(dumped)], check=True, capture_output=True
    )
    restore = [str(SYSTEM_BINARIES / "psql"), "-q", "-v", "ON_ERROR_STOP=1", "-d", server.conninfo(restored)]
    subprocess.run(restore, input=dump.stdout, check=True, capture_output=True)


async def test_a_dump_is_restored_with_its_guards(own: LivedDatabase, superuser: Connection) -> None:
    """A check is worded the same before and after: `a BETWEEN b AND c` within an AND would not be, so it is two."""
    if superuser.info.server_version >= 160_000:
        pytest.skip("the embedded server brings no pg_dump")
    with copied(own.server, "template0") as name:
        restore_a_dump(own.server, own.name, name)
        restored = LivedDatabase(own.server, name, own.lived)
        assert (await report(restored)).faults == ()
        assert await migrate(own.server.conninfo(name)) == []
        with owner(restored) as connection:
            refused(connection, OFF, HARDENED)
            connection.execute("COMMENT ON TABLE incidents IS 'x'")


async def test_a_trap_that_waits_for_the_superuser_is_not_walked_into(
    own: LivedDatabase, superuser: Connection
) -> None:
    unhardened(superuser)
    with owner(own) as connection:
        connection.execute("CREATE SCHEMA tocsin_guard")
        connection.execute(
            "CREATE TABLE tocsin_guard.baseline (kind text, object bigint, identity text, definition text)"
        )
    with pytest.raises(TocsinError, match="belongs to somebody else"):
        await migrate(own.server.conninfo(own.name))


async def test_a_suspended_hardening_is_named_and_the_next_migration_puts_it_back(
    own: LivedDatabase, superuser: Connection
) -> None:
    superuser.execute("SELECT tocsin_guard.suspend()")
    found = await report(own)
    assert found.hardened
    assert [fault.split(" is ")[0] for fault in found.faults] == [
        f"event trigger tocsin_{name}" for name in ("difference", "index", "rewrite")
    ]
    assert await migrate(own.server.conninfo(own.name)) == []
    assert await report(own) == GuardReport(hardened=True)


async def test_an_older_tocsin_does_not_judge_the_guards_of_a_newer_one(
    own: LivedDatabase, superuser: Connection
) -> None:
    superuser.execute("INSERT INTO schema_migrations (version, name, sha256) VALUES (9999, 'future', '')")
    superuser.execute("SELECT tocsin_guard.suspend()")
    assert await report(own) == GuardReport(hardened=True, comparable=False)


async def test_a_superuser_may_change_the_schema_and_harden_it_again(own: LivedDatabase, superuser: Connection) -> None:
    superuser.execute("SELECT tocsin_guard.suspend()")
    superuser.execute("CREATE INDEX mine ON incidents (title)")
    superuser.execute("GRANT SELECT ON incidents TO pg_monitor")
    superuser.execute("SELECT tocsin_guard.resume()")
    assert await report(own) == GuardReport(hardened=True), "neither is a guard"
    with owner(own) as connection:
        refused(connection, "DROP INDEX mine", HARDENED)
        refused(connection, "REVOKE SELECT ON incidents FROM pg_monitor", HARDENED)
