"""The server itself: where it listens, how it starts, and how it stops."""

from __future__ import annotations

import asyncio
import signal

import aiohttp
import pytest

from tests.conftest import ADMIN_TOKEN
from tests.web.conftest import finish, start
from tocsin.app.work import App
from tocsin.errors import Code, TocsinError

pytestmark = pytest.mark.anyio


async def test_a_taken_port_is_said_to_be_taken(app: App) -> None:
    running = await start(app)
    port = int(running.url.rpartition(":")[2])
    try:
        with pytest.raises(TocsinError) as refused:
            await start(app, port=port)
    finally:
        await finish(running)
    assert refused.value.refusal.code is Code.MISCONFIGURED
    assert str(port) in refused.value.refusal.message
    assert "TOCSIN_PORT" in refused.value.refusal.hint
    again = await start(app, port=port)
    await finish(again)


async def test_an_address_that_is_not_ours_is_refused(app: App) -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(TocsinError) as refused:
            await start(app, host=host)
        assert refused.value.refusal.code is Code.MISCONFIGURED


async def test_every_address_is_reported_as_one_that_can_be_opened(app: App) -> None:
    running = await start(app, host="0.0.0.0")
    async with aiohttp.ClientSession() as http, http.get(f"{running.url}/healthz") as answer:
        assert answer.status == 200
    await finish(running)
    assert running.url.startswith("http://127.0.0.1:")


async def test_signals_stay_with_the_caller(app: App) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    running = await start(app)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    await finish(running)


async def test_what_is_under_way_is_answered_before_the_server_stops(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    from tocsin.app import read_incidents

    entered, leave = asyncio.Event(), asyncio.Event()
    stats = read_incidents.stats

    async def slow(*arguments: object) -> object:
        entered.set()
        await leave.wait()
        return await stats(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(read_incidents, "stats", slow)
    running = await start(app)
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        request = asyncio.create_task(http.get(f"{running.url}/api/incidents/stats"))
        await entered.wait()
        running.stop.set()
        await asyncio.sleep(0.2)  # until the server has noticed: it looks ten times a second
        leave.set()
        answer = await request
        assert answer.status == 200
        answer.release()
    await running.task
