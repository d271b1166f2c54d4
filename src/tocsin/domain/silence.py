"""Silences: what holds pages back, for which incidents, and for how long. They never hold an incident back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from tocsin.domain.incident import Severity


class SilenceKind(StrEnum):
    """Why pages are held back: somebody asked for quiet, or work was announced."""

    SILENCE = "SILENCE"
    MAINTENANCE = "MAINTENANCE"


@dataclass(frozen=True, slots=True)
class Silence:
    """Holds pages back from `starts_at` until just before `ends_at`. What is None matches everything."""

    id: UUID
    kind: SilenceKind
    incident_id: UUID | None
    project_id: int | None
    service: str | None
    severities: frozenset[Severity] | None
    starts_at: datetime
    ends_at: datetime
    reason: str
    created_by: UUID

    @property
    def matches_everything(self) -> bool:
        """Tell whether it holds the pages of every incident back."""
        return (self.incident_id, self.project_id, self.service, self.severities) == (None, None, None, None)


@dataclass(frozen=True, slots=True)
class SilenceFacts:
    """What of an incident decides whether a silence matches it. `severity` is the current one."""

    incident_id: UUID
    project_id: int | None
    service: str | None
    severity: Severity


def matches(silence: Silence, facts: SilenceFacts) -> bool:
    """Tell whether a silence is about an incident, whenever it holds: everything that it names must be so."""
    return (
        silence.incident_id in (None, facts.incident_id)
        and silence.project_id in (None, facts.project_id)
        and silence.service in (None, facts.service)
        and (silence.severities is None or facts.severity in silence.severities)
    )


def active(silence: Silence, at: datetime) -> bool:
    """Tell whether a silence holds at an instant. At its end it does not any more."""
    return silence.starts_at <= at < silence.ends_at


def holding(silences: Iterable[Silence], facts: SilenceFacts, at: datetime) -> Silence | None:
    """Return the silence that holds an incident's pages back at an instant: of several the one that ends last."""
    found = [one for one in silences if active(one, at) and matches(one, facts)]
    return max(found, key=lambda one: (one.ends_at, one.id), default=None)
