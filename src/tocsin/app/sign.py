"""Signs the log: what the signer remembers is compared with what the database holds, then a checkpoint is published.

The signer remembers first, then the checkpoint is published: after a crash in between it is published by the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from tocsin.app.log_keys import NamedKey, key_leaves, named_keys
from tocsin.app.report_internal import report_internal
from tocsin.app.work import App, Work
from tocsin.domain.incident import Severity
from tocsin.domain.log_leaf import KeyChange, LeafKind
from tocsin.errors import Refusal
from tocsin.signing.signer import Memory, Signer, SignerRefusesError
from tocsin.store import log
from tocsin.store.log import PublishedCheckpoint
from tocsin.tlog import merkle

REFUSES = "LogSignerRefuses"
STALLED = "LogStalled"
MAX_REASON_CHARACTERS = 2_000
FIRST_KEY = "the first key of this log"


@dataclass(frozen=True, slots=True)
class _ToSign:
    """The log as it is: size and root, the proof that it continues what is remembered, what was published of that."""

    size: int
    root: bytes
    proof: Sequence[bytes]
    published: PublishedCheckpoint | None


async def introduce_key(app: App, signer: Signer) -> bool:
    """See to it that the log names the key that signs it; return False when another process is at it: try again.

    Raises SignerRefusesError when the log names other keys only.
    """
    with signer.turn() as ours:
        if not ours:
            return False
        vkey = signer.key().vkey
        async with app.work() as work:
            named = await named_keys(work)
            if not named:
                leaf = KeyChange(vkey, None, FIRST_KEY).encode()
                await log.await_leaf(work.tx, LeafKind.KEY, leaf, work.now)
            _refuse_unnamed(signer, named)
        return True


def _refuse_unnamed(signer: Signer, named: Sequence[str]) -> None:
    """Raise SignerRefusesError when the log names keys, and the signer's is none of them."""
    vkey = signer.key().vkey
    if named and vkey not in named:
        raise SignerRefusesError(
            f"The log in the database is signed by {named[-1]}, and the key here is {vkey}.",
            f"Bring the signer's directory here ({signer.directory}), or set TOCSIN_SIGNER_DIR to where it is.",
        )


async def sign_log(app: App, signer: Signer) -> Memory | None:
    """Sign the log as it is and publish the checkpoint; return None when that is done, or another process does it.

    Raises SignerRefusesError when the log does not continue what was signed, or names other keys only.
    """
    with signer.turn() as ours:
        if not ours:
            return None
        memory = signer.memory()
        async with app.work() as work:
            # In this very turn: the key may be another one than a moment ago.
            named = await key_leaves(work)
            _refuse_unnamed(signer, [key.vkey for key in named])
            found = await _to_sign(work, memory)
        if named and not memory.size and NamedKey(signer.key().vkey, sealed=True) not in named:
            # A new key begins with the leaf that names it: up to there another key may have signed.
            return None
        _refuse_another(memory, found.published)
        unchanged = (found.size, found.root) == (memory.size, memory.root)
        if unchanged and (found.published is not None or not memory.size):
            return None
        signed = await asyncio.to_thread(signer.sign, found.size, found.root, found.proof, app.clock())
        async with app.work() as work:
            for checkpoint in {memory.size: memory, signed.size: signed}.values():
                if checkpoint.size:
                    await _publish(work, checkpoint)
        return signed


async def _to_sign(work: Work, memory: Memory) -> _ToSign:
    size = (await log.state(work.tx)).size
    continues = 0 < memory.size <= size
    needed = merkle.consistency_coordinates(memory.size, size) if continues else []
    hashes = await log.hashes(work.tx, [*merkle.root_coordinates(size), *needed])
    proof = merkle.consistency_proof(memory.size, size, hashes) if continues else []
    return _ToSign(size, merkle.root(size, hashes), proof, await log.checkpoint_at(work.tx, memory.size))


async def _publish(work: Work, signed: Memory) -> None:
    """Publish a checkpoint. One that is there must be this one: it would keep the true one out for ever."""
    await log.insert_checkpoint(work.tx, size=signed.size, root=signed.root, note=signed.note, now=work.now)
    _refuse_another(signed, await log.checkpoint_at(work.tx, signed.size))


def _refuse_another(signed: Memory, published: PublishedCheckpoint | None) -> None:
    """Raise SignerRefusesError when another checkpoint was published than the one that was signed."""
    if published is not None and published.note != signed.note:
        raise SignerRefusesError(
            f"The checkpoint of {signed.size:,} leaves in the database is not the one that was signed here.",
            "Somebody else wrote it: does another signer run? Run `tocsin verify --db`, and ask who had access. "
            "A new key can go on: `tocsin log rotate-key --after-restore`.",
        )


async def signer_seen(app: App, key: str, worker: str, refusal: Refusal | None) -> None:
    """Note that a signer is at work, or what it refuses, for the other processes."""
    async with app.work() as work:
        said = f"{refusal.message} {refusal.hint}"[:2_000] if refusal else None
        await log.signer_seen(work.tx, key=key, worker=worker, now=work.now, refusal=said)


async def report_refusal(app: App, refusal: Refusal) -> None:
    """Open an incident about what the signer refuses: somebody must look at the database, now."""
    async with app.work() as work:
        await report_internal(work, REFUSES, f"{refusal.message} {refusal.hint}", Severity.CRITICAL)


async def report_stalled(app: App, reason: str) -> None:
    """Open an incident about a log that is not sealed or signed for long, for another reason than a refusal."""
    said = reason.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:MAX_REASON_CHARACTERS]
    async with app.work() as work:
        message = f"A worker fails to seal or sign the log, since long: {said} `tocsin doctor` says what waits."
        await report_internal(work, STALLED, message, Severity.CRITICAL)
