"""Losses: what a client says that it dropped itself. It is entered into the ledger, and a real loss is an error."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tocsin.app.report_errors import Item, take_in_carefully
from tocsin.app.work import Work
from tocsin.domain.arrival import Arrival
from tocsin.domain.incident import Severity
from tocsin.domain.project import Project
from tocsin.domain.report import ErrorReport
from tocsin.store import access, ledger
from tocsin.store.ledger import LedgerKey

PROTOCOL = "client-report"
LOST = "ClientLostEvents"
MAX_BELIEVED = 1_000_000
"""Of one reason and category in one request: whoever says more would make the ledger's sums overflow."""
_IN_BYTES = frozenset({"attachment"})
"""The categories that are counted in bytes: an entry of one of them is one loss, however large."""
_COUNTED_BESIDE = frozenset({"log_byte", "trace_metric_byte"})
"""Bytes of what another entry of the same report counts already, as `log_item` or `trace_metric`."""
_DELIBERATE = frozenset({"sample_rate", "before_send", "event_processor"})
"""What a program drops because it was told to. Source: https://develop.sentry.dev/sdk/telemetry/client-reports/."""
_ERRORS = frozenset({"error", "default"})
"""The categories that are error events; the others are traces, sessions and the like."""

Losses = Mapping[tuple[str, str], int]
"""How many were lost, by reason and category."""


@dataclass(frozen=True, slots=True)
class ClientReport:
    """What one request tells of losses; `origin` names the request, so that a repeated one is no second loss."""

    project: Project
    losses: Losses
    origin: str


async def enter_losses(work: Work, told: Sequence[ClientReport]) -> list[Losses]:
    """Enter losses into the ledger, and report those of errors; return what was entered of each client report.

    Of one that was told before, within the day for which it is remembered, that is nothing. All losses of one reason
    are one failure of the project: a lost error is as bad as the error would have been.
    """
    origins = [(f"losses of project {one.project.id}", one.origin) for one in told]
    new = await access.remember_first(work.tx, origins, work.now)
    entered: list[Losses] = []
    for one, origin in zip(told, origins, strict=True):
        entered.append(_believed(one.losses) if origin in new else {})
        new.discard(origin)
    items = [item for one, losses in zip(told, entered, strict=True) for item in _items(work, one, losses)]
    await take_in_carefully(work, items)
    counts: Counter[LedgerKey] = Counter()
    for one, losses in zip(told, entered, strict=True):
        for (reason, category), quantity in losses.items():
            counts[one.project.id, "lost", f"{reason}/{category}"] += quantity
    await ledger.count(work.tx, counts, work.now)
    return entered


def _believed(losses: Losses) -> Losses:
    return {
        (reason, category): 1 if category in _IN_BYTES else min(quantity, MAX_BELIEVED)
        for (reason, category), quantity in losses.items()
        if category not in _COUNTED_BESIDE
    }


def _items(work: Work, told: ClientReport, losses: Losses) -> list[Item]:
    """Return the reports of the errors that were lost against the program's will."""
    return [
        Item(told.project, Arrival.of(_report(reason, quantity, told.origin, work.now)), work.new_id(), PROTOCOL)
        for (reason, category), quantity in losses.items()
        if is_error_lost(reason, category)
    ]


def is_error_lost(reason: str, category: str) -> bool:
    """Tell whether a loss is one of error events, and against the program's will."""
    return category in _ERRORS and reason not in _DELIBERATE


def _report(reason: str, quantity: int, origin: str, now: datetime) -> ErrorReport:
    return ErrorReport(
        event_id=hashlib.sha256(f"{origin} {reason}".encode()).hexdigest()[:32],
        severity=Severity.HIGH,
        error_type=LOST,
        message=f"A client dropped {quantity} of its own error events: {reason}.",
        occurred_at=now,
        fingerprint=("tocsin", LOST, reason),
        service="tocsin",
        context={"reason": reason, "quantity": quantity},
    )
