"""kill -9 of whatever keeps the log, at random, while 16 writers record: workers, the server, PostgreSQL, a backend.

    python -m tests.faults.log_matrix --kills 100

It prints what there was to be right about: no gap, no lost entry, no incident out of order, and every checkpoint that
anybody could have seen is of the log as it is in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from uuid import UUID

import psycopg

from tests.embedded.observed import postmaster_of, works
from tests.faults.programs import TOCSIN, Program, Site, children_of, site
from tests.support.by_hand import ByHand, Connection
from tests.support.logs import Log, whole_log
from tocsin.store.provision import DATABASE
from tocsin.tlog.merkle import root_of

WRITERS = 16
PAUSE_SECONDS = 0.02
"""Between two entries of a writer: without it who was killed would wait longer for a processor than for the log."""
LONGEST_PAUSE_SECONDS = 0.8
"""After a checkpoint was published: a log that is always killed before it moves would prove nothing."""
LOOK_SECONDS = 0.05
SETTLE_SECONDS = 120.0
VICTIMS = ("worker", "other worker", "server", "postmaster", "backend")
BACKEND = "tocsin_app"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    seed: int
    seconds: float
    kills: dict[str, int]
    entries: int
    leaves: int
    checkpoints_seen: int
    interruptions: int


@dataclass(slots=True)
class Writer:
    """Somebody who adds notes to an incident of his own, and remembers what was committed."""

    conninfo: str
    admin: UUID
    committed: list[bytes] = field(default_factory=list)
    interruptions: int = 0

    def write(self, stop: threading.Event) -> None:
        """Write until told to stop; whatever breaks is begun anew.

        What was lost on the way may arrive after its writer has come back: then the next entry is there already.
        """
        incident_id: UUID | None = None
        while not stop.is_set():
            broken = (psycopg.OperationalError, psycopg.errors.UniqueViolation)
            with suppress(*broken), connected(self.conninfo) as connection:
                hand = ByHand(connection, self.admin)
                incident_id = incident_id or hand.open()
                while not stop.is_set():
                    sealed = hand.entry(incident_id, "NOTE_ADDED", metadata={"notes": "still working on it"})
                    self.committed.append(sealed.checksum)
                    time.sleep(PAUSE_SECONDS)
            self.interruptions += not stop.is_set()
            time.sleep(LOOK_SECONDS)


@contextmanager
def connected(conninfo: str) -> Iterator[Connection]:
    """Give a connection in our schema."""
    with psycopg.connect(
        conninfo, autocommit=True, row_factory=psycopg.rows.dict_row, options="-c search_path=tocsin"
    ) as connection:
        yield connection


def watch(conninfo: str, seen: dict[int, bytes], stop: threading.Event) -> None:
    """Keep every checkpoint that is published, as a witness outside of the database would."""
    while not stop.is_set():
        with suppress(psycopg.OperationalError), psycopg.connect(conninfo, autocommit=True) as connection:
            while not stop.is_set():
                newest = max(seen, default=0)
                query = "SELECT size, root FROM tocsin.log_checkpoints WHERE size > %s"
                seen.update(connection.execute(query, [newest]).fetchall())
                time.sleep(LOOK_SECONDS)
        time.sleep(LOOK_SECONDS)


async def run_log_matrix(kills: int, seed: int) -> Outcome:
    """Kill so many processes in all under load, then hold the log against everything that was seen of it."""
    began = time.monotonic()
    with site(servers=1) as running:
        other = Program([TOCSIN, "worker", "--name", "other"], running.environment, running.directory / "other.log")
        other.start()
        try:
            seen: dict[int, bytes] = {}
            with recording(running, seen) as writers:
                counts = await _kill(running, other, seen, kills, random.Random(seed))
            log = await _signed_log(running.conninfo)
            assert_nothing_lost(log, writers, seen)
            verified = running.command("verify", "--db", "--json")
            assert verified.returncode == 0, verified.stdout + verified.stderr
            assert json.loads(verified.stdout)["log"]["outside"], "the signer's memory was not found"
        finally:
            other.kill()
    entries = sum(len(writer.committed) for writer in writers)
    interruptions = sum(writer.interruptions for writer in writers)
    seconds = round(time.monotonic() - began, 1)
    return Outcome(seed, seconds, dict(counts), entries, len(log.leaves), len(seen), interruptions)


@contextmanager
def recording(running: Site, seen: dict[int, bytes]) -> Iterator[list[Writer]]:
    """Let the writers write and somebody watch, for the time of the block."""
    with connected(running.conninfo) as connection:
        row = connection.execute("SELECT id FROM users LIMIT 1").fetchone()
    assert row is not None
    conninfo = running.database.conninfo("tocsin_app", DATABASE)
    writers = [Writer(conninfo, row["id"]) for _ in range(WRITERS)]
    stop = threading.Event()
    threads = [threading.Thread(target=writer.write, args=[stop]) for writer in writers]
    threads.append(threading.Thread(target=watch, args=[conninfo, seen, stop]))
    for thread in threads:
        thread.start()
    try:
        yield writers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


async def _kill(
    running: Site, other: Program, seen: dict[int, bytes], kills: int, chance: random.Random
) -> Counter[str]:
    counts: Counter[str] = Counter()
    programs = [running.worker, other, *running.webs]
    victims: dict[str, Callable[[], None]] = {
        "worker": lambda: _restart(running.worker),
        "other worker": lambda: _restart(other),
        "server": lambda: _restart(running.webs[0]),
        "postmaster": lambda: os.kill(postmaster_of(running.data_dir), signal.SIGKILL),
        "backend": lambda: _kill_backend(running, chance),
    }
    assert tuple(victims) == VICTIMS
    for number in range(kills):
        await _until_more(seen)
        await asyncio.sleep(chance.uniform(0.0, LONGEST_PAUSE_SECONDS))
        name = VICTIMS[number % len(VICTIMS)]
        await asyncio.to_thread(victims[name])
        counts[name] += 1
        await _until_back(running, programs)
    return counts


async def _until_more(seen: dict[int, bytes]) -> None:
    """Wait until another checkpoint is published."""
    newest = max(seen, default=0)
    async with asyncio.timeout(SETTLE_SECONDS):
        while max(seen, default=0) == newest:
            await asyncio.sleep(LOOK_SECONDS)


def _restart(program: Program) -> None:
    program.kill()
    program.start()


def _kill_backend(running: Site, chance: random.Random) -> None:
    with suppress(ProcessLookupError, FileNotFoundError, IndexError):
        os.kill(chance.choice(children_of(postmaster_of(running.data_dir), BACKEND)), signal.SIGKILL)


async def _until_back(running: Site, programs: Sequence[Program]) -> None:
    """Wait until the database answers again; start what ended with it, as systemd would."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while not await asyncio.to_thread(works, running.conninfo):
            await asyncio.sleep(LOOK_SECONDS)
    for program in programs:
        if program.process.poll() is not None:
            program.start()


