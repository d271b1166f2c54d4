"""The kill -9 matrix: servers, a process of theirs, worker, PostgreSQL, a backend, clients: at random, under load.

    python -m tests.faults.matrix --kills 100
    python -m tests.faults.matrix --away 10

The first kills so many of each and prints what there was to be right about; the second measures for how long intake
is away when PostgreSQL was killed.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import random
import re
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psycopg

from tests.conftest import INTAKE_KEY
from tests.embedded.observed import postmaster_of, works
from tests.faults.programs import Program, Site, children_of, site
from tests.faults.reckoning import Reckoning, reckon
from tests.faults.traffic import Journal

CLIENTS = 2
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 7.0
LONGEST_LIFE_SECONDS = 1.0
"""PostgreSQL is killed so soon after it is back: until then its keeper lets it wait for up to five seconds."""
WORKING = 0.75
TURN_SECONDS = 180.0
"""How long a victim may take until it can be killed: on a busy machine a start takes many seconds."""
LOOK_SECONDS = 0.02
DRAIN_SECONDS = 120.0
SETTLE_SECONDS = 240.0
"""A worker that was killed had pages under a lease of a minute, and what failed meanwhile is tried again later."""
STEADY_SECONDS = 31.0
"""After so long the embedded server's keeper starts a killed server at once again."""

SUPERVISOR_SECONDS = 0.2
BACKEND, WEB_PROCESS = "tocsin_app", "tocsin.cli.web_process"
"""What stands in the command lines of a backend that serves the application, and of one web process of several."""
EXCUSES = re.compile("The database cannot be used|OperationalError|before it answered")
"""Why a program may end by itself: what it needs to start, its database or a process of its own, was killed."""

