"""Others vouch for a real log: a real witness, a real authority, real copies; and what shows when they do not."""

from __future__ import annotations

import asyncio
import base64
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.app.conftest import Tables
from tests.support.authority import make_authority, serving
from tests.support.clock import FakeClock
from tests.support.lives import actor_of, live, reported
from tests.support.logbook import Witness
from tests.support.witness_process import witness_process
from tocsin import bootstrap
from tocsin.app import health
from tocsin.app.export_evidence import export_evidence, export_vouched_evidence
from tocsin.app.log_keys import rotate_key
from tocsin.app.seal import seal_everything
from tocsin.app.sign import introduce_key, sign_log
from tocsin.app.vouch import CopyVoucher, introduce, look_after
from tocsin.app.work import App
from tocsin.errors import TocsinError
from tocsin.evidence.bundle import Bundle, parse_bundle
from tocsin.evidence.policy import parse_policy
from tocsin.evidence.verify import verify
from tocsin.outside import File, OutsideError
from tocsin.outside.directory import DirectoryCopy
from tocsin.settings import Settings, load_settings
from tocsin.signing.signer import Signer
from tocsin.tlog import merkle
from tocsin.tlog.checkpoint import verified
from tocsin.tlog.note import Note
from tocsin.tlog.tiles import decode_entries, entries_path, tile_path
from tocsin.worker.vouching import look_after_all


@dataclass(frozen=True, slots=True)
class Keeper:
    """Keeps the log of an application."""

    app: App
    signer: Signer

    async def keep(self) -> None:
        await introduce_key(self.app, self.signer)
        await seal_everything(self.app)
        await sign_log(self.app, self.signer)


@pytest.fixture
async def keeper(app: App, clock: FakeClock, tmp_path: Path) -> Keeper:
    await live(app, clock)
    made = Keeper(app, Signer(tmp_path / "signer"))
    made.signer.make("example.org/tocsin")
    await made.keep()
    return made


def named(app: App, **settings: object) -> Settings:
    """Return settings that name those outside; they may be on this machine."""
    allowed = (ip_network("127.0.0.0/8"),)
    return app.settings.model_copy(update={"webhook_allowed_networks": allowed} | settings)


async def vouched_for(app: App, settings: Settings) -> None:
    """Let everybody vouch once."""
    async with bootstrap.vouchers_of(settings) as vouchers:
        for voucher in vouchers:
            await introduce(app, voucher)
            assert await look_after(app, voucher)


async def evidence_of(app: App, number: int) -> Bundle:
    admin = await actor_of(app, "ada@example.org")
    return parse_bundle(await export_evidence(app, admin, number))


async def problems(app: App) -> dict[str, str]:
    async with app.work() as work:
        return {problem.name: problem.message for problem in (await health.condition(work)).problems}


async def test_evidence_with_a_witness_and_a_time_stamp_is_proven(keeper: Keeper, tmp_path: Path) -> None:
    app, authority = keeper.app, make_authority(tmp_path / "authority")
    with witness_process(tmp_path / "witness", keeper.signer.key().vkey) as witness, serving(authority) as url:
        settings = named(app, log_witnesses=(f"{witness.vkey} {witness.url}",), log_timestamp_url=url)
        early = await evidence_of(app, 1)
        await vouched_for(app, settings)
        async with bootstrap.vouchers_of(settings) as vouchers:
            assert not any([await look_after(app, voucher) for voucher in vouchers]), "nothing is owed"
        certificate = base64.b64encode(authority.root.public_bytes(Encoding.DER)).decode()
        policy = parse_policy(
            f"log {keeper.signer.key().vkey}\nwitness w {witness.vkey}\nquorum w\n"
            f"authority tsa {certificate}\ntimestamp required\n".encode()
        )
        assert not verify(early, policy).proven
        report = verify(await evidence_of(app, 1), policy)
        assert report.proven, report.missing
        assert report.missing == ()
        # The log goes on: what was vouched for before comes along as an anchor.
        await reported(app, "one more")
        await keeper.keep()
        later = await evidence_of(app, 1)
        assert len(later.anchors) == 1
        assert not verify(later, policy).proven, "the newest checkpoint has nobody who vouches for it yet"
        again = App(app.database, settings, app.clock)
        await vouched_for(app, settings.model_copy(update={"log_timestamp_url": None}))
        admin = await actor_of(app, "ada@example.org")
        waited = parse_bundle(await export_vouched_evidence(again, admin, 1, 0.2))
        without = f"log {keeper.signer.key().vkey}\nwitness w {witness.vkey}\nquorum w\n"
        assert verify(waited, parse_policy(without.encode())).proven
    assert "log_witness" not in await problems(app)


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], check=True, capture_output=True).stdout


