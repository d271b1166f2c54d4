"""Sampling: which reports of a failure are kept whole when there are too many to keep them all.

Every report is recorded and counted; what a storm thins out is their content. Kept are the first reports, a
series that thins out (4, 16, 64, …), and one in half a minute: a failure that comes now and then is kept in full.
"""

from __future__ import annotations

from datetime import timedelta

ALWAYS_KEPT = 3
"""The first reports of a failure that are kept whole."""
KEPT_EVERY = timedelta(seconds=30)
"""After so long without a kept one, the next report is kept whole."""


def is_kept(nth: int, since_kept: timedelta) -> bool:
    """Say whether the nth report of a failure (from 1) is kept whole, given how long ago the last kept one came."""
    return nth <= ALWAYS_KEPT or since_kept >= KEPT_EVERY or _is_power_of_four(nth)


def _is_power_of_four(number: int) -> bool:
    return number.bit_count() == 1 and number.bit_length() % 2 == 1
