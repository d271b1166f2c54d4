"""Reads the wall clock, for the whole package: leases and timestamps outlive a process, a monotonic clock does not."""

from __future__ import annotations

import time


def now() -> float:
    """Return the time (seconds since 1970)."""
    return time.time()


def timestamp(seconds: float) -> str:
    """Return an instant as RFC 3339 in UTC, with microseconds."""
    whole, fraction = divmod(round(seconds * 1_000_000), 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{fraction:06d}Z"
