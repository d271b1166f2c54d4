"""What an incident is: its severities, types, states and the facts that never change."""

from __future__ import annotations

from enum import StrEnum


class Severity(StrEnum):
    """How bad a failure is. Ordered by `rank`, never by the alphabet."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"

    @property
    def rank(self) -> int:
        """Return 0 (LOW) to 3 (CRITICAL)."""
        return _RANKS[self]

    def at_least(self, other: Severity) -> bool:
        """Tell whether this severity is as bad as the other, or worse."""
        return _RANKS[self] >= _RANKS[other]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class IncidentType(StrEnum):
    """The class of an incident, fixed by the severity that opened it."""

    P0_INCIDENT = "P0_INCIDENT"
    P1_INCIDENT = "P1_INCIDENT"
    P2_INCIDENT = "P2_INCIDENT"


INCIDENT_TYPES: dict[Severity, IncidentType] = {
    Severity.CRITICAL: IncidentType.P0_INCIDENT,
    Severity.HIGH: IncidentType.P1_INCIDENT,
    Severity.MEDIUM: IncidentType.P2_INCIDENT,
    Severity.LOW: IncidentType.P2_INCIDENT,
}
"""LOW never opens an incident by itself; one that a person opens for it is a P2."""


class Status(StrEnum):
    """Where an incident stands. The order is the workflow; which step is allowed, `workflow` decides."""

    REPORTED = "REPORTED"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    INVESTIGATING = "INVESTIGATING"
    RESOLVED = "RESOLVED"
    CLOSED = "CLOSED"


class RootCauseCategory(StrEnum):
    """Where the cause of a failure lay."""

    USER_ERROR = "USER_ERROR"
    SYSTEM_DEFECT = "SYSTEM_DEFECT"
    EXTERNAL_DEPENDENCY = "EXTERNAL_DEPENDENCY"
    CONFIGURATION = "CONFIGURATION"
    SECURITY = "SECURITY"
    UNKNOWN = "UNKNOWN"


class EscalationReason(StrEnum):
    """Why an incident got louder."""

    NO_ACK_1HR = "NO_ACK_1HR"
    NO_ACK_4HR = "NO_ACK_4HR"
    NO_ROOT_CAUSE_24HR = "NO_ROOT_CAUSE_24HR"
    POLICY_STEP = "POLICY_STEP"
    MANUAL_ESCALATION = "MANUAL_ESCALATION"
    SEVERITY_ESCALATED = "SEVERITY_ESCALATED"
