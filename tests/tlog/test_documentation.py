"""The page about the formats shows what the code makes of them."""

from __future__ import annotations

import re
from pathlib import Path

from tests.tlog.keys import LOG_KEY
from tocsin.tlog import cosignature
from tocsin.tlog.merkle import EMPTY_ROOT, leaf_hash, root_of
from tocsin.tlog.note import MAX_NOTE_BYTES, MAX_SIGNATURES, VerifierKey
from tocsin.tlog.proof import Proof, verify
from tocsin.tlog.sparse import EMPTY, update

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "transparency-log.md").read_text("utf-8")
PROOF, KEYS = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)


def test_the_proof_on_the_page_verifies_with_the_keys_on_the_page() -> None:
    log, witness = map(VerifierKey.parse, KEYS.split())
    assert log == LOG_KEY
    proof = Proof.parse(PROOF)
    checkpoint = verify(proof, leaf_hash(b"c"), log)
    assert checkpoint.root == root_of([leaf_hash(b"a"), leaf_hash(b"b"), leaf_hash(b"c")])
    assert cosignature.verify(proof.checkpoint, witness) == 1_772_334_000


def test_the_hashes_on_the_page_are_those_of_the_head_tree() -> None:
    shown = re.findall(r"`([0-9a-f]{64})`", PAGE)
    only = update({}, {42: leaf_hash(b"x")}).root
    assert shown == [value.hex() for value in (EMPTY_ROOT, EMPTY[1], EMPTY[4], EMPTY[32], only)]


def test_the_limits_on_the_page_are_those_of_the_code() -> None:
    assert f"{MAX_NOTE_BYTES:,} bytes with up to {MAX_SIGNATURES} signatures" in PAGE.replace("\n", " ")
