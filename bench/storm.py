"""A storm: a million events of one failure, then ten thousand failures at once. What is counted, what does it cost?

Events come as fast as they are answered, most of them as NDJSON, some one by one. Meanwhile another project reports an
error a second, memory is looked at once a second, and a mail server keeps the subjects of what is sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from psycopg import AsyncConnection

from bench.support import loads, processes
from bench.support.events import Native, event_id, native_event
from bench.support.figures import Figure, table
from bench.support.installation import Installation, installed, settings_at, temporary_directory
from bench.support.load import Load, Outcome
from bench.support.mail_sink import mail_settings, mail_sink, subjects_kept
from bench.support.progress import say
from bench.support.recorded import Counted, counted, new_project
from bench.support.resources import MemoryOverTime, ServerProcesses, memory_sampled
from bench.support.served import Served, served
from tocsin.clock import monotonic_seconds
from tocsin.ids import new_id

BATCH = 500
BATCH_CONNECTIONS, SINGLE_CONNECTIONS = 4, 4
SINGLES_PERCENT = 2
FIRST_EVENTS = 10_000
"""Sent before the disk is measured: the first events leave samples, what counts is what a further one takes."""
REPEATS = 3
"""How often each of the many failures is reported: the second report may overtake the first."""
FLOOD_CONNECTIONS = 8
MAX_SECONDS = 7_200.0
NEIGHBOUR_SECONDS = 1.0
REST_SECONDS, REST_PAUSE_SECONDS = 4.0, 0.1
QUIET_SECONDS, MAX_QUIET_SECONDS = 6.0, 90.0
"""Mails have all been sent when none came for so long; looked for at most the latter."""
SUBJECTS_SHOWN = 8
_CHECKPOINT = "CHECKPOINT"
_SIZES = """
SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_class c
WHERE c.relnamespace = 'tocsin'::regnamespace AND c.relkind = 'r' ORDER BY 2 DESC
"""


@dataclass(frozen=True, slots=True)
class Phase:
    """What one part of the storm came to."""

    name: str
    outcomes: Sequence[Outcome]
    counted: Counted
    incidents: int
    memory: Mapping[str, MemoryOverTime]
    neighbour: Figure
    mails: Sequence[str]

    @property
    def accepted(self) -> int:
        """Return how many events were answered 2xx."""
        return sum(outcome.accepted for outcome in self.outcomes)

    @property
    def rate(self) -> float:
        """Return events accepted a second, from the beginning to the last answer."""
        seconds = max(outcome.seconds for outcome in self.outcomes)
        return self.accepted / seconds if self.accepted else 0.0

    @property
    def refused(self) -> dict[int, int]:
        """Return how often each status came that is not 2xx."""
        every = sum((Counter(outcome.refused) for outcome in self.outcomes), Counter())
        return dict(sorted(every.items()))


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured. Sizes are bytes of the tables, of the whole schema and by name."""

    storm: Phase
    flood: Phase
    first_events: int
    at_rest: Figure
    before: Mapping[str, int]
    after: Mapping[str, int]

    @property
    def bytes_an_event(self) -> float:
        """Return what a further event of a known failure takes on disk."""
        return (sum(self.after.values()) - sum(self.before.values())) / max(self.storm.accepted, 1)

    @property
    def whole(self) -> bool:
        """Tell whether everything was accepted and counted once, in one incident for each failure."""
        storm, flood = self.storm, self.flood
        return (
            not storm.refused
            and not flood.refused
            and _found(storm.counted) == (1, 1, self.first_events + storm.accepted)
            and _found(flood.counted) == (flood.incidents, flood.incidents, flood.accepted)
        )


def _found(found: Counted) -> tuple[int, int, int]:
    return found.incidents, found.failures, found.occurrences


async def measure(arguments: argparse.Namespace) -> int:
    """Run everything; return the exit code."""
    with temporary_directory() as directory, processes.running(mail_sink) as (mail_port, line):
        settings = settings_at(directory, **mail_settings(mail_port))
        async with installed(settings) as installation:
            with served(directory, settings, directory) as server, subjects_kept(line) as mails:
                storm = _Storm(installation, server, directory, mails)
                report = await storm.all_of_it(arguments.events, arguments.failures, arguments.minutes)
    tell(report)
    if arguments.json:
        print(json.dumps(document(report)))
    return 0 if report.whole else 1


