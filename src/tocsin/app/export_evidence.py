"""Makes the evidence of an incident: recorded bytes, proofs of them in the log, and what others say of the log.

The proofs are for the newest signed checkpoint, for only there the head tree can prove that nothing is missing. Others
vouch for it a moment later, or have vouched for an earlier one: their checkpoints come along as *anchors*.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from tocsin.app.log_keys import named_keys
from tocsin.app.read_incidents import find_incident
from tocsin.app.timeline import IncidentRef
from tocsin.app.work import App, Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.log_leaf import Heads, head_leaf
from tocsin.errors import Code, refuse
from tocsin.evidence import EvidenceError
from tocsin.evidence.bundle import (
    MAX_ANCHORS,
    MAX_ENTRIES,
    Anchor,
    Bundle,
    Detail,
    HeadLeaf,
    LoggedLeaf,
    Vouched,
    encode,
)
from tocsin.store import evidence, log
from tocsin.store.evidence import RecordedEntry
from tocsin.store.incidents import IncidentRow
from tocsin.store.log import LogEntry, PublishedCheckpoint
from tocsin.tlog import merkle, sparse
from tocsin.tlog.checkpoint import Checkpoint
from tocsin.tlog.merkle import Coordinate
from tocsin.tlog.note import Note, VerifierKey

MOST_TRIES = 40
TRY_AGAIN_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class _Complete:
    """The proof that an incident has no further entry than those that it has at a checkpoint."""

    heads: LoggedLeaf
    head: HeadLeaf


@dataclass(frozen=True, slots=True)
class _Look:
    """What a checkpoint has of an incident; `whole` if that is all, and proven to be."""

    checkpoint: PublishedCheckpoint
    entries: list[LogEntry]
    complete: _Complete | None
    whole: bool


async def export_evidence(app: App, actor: Actor, ref: IncidentRef) -> bytes:
    """Return an incident's evidence as a file; raise NOT_FOUND, or UNAVAILABLE until it is in the signed log."""
    require(actor, Permission.READ)
    return _file(await make_bundle(app, ref))


async def export_vouched_evidence(
    app: App, actor: Actor, ref: IncidentRef, seconds: float, *, with_texts: bool = True
) -> bytes:
    """Return an incident's evidence once others vouch for its checkpoint, or as it is after some time.

    For those who can wait: the witnesses and authorities that are configured answer within a second or two. Without
    texts it holds no word of what people wrote, and proves the same of everything else.
    """
    require(actor, Permission.READ)
    bundle = await make_bundle(app, ref)
    if not with_texts:
        bundle = without_texts(bundle)
    wanted = len(app.settings.log_witnesses) + bool(app.settings.log_timestamp_url)
    for _ in range(int(seconds / TRY_AGAIN_SECONDS) if wanted else 0):
        if _number_of_vouchers(bundle) >= wanted:
            break
        await asyncio.sleep(TRY_AGAIN_SECONDS)
        async with app.work() as work:
            bundle = await _with_vouchers(work, bundle)
    return _file(bundle)


def without_texts(bundle: Bundle) -> Bundle:
    """Return the bundle with no text in it: the record only commits to them."""
    return replace(
        bundle,
        entries=tuple(replace(entry, disclosures=()) for entry in bundle.entries),
        details=tuple(replace(detail, disclosures=()) for detail in bundle.details),
    )


def _file(bundle: Bundle) -> bytes:
    try:
        return encode(bundle)
    except EvidenceError as error:
        hint = f"Leave out what people wrote: `tocsin export {bundle.number} --without-texts`."
        raise refuse(Code.TOO_LARGE, f"INC-{bundle.number}: {error}.", hint) from None


def _number_of_vouchers(bundle: Bundle) -> int:
    """Return how many witnesses and authorities vouch for the bundle's checkpoint, or for one that continues it."""
    size = _size(bundle.checkpoint)
    covering = [bundle.checkpoint, *(one.vouched for one in bundle.anchors if _size(one.vouched) > size)]
    witnesses = {line.split(" ")[1] for one in covering for line in one.cosignatures}
    return len(witnesses) + any(one.timestamps for one in covering)


async def make_bundle(app: App, ref: IncidentRef) -> Bundle:
    """Return an incident's bundle; raise NOT_FOUND, or UNAVAILABLE until it is in the signed log.

    The log goes on while it is read: what was recorded a moment ago is not sealed, and the head tree is that of the
    last batch, whose checkpoint may not be signed yet. So a few looks are taken; the last one takes what there is.
    Between two of them no connection is held: who waits for the log must not keep others from it.
    """
    async with app.work() as work:
        row = await find_incident(work, ref)
        recorded = (await evidence.entries(work.tx, row.id))[:MAX_ENTRIES]
    for attempt in range(MOST_TRIES):
        async with app.work() as work:
            look = await _look(work, row, len(recorded))
            if look is not None and (look.whole or attempt == MOST_TRIES - 1):
                return await _bundle(work, row, recorded, look)
        await asyncio.sleep(TRY_AGAIN_SECONDS)
    raise refuse(
        Code.UNAVAILABLE,
        f"INC-{row.number} is in no signed checkpoint of the log yet.",
        "Try again in a moment. If it stays so, `tocsin doctor` says whether a worker seals and signs the log.",
    )