async def _signed_log(conninfo: str) -> Log:
    """Wait until all of the log is signed, and return it.

    The postmaster may notice only now that a backend was killed, and end all others.
    """
    settled = (
        "SELECT NOT EXISTS (SELECT FROM tocsin.log_pending)"
        " AND (SELECT size FROM tocsin.log_state) = (SELECT max(size) FROM tocsin.log_checkpoints)"
    )
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            with suppress(psycopg.OperationalError), psycopg.connect(conninfo, autocommit=True) as connection:
                if connection.execute(settled).fetchone() == (True,):
                    return whole_log(connection)
            await asyncio.sleep(LOOK_SECONDS)


def assert_nothing_lost(log: Log, writers: Sequence[Writer], seen: dict[int, bytes]) -> None:
    """Assert that everything that was committed is in the log, and that every checkpoint that was seen is of it."""
    assert log.waiting == 0
    leaves = set(log.leaves)
    lost = sum(checksum not in leaves for writer in writers for checksum in writer.committed)
    assert lost == 0, f"{lost} committed entries are not in the log"
    assert seen, "no checkpoint was published: was anything signed?"
    for size, root in seen.items():
        assert root_of(log.leaves[:size]) == root == log.checkpoints[size], f"checkpoint {size} is of another log"


def main() -> None:
    """Do what the command line says, and print it as JSON."""
    parser = argparse.ArgumentParser(prog="tests.faults.log_matrix")
    parser.add_argument("--kills", type=int, default=10, help="in all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    print(json.dumps(dataclasses.asdict(asyncio.run(run_log_matrix(options.kills, options.seed))), indent=2))


if __name__ == "__main__":
    main()
