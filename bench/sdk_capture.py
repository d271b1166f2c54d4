"""What Tocsin's Python SDK costs the program that it watches: a capture, its import, a request behind the guard.

Each in a process of its own, with a server that answers and with none; the spool lies on the disk of the temporary
directory, as durable as it is shipped. Baselines: sentry-sdk, which keeps events in memory; a row committed to SQLite;
and the floor, a block written to the disk (4 KiB and fdatasync, in a file that does not grow).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.support import processes
from bench.support.event_sink import event_sink
from bench.support.figures import Figure, table
from bench.support.installation import temporary_directory
from bench.support.progress import say
from tocsin.clock import monotonic_seconds

ROOT = Path(__file__).parents[1]
KEY = "0123456789abcdef0123456789abcdef"
SDKS = ("sentry_sdk", "tocsin_sdk")
CAPTURE_GOAL_MS = 0.3
IMPORT_GOAL_MS = 50.0
GUARD_GOAL_MICROSECONDS = 2.0
IMPORTS = 15
PROGRAM_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Captured:
    """What one program with one SDK measured, and how many of its events have come to the server."""

    figure: Figure
    captured: int
    delivered: int | None


@dataclass(frozen=True, slots=True)
class Guarded:
    """A request through an application (µs, median of the rounds), bare and behind the guard."""

    name: str
    bare: float
    guarded: float

    @property
    def cost(self) -> float:
        """Return what the guard adds (µs)."""
        return self.guarded - self.bare


def measure(count: int, as_json: bool) -> int:
    """Run everything; return the exit code."""
    with temporary_directory() as directory, processes.running(event_sink) as (port, _):
        disk = Figure("4 KiB written, fdatasync", _milliseconds(_program("sync", str(directory), str(count))))
        plain = Figure(
            "one row committed to SQLite", _milliseconds(_program("commit", str(directory), str(count))), disk
        )
        captures = _captures(directory, port, count)
        guards = _guards(port)
    imports = _imports()
    figures = [*(captured.figure for captured in captures), disk, plain]
    print(table(f"One exception captured ({count:,} each)", figures))
    for captured in captures:
        if captured.figure.goal_ms is not None:
            print(f"  {captured.figure.name}: {captured.figure.median / disk.median:.1f} times the disk alone")
        if captured.delivered is not None:
            print(f"  {captured.figure.name}: {captured.delivered:,} of {captured.captured:,} events delivered")
    print("\n" + table("Import, in a new process", imports) + "\n")
    for guard in guards:
        verdict = "met" if guard.cost < GUARD_GOAL_MICROSECONDS else "MISSED"
        print(
            f"Session guard, {guard.name}: {guard.cost:.2f} µs a request (goal < {GUARD_GOAL_MICROSECONDS:g} µs: "
            f"{verdict}); bare {guard.bare:.2f} µs, guarded {guard.guarded:.2f} µs"
        )
    if as_json:
        print(json.dumps(document(captures, disk, imports, guards)))
    missed = any(figure.missed for figure in (*figures, *imports))
    return 1 if missed or any(guard.cost >= GUARD_GOAL_MICROSECONDS for guard in guards) else 0


def _captures(directory: Path, port: int, count: int) -> list[Captured]:
    captures = []
    for where, at in (("server answers", port), ("server down", _closed_port())):
        baseline: Figure | None = None
        for sdk in SDKS:
            say(f"{sdk}, {where}…")
            before = _delivered(port)[sdk]
            spool = directory / f"spool-{at}"
            result = _program("capture", sdk, _dsn(at), str(spool), str(count))
            goal = CAPTURE_GOAL_MS if sdk == "tocsin_sdk" else None
            figure = Figure(f"{sdk}, {where}", _milliseconds(result), baseline, goal)
            baseline = baseline or figure
            delivered = _delivered(port)[sdk] - before if at == port else None
            captures.append(Captured(figure, result["captured"], delivered))
    return captures


def _milliseconds(result: dict[str, Any]) -> list[float]:
    return [microseconds / 1_000 for microseconds in result["microseconds"]]


def _delivered(port: int) -> Mapping[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/counts", timeout=10) as response:
        counts: Mapping[str, int] = json.load(response)
        return counts


def _closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _dsn(port: int) -> str:
    return f"http://{KEY}@127.0.0.1:{port}/1"


def _guards(port: int) -> list[Guarded]:
    say("The session guard…")
    rounds = _program("guard", _dsn(port))["microseconds"]
    return [Guarded(name, median(rounds[f"{name}Bare"]), median(rounds[name])) for name in ("wsgi", "asgi")]


def _imports() -> list[Figure]:
    say("Imports…")
    statements = {"nothing": "pass", **{sdk: f"import {sdk}" for sdk in SDKS}}
    samples: dict[str, list[float]] = {name: [] for name in statements}
    for _ in range(IMPORTS):
        for name, statement in statements.items():
            started = monotonic_seconds()
            subprocess.run([sys.executable, "-c", statement], env=_environment(), check=True, timeout=PROGRAM_SECONDS)
            samples[name].append((monotonic_seconds() - started) * 1_000)
    bare = median(samples["nothing"])
    sentry, tocsin = ([each - bare for each in samples[sdk]] for sdk in SDKS)
    baseline = Figure("sentry_sdk", sentry)
    return [baseline, Figure("tocsin_sdk", tocsin, baseline, IMPORT_GOAL_MS)]


def _program(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.support.sdk_program", *arguments]
    said = subprocess.run(
        command, cwd=ROOT, env=_environment(), check=True, stdout=subprocess.PIPE, timeout=PROGRAM_SECONDS
    ).stdout
    result: dict[str, Any] = json.loads(said)
    return result


def _environment() -> dict[str, str]:
    """Return our environment, in which the SDK of this tree is found even if it is not installed."""
    found = [str(ROOT / "sdk" / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, found))}


def document(
    captures: Sequence[Captured], disk: Figure, imports: Sequence[Figure], guards: Sequence[Guarded]
) -> dict[str, object]:
    """Return the figures for a program."""
    return {
        "benchmark": "sdk_capture",
        "captures": [
            {
                "name": captured.figure.name,
                "medianMicroseconds": round(captured.figure.median * 1_000, 1),
                "p99Microseconds": round(captured.figure.percentile(99) * 1_000, 1),
                "captured": captured.captured,
                "delivered": captured.delivered,
            }
            for captured in captures
        ],
        "diskMedianMicroseconds": round(disk.median * 1_000, 1),
        "importMilliseconds": {figure.name: round(figure.median, 1) for figure in imports},
        "guardMicroseconds": {guard.name: round(guard.cost, 2) for guard in guards},
    }


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python3 dev.py bench sdk_capture",
        description="Times tocsin_sdk.capture_exception with its spool on disk, the import of the SDK, and what the "
        "session guard adds to a request. Exit code 1: a goal is missed (300 µs, 50 ms, 2 µs, in the median).",
        epilog="The baseline of captures and imports is sentry-sdk; of the guard, the same application without it.",
    )
    parser.add_argument("--count", type=int, default=2_000, help="captures in a row (default: 2000)")
    parser.add_argument("--json", action="store_true", help="add a line of JSON")
    arguments = parser.parse_args()
    if not 100 <= arguments.count <= 50_000:
        parser.error("--count must be 100 to 50000")
    return measure(arguments.count, arguments.json)


if __name__ == "__main__":
    raise SystemExit(main())
