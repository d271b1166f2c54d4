"""The log's keys, for the person who keeps them: what signs, and how another key takes over."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tocsin.app.work import App, Work
from tocsin.domain.log_leaf import KeyChange, LeafKind
from tocsin.errors import Code, refuse
from tocsin.signing.signer import Signer
from tocsin.store import log
from tocsin.tlog.note import VerifierKey

DEFAULT_OVERLAP = timedelta(days=30)
MAX_OVERLAP = timedelta(days=366)
MAX_REASON_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class LogView:
    """The log as an outsider needs to know it: its keys (oldest first, as vkeys), its size, its latest checkpoint."""

    keys: list[str]
    size: int
    waiting: int
    signed_size: int | None
    signed_at: datetime | None
    checkpoint: str | None


@dataclass(frozen=True, slots=True)
class Rotated:
    """The key that signs from now on; the one before it signs as well until then, or is laid aside (None).

    After a restored backup `remembered` is the file with what the old key has signed.
    """

    new: str
    old: str
    until: datetime | None
    remembered: Path | None = None


@dataclass(frozen=True, slots=True)
class NamedKey:
    """A key that the log names, as a vkey that can be parsed; `sealed` tells whether its leaf has a place."""

    vkey: str
    sealed: bool


async def named_keys(work: Work) -> list[str]:
    """Return the keys that the log names, as vkeys, oldest first; those that still wait come last."""
    return [key.vkey for key in await key_leaves(work)]


async def key_leaves(work: Work) -> list[NamedKey]:
    """Return the keys that the log names, oldest first; those that still wait come last.

    A leaf that names no key is passed over: it can never be taken out, and must not stop signing and exports for ever.
    `tocsin verify --db` names it.
    """
    named = []
    for found in await log.leaves_of_kind(work.tx, LeafKind.KEY):
        with suppress(ValueError):
            vkey = KeyChange.parse(found.leaf).new
            VerifierKey.parse(vkey)
            named.append(NamedKey(vkey, found.index is not None))
    return named


async def view_log(work: Work) -> LogView:
    """Return the log's keys and its latest checkpoint."""
    keys = await named_keys(work)
    condition, last = await log.condition(work.tx), await log.last_checkpoint(work.tx)
    return LogView(
        keys,
        condition.size,
        condition.waiting,
        condition.signed_size,
        condition.signed_at,
        last.note if last else None,
    )


async def rotate_key(app: App, signer: Signer, overlap: timedelta, reason: str) -> Rotated:
    """Let a new key sign, and the present one beside it for some time. The log says so before the new key signs.

    Killed in the middle, the same once more goes on with the key that was made.
    """
    if not timedelta() <= overlap <= MAX_OVERLAP:
        raise refuse(Code.INVALID, f"Both keys may sign for up to {MAX_OVERLAP.days} days.")
    with signer.turn() as ours:
        old, new = await _announce(app, signer, reason, ours=ours)
        until = app.clock() + overlap
        signer.rotate(until)
        await _forget(app, old)
        return Rotated(new, old, until)


async def start_anew(app: App, signer: Signer, reason: str) -> Rotated:
    """Let a new key sign a log that the old one must not sign: it has signed what is not there any more.

    What the old key has signed is kept aside, and the log says why it ended.
    """
    with signer.turn() as ours:
        old, new = await _announce(app, signer, reason, ours=ours)
        aside = signer.start_anew()
        await _forget(app, old)
        return Rotated(new, old, None, aside)


async def _announce(app: App, signer: Signer, reason: str, *, ours: bool) -> tuple[str, str]:
    if not ours:
        raise refuse(Code.CONFLICT, "A worker is signing at this very moment.", "Try again.")
    if not 1 <= len(reason) <= MAX_REASON_CHARACTERS:
        raise refuse(Code.INVALID, f"The reason must have 1 to {MAX_REASON_CHARACTERS:,} characters.")
    old, new = signer.key().vkey, signer.prepare_rotation().vkey
    async with app.work() as work:
        if new not in await named_keys(work):
            await log.await_leaf(work.tx, LeafKind.KEY, KeyChange(new, old, reason).encode(), work.now)
    return old, new


async def _forget(app: App, old: str) -> None:
    """Forget the old key as a signer: what it refused would be told for ever."""
    async with app.work() as work:
        await log.signer_gone(work.tx, old)
