"""Every page of the console over a million incidents, a hundred thousand of them open, as a browser asks for it.

Every statement that a page runs is explained: reading a table of the history from end to end fails the run.
"""

from __future__ import annotations

import argparse
import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import aiohttp

from bench.support import loaded_database, processes
from bench.support.figures import Figure, table, timed
from bench.support.furnishing import furnish
from bench.support.installation import ADMIN, PASSWORD, installed, settings_at, temporary_directory
from bench.support.loaded_database import Loaded
from bench.support.pages import Address, addresses
from bench.support.plans import RecordingTx, Statement, explain
from bench.support.progress import progress, say
from tocsin.app.work import App
from tocsin.store.database import Database, Tx
from tocsin.web.server import serve

GOAL_MS = 50.0
LEAST_REPETITIONS = 5


class UnansweredError(Exception):
    """A page was not shown."""


class RecordingDatabase(Database):
    """A database of which every transaction remembers what it was asked to run."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.statements: list[Statement] = []

    @asynccontextmanager
    async def transaction(self, *, streaming: bool = False) -> AsyncIterator[Tx]:
        """Open one."""
        async with self._database.transaction(streaming=streaming) as tx:
            recorded = RecordingTx(tx.connection)
            yield recorded
            self.statements += recorded.statements


@asynccontextmanager
async def browser(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Sign in, and give what is signed in."""
    # The session's cookie belongs to an address, not to a name.
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(url, cookie_jar=jar) as http:
        said = {"email": ADMIN, "password": PASSWORD, "next": "/"}
        async with http.post("/sign-in", data=said, allow_redirects=False) as response:
            if response.status != 303:
                raise SystemExit(f"The sign-in answered {response.status}")
        yield http


async def get(http: aiohttp.ClientSession, path: str) -> None:
    """Ask for a page."""
    async with http.get(path, allow_redirects=False) as response:
        body = await response.read()
        if response.status != 200:
            raise UnansweredError(f"GET {path} answered {response.status}: {body[:500]!r}")


async def measure_pages(url: str, asked: Sequence[Address], repetitions: int) -> list[Figure]:
    """Time each page on one connection kept alive; the baseline is /healthz, which asks no database."""
    async with browser(url) as http:
        baseline = await timed("GET /healthz", 100, lambda _: get(http, "/healthz"))
        figures = [baseline]
        with progress("Pages", len(asked)) as advance:
            for one in asked:

                async def run(number: int, one: Address = one) -> None:
                    await get(http, one.at(number))

                try:
                    figure = await timed(one.name, repetitions, run, baseline=baseline, goal_ms=GOAL_MS)
                except UnansweredError as error:
                    say(str(error))
                    figure = Figure(one.name, [math.inf], baseline, GOAL_MS)
                figures.append(figure)
                advance(1)
    return figures


async def explain_pages(app: App, asked: Sequence[Address]) -> list[str]:
    """Explain every reading statement of every page; return what reads a whole table of history."""
    recording, stop = RecordingDatabase(app.database), asyncio.Event()
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server = asyncio.create_task(
        serve(replace(app, database=recording), stop, host="127.0.0.1", port=0, on_ready=ready.set_result)
    )
    found: list[str] = []
    try:
        async with browser(await ready) as http:
            for one in asked:
                recording.statements.clear()
                with suppress(UnansweredError):  # said when it was measured
                    await get(http, one.at(1))
                async with app.database.single() as tx:
                    tx.connection.prepare_threshold = None  # what is explained without parameters cannot be prepared
                    found += await whole_tables(tx, one, tuple(recording.statements))
    finally:
        stop.set()
        await server
    return found


async def whole_tables(tx: Tx, address: Address, statements: Sequence[Statement]) -> list[str]:
    """Return which of the statements read a table of the history from end to end."""
    found = []
    for statement in statements:
        title, _, text = statement.query.decode().removeprefix("-- ").partition("\n")
        if text.lstrip().upper().startswith(("SELECT", "WITH", "(SELECT")) and "INSERT" not in text:
            for plan in await explain(tx, statement):
                found += [f"{address.name}: Seq Scan on {name} for {plan.kind}: {title}" for name in plan.whole_tables]
    return found


async def measure(directory: Path, loaded: Loaded, repetitions: int, only: str) -> int:
    """Measure and explain; return the exit code."""
    clock = processes.StandingClock(loaded.loaded_at)
    async with installed(settings_at(directory), clock) as installation:
        sources, settings = installation.sources, installation.app.settings
        with processes.running(processes.web, sources, settings, clock) as (url, _):
            everything = addresses(loaded.population, await furnish(installation, url, loaded.population))
            asked = [one for one in everything if only in one.name]
            figures = await measure_pages(url, asked, repetitions)
        size = loaded.population
        print(f"{size.incidents:,} incidents, {size.open:,} of them open\n")
        print(table("Pages, one connection", figures), "\n", flush=True)
        whole = await explain_pages(installation.app, asked)
    print(*whole, "" if whole else "No table of the history is read from end to end.", sep="\n")
    return 1 if whole or any(figure.missed for figure in figures) else 0


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python3 dev.py bench console_pages",
        description="Times and explains every page of the console, over the database of the benchmark at_scale. "
        "Exit code 1: a goal is missed, a page has no address, or a table of the history is read from end to end.",
    )
    parser.add_argument("--incidents", type=int, default=1_000_000, help="how many (default: %(default)s)")
    parser.add_argument("--open", type=int, default=100_000, help="how many of them are open (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=20, help="of each page, 5 or more (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the pages whose name has this in it")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the database in DIR and leave it, or use it")
    arguments = parser.parse_args()
    if not 0 < arguments.open <= arguments.incidents // 2 or arguments.repetitions < LEAST_REPETITIONS:
        parser.error("--open must be at most half of --incidents, --repetitions 5 or more")
    with nullcontext(arguments.keep) if arguments.keep else temporary_directory() as directory:
        loaded = loaded_database.prepare(directory, arguments.incidents, arguments.open)
        return asyncio.run(measure(directory, loaded, arguments.repetitions, arguments.only))


if __name__ == "__main__":
    raise SystemExit(main())