@dataclass(frozen=True, slots=True)
class _Storm:
    installation: Installation
    server: Served
    directory: Path
    mails: list[str]

    async def all_of_it(self, events: int, failures: int, minutes: float | None) -> Report:
        """Have a storm of one failure, then a flood of many."""
        project_id, key = await new_project(self.installation, "stormy")
        say("The neighbour alone…")
        async with self._neighbour("another project at rest", REST_PAUSE_SECONDS) as at_rest:
            await asyncio.sleep(REST_SECONDS)
        (first,) = await loads.run(self._load(key, BATCH, BATCH_CONNECTIONS, FIRST_EVENTS))
        before = await self._sizes()
        say("One failure…")
        storm = await self._phase(
            "one failure", project_id, self._mixture(key, events - first.accepted, minutes), 1, first.accepted
        )
        after = await self._sizes()
        say("Many failures…")
        flood_id, flood_key = await new_project(self.installation, "flooded")
        flood_of = self._load(flood_key, BATCH, FLOOD_CONNECTIONS, failures * REPEATS, groups=failures)
        flood = await self._phase("many failures", flood_id, [flood_of], failures, 0)
        return Report(storm, flood, first.accepted, at_rest.figure, before, after)

    def _mixture(self, key: str, events: int, minutes: float | None) -> list[Load]:
        seconds = minutes * 60 if minutes else None
        singles = None if seconds else events * SINGLES_PERCENT // 100
        batches = None if singles is None else events - singles
        return [
            self._load(key, BATCH, BATCH_CONNECTIONS, batches, seconds=seconds),
            self._load(key, 1, SINGLE_CONNECTIONS, singles, seconds=seconds),
        ]

    def _load(
        self,
        key: str,
        batch: int,
        connections: int,
        events: int | None,
        *,
        groups: int = 1,
        seconds: float | None = None,
    ) -> Load:
        workload = Native(key, groups, new_id().hex[-8:], batch)
        requests = None if events is None else max(events // batch, 1)
        return Load(workload, *self.server.address, connections, seconds or MAX_SECONDS, requests)

    async def _phase(self, name: str, project_id: int, sent: Sequence[Load], incidents: int, earlier: int) -> Phase:
        server = ServerProcesses.of(self.server, self.directory)
        already = len(self.mails)
        async with AsyncExitStack() as stack:
            memory = await stack.enter_async_context(memory_sampled(server))
            neighbour = await stack.enter_async_context(self._neighbour(f"another project: {name}", NEIGHBOUR_SECONDS))
            outcomes = await loads.run(*sent)
            accepted = sum(outcome.accepted for outcome in outcomes) + earlier
            last = max(outcome.last_answer for outcome in outcomes)
            found = await counted(self.installation, project_id, accepted, last)
        await self._quiet()
        return Phase(name, outcomes, found, incidents, memory, neighbour.figure, self.mails[already:])

    async def _quiet(self) -> None:
        """Wait until no mail has come for a while."""
        deadline = monotonic_seconds() + MAX_QUIET_SECONDS
        known, since = len(self.mails), monotonic_seconds()
        while monotonic_seconds() < min(since + QUIET_SECONDS, deadline):
            await asyncio.sleep(0.2)
            if len(self.mails) != known:
                known, since = len(self.mails), monotonic_seconds()

    @asynccontextmanager
    async def _neighbour(self, name: str, pause_seconds: float) -> AsyncIterator[_Neighbour]:
        _, key = await new_project(self.installation, name)
        async with aiohttp.ClientSession(self.server.url, headers={"X-Tocsin-Key": key}) as http:
            neighbour = _Neighbour(name, http, pause_seconds)
            task = asyncio.create_task(neighbour.report_on())
            try:
                yield neighbour
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _sizes(self) -> dict[str, int]:
        async with await AsyncConnection.connect(self.installation.sources.migrator, autocommit=True) as connection:
            await connection.execute(_CHECKPOINT)
            return dict(await (await connection.execute(_SIZES)).fetchall())


class _Neighbour:
    """Another project, which reports an error again and again and takes the time."""

    def __init__(self, name: str, http: aiohttp.ClientSession, pause_seconds: float) -> None:
        self._name = name
        self._http = http
        self._pause_seconds = pause_seconds
        self._samples_ms: list[float] = []

    @property
    def figure(self) -> Figure:
        """Return how long it waited for its answers."""
        return Figure(self._name, self._samples_ms or [0.0])

    async def report_on(self) -> None:
        """Report, until cancelled. Raises RuntimeError when a report is refused."""
        before, between, after = native_event()
        run, number = new_id().hex[-8:], 0
        while True:
            number += 1
            body = b"%b%b%bneighbour%b" % (before, event_id(run, number), between, after)
            started = monotonic_seconds()
            async with self._http.post("/api/v1/errors", data=body) as response:
                answer = await response.read()
                if not 200 <= response.status < 300:
                    raise RuntimeError(f"the neighbour was answered {response.status}: {answer[:300]!r}")
            self._samples_ms.append((monotonic_seconds() - started) * 1_000)
            await asyncio.sleep(self._pause_seconds)


def tell(report: Report) -> None:
    """Print what was measured."""
    for phase in (report.storm, report.flood):
        _tell_phase(phase)
    print(f"A further event takes {report.bytes_an_event:,.0f} bytes on disk:")
    for name, size in report.after.items():
        grown = size - report.before.get(name, 0)
        if grown > 0:
            print(f"  {name:<28} {grown / max(report.storm.accepted, 1):>8,.1f} bytes an event")
    for title, phase in (("a storm of one failure", report.storm), ("many failures", report.flood)):
        print(f"\nMemory during {title} (MiB){'least':>10}{'median':>10}{'most':>10}{'a minute':>12}")
        for name, memory in phase.memory.items():
            sizes = "".join(f"{size:>10,.1f}" for size in (memory.least, memory.middle, memory.most))
            slope = "too brief" if memory.a_minute is None else f"{memory.a_minute:+,.2f}"
            print(f"  {name:<35}{sizes}{slope:>12}")
    neighbours = [phase.neighbour for phase in (report.storm, report.flood)]
    compared = [Figure(one.name, one.samples_ms, report.at_rest) for one in neighbours]
    print("\n" + table("From its request to its answer", [report.at_rest, *compared]))
    print("\nEverything is there, once." if report.whole else "\nNOT EVERYTHING IS THERE, OR SOMETHING WAS REFUSED.")


def _tell_phase(phase: Phase) -> None:
    found = phase.counted
    print(f"{phase.name.capitalize()}: {phase.accepted:,} events accepted, {phase.rate:,.0f}/s")
    print(f"  not 2xx: {phase.refused or 'none'} (0: connection lost)")
    print(
        f"  at most {found.seconds:.2f} s after the last answer: {found.occurrences:,} occurrences in "
        f"{found.incidents:,} incidents of {found.failures:,} failures (to be: {phase.incidents:,})"
    )
    print(f"  mails: {len(phase.mails):,}")
    for subject in phase.mails[:SUBJECTS_SHOWN]:
        print(f"    {subject}")
    if len(phase.mails) > SUBJECTS_SHOWN:
        print("    …")
    print()


def document(report: Report) -> dict[str, object]:
    """Return the figures for a program."""
    return {
        "benchmark": "storm",
        "complete": report.whole,
        "bytesAnEvent": round(report.bytes_an_event, 1),
        "phases": [
            {
                "name": phase.name,
                "accepted": phase.accepted,
                "eventsPerSecond": round(phase.rate, 1),
                "refused": phase.refused,
                "incidents": phase.counted.incidents,
                "failures": phase.counted.failures,
                "occurrences": phase.counted.occurrences,
                "completeAfterSeconds": round(phase.counted.seconds, 3),
                "mails": len(phase.mails),
                "memoryMiB": {
                    name: {
                        "least": round(memory.least, 1),
                        "median": round(memory.middle, 1),
                        "most": round(memory.most, 1),
                        "aMinute": memory.a_minute,
                    }
                    for name, memory in phase.memory.items()
                },
                "neighbourMs": {f"p{percent}": round(phase.neighbour.percentile(percent), 2) for percent in (50, 99)},
            }
            for phase in (report.storm, report.flood)
        ],
    }


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python3 dev.py bench storm",
        description="Sends a million events of one failure, then ten thousand failures at once, and verifies that each "
        "is counted once. Exit code 1: something was refused or is not counted as it should be.",
        epilog="The baseline of the other project's waiting is the same project before the storm.",
    )
    parser.add_argument("--events", type=int, default=1_000_000, help="of one failure (default: %(default)s)")
    parser.add_argument("--failures", type=int, default=10_000, help="at once, afterwards (default: %(default)s)")
    parser.add_argument("--minutes", type=float, help="let the first part last so long, whatever --events says")
    parser.add_argument("--json", action="store_true", help="add a line of JSON")
    arguments = parser.parse_args()
    if not (2 * FIRST_EVENTS <= arguments.events <= 100_000_000 and BATCH <= arguments.failures <= 100_000):
        parser.error(f"--events must be {2 * FIRST_EVENTS} to 100 million, --failures {BATCH} to 100,000")
    if arguments.minutes is not None and not 0.05 <= arguments.minutes <= 120:
        parser.error("--minutes must be 0.05 to 120")
    return asyncio.run(measure(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
