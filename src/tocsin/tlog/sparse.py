"""The head tree: a Merkle tree with 2**32 fixed positions, of which only those in use are kept.

At the position of an incident's number is the leaf that says where its timeline stands, so that the tree's root says of
each incident how many entries it has, and of each other position that there is none.

Leaves and nodes are hashed as in RFC 6962, 2.1. An empty position has the hash of the RFC's empty tree, SHA-256 of
nothing, which is the hash of no leaf; above it each level has one constant for "nothing below" (EMPTY). A proof is
the 32 neighbours on the way from the position up to the root, the empty ones among them: its shape has no variants.

What is kept are *groups*: group (level, index) holds the 16 neighbouring hashes of the tree's level 4 * level from
index * 16 on. A change of k positions touches at most 8 * k groups. An empty group need not be there.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tocsin.tlog.errors import ProofError
from tocsin.tlog.merkle import EMPTY_ROOT, HASH_BYTES, node_hash, parents

HEIGHT = 32
MAX_POSITION = (1 << HEIGHT) - 1
GROUP_HEIGHT = 4
GROUP_WIDTH = 1 << GROUP_HEIGHT
GROUP_BYTES = GROUP_WIDTH * HASH_BYTES
GROUP_LEVELS = HEIGHT // GROUP_HEIGHT

Group = tuple[int, int]  # (level of groups, index within it)


def _empty_hashes() -> Iterator[bytes]:
    value = EMPTY_ROOT
    for _ in range(HEIGHT + 1):
        yield value
        value = node_hash(value, value)


EMPTY = tuple(_empty_hashes())  # EMPTY[level]: a subtree of 2**level positions of which none is in use


@dataclass(frozen=True, slots=True)
class Update:
    """What is to be stored after a change: the new root, and the new content (512 bytes) of each touched group."""

    root: bytes
    groups: Mapping[Group, bytes]


def groups_of(positions: Iterable[int]) -> list[Group]:
    """Return the groups on the ways of these positions to the root: what `update` and `prove` have to be given."""
    indexes = set(positions)
    for position in indexes:
        _require_position(position)
    found: list[Group] = []
    for level in range(GROUP_LEVELS):
        indexes = {index // GROUP_WIDTH for index in indexes}
        found += [(level, index) for index in sorted(indexes)]
    return found


def update(groups: Mapping[Group, bytes], leaves: Mapping[int, bytes]) -> Update:
    """Put the leaf hash `leaves[position]` at each position; at least one is needed.

    `groups` holds those of `groups_of(leaves)` that have been stored; one that is not there counts as empty. So
    `update({}, leaves)` builds the tree from nothing.
    """
    if not leaves:
        raise ProofError("an update of the head tree needs a leaf")
    for position, leaf in leaves.items():
        _require_position(position)
        _require_hash("a leaf hash", leaf)
    changed: dict[Group, bytes] = {}
    below = dict(leaves)
    for level in range(GROUP_LEVELS):
        below = _update_level(level, below, groups, changed)
    return Update(below[0], changed)


def root_of(groups: Mapping[Group, bytes]) -> bytes:
    """Return the root hash over stored groups, of which it needs only the topmost."""
    return _roots_of_groups(_content(groups, (GROUP_LEVELS - 1, 0)))[0]


def prove(position: int, groups: Mapping[Group, bytes]) -> list[bytes]:
    """Return the neighbours on the way from a position to the root, from `groups_of([position])` as far as stored."""
    _require_position(position)
    proof = []
    for level in range(GROUP_LEVELS):
        position, place = divmod(position, GROUP_WIDTH)
        content = _content(groups, (level, position))
        hashes = [content[at : at + HASH_BYTES] for at in range(0, GROUP_BYTES, HASH_BYTES)]
        for _ in range(GROUP_HEIGHT):
            proof.append(hashes[place ^ 1])
            hashes, place = parents(hashes), place // 2
    return proof


def verify_position(position: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Verify that the leaf with the hash `leaf` is at a position of the head tree with the hash `root`.

    With EMPTY[0] as the leaf: that nothing is there. Raises ProofError.
    """
    _require_position(position)
    if len(proof) != HEIGHT:
        raise ProofError(f"a proof of the head tree has {HEIGHT} hashes, not {len(proof)}")
    for value in (leaf, root, *proof):
        _require_hash("a hash of the head tree's proof", value)
    found = leaf
    for level, neighbour in enumerate(proof):
        found = node_hash(neighbour, found) if position >> level & 1 else node_hash(found, neighbour)
    if found != root:
        raise ProofError(f"the proof leads from position {position} to another root than that of the head tree")


def _update_level(
    level: int, below: Mapping[int, bytes], groups: Mapping[Group, bytes], changed: dict[Group, bytes]
) -> dict[int, bytes]:
    """Write the hashes `below` into the groups of a level, note what changed, and return the hashes of those groups."""
    places: defaultdict[int, list[tuple[int, bytes]]] = defaultdict(list)
    for index, value in below.items():
        places[index // GROUP_WIDTH].append((index % GROUP_WIDTH * HASH_BYTES, value))
    contents: list[bytes] = []
    for index, written in places.items():
        content = bytearray(_content(groups, (level, index)))
        for at, value in written:
            content[at : at + HASH_BYTES] = value
        changed[level, index] = bytes(content)
        contents.append(changed[level, index])
    # All groups in one go: as each is a power of two wide, none meets its neighbour.
    return dict(zip(places, _roots_of_groups(b"".join(contents)), strict=True))


def _roots_of_groups(contents: bytes) -> list[bytes]:
    sha256 = hashlib.sha256  # as in merkle.parents: the lowest nodes of many groups are most of the work
    pair = 2 * HASH_BYTES
    hashes = [sha256(b"\x01" + contents[at : at + pair]).digest() for at in range(0, len(contents), pair)]
    for _ in range(GROUP_HEIGHT - 1):
        hashes = parents(hashes)
    return hashes


def _content(groups: Mapping[Group, bytes], group: Group) -> bytes:
    content = groups.get(group)
    if content is None:
        return EMPTY[group[0] * GROUP_HEIGHT] * GROUP_WIDTH
    if len(content) != GROUP_BYTES:
        raise ProofError(f"group {group} of the head tree has {len(content)} bytes instead of {GROUP_BYTES}")
    return content


def _require_position(position: int) -> None:
    if not 0 <= position <= MAX_POSITION:
        raise ProofError(f"the head tree has no position {position}")


def _require_hash(what: str, value: bytes) -> None:
    if len(value) != HASH_BYTES:
        raise ProofError(f"{what} has {len(value)} bytes instead of {HASH_BYTES}")
