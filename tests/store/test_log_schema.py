"""The log's own guards: nobody but seal() writes to it, it has no gap, and what is there never changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.store.attacks.attackers import PARTIES, nothing_changes, owner, refused
from tests.store.conftest import LivedDatabase, copied
from tests.support.by_hand import ByHand, connected
from tests.support.clock import FakeClock
from tests.support.lives import application
from tests.support.logs import whole_log
from tests.support.servers import Server
from tocsin.app.seal import seal_everything
from tocsin.app.sign import introduce_key, sign_log
from tocsin.signing.signer import Signer
from tocsin.store.migrate import migrate, migrations
from tocsin.tlog.merkle import root_of

NO_RIGHT, IMMUTABLE, NOT_WHOLE = "42501", "TC001", "TC005"
HEADS = '\'{"record":"log_heads"}\''
NO_NODES = "'{}'::smallint[], '{}'::bigint[], '{}'::bytea[]"


@pytest.fixture(scope="module")
def logged(past: LivedDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivedDatabase]:
    """A copy that has lived, sealed and signed, with one entry that waits."""
    directory: Path = tmp_path_factory.mktemp("signing")
    signer = Signer(directory / "signer")
    signer.make("example.org/tocsin")

    async def fill(name: str) -> None:
        async with application(past.server, name, FakeClock()) as app:
            await introduce_key(app, signer)
            await seal_everything(app)
            await sign_log(app, signer)

    with copied(past.server, past.name) as name:
        asyncio.run(fill(name))
        with connected(past.server, name) as superuser:
            ByHand(superuser, past.lived.admin).entry(past.lived["reported"], "NOTE_ADDED", metadata={"notes": "x"})
        yield LivedDatabase(past.server, name, past.lived)


CHANGES = [
    *(f"UPDATE {table} SET {column} = {column}" for table, column in (
        ("log_entries", "leaf_hash"), ("log_checkpoints", "note"), ("log_cosignatures", "line"),
        ("log_timestamps", "token"), ("log_pending", "leaf_hash"))),
    *(f"DELETE FROM {table}" for table in (
        "log_entries", "log_checkpoints", "log_cosignatures", "log_timestamps", "log_tiles", "log_head_nodes",
        "log_state")),
    *(f"TRUNCATE {table} CASCADE" for table in (
        "log_entries", "log_checkpoints", "log_cosignatures", "log_timestamps", "log_tiles", "log_head_nodes",
        "log_state", "log_pending")),
]  # fmt: skip


@pytest.mark.parametrize("party", PARTIES)
def test_nothing_in_the_log_changes(logged: LivedDatabase, party: str) -> None:
    sign_in, state = PARTIES[party]
    with nothing_changes(logged), sign_in(logged) as connection:
        for statement in CHANGES:
            refused(connection, statement, state)


NOT_THE_SEALER = {
    "a pending entry is dropped": "DELETE FROM log_pending",
    "a leaf after a gap": "INSERT INTO log_entries (index, leaf_hash, kind, leaf) SELECT max(index) + 2,"
    " sha256('\\x0078'), 'log_key', 'x' FROM log_entries",
    "a tile that forgets": "UPDATE log_tiles SET hashes = substr(hashes, 33) WHERE level = 0",
    "a tile that is edited": "UPDATE log_tiles SET hashes = sha256('x') || hashes WHERE level = 0",
    "a smaller log": "UPDATE log_state SET size = size - 1",
    "a larger log without leaves": "UPDATE log_state SET size = size + 1",
    "a checkpoint of another tree": "INSERT INTO log_checkpoints SELECT size - 1, sha256('x'), note, signed_at"
    " FROM log_checkpoints",
    "a checkpoint of leaves to come": "INSERT INTO log_checkpoints SELECT size + 9, root, note, signed_at"
    " FROM log_checkpoints",
    "a note that says something else": "INSERT INTO log_checkpoints"
    " SELECT size - 1, log_root(size - 1), note, signed_at FROM log_checkpoints",
}


@pytest.mark.parametrize("attack", NOT_THE_SEALER)
def test_the_owner_cannot_bend_the_log(logged: LivedDatabase, attack: str) -> None:
    with nothing_changes(logged), owner(logged) as connection:
        refused(connection, NOT_THE_SEALER[attack], NOT_WHOLE)


NOT_GRANTED = (
    "INSERT INTO log_pending (kind, leaf, leaf_hash, waiting_since) VALUES ('log_key', 'x', sha256('\\x0078'), now())",
    "INSERT INTO log_entries (index, leaf_hash, kind, leaf) VALUES (99, sha256('\\x0078'), 'log_key', 'x')",
    "INSERT INTO log_tiles VALUES (0, 1, sha256('x'))",
    "INSERT INTO log_head_nodes SELECT 0, 99, hashes FROM log_head_nodes LIMIT 1",
    "UPDATE log_state SET size = size",
    "SELECT * FROM log_state FOR UPDATE",
    "SELECT grow_tiles(0, 1)",
    "SELECT await_log()",
)
SEALS_WRONGLY = {
    "another size": f"SELECT seal(size - 1, ARRAY[1], {HEADS}, incidents, {NO_NODES}) FROM log_state",
    "what does not wait": f"SELECT seal(size, ARRAY[-1], {HEADS}, incidents, {NO_NODES}) FROM log_state",
    "no heads": f"SELECT seal(size, ARRAY(SELECT id FROM log_pending), '{{}}', incidents, {NO_NODES}) FROM log_state",
    "fewer incidents": f"SELECT seal(size, ARRAY(SELECT id FROM log_pending), {HEADS}, 0, {NO_NODES}) FROM log_state",
    "a leaf of another kind": "SELECT await_leaf('log_key', '{\"record\":\"log_heads\"}', now())",
    "a key's leaf that names no key": "SELECT await_leaf('log_key', '{\"record\":\"log_key\",\"v\":1}', now())",
    "a key's leaf of no version": "SELECT await_leaf('log_key',"
    " '{\"record\":\"log_key\",\"new\":\"a\",\"old\":null,\"reason\":\"b\"}', now())",
    "a key's leaf with a number": "SELECT await_leaf('log_key',"
    " '{\"record\":\"log_key\",\"v\":1,\"new\":\"a\",\"old\":1,\"reason\":\"b\"}', now())",
    "a key's leaf that says more": "SELECT await_leaf('log_key',"
    " '{\"record\":\"log_key\",\"v\":1,\"new\":\"a\",\"old\":null,\"reason\":\"b\",\"x\":[]}', now())",
}  # fmt: skip


def test_the_application_may_seal_and_no_more(logged: LivedDatabase) -> None:
    with nothing_changes(logged), connected(logged.server, logged.name, user="tocsin_app") as connection:
        for statement in NOT_GRANTED:
            refused(connection, statement, NO_RIGHT)
        for statement in SEALS_WRONGLY.values():
            refused(connection, statement, NOT_WHOLE)


def test_an_entry_waits_for_the_log_from_its_own_transaction_on(logged: LivedDatabase) -> None:
    with connected(logged.server, logged.name) as connection, connection.transaction(force_rollback=True):
        hand = ByHand(connection, logged.lived.admin)
        before = connection.execute("SELECT count(*) AS n FROM log_pending").fetchone()
        sealed = hand.entry(logged.lived["reported"], "NOTE_ADDED", metadata={"notes": "y"})
        waiting = connection.execute("SELECT leaf_hash FROM log_pending ORDER BY id").fetchall()
        assert before is not None
        assert len(waiting) == before["n"] + 1
        assert waiting[-1]["leaf_hash"] == sealed.checksum


def test_the_database_computes_the_same_roots(logged: LivedDatabase) -> None:
    with psycopg.connect(logged.server.conninfo(logged.name), autocommit=True) as connection:
        leaves = whole_log(connection).leaves
        connection.execute("SET search_path = tocsin")
        roots = connection.execute("SELECT log_root(n) FROM generate_series(0, %s) n ORDER BY n", [len(leaves)])
        assert [root for (root,) in roots] == [root_of(leaves[:size]) for size in range(len(leaves) + 1)]


@pytest.mark.slow
def test_what_was_recorded_before_there_was_a_log_waits_in_order(
    server: Server, past: LivedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The migration of an existing installation: its schema as of before, its rows, then the log."""
    everything = migrations()
    with copied(server, "template0") as name:
        conninfo = server.conninfo(name)
        with monkeypatch.context() as patched:
            patched.setattr("tocsin.store.migrate.migrations", lambda: [one for one in everything if one.version < 5])
            asyncio.run(migrate(conninfo))
        with psycopg.connect(server.conninfo(past.name)) as source, psycopg.connect(conninfo) as target:
            target.execute("SET session_replication_role = replica")
            for table in ("users", "incidents", "incident_lifecycle"):
                columns = ", ".join(
                    row[0]
                    for row in target.execute(
                        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
                        " AND attgenerated = '' AND NOT attisdropped ORDER BY attnum",
                        [f"tocsin.{table}"],
                    )
                )
                target.execute(f"ALTER TABLE tocsin.{table} DISABLE TRIGGER ALL".encode())
                rows = source.execute(f"SELECT {columns} FROM tocsin.{table}".encode()).fetchall()
                marks = ", ".join(["%s"] * len(columns.split(", ")))
                with target.cursor() as cursor:
                    cursor.executemany(
                        f"INSERT INTO tocsin.{table} ({columns}) VALUES ({marks})".encode(),
                        [[psycopg.types.json.Jsonb(v) if isinstance(v, dict) else v for v in row] for row in rows],
                    )
                target.execute(f"ALTER TABLE tocsin.{table} ENABLE TRIGGER ALL".encode())
        asyncio.run(migrate(conninfo))

        async def seal() -> None:
            async with application(server, name, FakeClock()) as app:
                await seal_everything(app)

        asyncio.run(seal())
        with psycopg.connect(conninfo, autocommit=True) as connection:
            log = whole_log(connection)
            entries = connection.execute("SELECT count(*) FROM tocsin.incident_lifecycle").fetchone()
        assert entries == (len(log.leaves) - 1,)
