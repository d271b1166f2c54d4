"""An arrival: a report at the door, read as far as it takes to judge it; the whole of it on demand.

In a storm most reports are counted and not kept whole. What it takes to count one (which failure, how bad, which
event) is cheap to read; the rest of a report is not, so it is read only when somebody will keep it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from tocsin.domain.fingerprint import Fingerprint, fingerprint
from tocsin.domain.incident import Severity
from tocsin.domain.report import ErrorReport, Signal


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of a report at the door; every part is as `bounded` would leave it.

    `whole` reads the report itself: it lets nothing escape, and agrees with the other parts.
    """

    event_id: str
    severity: Severity
    mark: Fingerprint
    title: str
    error_type: str
    occurred_at: datetime
    whole: Callable[[], ErrorReport]
    signal: Signal | None = None
    expires_at: datetime | None = None

    @classmethod
    def of(cls, report: ErrorReport) -> Arrival:
        """Return the arrival of a report that was read whole."""
        return cls(
            event_id=report.event_id,
            severity=report.severity,
            mark=fingerprint(report),
            title=report.title,
            error_type=report.error_type,
            occurred_at=report.occurred_at,
            whole=lambda: report,
            signal=report.signal,
            expires_at=report.expires_at,
        )
