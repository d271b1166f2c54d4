"""Somebody with SQL access who writes the record by hand: well-formed rows, in whatever order they like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.support.clock import START
from tests.support.servers import Server
from tocsin import ids
from tocsin.domain import sealing
from tocsin.domain.sealing import Sealed

Connection = psycopg.Connection[dict[str, Any]]

NATURAL_STATUS = {
    "REPORTED": "REPORTED",
    "ACKNOWLEDGED": "ACKNOWLEDGED",
    "INVESTIGATION_STARTED": "INVESTIGATING",
    "ROOT_CAUSE_RECORDED": "INVESTIGATING",
    "RESOLVED": "RESOLVED",
    "CLOSED": "CLOSED",
}
"""Where a kind of entry leads to; the others leave the incident where it stands."""
SEVERITIES = ("LOW", "MEDIUM", "HIGH", "CRITICAL")


@contextmanager
def connected(server: Server, database: str, *, user: str | None = None) -> Iterator[Connection]:
    """Give a connection in our schema (autocommit: transactions are opened by those who want one)."""
    with psycopg.connect(
        server.conninfo(database, user=user), autocommit=True, row_factory=dict_row, options="-c search_path=tocsin"
    ) as connection:
        yield connection


def seal(table: str, columns: Mapping[str, object]) -> Sealed:
    """Seal a row, with salts as good as those of the product."""
    return sealing.seal(table, columns, ids.new_nonce)


def row_of(sealed: Sealed) -> dict[str, Any]:
    """Return the columns of a sealed row, with its canonical bytes and disclosures, as parameters."""
    columns = {
        name: Jsonb(value) if isinstance(value, dict | list) else value for name, value in sealed.columns.items()
    }
    disclosures = {"disclosures": list(sealed.disclosures)} if sealed.disclosures else {}
    return columns | disclosures | {"canonical": sealed.canonical}


def insert(connection: Connection, table: str, row: Mapping[str, Any]) -> None:
    """Insert a row column by column, whatever its canonical bytes say."""
    names, places = map(sql.Identifier, row), map(sql.Placeholder, row)
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table), sql.SQL(", ").join(names), sql.SQL(", ").join(places)
    )
    connection.execute(statement, row)


@dataclass(frozen=True, slots=True)
class ByHand:
    """Writes rows with correct canonical bytes, as a person would who has read the documentation."""

    connection: Connection
    actor: UUID
    role: str = "superadmin"

    def head(self, incident_id: UUID) -> dict[str, Any]:
        """Return where the incident stands."""
        row = self.connection.execute("SELECT * FROM incident_heads WHERE incident_id = %s", [incident_id]).fetchone()
        assert row is not None
        return row

    def insert(self, table: str, columns: Mapping[str, object], canonical: bytes | None = None) -> Sealed:
        """Insert a row; `canonical` replaces the bytes that belong to it."""
        sealed = seal(table, columns)
        row = row_of(sealed)
        if canonical is not None:
            row["canonical"] = canonical
        insert(self.connection, table, row)
        return sealed

    def entry(
        self,
        incident_id: UUID,
        kind: str,
        *,
        detail: bytes | None = None,
        metadata: Mapping[str, object] | None = None,
        by_system: bool = False,
        **overrides: object,
    ) -> Sealed:
        """Append the entry that would come next; `overrides` replaces any of its columns."""
        head = self.head(incident_id)
        columns = {
            "id": ids.new_id(),
            "incident_id": incident_id,
            "sequence": head["sequence"] + 1,
            "previous_checksum": head["checksum"],
            "event_type": kind,
            "status_before": head["status"],
            "status_after": NATURAL_STATUS.get(kind, head["status"]),
            "actor_user_id": None if by_system else self.actor,
            "actor_role": "system" if by_system else self.role,
            "detail_checksum": detail,
            "metadata": dict(metadata or {}),
            "personal": None,
            "event_at": _after(head),
            "nonce": ids.new_nonce(),
        }
        return self.insert("incident_lifecycle", columns | overrides)

    def open(self, severity: str = "HIGH") -> UUID:
        """Open an incident by hand; return its id."""
        incident_id = ids.new_id()
        row = self.connection.execute("SELECT nextval('incident_number') AS number").fetchone()
        assert row is not None
        columns = {
            "id": incident_id,
            "number": row["number"],
            "project_id": None,
            "incident_type": {"CRITICAL": "P0_INCIDENT", "HIGH": "P1_INCIDENT"}.get(severity, "P2_INCIDENT"),
            "severity": severity,
            "title": "Written by hand",
            "description": "",
            "fingerprint": None,
            "created_from_error_id": None,
            "recurrence_of": None,
            "created_at": START,
            "created_by_system": False,
            "created_by_user_id": self.actor,
        }
        with self.connection.transaction():
            sealed = self.insert("incidents", columns)
            self.insert("incident_lifecycle", self.first_entry(incident_id, sealed.checksum))
        return incident_id

    def first_entry(self, incident_id: UUID, detail: bytes) -> dict[str, object]:
        """Return the columns of a REPORTED entry."""
        return {
            "id": ids.new_id(),
            "incident_id": incident_id,
            "sequence": 1,
            "previous_checksum": None,
            "event_type": "REPORTED",
            "status_before": None,
            "status_after": "REPORTED",
            "actor_user_id": self.actor,
            "actor_role": self.role,
            "detail_checksum": detail,
            "metadata": {"trigger": "OPENED_BY_HAND"},
            "personal": None,
            "event_at": START,
            "nonce": ids.new_nonce(),
        }

    def step(self, incident_id: UUID, name: str, **overrides: object) -> None:
        """Take one step by its name (see STEPS), detail and entry in one transaction, or raise the refusal."""
        with self.connection.transaction():
            STEPS[name](self, incident_id, overrides)
            self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            # For the steps that follow in a transaction around this one.
            self.connection.execute("SET CONSTRAINTS ALL DEFERRED")

    def accepts(self, incident_id: UUID, name: str, **overrides: object) -> str:
        """Try a step and take it back; return "" when it is accepted, the SQLSTATE of the refusal otherwise."""
        try:
            with self.connection.transaction():
                self.step(incident_id, name, **overrides)
                raise psycopg.Rollback
        except psycopg.Error as error:
            return error.sqlstate or "unknown"
        return ""

    def detail_row(self, table: str, incident_id: UUID, **columns: object) -> Sealed:
        """Insert a detail with sensible values."""
        own = DETAILS[table](self, self.head(incident_id))
        return self.insert(table, {"id": ids.new_id(), "incident_id": incident_id} | own | columns)

    def latest_escalation(self, incident_id: UUID) -> UUID | None:
        """Return the latest escalation that went to this actor."""
        row = self.connection.execute(
            "SELECT id FROM incident_escalations WHERE incident_id = %s AND escalated_to_user_id = %s"
            " ORDER BY escalated_at DESC, id DESC LIMIT 1",
            [incident_id, self.actor],
        ).fetchone()
        return row["id"] if row else None


def _after(head: Mapping[str, Any]) -> datetime:
    at: datetime = head["last_event_at"] + timedelta(seconds=1)
    return at


DETAILS: dict[str, Any] = {
    "incident_acknowledgments": lambda hand, head: {
        "ack_by_user_id": hand.actor,
        "ack_at": _after(head),
        "ack_notes": "by hand",
        "severity_at_ack": head["current_severity"],
    },
    "incident_root_causes": lambda hand, head: {
        "root_cause_summary": "by hand",
        "root_cause_category": "UNKNOWN",
        "identified_by_user_id": hand.actor,
        "identified_at": _after(head),
        "remediation_steps": "by hand",
        "verified_at": None,
    },
    "incident_resolution": lambda hand, head: {
        "resolved_by_user_id": hand.actor,
        "resolved_at": _after(head),
        "resolution_summary": "by hand",
        "resolution_notes": None,
        "impact_assessment": None,
        "lessons_learned": None,
        "follow_up_actions": None,
    },
    "incident_closures": lambda hand, head: {
        "closed_by_user_id": hand.actor,
        "closed_at": _after(head),
        "lessons_learned": "by hand",
        "follow_up_actions": [{"title": "by hand"}],
    },
    "incident_escalations": lambda hand, head: {
        "escalation_reason": "MANUAL_ESCALATION",
        "escalated_to_user_id": hand.actor,
        "escalated_by_user_id": hand.actor,
        "escalation_notes": "by hand",
        "escalated_at": _after(head),
    },
    "incident_escalation_acknowledgments": lambda hand, head: {
        "acknowledged_by_user_id": hand.actor,
        "acknowledged_at": _after(head),
    },
}


def _with_detail(kind: str, table: str, **columns: object) -> Any:
    def step(hand: ByHand, incident_id: UUID, overrides: Mapping[str, object]) -> None:
        said: dict[str, Any] = dict(overrides)
        sealed = hand.detail_row(table, incident_id, **(columns | said.pop("detail", {})))
        hand.entry(incident_id, kind, detail=sealed.checksum, **said)

    return step


def _bare(kind: str, *, by_system: bool = False) -> Any:
    def step(hand: ByHand, incident_id: UUID, overrides: Mapping[str, object]) -> None:
        hand.entry(incident_id, kind, by_system=by_system, **overrides)  # type: ignore[arg-type]

    return step


def _escalation(reason: str, **metadata: object) -> Any:
    by_system = reason != "MANUAL_ESCALATION"

    def step(hand: ByHand, incident_id: UUID, overrides: Mapping[str, object]) -> None:
        by = {"escalation_reason": reason} | ({"escalated_by_user_id": None} if by_system else {})
        sealed = hand.detail_row("incident_escalations", incident_id, **by)
        said: dict[str, Any] = {"metadata": metadata} | dict(overrides)
        hand.entry(incident_id, "ESCALATED", detail=sealed.checksum, by_system=by_system, **said)

    return step


def _severity(change: int, *, by_system: bool) -> Any:
    def step(hand: ByHand, incident_id: UUID, overrides: Mapping[str, object]) -> None:
        now = hand.head(incident_id)["current_severity"]
        to = SEVERITIES[(SEVERITIES.index(now) + change) % len(SEVERITIES)]
        metadata = {"from": now, "to": to, "reason": "by hand"}
        said: dict[str, Any] = {"metadata": metadata} | dict(overrides)
        hand.entry(incident_id, "SEVERITY_CHANGED", by_system=by_system, **said)

    return step


def _escalation_acknowledged(hand: ByHand, incident_id: UUID, overrides: Mapping[str, object]) -> None:
    said: dict[str, Any] = dict(overrides)
    columns = said.pop("detail", None) or {"escalation_id": hand.latest_escalation(incident_id)}
    sealed = hand.detail_row("incident_escalation_acknowledgments", incident_id, **columns)
    hand.entry(incident_id, "ESCALATION_ACKNOWLEDGED", detail=sealed.checksum, **said)


STEPS: dict[str, Any] = {
    "ACKNOWLEDGED": _with_detail("ACKNOWLEDGED", "incident_acknowledgments"),
    "INVESTIGATION_STARTED": _bare("INVESTIGATION_STARTED"),
    "ROOT_CAUSE_RECORDED": _with_detail("ROOT_CAUSE_RECORDED", "incident_root_causes"),
    "RESOLVED": _with_detail("RESOLVED", "incident_resolution"),
    "RESOLVED with lessons": _with_detail(
        "RESOLVED", "incident_resolution", lessons_learned="by hand", follow_up_actions=[{"title": "by hand"}]
    ),
    "CLOSED": _with_detail("CLOSED", "incident_closures"),
    "CLOSED without closure": _bare("CLOSED"),
    "NOTE_ADDED": _bare("NOTE_ADDED"),
    "SIGNAL_RECEIVED": _bare("SIGNAL_RECEIVED", by_system=True),
    "SESSIONS_BLOCKED": _bare("SESSIONS_BLOCKED", by_system=True),
    "ESCALATED NO_ACK_1HR": _escalation("NO_ACK_1HR"),
    "ESCALATED NO_ACK_4HR": _escalation("NO_ACK_4HR"),
    "ESCALATED NO_ROOT_CAUSE_24HR": _escalation("NO_ROOT_CAUSE_24HR"),
    "ESCALATED POLICY_STEP": _escalation("POLICY_STEP", step="0.1/by-hand"),
    "ACKNOWLEDGMENT_LAPSED": _bare("ACKNOWLEDGMENT_LAPSED", by_system=True),
    "PAGES_HELD": _bare("PAGES_HELD", by_system=True),
    "ESCALATED MANUAL_ESCALATION": _escalation("MANUAL_ESCALATION"),
    "ESCALATED SEVERITY_ESCALATED": _escalation("SEVERITY_ESCALATED"),
    "ESCALATION_ACKNOWLEDGED": _escalation_acknowledged,
    "SEVERITY_CHANGED by a person": _severity(1, by_system=False),
    "SEVERITY_CHANGED up by the system": _severity(1, by_system=True),
    "SEVERITY_CHANGED down by the system": _severity(-1, by_system=True),
}
"""Every step that can be written by hand, by name."""


def columns_of(connection: Connection, table: str) -> sql.Composed:
    """Return the columns that a person may insert, as SQL."""
    rows = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
        " AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
        [table],
    ).fetchall()
    return sql.SQL(", ").join(sql.Identifier(row["attname"]) for row in rows)
