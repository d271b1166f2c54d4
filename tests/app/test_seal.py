"""Sealing and signing: what is recorded gets its place in the log, once, in order; and who may not sign does not."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import rfc8785

from tests.support.clock import FakeClock
from tests.support.lives import live, reported
from tests.support.logs import whole_log
from tests.support.servers import Server
from tocsin.app import health, seal
from tocsin.app.log_keys import named_keys, start_anew, view_log
from tocsin.app.seal import seal_everything, seal_waiting
from tocsin.app.sign import introduce_key, sign_log, signer_seen
from tocsin.app.work import App
from tocsin.channels import Delivered, Message, Outcome
from tocsin.domain.log_leaf import Heads, KeyChange, head_leaf
from tocsin.signing.signer import Memory, Signer, SignerRefusesError
from tocsin.tlog.checkpoint import verified
from tocsin.tlog.note import Note
from tocsin.worker.run import run_due

pytestmark = pytest.mark.anyio

Connection = psycopg.Connection[Any]


@pytest.fixture
def superuser(server: Server, database_name: str) -> Iterator[Connection]:
    """Somebody whom nothing stops."""
    with psycopg.connect(server.conninfo(database_name), autocommit=True) as connection:
        yield connection


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """A signer with a key of its own."""
    made = Signer(tmp_path / "signer")
    made.make("example.org/tocsin")
    return made


async def test_a_whole_life_is_sealed_once_and_in_order(app: App, clock: FakeClock, superuser: Connection) -> None:
    await live(app, clock)
    assert whole_log(superuser).leaves == []
    sealed = await seal_waiting(app)
    assert sealed is not None
    log = whole_log(superuser)
    assert log.waiting == 0
    assert len(log.leaves) == sealed.size == sealed.leaves + 1, "the last leaf commits to the heads"
    assert await seal_waiting(app) is None
    await reported(app, "another one")
    await seal_everything(app)
    assert len(whole_log(superuser).leaves) == sealed.size + 2


@pytest.mark.slow
async def test_batches_of_any_size_make_whole_tiles(
    app: App, clock: FakeClock, superuser: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live(app, clock)
    monkeypatch.setattr(seal, "MAX_BATCH", 1)
    for number in range(3):
        for failure in range(50):
            await reported(app, f"failure {number} {failure}")
        await seal_everything(app)
        monkeypatch.setattr(seal, "MAX_BATCH", 7)
    log = whole_log(superuser)
    assert log.waiting == 0
    assert len(log.leaves) > 256


async def test_sealers_at_the_same_time_do_the_work_once(app: App, clock: FakeClock, superuser: Connection) -> None:
    await live(app, clock)
    results = await asyncio.gather(*(seal_waiting(app) for _ in range(6)))
    assert sum(sealed is not None for sealed in results) == 1
    whole_log(superuser)


async def test_what_is_signed_is_the_log(app: App, clock: FakeClock, superuser: Connection, signer: Signer) -> None:
    await introduce_key(app, signer)
    await introduce_key(app, signer)
    for failure in ("first", "second", "third"):
        await reported(app, failure)
        await seal_everything(app)
        signed = await sign_log(app, signer)
        assert signed is not None
        checkpoint = verified(Note.parse(signed.note), signer.key().verifier)
        assert (checkpoint.origin, checkpoint.size) == ("example.org/tocsin", signed.size)
    assert await sign_log(app, signer) is None
    log = whole_log(superuser)
    assert list(log.checkpoints) == [3, 5, 7], "key and entry and heads, then entry and heads"
    assert signer.memory().root == log.checkpoints[7]


async def test_a_checkpoint_that_was_remembered_and_not_published_is_published(
    app: App, superuser: Connection, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await reported(app, "first")
    await seal_everything(app)

    async def killed(*_: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr("tocsin.app.sign._publish", killed)
        with pytest.raises(asyncio.CancelledError):
            await sign_log(app, signer)
    assert signer.memory().size == 2
    await reported(app, "second")
    await seal_everything(app)
    await sign_log(app, signer)
    assert list(whole_log(superuser).checkpoints) == [2, 4]


async def test_the_same_signer_in_two_processes_takes_turns(app: App, signer: Signer) -> None:
    await reported(app, "first")
    await seal_everything(app)
    with Signer(signer.directory).turn() as ours:
        assert ours
        assert await sign_log(app, signer) is None
    assert await sign_log(app, signer) is not None


async def test_a_restored_backup_is_not_signed(
    app: App, clock: FakeClock, server: Server, database_name: str, superuser: Connection, signer: Signer
) -> None:
    """The signer has seen more than the database holds: its last entries are gone, however well it fits together."""
    await reported(app, "first")
    await seal_everything(app)
    backup = signer.memory()
    await sign_log(app, signer)
    await reported(app, "second")
    await seal_everything(app)
    later = await sign_log(app, signer)
    assert later is not None
    superuser.execute("SET session_replication_role = replica")
    superuser.execute("SET search_path = tocsin")
    superuser.execute("SELECT tocsin_guard.suspend()")
    for guarded in ("log_entries", "log_tiles", "log_state", "log_checkpoints"):
        superuser.execute(f"ALTER TABLE {guarded} DISABLE TRIGGER ALL".encode())
    superuser.execute("DELETE FROM log_entries WHERE index >= 2")
    superuser.execute("DELETE FROM log_checkpoints WHERE size > 2")
    superuser.execute("UPDATE log_tiles SET hashes = substr(hashes, 1, 64)")
    superuser.execute("UPDATE log_state SET size = 2")
    with pytest.raises(SignerRefusesError, match="2 leaves, but 4 were signed"):
        await sign_log(app, signer)
    assert backup.size == 0
    # The log grows past what was signed, with other leaves: a fork.
    superuser.execute("DELETE FROM log_pending")
    for failure in ("third", "fourth"):
        await reported(app, failure)
    superuser.execute("UPDATE log_state SET incidents = 1")
    await seal_everything(app)
    with pytest.raises(SignerRefusesError, match="does not begin with the 4 leaves"):
        await sign_log(app, signer)
    assert signer.memory() == later


async def test_another_key_than_the_log_names_signs_nothing(app: App, signer: Signer, tmp_path: Path) -> None:
    await introduce_key(app, signer)
    stranger = Signer(tmp_path / "stranger")
    stranger.make("example.org/tocsin")
    with pytest.raises(SignerRefusesError, match="the key here is"):
        await introduce_key(app, stranger)


async def test_a_leaf_that_names_no_key_stops_nobody(app: App, superuser: Connection, signer: Signer) -> None:
    """It stays for ever, so it is passed over."""
    nested = b'{"record":' + b"[" * 30_000 + b"]" * 30_000 + b',"record":"log_key","v":1}'
    for leaf in (b'{"record":"log_key"}', KeyChange("no vkey", None, "junk").encode(), nested):
        superuser.execute(
            "INSERT INTO tocsin.log_pending (kind, leaf, leaf_hash, waiting_since)"
            " VALUES ('log_key', %s, sha256('\\x00'::bytea || %s), now())",
            [leaf, leaf],
        )
    await introduce_key(app, signer)
    await reported(app, "first")
    await seal_everything(app)
    assert await sign_log(app, signer) is not None
    async with app.work() as work:
        assert await named_keys(work) == (await view_log(work)).keys == [signer.key().vkey]


async def test_whose_turn_it_was_not_has_not_introduced_its_key(app: App, signer: Signer) -> None:
    with Signer(signer.directory).turn():
        assert not await introduce_key(app, signer)
    assert await introduce_key(app, signer)


async def test_a_key_that_the_log_does_not_name_signs_nothing(app: App, signer: Signer, tmp_path: Path) -> None:
    """However it came to be asked: the signer's directory may have been exchanged since its key was introduced."""
    await introduce_key(app, signer)
    await seal_everything(app)
    stranger = Signer(tmp_path / "stranger")
    stranger.make("example.org/tocsin")
    with pytest.raises(SignerRefusesError, match="the key here is"):
        await sign_log(app, stranger)
    assert stranger.memory() == Memory()


