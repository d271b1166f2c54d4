"""A clock that is moved by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2026, 3, 1, 3, 0, 0, tzinfo=UTC)


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self, start: datetime = START) -> None:
        self.now = start

    def __call__(self) -> datetime:
        """Return the instant at which it stands."""
        return self.now

    def forward(self, **duration: float) -> None:
        """Move forward: `clock.forward(hours=1)`."""
        self.now += timedelta(**duration)
