"""A superuser cannot be stopped, but is seen: in the record itself, in the log, by the signer's memory.

Guards that were taken away are named by whoever compares them with the list that comes with the package.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest

from tests.store.attacks import superuser as attacks
from tests.store.attacks.attackers import owner
from tests.store.attacks.superuser import Attack
from tests.store.conftest import LivedDatabase, copied
from tests.support.by_hand import Connection, connected
from tests.support.clock import FakeClock
from tests.support.lives import application, reported
from tocsin.app import export_evidence
from tocsin.app.export_evidence import make_bundle
from tocsin.app.guards import examine_guards
from tocsin.app.seal import seal_everything
from tocsin.app.sign import introduce_key, sign_log
from tocsin.app.verify import verify_database
from tocsin.app.verify_log import OutsideCheckpoint
from tocsin.app.verify_result import Verification
from tocsin.app.work import App
from tocsin.errors import TocsinError
from tocsin.evidence import EvidenceError
from tocsin.evidence.bundle import Bundle
from tocsin.evidence.policy import Policy
from tocsin.evidence.verify import verify
from tocsin.signing.signer import Signer, SignerRefusesError

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture(scope="module")
def logged(past: LivedDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LivedDatabase, Path]]:
    """A life that is wholly in the log and signed, and the signer's directory. Nobody connects to it: it is copied."""
    directory = tmp_path_factory.mktemp("signer") / "signer"
    signer = Signer(directory)
    signer.make("example.org/tocsin")

    async def seal_and_sign(name: str) -> None:
        async with application(past.server, name, FakeClock()) as app:
            await introduce_key(app, signer)
            await seal_everything(app)
            assert await sign_log(app, signer)

    with copied(past.server, past.name) as name:
        anyio.run(seal_and_sign, name)
        yield LivedDatabase(past.server, name, past.lived), directory


@pytest.fixture
def attacked(logged: tuple[LivedDatabase, Path]) -> Iterator[LivedDatabase]:
    """A copy of this test alone, with every guard in place."""
    database, _ = logged
    with copied(database.server, database.name) as name:
        yield LivedDatabase(database.server, name, database.lived)


@pytest.fixture
def signer(logged: tuple[LivedDatabase, Path], tmp_path: Path) -> Signer:
    """The signer as it was when it signed that life."""
    shutil.copytree(logged[1], tmp_path / "signer")
    return Signer(tmp_path / "signer")


@pytest.fixture
def superuser(attacked: LivedDatabase) -> Iterator[Connection]:
    """Somebody whom nothing stops."""
    with connected(attacked.server, attacked.name) as connection:
        yield connection


@asynccontextmanager
async def serving(database: LivedDatabase) -> AsyncIterator[App]:
    """The application, which knows nothing of the attack."""
    async with application(database.server, database.name, FakeClock()) as app:
        yield app


async def verified(database: LivedDatabase, signer: Signer | None = None) -> Verification:
    """Verify the whole database, as `tocsin verify --db` does, with the signer's memory at hand or without."""
    outside = []
    if signer is not None:
        memory = signer.memory()
        outside.append(OutsideCheckpoint("the signer's memory", memory.size, memory.root, memory.note))
    async with serving(database) as app, app.work(streaming=True) as work:
        return await verify_database(work, outside=outside)


def named(result: Verification, to_name: set[str]) -> bool:
    """Is any of this named by a finding?"""
    return any(str(found.row_id).split(", ")[0] in to_name for found in result.findings)


def name_of(attack: Attack) -> str:
    """Return an attack's name as the name of its test."""
    return attack.__name__


async def test_what_nobody_attacked_verifies(attacked: LivedDatabase, signer: Signer) -> None:
    result = await verified(attacked, signer)
    assert (result.findings, result.guards.faults, result.guards.hardened) == ([], (), True)
    async with serving(attacked) as app:
        await reported(app, "another one")
        await seal_everything(app)
        assert await sign_log(app, signer)


@pytest.mark.parametrize("attack", attacks.SHOWN_BY_THE_RECORD, ids=name_of)
async def test_the_record_shows_what_was_changed(
    attacked: LivedDatabase, superuser: Connection, attack: Attack
) -> None:
    to_name = attack(superuser, attacked.lived)
    result = await verified(attacked)
    assert named(result, to_name), result.findings
    assert result.guards.faults == (), "the tracks at the guards are covered: the record shows it nevertheless"


@pytest.mark.parametrize("attack", attacks.SHOWN_BY_THE_LOG, ids=name_of)
async def test_the_log_shows_what_was_changed(attacked: LivedDatabase, superuser: Connection, attack: Attack) -> None:
    to_name = attack(superuser, attacked.lived)
    result = await verified(attacked)
    assert named(result, to_name), result.findings


