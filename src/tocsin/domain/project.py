"""A project: one application that reports, and what its operator decided about its reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tocsin.domain.field_mapping import FieldMapping
from tocsin.domain.incident import Severity
from tocsin.domain.severity_rules import SeverityRule


@dataclass(frozen=True, slots=True)
class Project:
    """A project as intake sees it.

    A report joins its failure's last incident for `dedup_window` even if that is closed; from `incident_threshold` on
    it opens one. `field_mapping` says where a foreign JSON keeps what; without one that is guessed.
    """

    id: int
    name: str
    dedup_window: timedelta
    incident_threshold: Severity
    severity_rules: tuple[SeverityRule, ...] = ()
    field_mapping: FieldMapping | None = None
