"""A copy in a directory, laid out as c2sp.org/tlog-tiles is served: any file server can publish it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tocsin.outside import File, OutsideError
from tocsin.tlog.note import MAX_NOTE_BYTES

CHECKPOINT = "checkpoint"
PARTIAL = ".p"


@dataclass(slots=True)
class DirectoryCopy:
    """A directory of another disk, or of another machine by way of the operating system.

    It is made for the first checkpoint only: one that held something and is gone was unmounted, and what would be
    written in its place would lie on this machine's own disk.
    """

    root: Path
    _begun: bool = field(default=False, init=False)

    async def held(self) -> str | None:
        """See `Copy.held`."""
        found = await asyncio.to_thread(read_checkpoint, self.root)
        self._begun = self._begun or found is not None
        return found

    async def put(self, files: AsyncIterator[File], checkpoint: str) -> None:
        """See `Copy.put`. Each file appears whole or not at all, and is on the disk before the checkpoint is."""
        async for file in files:
            await asyncio.to_thread(self._keep, file)
        await asyncio.to_thread(self._keep, File(CHECKPOINT, checkpoint.encode()), replace=True)

    def _keep(self, file: File, *, replace: bool = False) -> None:
        if self._begun and not self.root.is_dir():
            raise OutsideError(f"{self.root} is gone: is it mounted?")
        write_file(self.root, file, replace=replace)


def read_checkpoint(root: Path) -> str | None:
    """Return the checkpoint that lies in a directory, None if there is none. Raises OutsideError."""
    try:
        with (root / CHECKPOINT).open("rb") as file:
            return file.read(MAX_NOTE_BYTES).decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise OutsideError(f"its checkpoint cannot be read: {error}") from None


def write_file(root: Path, file: File, *, replace: bool = False) -> None:
    """Write a file whole or not at all; with the whole tile its partial ones go. Raises OutsideError."""
    path = root / file.path
    try:
        if replace or not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, file.content)
        if PARTIAL not in file.path:
            _remove_partial(path)
    except OSError as error:
        raise OutsideError(f"{file.path} cannot be written: {error}") from None


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    # The name, too, must be on the disk before anything is said to be there.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove_partial(path: Path) -> None:
    partial = path.with_name(f"{path.name}{PARTIAL}")
    if partial.is_dir():
        for one in partial.iterdir():
            one.unlink(missing_ok=True)
        with suppress(OSError):
            partial.rmdir()
