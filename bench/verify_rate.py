"""Verifying: how long `tocsin verify --db` takes for a whole log, on one core that it shares with the database."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from bench.seal_rate import seal_all
from bench.support import loaded_database
from bench.support.installation import installed, settings_at
from bench.support.progress import progress
from tocsin import bootstrap
from tocsin.app.sign import introduce_key, sign_log
from tocsin.app.verify import verify_database
from tocsin.app.work import App
from tocsin.clock import monotonic_seconds

GOAL_SECONDS_A_MILLION = 60.0
_WAITING = b"SELECT count(*) FROM log_pending"


async def measure(directory: Path) -> int:
    """Seal what waits, sign it, and verify everything; return the exit code."""
    async with installed(settings_at(directory)) as installation:
        app = installation.app
        await _signed(app)
        started = monotonic_seconds()
        with progress("Verifying", 100) as advance:
            shown = 0

            def tell(done: int, total: int) -> None:
                nonlocal shown
                percent = 100 * done // max(total, 1)
                advance(percent - shown)
                shown = percent

            async with app.work(streaming=True) as work:
                result = await verify_database(work, tell)
        seconds = monotonic_seconds() - started
    a_million = seconds / result.entries * 1_000_000
    verdict = "met" if a_million < GOAL_SECONDS_A_MILLION else "MISSED"
    print(f"{result.entries:,} entries in a log of {result.leaves:,} leaves, {result.rows:,} guarded rows")
    print(f"  {result.findings_in_all} findings, {seconds:.1f} s on one core: {a_million:.1f} s a million entries")
    print(f"  goal {GOAL_SECONDS_A_MILLION:.0f} s: {verdict}")
    return int(a_million >= GOAL_SECONDS_A_MILLION or bool(result.findings_in_all))


async def _signed(app: App) -> None:
    signer = bootstrap.signer_of(app.settings)
    assert signer is not None, "the embedded database has its signer beside it"
    await introduce_key(app, signer)
    async with app.work(streaming=True) as work:
        waiting: int = await work.tx.value(_WAITING)
    await seal_all(app, waiting)
    await sign_log(app, signer)


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python3 dev.py bench verify_rate", description=__doc__)
    parser.add_argument("directory", type=Path, help="where the database is, or is made: it is kept for the next run")
    parser.add_argument("--incidents", type=int, default=160_000, help="with about six entries each (default: 160000)")
    arguments = parser.parse_args()
    if not 100 <= arguments.incidents <= 1_000_000:
        parser.error("--incidents must be 100 to 1000000")
    loaded_database.prepare(arguments.directory, arguments.incidents, arguments.incidents // 10)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the database's server inherits it
    return asyncio.run(measure(arguments.directory))


if __name__ == "__main__":
    raise SystemExit(main())
