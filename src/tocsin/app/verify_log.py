"""Recomputes the log from its leaves: the tree, its tiles, the head tree, and the root of every checkpoint ever signed.

If each of them is the root of a beginning of one and the same tree, all are consistent with each other: no proof is
needed. What is kept outside of the database (the signer's memory, copies of checkpoints) is held against the same tree.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from tocsin.app.verify_result import Counted, Verification
from tocsin.domain.log_leaf import Heads, KeyChange, LeafKind, head_leaf
from tocsin.store import log
from tocsin.store import log_verification as kept
from tocsin.store.database import Tx
from tocsin.tlog import sparse
from tocsin.tlog.checkpoint import Checkpoint, verified
from tocsin.tlog.errors import ProofError
from tocsin.tlog.merkle import HASH_BYTES, append, leaf_hash, parents
from tocsin.tlog.note import Note, VerifierKey
from tocsin.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, Tile

LOG, CHECKPOINTS = "log_entries", "log_checkpoints"
_HEADS_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class OutsideCheckpoint:
    """What somebody outside of the database knows of the log; `source` is how people call it."""

    source: str
    size: int
    root: bytes
    note: str = ""

    @classmethod
    def of_note(cls, source: str, note: str) -> OutsideCheckpoint:
        """Read a signed checkpoint; raises ProofError when it is none. Its signature is verified later."""
        checkpoint = Checkpoint.parse(Note.parse(note).text)
        return cls(source, checkpoint.size, checkpoint.root, note)


@dataclass(frozen=True, slots=True)
class _Claim:
    """That the log has this root at this size: by a published checkpoint, or by somebody outside (then `source`)."""

    size: int
    root: bytes
    note: str
    source: str = ""


async def verify_log(
    tx: Tx,
    result: Verification,
    counted: Counted,
    outside: Sequence[OutsideCheckpoint] = (),
    known: Sequence[VerifierKey] = (),
) -> None:
    """Check the log of an open snapshot and add to the result; `known` are keys that somebody outside knows."""
    state, condition = await log.state(tx), await log.condition(tx)
    result.leaves, result.waiting = state.size, condition.waiting
    for odd in await kept.odd_entries(tx):
        name = f"INC-{odd.number}" if odd.number is not None else "of no incident"
        place = f", leaf {odd.index}" if odd.index is not None else ""
        result.add(LOG, f"{name} entry {odd.sequence}{place}", odd.problem)
    for index in await kept.broken_leaves(tx):
        result.add(LOG, f"leaf {index}", "its bytes are not those that were hashed")
    keys = await _keys(tx, result)
    size = await _Tree(result, counted, keys, known).check(tx, outside)
    if size is not None and size != state.size:
        result.add("log_state", "size", f"it says {state.size:,} leaves, and there are {size:,}")
    await _check_heads(tx, result, state.size)


async def _keys(tx: Tx, result: Verification) -> list[VerifierKey]:
    """Return the keys that the log itself names, in the order in which they began to sign."""
    keys = []
    for found in await log.leaves_of_kind(tx, LeafKind.KEY):
        try:
            keys.append(VerifierKey.parse(KeyChange.parse(found.leaf).new))
        except ValueError as error:
            result.add(LOG, f"leaf {found.index}", f"it names no key: {error}")
    return keys


class _Tree:
    """The tree as it grows leaf by leaf, and the claims that are checked on the way."""

    def __init__(
        self, result: Verification, counted: Counted, keys: Sequence[VerifierKey], known: Sequence[VerifierKey]
    ) -> None:
        self._result = result
        self._counted = counted
        self._keys = keys
        self._known = known
        self._size = 0
        self._frontier: tuple[bytes, ...] = ()
        self._tile_roots: list[bytes] = []

    async def check(self, tx: Tx, outside: Sequence[OutsideCheckpoint]) -> int | None:
        """Grow the whole tree; return its size, or None when leaves are missing: then there is no tree."""
        claims = _claims(tx, outside)
        claim = await anext(claims, None)
        tiles = 0
        async for tile in kept.leaf_tiles(tx):
            hashes = _split(tile.hashes)
            after = tile.first + len(hashes)
            if tile.first != self._size or tile.first % TILE_WIDTH or tile.last != after - 1:
                self._result.add(LOG, f"leaf {self._size}", "it is missing: the log has a gap, so no tree can be made")
                return None
            if not tile.kept:
                self._result.add("log_tiles", f"level 0, {tiles}", "it is not made of the leaves that it stands for")
            tiles += 1
            while claim is not None and claim.size <= after:
                self._grow(hashes[self._size - tile.first : claim.size - tile.first])
                self._check_claim(claim)
                claim = await anext(claims, None)
            self._grow(hashes[self._size - tile.first :])
            if len(hashes) == TILE_WIDTH:
                self._tile_roots.append(_tile_root(hashes))
            self._counted.add(len(hashes))
        while claim is not None:
            self._refuse_longer(claim)
            claim = await anext(claims, None)
        await self._check_upper_tiles(tx, tiles)
        return self._size

    def _grow(self, hashes: list[bytes]) -> None:
        if hashes:
            growth = append(self._size, self._frontier, hashes)
            self._size, self._frontier = growth.size, growth.frontier

    def _check_claim(self, claim: _Claim) -> None:
        root = append(self._size, self._frontier, []).root
        if root != claim.root:
            where = claim.source or "this checkpoint"
            self._add(claim, f"the first {claim.size:,} leaves are not those of {where}: the log was rewritten since")
        self._check_note(claim)
        if claim.source:
            self._result.outside.append(f"{claim.source}, of {claim.size:,} leaves")
        else:
            self._result.checkpoints += 1
            self._result.signed_size = claim.size

    def _check_note(self, claim: _Claim) -> None:
        """Verify the signatures: one by a key that the log names at least, and none by such a key that is false."""
        if claim.source and not claim.note:
            return
        try:
            note = Note.parse(claim.note)
            signed_by = {(line.name, line.key_id) for line in note.signatures}
            keys = [key for key in self._keys if (key.name, key.key_id) in signed_by]
            if not keys:
                self._add(claim, "it is signed by no key that the log names")
            known = [key for key in self._known if (key.name, key.key_id) in signed_by]
            for key in (*keys, *known):
                checkpoint = verified(note, key)
                if (checkpoint.size, checkpoint.root) != (claim.size, claim.root):
                    self._add(claim, "its note says something else")
            if known:
                self._result.known_key_size = max(self._result.known_key_size, claim.size)
        except ProofError as error:
            self._add(claim, f"its note does not hold: {error}")

    def _refuse_longer(self, claim: _Claim) -> None:
        self._check_note(claim)
        who = claim.source or "this checkpoint"
        self._add(
            claim,
            f"the log has {self._size:,} leaves, and {who} knows of {claim.size:,}: the last ones were removed, or an "
            "older backup was restored",
        )

    def _add(self, claim: _Claim, problem: str) -> None:
        self._result.add(CHECKPOINTS, claim.source or f"size {claim.size}", problem)

    async def _check_upper_tiles(self, tx: Tx, tiles: int) -> None:
        if await kept.leaf_tile_count(tx) != tiles:
            self._result.add("log_tiles", "level 0", f"there should be {tiles:,}")
        expected, found = _upper_tiles(self._tile_roots), await kept.upper_tiles(tx)
        for level, index in sorted(expected.keys() | found.keys()):
            if expected.get((level, index)) != found.get((level, index)):
                self._result.add("log_tiles", f"level {level}, {index}", "it is not made of the tiles below it")


def _upper_tiles(roots: list[bytes]) -> dict[Tile, bytes]:
    tiles: dict[Tile, bytes] = {}
    level = 1
    while roots:
        for at in range(0, len(roots), TILE_WIDTH):
            tiles[level, at // TILE_WIDTH] = b"".join(roots[at : at + TILE_WIDTH])
        full = range(0, len(roots) - TILE_WIDTH + 1, TILE_WIDTH)
        roots = [_tile_root(roots[at : at + TILE_WIDTH]) for at in full]
        level += 1
    return tiles


def _tile_root(hashes: list[bytes]) -> bytes:
    for _ in range(TILE_HEIGHT):
        hashes = parents(hashes)
    return hashes[0]


def _split(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


async def _claims(tx: Tx, outside: Sequence[OutsideCheckpoint]) -> AsyncIterator[_Claim]:
    """Yield what is claimed of the log, the smallest size first."""
    others = [_Claim(one.size, one.root, one.note, one.source) for one in sorted(outside, key=_size) if one.size]
    async for size, root, note in kept.checkpoints(tx):
        while others and others[0].size <= size:
            yield others.pop(0)
        yield _Claim(size, root, note)
    for other in others:
        yield other


def _size(one: OutsideCheckpoint) -> int:
    return one.size


async def _check_heads(tx: Tx, result: Verification, size: int) -> None:
    """Make the head tree anew from what the log has of each incident; compare what is kept and what is committed."""
    groups: dict[sparse.Group, bytes] = {}
    leaves: dict[int, bytes] = {}
    incidents, root = 0, sparse.EMPTY[sparse.HEIGHT]
    async for newest in kept.newest_entries(tx):
        head = head_leaf(newest.number, newest.incident_id or "", newest.sequence, newest.checksum)
        leaves[newest.number] = leaf_hash(head)
        incidents += 1
        if len(leaves) == _HEADS_CHUNK:
            root = _put(groups, leaves)
    if leaves:
        root = _put(groups, leaves)
    if await kept.head_nodes(tx) != groups:
        result.add("log_head_nodes", "the head tree", "its nodes are not those of the newest entries in the log")
    committed = await log.leaf_at(tx, size - 1) if size else None
    if size and committed != Heads(root, incidents).encode():
        problem = "it does not commit to the newest entries of all incidents, as the last leaf must"
        result.add(LOG, f"leaf {size - 1}", problem)


def _put(groups: dict[sparse.Group, bytes], leaves: dict[int, bytes]) -> bytes:
    update = sparse.update(groups, leaves)
    changed: Mapping[sparse.Group, bytes] = update.groups
    groups.update(changed)
    leaves.clear()
    return update.root
