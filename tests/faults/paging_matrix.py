"""A worker is killed at every point of its work: whatever the point, each page that is owed arrives, at most twice.

    python -m tests.faults.paging_matrix

The points are those that `mortal` counts in an undisturbed run: before and after each COMMIT, before and after each
sending; and between the two, the instant at which the receiver has the page and has not answered. At each of them the
process is killed, or its connection to the database cut; then another worker goes on, a minute and more later. Every
attempt that began is a row in the end, also the one that was cut short.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import psycopg
from pydantic import SecretStr

from tests.conftest import ADMIN_EMAIL, ADMIN_PASSWORD
from tests.faults.forks import forks
from tests.faults.journal import lines
from tests.faults.mortal import End, Fate, work_once, wrapped
from tests.faults.page_reckoning import Pages, reckon_pages, what_is_owed
from tests.support import reached
from tests.support.clock import START, FakeClock
from tests.support.databases import clone, prepare_template
from tests.support.reasons import check_reasons
from tests.support.receivers import GONE, Answer, Receivers, receiving
from tests.support.servers import Server, embedded_server, temporary_directory
from tests.support.wiring import wired
from tocsin.address_guard import parse_networks
from tocsin.app import accounts
from tocsin.app.open_incident import open_by_hand
from tocsin.app.work import App
from tocsin.bootstrap import outbound_channels
from tocsin.domain.access import Actor, Role
from tocsin.domain.incident import Severity
from tocsin.domain.policy import Duty
from tocsin.settings import Settings
from tocsin.worker.run import run_due

ONCALL = "olga@example.org"
LATER = timedelta(hours=1, seconds=1)
"""After the incident: its first pages have not gone out, and its first timer is due."""
LEASE_OVER = timedelta(seconds=51)
BEGUN = ("deliver: after COMMIT", "bundle: after COMMIT")
"""Where the beginning of an attempt is committed, if there is something to send, and nothing sent."""
MOST_LOOKS = 14
"""Looks of the worker that goes on, a lease apart: retries and bundles included, all is sent by then."""
PROCESS_SECONDS = 60.0

Prepare = Callable[[App, Actor, Receivers], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scene:
    """A database in which pages are owed, made once and cloned for each run, and how its receivers answer."""

    server: Server
    database: str
    receivers: Receivers
    directory: Path
    answers: Mapping[str, Sequence[Answer]] = field(default_factory=dict)

    def settings(self, database: str) -> Settings:
        """Return the settings of a worker in one clone."""
        values: dict[str, object] = {
            "database_url": SecretStr(self.server.conninfo(database, user="tocsin_app")),
            "secret_key": "a secret key for the tests, long enough",
            "bootstrap_email": ADMIN_EMAIL,
            "bootstrap_password": ADMIN_PASSWORD,
            "public_url": "http://tocsin.test",
            "webhook_allowed_networks": parse_networks("127.0.0.0/8"),
            "delivery_timeout": 3.0,
            "_env_file": None,
        }
        return Settings(**(values | self.receivers.settings()))  # type: ignore[arg-type]  # pydantic's own types


@dataclass(frozen=True, slots=True)
class Run:
    """One run: at which point it ended, and what became of the pages."""

    point: str
    pages: Pages


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What happens when nobody is killed: the points, and the pages that are owed in the end."""

    points: tuple[str, ...]
    sendings: int
    owed: tuple[object, ...]


@asynccontextmanager
async def scene(server: Server, receivers: Receivers, name: str) -> AsyncIterator[Scene]:
    """Give the scene of one of the STORIES, in a clone of its own."""
    story, answers = STORIES[name]
    with clone(server) as database, temporary_directory() as directory:
        made = Scene(server, database, receivers, directory, answers)
        await _prepare(made, story)
        yield made