def forge(superuser: Connection, size: int) -> None:
    """Write a checkpoint of the true root with a false signature, as the application's role may."""
    superuser.execute("SET search_path = tocsin")
    (root,) = superuser.execute("SELECT log_root(%s)", [size]).fetchone() or (b"",)
    superuser.execute("SET ROLE tocsin_app")
    note = f"example.org/tocsin\n{size}\n{b64encode(root).decode()}\n\n\u2014 example.org/tocsin AAAA\n"
    superuser.execute("INSERT INTO log_checkpoints VALUES (%s, %s, %s, now())", [size, root, note])
    superuser.execute("RESET ROLE")


async def test_a_false_checkpoint_in_the_place_of_the_true_one_is_refused(
    app: App, superuser: Connection, signer: Signer
) -> None:
    await reported(app, "first")
    await seal_everything(app)
    forge(superuser, 2)
    for _ in range(2):
        with pytest.raises(SignerRefusesError, match="The checkpoint of 2 leaves in the database is not the one"):
            await sign_log(app, signer)


async def test_a_log_that_was_replaced_at_the_same_size_is_noticed_before_it_grows(
    app: App, superuser: Connection, signer: Signer
) -> None:
    await reported(app, "first")
    await seal_everything(app)
    await sign_log(app, signer)
    superuser.execute("SELECT tocsin_guard.suspend()")
    superuser.execute("ALTER TABLE tocsin.log_tiles DISABLE TRIGGER ALL")
    superuser.execute("UPDATE tocsin.log_tiles SET hashes = sha256('x') || substr(hashes, 33)")
    with pytest.raises(SignerRefusesError, match="does not begin with the 2 leaves"):
        await sign_log(app, signer)


