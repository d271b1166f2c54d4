"""Cosignatures (c2sp.org/tlog-cosignature), those of Ed25519: a witness has seen a checkpoint, at an instant.

What is signed are the lines `cosignature/v1` and `time <seconds since 1970>` and the text of the checkpoint's note. Its
line among the note's signatures carries the time in 8 bytes, the highest first, and then the signature.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tocsin.tlog.errors import ProofError
from tocsin.tlog.fields import shown
from tocsin.tlog.merkle import MAX_SIZE
from tocsin.tlog.note import COSIGNATURE, Note, Signature, VerifierKey

TIME_BYTES = 8
SIGNATURE_BYTES = 64
MAX_TIME = MAX_SIZE  # the format's limit for both is 2**63 - 1


def sign(text: str, name: str, private: Ed25519PrivateKey, seconds: int) -> Signature:
    """Cosign the text of a checkpoint, as the witness `name`, at a time in seconds since 1970."""
    signature = private.sign(_message(text, seconds))
    key = VerifierKey.of(name, private, COSIGNATURE)
    return Signature(name, key.key_id, seconds.to_bytes(TIME_BYTES, "big") + signature)


def verify(note: Note, key: VerifierKey) -> int:
    """Return when a witness cosigned a note, in seconds since 1970; raises ProofError if it did not.

    Of several times the earliest is returned, for it says most: since then the checkpoint has not changed. One line
    that is false is enough to refuse the note, as with its other signatures.
    """
    if key.algorithm != COSIGNATURE:
        raise ProofError(f"the key of {shown(key.name)} is not one for cosignatures")
    return min(_verify_line(note.text, line, key) for line in note.by(key))


def _verify_line(text: str, line: Signature, key: VerifierKey) -> int:
    if len(line.signature) != TIME_BYTES + SIGNATURE_BYTES:
        raise ProofError(f"the cosignature by {shown(key.name)} has {len(line.signature)} bytes")
    seconds = int.from_bytes(line.signature[:TIME_BYTES], "big")
    key.check(_message(text, seconds), line.signature[TIME_BYTES:])
    return seconds


def _message(text: str, seconds: int) -> bytes:
    if not 0 <= seconds <= MAX_TIME:
        raise ProofError(f"{seconds} is not a time of a cosignature")
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()