async def two_ways(app: App, admin: Actor, receivers: Receivers) -> None:
    """Let somebody be on call who is reached by mail and by webhook; an incident, and nobody has worked since."""
    async with app.work() as work:
        await accounts.add_user(work, admin, email=ONCALL, name="Olga", role=Role.RESPONDER, password=None)
        await reached.also_by(work, ONCALL, "webhook", receivers.url)
        await accounts.assign_duty(work, admin, Duty.ON_CALL, ONCALL)
        await open_by_hand(work, admin, severity=Severity.HIGH, title="It broke", description="")


async def dead_address(app: App, admin: Actor, receivers: Receivers) -> None:
    """Let the on-call be reached by nothing but a webhook that is gone: others have to be told."""
    await two_ways(app, admin, receivers)
    async with app.work() as work:
        await reached.no_more_by(work, admin, ONCALL, "email", ONCALL)


STORIES: Mapping[str, tuple[Prepare, Mapping[str, Sequence[Answer]]]] = {
    "two ways": (two_ways, {}),
    "dead address": (dead_address, {"webhook": [GONE] * 100}),
}


async def _prepare(made: Scene, story: Prepare) -> None:
    """Write a story into the scene's database."""
    async with wired(made.settings(made.database), FakeClock()) as app:
        async with app.work() as work:
            await accounts.first_start(work)
        await story(app, await _admin(app), made.receivers)


async def _admin(app: App) -> Actor:
    async with app.work() as work:
        return (await accounts.find_user(work, ADMIN_EMAIL)).actor()


async def undisturbed(made: Scene) -> Undisturbed:
    """Let a worker work to its end, and count the points that it passes."""
    made.receivers.forget()
    with clone(made.server, made.database) as database:
        points = await _live(made, database, 0, End.KILL)
        sendings = len(made.receivers.arrivals)
        await _go_on(made, database)
        with psycopg.connect(made.server.conninfo(database)) as connection:
            pages = reckon_pages(connection, made.receivers.times(), ends=0)
            _check_attempts(made, database, pages, "nowhere")
            return Undisturbed(tuple(points), sendings, what_is_owed(connection))


async def ended_at(made: Scene, expected: Undisturbed, point: str, end: End) -> Run | None:
    """End a worker at a point, let another go on, and hold the pages against those of the undisturbed run.

    Jobs that are due at one instant are claimed in any order, some of them together: a run may have fewer points of a
    name than another, and so not this one. Then return None.
    """
    made.receivers.forget()
    with clone(made.server, made.database) as database:
        points = await _live(made, database, point, end)
        if point not in points:
            return None
        return Run(point, await _settled(made, database, expected, point))


async def ended_while_sending(made: Scene, expected: Undisturbed, at: int) -> Run | None:
    """Kill the worker when the receiver has the page of this number and has not answered; None: it never came to it."""
    made.receivers.forget()
    with clone(made.server, made.database) as database:
        process = _process(made, database, 0, End.KILL)

        def kill() -> None:
            if len(made.receivers.arrivals) == at:
                process.kill()

        made.receivers.on_arrival = kill
        await asyncio.to_thread(process.join, PROCESS_SECONDS)
        _check_end(process, must_die=len(made.receivers.arrivals) >= at)
        made.receivers.on_arrival = lambda: None
        if not process.exitcode:
            return None
        point = f"page {at} taken, not answered"
        return Run(point, await _settled(made, database, expected, point))


async def _settled(made: Scene, database: str, expected: Undisturbed, point: str) -> Pages:
    await _go_on(made, database)
    with psycopg.connect(made.server.conninfo(database)) as connection:
        pages = reckon_pages(connection, made.receivers.times(), ends=1)
        owed = what_is_owed(connection)
        assert owed == expected.owed, f"other pages are owed than without the end: {set(owed) ^ set(expected.owed)}"
        _check_attempts(made, database, pages, point)
        return pages


def _check_attempts(made: Scene, database: str, pages: Pages, point: str) -> None:
    """Assert that each attempt that began is a row, and no row is of one that did not.

    When its beginning is committed the channel is called, which both workers note. Who is ended between the two has
    called none; nor has one that found nothing to send, of which there is no row, and so none without an answer.
    """
    called = sum(": before sending " in line for line in lines(_journal(made, database)))
    begun = called + (pages.cut_short if point.startswith(BEGUN) else 0)
    assert pages.attempts == begun, f"{begun} attempts began, {pages.attempts} are rows"


