"""Recomputes the whole record: every checksum from the columns, every chain, every pair. Trusts no trigger.

It finds what somebody changed behind the triggers' back. What it cannot find, because everything was recomputed
consistently or a timeline's last entries were cut off, needs a witness outside of the database.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tocsin.app.guards import GuardReport, examine_guards
from tocsin.app.work import Work
from tocsin.domain.timeline import leaf_hash, seal
from tocsin.domain.workflow import TRANSITIONS
from tocsin.store import verification
from tocsin.store.verification import HeadCheck

MAX_FINDINGS = 1_000
_PROGRESS_EVERY = 1_000

# As texts: what a tampered row says need not be a kind or a status at all.
_LEADS = {(str(kind), before, str(after)) for kind, pairs in TRANSITIONS.items() for before, after in pairs}

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One row that is not what was recorded."""

    table: str
    row_id: UUID
    problem: str


@dataclass(slots=True)
class Verification:
    """What was checked, and what was found (at most MAX_FINDINGS are kept; `findings_in_all` counts every one).

    The guards stand apart: without them the record may still be what was recorded, but nothing sees to it.
    """

    rows: int = 0
    incidents: int = 0
    findings: list[Finding] = field(default_factory=list)
    findings_in_all: int = 0
    guards: GuardReport = field(default_factory=lambda: GuardReport(hardened=False))

    @property
    def intact(self) -> bool:
        """Is there nothing to complain of?"""
        return not self.findings_in_all and not self.guards.faults_in_all

    def add(self, table: str, row_id: UUID, problem: str) -> None:
        """Take note of a finding."""
        self.findings_in_all += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(table, row_id, problem))


async def verify_database(work: Work, progress: Progress | None = None) -> Verification:
    """Check every guarded row of the database, as of one instant."""
    await verification.snapshot(work.tx)
    total = await verification.count_rows(work.tx)
    result = Verification(guards=await examine_guards(work.tx))

    def counted() -> None:
        result.rows += 1
        if progress and (result.rows % _PROGRESS_EVERY == 0 or result.rows == total):
            progress(result.rows, total)

    for table in verification.DETAIL_TABLES:
        async for row in verification.rows(work.tx, table):
            _check_row(result, table, row)
            counted()
    previous: dict[str, Any] | None = None
    async for entry in verification.rows(work.tx, "incident_lifecycle"):
        _check_row(result, "incident_lifecycle", entry)
        same = previous is not None and previous["incident_id"] == entry["incident_id"]
        _check_link(result, previous if same else None, entry)
        previous = entry
        counted()
    async for head in verification.heads(work.tx):
        result.incidents += 1
        _check_head(result, head)
    for problem, broken in await verification.broken_pairs(work.tx):
        result.add(broken.kind, broken.id, problem)
    return result


def _check_row(result: Verification, table: str, row: dict[str, Any]) -> None:
    columns = {name: value for name, value in row.items() if name not in ("canonical", "checksum")}
    canonical, checksum = bytes(row["canonical"]), bytes(row["checksum"])
    try:
        sealed = seal(table, columns)
    except (ValueError, TypeError) as error:
        result.add(table, row["id"], f"it holds what is never recorded: {error}")
        return
    if sealed.canonical != canonical:
        changed = ", ".join(_differences(sealed.canonical, canonical)) or "its canonical bytes"
        result.add(table, row["id"], f"changed since it was recorded: {changed}")
    if leaf_hash(canonical) != checksum:
        result.add(table, row["id"], "its checksum is not that of its canonical bytes")


def _differences(now: bytes, recorded: bytes) -> list[str]:
    try:
        then = json.loads(recorded)
    except ValueError:
        return []
    if not isinstance(then, dict):
        return []
    return sorted(name for name, value in json.loads(now).items() if name not in then or then[name] != value)


def _check_link(result: Verification, previous: dict[str, Any] | None, entry: dict[str, Any]) -> None:
    expected = previous["sequence"] + 1 if previous else 1
    if entry["sequence"] != expected:
        result.add("incident_lifecycle", entry["id"], f"entry {expected} of its incident is missing before it")
        return
    if entry["previous_checksum"] != (previous["checksum"] if previous else None):
        result.add("incident_lifecycle", entry["id"], "it does not continue the entry before it")
    before = previous["status_after"] if previous else None
    if entry["status_before"] != before or (entry["event_type"], before, entry["status_after"]) not in _LEADS:
        result.add("incident_lifecycle", entry["id"], f"{entry['event_type']} is a step out of order")


def _check_head(result: Verification, head: HeadCheck) -> None:
    if head.changed:
        said = ", ".join(head.changed)
        result.add("incident_heads", head.incident_id, f"it does not say what the timeline says: {said}")
