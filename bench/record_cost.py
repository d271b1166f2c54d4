"""What the log costs those who record: the same entries by 16 writers, with the log kept meanwhile, and without it.

Each writer is a process with a connection and an incident of its own, and commits one note after the other. Rounds take
turns. Without the log its trigger is switched off and nothing is sealed; with it, a worker's keeper seals and signs.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from time import sleep
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from bench.support.installation import Installation, installed, settings_at, temporary_directory
from bench.support.progress import progress
from tocsin import bootstrap, ids
from tocsin.app.open_incident import open_by_hand
from tocsin.app.work import App
from tocsin.clock import monotonic_seconds, system_clock
from tocsin.domain.incident import Severity
from tocsin.domain.sealing import seal
from tocsin.settings import Settings
from tocsin.store import record
from tocsin.store.database import Database, connection_options
from tocsin.worker.log_keeper import LogKeeper

ROUNDS = 3
GOAL_RATIO = 1.4
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Writer:
    """One who writes notes to an incident, until told to stop."""

    conninfo: str
    incident_id: UUID
    actor_id: UUID

    def write(self, seconds: float) -> float:
        """Return how many notes a second were committed."""
        with psycopg.connect(
            self.conninfo, options=connection_options(), autocommit=True, row_factory=dict_row
        ) as connection:
            query = "SELECT sequence, checksum FROM incident_heads WHERE incident_id = %s"
            head = connection.execute(query, [self.incident_id]).fetchone()
            assert head is not None
            sequence, checksum = head["sequence"], head["checksum"]
            begun, written = monotonic_seconds(), 0
            while monotonic_seconds() - begun < seconds:
                sealed = seal("incident_lifecycle", self._note(sequence + 1, checksum), ids.new_nonce)
                rows = f"[{record.document(sealed).decode()}]"
                connection.execute(record.QUERIES["insert_incident_lifecycle"], {"rows": rows})
                sequence, checksum, written = sequence + 1, sealed.checksum, written + 1
            return written / (monotonic_seconds() - begun)

    def _note(self, sequence: int, previous: bytes) -> dict[str, object]:
        return {
            "id": ids.new_id(),
            "incident_id": self.incident_id,
            "sequence": sequence,
            "previous_checksum": previous,
            "event_type": "NOTE_ADDED",
            "status_before": "REPORTED",
            "status_after": "REPORTED",
            "actor_user_id": self.actor_id,
            "actor_role": "superadmin",
            "detail_checksum": None,
            "metadata": {},
            "personal": {"text": "the payment gateway answers again, with twice the usual delay"},
            "event_at": datetime.now(UTC),
            "nonce": ids.new_nonce(),
        }


def keep_the_log(conninfo: str, settings: Settings, stop: Event) -> None:
    """Seal and sign as a worker does, in a process of its own."""

    async def keep() -> None:
        database = Database(conninfo, size=4)
        await database.open()
        app = App(database, settings, system_clock)
        keeper = LogKeeper(app, bootstrap.signer_of(settings), "bench")
        stopped = asyncio.Event()
        task = asyncio.create_task(keeper.run(stopped))
        await asyncio.to_thread(stop.wait)
        stopped.set()
        await task
        await database.close()

    asyncio.run(keep())


@contextmanager
def log_kept(installation: Installation, *, really: bool) -> Iterator[None]:
    """Keep the log for the time of the block, or let there be none."""
    how = "ENABLE ALWAYS" if really else "DISABLE"
    with psycopg.connect(installation.sources.migrator, autocommit=True) as superuser:
        superuser.execute("SELECT tocsin_guard.suspend()")
        superuser.execute(f"ALTER TABLE tocsin.incident_lifecycle {how} TRIGGER d_log".encode())
        superuser.execute("SELECT tocsin_guard.resume()")
    if not really:
        yield
        return
    stop = _SPAWN.Event()
    app = installation.app
    keeper = _SPAWN.Process(target=keep_the_log, args=(installation.sources.application, app.settings, stop))
    keeper.start()
    sleep(1.5)
    yield
    stop.set()
    keeper.join()


async def measure(directory: Path, writers: int, seconds: float) -> int:
    """Run everything; return the exit code."""
    async with installed(settings_at(directory)) as installation:
        crew = [await _writer(installation, number) for number in range(writers)]
        rates: dict[bool, list[float]] = {False: [], True: []}
        with _SPAWN.Pool(writers) as pool, progress("Rounds", 2 * ROUNDS) as advance:
            await asyncio.to_thread(pool.starmap, Writer.write, [(writer, 0.3) for writer in crew], 1)
            for _ in range(ROUNDS):
                for really, found in rates.items():
                    with log_kept(installation, really=really):
                        work = [(writer, seconds) for writer in crew]
                        found.append(sum(await asyncio.to_thread(pool.starmap, Writer.write, work, 1)))
                    advance(1)
    return tell(rates, writers)


async def _writer(installation: Installation, number: int) -> Writer:
    async with installation.app.work() as work:
        incident_id = await open_by_hand(
            work, installation.admin, severity=Severity.HIGH, title=f"Of writer {number}", description=""
        )
    return Writer(installation.sources.application, incident_id, installation.admin.user_id)


def tell(rates: dict[bool, list[float]], writers: int) -> int:
    """Print both rates and their ratio; return the exit code."""
    without, with_log = median(rates[False]), median(rates[True])
    ratio = without / with_log
    print(f"{writers} writers, {ROUNDS} rounds each in turns (median; lowest and highest)")
    for name, found in (("without the log", rates[False]), ("with the log, sealed and signed", rates[True])):
        print(f"  {name:<32} {median(found):>8,.0f} entries/s  ({min(found):,.0f} to {max(found):,.0f})")
    print(f"  ratio {ratio:.2f}, goal {GOAL_RATIO}: {'met' if ratio <= GOAL_RATIO else 'MISSED'}")
    return int(ratio > GOAL_RATIO)


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python3 dev.py bench record_cost", description=__doc__)
    parser.add_argument("--writers", type=int, default=16, help="concurrent writers (default: 16)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round (default: 5)")
    arguments = parser.parse_args()
    if not (1 <= arguments.writers <= 50 and 0.1 <= arguments.seconds <= 600):
        parser.error("--writers must be 1 to 50, --seconds 0.1 to 600")
    with temporary_directory() as directory:
        return asyncio.run(measure(directory, arguments.writers, arguments.seconds))


if __name__ == "__main__":
    raise SystemExit(main())