@pytest.mark.parametrize("attack", attacks.SHOWN_BY_THE_LOG, ids=name_of)
async def test_the_signer_signs_no_log_that_was_made_to_fit(
    attacked: LivedDatabase, superuser: Connection, signer: Signer, attack: Attack
) -> None:
    attack(superuser, attacked.lived)
    attacks.the_log_is_made_anew(superuser)
    async with serving(attacked) as app:
        await seal_everything(app)
        with pytest.raises(SignerRefusesError):
            await sign_log(app, signer)
    assert (await verified(attacked)).findings == [], "without a memory outside of the database nobody could tell"
    assert {found.row_id for found in (await verified(attacked, signer)).findings} == {"the signer's memory"}


def refuses(bundle: Bundle, signer: Signer) -> str:
    """Return why an outsider who trusts the log's key takes this bundle for no proof; "" if he takes it for one."""
    try:
        report = verify(bundle, Policy(logs=(signer.key().verifier,)))
    except EvidenceError as error:
        return str(error)
    return "" if report.proven and not any("complete" in missing for missing in report.missing) else str(report.missing)


async def convincing(database: LivedDatabase, signer: Signer) -> set[str]:
    """Return the stages at which there is an incident whose bundle, made now, is a whole proof."""
    stages = set()
    async with serving(database) as app:
        for stage, incident_id in database.lived.incidents.items():
            with suppress(TocsinError):  # an incident that is gone
                if refuses(await make_bundle(app, incident_id), signer) == "":
                    stages.add(stage)
    return stages


@pytest.mark.parametrize("attack", attacks.SPOILS_EVIDENCE, ids=name_of)
async def test_a_bundle_made_after_the_attack_convinces_nobody(
    attacked: LivedDatabase, superuser: Connection, signer: Signer, attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_evidence, "MOST_TRIES", 1)  # nobody seals here: what is missing stays so
    before = await convincing(attacked, signer)
    attack(superuser, attacked.lived)
    spoiled = before - await convincing(attacked, signer)
    assert spoiled, "what was attacked"
    assert spoiled <= {"closed", "resolved", "reported"}, "and nothing else"


LOG: dict[str, tuple[str, str]] = {
    "a leaf is another": ("UPDATE log_entries SET leaf_hash = sha256('x') WHERE index = 3", "INC-"),
    "a leaf is gone": ("DELETE FROM log_entries WHERE index = 3", "INC-"),
    "a tile says something else": (
        "UPDATE log_tiles SET hashes = overlay(hashes PLACING sha256('x') FROM 33)",
        "level 0, 0",
    ),
    "two entries change places": (
        "UPDATE log_entries e SET entry_id = o.entry_id, number = o.number, sequence = o.sequence,"
        " leaf_hash = o.leaf_hash FROM log_entries o WHERE e.index IN (2, 3) AND o.index = 5 - e.index",
        "size ",
    ),
    "a checkpoint of another root": ("UPDATE log_checkpoints SET root = sha256('x')", "size "),
    "a checkpoint that nobody signed": (
        "UPDATE log_checkpoints SET note = regexp_replace(note, '[A-Za-z]', 'x')",
        "size ",
    ),
    "a head that was never committed": ("UPDATE log_head_nodes SET hashes = sha256('x')::text::bytea", "the head tree"),
    "an entry that still waits": (
        "INSERT INTO log_pending (entry_id, incident_id, number, sequence, leaf_hash, waiting_since)"
        " SELECT entry_id, gen_random_uuid(), number, sequence, leaf_hash, now() FROM log_entries WHERE index = 3",
        "INC-",
    ),
}


@pytest.mark.parametrize("attack", LOG)
async def test_a_log_that_was_changed_shows_it_by_itself(
    attacked: LivedDatabase, superuser: Connection, attack: str
) -> None:
    statement, place = LOG[attack]
    with attacks.unguarded(superuser):
        superuser.execute("ALTER TABLE log_entries DROP CONSTRAINT log_entries_number_sequence_key")
        superuser.execute("ALTER TABLE log_head_nodes DROP CONSTRAINT log_head_nodes_hashes_check")
        superuser.execute(statement.encode())
    result = await verified(attacked)
    assert [found for found in result.findings if str(found.row_id).startswith(place)], result.findings


async def test_a_log_that_was_cut_short_is_found_by_the_signer_s_memory(
    attacked: LivedDatabase, superuser: Connection, signer: Signer
) -> None:
    attacks.the_log_forgets_its_last_leaves(superuser)
    result = await verified(attacked, signer)
    assert "the signer's memory" in [found.row_id for found in result.findings]
    assert [found for found in result.findings if str(found.row_id).startswith("INC-")], "each entry it forgot is named"
    async with serving(attacked) as app:
        with pytest.raises(SignerRefusesError, match="the last ones are gone"):
            await sign_log(app, signer)


