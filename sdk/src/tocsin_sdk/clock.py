"""Reads the wall clock, for the whole package: leases and timestamps outlive a process, a monotonic clock does not."""

from __future__ import annotations

import time

LAST_SECOND = 253_402_300_799
"""9999-12-31T23:59:59: RFC 3339 has no later year, and from before 1970 there is no report."""


def now() -> float:
    """Return the time (seconds since 1970)."""
    return time.time()


def timestamp(seconds: float) -> str:
    """Return an instant as RFC 3339 in UTC, with microseconds; the nearest there is, if a clock is beside itself."""
    whole, fraction = divmod(round(min(max(seconds, 0), LAST_SECOND) * 1_000_000), 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{fraction:06d}Z"
