"""Losses: what a client says that it dropped itself. It is entered into the ledger, and a real loss is an error."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from tocsin.app.take_in import Intake
from tocsin.app.work import App
from tocsin.domain.arrival import Arrival
from tocsin.domain.deduplication import Outcome
from tocsin.domain.incident import Severity
from tocsin.domain.project import Project
from tocsin.domain.report import ErrorReport

PROTOCOL = "client-report"
LOST = "ClientLostEvents"
MAX_BELIEVED = 1_000_000
"""Of one reason and category in one request: whoever says more would make the ledger's sums overflow."""
_IN_BYTES = frozenset({"attachment", "log_byte", "trace_metric_byte"})
"""The categories that are counted in bytes: an entry of one of them is one loss, however large."""
_DELIBERATE = frozenset({"sample_rate", "before_send", "event_processor"})
"""What a program drops because it was told to. Source: https://develop.sentry.dev/sdk/telemetry/client-reports/."""
_ERRORS = frozenset({"error", "default"})
"""The categories that are error events; the others are traces, sessions and the like."""


async def report_losses(
    app: App, intake: Intake, project: Project, losses: Mapping[tuple[str, str], int], origin: str
) -> Mapping[tuple[str, str], int]:
    """Enter losses (reason and category) into the ledger; report the errors that were lost against the program's will.

    All of one reason are one failure of the project: a lost error is as bad as the error would have been. `origin`
    names the request that told it, so that a repeated one is no second loss. Return what was entered: nothing, if it
    was told before.
    """
    believed = {
        (reason, category): 1 if category in _IN_BYTES else min(quantity, MAX_BELIEVED)
        for (reason, category), quantity in losses.items()
    }
    reports = [
        _report(app, reason, quantity, origin)
        for (reason, category), quantity in believed.items()
        if is_error_lost(reason, category)
    ]
    if reports:
        taken = await intake.take_in(project, [Arrival.of(report) for report in reports], PROTOCOL)
        if all(one.outcome is Outcome.DUPLICATE for one in taken):
            return {}
    await intake.count(
        project.id, {("lost", f"{reason}/{category}"): quantity for (reason, category), quantity in believed.items()}
    )
    return believed


def is_error_lost(reason: str, category: str) -> bool:
    """Tell whether a loss is one of error events, and against the program's will."""
    return category in _ERRORS and reason not in _DELIBERATE


def _report(app: App, reason: str, quantity: int, origin: str) -> ErrorReport:
    return ErrorReport(
        event_id=hashlib.sha256(f"{origin} {reason}".encode()).hexdigest()[:32],
        severity=Severity.HIGH,
        error_type=LOST,
        message=f"A client dropped {quantity} of its own error events: {reason}.",
        occurred_at=app.clock(),
        fingerprint=("tocsin", LOST, reason),
        service="tocsin",
        context={"reason": reason, "quantity": quantity},
    )
