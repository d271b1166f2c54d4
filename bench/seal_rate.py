"""Sealing: how many entries a second find their place in the log when a backlog waits, and what signing it costs."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from statistics import median

from bench.support import loaded_database
from bench.support.installation import installed, settings_at, temporary_directory
from bench.support.progress import progress
from tocsin import bootstrap
from tocsin.app.seal import seal_waiting
from tocsin.app.sign import sign_log
from tocsin.app.work import App
from tocsin.clock import monotonic_seconds

GOAL_A_SECOND = 50_000
_WAITING = b"SELECT count(*) FROM log_pending"


async def measure(directory: Path) -> int:
    """Seal everything that waits in a directory's database, batch by batch; return the exit code."""
    async with installed(settings_at(directory)) as installation:
        app = installation.app
        async with app.work(streaming=True) as work:
            waiting: int = await work.tx.value(_WAITING)
        started = monotonic_seconds()
        batches = await seal_all(app, waiting)
        seconds = monotonic_seconds() - started
        signer = bootstrap.signer_of(app.settings)
        assert signer is not None, "the embedded database has its signer beside it"
        started = monotonic_seconds()
        await sign_log(app, signer)
        signing_ms = (monotonic_seconds() - started) * 1_000
    rate = waiting / seconds
    verdict = "met" if rate >= GOAL_A_SECOND else "MISSED"
    print(f"{waiting:,} entries sealed in {len(batches)} batches, {seconds:.1f} s: {rate:,.0f} a second")
    print(f"  goal {GOAL_A_SECOND:,} a second: {verdict}")
    print(f"  a batch took {median(batches) * 1_000:,.0f} ms (median), {max(batches) * 1_000:,.0f} ms (longest)")
    print(f"  one checkpoint over all of it: {signing_ms:.1f} ms")
    return int(rate < GOAL_A_SECOND)


async def seal_all(app: App, waiting: int) -> list[float]:
    """Seal batch after batch; return how long each took (seconds)."""
    batches = []
    with progress("Entries", waiting) as advance:
        begun = monotonic_seconds()
        while sealed := await seal_waiting(app):
            batches.append(monotonic_seconds() - begun)
            advance(sealed.leaves)
            begun = monotonic_seconds()
    return batches


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python3 dev.py bench seal_rate",
        description="Loads incidents that no log knows of yet, as after an upgrade, and seals them.",
    )
    parser.add_argument("--incidents", type=int, default=40_000, help="with about seven entries each (default: 40000)")
    arguments = parser.parse_args()
    if not 100 <= arguments.incidents <= 1_000_000:
        parser.error("--incidents must be 100 to 1000000")
    with temporary_directory() as directory:
        place = directory / "database"
        loaded_database.prepare(place, arguments.incidents, arguments.incidents // 10)
        return asyncio.run(measure(place))


if __name__ == "__main__":
    raise SystemExit(main())
