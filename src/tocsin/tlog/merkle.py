"""The Merkle tree of RFC 6962, 2.1, with SHA-256: hashes, growth, proofs and their verification.

A *coordinate* (level, index) names the complete subtree over the leaves index * 2**level up to (index + 1) * 2**level.
Only complete subtrees are ever stored: their hashes never change. A tree of any size is a row of complete subtrees,
its *peaks*, one for each bit that is set in the size, the largest first; folding them from the right gives the root.

The functions that need hashes ask for them through a function `hashes(level, index)`. Who has to fetch them first, asks
the `…_coordinates` function of the same name which those are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

from tocsin.tlog.errors import ProofError

HASH_BYTES = 32
MAX_SIZE = 2**63 - 1  # what every implementation can count to, those with signed integers included
EMPTY_ROOT = hashlib.sha256(b"").digest()

Coordinate = tuple[int, int]
Hashes = Callable[[int, int], bytes]


def leaf_hash(data: bytes) -> bytes:
    """Return the hash (32 bytes) of a leaf: sha256(0x00 || data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash (32 bytes) of the node over two hashes: sha256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def parents(hashes: Sequence[bytes]) -> list[bytes]:
    """Return the hash of the node over each two neighbours: the level above them. A last odd one is left out."""
    sha256 = hashlib.sha256  # this line runs millions of times: no call of ours in it
    one = iter(hashes)
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(one, one, strict=False)]


# Growing


@dataclass(frozen=True, slots=True)
class Growth:
    """What appending made of a tree: its new size and peaks, and the complete subtrees that are new.

    `levels[l]` is the index of the first new coordinate of level l and the hashes from there on, without a gap.
    """

    size: int
    frontier: tuple[bytes, ...]
    levels: tuple[tuple[int, list[bytes]], ...]

    @property
    def root(self) -> bytes:
        return _folded(self.frontier) if self.frontier else EMPTY_ROOT

    def nodes(self) -> Iterator[tuple[int, int, bytes]]:
        """Iterate over (level, index, hash) of the new complete subtrees, the leaves among them."""
        for level, (first, hashes) in enumerate(self.levels):
            for index, value in enumerate(hashes, first):
                yield level, index, value


def append(size: int, frontier: Sequence[bytes], leaf_hashes: Sequence[bytes]) -> Growth:
    """Append leaves to a tree of which nothing is known but its size and its peaks (`frontier`, the largest first)."""
    if len(frontier) != size.bit_count():
        raise ProofError(f"a tree of {size} leaves has {size.bit_count()} peaks, not {len(frontier)}")
    _require_hashes("a peak", frontier)
    new_size = size + len(leaf_hashes)
    waiting = list(frontier)  # its last is the lowest
    peaks: list[bytes] = []
    levels: list[tuple[int, list[bytes]]] = []
    hashes = list(leaf_hashes)
    for level in range(new_size.bit_length()):
        if hashes:
            levels.append((size >> level, hashes))
        if size >> level & 1:  # the old peak of this level is the left neighbour of the first new hash
            hashes = [waiting.pop(), *hashes]
        if new_size >> level & 1:
            peaks.append(hashes[-1])
        hashes = parents(hashes)
    return Growth(new_size, tuple(reversed(peaks)), tuple(levels))


# Roots


def root_coordinates(size: int) -> list[Coordinate]:
    """Return the peaks of a tree of `size` leaves, the largest first."""
    _require_size(size)
    levels = [level for level in range(size.bit_length()) if size >> level & 1]
    return [(level, (size >> level) - 1) for level in reversed(levels)]


def root(size: int, hashes: Hashes) -> bytes:
    """Return the root hash of a tree of `size` leaves; it asks for `root_coordinates(size)`."""
    return _fold(root_coordinates(size), hashes) if size else EMPTY_ROOT


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root hash over these leaf hashes."""
    return append(0, (), leaf_hashes).root


# Proofs, made


def inclusion_coordinates(index: int, size: int) -> list[Coordinate]:
    """Return what `inclusion_proof` will ask for."""
    return [coordinate for group in _inclusion_path(index, size) for coordinate in group]


def inclusion_proof(index: int, size: int, hashes: Hashes) -> list[bytes]:
    """Return PATH(index, D[size]) of RFC 6962, 2.1.1: the neighbours on the way from the leaf to the root."""
    return [_fold(group, hashes) for group in _inclusion_path(index, size)]


def consistency_coordinates(old: int, new: int) -> list[Coordinate]:
    """Return what `consistency_proof` will ask for."""
    return [coordinate for group in _consistency_path(old, new) for coordinate in group]


def consistency_proof(old: int, new: int, hashes: Hashes) -> list[bytes]:
    """Return PROOF(old, D[new]) of RFC 6962, 2.1.2, for 0 < old <= new: the first `old` leaves are still the same.

    Nothing can be proven of a tree without leaves, so `old` = 0 raises ProofError.
    """
    return [_fold(group, hashes) for group in _consistency_path(old, new)]


def _inclusion_path(index: int, size: int) -> list[list[Coordinate]]:
    _require_size(size)
    if not 0 <= index < size:
        raise ProofError(f"a tree of {size} leaves has no leaf {index}")
    return _path(0, index, size)


def _consistency_path(old: int, new: int) -> list[list[Coordinate]]:
    """The old tree's smallest peak, left out where it is the old root itself, and its way to the new root."""
    _require_sizes(old, new)
    if old == new:
        return []
    level, index = root_coordinates(old)[-1]
    start = [[(level, index)]] if old.bit_count() > 1 else []
    return [*start, *_path(level, index, new)]


