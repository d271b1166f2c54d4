"""Reading at scale: list, detail, statistics and the sweep over a million incidents, a hundred thousand of them open.

Every statement that these use cases run is explained: reading a table of the history from end to end fails the run.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from bench.support import loaded_database, processes
from bench.support.figures import Figure, table, timed
from bench.support.installation import TOKEN, Installation, installed, settings_at, temporary_directory
from bench.support.loaded_database import Loaded
from bench.support.plans import RecordingTx, Statement, explain
from bench.support.population import SEED, Population
from bench.support.progress import progress
from tocsin.app import maintain, read_incidents
from tocsin.app.verify import verify_database
from tocsin.app.work import App, Work
from tocsin.domain.access import Actor
from tocsin.domain.incident import Severity, Status
from tocsin.store.database import Tx
from tocsin.store.incidents import IncidentFilter

READ_GOAL_MS = 50.0
SWEEP_GOAL_MS = 20.0
CHECKED_INCIDENTS, CHECKED_OPEN = 2_000, 200
LEAST_REPETITIONS = 50
LIST = "/api/admin/incidents"
OPEN = tuple(status for status in Status if status is not Status.CLOSED)
_OPEN_VIEW = b"SELECT * FROM open_incidents ORDER BY number DESC LIMIT 50"
SINCE_2020 = IncidentFilter(created_after=datetime(2020, 1, 1, tzinfo=UTC))
_OVERDUE_VIEW = b"SELECT * FROM overdue_incidents ORDER BY created_at LIMIT 50"


@dataclass(frozen=True, slots=True)
class Reading:
    """One thing that is read: as a use case in a transaction, and over HTTP where there is a `path`."""

    name: str
    ask: Callable[[Work, int], Awaitable[object]]
    path: Callable[[int], str] | None = None
    goal_ms: float | None = READ_GOAL_MS


def readings(population: Population, actor: Actor) -> list[Reading]:
    """Return what is measured."""
    return [*_lists(population, actor), _detail(population, actor), *_statistics(actor), *_direct()]


def _lists(population: Population, actor: Actor) -> Iterator[Reading]:
    middle = population.incidents // 2
    everything = IncidentFilter()
    for name, query, where, cursor, offset in (
        ("no filter", "", everything, None, 0),
        ("open", "&status=open", IncidentFilter(OPEN), None, 0),
        ("CRITICAL", "&severity=CRITICAL", IncidentFilter(None, (Severity.CRITICAL,)), None, 0),
        ("LOW, of which there is none", "&severity=LOW", IncidentFilter(None, (Severity.LOW,)), None, 0),
        ("CLOSED", "&status=CLOSED", IncidentFilter((Status.CLOSED,)), None, 0),
        ("from the middle by cursor", f"&cursor={middle}", everything, middle, 0),
        ("open, from the middle", f"&status=open&cursor={middle}", IncidentFilter(OPEN), middle, 0),
        ("offset 10,000", "&offset=10000", everything, None, 10_000),
        ("created since 2020, all of them", "&createdAfter=2020-01-01T00:00:00Z", SINCE_2020, None, 0),
    ):
        yield Reading(f"list: {name}", _listing(actor, where, cursor, offset), _constant(f"{LIST}?limit=50{query}"))
    # A word that no incident has is asked of every index of words; one that nearly all have is found by looking back.
    for name, words in (("which none has", "unheard-of"), ("which many have", "connection")):
        yield Reading(f"search: a word {name}", _searching(actor, words), _constant(f"{LIST}?limit=50&search={words}"))


def _listing(
    actor: Actor, where: IncidentFilter, cursor: int | None, offset: int
) -> Callable[[Work, int], Awaitable[object]]:
    return lambda work, _: read_incidents.list_incidents(work, actor, where, cursor=cursor, offset=offset)


def _searching(actor: Actor, words: str) -> Callable[[Work, int], Awaitable[object]]:
    return lambda work, _: read_incidents.list_incidents(work, actor, IncidentFilter(), search=words)


def _constant(path: str) -> Callable[[int], str]:
    return lambda _: path


def _detail(population: Population, actor: Actor) -> Reading:
    """Read another incident each time, every other one an open one: those have the longest timelines and the pages."""
    dice = random.Random(SEED)
    still_open = sorted(population.open_numbers)
    numbers = [dice.choice(still_open) if n % 2 else dice.randint(1, population.incidents) for n in range(1_000)]
    return Reading(
        "detail of one",
        lambda work, n: read_incidents.show_incident(work, actor, numbers[n % 1_000]),
        # Not the ones that the use case has read before: over HTTP they are as cold.
        lambda n: f"{LIST}/{numbers[(n + 500) % 1_000]}",
    )


def _statistics(actor: Actor) -> Iterator[Reading]:
    yield Reading("stats", lambda work, _: read_incidents.stats(work, actor), _constant(f"{LIST}/stats"))
    yield Reading(
        "stats of escalations",
        lambda work, _: read_incidents.escalation_stats(work, actor),
        _constant(f"{LIST}/stats/escalations"),
    )


def _direct() -> Iterator[Reading]:
    yield Reading("sweep with nothing due", lambda work, _: maintain.sweep(work), goal_ms=SWEEP_GOAL_MS)
    yield Reading("view open_incidents", lambda work, _: work.tx.run(_OPEN_VIEW))
    yield Reading("view overdue_incidents", lambda work, _: work.tx.run(_OVERDUE_VIEW))


async def measure_directly(app: App, asked: Sequence[Reading], repetitions: int) -> list[Figure]:
    """Time each use case in a transaction of its own; the baseline is a transaction with SELECT 1."""

    async def nothing(_: int) -> None:
        async with app.work() as work:
            await work.tx.value(b"SELECT 1")

    baseline = await timed("SELECT 1 in a transaction", repetitions, nothing)
    figures = [baseline]
    with progress("Use cases", len(asked)) as advance:
        for reading in asked:
            ask = reading.ask

            async def run(number: int, ask: Callable[[Work, int], Awaitable[object]] = ask) -> None:
                async with app.work() as work:
                    await ask(work, number)

            figures.append(await timed(reading.name, repetitions, run, baseline=baseline, goal_ms=reading.goal_ms))
            advance(1)
    return figures


async def measure_over_http(url: str, asked: Sequence[Reading], repetitions: int) -> list[Figure]:
    """Time each request on one connection kept alive; the baseline is /healthz, which asks no database."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(url, headers=headers) as http:

        async def get(path: str) -> None:
            async with http.get(path) as response:
                body = await response.read()
                if response.status != 200:
                    raise SystemExit(f"GET {path} answered {response.status}: {body[:500]!r}")

        baseline = await timed("GET /healthz", repetitions, lambda _: get("/healthz"))
        figures = [baseline]
        with progress("Requests", len(asked)) as advance:
            for reading in asked:
                if path := reading.path:
                    run = _request(get, path)
                    name = f"GET {reading.name}"
                    figures.append(await timed(name, repetitions, run, baseline=baseline, goal_ms=reading.goal_ms))
                advance(1)
    return figures


