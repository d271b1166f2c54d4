"""The server's log: one file that PostgreSQL, initdb and the keeper append to, kept within bounds by the keeper."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tocsin.clock import system_clock

_MAX_BYTES = 10_000_000
"""When the log has grown to this it moves to `postgres.log.1`; with what came before, two of them at most."""

_TAIL_BYTES = 4_000
_TAIL_LINES = 12


class ServerLog:
    """The log file, open for appending; `descriptor` is what the programs get as their output."""

    def __init__(self, path: Path, max_bytes: int = _MAX_BYTES) -> None:
        """Open the log. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self.descriptor = os.open(path, flags, 0o600)
        self._path = path
        self._max_bytes = max_bytes
        self._begin = os.fstat(self.descriptor).st_size

    def note(self, message: str) -> None:
        """Append a line of the keeper's own."""
        line = f"{system_clock():%Y-%m-%d %H:%M:%S.%f} UTC [{os.getpid()}] keeper: {message}\n"
        os.write(self.descriptor, line.encode(errors="backslashreplace"))

    def bound(self) -> None:
        """Move an overgrown log aside.

        By copying and truncating, because PostgreSQL keeps the file open; a line written between the two is lost.
        """
        if os.fstat(self.descriptor).st_size < self._max_bytes:
            return
        shutil.copyfile(self._path, self._path.with_name(self._path.name + ".1"))
        os.truncate(self.descriptor, 0)
        self._begin = 0

    def tail(self) -> str:
        """Return the last lines written since this log was opened."""
        return tail(self._path, self._begin)


def tail(path: Path, begin: int = 0) -> str:
    """Return the last lines of a log from the byte `begin` on, or an empty text when there is none."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(begin, end - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-_TAIL_LINES:])
