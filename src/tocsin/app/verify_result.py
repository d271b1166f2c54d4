"""What a verification comes to: what was checked, what was found, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from tocsin.app.guards import GuardReport

MAX_FINDINGS = 1_000
_PROGRESS_EVERY = 1_000

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One row that is not what was recorded: by its id, or by its place in the log."""

    table: str
    row_id: UUID | str
    problem: str


@dataclass(slots=True)
class Verification:
    """What was checked, and what was found (at most MAX_FINDINGS are kept; `findings_in_all` counts every one).

    Args:
        leaves: how many leaves the log has.
        waiting: how many entries wait for the log: they are proven by nothing but the tables.
        checkpoints: how many signed checkpoints were held against the log.
        signed_size: how many leaves the latest of them commits to.
        known_key_size: how many the latest one does that is signed by a key which was known outside of the database.
        outside: which checkpoints kept outside of the database it was held against, in words.
        guards: what became of the triggers, functions and rights that guard the record.
    """

    rows: int = 0
    incidents: int = 0
    entries: int = 0
    leaves: int = 0
    waiting: int = 0
    checkpoints: int = 0
    signed_size: int = 0
    known_key_size: int = 0
    outside: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    findings_in_all: int = 0
    guards: GuardReport = field(default_factory=lambda: GuardReport(hardened=False))

    @property
    def intact(self) -> bool:
        """Is there nothing to complain of? Without its guards the record may still be what was recorded, by luck."""
        return not self.findings_in_all and not self.guards.faults_in_all

    def add(self, table: str, row_id: UUID | str, problem: str) -> None:
        """Take note of a finding."""
        self.findings_in_all += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(table, row_id, problem))


class Counted:
    """Tells now and then how many of all rows are done, and in the end that all are."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total = total
        self._progress = progress
        self._done = 0

    def add(self, rows: int) -> None:
        """Take note that so many more are done."""
        before, self._done = self._done, self._done + rows
        passed = before // _PROGRESS_EVERY != self._done // _PROGRESS_EVERY
        if self._progress and rows and (passed or self._done == self.total):
            self._progress(self._done, self.total)