def recomputed(root: Path, signer: Signer) -> int:
    """Check a copy as a stranger would, from its files alone; return its size."""
    checkpoint = verified(Note.parse((root / "checkpoint").read_bytes()), signer.key().verifier)
    hashes: list[bytes] = []
    for index in range(-(-checkpoint.size // 256)):
        width = min(256, checkpoint.size - index * 256)
        leaves = decode_entries((root / entries_path(index, width)).read_bytes())
        tile = (root / tile_path(0, index, width)).read_bytes()
        assert b"".join(map(merkle.leaf_hash, leaves)) == tile
        hashes += map(merkle.leaf_hash, leaves)
    assert merkle.root_of(hashes) == checkpoint.root
    return checkpoint.size


@pytest.mark.slow
async def test_a_copy_is_the_whole_log_and_grows_with_it(keeper: Keeper, tmp_path: Path) -> None:
    app, root, remote = keeper.app, tmp_path / "copy", tmp_path / "remote.git"
    git("init", "-q", "--bare", str(remote))
    copies = (f"file://{root}", f"git+file://{remote}#log")
    settings = named(app, log_copies=copies, log_copy_every=1, data_dir=tmp_path / "data")
    await vouched_for(app, settings)
    first = recomputed(root, keeper.signer)
    for number in range(300):
        await reported(app, f"failure {number}")
    await keeper.keep()
    clock = app.clock
    assert isinstance(clock, FakeClock)
    clock.forward(seconds=2)
    await vouched_for(app, settings)
    assert recomputed(root, keeper.signer) > first + 300
    assert git("-C", str(remote), "show", "log:checkpoint") == (root / "checkpoint").read_bytes()


@pytest.mark.slow
async def test_a_copy_that_has_more_or_other_leaves_is_a_critical_incident(
    keeper: Keeper, tmp_path: Path, tables: Tables
) -> None:
    app, root = keeper.app, tmp_path / "copy"
    settings = named(app, log_copies=(f"file://{root}",))
    forged = "example.org/tocsin\n999999\n" + base64.b64encode(bytes(32)).decode() + "\n\n"
    line = keeper.signer.key().sign("x\n").encode()
    root.mkdir()
    (root / "checkpoint").write_text(forged + line)
    await vouched_for(app, settings)
    assert (root / "checkpoint").read_text() == forged + line, "what contradicts us is not overwritten"
    said = tables.rows("SELECT severity, title FROM incidents WHERE title LIKE 'LogContradicted%%'")
    assert len(said) == 1
    assert said[0][0] == "CRITICAL"
    assert "the last are gone" in said[0][1] or "contradicts" in said[0][1]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["emptied", "gone", "rolled back"])
async def test_a_copy_that_lost_something_is_a_critical_incident_and_is_not_filled_again(
    keeper: Keeper, clock: FakeClock, tmp_path: Path, tables: Tables, loss: str
) -> None:
    app, root = keeper.app, tmp_path / "copy"
    settings = named(app, log_copies=(f"file://{root}",), log_copy_every=1)
    for number in range(2):
        await vouched_for(app, settings)
        if not (tmp_path / "before").exists():
            shutil.copytree(root, tmp_path / "before")
        await reported(app, f"failure {number}")
        await keeper.keep()
        clock.forward(seconds=2)
    shutil.rmtree(root)
    if loss == "emptied":
        root.mkdir()
    elif loss == "rolled back":
        shutil.copytree(tmp_path / "before", root)
    left = contents(root)
    for _ in range(3):
        await vouched_for(app, settings)
        clock.forward(minutes=6)
    assert contents(root) == left
    assert root.exists() is (loss != "gone")
    assert "leaves and has" in (await problems(app))["log_copy"]
    said = tables.rows("SELECT severity FROM incidents WHERE title LIKE 'LogContradicted%%'")
    assert said == [("CRITICAL",)]


@pytest.mark.slow
async def test_a_witness_that_is_down_is_told_and_becomes_an_incident(
    keeper: Keeper, clock: FakeClock, tables: Tables
) -> None:
    app = keeper.app
    vkey = Witness("witness.example/down").vkey
    settings = named(app, log_witnesses=(f"{vkey} http://127.0.0.1:9",))
    for _ in range(3):
        await vouched_for(app, settings)
        clock.forward(minutes=6)
    assert "not reached" in (await problems(app))["log_witness"]
    assert tables.value("SELECT count(*) FROM incidents WHERE title LIKE 'LogNotVouched%%'") == 0
    clock.forward(hours=1)
    await vouched_for(app, settings)
    assert tables.value("SELECT count(*) FROM incidents WHERE title LIKE 'LogNotVouched%%'") == 1


class Slow:
    """A copy that fails after the first file, once."""

    def __init__(self, root: Path) -> None:
        self.inner = DirectoryCopy(root)
        self.broken = True

    async def held(self) -> str | None:
        return await self.inner.held()

    async def put(self, files: AsyncIterator[File], checkpoint: str) -> None:
        if self.broken:
            self.broken = False
            async for _ in files:
                raise OutsideError("the line broke")
        await self.inner.put(files, checkpoint)


@pytest.mark.slow
async def test_what_broke_off_is_tried_again_and_only_one_worker_is_at_it(
    keeper: Keeper, clock: FakeClock, tmp_path: Path
) -> None:
    app = keeper.app
    voucher = CopyVoucher("copy slow", Slow(tmp_path / "slow"), timedelta(seconds=60))
    await introduce(app, voucher)
    assert await look_after(app, voucher)
    assert not await look_after(app, voucher), "it pauses"
    clock.forward(seconds=10)
    assert await look_after(app, voucher)
    recomputed(tmp_path / "slow", keeper.signer)


@pytest.mark.slow
async def test_a_worker_looks_after_all_of_them(keeper: Keeper, tmp_path: Path, tables: Tables) -> None:
    app, root = keeper.app, tmp_path / "copy"
    with witness_process(tmp_path / "witness", keeper.signer.key().vkey) as witness:
        settings = named(app, log_witnesses=(f"{witness.vkey} {witness.url}",), log_copies=(f"file://{root}",))
        stop = asyncio.Event()
        async with bootstrap.vouchers_of(settings) as vouchers:
            working = asyncio.create_task(look_after_all(app, vouchers, stop))
            async with asyncio.timeout(10):
                while tables.value("SELECT count(*) FROM log_outside WHERE succeeded_at IS NOT NULL") < 2:
                    await asyncio.sleep(0.05)
            stop.set()
            await working
    recomputed(root, keeper.signer)
    assert tables.value("SELECT count(*) FROM log_cosignatures") == 1


@pytest.mark.slow
async def test_after_a_rotation_either_key_is_believed_as_long_as_both_sign(keeper: Keeper) -> None:
    app, old = keeper.app, keeper.signer.key().vkey
    await rotate_key(app, keeper.signer, timedelta(days=1), "the yearly one")
    await keeper.keep()
    new = keeper.signer.key().vkey
    assert new != old
    bundle = await evidence_of(app, 1)
    assert set(bundle.keys) == {old, new}
    for vkey in (old, new):
        assert verify(bundle, parse_policy(f"log {vkey}\nquorum none\n".encode())).proven


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("log_witnesses", ("nonsense",)),
        ("log_witnesses", ("w+00000000+AAAA http://w",)),
        ("log_copies", ("ftp://somewhere",)),
        ("log_copies", ("/a/path",)),
        ("log_stale_after", 1),
    ],
)
def test_wrong_settings_are_named(name: str, value: object) -> None:
    with pytest.raises(TocsinError, match=f"TOCSIN_{name.upper()}"):
        load_settings(**{name: value}, _env_file=None)


async def test_two_branches_of_one_remote_have_a_clone_each(app: App) -> None:
    copies = ("git+file:///remote.git#one", "git+file:///remote.git#two", "git+file:///remote.git")
    async with bootstrap.vouchers_of(named(app, log_copies=copies)) as vouchers:
        clones = {voucher.copy.clone for voucher in vouchers}  # type: ignore[attr-defined]
    assert len(clones) == 3


async def test_a_bucket_without_keys_is_named(app: App) -> None:
    with pytest.raises(TocsinError, match="TOCSIN_LOG_COPIES"):
        async with bootstrap.vouchers_of(named(app, log_copies=("s3://bucket/prefix",))):
            pass
