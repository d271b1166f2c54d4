"""The server itself: where it listens, how it starts, and how it stops."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from tempfile import TemporaryFile

import aiohttp
import pytest

from tests.conftest import ADMIN_TOKEN
from tests.web.conftest import finish, start
from tocsin.app.work import App
from tocsin.errors import Code, TocsinError
from tocsin.web.listener import listen
from tocsin.web.metrics import Metrics
from tocsin.web.server import serve_on
from tocsin.web.shares import Shares, make_shares

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


@asynccontextmanager
async def sharing(app: App, shares: Shares) -> AsyncIterator[socket.socket]:
    """Let a server accept, and give its listener, as another process of it has it."""
    listener = await listen("127.0.0.1", 0)
    another, stop, ready = listener.dup(), asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(serve_on(listener, app, stop, Metrics(), ready.set, shares))
    await ready.wait()
    with another:
        yield another
        stop.set()
        await serving


async def answers(line: socket.socket, seconds: float = 10.0) -> bool:
    """Tell whether a server answers on a connection in time."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(line, b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n")
    with suppress(TimeoutError):
        return (await asyncio.wait_for(loop.sock_recv(line, 100), seconds)).startswith(b"HTTP/1.1 200")
    return False


class Lines:
    """Clients that say what they are told to, and hear what they are answered."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self.address, self.all = (host, int(port)), ExitStack()

    async def line(self, said: bytes = b"") -> socket.socket:
        line = self.all.enter_context(socket.socket())
        line.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(line, self.address)
        await loop.sock_sendall(line, said)
        return line


async def say(line: socket.socket, said: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(line, said)


async def say_often(line: socket.socket, said: bytes) -> None:
    for _ in range(1_000):
        await say(line, said)
        await asyncio.sleep(0.001)


async def heard(line: socket.socket) -> bytes:
    """Return everything up to the end, which the server makes."""
    pieces = []
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            while piece := await asyncio.get_running_loop().sock_recv(line, 65_536):
                pieces.append(piece)
    return b"".join(pieces)


@asynccontextmanager
async def lines_to(app: App) -> AsyncIterator[Lines]:
    """Start a server, and give clients that may do to it whatever they like."""
    running = await start(app)
    lines = Lines(running.url)
    with lines.all:
        yield lines
    await finish(running)


HALF = b"POST /api/v1/errors HTTP/1.1\r\nHost: t\r\n"
SLOW = b"POST /api/auth/sign-in HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{"


@pytest.mark.parametrize("piece", [b"X-A: " + b"a" * 10_000, b"X-A: b\r\n" * 1_250], ids=["one line", "many lines"])
async def test_a_head_has_a_length(app: App, piece: bytes) -> None:
    async with lines_to(app) as lines:
        endless = await lines.line(HALF)
        with pytest.raises(ConnectionError):
            await say_often(endless, piece)
        head, _, body = (await heard(await lines.line(HALF + b"X-A: " + b"a" * 70_000))).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 413 ")
        assert b"application/problem+json" in head
        assert json.loads(body)["limitBytes"] == 65_536


async def test_what_is_no_http_is_refused_as_a_problem(app: App) -> None:
    async with lines_to(app) as lines:
        head, _, body = (await heard(await lines.line(b"what?\r\n\r\n"))).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert json.loads(body)["code"] == Code.MALFORMED


async def test_a_head_does_not_take_for_ever_but_a_body_may(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tocsin.web.server.HEAD_PATIENCE_SECONDS", 0.5)
    async with lines_to(app) as lines:
        silent, half, slow = await lines.line(), await lines.line(HALF), await lines.line(SLOW)
        assert await heard(silent) == b""
        assert (await heard(half)).startswith(b"HTTP/1.1 400 ")
        await asyncio.sleep(1.2)
        await say(slow, b"}")
        assert (await heard(slow)).startswith(b"HTTP/1.1 415 ")


async def test_who_lets_a_head_wait_makes_room_for_those_who_do_not(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tocsin.web.server.MAX_CONNECTIONS", 8)
    monkeypatch.setattr("tocsin.web.server.MADE_ROOM", 2)
    async with lines_to(app) as lines:
        halves = [await lines.line(HALF) for _ in range(30)]
        for _ in range(10):
            assert await answers(await lines.line())
        assert (await heard(halves[0])).startswith(b"HTTP/1.1 400 "), "who waited longest"


async def test_a_request_under_way_keeps_its_place_and_who_comes_waits(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.web.server.MAX_CONNECTIONS", 3)
    async with lines_to(app) as lines:
        under_way = [await lines.line(SLOW) for _ in range(3)]
        await asyncio.sleep(0.1)
        late = asyncio.create_task(answers(await lines.line()))
        await asyncio.sleep(0.3)
        assert not late.done()
        for line in under_way:
            await say(line, b"}")
        assert await late
        for line in under_way:
            assert (await heard(line)).startswith(b"HTTP/1.1 415 ")


@pytest.mark.slow
async def test_a_connection_is_left_to_the_process_that_has_fewer_for_a_while(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.web.server.PATIENCE_SECONDS", 1.0)
    with TemporaryFile() as file:
        make_shares(2, file.fileno())
        ours, others = Shares(file.fileno(), 0), Shares(file.fileno(), 1)
        others.tell(0)
        async with sharing(app, ours) as another, AsyncExitStack() as lines:

            async def connected() -> socket.socket:
                line = lines.enter_context(socket.socket())
                line.setblocking(False)
                await asyncio.get_running_loop().sock_connect(line, another.getsockname())
                return line

            assert await answers(await connected()), "both had none"
            left = await connected()
            assert not await answers(left, 0.2), "the other has fewer"
            another.accept()[0].close()  # so it takes it
            others.tell(1)
            assert await answers(await connected()), "both have one"
            others.tell(0)
            unwanted = await connected()
            assert await answers(unwanted), "nobody took it, so we do"