def _path(level: int, index: int, size: int) -> list[list[Coordinate]]:
    """The way from a complete subtree to the root of a tree: what is to be folded into one hash, for each step.

    Within the peak above it that is one neighbour a level; then all smaller peaks in one; then each larger peak.
    """
    peaks = root_coordinates(size)
    above = next(
        number for number, (high, place) in enumerate(peaks) if high >= level and index >> high - level == place
    )
    neighbours = [[(low, index >> low - level ^ 1)] for low in range(level, peaks[above][0])]
    smaller = [peaks[above + 1 :]] if above + 1 < len(peaks) else []
    return [*neighbours, *smaller, *([peak] for peak in reversed(peaks[:above]))]


def _fold(group: Sequence[Coordinate], hashes: Hashes) -> bytes:
    found = [hashes(level, index) for level, index in group]
    _require_hashes("a stored hash", found)
    return _folded(found)


def _folded(peaks: Sequence[bytes]) -> bytes:
    return reduce(lambda right, left: node_hash(left, right), reversed(peaks))


# Proofs, verified


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Verify that the leaf with the hash `leaf` is at `index` of the tree of `size` leaves with the hash `root`.

    RFC 9162, 2.1.3.2, with the number of hashes known beforehand. Raises ProofError.
    """
    _require_size(size)
    if not 0 <= index < size:
        raise ProofError(f"a tree of {size} leaves has no leaf {index}")
    _require_hashes("the leaf hash or the root hash", [leaf, root])
    inner, border = _lengths(index, size)
    _require_length(proof, inner + border)
    if _climb(leaf, index, proof[:inner], proof[inner:]) != root:
        raise ProofError(f"the proof leads from leaf {index} to another root than that of the tree of {size} leaves")


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Verify that the tree with `new_root` begins with all leaves of the tree with `old_root`, in their order.

    RFC 9162, 2.1.4.2, with the number of hashes known beforehand. Raises ProofError, also for `old` = 0: every tree
    begins with nothing, so such a proof would say nothing, and who accepts it has forgotten what it saw before.
    """
    _require_sizes(old, new)
    _require_hashes("a root hash", [old_root, new_root])
    if old == new:
        _require_length(proof, 0)
        if old_root != new_root:
            raise ProofError(f"two different trees of {old} leaves: the log was forked")
        return
    level = (old & -old).bit_length() - 1  # of the old tree's smallest peak
    inner, border = _lengths(old - 1, new)
    inner -= level
    told = int(old.bit_count() > 1)  # a single peak is the old root itself and not part of the proof
    _require_length(proof, told + inner + border)
    start = proof[0] if told else old_root
    index = (old - 1) >> level
    steps, outer = proof[told : told + inner], proof[told + inner :]
    lefts = [step for height, step in enumerate(steps) if index >> height & 1]
    if reduce(lambda right, left: node_hash(left, right), [*lefts, *outer], start) != old_root:
        raise ProofError(f"the proof does not lead to the old root: the tree of {new} leaves has another beginning")
    if _climb(start, index, steps, outer) != new_root:
        raise ProofError(f"the proof does not lead to the root of the tree of {new} leaves")


def _lengths(index: int, size: int) -> tuple[int, int]:
    """How many hashes of a proof are below the place where the leaf's way meets the right edge, and how many above."""
    inner = (index ^ (size - 1)).bit_length()
    return inner, (index >> inner).bit_count()


def _climb(start: bytes, index: int, inner: Sequence[bytes], border: Sequence[bytes]) -> bytes:
    found = start
    for level, neighbour in enumerate(inner):
        found = node_hash(neighbour, found) if index >> level & 1 else node_hash(found, neighbour)
    return reduce(lambda right, left: node_hash(left, right), border, found)


def _require_size(size: int) -> None:
    if not 0 <= size <= MAX_SIZE:
        raise ProofError(f"a tree cannot have {size} leaves")


def _require_sizes(old: int, new: int) -> None:
    _require_size(new)
    if not 0 < old <= new:
        raise ProofError(f"there is no proof that a tree of {new} leaves continues one of {old}")


def _require_length(proof: Sequence[bytes], length: int) -> None:
    if len(proof) != length:
        raise ProofError(f"this proof has {length} hashes, not {len(proof)}")
    _require_hashes("a hash of the proof", proof)


def _require_hashes(what: str, hashes: Sequence[bytes]) -> None:
    for value in hashes:
        if len(value) != HASH_BYTES:
            raise ProofError(f"{what} has {len(value)} bytes instead of {HASH_BYTES}")
