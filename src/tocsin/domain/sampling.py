"""Sampling: which reports of a failure are kept whole when there are too many to keep them all.

Every report is recorded and counted; what a storm thins out is their content. Kept are the first reports, a series
that thins out (10, 20, … 100, 200, … 1,000, 2,000, …), and one after each pause: a failure that comes now and then is
kept in full.
"""

from __future__ import annotations

from datetime import timedelta

ALWAYS_KEPT = 10
"""The first reports of a failure that are kept whole."""
PAUSE = timedelta(seconds=10)
"""After so long without one, the next report is kept whole."""


def is_kept(nth: int, since_kept: timedelta) -> bool:
    """Say whether the nth report of a failure (from 1) is kept whole, given how long ago the last kept one came."""
    return nth <= ALWAYS_KEPT or since_kept >= PAUSE or nth == _leading_digit(nth)


def _leading_digit(number: int) -> int:
    """Return the number with all of its digits but the first set to zero."""
    power: int = 10 ** (len(str(number)) - 1)
    return number // power * power