def _request(get: Callable[[str], Awaitable[None]], path: Callable[[int], str]) -> Callable[[int], Awaitable[None]]:
    return lambda number: get(path(number))


async def explain_all(app: App, asked: Sequence[Reading]) -> tuple[list[str], list[str]]:
    """Explain every statement of every use case; return the plans as text, and what reads a whole table of history."""
    told: list[str] = []
    found: list[str] = []
    seen: set[tuple[bytes, str]] = set()
    for reading in asked:
        told.append(reading.name)
        async with app.database.transaction(streaming=True) as tx:
            recorded = RecordingTx(tx.connection)
            await reading.ask(Work(recorded, app.clock(), app.settings), 1)
            for statement in recorded.statements:
                key = (statement.query, repr(statement.parameters))
                if key not in seen:
                    seen.add(key)
                    told += await _explained(tx, reading, statement, found)
    return told, found


async def _explained(tx: Tx, reading: Reading, statement: Statement, found: list[str]) -> list[str]:
    title = statement.query.decode().removeprefix("-- ").partition("\n")[0]
    known, unknown = await explain(tx, statement)
    lines = [f"  {title}", f"    {', '.join(known.nodes)}"]
    if unknown.nodes != known.nodes:
        lines.append(f"    were it prepared for any parameters: {', '.join(unknown.nodes)}")
    for plan in (known, unknown):
        found += [f"{reading.name}: Seq Scan on {name}, planned for {plan.kind}: {title}" for name in plan.whole_tables]
    return lines