async def test_a_new_key_waits_for_its_leaf_where_the_old_one_has_signed(
    app: App, superuser: Connection, signer: Signer
) -> None:
    await introduce_key(app, signer)
    await reported(app, "first")
    await seal_everything(app)
    await sign_log(app, signer)
    await start_anew(app, signer, "backup restored")
    assert await sign_log(app, signer) is None
    await seal_everything(app)
    assert await sign_log(app, signer) is not None
    assert list(whole_log(superuser).checkpoints) == [3, 5]


async def told(app: App) -> str | None:
    """Return what a signer is said to refuse."""
    async with app.work() as work:
        return (await health.condition(work)).log.refusal


async def test_what_an_old_key_refused_is_forgotten_with_it(app: App, signer: Signer) -> None:
    refusal = SignerRefusesError("The last ones are gone.", "Look.").refusal
    await introduce_key(app, signer)
    await signer_seen(app, signer.key().vkey, "test", refusal)
    assert "gone" in (await told(app) or "")
    await start_anew(app, signer, "backup restored")
    assert await told(app) is None


async def test_what_a_signer_refused_that_is_not_seen_any_more_is_not_told(
    app: App, clock: FakeClock, signer: Signer
) -> None:
    await signer_seen(app, signer.key().vkey, "test", SignerRefusesError("No.", "Look.").refusal)
    clock.forward(seconds=61)
    assert await told(app) is None


def test_leaves_say_what_they_were_made_of() -> None:
    assert Heads.parse(Heads(bytes(32), 7).encode()) == Heads(bytes(32), 7)
    change = KeyChange("new", None, "why")
    assert KeyChange.parse(change.encode()) == change
    with pytest.raises(ValueError, match="log_heads"):
        Heads.parse(change.encode())


def test_a_head_is_written_canonically() -> None:
    leaf = head_leaf(42, "00000000-0000-7000-8000-000000000000", 5, "ab" * 32)
    assert rfc8785.dumps(json.loads(leaf)) == leaf


def test_a_memory_begins_with_nothing(signer: Signer) -> None:
    assert signer.memory() == Memory()


async def test_a_page_carries_the_checkpoint_of_the_moment(app: App, clock: FakeClock, signer: Signer) -> None:
    received: list[Message] = []

    class Channel:
        async def send(self, _address: str, message: Message) -> Outcome:
            received.append(message)
            return Delivered("250 kept")

    await reported(app, "first")
    await seal_everything(app)
    signed = await sign_log(app, signer)
    assert signed is not None
    await run_due(app, {"email": Channel()})
    short = f"{signed.size}:{signed.root.hex()[:16]}"
    assert received[0].text.endswith(f"Log:      {short}")
    assert received[0].payload["checkpoint"] == short
