"""Tiles (c2sp.org/tlog-tiles): how the hashes and the entries of a log are kept and served, as files that only grow.

A tile (level, index) is nothing but up to 256 neighbouring hashes of the tree's level 8 * level, 32 bytes each. It is
full, or the last one of its level. The hashes of the levels between are computed from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tocsin.tlog.errors import ProofError
from tocsin.tlog.merkle import HASH_BYTES, Coordinate, Growth, Hashes, parents

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
MAX_ENTRY_BYTES = 65_535  # a bundle gives the length in two bytes
LENGTH_BYTES = 2

Tile = tuple[int, int]  # (level of tiles, index within it)


@dataclass(frozen=True, slots=True)
class Suffix:
    """What is to be appended to a tile that has `start` hashes so far."""

    level: int
    index: int
    start: int
    hashes: bytes


def suffixes(growth: Growth) -> list[Suffix]:
    """Return what a tree's growth adds to its tiles, those of level 0 first."""
    found = []
    for tree_level in range(0, len(growth.levels), TILE_HEIGHT):
        position, hashes = growth.levels[tree_level]
        while hashes:
            index, start = divmod(position, TILE_WIDTH)
            taken, hashes = hashes[: TILE_WIDTH - start], hashes[TILE_WIDTH - start :]
            found.append(Suffix(tree_level // TILE_HEIGHT, index, start, b"".join(taken)))
            position += len(taken)
    return found


def new_tiles(old: int, new: int) -> list[tuple[int, int, int]]:
    """Return (level, index, width) of each tile that a log of `new` leaves has and one of `old` leaves has not.

    `old` = 0 gives all of them; so a copy elsewhere is brought up to date.
    """
    found = []
    level = 0
    while count := new >> level * TILE_HEIGHT:
        before = old >> level * TILE_HEIGHT
        if before < count:
            for index in range(before // TILE_WIDTH, -(-count // TILE_WIDTH)):
                found.append((level, index, min(TILE_WIDTH, count - index * TILE_WIDTH)))
        level += 1
    return found


def tile_of(level: int, index: int) -> Tile:
    """Return the tile from which the hash of a coordinate is taken or computed."""
    return level // TILE_HEIGHT, index >> TILE_HEIGHT - level % TILE_HEIGHT


def tiles_of(coordinates: Iterable[Coordinate]) -> list[Tile]:
    """Return the tiles that hold all of these coordinates, each once: fetch them, then ask `hashes_in`."""
    return sorted({tile_of(level, index) for level, index in coordinates})


def hashes_in(tiles: Mapping[Tile, bytes]) -> Hashes:
    """Return the function with which merkle's proofs ask for hashes, answered from tiles (full or not)."""
    pyramids: dict[Tile, list[list[bytes]]] = {}  # what is computed of a tile, once for all proofs

    def hash_at(level: int, index: int) -> bytes:
        tile = tile_of(level, index)
        above = level % TILE_HEIGHT  # how many levels above the tile's own hashes
        if tile not in pyramids:
            pyramids[tile] = _pyramid(tiles.get(tile, b""))
        place = index - (tile[1] << TILE_HEIGHT - above)
        found = pyramids[tile][above]
        if place >= len(found):
            raise ProofError(f"tile {tile_path(*tile)} is missing, or too short for the hash {index} of level {level}")
        return found[place]

    return hash_at


def _pyramid(tile: bytes) -> list[list[bytes]]:
    """The hashes of a tile, and those of the complete subtrees over them for each of the seven levels above."""
    if len(tile) % HASH_BYTES or len(tile) > TILE_WIDTH * HASH_BYTES:
        raise ProofError(f"a tile has at most {TILE_WIDTH} hashes of {HASH_BYTES} bytes, not {len(tile)} bytes")
    levels = [[tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]]
    while len(levels) < TILE_HEIGHT:
        levels.append(parents(levels[-1]))
    return levels


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Return where a tile is served: `tile/<L>/<N>`, with `.p/<W>` when it is not full."""
    if not 0 <= level <= 63:
        raise ProofError(f"there are no tiles of level {level}")
    return f"tile/{level}/{_number_path(index, width)}"


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return where the entries of a tile of level 0 are served: `tile/entries/<N>`, `.p/<W>` when it is not full."""
    return f"tile/entries/{_number_path(index, width)}"


def _number_path(index: int, width: int) -> str:
    """Three digits an element, all but the last one marked: 1234067 is x001/x234/067."""
    if index < 0 or not 0 < width <= TILE_WIDTH:
        raise ProofError(f"there is no tile {index} with {width} hashes")
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([*("x" + group for group in groups[:-1]), groups[-1]])
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """Return the bundle of the entries of one tile: each after its length, two bytes, the higher one first."""
    if len(entries) > TILE_WIDTH or any(len(entry) > MAX_ENTRY_BYTES for entry in entries):
        raise ProofError(f"a bundle has at most {TILE_WIDTH} entries of at most {MAX_ENTRY_BYTES} bytes")
    return b"".join(len(entry).to_bytes(LENGTH_BYTES, "big") + entry for entry in entries)


def decode_entries(bundle: bytes) -> list[bytes]:
    """Read a bundle of entries; raises ProofError for one that is cut off or has more than 256 entries."""
    entries: list[bytes] = []
    at = 0
    while at < len(bundle):
        start = at + LENGTH_BYTES
        at = start + int.from_bytes(bundle[at:start], "big")
        if start > len(bundle) or at > len(bundle) or len(entries) == TILE_WIDTH:
            raise ProofError(f"the bundle of entries is cut off or too long after {len(entries)} entries")
        entries.append(bundle[start:at])
    return entries