async def _look(work: Work, row: IncidentRow, recorded: int) -> _Look | None:
    """Return what the newest checkpoint has of an incident; None if it has nothing of it."""
    checkpoint = await log.last_checkpoint(work.tx)
    if checkpoint is None:
        return None
    known = await log.entries_of(work.tx, row.number)
    entries = [one for one in known if one.index < checkpoint.size][:recorded]
    if not entries:
        return None
    complete = await _complete(work, checkpoint, entries, row.id, row.number)
    return _Look(checkpoint, entries, complete, whole=complete is not None and len(entries) == recorded)


async def _bundle(work: Work, row: IncidentRow, recorded: Sequence[RecordedEntry], look: _Look) -> Bundle:
    recorded = recorded[: len(look.entries)]
    leaves = await _leaves(work, look.checkpoint.size, look.entries, recorded)
    bundle = Bundle(
        origin=Checkpoint.parse(Note.parse(look.checkpoint.note).text).origin,
        keys=(),
        incident_id=str(row.id),
        number=row.number,
        entries=tuple(leaves),
        details=await _details(work, row.id, recorded),
        heads=look.complete.heads if look.complete else None,
        head=look.complete.head if look.complete else None,
        checkpoint=Vouched(look.checkpoint.note),
    )
    return await _with_vouchers(work, bundle)


async def _complete(
    work: Work, checkpoint: PublishedCheckpoint, entries: Sequence[LogEntry], incident_id: UUID, number: int
) -> _Complete | None:
    """Return the proof of completeness if the head tree is that of the checkpoint, verified as everybody else will."""
    leaf = await log.leaf_at(work.tx, checkpoint.size - 1)
    state = await log.state(work.tx)
    if leaf is None or state.size != checkpoint.size:
        return None
    last = entries[-1]
    head = head_leaf(number, str(incident_id), last.sequence, bytes(last.leaf_hash).hex())
    groups = await log.head_nodes(work.tx, sparse.groups_of([number]))
    proof = sparse.prove(number, groups)
    try:
        sparse.verify_position(number, merkle.leaf_hash(head), proof, Heads.parse(leaf).root)
    except ValueError:
        return None
    (heads,) = await _proven(work, checkpoint.size, [(checkpoint.size - 1, leaf)])
    return _Complete(heads, HeadLeaf(head, tuple(proof)))


async def _leaves(
    work: Work, size: int, entries: Sequence[LogEntry], recorded: Sequence[RecordedEntry]
) -> list[LoggedLeaf]:
    pairs = list(zip(entries, recorded, strict=True))
    leaves = await _proven(work, size, [(one.index, bytes(entry.canonical)) for one, entry in pairs])
    return [replace(leaf, disclosures=tuple(entry.disclosures)) for leaf, (_, entry) in zip(leaves, pairs, strict=True)]


async def _proven(work: Work, size: int, leaves: Sequence[tuple[int, bytes]]) -> list[LoggedLeaf]:
    """Return leaves with their proofs; everything that these need is fetched in one go."""
    wanted = [coordinate for index, _ in leaves for coordinate in merkle.inclusion_coordinates(index, size)]
    hashes = await log.hashes(work.tx, wanted)
    return [LoggedLeaf(index, tuple(merkle.inclusion_proof(index, size, hashes)), data) for index, data in leaves]


async def _details(work: Work, incident_id: UUID, recorded: Iterable[RecordedEntry]) -> tuple[Detail, ...]:
    """Return the details that entries name, in the entries' order."""
    known = await evidence.details(work.tx, incident_id)
    named = [json.loads(bytes(entry.canonical))["detail_checksum"] for entry in recorded]
    found = [known.get(bytes.fromhex(checksum[2:])) for checksum in named if checksum is not None]
    return tuple(Detail(bytes(one.canonical), tuple(one.disclosures)) for one in found if one is not None)


async def _with_vouchers(work: Work, bundle: Bundle) -> Bundle:
    """Return the bundle with everything that others say by now."""
    size = _size(bundle.checkpoint)
    first = await evidence.first_vouched(work.tx, [entry.index for entry in bundle.entries])
    last = await evidence.last_vouched(work.tx, size)
    sizes = sorted({*first[: MAX_ANCHORS - len(last)], *last, size})
    cosignatures = await evidence.cosignatures(work.tx, sizes)
    timestamps = await evidence.timestamps(work.tx, sizes)
    published = await evidence.checkpoints(work.tx, sizes)
    vouched = {
        one.size: Vouched(one.note, tuple(cosignatures.get(one.size, ())), tuple(timestamps.get(one.size, ())))
        for one in published
    }
    main = vouched.pop(size)
    proofs = await _consistency(work, size, list(vouched))
    anchors = tuple(Anchor(one, proofs[other]) for other, one in vouched.items())
    return replace(bundle, checkpoint=main, anchors=anchors, keys=await _keys(work, [main, *vouched.values()]))


async def _consistency(work: Work, size: int, others: Sequence[int]) -> dict[int, tuple[bytes, ...]]:
    pairs = {other: (min(size, other), max(size, other)) for other in others}
    wanted: list[Coordinate] = [one for pair in pairs.values() for one in merkle.consistency_coordinates(*pair)]
    hashes = await log.hashes(work.tx, wanted)
    return {other: tuple(merkle.consistency_proof(*pair, hashes)) for other, pair in pairs.items()}


async def _keys(work: Work, vouched: Sequence[Vouched]) -> tuple[str, ...]:
    """Return the log's keys that signed these checkpoints."""
    used = {signature.key_id for one in vouched for signature in Note.parse(one.note).signatures}
    named = await named_keys(work)
    return tuple(dict.fromkeys(key for key in named if VerifierKey.parse(key).key_id in used))


def _size(vouched: Vouched) -> int:
    return Checkpoint.parse(Note.parse(vouched.note).text).size
