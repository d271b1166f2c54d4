"""Intake: how many events a second the server takes in over HTTP, how long each waits, and whether all are there.

Closed loops from a process of its own on the same machine, against `tocsin serve` and `tocsin worker`. After each part
SQL tells whether every accepted event is counted, and in the right number of incidents.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.support import loads, peer, pgbench, processes, profiler
from bench.support.events import Envelopes, Native, Workload, real_envelope, sent_size
from bench.support.figures import table
from bench.support.installation import Installation, installed, settings_at, temporary_directory
from bench.support.load import Load, Outcome
from bench.support.mail_sink import mail_settings, mail_sink, subjects_kept
from bench.support.pgbench import Inserted
from bench.support.progress import say
from bench.support.recorded import Counted, counted, new_project
from bench.support.resources import ServerProcesses
from bench.support.served import Served, served
from tocsin.ids import new_id

ROW_BYTES = 2_048
ROW_CLIENTS = 64
WARM_UP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to measure: what is sent (made from a project's number and key), how, and of how many failures."""

    name: str
    workload: Callable[[int, str], Workload]
    connections: int
    groups: int
    rows: bool = False
    """Compared with plain rows of the same size."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of a part, what SQL says of it, and the CPU time that it took."""

    part: Part
    outcome: Outcome
    counted: Counted
    cpu_seconds: dict[str, float]
    rows: Inserted | None

    @property
    def whole(self) -> bool:
        """Tell whether everything was accepted, and everything accepted is counted, each failure in one incident."""
        groups = min(self.part.groups, self.outcome.accepted)
        exact = (self.counted.incidents, self.counted.failures, self.counted.occurrences)
        return not self.outcome.refused and exact == (groups, groups, self.outcome.accepted)


def parts(envelope: bytes) -> list[Part]:
    """Return what is measured."""
    return [
        Part("sentry-sdk, one failure", _envelopes(envelope, 1), connections=8, groups=1),
        Part("sentry-sdk, 1,000 failures", _envelopes(envelope, 1_000), connections=8, groups=1_000),
        Part("2 KB, one a request", _native(1), connections=64, groups=1, rows=True),
        Part("2 KB, 500 a request", _native(500), connections=4, groups=1, rows=True),
    ]


def _envelopes(envelope: bytes, groups: int) -> Callable[[int, str], Workload]:
    return lambda project_id, key: Envelopes(envelope, f"/api/{project_id}/envelope/", key, groups, _run_id())


def _native(events: int) -> Callable[[int, str], Workload]:
    return lambda _, key: Native(key, 1, _run_id(), events)


def _run_id() -> str:
    return new_id().hex[-8:]


async def measure(chosen: Sequence[Part], arguments: argparse.Namespace) -> int:
    """Run everything; return the exit code."""
    with temporary_directory() as directory, processes.running(mail_sink) as (mail_port, mails):
        settings = settings_at(directory, **mail_settings(mail_port))
        async with installed(settings) as installation:
            with served(directory, settings, directory) as server, subjects_kept(mails) as subjects:
                measuring = _Measuring(installation, server, directory, arguments.seconds, arguments.profile)
                await measuring.warm_up()
                measured = [await measuring.one(part) for part in chosen]
            bugsink = None
            if arguments.peer:
                superuser = installation.sources.migrator
                bugsink = await peer.measure(directory, arguments.peer, superuser, real_envelope(), arguments.seconds)
    tell(measured, bugsink, len(subjects))
    if arguments.json:
        print(json.dumps(document(measured, bugsink)))
    return 0 if all(one.whole for one in measured) else 1


@dataclass(frozen=True, slots=True)
class _Measuring:
    installation: Installation
    server: Served
    directory: Path
    seconds: float
    profile: Path | None

    async def warm_up(self) -> None:
        """Make connections, fill caches, have statements prepared."""
        _, key = await new_project(self.installation, "warm-up")
        for workload in (Native(key, 10, _run_id()), Native(key, 10, _run_id(), 100)):
            await loads.run(Load(workload, *self.server.address, 8, WARM_UP_SECONDS))

    async def one(self, part: Part) -> Measured:
        """Measure a part, with the plain rows before and after it, and look for its events."""
        say(f"{part.name}…")
        rows = [await self._rows()] if part.rows else []
        project_id, key = await new_project(self.installation, part.name)
        server = ServerProcesses.of(self.server, self.directory)
        load = Load(part.workload(project_id, key), *self.server.address, part.connections, self.seconds)
        used = server.cpu_seconds()
        watched = (
            profiler.watching(self.profile, part.name, self.server.web, self.directory)
            if self.profile
            else nullcontext()
        )
        with watched:
            (outcome,) = await loads.run(load)
        cpu_seconds = {name: seconds - used[name] for name, seconds in server.cpu_seconds().items()}
        cpu_seconds["generator"] = outcome.cpu_seconds
        found = await counted(self.installation, project_id, outcome.accepted, outcome.last_answer)
        rows += [await self._rows()] if part.rows else []
        return Measured(part, outcome, found, cpu_seconds, _middle(rows))

    async def _rows(self) -> Inserted:
        return await pgbench.insert_rows(
            self.installation.sources.migrator,
            self.directory,
            row_bytes=ROW_BYTES,
            clients=ROW_CLIENTS,
            seconds=self.seconds / 2,
        )


def _middle(rows: Sequence[Inserted]) -> Inserted | None:
    if not rows:
        return None
    return Inserted(median(one.rate for one in rows), median(one.latency_ms for one in rows))


