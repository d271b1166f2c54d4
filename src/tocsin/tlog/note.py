"""Signed notes (c2sp.org/signed-note): a text, a blank line, and a line for each signature of it.

A key is known by its *vkey*: name+key id+Base64(algorithm byte || public key). The key id only says which key to try; a
signature whose name and id belong to no key that one knows is ignored.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tocsin.tlog.errors import ProofError
from tocsin.tlog.fields import read_base64, shown, write_base64

ED25519 = 0x01
COSIGNATURE = 0x04  # timestamped Ed25519, see tocsin.tlog.cosignature
KEY_BYTES = 32
KEY_ID_BYTES = 4
MAX_NOTE_BYTES = 262_144  # room for the 16 signatures that everybody must accept, post-quantum ones included
MAX_SIGNATURES = 100
MAX_NAME_CHARACTERS = 255
DASH = "\u2014 "
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


def key_id(name: str, algorithm: int, public: bytes) -> bytes:
    """Return the first 4 bytes of SHA-256(name || 0x0A || algorithm || public key)."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + public).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key under its name, for one kind of signature: ED25519 or COSIGNATURE."""

    name: str
    algorithm: int
    public: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.algorithm not in (ED25519, COSIGNATURE):
            raise ProofError(f"signatures of type {self.algorithm} are not supported: key {shown(self.name)}")
        if len(self.public) != KEY_BYTES:
            raise ProofError(f"an Ed25519 key has {KEY_BYTES} bytes, not {len(self.public)}: key {shown(self.name)}")

    @property
    def key_id(self) -> bytes:
        return key_id(self.name, self.algorithm, self.public)

    @classmethod
    def of(cls, name: str, private: Ed25519PrivateKey, algorithm: int = ED25519) -> VerifierKey:
        """The public half of a private key."""
        return cls(name, algorithm, private.public_key().public_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read a vkey; raises ProofError, also when its key id is not that of its key."""
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise ProofError(f"a vkey looks like name+0123abcd+Base64, not like {shown(text)}")
        name, said, material = parts
        decoded = read_base64(material, f"the key of {shown(name)}")
        if not decoded:
            raise ProofError(f"the vkey of {shown(name)} holds no key")
        key = cls(name, decoded[0], decoded[1:])
        if key.key_id.hex() != said:
            raise ProofError(
                f"the vkey of {shown(name)} says key id {shown(said)}, but that of its key is {key.key_id.hex()}"
            )
        return key

    def encode(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{write_base64(bytes([self.algorithm]) + self.public)}"

    def check(self, message: bytes, signature: bytes) -> None:
        """Verify a bare Ed25519 signature (64 bytes) of a message; raises ProofError."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            raise ProofError(f"the signature by {shown(self.name)} is false") from None


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: whose, by which key (4 bytes), and the bytes of which its algorithm knows the meaning."""

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.key_id) != KEY_ID_BYTES or not self.signature:
            raise ProofError(
                f"a signature consists of {KEY_ID_BYTES} bytes of key id and more: that of {shown(self.name)}"
            )

    @classmethod
    def parse(cls, line: str) -> Signature:
        """Read a signature line, without its newline."""
        name, space, encoded = line.removeprefix(DASH).partition(" ")
        if not line.startswith(DASH) or not space:
            raise ProofError(f"this is not a signature line: {shown(line)}")
        value = read_base64(encoded, f"the signature of {shown(name)}")
        return cls(name, value[:KEY_ID_BYTES], value[KEY_ID_BYTES:])

    def encode(self) -> str:
        """The signature line, with its newline."""
        return f"{DASH}{self.name} {write_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends in a newline, and its signatures, of which nothing has been verified."""

    text: str
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        _message(self.text)
        if not 0 < len(self.signatures) <= MAX_SIGNATURES:
            raise ProofError(f"a note has 1 to {MAX_SIGNATURES} signatures, not {len(self.signatures)}")

    @classmethod
    def parse(cls, note: str | bytes) -> Note:
        """Read a signed note; raises ProofError for what is no note or larger than MAX_NOTE_BYTES."""
        whole = _decoded(note)
        text, blank, lines = whole.rpartition("\n\n")
        if not blank or not lines.endswith("\n"):
            raise ProofError("a note is a text, a blank line, and lines of signatures, each with a newline at its end")
        # Bounded before anything is decoded. Not splitlines(): it would also split at U+2028 and the like.
        signatures = lines.removesuffix("\n").split("\n", MAX_SIGNATURES)
        if len(signatures) > MAX_SIGNATURES:
            raise ProofError(f"a note has at most {MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(map(Signature.parse, signatures)))

    def encode(self) -> str:
        return self.text + "\n" + "".join(signature.encode() for signature in self.signatures)

    def by(self, key: VerifierKey) -> list[Signature]:
        """The signatures that carry the name and the id of a key, not verified; raises ProofError if there is none."""
        found = [line for line in self.signatures if line.name == key.name and line.key_id == key.key_id]
        if not found:
            raise ProofError(f"there is no signature by {shown(key.name)} with key {key.key_id.hex()}")
        return found


def sign(text: str, name: str, private: Ed25519PrivateKey) -> Signature:
    """Sign a note's text (with its final newline) under a name: the line to put below it."""
    key = VerifierKey.of(name, private)
    return Signature(name, key.key_id, private.sign(_message(text)))


def verify(note: Note, key: VerifierKey) -> None:
    """Verify that a key has signed a note; raises ProofError.

    One false signature under the name and id of the key is enough to refuse the note, however many true ones there are.
    """
    if key.algorithm != ED25519:
        raise ProofError(f"the key of {shown(key.name)} is not one for notes")
    for line in note.by(key):
        key.check(note.text.encode(), line.signature)


def check_name(name: str) -> None:
    """Raise ProofError for what cannot be the name of a key: empty, with spaces, plus or control characters."""
    odd = "+" in name or CONTROL.search(name) or any(map(str.isspace, name))
    if odd or not 0 < len(name) <= MAX_NAME_CHARACTERS:
        raise ProofError(f"this is not the name of a key: {shown(name)}")


def _decoded(note: str | bytes) -> str:
    try:
        whole = note.encode() if isinstance(note, str) else note
        if len(whole) > MAX_NOTE_BYTES:
            raise ProofError(f"a note has at most {MAX_NOTE_BYTES} bytes, not {len(whole)}")
        return whole.decode()
    except UnicodeError:
        raise ProofError("a note is UTF-8") from None


def _message(text: str) -> bytes:
    """The bytes of a note's text, which are what is signed."""
    if not text.endswith("\n"):
        raise ProofError("the text of a note ends in a newline")
    if CONTROL.search(text):
        raise ProofError("there is a control character other than a newline in the note")
    try:
        return text.encode()
    except UnicodeError:
        raise ProofError("the text of a note is UTF-8") from None
