"""The only reader of time. Everything else takes the time as an argument."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the present instant: timezone-aware, UTC, microseconds."""


def system_clock() -> datetime:
    """Return the present instant of this machine, in UTC."""
    return datetime.now(UTC)


def monotonic_seconds() -> float:
    """Return seconds on a clock that never steps; only differences mean something."""
    return time.monotonic()
