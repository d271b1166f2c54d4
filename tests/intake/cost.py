"""What a megabyte made to hurt may cost its reader: a tenth of a second, and another one however small it is.

So says `tests.fuzz.targets`, too. Another tenth is for machines that are slower than ours, and busy.
"""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from typing import TypeVar

MAX_SECONDS = 0.3
TRIES = 5

T = TypeVar("T")


def read_cheaply(read: Callable[[], T]) -> T:
    """Return what was read; fail if the quickest of some tries took the processor for more than MAX_SECONDS."""
    spent: list[float] = []
    for _ in range(TRIES):
        started = process_time()
        taken = read()
        spent.append(process_time() - started)
        if spent[-1] < MAX_SECONDS:
            return taken
    raise AssertionError(f"it took {min(spent):.3f} s at best, more than {MAX_SECONDS:g} s")
