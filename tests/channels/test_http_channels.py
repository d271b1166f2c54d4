"""What every channel over HTTP promises, whichever format it speaks, against receivers that behave badly."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tests.channels.conftest import MESSAGE
from tests.channels.peers import FixedResolver, answering, raw_peer, receiver
from tocsin.address_guard import AddressGuard, parse_networks
from tocsin.channels import Channel, Delivered, Message, Outcome, Rejected, Retry
from tocsin.channels.gateway import GatewayChannel, Kind
from tocsin.channels.http import GuardedHttp
from tocsin.channels.ntfy import NtfyChannel
from tocsin.channels.slack import SlackChannel
from tocsin.channels.slack_app import SlackAppChannel
from tocsin.channels.webhook import WebhookChannel

pytestmark = pytest.mark.anyio

LOOPBACK = AddressGuard(parse_networks("127.0.0.0/8"))


@dataclass(frozen=True)
class Peer:
    """How a channel is aimed at a receiver: `operators` ones have its URL from the settings."""

    name: str
    build: Callable[[GuardedHttp, str], Channel]
    address: str | None
    accepted: str

    @property
    def operators(self) -> bool:
        return self.address is not None

    async def send(self, url: str, message: Message, guard: AddressGuard = LOOPBACK, **options: Any) -> Outcome:
        async with GuardedHttp(guard, **{"timeout_seconds": 5, **options}) as http:
            return await self.build(http, url).send(self.address or url, message)


PEERS = [
    Peer("webhook", lambda http, _: WebhookChannel(http, lambda _: b"k" * 32), None, "thanks"),
    Peer("slack", lambda http, _: SlackChannel(http), None, "ok"),
    Peer("ntfy", lambda http, _: NtfyChannel(http), None, '{"id": "x"}'),
    Peer(
        "slack_app",
        lambda http, url: SlackAppChannel(http, url, "xoxb-1", interactive=False),
        "C024BE91L",
        '{"ok": true, "channel": "C024BE91L", "ts": "1.2"}',
    ),
    Peer("gateway", lambda http, url: GatewayChannel(http, url, b"k" * 32, Kind.SMS), "+4915112345678", "queued"),
]
every_channel = pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)


@every_channel
async def test_accepted_page_is_delivered(message: Message, peer: Peer) -> None:
    async with answering(200, peer.accepted) as url:
        assert isinstance(await peer.send(url, message), Delivered)


@every_channel
@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_passing_trouble_is_tried_again_after_the_time_that_the_receiver_names(
    message: Message, peer: Peer, status: int
) -> None:
    async with answering(status, "later", {"Retry-After": "120"}) as url:
        named = await peer.send(url, message)
    async with answering(status, "later") as url:
        unnamed = await peer.send(url, message)
    assert isinstance(named, Retry)
    assert named.after_seconds == 120.0
    assert isinstance(unnamed, Retry)
    assert unnamed.after_seconds is None


@every_channel
@pytest.mark.parametrize("status", [400, 410, 413, 422])
async def test_refusal_of_the_message_is_final(message: Message, peer: Peer, status: int) -> None:
    async with answering(status, "no") as url:
        outcome = await peer.send(url, message)
    # Slack's API says with 200 and `ok: false` what is wrong with a message; a status is about the API's address.
    assert isinstance(outcome, Retry if peer.name == "slack_app" else Rejected)


@every_channel
@pytest.mark.parametrize("status", [401, 403, 404])
async def test_refusal_of_the_sender_is_final_where_the_address_is_a_persons_and_tried_again_where_it_is_the_operators(
    message: Message, peer: Peer, status: int
) -> None:
    async with answering(status, "no") as url:
        outcome = await peer.send(url, message)
    assert isinstance(outcome, Retry if peer.operators else Rejected)


@every_channel
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirect_is_not_followed(message: Message, peer: Peer, status: int) -> None:
    requests = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal requests
        requests += 1
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    async with receiver(answer) as url:
        outcome = await peer.send(url, message)
    assert not isinstance(outcome, Delivered)
    assert requests == 1


@every_channel
async def test_hanging_receiver_is_given_up_in_time(message: Message, peer: Peer) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with raw_peer(hang) as port, asyncio.timeout(3):
        outcome = await peer.send(f"http://127.0.0.1:{port}/hook", message, timeout_seconds=0.1)
    assert outcome == Retry(f"no answer from 127.0.0.1:{port} within 0.1 seconds")


@pytest.mark.slow
@every_channel
async def test_slow_receiver_is_waited_for(message: Message, peer: Peer) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return web.Response(text=peer.accepted)

    async with receiver(answer) as url:
        assert isinstance(await peer.send(url, message), Delivered)


@every_channel
async def test_refused_connection_is_tried_again(message: Message, peer: Peer) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        outcome = await peer.send(f"http://127.0.0.1:{unused.getsockname()[1]}/hook", message)
    assert isinstance(outcome, Retry)


@every_channel
async def test_giant_answer_is_cut_and_not_waited_for(message: Message, peer: Peer) -> None:
    written = 0

    async def pour(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while written < 1 << 30:
                await response.write(b"x" * 65536)
                written += 65536
        except ConnectionError:
            assert written < 1 << 30
        return response

    async with receiver(pour) as url:
        outcome = await peer.send(url, message)
    assert len(outcome.answer) == 500
    assert written < 64 << 20


@every_channel
@pytest.mark.parametrize("inside", ["127.0.0.1", "localhost", "127.1"])
async def test_inside_is_refused_unless_allowed(message: Message, peer: Peer, inside: str) -> None:
    requests = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal requests
        requests += 1
        return web.Response(text=peer.accepted)

    async with receiver(answer) as url:
        outcome = await peer.send(url.replace("127.0.0.1", inside), message, AddressGuard())
    assert isinstance(outcome, Retry if peer.operators else Rejected)
    assert requests == 0


@every_channel
async def test_name_that_leads_inside_is_refused(message: Message, peer: Peer) -> None:
    outcome = await peer.send(
        "http://innocent.example/hook", message, AddressGuard(), resolver=FixedResolver(["10.0.0.1"])
    )
    assert isinstance(outcome, Retry if peer.operators else Rejected)
    assert "innocent.example leads inside" in outcome.answer


@every_channel
async def test_long_texts_become_a_message_that_is_taken(message: Message, peer: Peer) -> None:
    bodies: list[bytes] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.read())
        return web.Response(text=peer.accepted)

    long = replace(
        message, subject="s" * 5000, text="Zeile äöü 支払い\n" * 5000, title="t" * 5000, url="https://x/" + "u" * 5000
    )
    async with receiver(answer) as url:
        assert isinstance(await peer.send(url, long), Delivered)
    assert len(bodies[0]) < 20_000


@given(body=st.binary(max_size=300), status=st.sampled_from([200, 201, 400, 429, 500]))
def test_no_answer_can_break_a_channel(body: bytes, status: int) -> None:
    async def scenario() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()

        async with raw_peer(answer) as port:
            for peer in PEERS:
                await peer.send(f"http://127.0.0.1:{port}/hook", MESSAGE)

    asyncio.run(scenario())
