"""How long the log's mathematics take: appending leaves, proofs from tiles, and changing the head tree. No database."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from time import process_time

from tocsin.tlog import sparse, tiles
from tocsin.tlog.merkle import append, consistency_coordinates, consistency_proof, inclusion_proof

LEAVES = 1_000_000
CHANGED = 10_000
PROOFS = 1_000
ROUNDS = 3
GOAL_APPEND_SECONDS = 1.2
GOAL_CHANGE_SECONDS = 0.2


def best(work: Callable[[], object]) -> float:
    """Return the processor time of the shortest of a few rounds, in seconds: nothing here waits for anything."""
    taken = []
    for _ in range(ROUNDS):
        started = process_time()
        work()
        taken.append(process_time() - started)
    return min(taken)


def main() -> int:
    argparse.ArgumentParser(prog="bench merkle", description=__doc__).parse_args()
    leaves = [hashlib.sha256(number.to_bytes(8, "big")).digest() for number in range(LEAVES)]
    pair = b"\x01" + leaves[0] + leaves[1]
    bare = best(lambda: [hashlib.sha256(pair).digest() for _ in range(LEAVES)])
    print(f"baseline: {LEAVES:,} times SHA-256 of 65 bytes          {bare:8.3f} s")

    appended = best(lambda: append(0, (), leaves))
    print(f"append {LEAVES:,} leaves at once                    {appended:8.3f} s   {appended / bare:.2f} × baseline")
    _proofs(leaves)

    built = sparse.update({}, dict(enumerate(leaves)))
    step = LEAVES // CHANGED
    changes = {position * step + position % step: leaves[-position] for position in range(CHANGED)}
    changed = best(lambda: sparse.update(built.groups, changes))
    groups = len(sparse.groups_of(changes))
    print(f"change {CHANGED:,} of {LEAVES:,} positions ({groups:,} groups) {changed:8.3f} s")
    one = best(lambda: [sparse.update(built.groups, {position: leaves[0]}) for position in range(PROOFS)])
    print(f"change one position                               {one / PROOFS * 1e6:8.0f} µs")
    return int(appended > GOAL_APPEND_SECONDS or changed > GOAL_CHANGE_SECONDS)


def _proofs(leaves: list[bytes]) -> None:
    kept: dict[tiles.Tile, bytes] = {}
    for suffix in tiles.suffixes(append(0, (), leaves)):
        kept[suffix.level, suffix.index] = suffix.hashes
    hashes = tiles.hashes_in(kept)
    places = range(0, LEAVES, LEAVES // PROOFS)
    proofs = best(lambda: [inclusion_proof(place, LEAVES, hashes) for place in places])
    print(f"an inclusion proof from tiles                     {proofs / PROOFS * 1e6:8.0f} µs")
    sizes = range(1, LEAVES, LEAVES // PROOFS)
    proofs = best(lambda: [consistency_proof(size, LEAVES, hashes) for size in sizes])
    most = max(len(tiles.tiles_of(consistency_coordinates(size, LEAVES))) for size in sizes)
    print(f"a consistency proof from tiles (at most {most} of them)  {proofs / PROOFS * 1e6:8.0f} µs")


if __name__ == "__main__":
    sys.exit(main())
