"""An arrival: a report at the door, read as far as it takes to judge it; the whole of it on demand.

In a storm most reports are counted and not kept whole. What it takes to count one (which failure, how bad, which
event) is cheap to read; the rest of a report is not, so it is read only when somebody will keep it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from tocsin.domain.fingerprint import Fingerprint, Raised, fingerprint
from tocsin.domain.incident import Severity
from tocsin.domain.report import (
    EARLIEST_CLOCK,
    MAX_CLOCK_AHEAD,
    MAX_EVENT_ID_CHARACTERS,
    MAX_MESSAGE_CHARACTERS,
    MAX_TYPE_CHARACTERS,
    ErrorReport,
    Signal,
    is_short_chain,
    is_short_fingerprint,
    title_of,
)


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """What is known of a report at the door; every part is as `bounded` would leave it.

    `whole` reads the report itself: it lets nothing escape, and agrees with the other parts.
    A struct, for one is made of every report that comes in, and a dataclass takes eight times as long to make.
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


class Glimpse(msgspec.Struct, frozen=True, gc=False):
    """What a parser's first look found of a report: all that decides, and nothing else.

    `event_id` is "" if the client sent none. The parser sees to it that no text holds what cannot be stored, and that
    no part of an exception is too long.
    """

    event_id: str
    severity: Severity
    error_type: str
    message: str
    occurred_at: datetime
    template: str
    fingerprint: Sequence[str]
    exceptions: Sequence[Raised]

    def is_bounded(self, received_at: datetime) -> bool:
        """Tell whether `bounded` would leave it as it is. Only then does it agree with the report."""
        return (
            len(self.error_type) <= MAX_TYPE_CHARACTERS
            and len(self.message) <= MAX_MESSAGE_CHARACTERS
            and len(self.template) <= MAX_MESSAGE_CHARACTERS
            and (not self.fingerprint or is_short_fingerprint(self.fingerprint))
            and (not self.exceptions or is_short_chain(self.exceptions))
            and EARLIEST_CLOCK <= self.occurred_at <= received_at + MAX_CLOCK_AHEAD
        )

    def arrival(self, event_id: str, whole: Callable[[], ErrorReport]) -> Arrival:
        """Return the arrival of the report that `whole` reads."""
        return Arrival(
            event_id=event_id,
            severity=self.severity,
            mark=fingerprint(self),
            title=title_of(self.error_type, self.message),
            error_type=self.error_type,
            occurred_at=self.occurred_at,
            whole=whole,
        )


def is_plain_id(event_id: str) -> bool:
    """Tell whether an event id is short and printable ASCII, so that nothing would be done to it."""
    return len(event_id) <= MAX_EVENT_ID_CHARACTERS and event_id.isascii() and event_id.isprintable()
