"""A database that hangs: its connections stay open, and it says nothing, not even that it failed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import INTAKE_KEY, settings_of
from tests.embedded.observed import processes
from tests.support.clock import FakeClock
from tests.support.databases import TEMPLATE, prepare_template
from tests.support.servers import FAST, Server, temporary_directory
from tests.support.wiring import wired
from tests.web.conftest import Answer, Live, rows, serving
from tocsin import embedded
from tocsin.app import lanes, projects, take_in
from tocsin.app.accounts import first_start
from tocsin.settings import Settings
from tocsin.store import database

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

HOLD_SECONDS = 3.0
ANSWER_SECONDS = 5.0
POOL_TIMEOUT_SECONDS = 4.0
LATE_SECONDS = 2.0
"""What a busy machine may add."""
REPORT = {"severity": "error", "message": "x"}


@pytest.fixture
def place() -> Iterator[Path]:
    """Where a database server of this test alone lies: the others' must not be stopped."""
    with temporary_directory() as path:
        yield path


@pytest.fixture
def stoppable(place: Path) -> Iterator[Server]:
    """That server, with a migrated database."""
    with embedded.use(place, settings=FAST) as running:
        server = Server(running.socket_dir, running.port, running.superuser)
        prepare_template(server)
        yield server


@pytest.fixture
async def live(stoppable: Server, settings_elsewhere: Settings, clock: FakeClock) -> AsyncIterator[Live]:
    """A web server on it."""
    async with wired(settings_of(settings_elsewhere, stoppable, TEMPLATE), clock) as app:
        async with app.work() as work:
            await first_start(work)
        async with serving(app) as live:
            yield live


@contextmanager
def hanging(place: Path) -> Iterator[None]:
    """Stop every process of the server while the block runs."""
    stopped = [pid for pid, line in processes(place).items() if "embedded.keeper" not in line]
    assert len(stopped) > 3
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (lanes, projects, take_in):
        monkeypatch.setattr(module, "HOLD_SECONDS", HOLD_SECONDS)
    monkeypatch.setattr(database, "ANSWER_SECONDS", ANSWER_SECONDS)
    monkeypatch.setattr(database, "POOL_TIMEOUT_SECONDS", POOL_TIMEOUT_SECONDS)


async def _report(live: Live, number: int, key: str = INTAKE_KEY) -> Answer:
    return await live.call("POST", "/api/v1/errors", token=key, json=REPORT | {"eventId": f"{number:032x}"})


async def test_whoever_reports_to_a_database_that_hangs_is_told_in_time_and_nothing_is_lost(
    live: Live, place: Path
) -> None:
    assert (await _report(live, 0)).status in (200, 201, 202)
    with hanging(place):
        began = time.monotonic()
        async with asyncio.timeout(10 * HOLD_SECONDS):
            answers = await asyncio.gather(*(_report(live, n) for n in range(1, 20)), _report(live, 20, key="f" * 32))
        took = time.monotonic() - began
    assert {(answer.status, answer.code) for answer in answers} == {(503, "UNAVAILABLE")}
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
    assert HOLD_SECONDS - 0.1 < took < HOLD_SECONDS + LATE_SECONDS
    again = await asyncio.gather(*(_report(live, n) for n in range(1, 20)))
    assert {answer.status for answer in again} == {(await _report(live, 21)).status}
    assert await rows(live.app, b"SELECT count(*) FROM audit_logs") == [(21,)]
    (tally,) = (await live.get("/api/intake/ledger?projectId=1")).json["projects"]
    assert tally["difference"] == 0


async def test_a_connection_on_which_nothing_comes_is_given_up(live: Live, place: Path) -> None:
    assert (await live.get("/api/incidents")).status == 200
    with hanging(place):
        began = time.monotonic()
        async with asyncio.timeout(10 * ANSWER_SECONDS):
            answer = await live.get("/api/incidents")
        took = time.monotonic() - began
        assert (answer.status, answer.code) == (503, "UNAVAILABLE")
        # Then the access is to be recorded, for which a connection is looked for in vain.
        assert ANSWER_SECONDS - 0.1 < took < ANSWER_SECONDS + POOL_TIMEOUT_SECONDS + LATE_SECONDS
        assert (await _report(live, 0)).status == 503
    assert (await live.get("/api/incidents")).status == 200
    assert (await _report(live, 0)).status in (200, 201, 202)
