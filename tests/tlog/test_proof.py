"""A proof in a file reads back, verifies, and stands on a checkpoint of its log."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tlog import rfc
from tests.tlog.keys import LOG_KEY, LOG_PRIVATE, ORIGIN, private_key
from tests.tlog.trees import leaves
from tocsin.tlog import ProofError, note
from tocsin.tlog.checkpoint import Checkpoint
from tocsin.tlog.merkle import leaf_hash
from tocsin.tlog.note import Note
from tocsin.tlog.proof import MAX_EXTRA_BYTES, MAX_HASHES, MAX_PROOF_BYTES, Proof, verify

DATA = leaves(11)
CHECKPOINT = Checkpoint(ORIGIN, len(DATA), rfc.mth(DATA))


def signed(checkpoint: Checkpoint) -> Note:
    text = checkpoint.encode()
    return Note(text, (note.sign(text, ORIGIN, LOG_PRIVATE),))


def proof_of(index: int, extra: bytes | None = None) -> Proof:
    return Proof(index, tuple(rfc.path(index, DATA)), signed(CHECKPOINT), extra)


@given(st.integers(0, len(DATA) - 1), st.none() | st.binary(max_size=50))
def test_a_proof_reads_back_and_verifies(index: int, extra: bytes | None) -> None:
    proof = Proof.parse(proof_of(index, extra).encode())
    assert proof == proof_of(index, extra)
    assert verify(proof, leaf_hash(DATA[index]), LOG_KEY) == CHECKPOINT


def test_a_proof_has_the_lines_of_the_format() -> None:
    lines = proof_of(10, b"more").encode().split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra bW9yZQ==", "index 10"]
    assert len(lines[3]) == 44
    assert lines[5:8] == ["", ORIGIN, "11"]


def test_a_proof_without_hashes_is_of_a_single_entry() -> None:
    alone = Checkpoint(ORIGIN, 1, leaf_hash(b"x"))
    proof = Proof.parse(Proof(0, (), signed(alone)).encode())
    assert verify(proof, leaf_hash(b"x"), LOG_KEY) == alone


def test_what_the_proof_does_not_show_is_refused() -> None:
    proof, leaf = proof_of(3), leaf_hash(DATA[3])
    verify(proof, leaf, LOG_KEY)
    stranger = note.VerifierKey.of(ORIGIN, private_key("stranger"))
    forged = Note(CHECKPOINT.encode(), signed(replace(CHECKPOINT, size=9)).signatures)
    for wrong, of, key in (
        (proof, leaf_hash(DATA[4]), LOG_KEY),
        (replace(proof, index=4), leaf, LOG_KEY),
        (replace(proof, index=11), leaf, LOG_KEY),
        (replace(proof, hashes=proof.hashes[1:]), leaf, LOG_KEY),
        (replace(proof, checkpoint=signed(replace(CHECKPOINT, size=20))), leaf, LOG_KEY),
        (replace(proof, checkpoint=signed(replace(CHECKPOINT, root=bytes(32)))), leaf, LOG_KEY),
        (replace(proof, checkpoint=forged), leaf, LOG_KEY),
        (proof, leaf, stranger),
    ):
        with pytest.raises(ProofError):
            verify(wrong, of, key)


TEXT = proof_of(3, b"x").encode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT.replace("@v1", "@v2"),
        TEXT.replace("index 3", "index 03"),
        TEXT.replace("index 3", "index +3"),
        TEXT.replace("index 3", "index"),
        TEXT.replace("index 3\n", ""),
        TEXT.replace("extra eA==", "extra eA"),
        TEXT.replace("extra eA==", "extra eB=="),
        TEXT.replace("extra eA==\nindex 3", "index 3\nextra eA=="),
        TEXT.replace("extra eA==", "extra eA==\nextra eA=="),
        TEXT.replace("index 3\n", "index 3\nAAAA\n"),
        TEXT.replace("index 3\n", "index 3\n\n"),
        TEXT.replace("index 3\n", "index 3\n" + "A" * 43 + "=\n" + ("A" * 43 + "=\n") * MAX_HASHES),
        TEXT.removesuffix("\n"),
        TEXT.partition("\n\n")[0] + "\n",
        "x" * (MAX_PROOF_BYTES + 1),
    ],
    ids=lambda text: ascii(text[:60]),
)
def test_what_is_no_proof_is_refused(text: str) -> None:
    with pytest.raises(ProofError):
        Proof.parse(text)


def test_what_could_not_be_read_back_cannot_be_made() -> None:
    proof = proof_of(3)
    cases: list[tuple[int, tuple[bytes, ...]]]
    cases = [(-1, ()), (2**63, ()), (3, (b"",)), (3, (bytes(32),) * (MAX_HASHES + 1))]
    for index, hashes in cases:
        with pytest.raises(ProofError):
            replace(proof, index=index, hashes=hashes)
    with pytest.raises(ProofError):
        replace(proof, checkpoint=Note("not a checkpoint\n", proof.checkpoint.signatures))
    assert Proof.parse(replace(proof, extra=bytes(MAX_EXTRA_BYTES)).encode()).extra == bytes(MAX_EXTRA_BYTES)
    with pytest.raises(ProofError):
        replace(proof, extra=bytes(MAX_EXTRA_BYTES + 1))


@given(st.text(max_size=100) | st.text(max_size=50).map(lambda text: TEXT[:40] + text + TEXT[40:]))
def test_nothing_but_a_refusal_comes_out_of_a_foreign_proof(text: str) -> None:
    try:
        proof = Proof.parse(text)
    except ProofError:
        return
    assert proof.encode() == text