async def _live(made: Scene, database: str, at: int | str, end: End) -> list[str]:
    """Run a mortal worker in a process of its own; return the points that it reached."""
    process = _process(made, database, at, end)
    await asyncio.to_thread(process.join, PROCESS_SECONDS)
    points = lines(_journal(made, database))
    _check_end(process, must_die=end is End.KILL and at in points)
    return points


def _process(made: Scene, database: str, at: int | str, end: End) -> BaseProcess:
    for channel, answers in made.answers.items():
        made.receivers.answers[channel] = list(answers)
    arguments = (made.settings(database), START + LATER, _journal(made, database), at, end)
    process = forks().Process(target=work_once, args=arguments, daemon=True)
    process.start()
    return process


def _journal(made: Scene, database: str) -> Path:
    return made.directory / f"{database}.journal"


def _check_end(process: BaseProcess, *, must_die: bool) -> None:
    assert process.exitcode == (-signal.SIGKILL if must_die else 0), f"the worker ended with {process.exitcode}"


async def _go_on(made: Scene, database: str) -> None:
    """Let another worker go on until nothing is owed, at most for MOST_LOOKS leases."""
    clock = FakeClock(START + LATER)
    settings = made.settings(database)
    with _journal(made, database).open("ab") as journal:
        async with wired(settings, clock) as app, outbound_channels(settings) as channels:
            noting = wrapped(channels, Fate(journal.fileno(), 0))
            for _ in range(MOST_LOOKS):
                clock.now += LEASE_OVER
                await run_due(app, noting)
            await check_reasons(app, await _admin(app))


@dataclass(slots=True)
class Tally:
    """How many runs there were of each kind of end; how many pages arrived twice in them, and what was cut short."""

    runs: int = 0
    pages: int = 0
    twice: int = 0
    attempts: int = 0
    cut_short: int = 0
    seconds: float = 0.0
    points: list[str] = field(default_factory=list)

    def add(self, run: Run | None) -> None:
        """Count a run that came to its end."""
        if run is None:
            return
        self.runs += 1
        self.pages += run.pages.delivered
        self.twice += run.pages.twice
        self.attempts += run.pages.attempts
        self.cut_short += run.pages.cut_short
        self.points.append(run.point)


def points_of(expected: Undisturbed, end: End) -> list[str]:
    """Return the points at which this can happen: only at a commit is there a connection to cut."""
    return [point for point in expected.points if end is End.KILL or "COMMIT" in point]


async def every_end(made: Scene) -> dict[str, Tally]:
    """End a worker at every point there is, in every way; return what came of it."""
    expected = await undisturbed(made)
    tallies = {name: Tally() for name in ("kill", "cut", "kill while sending")}
    for end in End:
        began = time.monotonic()
        for point in points_of(expected, end):
            tallies[end.value].add(await ended_at(made, expected, point, end))
        tallies[end.value].seconds = round(time.monotonic() - began, 1)
    began = time.monotonic()
    for at in range(1, expected.sendings + 1):
        tallies["kill while sending"].add(await ended_while_sending(made, expected, at))
    tallies["kill while sending"].seconds = round(time.monotonic() - began, 1)
    return tallies


async def _main(server: Server) -> dict[str, object]:
    told: dict[str, object] = {}
    async with receiving() as receivers:
        for name in STORIES:
            async with scene(server, receivers, name) as made:
                told[name] = {end: asdict(tally) for end, tally in (await every_end(made)).items()}
    return told


def main() -> None:
    """Do everything, and print it as JSON."""
    argparse.ArgumentParser(prog="tests.faults.paging_matrix").parse_args()
    with embedded_server() as server:
        prepare_template(server)
        with redirect_stdout(sys.stderr):  # where this process's own worker says what happens to it
            told = asyncio.run(_main(server))
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