Chance = random.Random


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of the matrix came to."""

    seed: int
    seconds: float
    kills: Mapping[str, int]
    ended: int
    """How often a program ended by itself, for one of the EXCUSES, and was started again."""
    requests: int
    failed: Mapping[str, int]
    reckoning: Reckoning


async def run_matrix(kills: int, seed: int, *, hurry: bool) -> Outcome:
    """Kill each kind of process so many times under load; assert that nothing was lost, or done twice.

    In a `hurry` the leases of killed workers are ended by hand, instead of being waited for.
    """
    began = time.monotonic()
    with site(TOCSIN_STORM_THRESHOLD="100", TOCSIN_WEB_PROCESSES="2") as running, _clients(running) as clients:
        done, ended = await _kill_everything(running, clients, kills, seed)
        journals = await _drained(clients)
        if hurry:
            _end_leases(running)
        with psycopg.connect(running.conninfo, autocommit=True) as connection:
            await _until_paged(connection)
            connection.autocommit = False
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            accepted = [event_id for journal in journals for event_id in journal.event_ids()]
            reckoning = reckon(connection, accepted, running.mailbox)
        verified = running.command("verify", "--db", "--json")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        failed = sum((journal.failed for journal in journals), Counter[str]())
        requests = sum(len(journal.accepted) for journal in journals)
        return Outcome(seed, round(time.monotonic() - began, 1), done, ended, requests, dict(failed), reckoning)


@contextmanager
def _clients(running: Site) -> Iterator[list[Program]]:
    with ExitStack() as stack:
        clients = []
        for number in range(CLIENTS):
            journal = str(running.directory / f"client{number}.journal")
            command = [sys.executable, "-m", "tests.faults.traffic", journal, INTAKE_KEY, *map(str, running.ports)]
            path = os.pathsep.join(filter(None, sys.path))
            log = running.directory / f"client{number}.log"
            clients.append(Program(command, {**os.environ, "PYTHONPATH": path}, log))
        for client in clients:
            client.start()
            stack.callback(client.kill)
        yield clients


def _journal_of(client: Program) -> Path:
    return Path(client.command[3])


async def _kill_everything(
    running: Site, clients: Sequence[Program], kills: int, seed: int
) -> tuple[dict[str, int], int]:
    """Kill each kind of victim at its own moments, all at the same time.

    Return how many were killed, and how often a program ended by itself.
    """
    victims: dict[str, Callable[[Chance], Awaitable[None]]] = {
        "server": lambda chance: _kill_server(running, chance),
        "web process": lambda chance: _kill_web_process(running, chance),
        "worker": lambda chance: _replace([running.worker], LONGEST_PAUSE_SECONDS, chance),
        "client": lambda chance: _replace(clients, LONGEST_PAUSE_SECONDS, chance),
        "postmaster": lambda chance: _kill_postmaster(running, chance),
        "backend": lambda chance: _kill_backend(running, chance),
    }
    over = asyncio.Event()
    async with asyncio.TaskGroup() as both:
        supervisor = both.create_task(_supervise([*running.webs, running.worker], over))
        async with asyncio.TaskGroup() as group:
            for name, kill in victims.items():
                group.create_task(_again_and_again(kill, kills, random.Random(f"{seed} {name}")))
        await _until_back(running)
        over.set()
    ended = supervisor.result()
    return dict.fromkeys(victims, kills), ended


async def _supervise(programs: Sequence[Program], over: asyncio.Event) -> int:
    """Start what ended by itself again, as systemd would; return how often."""
    ended = 0
    while not over.is_set():
        for program in programs:
            if (code := program.process.poll()) is not None:
                words = program.last_words()
                assert EXCUSES.search(words), f"{program.command} ended by itself with {code}:\n{words}"
                ended += 1
                program.start()
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), SUPERVISOR_SECONDS)
    return ended


async def _again_and_again(kill: Callable[[Chance], Awaitable[None]], kills: int, chance: Chance) -> None:
    for _ in range(kills):
        await kill(chance)


async def _replace(programs: Sequence[Program], longest_seconds: float, chance: Chance) -> None:
    await _pause(chance, longest_seconds)
    program = chance.choice(programs)
    program.kill()
    program.start()


async def _pause(chance: Chance, longest_seconds: float) -> None:
    await asyncio.sleep(chance.uniform(SHORTEST_PAUSE_SECONDS, longest_seconds))


async def _kill_postmaster(running: Site, chance: Chance) -> None:
    """Kill PostgreSQL, mostly when a server works with it: one that is always killed before would prove nothing."""
    await _until_back(running)
    if chance.random() < WORKING:
        await _until_answering(chance.choice(running.ports))
    await asyncio.sleep(chance.uniform(0.0, LONGEST_LIFE_SECONDS))
    os.kill(postmaster_of(running.data_dir), signal.SIGKILL)


async def _kill_backend(running: Site, chance: Chance) -> None:
    await _pause(chance, LONGEST_PAUSE_SECONDS / 2)  # while PostgreSQL is away it has to wait for one besides
    await _kill_child(lambda: postmaster_of(running.data_dir), BACKEND, chance)


async def _kill_server(running: Site, chance: Chance) -> None:
    """Kill a server, mostly one that has begun to work; now and then one that starts."""
    place = chance.randrange(len(running.webs))
    if chance.random() < WORKING:
        await _until_answering(running.ports[place])
    await _replace([running.webs[place]], LONGEST_PAUSE_SECONDS / 2, chance)


async def _kill_web_process(running: Site, chance: Chance) -> None:
    """Kill one process of a server that answers: its parent gives up when a first one dies before that."""
    place = chance.randrange(len(running.webs))
    await _pause(chance, LONGEST_LIFE_SECONDS)
    await _until_answering(running.ports[place])
    await _kill_child(lambda: running.webs[place].process.pid, WEB_PROCESS, chance)


async def _kill_child(parent: Callable[[], int], title: str, chance: Chance) -> None:
    async with asyncio.timeout(TURN_SECONDS):
        while True:
            # It may go by itself before it can be killed, and its parent with it.
            with suppress(ProcessLookupError, FileNotFoundError, IndexError):
                os.kill(chance.choice(children_of(parent(), title)), signal.SIGKILL)
                return
            await asyncio.sleep(LOOK_SECONDS)


async def _until_answering(port: int) -> None:
    """Wait until a server answers, whatever it is."""
    async with asyncio.timeout(TURN_SECONDS), aiohttp.ClientSession() as http:
        while True:
            with suppress(aiohttp.ClientError):
                async with http.options(f"http://127.0.0.1:{port}/api/v1/errors"):
                    return
            await asyncio.sleep(LOOK_SECONDS)


async def _until_back(running: Site) -> None:
    async with asyncio.timeout(TURN_SECONDS):
        while not await asyncio.to_thread(works, running.conninfo):
            await asyncio.sleep(LOOK_SECONDS)


async def _drained(clients: Sequence[Program]) -> list[Journal]:
    """Let the clients deliver what they owe, and end; return their journals."""
    journals = [_journal_of(client) for client in clients]
    for journal in journals:
        journal.with_suffix(".stop").touch()
    for client, journal in zip(clients, journals, strict=True):
        code = await asyncio.to_thread(client.process.wait, DRAIN_SECONDS)
        read = Journal(journal)
        assert (code, read.owed, read.refused) == (0, set(), []), client.last_words()
    return [Journal(journal) for journal in journals]


def _end_leases(running: Site) -> None:
    """Let everything be due that a killed worker had claimed: as if a minute went by."""
    running.worker.kill()
    with psycopg.connect(running.conninfo, autocommit=True) as connection:
        connection.execute(
            "UPDATE tocsin.jobs SET due_at = now(), lease_doubted = true"
            " WHERE kind IN ('deliver', 'bundle') AND dead_at IS NULL"
        )
    running.worker.start()


async def _until_paged(connection: psycopg.Connection) -> None:
    async with asyncio.timeout(SETTLE_SECONDS):
        pending = "SELECT count(*) FROM tocsin.notifications WHERE state = 'PENDING'"
        while connection.execute(pending).fetchone() != (0,):
            await asyncio.sleep(0.2)


async def measure_absence(times: int, pause_seconds: float) -> list[float]:
    """Kill PostgreSQL so many times; return for how long (s) nobody was answered, each time."""
    with site(servers=1) as running:
        absences = []
        headers = {"Authorization": f"Bearer {INTAKE_KEY}"}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{running.ports[0]}", headers=headers) as http:
            for _ in range(times):
                await _report_for(http, pause_seconds)
                os.kill(postmaster_of(running.data_dir), signal.SIGKILL)
                absences.append(await _report_for(http, 0.0))
        return absences


async def _report_for(http: aiohttp.ClientSession, seconds: float) -> float:
    """Send one report after the other for some time, at least twice; return the longest wait for an answer (s)."""
    report = {"severity": "HIGH", "message": "broken", "fingerprint": ["one"]}
    longest, began, sent = 0.0, time.monotonic(), 0
    while sent < 2 or time.monotonic() - began < seconds:
        asked, sent = time.monotonic(), sent + 1
        async with http.post("/api/v1/errors", json=report) as response:
            assert response.status < 300, await response.text()
        longest = max(longest, time.monotonic() - asked)
        await asyncio.sleep(min(LOOK_SECONDS, seconds))
    return longest


def main() -> None:
    """Do what the command line says, and print it as JSON."""
    parser = argparse.ArgumentParser(prog="tests.faults.matrix")
    parser.add_argument("--kills", type=int, default=12, help="of each kind of victim")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--away", type=int, default=0, metavar="TIMES", help="measure the absence of intake instead")
    parser.add_argument("--pause", type=float, default=STEADY_SECONDS, metavar="SECONDS", help="between two of those")
    options = parser.parse_args()
    if options.away:
        absences = asyncio.run(measure_absence(options.away, options.pause))
        result = {"p50": statistics.median(absences), "max": max(absences), "absencesSeconds": absences}
    else:
        result = dataclasses.asdict(asyncio.run(run_matrix(options.kills, options.seed, hurry=False)))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