def tell(measured: Sequence[Measured], bugsink: peer.Digested | None, mails: int) -> None:
    """Print what was measured."""
    for one in measured:
        _tell_rate(one, bugsink)
    if bugsink:
        _tell_peer(bugsink)
    figures = [one.outcome.figure(one.part.name) for one in measured]
    figures += [bugsink.outcome.figure(bugsink.name)] if bugsink else []
    print(table("From the request to its answer", figures), "\n")
    print(f"{mails:,} mails were sent meanwhile.")


def _tell_rate(one: Measured, bugsink: peer.Digested | None) -> None:
    print(f"{one.part.name}, {one.part.connections} connections: {one.outcome.rate:,.0f} events/s accepted")
    if one.rows:
        ratio = one.outcome.rate / one.rows.rate
        print(f"  {ratio:.2f} x plain rows one by one ({one.rows.rate:,.0f}/s, {ROW_CLIENTS} clients, pgbench)")
    elif bugsink:
        accepted, digested = one.outcome.rate / bugsink.outcome.rate, one.outcome.rate / max(bugsink.rate, 1.0)
        print(f"  {accepted:.1f} x what {bugsink.name} accepts, {digested:.1f} x what it digests")
    refused = one.outcome.refused or "none"
    print(f"  {one.outcome.accepted:,} accepted; not 2xx: {refused} (0: connection lost)")
    verdict = "complete" if one.whole else "NOT COMPLETE"
    found = one.counted
    print(
        f"  {verdict} at most {found.seconds:.2f} s after the last answer: {found.occurrences:,} occurrences in "
        f"{found.incidents:,} incidents of {found.failures:,} failures"
    )
    costs = ", ".join(f"{name} {each:,.0f}" for name, each in _cpu_microseconds(one).items())
    print(f"  CPU time of an event (µs): {costs}\n")


def _cpu_microseconds(one: Measured) -> dict[str, float]:
    events = max(one.outcome.accepted, 1)
    return {name: seconds / events * 1e6 for name, seconds in one.cpu_seconds.items()}


def _tell_peer(bugsink: peer.Digested) -> None:
    print(
        f"{bugsink.name}, 8 connections: {bugsink.outcome.rate:,.0f} events/s accepted, {bugsink.rate:,.0f}/s digested"
    )
    print(f"  {bugsink.outcome.accepted:,} accepted; not 2xx: {bugsink.outcome.refused or 'none'}")
    print(f"  {bugsink.digested:,} digested when we stopped looking, {bugsink.seconds:.0f} s after the first\n")


def document(measured: Sequence[Measured], bugsink: peer.Digested | None) -> dict[str, object]:
    """Return the figures for a program."""
    return {
        "benchmark": "intake",
        "parts": [
            {
                "name": one.part.name,
                "eventsPerSecond": round(one.outcome.rate, 1),
                **_latencies(one.outcome),
                "accepted": one.outcome.accepted,
                "refused": one.outcome.refused,
                "complete": one.whole,
                "completeAfterSeconds": round(one.counted.seconds, 3),
                "cpuMicroseconds": {name: round(each, 1) for name, each in _cpu_microseconds(one).items()},
                "plainRowsPerSecond": round(one.rows.rate, 1) if one.rows else None,
            }
            for one in measured
        ],
        "peer": bugsink
        and {
            "name": bugsink.name,
            "eventsPerSecond": round(bugsink.outcome.rate, 1),
            "digestedPerSecond": round(bugsink.rate, 1),
            **_latencies(bugsink.outcome),
        },
    }


def _latencies(outcome: Outcome) -> dict[str, float]:
    figure = outcome.figure("")
    named = {f"p{percent}Ms": round(figure.percentile(percent), 2) for percent in (50, 95, 99)}
    return {**named, "maxMs": round(max(figure.samples_ms), 2)}


def main() -> int:
    """Read the command line and run."""
    everything = parts(b"")
    parser = argparse.ArgumentParser(
        prog="python3 dev.py bench intake",
        description="Sends events over HTTP as fast as they are answered: what a real sentry-sdk makes of a failure "
        "(of one failure, and of 1,000), and 2 KB events one by one and as NDJSON. Exit code 1: something "
        "was refused, or is not counted as it should be.",
        epilog="The baseline of the 2 KB events is pgbench inserting plain rows of that size one by one; that of "
        "sentry-sdk's events is another server for them (--peer).",
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of each part (default: 20)")
    parser.add_argument(
        "--part", type=int, action="append", metavar="N", help=f"only this one, 1 to {len(everything)}; repeatable"
    )
    parser.add_argument("--peer", choices=peer.STORES, help="measure Bugsink from PyPI too, on this store")
    parser.add_argument("--profile", type=Path, metavar="DIR", help="sample the web server's stacks (py-spy) into DIR")
    parser.add_argument("--json", action="store_true", help="add a line of JSON")
    arguments = parser.parse_args()
    numbers = arguments.part or range(1, len(everything) + 1)
    if not 1 <= arguments.seconds <= 3_600 or not all(1 <= number <= len(everything) for number in numbers):
        parser.error(f"--seconds must be 1 to 3600, --part 1 to {len(everything)}")
    envelope = real_envelope()
    print(f"The event of sentry-sdk: {len(envelope):,} bytes, {sent_size(envelope):,} as it is sent (gzip).\n")
    chosen = parts(envelope)
    return asyncio.run(measure([chosen[number - 1] for number in numbers], arguments))


if __name__ == "__main__":
    raise SystemExit(main())