async def check(directory: Path, loaded: Loaded) -> int:
    """Verify a database as `tocsin verify --db` does; return the exit code."""
    async with _measured(directory, loaded) as installation:
        async with installation.app.work(streaming=True) as work:
            verified = await verify_database(work)
        async with installation.app.work() as work:
            swept = await maintain.sweep(work)
    print(f"{verified.rows:,} rows of {verified.incidents:,} incidents, {verified.findings_in_all} findings")
    for finding in verified.findings[:20]:
        print(f"  {finding.table} {finding.row_id}: {finding.problem}")
    print(f"The sweep found {swept.incidents} incidents and {swept.pages} pages that it should not have found")
    return 1 if verified.findings_in_all or swept.incidents or swept.pages else 0


async def measure(directory: Path, loaded: Loaded, repetitions: int) -> int:
    """Measure and explain; return the exit code."""
    async with _measured(directory, loaded) as installation:
        asked = readings(loaded.population, installation.admin)
        plans, whole_tables = await explain_all(installation.app, asked)
        direct = await measure_directly(installation.app, asked, repetitions)
        web = processes.running(
            processes.web, installation.sources, installation.app.settings, processes.StandingClock(loaded.loaded_at)
        )
        with web as (url, _):
            over_http = await measure_over_http(url, asked, repetitions)
    size = loaded.population
    print(f"{size.incidents:,} incidents, {size.open:,} of them open; loaded in {loaded.seconds:.0f} s\n")
    print(table("Over HTTP, one connection", over_http), "\n")
    print(table("Use cases, without HTTP", direct), "\n")
    print("Scans of each statement, as planned", *plans, "", sep="\n")
    print(*whole_tables, "" if whole_tables else "No table of the history is read from end to end.", sep="\n")
    return 1 if whole_tables or any(figure.missed for figure in (*direct, *over_http)) else 0


@asynccontextmanager
async def _measured(directory: Path, loaded: Loaded) -> AsyncIterator[Installation]:
    """Run the product on the database at the instant of loading: nothing new becomes due while it is measured."""
    clock = processes.StandingClock(loaded.loaded_at)
    async with installed(settings_at(directory), clock) as installation:
        yield installation


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python3 dev.py bench at_scale",
        description="Makes a database of many incidents, then times and explains what reads it. Exit code 1: "
        "a goal is missed, or a table of the history is read from end to end.",
        epilog="A million incidents take several minutes to make and about 30 GB of disk while they are made. "
        "With --keep the next run finds them.",
    )
    parser.add_argument("--incidents", type=int, default=1_000_000, help="how many (default: %(default)s)")
    parser.add_argument("--open", type=int, default=100_000, help="how many of them are open (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=100, help="of each reading, 50 or more (default: 100)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the database in DIR and leave it, or use it")
    parser.add_argument("--check", action="store_true", help="only verify that a small one is made as it should be")
    arguments = parser.parse_args()
    if not 0 < arguments.open <= arguments.incidents // 2 or arguments.repetitions < LEAST_REPETITIONS:
        parser.error("--open must be at most half of --incidents, --repetitions 50 or more")
    with nullcontext(arguments.keep) if arguments.keep else temporary_directory() as directory:
        size = (CHECKED_INCIDENTS, CHECKED_OPEN) if arguments.check else (arguments.incidents, arguments.open)
        loaded = loaded_database.prepare(directory, *size)
        run = check(directory, loaded) if arguments.check else measure(directory, loaded, arguments.repetitions)
        return asyncio.run(run)


if __name__ == "__main__":
    raise SystemExit(main())