async def test_the_signer_notices_a_restored_backup(
    logged: tuple[LivedDatabase, Path], attacked: LivedDatabase, signer: Signer
) -> None:
    async with serving(attacked) as app:
        await reported(app, "after the backup was made")
        await seal_everything(app)
        assert await sign_log(app, signer)
    database, _ = logged
    with copied(database.server, database.name) as name:
        restored = LivedDatabase(database.server, name, database.lived)
        async with serving(restored) as app:
            with pytest.raises(SignerRefusesError, match="the last ones are gone"):
                await sign_log(app, signer)
            (found,) = (await verified(restored, signer)).findings
            assert (found.row_id, "backup was restored" in found.problem) == ("the signer's memory", True)
            for another in ("another past", "and another"):
                await reported(app, another)
            await seal_everything(app)
            with pytest.raises(SignerRefusesError, match="does not begin with"):
                await sign_log(app, signer)


# --- the guards themselves ---------------------------------------------------------------------------------------

CATALOGS = "SET allow_system_table_mods = on"
SUSPENDED = "SELECT tocsin_guard.suspend()"
RESUMED = "SELECT tocsin_guard.resume()"
GUARDS: dict[str, tuple[tuple[str, ...], str]] = {
    "triggers off in the catalog": (
        (CATALOGS, "UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname = 'a_no_change'"),
        "trigger a_no_change on tocsin.incident_lifecycle is not what the migrations made it",
    ),
    "triggers asleep on replicas": (
        (CATALOGS, "UPDATE pg_trigger SET tgenabled = 'O' WHERE tgname = 'c_step'"),
        "trigger c_step on tocsin.incident_lifecycle is not what the migrations made it",
    ),
    "references off in the catalog": (
        (CATALOGS, "UPDATE pg_trigger SET tgenabled = 'D' WHERE tgisinternal"),
        "reference api_tokens_user_id_fkey on tocsin.api_tokens",
    ),
    "a trigger gone": (
        (SUSPENDED, "DROP TRIGGER d_log ON incident_lifecycle", RESUMED),
        "trigger d_log on tocsin.incident",
    ),
    "event triggers off": ((SUSPENDED,), "event trigger tocsin_difference is not what the migrations made it"),
    "event triggers off in the catalog": (
        (CATALOGS, "UPDATE pg_event_trigger SET evtenabled = 'D'"),
        "event trigger tocsin_rewrite is not what the migrations made it",
    ),
    "an event trigger gone": (("DROP EVENT TRIGGER tocsin_index",), "event trigger tocsin_index is missing"),
    "a guard that does nothing": (
        (
            SUSPENDED,
            "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql"
            " SET search_path = tocsin, pg_temp AS 'BEGIN RETURN NEW; END'",
            RESUMED,
        ),
        "function tocsin.refuse_change() is not what the migrations made it",
    ),
    "a guard that does nothing, in the catalog": (
        (CATALOGS, "UPDATE pg_proc SET prosrc = 'BEGIN RETURN NEW; END' WHERE proname = 'check_canonical_incidents'"),
        "function tocsin.check_canonical_incidents() is not what the migrations made it",
    ),
    "a hardening that does nothing": (
        (
            SUSPENDED,
            "CREATE OR REPLACE FUNCTION tocsin_guard.refuse_difference() RETURNS event_trigger LANGUAGE plpgsql"
            " SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'BEGIN END'",
            RESUMED,
        ),
        "function tocsin_guard.refuse_difference() is not what the migrations made it",
    ),
    "a state that looks well": (
        (
            SUSPENDED,
            "CREATE OR REPLACE FUNCTION tocsin_guard.differences() RETURNS TABLE (kind text, identity text, what text)"
            " LANGUAGE sql AS 'SELECT NULL, NULL, NULL WHERE false'",
            RESUMED,
        ),
        "function tocsin_guard.differences() is not what the migrations made it",
    ),
    "a check gone": (
        (SUSPENDED, "ALTER TABLE incidents DROP CONSTRAINT incidents_severity_check", RESUMED),
        "constraint incidents_severity_check on tocsin.incidents is missing",
    ),
    "a unique index gone": (
        (SUSPENDED, "DROP INDEX incident_escalations_once", RESUMED),
        "index incident_escalations_once on tocsin.incident_escalations is missing",
    ),
    "a rule": (
        (SUSPENDED, "CREATE RULE swallow AS ON INSERT TO incidents DO INSTEAD NOTHING", RESUMED),
        "rule swallow on tocsin.incidents was added",
    ),
    "row security": (
        (SUSPENDED, "ALTER TABLE incidents ENABLE ROW LEVEL SECURITY", RESUMED),
        "table tocsin.incidents is not what the migrations made it",
    ),
    "a view that hides": (
        (
            SUSPENDED,
            "DO $$BEGIN EXECUTE 'CREATE OR REPLACE VIEW open_incidents AS ' ||"
            " replace(pg_get_viewdef('open_incidents'::regclass), ' WHERE ', ' WHERE severity <> ''CRITICAL'' AND ');"
            " END$$",
        ),
        'definition "_RETURN" on tocsin.open_incidents is not what it was when the schema was hardened',
    ),
    "a right": (
        (SUSPENDED, "GRANT UPDATE ON incidents TO tocsin_app", RESUMED),
        "grant UPDATE on tocsin.incidents to tocsin_app was added",
    ),
    "a ghost": (
        (SUSPENDED, "CREATE TABLE public.ghost () INHERITS (incidents)", RESUMED),
        "inheritance public.ghost from tocsin.incidents was added",
    ),
    "an operator": (
        (
            SUSPENDED,
            "CREATE FUNCTION public.same(incidents, incidents) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
            "CREATE OPERATOR tocsin.= (LEFTARG = incidents, RIGHTARG = incidents, FUNCTION = public.same)",
            RESUMED,
        ),
        "operator tocsin.=(tocsin.incidents,tocsin.incidents) was added",
    ),
}


