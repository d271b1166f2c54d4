"""Advisory locks on files: the kernel releases them whatever happens to their holder, also at `kill -9`."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from tocsin.clock import monotonic_seconds

_RETRY_SECONDS = 0.02


class FileLock:
    """One open file that can be locked (`flock`). Programs that we start do not inherit it; forks share it."""

    def __init__(self, path: Path) -> None:
        """Open the file, creating it if need be. Raises OSError."""
        self._path = path
        # O_NOFOLLOW: root opens this in a directory that may belong to somebody else.
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if os.geteuid() == 0:  # else the owner of the directory could not open what root has made there
            owner = path.parent.stat()
            os.fchown(self._descriptor, owner.st_uid, owner.st_gid)

    def try_shared(self) -> bool:
        """Take the lock together with others, or return False at once."""
        return self._try(fcntl.LOCK_SH)

    def try_exclusive(self) -> bool:
        """Take the lock alone, or return False at once."""
        return self._try(fcntl.LOCK_EX)

    def unlock(self) -> None:
        """Give the lock back and keep the file open."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; with its last copy goes the lock."""
        os.close(self._descriptor)

    def write(self, text: str) -> None:
        """Replace the contents of the file: what its holder has to say to others. Raises OSError."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)

    def was_replaced(self) -> bool:
        """Return whether the name no longer leads to our file: the directory was deleted, perhaps made anew."""
        try:
            return not os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            return True

    def _try(self, operation: int) -> bool:
        try:
            fcntl.flock(self._descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def insist(attempt: Callable[[], bool], seconds: float) -> bool:
    """Repeat an attempt until it succeeds or the time is over; others hold these locks for moments to probe them."""
    end = monotonic_seconds() + seconds
    while not attempt():
        if monotonic_seconds() >= end:
            return False
        time.sleep(_RETRY_SECONDS)
    return True
