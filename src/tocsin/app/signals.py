"""Signals: what another system says of a failure goes into its incident's timeline, and never moves the incident.

An alert that nobody repeats is over at its expiry: silence is then taken down as a RESOLVE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from tocsin.app.timeline import Detail, locked_head, take
from tocsin.app.work import Work
from tocsin.domain.arrival import Arrival
from tocsin.domain.incident import Severity
from tocsin.domain.project import Project
from tocsin.domain.report import ErrorReport, Signal
from tocsin.domain.timeline import EntryKind
from tocsin.domain.workflow import ReceiveSignal
from tocsin.store import incidents, jobs
from tocsin.store.jobs import NewJob

EXPIRE_ALERT = "expire-alert"
"""The kind of job that takes an alert for resolved which nobody repeated."""
MAX_SIGNALS = 100
"""Signals that are entered into one timeline; those beyond are recorded as reports only."""
MAX_SIGNAL_TEXT_CHARACTERS = 500
_EXPIRED_ID_CHARACTERS = 56


class Watched(Protocol):
    """A report of a project."""

    @property
    def project(self) -> Project: ...
    @property
    def arrival(self) -> Arrival: ...


async def take_down(work: Work, incident_id: UUID, arrival: Arrival) -> None:
    """Enter a signal into an incident's timeline, unless it says what the last one said."""
    assert arrival.signal is not None, "only signals are taken down"
    head = await locked_head(work, incident_id)
    said = await incidents.signals(work.tx, incident_id, MAX_SIGNALS)
    if len(said) >= MAX_SIGNALS or (said and said[0] == arrival.signal.value):
        return
    metadata: dict[str, object] = {
        "signal": arrival.signal.value,
        "text": arrival.title[:MAX_SIGNAL_TEXT_CHARACTERS],
        "eventId": arrival.event_id,
    }
    await take(work, head, ReceiveSignal(), None, {EntryKind.SIGNAL_RECEIVED: Detail(metadata=metadata)})


async def watch_expiry(work: Work, items: Sequence[Watched]) -> None:
    """Set the expiry of alerts that have one: a repeated alert puts it off, a resolved one calls it off."""
    for item in items:
        arrival = item.arrival
        if arrival.signal is Signal.RESOLVE:
            await jobs.cancel(work.tx, _key(item.project.id, arrival))
        elif arrival.expires_at is not None:
            payload = _payload(item.project.id, arrival)
            key = _key(item.project.id, arrival)
            await jobs.postpone(
                work.tx, NewJob(work.new_id(), EXPIRE_ALERT, key, payload, arrival.expires_at), work.now
            )


def _key(project_id: int, arrival: Arrival) -> str:
    return f"{EXPIRE_ALERT}:{project_id}:{arrival.mark.value}"


def _payload(project_id: int, arrival: Arrival) -> dict[str, object]:
    return {
        "projectId": project_id,
        "eventId": f"{arrival.event_id[:_EXPIRED_ID_CHARACTERS]}-expired",
        "type": arrival.error_type,
        "fingerprint": list(arrival.whole().fingerprint),
    }


def expired_alert(payload: Mapping[str, Any], now: datetime) -> ErrorReport:
    """Return what an expiry job reports: that nobody repeated the alert."""
    return ErrorReport(
        event_id=payload["eventId"],
        severity=Severity.LOW,
        error_type=payload["type"],
        message="Nobody repeated the alert in time: it is taken for resolved.",
        occurred_at=now,
        fingerprint=tuple(payload["fingerprint"]),
        signal=Signal.RESOLVE,
    )
