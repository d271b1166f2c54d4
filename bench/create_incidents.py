"""Creating incidents: how many new failures a second open one, how many reports of one failure join it.

The use case alone, without HTTP, by concurrent callers in one process. Rounds of the three kinds take turns, so that a
machine that gets slower in the middle does so for all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median

from bench.support.figures import Figure, table
from bench.support.installation import PROJECT_ID, Installation, installed, settings_at, temporary_directory
from bench.support.plain_table import plain_inserts
from bench.support.progress import progress
from tocsin.app.projects import rules_of
from tocsin.app.take_in import Intake
from tocsin.app.work import App
from tocsin.clock import monotonic_seconds, system_clock
from tocsin.domain.arrival import Arrival
from tocsin.domain.deduplication import Outcome
from tocsin.domain.incident import Severity
from tocsin.domain.project import Project
from tocsin.domain.report import ErrorReport
from tocsin.ids import new_id

ROUNDS = 3
WARM_UP_SECONDS = 0.5
_ROW_BYTES = b"""
SELECT sum(pg_column_size(a.*) + pg_column_size(i.*) + pg_column_size(e.*) + pg_column_size(h.*)
           + pg_column_size(n.*))::bigint / count(*)
FROM incidents i
JOIN audit_logs a ON a.id = i.created_from_error_id
JOIN incident_lifecycle e ON e.incident_id = i.id
JOIN incident_heads h ON h.incident_id = i.id
JOIN notifications n ON n.incident_id = i.id
"""

Call = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Kind:
    """One kind of call, with what its rounds came to."""

    name: str
    call: Call
    rates: list[float] = field(default_factory=list)
    samples_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Return calls a second, the median of the rounds."""
        return median(self.rates)


class Reports:
    """Makes reports as a Python program sends them, and sees to it that each does what it should."""

    def __init__(self, app: App, project: Project) -> None:
        self._intake = Intake(app)
        self._project = project
        self._numbers = itertools.count(1)

    async def of_a_new_failure(self) -> None:
        """Report a failure that nobody has seen before: it opens an incident."""
        await self._report(f"Bench{next(self._numbers):07}Error", Outcome.OPENED)

    async def of_the_same_failure(self) -> None:
        """Report the failure that everybody reports: it joins."""
        await self._report("TimeoutError", Outcome.JOINED)

    async def first_of_the_same_failure(self) -> None:
        """Open the incident which the others join."""
        await self._report("TimeoutError", Outcome.OPENED)

    async def _report(self, error_type: str, expected: Outcome) -> None:
        report = ErrorReport(
            event_id=new_id().hex,
            severity=Severity.HIGH,
            error_type=error_type,
            message="the payment gateway did not answer within 5 s",
            occurred_at=system_clock(),
            platform="python",
            service="shop",
            environment="production",
            release="shop@1.4.2",
            tags={"region": "eu-west", "tenant": "acme"},
        )
        (taken,) = await self._intake.take_in(self._project, [Arrival.of(report)], "bench")
        if taken.outcome is not expected:
            raise RuntimeError(f"a report of {error_type} was {taken.outcome.value}, not {expected.value}")


async def run_round(kind: Kind, callers: int, seconds: float) -> None:
    """Let every caller call again and again; what begins before the end of the round counts."""
    begun = monotonic_seconds()
    end = begun + seconds
    samples: list[float] = []

    async def caller() -> None:
        while (started := monotonic_seconds()) < end:
            await kind.call()
            samples.append((monotonic_seconds() - started) * 1_000)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    kind.rates.append(len(samples) / (monotonic_seconds() - begun))
    kind.samples_ms += samples


async def measure(callers: int, seconds: float) -> int:
    """Run everything; return the exit code."""
    with temporary_directory() as directory:
        async with installed(settings_at(directory, pool_size=callers)) as installation:
            async with installation.app.work() as work:
                project = await rules_of(work, PROJECT_ID)
            reports = Reports(installation.app, project)
            await reports.first_of_the_same_failure()
            await run_round(Kind("warm-up", reports.of_a_new_failure), callers, WARM_UP_SECONDS)
            row_bytes = await _bytes_of_an_incident(installation)
            plain = plain_inserts(installation.sources.migrator, row_bytes=row_bytes, connections=callers)
            async with plain as insert_one:
                kinds = [
                    Kind(f"plain row of {row_bytes:,} bytes", insert_one),
                    Kind("new failure, opens an incident", reports.of_a_new_failure),
                    Kind("same failure, joins its incident", reports.of_the_same_failure),
                ]
                with progress("Rounds", ROUNDS * len(kinds)) as advance:
                    for _ in range(ROUNDS):
                        for kind in kinds:
                            await run_round(kind, callers, seconds)
                            advance(1)
    tell(kinds, callers)
    return 0


async def _bytes_of_an_incident(installation: Installation) -> int:
    """Return how large the rows of one new incident are together: report, incident, entry, head, page."""
    async with installation.app.work() as work:
        size: int = await work.tx.value(_ROW_BYTES)
        return size


def tell(kinds: list[Kind], callers: int) -> None:
    """Print the rates with their ratio to the baseline, and how long one call took."""
    baseline = kinds[0]
    print(f"{callers} callers, {ROUNDS} rounds each (median of the rounds; lowest and highest)")
    for kind in kinds:
        ratio = "baseline" if kind is baseline else f"1 : {baseline.rate / kind.rate:.1f}"
        spread = f"{min(kind.rates):,.0f} to {max(kind.rates):,.0f}"
        print(f"  {kind.name:<34} {kind.rate:>8,.0f}/s  ({spread})  {ratio}")
    first = Figure(baseline.name, baseline.samples_ms)
    print()
    print(table("One call", [first, *(Figure(kind.name, kind.samples_ms, first) for kind in kinds[1:])]))


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python3 dev.py bench create_incidents",
        description="Counts how many incidents a second the application creates, and how many reports of one failure "
        "it takes in, each answered after a real commit.",
        epilog="The baseline is one plain row a transaction, as large as all the rows of an incident, over as many "
        "connections, into a table that nothing guards.",
    )
    parser.add_argument("--callers", type=int, default=16, help="concurrent callers (default: 16)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round (default: 5)")
    arguments = parser.parse_args()
    if not (2 <= arguments.callers <= 50 and 0.1 <= arguments.seconds <= 600):
        parser.error("--callers must be 2 to 50, --seconds 0.1 to 600")
    return asyncio.run(measure(arguments.callers, arguments.seconds))


if __name__ == "__main__":
    raise SystemExit(main())
