"""The signer: signs a checkpoint only if it continues what it has signed before, which it keeps outside the database.

Its directory: `key`; `memory`, the last checkpoint that it signed; `lock`; after a rotation `key.old`, during one
`key.new`. The memory is written before a checkpoint is shown to anybody: what the world has seen, the signer knows.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tocsin import ids
from tocsin.errors import Code, Refusal, TocsinError, refuse
from tocsin.signing import files
from tocsin.signing.keys import SigningKey, read_key
from tocsin.tlog import merkle, note
from tocsin.tlog.checkpoint import Checkpoint
from tocsin.tlog.errors import ProofError
from tocsin.tlog.note import Note

RESTORED = "Was a backup restored? Then see docs/how-to/keep-the-log.md: `tocsin log rotate-key --after-restore`."


class SignerRefusesError(TocsinError):
    """The log is not the one that was signed before: signing it would hide that. Somebody has to look."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(Refusal(Code.CONFLICT, message, hint))


@dataclass(frozen=True, slots=True)
class Memory:
    """The last checkpoint that was signed; its note is empty as long as there is none."""

    size: int = 0
    root: bytes = merkle.EMPTY_ROOT
    note: str = ""


class Signer:
    """The key and the memory of one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._key, self._new, self._old = (directory / name for name in ("key", "key.new", "key.old"))
        self._memory = directory / "memory"

    @property
    def exists(self) -> bool:
        """Tell whether a key was made here; raise MISCONFIGURED where we may not look."""
        try:
            return self._key.exists()
        except OSError as error:
            raise files.unusable(self._key, error) from None

    def make(self, origin: str | None) -> None:
        """Make the key and an empty memory, unless they are there. Without an origin one is invented, for good."""
        files.make_directory(self.directory)
        with self._lock(wait=True):
            if not self.exists:
                # The memory first: a key without one has lost it, and signs nothing.
                if not self._memory.exists():
                    self._remember(Memory())
                if self.memory().size:
                    message = f"The signing key in {self.directory} is gone, but the memory of what it signed is there."
                    raise refuse(Code.MISCONFIGURED, message, "Put the file `key` back from your copy of it.")
                SigningKey.new(origin or f"localhost/tocsin/{ids.new_key()[:16]}").keep(self._key)

    def key(self) -> SigningKey:
        """Return the present key."""
        key = read_key(self._key)
        if key is None:
            raise refuse(
                Code.MISCONFIGURED,
                f"There is no signing key in {self.directory}.",
                "Set TOCSIN_SIGNER_DIR to the directory of the signer; the first `tocsin up` makes it.",
            )
        return key

    def keys(self, now: datetime) -> list[SigningKey]:
        """Return the keys that sign at an instant: the present one, and the one before it during their overlap."""
        key, old = self.key(), read_key(self._old)
        overlaps = old is not None and old.until is not None and now < old.until and old.vkey != key.vkey
        return [key, old] if old is not None and overlaps else [key]

    def memory(self) -> Memory:
        """Return what was signed last. Raises SignerRefusesError when that is not known."""
        text = files.read(self._memory)
        try:
            said = json.loads(text or "")
            return Memory(int(said["size"]), bytes.fromhex(said["root"]), str(said["note"]))
        except (ValueError, KeyError, TypeError):
            raise SignerRefusesError(
                f"The signer does not remember what it has signed: {self._memory} is gone or cannot be read.",
                "Put the file back from the disk that it was on. " + RESTORED,
            ) from None

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Hold the directory for the time of the block; gives False when another process is at it."""
        try:
            with self._lock(wait=False):
                yield True
        except BlockingIOError:
            yield False

    def sign(self, size: int, root: bytes, proof: Sequence[bytes], now: datetime) -> Memory:
        """Sign the log at a size and remember it, while it is our turn; return what is remembered.

        `proof` leads from the memory's size to this one (RFC 6962, 2.1.2). Raises SignerRefusesError when the log is
        shorter than what was signed, or does not begin with it.
        """
        last, keys = self.memory(), self.keys(now)
        self._refuse_another_past(last, size, root, proof)
        if size == last.size:
            return last
        text = Checkpoint(keys[0].name, size, root).encode()
        signed = Note(text, tuple(key.sign(text) for key in keys))
        for key in keys:
            note.verify(signed, key.verifier)
        memory = Memory(size, root, signed.encode())
        self._remember(memory)
        return memory

    @staticmethod
    def _refuse_another_past(last: Memory, size: int, root: bytes, proof: Sequence[bytes]) -> None:
        if size < last.size:
            raise SignerRefusesError(
                f"The log in the database has {size:,} leaves, but {last.size:,} were signed: the last ones are gone.",
                RESTORED,
            )
        try:
            if last.size:
                merkle.verify_consistency(last.size, size, proof, last.root, root)
        except ProofError as error:
            raise SignerRefusesError(
                f"The log in the database does not begin with the {last.size:,} leaves that were signed: {error}.",
                "Run `tocsin verify --db`, keep a copy of the database, and ask who had access. " + RESTORED,
            ) from None

    def prepare_rotation(self) -> SigningKey:
        """Return the key that is to come: made now, or the one of a rotation that did not end."""
        key = read_key(self._new)
        if key is None:
            key = SigningKey.new(self.key().name)
            key.keep(self._new)
        return key

    def rotate(self, until: datetime) -> None:
        """Put the prepared key in the place of the present one, which goes on signing beside it until then."""
        key = self.key()
        SigningKey(key.name, key.private, until).keep(self._old)
        files.rename(self._new, self._key)

    def start_anew(self) -> Path:
        """Put the prepared key in the place of the present one and forget what that has signed, but keep it aside.

        Return where. A crash in between leaves a key without memory, which signs nothing.
        """
        aside = self._memory.with_name(f"memory.{self.key().verifier.key_id.hex()}")
        if self._memory.exists():
            files.rename(self._memory, aside)
        self._old.unlink(missing_ok=True)
        files.rename(self._new, self._key)
        self._remember(Memory())
        return aside

    def _remember(self, memory: Memory) -> None:
        said = {"size": memory.size, "root": memory.root.hex(), "note": memory.note}
        files.write(self._memory, json.dumps(said, indent=1) + "\n")

    @contextmanager
    def _lock(self, *, wait: bool) -> Iterator[None]:
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, files.PRIVATE_FILE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(descriptor)
