"""Deduplication: what becomes of a report, given the latest incident of its failure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from tocsin.domain.incident import Severity, Status


class Outcome(StrEnum):
    """What became of a report."""

    OPENED = "opened"
    JOINED = "joined"
    RECORDED = "recorded"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class LatestIncident:
    """The latest incident of a failure."""

    incident_id: UUID
    status: Status
    severity: Severity
    created_at: datetime


def judge(
    severity: Severity,
    latest: LatestIncident | None,
    now: datetime,
    *,
    window: timedelta,
    threshold: Severity,
    signal: bool = False,
) -> Outcome:
    """Say whether a report joins the latest incident, opens a new one, or is only recorded.

    It joins an open incident whatever its severity, and a closed one that was created less than `window` ago.
    Otherwise it opens one from `threshold` upwards, and always when HIGH or CRITICAL; a signal never opens one.
    """
    if latest is not None and (latest.status is not Status.CLOSED or now - latest.created_at < window):
        return Outcome.JOINED
    if signal:
        return Outcome.RECORDED
    if severity.at_least(threshold) or severity.at_least(Severity.HIGH):
        return Outcome.OPENED
    return Outcome.RECORDED
