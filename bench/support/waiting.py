"""Incidents that nobody has acknowledged yet, each with the timer that is due an hour after it was reported.

Of two kinds there are few: those whose timers are due one by one, each with an on-call of its own, and those whose
timers are all due at one instant. The timers of all others are due when everything has been measured.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from bench.support.population import HOUR, MINUTE, SECOND, SEED, id_text, instant_text
from bench.support.rows import Rows
from tocsin.app.open_incident import BY_HAND
from tocsin.app.paging import ESCALATE
from tocsin.domain.incident import INCIDENT_TYPES, Severity, Status
from tocsin.domain.timeline import EntryKind

FIRST_SINGLE_SECONDS = 5
LAST_SINGLE_SECONDS = 35
BURST_SECONDS = 45
"""When timers are due, after the instant at which the measurement begins."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Incidents 1 to `pending`: first those whose timers are single, then those of the burst, then all others."""

    pending: int
    singles: int
    burst: int
    begins_us: int
    reporter_id: str

    @property
    def single_numbers(self) -> range:
        """Return the incidents whose timers are due one by one."""
        return range(1, self.singles + 1)

    @property
    def burst_numbers(self) -> range:
        """Return the incidents whose timers are due at one instant."""
        return range(self.singles + 1, self.singles + self.burst + 1)

    def due_us(self, number: int) -> int:
        """Return when a timer is due."""
        if number in self.burst_numbers:
            return self.begins_us + BURST_SECONDS * SECOND
        dice = random.Random(SEED * 1_000_003 + number)
        if number in self.single_numbers:
            return self.begins_us + dice.randrange(FIRST_SINGLE_SECONDS * SECOND, LAST_SINGLE_SECONDS * SECOND)
        return self.begins_us + dice.randrange(20 * MINUTE, 55 * MINUTE)

    def service(self, number: int) -> str | None:
        """Return the service of an incident: a single one has its own, and by it an on-call of its own."""
        return service_of(number) if number in self.single_numbers else None


def service_of(number: int) -> str:
    """Return the name of the service of a single timer's incident."""
    return f"service{number:04}"


def write(waiting: Waiting, numbers: range) -> Rows:
    """Return every row of these incidents."""
    rows = Rows()
    for number in numbers:
        _write_one(waiting, number, rows)
    return rows


def _write_one(waiting: Waiting, number: int, rows: Rows) -> None:
    due_us = waiting.due_us(number)
    created_us, dice = due_us - HOUR, random.Random(number)
    at, incident_id = instant_text(created_us), id_text(created_us, dice.getrandbits(80))
    service = waiting.service(number)
    detail = rows.seal(
        "incidents",
        {
            "id": incident_id,
            "number": number,
            "project_id": None,
            "incident_type": INCIDENT_TYPES[Severity.HIGH].value,
            "severity": Severity.HIGH.value,
            "title": f"Customers call: the checkout of shop {number} is slow",
            "description": "",
            "fingerprint": None,
            "created_from_error_id": None,
            "recurrence_of": None,
            "created_at": at,
            "created_by_system": False,
            "created_by_user_id": waiting.reporter_id,
        },
    )
    checksum = rows.seal(
        "incident_lifecycle",
        {
            "id": id_text(created_us, dice.getrandbits(80)),
            "incident_id": incident_id,
            "sequence": 1,
            "previous_checksum": None,
            "event_type": EntryKind.REPORTED.value,
            "status_before": None,
            "status_after": Status.REPORTED.value,
            "actor_user_id": waiting.reporter_id,
            "actor_role": "superadmin",
            "detail_checksum": detail,
            "metadata": {"trigger": BY_HAND} | ({"service": service} if service else {}),
            "personal": None,
            "event_at": at,
            "nonce": f"\\x{dice.getrandbits(128):032x}",
        },
    )
    rows.add(
        "incident_heads",
        {
            "incident_id": incident_id,
            "number": number,
            "status": Status.REPORTED.value,
            "current_severity": Severity.HIGH.value,
            "sequence": 1,
            "checksum": checksum,
            "created_at": at,
            "last_event_at": at,
            "service": service,
            "lease_from": at,
        },
    )
    rows.add("incident_occurrences", {"incident_id": incident_id, "occurrences": 0, "last_seen_at": at})
    rows.add(
        "jobs",
        {
            "id": id_text(created_us, dice.getrandbits(80)),
            "kind": ESCALATE,
            "key": f"{ESCALATE}:{incident_id}",
            "payload": {"incidentId": incident_id},
            "due_at": instant_text(due_us),
            "created_at": at,
        },
    )
