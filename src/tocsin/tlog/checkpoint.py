"""Checkpoints (c2sp.org/tlog-checkpoint): what a log commits to, as the text of a signed note.

The lines: origin (which log), size, root hash in Base64, and perhaps extension lines that we never write.
"""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.tlog.errors import ProofError
from tocsin.tlog.fields import read_hash, read_number, shown, write_base64
from tocsin.tlog.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE
from tocsin.tlog.note import Note, VerifierKey, verify

SHORT_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree of a log at one size."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for line in (self.origin, *self.extensions):
            if not line or any(character < " " for character in line):
                raise ProofError(f"a line of a checkpoint is not empty and has no control characters: {shown(line)}")
        if not 0 <= self.size <= MAX_SIZE:
            raise ProofError(f"a log cannot have {self.size} leaves")
        if len(self.root) != HASH_BYTES:
            raise ProofError(f"a root hash has {HASH_BYTES} bytes, not {len(self.root)}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise ProofError("the root hash of an empty log is that of nothing")

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the text of a note; raises ProofError."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1]:
            raise ProofError("a checkpoint has at least three lines, each with a newline at its end")
        origin, size, root, *extensions = lines[:-1]
        return cls(origin, read_number(size, "the size"), read_hash(root, "the root hash"), tuple(extensions))

    def encode(self) -> str:
        """The text to sign, with its final newline."""
        lines = [self.origin, str(self.size), write_base64(self.root), *self.extensions]
        return "".join(f"{line}\n" for line in lines)

    def short(self) -> str:
        """What fits into a page: the size and the first 8 bytes of the root hash, as in `42:0ac5185a9186…`."""
        return f"{self.size}:{self.root.hex()[:SHORT_DIGITS]}"


def verified(note: Note, key: VerifierKey) -> Checkpoint:
    """Return the checkpoint of a note that the log's key has signed; raises ProofError.

    The name of the key is the origin of its log: a checkpoint of another log is refused even when the key signed it.
    """
    verify(note, key)
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != key.name:
        raise ProofError(f"this is a checkpoint of the log {shown(checkpoint.origin)}, not of {shown(key.name)}")
    return checkpoint
