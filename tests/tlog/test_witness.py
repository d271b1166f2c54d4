"""The conversation with a witness, as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tlog.keys import LOG_PRIVATE, ORIGIN, private_key
from tocsin.tlog import ProofError, cosignature, note
from tocsin.tlog.checkpoint import Checkpoint
from tocsin.tlog.note import Note
from tocsin.tlog.witness import (
    MAX_ANSWER_BYTES,
    MAX_PROOF_HASHES,
    Cosigned,
    KnowsAnother,
    Refused,
    read_answer,
    request_body,
)

TEXT = Checkpoint(ORIGIN, 42, bytes(32)).encode()
CHECKPOINT = Note(TEXT, (note.sign(TEXT, ORIGIN, LOG_PRIVATE),))
HASH = bytes(32)
LINE = cosignature.sign(TEXT, "witness.example", private_key("witness"), 7)


def test_a_request_is_old_size_proof_and_checkpoint() -> None:
    zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    assert request_body(40, [HASH, HASH], CHECKPOINT).decode() == f"old 40\n{zeros}\n{zeros}\n\n{CHECKPOINT.encode()}"
    assert request_body(0, [], CHECKPOINT).decode() == f"old 0\n\n{CHECKPOINT.encode()}"
    assert request_body(42, [], CHECKPOINT).startswith(b"old 42\n\n")


@pytest.mark.parametrize(
    ("old", "proof"),
    [
        (-1, []),
        (43, []),
        (0, [HASH]),
        (42, [HASH]),
        (40, [HASH[1:]]),
        (40, [b""]),
        (40, [HASH] * (MAX_PROOF_HASHES + 1)),
    ],
)
def test_what_no_witness_would_accept_is_not_sent(old: int, proof: list[bytes]) -> None:
    with pytest.raises(ProofError):
        request_body(old, proof, CHECKPOINT)


def test_what_is_no_checkpoint_is_not_sent() -> None:
    with pytest.raises(ProofError):
        request_body(0, [], Note("hello\n", CHECKPOINT.signatures))


def test_answers_are_cosignatures_another_size_or_a_refusal() -> None:
    assert read_answer(200, "text/plain", LINE.encode().encode() * 2) == Cosigned((LINE, LINE))
    assert read_answer(409, "text/x.tlog.size", b"17\n") == KnowsAnother(17)
    assert read_answer(409, "Text/X.tlog.size; charset=utf-8", b"0\n") == KnowsAnother(0)
    # A fork: the same size with another root. There is no size to answer with.
    assert read_answer(409, "text/plain", b"conflict\n") == Refused(409, "'conflict'")
    assert read_answer(422, "", b"") == Refused(422, "''")
    assert read_answer(403, "text/html", b"<p>" * 100) == Refused(403, ascii("<p>" * 13 + "<..."))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"\n"),
        (200, LINE.encode().encode()[:-1]),
        (200, b"hello\n"),
        (200, b"hello\n\n" + LINE.encode().encode()),
        (200, LINE.encode().encode() + b"\n"),
        (200, b"\xff"),
        (200, LINE.encode().encode() * (MAX_ANSWER_BYTES // 100)),
        (409, b""),
        (409, b"17"),
        (409, b"017\n"),
        (409, b"+17\n"),
        (409, b"17\n\n"),
        (409, b"\xff\n"),
    ],
)
def test_an_answer_that_is_none_is_refused(status: int, body: bytes) -> None:
    with pytest.raises(ProofError):
        read_answer(status, "text/x.tlog.size", body)


@given(st.sampled_from([200, 409, 500]), st.text(max_size=30), st.binary(max_size=200))
def test_nothing_but_a_refusal_comes_out_of_a_foreign_answer(status: int, content_type: str, body: bytes) -> None:
    try:
        read_answer(status, content_type, body)
    except ProofError:
        return
