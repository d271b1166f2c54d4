"""How many connections each web process of one listener has, so that the one with the fewest takes the next.

An event loop that wakes first takes everything that waits: without this, clients that come together would all be one
process's, and the others would have nothing to do. The numbers lie in memory that the processes share. They are advice:
a wrong one costs a new connection PATIENCE_SECONDS, and nothing else.
"""

from __future__ import annotations

import mmap
import os
from array import array
from typing import Final

PATIENCE_SECONDS = 0.005
"""How long a new connection waits for a process that has fewer; then whoever saw it takes it."""
_ABSENT: Final = 0xFFFFFFFF
_ITEM_BYTES: Final = array("I").itemsize


def make_shares(processes: int, descriptor: int) -> Shares:
    """Prepare an empty file, open at a descriptor, for the numbers of so many processes; none has begun."""
    os.ftruncate(descriptor, processes * _ITEM_BYTES)
    shares = Shares(descriptor, 0)
    for place in range(processes):
        shares.leave(place)
    return shares


class Shares:
    """The numbers, as one process sees them."""

    def __init__(self, descriptor: int, place: int) -> None:
        """Open the file that `make_shared` prepared, for the process in this place."""
        self.descriptor = descriptor
        self._numbers = memoryview(mmap.mmap(descriptor, 0)).cast("I")
        self._place = place

    def tell(self, connections: int) -> None:
        """Say how many connections this process has."""
        self._numbers[self._place] = connections

    def leave(self, place: int) -> None:
        """Take a process that has ended, or accepts no more, out of the comparison."""
        self._numbers[place] = _ABSENT

    @property
    def another_has_fewer(self) -> bool:
        """Tell whether another process should take the next connection."""
        return min(self._numbers) < self._numbers[self._place]
