"""A witness's line says when it saw a checkpoint, and nothing but its own key can say so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tlog.keys import LOG_KEY, LOG_PRIVATE, ORIGIN, private_key
from tocsin.tlog import ProofError, cosignature, note
from tocsin.tlog.checkpoint import Checkpoint
from tocsin.tlog.note import COSIGNATURE, Note, Signature, VerifierKey

NAME = "witness.example/w1"
PRIVATE = private_key("witness")
KEY = VerifierKey.of(NAME, PRIVATE, COSIGNATURE)
AT = 1_772_334_000
TEXT = Checkpoint(ORIGIN, 42, bytes(range(32))).encode()
LOG_LINE = note.sign(TEXT, ORIGIN, LOG_PRIVATE)
LINE = cosignature.sign(TEXT, NAME, PRIVATE, AT)


def test_what_is_signed_is_the_text_of_the_format() -> None:
    message = f"cosignature/v1\ntime {AT}\n{TEXT}".encode()
    PRIVATE.public_key().verify(LINE.signature[8:], message)
    assert LINE.signature[:8] == AT.to_bytes(8, "big")
    assert LINE.key_id == KEY.key_id != VerifierKey.of(NAME, PRIVATE).key_id


@given(st.integers(0, 2**63 - 1))
def test_a_cosignature_gives_its_time_back(seconds: int) -> None:
    line = cosignature.sign(TEXT, NAME, PRIVATE, seconds)
    cosigned = Note.parse(Note(TEXT, (LOG_LINE, line)).encode())
    assert cosignature.verify(cosigned, KEY) == seconds
    note.verify(cosigned, LOG_KEY)


def test_of_several_times_the_earliest_counts_and_all_are_verified() -> None:
    later = cosignature.sign(TEXT, NAME, PRIVATE, AT + 60)
    assert cosignature.verify(Note(TEXT, (later, LINE, LINE)), KEY) == AT
    forged = replace(LINE, signature=(AT - 60).to_bytes(8, "big") + LINE.signature[8:])
    with pytest.raises(ProofError, match="false"):
        cosignature.verify(Note(TEXT, (LINE, forged)), KEY)


def test_unknown_cosignatures_are_ignored() -> None:
    stranger = cosignature.sign(TEXT, "other.example", private_key("other"), AT)
    assert cosignature.verify(Note(TEXT, (LOG_LINE, stranger, LINE)), KEY) == AT
    with pytest.raises(ProofError, match="no signature"):
        cosignature.verify(Note(TEXT, (LOG_LINE, stranger)), KEY)


def test_a_cosignature_is_of_one_text() -> None:
    other = TEXT.replace("42", "43")
    with pytest.raises(ProofError, match="false"):
        cosignature.verify(Note(other, (LINE,)), KEY)
    # Extension lines are part of what is cosigned.
    with pytest.raises(ProofError, match="false"):
        cosignature.verify(Note(TEXT + "extension\n", (LINE,)), KEY)


def test_a_note_s_signature_is_no_cosignature_and_the_other_way_round() -> None:
    plain = VerifierKey.of(NAME, PRIVATE)
    with pytest.raises(ProofError, match="not one for cosignatures"):
        cosignature.verify(Note(TEXT, (LINE,)), plain)
    disguised = Signature(NAME, KEY.key_id, bytes(8) + note.sign(TEXT, NAME, PRIVATE).signature)
    with pytest.raises(ProofError, match="false"):
        cosignature.verify(Note(TEXT, (disguised,)), KEY)


@pytest.mark.parametrize("wrong", [b"x", LINE.signature[8:], LINE.signature + b"x", bytes(72)])
def test_a_cosignature_has_72_bytes_and_fits(wrong: bytes) -> None:
    with pytest.raises(ProofError):
        cosignature.verify(Note(TEXT, (replace(LINE, signature=wrong),)), KEY)


def test_a_time_beyond_the_format_s_limit_is_refused() -> None:
    signature = (2**63).to_bytes(8, "big") + PRIVATE.sign(f"cosignature/v1\ntime {2**63}\n{TEXT}".encode())
    with pytest.raises(ProofError, match="not a time"):
        cosignature.verify(Note(TEXT, (replace(LINE, signature=signature),)), KEY)
    for seconds in (-1, 2**63):
        with pytest.raises(ProofError, match="not a time"):
            cosignature.sign(TEXT, NAME, PRIVATE, seconds)
