"""An outage of the server, during which the programs that report to it are killed, too.

    python -m tests.faults.outage --seconds 600 --kills 40

Three programs capture meanwhile: one with tocsin_sdk, one with sentry-sdk and the spooling transport, one that speaks
to a forwarder, which is killed as well. When the server is back, every capture that had returned is there once.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.conftest import INTAKE_KEY
from tests.faults.capturing import REPORTERS, captured, message_of
from tests.faults.journal import lines
from tests.faults.programs import LOOK_SECONDS, Program, Site, free_port, site, until_listening

BEFORE_SECONDS = 1.0
ARRIVAL_SECONDS = 180.0
"""A pause grows to half a minute, and what a killed process had taken stays with it for half a minute more."""
END_SECONDS = 150.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an outage: for each program how much it captured, and how soon all of it was there."""

    seed: int
    seconds: float
    kills: int
    captured: Mapping[str, int]
    unfinished: int
    """Captures during which their program was killed: they may be there or not, but not twice."""
    arrived_after_seconds: float


@dataclass(frozen=True, slots=True)
class Reporting:
    """The programs that report, by their kind, and the forwarder."""

    programs: Mapping[str, Program]
    journals: Mapping[str, Path]
    forwarder: Program


async def run_outage(seconds: float, kills: int, seed: int) -> Outcome:
    """Take the server away for some time and kill the others meanwhile; assert that nothing captured was lost."""
    with site(servers=1) as running, _reporting(running) as reporting:
        await asyncio.sleep(BEFORE_SECONDS)
        running.webs[0].kill()
        await _kill(reporting, seconds, kills, random.Random(seed))
        running.webs[0].start()
        until_listening(running.ports[0])
        back = time.monotonic()
        await _ended(reporting)
        owed = {kind: captured(journal) for kind, journal in reporting.journals.items()}
        with psycopg.connect(running.conninfo, autocommit=True) as connection:
            await _until_arrived(connection, {event_id for ids in owed.values() for event_id in ids.values()})
            arrived_after = time.monotonic() - back
            unfinished = _check(connection, reporting.journals, owed)
        counts = {kind: len(ids) for kind, ids in owed.items()}
        return Outcome(seed, seconds, kills, counts, unfinished, round(arrived_after, 1))


@contextmanager
def _reporting(running: Site) -> Iterator[Reporting]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    there, here = f"127.0.0.1:{running.ports[0]}", f"127.0.0.1:{free_port()}"

    def program(name: str, *arguments: str) -> Program:
        return Program([sys.executable, "-m", *arguments], environment, running.directory / f"{name}.log")

    def spool(name: str) -> str:
        return str(running.directory / f"spool-{name}")

    to = ("--to", f"http://{there}", "--listen", here, "--spool", spool("forwarder"))
    forwarder = program("forwarder", "tocsin_sdk.forward", *to)
    journals = {kind: running.directory / f"{kind}.journal" for kind in REPORTERS}
    programs = {}
    for kind, journal in journals.items():
        dsn = f"http://{INTAKE_KEY}@{here if kind == 'forwarded' else there}/1"
        programs[kind] = program(kind, "tests.faults.capturing", kind, dsn, spool(kind), str(journal))
    with ExitStack() as stack:
        for one in (forwarder, *programs.values()):
            one.start()
            stack.callback(one.kill)
        yield Reporting(programs, journals, forwarder)


async def _kill(reporting: Reporting, seconds: float, kills: int, chance: random.Random) -> None:
    """Kill and start again one program after the other, spread over the outage; each has its turn."""
    victims = [reporting.forwarder, *reporting.programs.values()]
    begin = time.monotonic()
    for number, moment in enumerate(sorted(chance.uniform(0, seconds) for _ in range(kills))):
        await asyncio.sleep(max(0.0, begin + moment - time.monotonic()))
        victim = victims[number % len(victims)]
        assert victim.process.poll() is None, f"{victim.command} ended by itself:\n{victim.last_words()}"
        victim.kill()
        victim.start()
    await asyncio.sleep(max(0.0, begin + seconds - time.monotonic()))


async def _ended(reporting: Reporting) -> None:
    for kind, journal in reporting.journals.items():
        journal.with_suffix(".stop").touch()
        program = reporting.programs[kind]
        code = await asyncio.to_thread(program.process.wait, END_SECONDS)
        assert code == 0, f"{kind} ended with {code}:\n{program.last_words()}"


async def _until_arrived(connection: psycopg.Connection, owed: set[str]) -> None:
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while missing := owed - set(_titles(connection)):
        assert time.monotonic() < deadline, f"{len(missing)} of {len(owed)} captures did not arrive"
        await asyncio.sleep(10 * LOOK_SECONDS)


def _titles(connection: psycopg.Connection) -> dict[str, str]:
    rows = connection.execute("SELECT event_id, title FROM tocsin.audit_logs WHERE project_id = 1").fetchall()
    return dict(rows)


def _check(connection: psycopg.Connection, journals: Mapping[str, Path], owed: Mapping[str, Mapping[int, str]]) -> int:
    """Assert that no capture is there twice, under whichever id; return how many were not finished."""
    there, unfinished = Counter(_titles(connection).values()), 0
    for kind, ids in owed.items():
        begun = [int(line.split()[1]) for line in lines(journals[kind]) if line.startswith("about ")]
        unfinished += len(begun) - len(ids)
        for number in begun:
            times = there[message_of(kind, number)]
            assert times == 1 if number in ids else times <= 1, f"{message_of(kind, number)}: {times} times"
    return unfinished


def main() -> None:
    """Do what the command line says, and print it as JSON."""
    parser = argparse.ArgumentParser(prog="tests.faults.outage")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    outcome = asyncio.run(run_outage(options.seconds, options.kills, options.seed))
    print(json.dumps(dataclasses.asdict(outcome), indent=2))


if __name__ == "__main__":
    main()
