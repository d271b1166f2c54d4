"""Others who can vouch for the log: witnesses, time-stamp authorities, copies in other places. One file a kind.

Nothing here knows the database: what is to be sent comes as arguments. What goes wrong raises OutsideError and is tried
again by the caller; what shows two histories of one log raises ContradictionError, and that is never glossed over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

ConsistencyProof = Callable[[int, int], Awaitable[list[bytes]]]
"""Returns the consistency proof between two sizes of our log (RFC 6962, 2.1.2)."""


class OutsideError(Exception):
    """Somebody outside could not be reached, or gave an answer that does not hold; its text is one line."""


class ContradictionError(OutsideError):
    """Somebody outside has seen another history of our log: it was forked, rolled back, or signed by a thief."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of the log as others read it (c2sp.org/tlog-tiles): its path there and its content."""

    path: str
    content: bytes


class Copy(Protocol):
    """A place that keeps a copy of the log's files."""

    async def held(self) -> str | None:
        """Return the checkpoint (a signed note) of the copy, None if it has none yet. Raises OutsideError."""

    async def put(self, files: AsyncIterator[File], checkpoint: str) -> None:
        """Keep the files, and only when all of them are there the checkpoint. Raises OutsideError.

        A file that is there already stays: none ever changes but the checkpoint.
        """
