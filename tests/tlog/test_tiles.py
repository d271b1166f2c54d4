"""Tiles are those of C2SP tlog-tiles, grow only at their end, and give every hash back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tlog import rfc
from tests.tlog.trees import leaves
from tocsin.tlog import ProofError
from tocsin.tlog.merkle import (
    HASH_BYTES,
    append,
    consistency_coordinates,
    consistency_proof,
    inclusion_coordinates,
    inclusion_proof,
    leaf_hash,
    root,
    root_coordinates,
    verify_inclusion,
)
from tocsin.tlog.tiles import (
    MAX_ENTRY_BYTES,
    TILE_WIDTH,
    Tile,
    decode_entries,
    encode_entries,
    entries_path,
    hashes_in,
    new_tiles,
    suffixes,
    tile_of,
    tile_path,
    tiles_of,
)


def tiles_over(count: int, steps: list[int]) -> dict[Tile, bytes]:
    """The tiles of a log of `count` leaves that grew in these steps, each written as a suffix of what was there."""
    tiles: dict[Tile, bytes] = {}
    size, frontier = 0, tuple[bytes, ...]()
    hashed = list(map(leaf_hash, leaves(count)))
    for end in [*sorted(steps), count]:
        growth = append(size, frontier, hashed[size:end])
        for suffix in suffixes(growth):
            tile = suffix.level, suffix.index
            before = tiles.get(tile, b"")
            assert len(before) == suffix.start * HASH_BYTES
            assert 0 < len(suffix.hashes) <= (TILE_WIDTH - suffix.start) * HASH_BYTES
            tiles[tile] = before + suffix.hashes
        size, frontier = growth.size, growth.frontier
    return tiles


@settings(max_examples=20)
@given(st.integers(1, 1500), st.data())
def test_tiles_grow_by_suffixes_to_what_the_size_says(count: int, draw: st.DataObject) -> None:
    tiles = tiles_over(count, draw.draw(st.lists(st.integers(0, count), max_size=4)))
    assert {tile: len(data) // HASH_BYTES for tile, data in tiles.items()} == {
        (level, index): width for level, index, width in new_tiles(0, count)
    }
    assert tiles == tiles_over(count, [])


def test_a_tile_holds_the_hashes_that_the_format_says() -> None:
    count = 700
    data = leaves(count)
    tiles = tiles_over(count, [])
    for (level, index), content in tiles.items():
        below = TILE_WIDTH**level
        for i in range(len(content) // HASH_BYTES):
            start = (index * TILE_WIDTH + i) * below
            assert content[i * HASH_BYTES :][:HASH_BYTES] == rfc.mth(data[start : start + below])
            assert start + below <= count


def test_a_log_of_70_000_leaves_has_the_tiles_of_the_format_s_example() -> None:
    tiles = new_tiles(0, 70_000)
    assert len(tiles) == 277
    assert tiles[:273] == [(0, index, 256) for index in range(273)]
    assert tiles[273:] == [(0, 273, 112), (1, 0, 256), (1, 1, 17), (2, 0, 1)]
    assert new_tiles(0, 256) == [(0, 0, 256), (1, 0, 1)]
    assert new_tiles(0, 0) == []


@given(st.integers(0, 200_000), st.integers(0, 3000))
def test_new_tiles_are_those_that_were_not_there_before(old: int, more: int) -> None:
    assert set(new_tiles(old, old + more)) == set(new_tiles(0, old + more)) - set(new_tiles(0, old))


BIG = 1300
BIG_TILES = tiles_over(BIG, [])
BIG_LEAVES = leaves(BIG)


@given(st.integers(1, BIG), st.data())
def test_proofs_from_the_tiles_they_name_are_those_of_the_rfc(size: int, draw: st.DataObject) -> None:
    index = draw.draw(st.integers(0, size - 1))
    data = BIG_LEAVES[:size]
    for coordinates, expected in (
        (inclusion_coordinates(index, size), rfc.path(index, data)),
        (consistency_coordinates(index + 1, size), rfc.proof(index + 1, data)),
        (root_coordinates(size), [rfc.mth(data)]),
    ):
        hashes = hashes_in({tile: BIG_TILES[tile] for tile in tiles_of(coordinates)})
        if coordinates == root_coordinates(size):
            assert root(size, hashes) in expected
        elif expected == rfc.path(index, data):
            assert inclusion_proof(index, size, hashes) == expected
            verify_inclusion(index, size, leaf_hash(data[index]), expected, rfc.mth(data))
        else:
            assert consistency_proof(index + 1, size, hashes) == expected


def test_a_tile_that_is_missing_or_too_short_is_named() -> None:
    with pytest.raises(ProofError, match="tile tile/0/002 is missing"):
        hashes_in({})(0, 512)
    with pytest.raises(ProofError, match="tile tile/0/001 is missing, or too short for the hash 3 of level 7"):
        hashes_in({(0, 1): bytes(32 * 255)})(7, 3)
    for size in (33, 32 * 257):
        with pytest.raises(ProofError, match="at most 256 hashes"):
            hashes_in({(0, 0): bytes(size)})(0, 0)
    assert tile_of(7, 3) == (0, 1)
    assert tile_of(8, 300) == (1, 1)
    assert tile_of(10, 3) == (1, 0)


# Where they are


@pytest.mark.parametrize(
    ("index", "path"), [(0, "000"), (5, "005"), (999, "999"), (1000, "x001/000"), (1234067, "x001/x234/067")]
)
def test_paths_are_those_of_the_format(index: int, path: str) -> None:
    assert tile_path(0, index) == f"tile/0/{path}"
    assert tile_path(63, index, 5) == f"tile/63/{path}.p/5"
    assert entries_path(index) == f"tile/entries/{path}"
    assert entries_path(index, 255) == f"tile/entries/{path}.p/255"


@pytest.mark.parametrize(("level", "index", "width"), [(-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)])
def test_tiles_that_cannot_be_have_no_path(level: int, index: int, width: int) -> None:
    with pytest.raises(ProofError):
        tile_path(level, index, width)


# Entries


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_bundle_reads_back(entries: list[bytes]) -> None:
    assert decode_entries(encode_entries(entries)) == entries


def test_a_bundle_is_lengths_and_entries() -> None:
    assert encode_entries([b"abc", b"", b"x" * 256]) == b"\0\3abc" + b"\0\0" + b"\1\0" + b"x" * 256
    assert decode_entries(b"") == []


@pytest.mark.parametrize("bundle", [b"\0", b"\0\1", b"\0\3ab", b"\0\1a\0", b"\0\1a\xff\xffx", b"\0\0" * 257])
def test_a_bundle_that_is_cut_off_or_too_long_is_refused(bundle: bytes) -> None:
    with pytest.raises(ProofError, match="cut off or too long"):
        decode_entries(bundle)


def test_a_bundle_is_bounded() -> None:
    assert len(decode_entries(encode_entries([b"x" * MAX_ENTRY_BYTES] * TILE_WIDTH))) == TILE_WIDTH
    for entries in ([b""] * (TILE_WIDTH + 1), [b"x" * (MAX_ENTRY_BYTES + 1)]):
        with pytest.raises(ProofError, match="at most"):
            encode_entries(entries)
