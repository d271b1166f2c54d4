"""What a superuser does to the log or past it, however consistently, is named by the verification."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from tests.store.conftest import LivedDatabase
from tests.support.by_hand import Connection, connected
from tests.support.clock import FakeClock
from tests.support.lives import application, reported
from tocsin.app.log_keys import rotate_key, start_anew, view_log
from tocsin.app.seal import seal_everything
from tocsin.app.sign import introduce_key, sign_log
from tocsin.app.verify import verify_database
from tocsin.app.verify_log import OutsideCheckpoint
from tocsin.app.verify_result import Verification
from tocsin.app.work import App
from tocsin.signing.signer import Signer
from tocsin.tlog.note import VerifierKey

pytestmark = pytest.mark.anyio

LOG_TABLES = ("log_pending", "log_entries", "log_state", "log_tiles", "log_head_nodes", "log_checkpoints")


@pytest.fixture
async def app(own_copy: LivedDatabase) -> AsyncIterator[App]:
    """The application on a copy of a database that has lived, from which every guard was taken."""
    with connected(own_copy.server, own_copy.name) as superuser:
        for table in LOG_TABLES:
            superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL".encode())
        for trigger in ("c_step", "d_log"):
            superuser.execute(f"ALTER TABLE incident_lifecycle ENABLE TRIGGER {trigger}".encode())
    async with application(own_copy.server, own_copy.name, FakeClock()) as wired:
        yield wired


@pytest.fixture
async def signer(app: App, tmp_path: Path) -> Signer:
    """The signer of the log, which has signed it twice."""
    made = Signer(tmp_path / "signer")
    made.make("example.org/tocsin")
    await introduce_key(app, made)
    for failure in ("first", "second"):
        await seal_everything(app)
        await sign_log(app, made)
        await reported(app, failure)
    return made


@pytest.fixture
def superuser(own_copy: LivedDatabase) -> Iterator[Connection]:
    """A superuser, whom nothing stops."""
    with connected(own_copy.server, own_copy.name) as connection:
        yield connection


async def verified(app: App, *outside: OutsideCheckpoint, known: Sequence[VerifierKey] = ()) -> Verification:
    """Verify everything."""
    async with app.work(streaming=True) as work:
        return await verify_database(work, outside=outside, known=known)


def memory(signer: Signer) -> OutsideCheckpoint:
    """Return what the signer remembers."""
    known = signer.memory()
    return OutsideCheckpoint("the signer's memory", known.size, known.root, known.note)


def said(result: Verification) -> str:
    """Return every finding as text."""
    return "\n".join(f"{found.table} {found.row_id}: {found.problem}" for found in result.findings)


async def test_a_signed_log_verifies_and_so_does_what_waits(app: App, signer: Signer) -> None:
    result = await verified(app, memory(signer))
    assert said(result) == ""
    assert (result.checkpoints, result.waiting) == (2, 1)
    assert result.signed_size == result.leaves == signer.memory().size
    assert result.outside == [f"the signer's memory, of {result.leaves} leaves"]


LAST = "(SELECT max(index) FROM log_entries WHERE kind IS NULL)"
ATTACKS = {
    "an entry's row is gone": (
        f"DELETE FROM incident_lifecycle WHERE id = (SELECT entry_id FROM log_entries WHERE index = {LAST})",
        "it is in the log, and its row is gone",
    ),
    "an entry is slipped past the log": (
        "DELETE FROM log_pending",
        "it is neither in the log, nor does it wait for it",
    ),
    "a leaf is exchanged": (
        f"UPDATE log_entries SET leaf_hash = sha256('x') WHERE index = {LAST}",
        "another checksum",
    ),
    "a leaf is exchanged, with its tile": (
        "UPDATE log_entries SET leaf_hash = sha256('x') WHERE index = 3;"
        "UPDATE log_tiles SET hashes = overlay(hashes PLACING sha256('x') FROM 97 FOR 32) WHERE level = 0",
        "the log was rewritten since",
    ),
    "a leaf is taken from the middle": ("DELETE FROM log_entries WHERE index = 5", "the log has a gap"),
    "two leaves change places": (
        "UPDATE log_entries SET index = -1 WHERE index = 1; UPDATE log_entries SET index = 1 WHERE index = 2;"
        "UPDATE log_entries SET index = 2 WHERE index = -1",
        "the log was rewritten since",
    ),
    "a tile is edited": ("UPDATE log_tiles SET hashes = sha256('x') || hashes", "not made of the leaves"),
    "a node of the heads is edited": (
        "UPDATE log_head_nodes SET hashes = overlay(hashes PLACING sha256('x') FROM 33 FOR 32) WHERE level = 0",
        "its nodes are not those of the newest entries",
    ),
    "a checkpoint says another root": (
        "UPDATE log_checkpoints SET root = sha256('x')",
        "the log was rewritten since",
    ),
    "a signature is false": (
        "UPDATE log_checkpoints SET note = replace(note, E'tocsin\\n', E'other\\n')",
        "the signature by 'example.org/tocsin' is false",
    ),
    "a checkpoint is signed by a stranger": (
        "UPDATE log_checkpoints SET note = replace(note, E'\u2014 example.org/tocsin', E'\u2014 example.org/stranger')",
        "it is signed by no key that the log names",
    ),
    "the size is wrong": ("UPDATE log_state SET size = size + 1", "it says"),
    "a key's leaf is edited": (
        "UPDATE log_entries SET leaf = convert_to(replace(convert_from(leaf, 'UTF8'), 'first', 'third'), 'UTF8')"
        " WHERE kind = 'log_key'",
        "its bytes are not those that were hashed",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_what_was_done_to_the_log_is_named(app: App, signer: Signer, superuser: Connection, attack: str) -> None:
    statements, problem = ATTACKS[attack]
    checks = (
        "SELECT conrelid::regclass::text AS on_table, conname FROM pg_constraint WHERE contype = 'c' AND conrelid = ANY"
    )
    for check in superuser.execute(checks.encode() + b" (%s::regclass[])", [list(LOG_TABLES)]).fetchall():
        superuser.execute(f"ALTER TABLE {check['on_table']} DROP CONSTRAINT {check['conname']}".encode())
    for statement in statements.split(";"):
        superuser.execute(statement.encode())
    assert problem in said(await verified(app, memory(signer)))


DETAILS = ("acknowledgments", "root_causes", "escalations", "resolution", "closures")


def remove_incident(superuser: Connection) -> int:
    """Remove a whole incident from every table of the record; return its number."""
    row = superuser.execute("SELECT number, id FROM incidents ORDER BY number DESC LIMIT 1 OFFSET 1").fetchone()
    assert row is not None
    superuser.execute("SET session_replication_role = replica")
    for table in (*(f"incident_{detail}" for detail in DETAILS), "incident_lifecycle", "incident_heads"):
        superuser.execute(f"DELETE FROM {table} WHERE incident_id = %s".encode(), [row["id"]])
    superuser.execute("UPDATE failures SET incident_id = NULL WHERE incident_id = %s", [row["id"]])
    superuser.execute("DELETE FROM incidents WHERE id = %s", [row["id"]])
    return int(row["number"])


async def test_a_removed_incident_is_named_by_its_number(app: App, signer: Signer, superuser: Connection) -> None:
    await seal_everything(app)
    number = remove_incident(superuser)
    assert f"INC-{number} entry 1" in said(await verified(app))
    assert "its row is gone" in said(await verified(app))


async def cut_back(app: App, superuser: Connection, size: int) -> None:
    """Make the log what it was at a size, as a restored backup is: consistent in itself."""
    superuser.execute("SET session_replication_role = replica")
    superuser.execute("DELETE FROM log_pending")
    superuser.execute(
        "DELETE FROM incident_lifecycle e WHERE NOT EXISTS"
        " (SELECT FROM log_entries l WHERE l.entry_id = e.id AND l.index < %s)",
        [size],
    )
    superuser.execute(
        "DELETE FROM incident_heads h WHERE NOT EXISTS (SELECT FROM incident_lifecycle e"
        " WHERE e.incident_id = h.incident_id)"
    )
    superuser.execute(
        "DELETE FROM incidents i WHERE NOT EXISTS (SELECT FROM incident_heads h WHERE h.incident_id = i.id)"
    )
    superuser.execute("DELETE FROM log_entries WHERE index >= %s", [size])
    superuser.execute("DELETE FROM log_checkpoints WHERE size > %s", [size])
    superuser.execute("UPDATE log_tiles SET hashes = substr(hashes, 1, 32 * %s)", [size])
    superuser.execute("UPDATE log_state SET size = %s, incidents = (SELECT count(*) FROM incidents)", [size])
    superuser.execute("RESET session_replication_role")


async def test_a_restored_backup_is_named_by_what_knows_more_of_the_log(
    app: App, signer: Signer, superuser: Connection, tmp_path: Path
) -> None:
    """Within the database everything fits; only who was outside of it can tell."""
    async with app.work() as work:
        copy = OutsideCheckpoint.of_note("checkpoint.txt", (await view_log(work)).checkpoint or "")
    sizes = [row["size"] for row in superuser.execute("SELECT size FROM log_checkpoints ORDER BY size").fetchall()]
    await cut_back(app, superuser, sizes[0])
    alone = said(await verified(app))
    assert "the last ones were removed" not in alone
    for outside in (copy, memory(signer)):
        found = said(await verified(app, outside))
        assert f"the log has {sizes[0]} leaves, and {outside.source} knows of {sizes[1]}" in found


async def test_a_history_rewritten_under_a_key_of_the_attacker_is_named(
    app: App, signer: Signer, superuser: Connection, tmp_path: Path
) -> None:
    """Everything in the database is made anew, checkpoints and key included; the old checkpoint does not fit."""
    superuser.execute("SET session_replication_role = replica")
    for table in ("log_entries", "log_tiles", "log_head_nodes", "log_checkpoints", "log_pending"):
        superuser.execute(f"DELETE FROM {table}".encode())
    superuser.execute("UPDATE log_state SET size = 0, incidents = 0")
    superuser.execute("RESET session_replication_role")
    thief = Signer(tmp_path / "thief")
    thief.make("example.org/tocsin")
    await introduce_key(app, thief)
    superuser.execute(
        "INSERT INTO log_pending (entry_id, incident_id, number, sequence, leaf_hash, waiting_since)"
        " SELECT e.id, i.id, i.number, e.sequence, e.checksum, e.event_at FROM incident_lifecycle e"
        " JOIN incidents i ON i.id = e.incident_id ORDER BY e.event_at, e.sequence"
    )
    await seal_everything(app)
    await sign_log(app, thief)
    alone = await verified(app, known=[signer.key().verifier])
    assert said(alone) == "", "the database by itself holds together"
    assert (alone.checkpoints, alone.known_key_size) == (1, 0), "nobody whom we know has signed it"
    found = said(await verified(app, memory(signer)))
    assert "the log was rewritten since" in found
    assert "it is signed by no key that the log names" in found


async def test_a_key_that_was_kept_elsewhere_has_signed_the_log(app: App, signer: Signer) -> None:
    assert (await verified(app)).known_key_size == 0
    result = await verified(app, known=[signer.key().verifier])
    assert result.known_key_size == result.signed_size > 0


async def test_both_keys_sign_during_the_overlap_and_everything_verifies(
    app: App, signer: Signer, superuser: Connection
) -> None:
    rotated = await rotate_key(app, signer, timedelta(days=30), "yearly")
    await seal_everything(app)
    signed = await sign_log(app, signer)
    assert signed is not None
    assert signed.note.count("\u2014 example.org/tocsin") == 2
    assert signer.key().vkey == rotated.new != rotated.old
    async with app.work() as work:
        assert (await view_log(work)).keys == [rotated.old, rotated.new]
    assert said(await verified(app, memory(signer))) == ""


async def test_after_a_restored_backup_a_new_key_goes_on_and_the_old_memory_still_tells(
    app: App, signer: Signer, superuser: Connection
) -> None:
    before = memory(signer)
    rotated = await start_anew(app, signer, "disk lost, backup restored")
    assert rotated.remembered is not None
    assert rotated.remembered.exists()
    await seal_everything(app)
    signed = await sign_log(app, signer)
    assert signed is not None
    assert signed.note.count("\u2014 example.org/tocsin") == 1
    assert said(await verified(app, memory(signer), before)) == ""
