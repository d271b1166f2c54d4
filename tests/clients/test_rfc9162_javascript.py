"""What @transmute/rfc9162, a third implementation of the tree, says of our roots and proofs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import RunNode
from tests.tlog.trees import hashes_of, leaves
from tocsin.tlog.merkle import consistency_proof, inclusion_proof, leaf_hash, root_of

pytestmark = pytest.mark.slow

DATA = leaves(40)
HASHES = hashes_of(DATA)


def root(size: int) -> str:
    return root_of(list(map(leaf_hash, DATA[:size]))).hex()


def inclusion(index: int, size: int, entry: bytes) -> dict[str, Any]:
    proof = [value.hex() for value in inclusion_proof(index, size, HASHES)]
    leaf = leaf_hash(entry).hex()
    return {"kind": "inclusion", "index": index, "size": size, "leaf": leaf, "proof": proof, "root": root(size)}


def consistency(old: int, new: int) -> dict[str, Any]:
    """A consistency proof, as this package wants it: where `old` is a power of two it expects the old root in front.

    RFC 9162, 2.1.4.2 has the verifier put it there (its step 2), which the package leaves out.
    """
    proof = [value.hex() for value in consistency_proof(old, new, HASHES)]
    if old.bit_count() == 1:
        proof.insert(0, root(old))
    return {"kind": "consistency", "old": old, "new": new, "proof": proof, "oldRoot": root(old), "newRoot": root(new)}


def judged(run_node: RunNode, tmp_path: Path, cases: list[dict[str, Any]]) -> list[bool]:
    file = tmp_path / "cases.json"
    file.write_text(json.dumps(cases))
    ended = run_node("rfc9162.js", str(file))
    assert ended.returncode == 0, ended.stderr
    verdicts: list[bool] = json.loads(ended.stdout)
    assert len(verdicts) == len(cases)
    return verdicts


def test_it_has_the_same_roots(run_node: RunNode, tmp_path: Path) -> None:
    cases = [
        {"kind": "root", "entries": [entry.hex() for entry in DATA[:size]], "root": root(size)}
        for size in range(1, len(DATA) + 1)
    ]
    assert all(judged(run_node, tmp_path, cases))


def test_it_accepts_our_inclusion_proofs_and_no_other(run_node: RunNode, tmp_path: Path) -> None:
    places = [(index, size) for size in (1, 2, 7, 8, 33, 40) for index in range(size)]
    assert all(judged(run_node, tmp_path, [inclusion(index, size, DATA[index]) for index, size in places]))
    assert not any(judged(run_node, tmp_path, [inclusion(index, size, b"other") for index, size in places]))


def test_it_accepts_our_consistency_proofs_and_no_other(run_node: RunNode, tmp_path: Path) -> None:
    cases = [consistency(old, new) for new in (2, 7, 8, 33, 40) for old in range(1, new)]
    assert all(judged(run_node, tmp_path, cases))
    assert not any(judged(run_node, tmp_path, [case | {"newRoot": root(39)} for case in cases]))
