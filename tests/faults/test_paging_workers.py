"""Two, four and eight workers; they are killed, the database goes away, the clock steps: each page arrives."""

from __future__ import annotations

import asyncio
import random
import time

import psycopg
import pytest

from tests.faults.fleet import LOOK_SECONDS
from tests.faults.stage import staged, until
from tests.support.receivers import HANGS, Answer
from tests.support.servers import Server

pytestmark = pytest.mark.anyio

INCIDENTS = 12
SEED = 20_261_128
STEP_SECONDS = 51.0
"""A lease and the doubt about it are over after two of these."""
UNDER_WAY = 16
"""How many pages a worker sends at once, each of which may come twice when it is ended."""
FLEETS = [2, pytest.param(4, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.slow)]
_END_CONNECTIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", FLEETS)
async def test_workers_that_share_the_work_send_each_page_once(server: Server, workers: int) -> None:
    async with staged(server, [0] * workers) as stage:
        await stage.running.until_begun()
        for number in range(INCIDENTS):
            await stage.open(f"Failure {number}")
        await stage.running.until_nothing_is_owed(step_seconds=0.0)
        pages = stage.reckoned(ends=0)
    assert pages.delivered >= 2 * INCIDENTS
    assert pages.twice == 0


@pytest.mark.parametrize("workers", FLEETS)
async def test_workers_that_die_at_any_point_lose_no_page(server: Server, workers: int) -> None:
    chance = random.Random(f"{SEED} {workers}")
    async with staged(server, [chance.randrange(10, 60) for _ in range(workers)]) as stage:
        for number in range(INCIDENTS):
            await stage.open(f"Failure {number}")
        while stage.running.ends < workers:
            stage.running.replace_the_dead()
            await asyncio.sleep(LOOK_SECONDS)
        await stage.running.until_nothing_is_owed(step_seconds=STEP_SECONDS)
        pages = stage.reckoned(ends=workers * UNDER_WAY)
    assert stage.running.ends == workers
    assert pages.delivered >= 2 * INCIDENTS


@pytest.mark.slow
async def test_the_database_is_gone_while_pages_are_under_way_and_each_arrives(server: Server) -> None:
    async with staged(server, [0, 0]) as stage:
        stage.receivers.answers["webhook"] = [Answer(200, wait_seconds=0.5)] * 4
        for number in range(4):
            await stage.open(f"Failure {number}")
        await until(lambda: len(stage.receivers.arrivals) > 2)
        with psycopg.connect(stage.superuser, autocommit=True) as connection:
            assert len(connection.execute(_END_CONNECTIONS).fetchall()) > 2
        await stage.running.until_nothing_is_owed(step_seconds=STEP_SECONDS)
        # What was under way may be sent once more: the marks were lost, not the pages.
        pages = stage.reckoned(ends=UNDER_WAY)
    assert pages.delivered >= 8


@pytest.mark.slow
@pytest.mark.parametrize("hours", [1, -1])
async def test_a_clock_that_steps_while_a_page_is_under_way_neither_loses_nor_doubles_it(
    server: Server, hours: int
) -> None:
    async with staged(server, [0, 0]) as stage:
        await stage.begin_anew()
        stage.receivers.answers["webhook"] = [Answer(200, wait_seconds=1.0)]
        await stage.open("While the clock steps")
        await until(lambda: any(arrival.channel == "webhook" for arrival in stage.receivers.arrivals))
        stage.running.clock.step(hours=hours)
        stage.running.call()
        await until(lambda: len(stage.receivers.arrivals) >= 2)
        await stage.running.until_nothing_is_owed(step_seconds=STEP_SECONDS)
        times = stage.receivers.times()
    assert len(times) >= 2
    assert set(times.values()) == {1}


@pytest.mark.slow
async def test_a_receiver_that_hangs_holds_up_no_other(server: Server) -> None:
    async with staged(server, [0]) as stage:
        await stage.begin_anew()
        stage.receivers.answers["webhook"] = [HANGS] * 20
        began = time.monotonic()
        await stage.open("Behind one that hangs")
        await until(lambda: any(arrival.channel == "email" for arrival in stage.receivers.arrivals))
        assert time.monotonic() - began < 2.5, "it waited until the other was given up"
