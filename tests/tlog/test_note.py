"""Notes are those of C2SP signed-note: the examples of its authors verify, and one value has one text."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tests.tlog.keys import LOG_KEY, LOG_PRIVATE, ORIGIN, private_key
from tocsin.tlog import ProofError
from tocsin.tlog.note import (
    COSIGNATURE,
    ED25519,
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Note,
    Signature,
    VerifierKey,
    key_id,
    sign,
    verify,
)

# The example in the documentation of golang.org/x/mod/sumdb/note, with its published private key.
PETER = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
PETERS_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
PETERS_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETERS_NOTE = PETERS_TEXT + (
    "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
TEXT = "some text\n"
OURS = sign(TEXT, ORIGIN, LOG_PRIVATE)
LINE = OURS.encode()


def test_the_example_of_the_format_s_authors_verifies_and_is_signed_alike() -> None:
    note = Note.parse(PETERS_NOTE)
    verify(note, PETER)
    assert note.text == PETERS_TEXT
    assert note.encode() == PETERS_NOTE
    private = Ed25519PrivateKey.from_private_bytes(PETERS_SEED)
    assert Note(PETERS_TEXT, (sign(PETERS_TEXT, "PeterNeumann", private),)).encode() == PETERS_NOTE
    assert VerifierKey.of("PeterNeumann", private) == PETER


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"), max_size=60))
def test_what_is_signed_reads_back_and_verifies(text: str) -> None:
    text += "\n"
    note = Note.parse(Note(text, (sign(text, ORIGIN, LOG_PRIVATE),)).encode().encode())
    assert note.text == text
    verify(note, LOG_KEY)


def test_the_last_blank_line_parts_text_and_signatures() -> None:
    text = "— a line that looks like a signature\n\nanother paragraph\n\n"
    note = Note.parse(Note(text, (sign(text, ORIGIN, LOG_PRIVATE),)).encode())
    assert note.text == text
    verify(note, LOG_KEY)


# Whose signature counts


def test_signatures_by_unknown_keys_are_ignored() -> None:
    stranger = sign(TEXT, "stranger.example", private_key("stranger"))
    same_name = sign(TEXT, ORIGIN, private_key("another key under our name"))
    same_id = Signature("other.example", OURS.key_id, b"of another algorithm")
    note = Note(TEXT, (stranger, same_name, same_id, OURS))
    verify(note, LOG_KEY)
    with pytest.raises(ProofError, match=r"no signature by 'tocsin\.example/log'"):
        verify(Note(TEXT, (stranger, same_name, same_id)), LOG_KEY)


def test_two_keys_that_share_an_id_are_still_two_names() -> None:
    # A key id is 4 bytes: whoever tries 2**32 keys has a collision. It gets him a false signature, nothing else.
    forged = Signature(ORIGIN, LOG_KEY.key_id, private_key("thief").sign(TEXT.encode()))
    with pytest.raises(ProofError, match="false"):
        verify(Note(TEXT, (forged,)), LOG_KEY)


def test_one_false_signature_of_a_known_key_refuses_the_note() -> None:
    forged = replace(OURS, signature=bytes(64))
    for lines in ((OURS, forged), (forged, OURS)):
        with pytest.raises(ProofError, match="is false"):
            verify(Note(TEXT, lines), LOG_KEY)


def test_a_line_that_comes_twice_changes_nothing() -> None:
    verify(Note.parse(TEXT + "\n" + LINE + LINE), LOG_KEY)


@pytest.mark.parametrize("signature", [b"\x00", OURS.signature[:63], OURS.signature + b"\x00", bytes(64)])
def test_a_signature_has_64_bytes_and_fits(signature: bytes) -> None:
    with pytest.raises(ProofError, match="false"):
        verify(Note(TEXT, (replace(OURS, signature=signature),)), LOG_KEY)


def test_a_text_that_was_changed_does_not_verify() -> None:
    with pytest.raises(ProofError, match="false"):
        verify(Note("some Text\n", (OURS,)), LOG_KEY)


def test_the_key_of_a_witness_signs_no_note() -> None:
    witness = VerifierKey.of(ORIGIN, LOG_PRIVATE, COSIGNATURE)
    assert witness.key_id != LOG_KEY.key_id
    with pytest.raises(ProofError, match="not one for notes"):
        verify(Note(TEXT, (OURS,)), witness)


# What is no note

ENCODED = base64.b64encode(OURS.key_id + OURS.signature).decode()
NO_NOTES = {
    "empty": "",
    "no signature": TEXT,
    "no line after the blank one": TEXT + "\n",
    "no blank line": TEXT + LINE,
    "no final newline": TEXT + "\n" + LINE.removesuffix("\n"),
    "text after the signatures": TEXT + "\n" + LINE + "more\n",
    "a line that is no signature": TEXT + "\n" + LINE + "hello\n" + LINE,
    "a hyphen for the dash": TEXT + "\n" + LINE.replace("—", "-"),
    "two spaces": TEXT + "\n" + LINE.replace(" ", "  "),
    "a space at the end": TEXT + "\n" + LINE.replace("\n", " \n"),
    "no name": TEXT + f"\n—  {ENCODED}\n",
    "no signature in the line": TEXT + f"\n— {ORIGIN}\n",
    "an empty signature": TEXT + f"\n— {ORIGIN} \n",
    "only a key id": TEXT + f"\n— {ORIGIN} AAAAAA==\n",
    "less than a key id": TEXT + f"\n— {ORIGIN} AAAA\n",
    "a plus in the name": TEXT + f"\n— a+b {ENCODED}\n",
    "an odd space in the name": TEXT + f"\n— a\u2003b {ENCODED}\n",
    "a line separator in the name": TEXT + f"\n— a\u2028b {ENCODED}\n",
    "a name without end": TEXT + f"\n— {'a' * 256} {ENCODED}\n",
    "no padding": TEXT + "\n" + LINE.replace("=", ""),
    "too much padding": TEXT + f"\n— {ORIGIN} {ENCODED}====\n",
    "base64 with a character of another alphabet": TEXT + f"\n— {ORIGIN} {ENCODED[:-4]}-A==\n",
    "base64 that is not ASCII": TEXT + f"\n— {ORIGIN} {ENCODED[:-4]}é===\n",
    "base64 with stray bits": TEXT + f"\n— {ORIGIN} AAAAAAF=\n",
    "a carriage return": TEXT + "\r\n" + "\n" + LINE,
    "a tab": "a\tb\n\n" + LINE,
    "a zero byte": "a\0b\n\n" + LINE,
    "half a character": "a\ud800b\n\n" + LINE,
}


@pytest.mark.parametrize("note", NO_NOTES.values(), ids=NO_NOTES.keys())
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(ProofError):
        Note.parse(note)


def test_bytes_that_are_not_utf_8_are_no_note() -> None:
    with pytest.raises(ProofError, match="UTF-8"):
        Note.parse(b"\xff\n\n" + LINE.encode())


def test_a_note_is_bounded_in_bytes_and_signatures() -> None:
    Note.parse(TEXT + "\n" + LINE * MAX_SIGNATURES)
    with pytest.raises(ProofError, match="signatures"):
        Note.parse(TEXT + "\n" + LINE * (MAX_SIGNATURES + 1))
    room = MAX_NOTE_BYTES - len(("\n\n" + LINE).encode())
    Note.parse("x" * room + "\n\n" + LINE)
    for note in ("x" * (room + 1) + "\n\n" + LINE, "é" * (room // 2 + 1) + "\n\n" + LINE):
        with pytest.raises(ProofError, match="bytes"):
            Note.parse(note)
    assert MAX_SIGNATURES >= 16  # the format asks for as many
    assert MAX_NOTE_BYTES > 16 * 7000  # and says that one may have nearly 5 kB, before Base64


@pytest.mark.parametrize("text", ["", "no newline", "a\tb\n", "a\r\n", "\ud800\n"])
def test_what_cannot_be_a_note_s_text_is_not_signed(text: str) -> None:
    with pytest.raises(ProofError):
        sign(text, ORIGIN, LOG_PRIVATE)


spliced = st.tuples(st.integers(0, len(PETERS_NOTE)), st.integers(0, 3), st.text(max_size=3)).map(
    lambda cut: PETERS_NOTE[: cut[0]] + cut[2] + PETERS_NOTE[cut[0] + cut[1] :]
)


@given(st.text(max_size=300) | st.binary(max_size=300) | spliced)
def test_nothing_but_a_refusal_comes_out_of_a_foreign_note(foreign: str | bytes) -> None:
    try:
        note = Note.parse(foreign)
    except ProofError:
        return
    assert note.encode() == (foreign if isinstance(foreign, str) else foreign.decode())


# Keys


def test_a_vkey_reads_back() -> None:
    assert VerifierKey.parse(LOG_KEY.encode()) == LOG_KEY
    assert LOG_KEY.key_id == key_id(ORIGIN, ED25519, LOG_KEY.public) == OURS.key_id
    # Base64 has a "+" in its alphabet: only the first two part a vkey.
    known = VerifierKey.parse("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8")
    assert known.encode() == "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"


VKEY = PETER.encode()


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        VKEY.replace("Peter", "Paul"),  # the id commits to the name
        VKEY.replace("c74f20a3", "c74f20a4"),
        VKEY.replace("c74f20a3", "C74F20A3"),
        VKEY.replace("c74f20a3", "c74f20a"),
        VKEY.replace("+ARpc", "+ARpd"),
        VKEY.removesuffix("TW"),
        VKEY + "====",
        "PeterNeumann+c74f20a3+",
        "Peter Neumann" + VKEY.removeprefix("PeterNeumann"),
        VKEY.removeprefix("PeterNeumann"),
        "x+" + key_id("x", 2, bytes(32)).hex() + "+" + base64.b64encode(b"\x02" + bytes(32)).decode(),
        "x+" + key_id("x", 1, bytes(31)).hex() + "+" + base64.b64encode(b"\x01" + bytes(31)).decode(),
        "x\n+" + key_id("x\n", 1, bytes(32)).hex() + "+" + base64.b64encode(b"\x01" + bytes(32)).decode(),
    ],
)
def test_what_is_no_vkey_is_refused(vkey: str) -> None:
    with pytest.raises(ProofError):
        VerifierKey.parse(vkey)
