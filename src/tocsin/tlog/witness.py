"""What is said to a witness, and what it answers (c2sp.org/tlog-witness, add-checkpoint). Sending it is others' work.

A witness keeps the largest checkpoint of each log that it has cosigned. It cosigns the next one only with a proof that
continues it; so whoever wants a cosignature has to know which size the witness has, or to be told by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tocsin.tlog.checkpoint import Checkpoint
from tocsin.tlog.errors import ProofError
from tocsin.tlog.fields import read_number, shown, write_base64
from tocsin.tlog.merkle import HASH_BYTES
from tocsin.tlog.note import MAX_NOTE_BYTES, Note, Signature

SIZE_CONTENT_TYPE = "text/x.tlog.size"
MAX_PROOF_HASHES = 63
MAX_ANSWER_BYTES = MAX_NOTE_BYTES - 100
NOTE_TEXT = "an answer\n"


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The witness agrees; its lines have still to be verified, with `cosignature.verify`."""

    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class KnowsAnother:
    """The witness has cosigned the log at another size: a proof from there on is what it wants."""

    size: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The witness does not agree. 404: the log is unknown to it; 403: the key; 422, and 409 like this: a fork."""

    status: int
    reason: str


Answer = Cosigned | KnowsAnother | Refused


def request_body(old_size: int, proof: Sequence[bytes], checkpoint: Note) -> bytes:
    """Return the body of a request: that a signed checkpoint continues the size that the witness has (0: none yet).

    `proof` is the consistency proof between the two, and empty from size 0 and from the same size. Raises ProofError.
    """
    size = Checkpoint.parse(checkpoint.text).size
    if not 0 <= old_size <= size:
        raise ProofError(f"a checkpoint of {size} leaves cannot continue one of {old_size}")
    needless = old_size in (0, size)
    if len(proof) > MAX_PROOF_HASHES or (needless and proof) or any(len(value) != HASH_BYTES for value in proof):
        raise ProofError(f"this is no proof that a tree of {size} leaves continues one of {old_size}")
    lines = [f"old {old_size}", *map(write_base64, proof), "", checkpoint.encode()]
    return "\n".join(lines).encode()


def read_answer(status: int, content_type: str, body: bytes) -> Answer:
    """Return what a witness said, by the HTTP status, the header Content-Type and the body; raises ProofError.

    Read at most MAX_ANSWER_BYTES of a body.
    """
    try:
        text = body[: MAX_ANSWER_BYTES + 1].decode()
    except UnicodeDecodeError:
        raise ProofError("the answer of the witness is not UTF-8") from None
    if status == 200:
        # They are the lines of a note: read, and bounded, where those are.
        note = Note.parse(NOTE_TEXT + "\n" + text)
        if note.text != NOTE_TEXT:
            raise ProofError("there are other lines than signatures in the answer of the witness")
        return Cosigned(note.signatures)
    if status == 409 and content_type.partition(";")[0].strip().lower() == SIZE_CONTENT_TYPE:
        if not text.endswith("\n"):
            raise ProofError("the size that the witness tells does not end in a newline")
        return KnowsAnother(read_number(text.removesuffix("\n"), "the size that the witness tells"))
    return Refused(status, shown(text.strip()))
