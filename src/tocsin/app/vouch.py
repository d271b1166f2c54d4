"""Lets others vouch for the log: witnesses, a time-stamp authority, copies elsewhere. Keeps trying, and says so aloud.

Each of them is taken by one worker at a time, by a lease; to be asked twice harms nobody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from tocsin import ids
from tocsin.app.report_internal import report_internal
from tocsin.app.work import App
from tocsin.domain.incident import Severity
from tocsin.outside import ContradictionError, Copy, File, OutsideError
from tocsin.outside.http import Http
from tocsin.outside.timestamp import stamp
from tocsin.outside.witness import KnowsMoreError, Witness, cosign
from tocsin.store import log, outside
from tocsin.store.log import PublishedCheckpoint
from tocsin.tlog import ProofError, merkle
from tocsin.tlog.checkpoint import Checkpoint
from tocsin.tlog.note import Note
from tocsin.tlog.tiles import TILE_WIDTH, encode_entries, entries_path, new_tiles, tile_path

LEASE = timedelta(minutes=10)
"""How long one may be busy with us: a copy that is far behind gets REACH leaves at a time."""
REACH = 50_000
LONGEST_PAUSE_SECONDS = 300.0
MAX_FAILURE_CHARACTERS = 1_000
CONTRADICTED = "LogContradicted"
NOT_VOUCHED = "LogNotVouched"


class Voucher(Protocol):
    """Somebody who vouches for the log, under the name and kind by which people know them."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def every(self) -> timedelta: ...

    async def vouch(self, app: App, known: int) -> int:
        """Let them vouch for the log; return up to which size they do now. Raises OutsideError.

        Args:
            known: up to which size they were known to vouch already; 0 if they never did.
        """


@dataclass(frozen=True, slots=True)
class WitnessVoucher:
    """A witness: it is asked for each new checkpoint at once."""

    http: Http
    witness: Witness
    kind: str = field(default="witness", init=False)
    every: timedelta = field(default=timedelta(), init=False)

    @property
    def name(self) -> str:
        """Return the witness's own name."""
        return f"witness {self.witness.key.name}"

    async def vouch(self, app: App, known: int) -> int:  # noqa: ARG002 - what it cosigned, its lines say
        """See `Voucher.vouch`."""
        known_as = self.witness.key.encode()[:300]
        checkpoint = await _last_checkpoint(app)
        async with app.work() as work:
            cosigned = await outside.cosigned_size(work.tx, known_as)
        try:
            line = await cosign(
                self.http, self.witness, checkpoint.note, cosigned, lambda old, new: _proof(app, old, new)
            )
        except KnowsMoreError as error:
            if (await _last_checkpoint(app)).size >= error.known:
                raise OutsideError("another worker was faster") from None
            raise
        async with app.work() as work:
            await outside.keep_cosignature(work.tx, checkpoint.size, known_as, line, work.now)
        return checkpoint.size


@dataclass(frozen=True, slots=True)
class StampVoucher:
    """A time-stamp authority: it is asked now and then, for each token is a signature of theirs."""

    http: Http
    url: str
    every: timedelta
    kind: str = field(default="timestamp", init=False)

    @property
    def name(self) -> str:
        """Return where it is."""
        return f"timestamp {self.url}"[:300]

    async def vouch(self, app: App, known: int) -> int:  # noqa: ARG002 - each stamp stands alone
        """See `Voucher.vouch`. Stamped is the signed note: so the log's signature, too, existed by then."""
        checkpoint = await _last_checkpoint(app)
        nonce = int.from_bytes(ids.new_nonce())
        token = await stamp(self.http, self.url, checkpoint.note.encode("utf-8"), nonce)
        async with app.work() as work:
            await outside.keep_timestamp(work.tx, checkpoint.size, self.url, token, work.now)
        return checkpoint.size


@dataclass(frozen=True, slots=True)
class CopyVoucher:
    """A copy of the log in another place. What it has, it says itself; that must be the beginning of our log."""

    name: str
    copy: Copy
    every: timedelta
    kind: str = field(default="copy", init=False)

    async def vouch(self, app: App, known: int) -> int:
        """See `Voucher.vouch`. A copy that lost something is not filled again: that would hide that it was lost."""
        held = await self.copy.held()
        size = await _checked_size(app, held) if held is not None else 0
        if size < known:
            raise ContradictionError(
                f"it had {known:,} leaves and has {size:,}: it was emptied, rolled back, or is not mounted"
            )
        async with app.work() as work:
            checkpoint = await outside.next_checkpoint(work.tx, size, REACH)
        if checkpoint is None:
            return size
        await self.copy.put(_files(app, size, checkpoint.size), checkpoint.note)
        return checkpoint.size


