"""Proofs in one file (c2sp.org/tlog-proof): an entry's index, its inclusion proof, the signed checkpoint it leads to.

Whoever has the entry and the keys of the log and its witnesses can verify that with any program that knows the format.
"""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.tlog.checkpoint import Checkpoint, verified
from tocsin.tlog.errors import ProofError
from tocsin.tlog.fields import read_base64, read_hash, read_number, write_base64
from tocsin.tlog.merkle import HASH_BYTES, MAX_SIZE, verify_inclusion
from tocsin.tlog.note import MAX_NOTE_BYTES, Note, VerifierKey

HEADER = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63
MAX_EXTRA_BYTES = 65_536
MAX_PROOF_BYTES = MAX_NOTE_BYTES + 2 * MAX_EXTRA_BYTES


@dataclass(frozen=True, slots=True)
class Proof:
    """An entry of a log, as far as its index; `extra` is what the application adds, and not authenticated."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Note
    extra: bytes | None = None

    def __post_init__(self) -> None:
        Checkpoint.parse(self.checkpoint.text)
        if not 0 <= self.index <= MAX_SIZE:
            raise ProofError(f"there is no entry {self.index}")
        if len(self.hashes) > MAX_HASHES or any(len(value) != HASH_BYTES for value in self.hashes):
            raise ProofError(f"an inclusion proof has at most {MAX_HASHES} hashes of {HASH_BYTES} bytes")
        if len(self.extra or b"") > MAX_EXTRA_BYTES:
            raise ProofError(f"the extra data of a proof has at most {MAX_EXTRA_BYTES} bytes")

    @classmethod
    def parse(cls, text: str) -> Proof:
        """Read a proof; raises ProofError. Nothing of it has been verified then."""
        if len(text) > MAX_PROOF_BYTES:
            raise ProofError(f"a proof has at most {MAX_PROOF_BYTES} bytes")
        head, blank, note = text.partition("\n\n")
        # One more than there may be, so that the rest is not split: it is refused as a hash or by its number.
        header, *lines = head.split("\n", MAX_HASHES + 3)
        if header != HEADER or not blank:
            raise ProofError(f"a proof begins with the line {HEADER}, and a blank line is before its checkpoint")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = read_base64(lines.pop(0).removeprefix("extra "), "the extra data")
        if not lines or not lines[0].startswith("index "):
            raise ProofError("a proof says the index of its entry")
        index = read_number(lines.pop(0).removeprefix("index "), "the index")
        return cls(index, tuple(read_hash(line, "a hash of the proof") for line in lines), Note.parse(note), extra)

    def encode(self) -> str:
        extra = [] if self.extra is None else [f"extra {write_base64(self.extra)}"]
        lines = [HEADER, *extra, f"index {self.index}", *map(write_base64, self.hashes), "", self.checkpoint.encode()]
        return "\n".join(lines)


def verify(proof: Proof, leaf: bytes, key: VerifierKey) -> Checkpoint:
    """Verify that the leaf with the hash `leaf` is in the log with this key, where the proof says; raises ProofError.

    Returns the checkpoint that says so. Whether witnesses have seen it is another question: `cosignature.verify`.
    """
    checkpoint = verified(proof.checkpoint, key)
    verify_inclusion(proof.index, checkpoint.size, leaf, proof.hashes, checkpoint.root)
    return checkpoint
