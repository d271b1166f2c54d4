"""A checkpoint has one text, and only the key of its log makes it one."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tlog.keys import LOG_KEY, LOG_PRIVATE, ORIGIN
from tocsin.tlog import ProofError
from tocsin.tlog.checkpoint import Checkpoint, verified
from tocsin.tlog.merkle import EMPTY_ROOT, MAX_SIZE
from tocsin.tlog.note import Note, VerifierKey, sign

# The example of c2sp.org/tlog-checkpoint.
EXAMPLE = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
ROOT = base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")

lines = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


def signed(text: str) -> Note:
    return Note(text, (sign(text, ORIGIN, LOG_PRIVATE),))


def test_the_example_of_the_format_reads_and_writes() -> None:
    checkpoint = Checkpoint.parse(EXAMPLE)
    assert checkpoint == Checkpoint("example.com/behind-the-sofa", 20852163, ROOT)
    assert checkpoint.encode() == EXAMPLE
    assert checkpoint.short() == "20852163:0ac5186a91863e8e"


@given(lines, st.integers(1, MAX_SIZE), st.binary(min_size=32, max_size=32), st.lists(lines, max_size=3))
def test_a_checkpoint_reads_back_from_its_note(origin: str, size: int, root: bytes, extensions: list[str]) -> None:
    checkpoint = Checkpoint(origin, size, root, tuple(extensions))
    note = Note.parse(signed(checkpoint.encode()).encode())
    assert Checkpoint.parse(note.text) == checkpoint


def test_a_checkpoint_counts_only_under_the_key_of_its_log() -> None:
    ours = Checkpoint(ORIGIN, 3, ROOT)
    assert verified(signed(ours.encode()), LOG_KEY) == ours
    with pytest.raises(ProofError, match=r"of the log 'example\.com/behind-the-sofa', not"):
        verified(signed(EXAMPLE), LOG_KEY)
    with pytest.raises(ProofError, match="no signature"):
        verified(signed(ours.encode()), VerifierKey.of("other.example", LOG_PRIVATE))
    with pytest.raises(ProofError, match="number"):
        verified(signed(EXAMPLE.replace("20852163", "020852163")), LOG_KEY)


SIZES = ["", "01", "+1", "-1", " 1", "1 ", "1.0", "1e3", "0x1", "1_000", "１", "٣", "00", str(2**63), "9" * 5000]


@pytest.mark.parametrize("size", SIZES, ids=ascii)
def test_a_size_has_one_form(size: str) -> None:
    with pytest.raises(ProofError, match="the size is not a number"):
        Checkpoint.parse(EXAMPLE.replace("20852163", size))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        "origin\n1\n",
        EXAMPLE.removesuffix("\n"),
        EXAMPLE + "\n",  # an empty extension line
        EXAMPLE + "x\n\ny\n",
        "\n" + EXAMPLE.partition("\n")[2],  # no origin
        EXAMPLE.replace("\n", "\r\n"),
        EXAMPLE.replace("CsUY", "AAAA CsUY"),
        EXAMPLE.replace("q2I=", "q2J="),  # stray bits: the same hash, another text
        EXAMPLE.replace("CsUY", ""),
        EXAMPLE.replace("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=", ""),
        EXAMPLE.replace("+", "-").replace("/X", "_X"),  # Base64 for URLs
        EXAMPLE.replace("20852163", "0"),  # an empty log with leaves
        EXAMPLE + "a\x7f\x00\n",
    ],
    ids=ascii,
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(ProofError):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "wrong",
    [("", 1, ROOT), ("a\nb", 1, ROOT), ("a", -1, ROOT), ("a", MAX_SIZE + 1, ROOT), ("a", 1, b""), ("a", 0, ROOT)],
)
def test_what_could_not_be_read_back_cannot_be_made(wrong: tuple[str, int, bytes]) -> None:
    with pytest.raises(ProofError):
        Checkpoint(*wrong)
    with pytest.raises(ProofError):
        Checkpoint("origin", 1, ROOT, ("",))


def test_an_empty_log_has_a_checkpoint() -> None:
    assert Checkpoint.parse(Checkpoint(ORIGIN, 0, EMPTY_ROOT).encode()).root == EMPTY_ROOT
