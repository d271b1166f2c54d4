"""A file of lines that outlives its writer: what is there was written before the writer was killed."""

from __future__ import annotations

import os
from pathlib import Path


def opened(path: Path) -> int:
    """Open a journal to append to it, a new one or where it ends; return its descriptor."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def append(file: int, line: str, *, to_disk: bool = False) -> None:
    """Write one line in one piece to an open descriptor."""
    os.write(file, f"{line}\n".encode())
    if to_disk:
        os.fsync(file)


def lines(path: Path) -> list[str]:
    """Return the whole lines of a file that need not be there; a last one without an end was never written."""
    return path.read_text().split("\n")[:-1] if path.exists() else []
