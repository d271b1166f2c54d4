"""Samples: which reports of a failure this process keeps whole, and the latest one of each storm.

The counts are this process's own. If the first report of a failure that comes here joins an incident, another process
opened that, or this one before a restart, and kept the first few reports: of those this one adds only its first.
The latest report of a failure that is thinned out waits here until it is quiet, or until the one in the database has
become old; a process that is killed may thereby leave an older latest one, never a wrong count.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from tocsin.domain.arrival import Arrival
from tocsin.domain.sampling import ALWAYS_KEPT, is_kept
from tocsin.store.reports import FailureKey

MAX_FAILURES = 20_000
"""Failures whose counts are remembered: those seen last."""
MAX_WAITING = 2_000
"""Latest reports that wait to be written; the one that waits longest gives way."""
QUIET_SECONDS = 3.0
"""After so long without another report, the latest one is written."""
STALE_SECONDS = 30.0
"""In a storm that goes on, the latest one is written this often."""


@dataclass(slots=True)
class _Seen:
    count: int = 0
    kept_at_seconds: float = float("-inf")
    written_at_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Latest:
    """The latest report of a failure: its row is recorded, its content is still here."""

    report_id: UUID
    arrival: Arrival
    at_seconds: float


class Samples:
    """Decides which reports are kept whole; remembers the latest of those that are not."""

    def __init__(self) -> None:
        self._seen: OrderedDict[FailureKey, _Seen] = OrderedDict()
        self._waiting: OrderedDict[FailureKey, Latest] = OrderedDict()

    def has_seen(self, failure: FailureKey) -> bool:
        """Tell whether a report of a failure was counted before."""
        return failure in self._seen

    def is_kept(self, failure: FailureKey, now_seconds: float) -> bool:
        """Say whether the next report of a failure is kept whole, and count it."""
        seen = self._seen.get(failure)
        if seen is None:
            seen = self._seen[failure] = _Seen()
            if len(self._seen) > MAX_FAILURES:
                self._seen.popitem(last=False)
        self._seen.move_to_end(failure)
        seen.count += 1
        since_kept = now_seconds - seen.kept_at_seconds
        if not is_kept(seen.count, timedelta.max if since_kept > 86_400 else timedelta(seconds=since_kept)):
            return False
        seen.kept_at_seconds = seen.written_at_seconds = now_seconds
        self._waiting.pop(failure, None)
        return True

    def joined_at_first(self, failure: FailureKey) -> None:
        """Say that others kept the first reports of a failure: here the series goes on where it thins out."""
        if (seen := self._seen.get(failure)) is not None:
            seen.count = max(seen.count, ALWAYS_KEPT + 1)

    def thinned(self, failure: FailureKey, report_id: UUID, arrival: Arrival, now_seconds: float) -> None:
        """Remember a report of which only the row was recorded: it may turn out to be the latest."""
        self._waiting[failure] = Latest(report_id, arrival, now_seconds)
        self._waiting.move_to_end(failure)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popitem(last=False)

    @property
    def waiting(self) -> int:
        """Return how many latest reports wait."""
        return len(self._waiting)

    def due(self, now_seconds: float, limit: int, *, everything: bool = False) -> Sequence[tuple[FailureKey, Latest]]:
        """Return latest reports that it is time to write; they wait until `written` is said of them."""
        found = []
        for failure, latest in self._waiting.items():
            seen = self._seen.get(failure)
            stale = seen is None or now_seconds - seen.written_at_seconds >= STALE_SECONDS
            if everything or stale or now_seconds - latest.at_seconds >= QUIET_SECONDS:
                found.append((failure, latest))
                if len(found) == limit:
                    break
        return found

    def written(self, failure: FailureKey, latest: Latest, now_seconds: float) -> None:
        """Say that a latest report is in the database."""
        if self._waiting.get(failure) is latest:
            del self._waiting[failure]
        if failure in self._seen:
            self._seen[failure].written_at_seconds = now_seconds