async def _last_checkpoint(app: App) -> PublishedCheckpoint:
    async with app.work() as work:
        checkpoint = await log.last_checkpoint(work.tx)
    assert checkpoint is not None, "nobody is claimed before there is a checkpoint"
    return checkpoint


async def _proof(app: App, old: int, new: int) -> list[bytes]:
    async with app.work() as work:
        if new > (await log.state(work.tx)).size:
            raise ContradictionError(f"it has cosigned {new:,} leaves, more than the log has")
        hashes = await log.hashes(work.tx, merkle.consistency_coordinates(old, new))
    return merkle.consistency_proof(old, new, hashes)


async def _checked_size(app: App, held: str) -> int:
    """Return the size of a copy's checkpoint, if that is of our log; raise ContradictionError if it forks off."""
    ours = Checkpoint.parse(Note.parse((await _last_checkpoint(app)).note).text)
    try:
        theirs = Checkpoint.parse(Note.parse(held).text)
    except ProofError as error:
        raise OutsideError(f"what lies there is no checkpoint: {error}") from None
    if theirs.origin != ours.origin:
        raise OutsideError(f"it holds a copy of another log: {theirs.origin[:100]!r}")
    if theirs.size > ours.size:
        raise ContradictionError(
            f"it holds {theirs.size:,} leaves, and the log has only {ours.size:,}: the last are gone"
        )
    async with app.work() as work:
        hashes = await log.hashes(work.tx, merkle.root_coordinates(theirs.size))
    if merkle.root(theirs.size, hashes) != theirs.root:
        raise ContradictionError(f"the first {theirs.size:,} leaves that it holds are not those of the log")
    return theirs.size


async def _files(app: App, held: int, size: int) -> AsyncIterator[File]:
    """Yield the files that a log of `size` leaves has and one of `held` leaves has not."""
    for level, index, width in new_tiles(held, size):
        async with app.work() as work:
            tile = (await log.tiles(work.tx, [(level, index)]))[level, index]
            first = index * TILE_WIDTH
            leaves = await outside.leaves(work.tx, first, first + width) if level == 0 else []
        yield File(tile_path(level, index, width), bytes(tile)[: width * merkle.HASH_BYTES])
        if leaves:
            yield File(entries_path(index, width), encode_entries(leaves))


async def introduce(app: App, voucher: Voucher) -> None:
    """Note that this worker looks after one."""
    async with app.work() as work:
        await outside.introduce(work.tx, voucher.name, voucher.kind, work.now)


async def look_after(app: App, voucher: Voucher) -> bool:
    """Let one vouch if it is due; return whether it was. What goes wrong is noted, told, and tried again later."""
    async with app.work() as work:
        standing = await outside.claim(work.tx, voucher.name, work.now, work.now + LEASE)
    if standing is None:
        return False
    try:
        size = await voucher.vouch(app, standing.size)
    except OutsideError as error:
        await note_failure(app, voucher, standing.failures, error)
        return True
    async with app.work() as work:
        last = await log.last_checkpoint(work.tx)
        behind = last is not None and size + REACH < last.size
        due_at = work.now if behind else work.now + voucher.every
        await outside.succeeded(work.tx, voucher.name, size, work.now, due_at)
    return True


async def note_failure(app: App, voucher: Voucher, failures: int, error: Exception) -> None:
    """Note that one does not vouch; a contradiction is an incident at once, everything else after some time."""
    text = f"{error}".replace("\x00", "�")[:MAX_FAILURE_CHARACTERS] or type(error).__name__
    pause = min(2.0 ** min(failures, 20), LONGEST_PAUSE_SECONDS) * ids.jitter(0.2)
    async with app.work() as work:
        since = await outside.failed(work.tx, voucher.name, text, work.now, work.now + timedelta(seconds=pause))
        if isinstance(error, ContradictionError):
            message = f"The {voucher.name} contradicts the log: {text}. Was a backup restored, or the key stolen?"
            await report_internal(work, CONTRADICTED, message, Severity.CRITICAL, about=voucher.name)
        elif work.now - since >= timedelta(seconds=work.settings.log_stale_after):
            message = f"The {voucher.name} has not vouched for the log since {since:%Y-%m-%d %H:%M} UTC: {text}."
            await report_internal(work, NOT_VOUCHED, message, Severity.HIGH, about=voucher.name)
