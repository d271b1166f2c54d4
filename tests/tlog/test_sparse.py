"""The head tree says of each position what is there, and that nothing is."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.tlog import ProofError
from tocsin.tlog.merkle import EMPTY_ROOT, leaf_hash
from tocsin.tlog.sparse import (
    EMPTY,
    GROUP_BYTES,
    HEIGHT,
    MAX_POSITION,
    groups_of,
    prove,
    root_of,
    update,
    verify_position,
)

HASH = bytes(32)
# Neighbours and far ones alike.
positions = st.one_of(st.integers(0, 70), st.integers(0, MAX_POSITION), st.just(MAX_POSITION))
contents = st.dictionaries(positions, st.binary(max_size=8).map(leaf_hash), min_size=1, max_size=20)


def naive_root(leaves: Mapping[int, bytes], level: int = HEIGHT, first: int = 0) -> bytes:
    """The root by the definition: SHA-256 over the whole tree from above, with the empty parts left to recursion."""
    if level == 0:
        return leaves.get(first, sha256().digest())
    half = 2 ** (level - 1)
    if not leaves:
        below = naive_root({}, level - 1)
        return sha256(b"\x01" + below + below).digest()
    left = {position: leaf for position, leaf in leaves.items() if position < first + half}
    right = {position: leaf for position, leaf in leaves.items() if position >= first + half}
    return sha256(b"\x01" + naive_root(left, level - 1, first) + naive_root(right, level - 1, first + half)).digest()


@settings(max_examples=30)
@given(contents)
def test_the_root_is_that_of_the_whole_tree(leaves: dict[int, bytes]) -> None:
    assert update({}, leaves).root == naive_root(leaves)


@given(contents, contents)
def test_an_update_needs_only_the_groups_on_its_way(before: dict[int, bytes], more: dict[int, bytes]) -> None:
    stored = dict(update({}, before).groups)
    needed = groups_of(more)
    change = update({group: stored[group] for group in needed if group in stored}, more)
    assert set(change.groups) == set(needed)
    assert all(len(content) == GROUP_BYTES for content in change.groups.values())
    stored |= change.groups
    at_once = update({}, before | more)
    assert stored == at_once.groups
    assert change.root == at_once.root == root_of(stored)


@given(contents, positions)
def test_every_position_can_be_proven_in_use_or_not(leaves: dict[int, bytes], position: int) -> None:
    change = update({}, leaves)
    for place in [position, *leaves]:
        groups = {group: change.groups[group] for group in groups_of([place]) if group in change.groups}
        proof = prove(place, groups)
        there = leaves.get(place, EMPTY[0])
        verify_position(place, there, proof, change.root)
        for wrong in (HASH, EMPTY[0] if place in leaves else leaf_hash(b"something")):
            with pytest.raises(ProofError, match="another root"):
                verify_position(place, wrong, proof, change.root)
        with pytest.raises(ProofError, match="another root"):
            verify_position(place ^ 1, there, proof, update({}, {place: HASH}).root)


@given(contents, st.data())
def test_a_damaged_proof_is_refused(leaves: dict[int, bytes], draw: st.DataObject) -> None:
    change = update({}, leaves)
    place, leaf = draw.draw(st.sampled_from(sorted(leaves.items())))
    proof = prove(place, change.groups)
    at = draw.draw(st.integers(0, HEIGHT - 1))
    replaced = [*proof[:at], HASH, *proof[at + 1 :]]
    for wrong in (replaced, proof[1:], [*proof, HASH], proof[::-1], [], [*proof[:at], b"", *proof[at + 1 :]]):
        with pytest.raises(ProofError):
            verify_position(place, leaf, wrong, change.root)


def test_the_empty_hashes_are_these_for_ever() -> None:
    assert EMPTY[0] == EMPTY_ROOT == sha256().digest()
    assert EMPTY[1].hex() == sha256(b"\x01" + sha256().digest() * 2).hexdigest()
    assert len(EMPTY) == 33
    assert EMPTY[HEIGHT].hex() == "110802eed7ed6fc668cb4f9cf91d014ad7f92596e68267228cf6db3a7f0d9731"
    assert root_of({}) == EMPTY[HEIGHT]
    assert (
        update({}, {42: leaf_hash(b"x")}).root.hex()
        == "5682d5fc2174108e992caeac0f1fba9da92cae832b3bd6d380bacf157daffdf9"
    )


def test_hashes_and_groups_have_their_length() -> None:
    proof = prove(0, {})
    verify_position(0, EMPTY[0], proof, EMPTY[HEIGHT])
    for bad in (b"", HASH[:31], bytes(33)):
        with pytest.raises(ProofError, match="instead of 32"):
            update({}, {1: bad})
        for leaf, root in ((bad, EMPTY[HEIGHT]), (EMPTY[0], bad)):
            with pytest.raises(ProofError, match="instead of 32"):
                verify_position(0, leaf, proof, root)
    for group in ((0, 0), (7, 0)):
        with pytest.raises(ProofError, match="instead of 512"):
            update({group: bytes(511)}, {1: HASH})
        with pytest.raises(ProofError, match="instead of 512"):
            prove(1, {group: b""})


@pytest.mark.parametrize("position", [-1, MAX_POSITION + 1])
def test_positions_outside_are_refused(position: int) -> None:
    with pytest.raises(ProofError, match="no position"):
        update({}, {position: HASH})
    with pytest.raises(ProofError, match="no position"):
        prove(position, {})
    with pytest.raises(ProofError, match="no position"):
        groups_of([position])
    with pytest.raises(ProofError, match="no position"):
        verify_position(position, HASH, [HASH] * HEIGHT, HASH)


def test_an_update_without_a_leaf_is_refused() -> None:
    with pytest.raises(ProofError, match="needs a leaf"):
        update({}, {})