@pytest.mark.parametrize("attack", GUARDS)
async def test_a_guard_that_was_changed_is_named(attacked: LivedDatabase, superuser: Connection, attack: str) -> None:
    statements, expected = GUARDS[attack]
    with superuser.transaction():
        for statement in statements:
            superuser.execute(statement.encode())
    async with serving(attacked) as app, app.work() as work:
        faults = (await examine_guards(work.tx)).faults
    assert [fault for fault in faults if expected in fault], faults


SERVER_WIDE: dict[str, tuple[str, str, str]] = {
    "triggers asleep for everybody": (
        "ALTER DATABASE {} SET session_replication_role = replica",
        "ALTER DATABASE {} RESET session_replication_role",
        "setting session_replication_role=replica in",
    ),
    "triggers asleep for the application": (
        "ALTER ROLE tocsin_app IN DATABASE {} SET session_replication_role = replica",
        "ALTER ROLE tocsin_app IN DATABASE {} RESET session_replication_role",
        "for tocsin_app was added",
    ),
    "the application a member of the owner": (
        "GRANT tocsin_owner TO tocsin_app",
        "REVOKE tocsin_owner FROM tocsin_app",
        "membership tocsin_app in tocsin_owner was added",
    ),
    "the owner signs in": (
        "ALTER ROLE tocsin_owner LOGIN",
        "ALTER ROLE tocsin_owner NOLOGIN",
        "role tocsin_owner is not what the migrations made it: exists, LOGIN",
    ),
    "the application passes row security": (
        "ALTER ROLE tocsin_app BYPASSRLS",
        "ALTER ROLE tocsin_app NOBYPASSRLS",
        "role tocsin_app is not what the migrations made it: exists, BYPASSRLS",
    ),
}


@pytest.mark.parametrize("attack", SERVER_WIDE)
async def test_what_the_whole_server_was_told_is_named(
    attacked: LivedDatabase, superuser: Connection, attack: str
) -> None:
    done, undone, expected = SERVER_WIDE[attack]
    superuser.execute(done.format(attacked.name).encode())
    try:
        result = await verified(attacked)
    finally:
        superuser.execute(undone.format(attacked.name).encode())
    assert [fault for fault in result.guards.faults if expected in fault], result.guards.faults
    assert not result.intact


async def test_a_role_that_is_a_superuser_is_named(attacked: LivedDatabase, superuser: Connection) -> None:
    superuser.execute("ALTER ROLE tocsin_app SUPERUSER")
    try:
        result = await verified(attacked)
    finally:
        superuser.execute("ALTER ROLE tocsin_app NOSUPERUSER")
    assert any("role tocsin_app is not" in fault for fault in result.guards.faults)


async def test_triggers_hold_even_in_the_session_of_a_replica(attacked: LivedDatabase, superuser: Connection) -> None:
    superuser.execute("SET session_replication_role = replica")
    for attack in (
        "UPDATE incidents SET title = 'x'",
        "DELETE FROM incident_lifecycle",
        "TRUNCATE log_entries CASCADE",
    ):
        with pytest.raises(Exception, match="cannot be changed"):
            superuser.execute(attack.encode())
    with owner(attacked) as connection, pytest.raises(Exception, match="hardened"):
        connection.execute("DROP TABLE incidents CASCADE")
