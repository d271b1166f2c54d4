"""Trees to test with: leaves, and every complete subtree's hash in memory."""

from __future__ import annotations

from collections.abc import Sequence

from tocsin.tlog.merkle import Hashes, append, leaf_hash


def leaves(count: int, salt: str = "") -> list[bytes]:
    return [f"leaf {number}{salt}".encode() for number in range(count)]


def hashes_of(data: Sequence[bytes]) -> Hashes:
    """Every complete subtree over these leaves, by coordinate."""
    nodes = {(level, index): value for level, index, value in append(0, (), list(map(leaf_hash, data))).nodes()}
    return lambda level, index: nodes[level, index]
