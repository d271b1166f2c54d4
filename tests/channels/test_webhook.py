"""Webhooks against real HTTP receivers: what they answer, and what becomes of it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from uuid import UUID

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

import tocsin
from tests.channels.peers import FixedResolver, answering, raw_peer, receiver
from tocsin.address_guard import AddressGuard, parse_networks
from tocsin.channels import Delivered, Message, Rejected, Retry
from tocsin.channels.http import MAX_REQUEST_BYTES, GuardedHttp, retry_after_seconds, signature
from tocsin.channels.webhook import SecretFor, WebhookChannel

pytestmark = pytest.mark.anyio

LOOPBACK = AddressGuard(parse_networks("127.0.0.0/8"))
SECRET = b"0123456789abcdef0123456789abcdef"
NOON = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)


def keyed(_address: str) -> bytes | None:
    return SECRET


def unsigned(_address: str) -> bytes | None:
    return None


@asynccontextmanager
async def webhooks(
    guard: AddressGuard, secret_for: SecretFor, *, timeout_seconds: float = 5, resolver: FixedResolver | None = None
) -> AsyncIterator[WebhookChannel]:
    async with GuardedHttp(guard, timeout_seconds=timeout_seconds, resolver=resolver) as http:
        yield WebhookChannel(http, secret_for)


@pytest.fixture
async def channel() -> AsyncIterator[WebhookChannel]:
    async with webhooks(LOOPBACK, keyed) as opened:
        yield opened


async def test_request_carries_the_payload_and_who_sends_it(channel: WebhookChannel, message: Message) -> None:
    seen: list[tuple[web.Request, bytes]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append((request, await request.read()))
        return web.Response(text="thanks")

    async with receiver(answer) as url:
        assert await channel.send(url, message) == Delivered("200 OK thanks")
    [(request, body)] = seen
    assert request.method == "POST"
    assert json.loads(body) == message.payload
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"] == f"tocsin/{tocsin.__version__}"
    assert request.headers["Idempotency-Key"] == str(message.notification_id)


async def test_receiver_can_verify_the_signature(channel: WebhookChannel, message: Message) -> None:
    verified: list[bool] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        signed = b".".join(
            (
                request.headers["webhook-id"].encode(),
                request.headers["webhook-timestamp"].encode(),
                await request.read(),
            )
        )
        version, _, given_signature = request.headers["webhook-signature"].partition(",")
        expected = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
        verified.append(version == "v1" and given_signature == expected)
        assert request.headers["webhook-timestamp"] == str(int(message.sent_at.timestamp()))
        return web.Response(status=204)

    async with receiver(answer) as url:
        assert await channel.send(url, message) == Delivered("204 No Content")
    assert verified == [True]


def test_signature_equals_the_published_vector() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert (
        signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


async def test_second_attempt_has_the_same_id_and_body_and_its_own_time(
    channel: WebhookChannel, message: Message
) -> None:
    seen: list[tuple[str, str, bytes]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        headers = request.headers
        seen.append((headers["webhook-id"], headers["webhook-timestamp"], await request.read()))
        return web.Response(status=500 if len(seen) == 1 else 200)

    async with receiver(answer) as url:
        assert isinstance(await channel.send(url, message), Retry)
        later = replace(message, sent_at=message.sent_at + timedelta(minutes=7))
        assert isinstance(await channel.send(url, later), Delivered)
    first, second = seen
    assert (first[0], first[2]) == (second[0], second[2])
    assert int(second[1]) - int(first[1]) == 7 * 60


async def test_receiver_without_a_secret_gets_no_signature(message: Message) -> None:
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return web.Response()

    async with receiver(answer) as url, webhooks(LOOPBACK, unsigned) as channel:
        await channel.send(url, message)
    assert "webhook-signature" not in seen[0].headers


async def test_every_address_is_signed_with_its_own_key(message: Message) -> None:
    asked: list[str] = []

    def secret_for(address: str) -> bytes | None:
        asked.append(address)
        return SECRET

    async with answering(200) as url, webhooks(LOOPBACK, secret_for) as channel:
        await channel.send(url, message)
    assert asked == [url]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_success_is_delivered(channel: WebhookChannel, message: Message, status: int) -> None:
    async with answering(status) as url:
        assert isinstance(await channel.send(url, message), Delivered)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 413, 422, 451])
async def test_refusal_is_final_and_quoted(channel: WebhookChannel, message: Message, status: int) -> None:
    async with answering(status, "no such hook") as url:
        outcome = await channel.send(url, message)
    assert isinstance(outcome, Rejected)
    assert outcome.answer.startswith(f"{status} ")
    assert outcome.answer.endswith("no such hook")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_passing_trouble_is_tried_again(channel: WebhookChannel, message: Message, status: int) -> None:
    async with answering(status, "later") as url:
        outcome = await channel.send(url, message)
    assert isinstance(outcome, Retry)
    assert outcome.after_seconds is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_named_and_not_followed(channel: WebhookChannel, message: Message, status: int) -> None:
    requests = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal requests
        requests += 1
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    async with receiver(answer) as url:
        outcome = await channel.send(url, message)
    assert outcome == Rejected(f"{status}: the receiver redirects to /elsewhere; set the address to where it really is")
    assert requests == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_in_seconds_is_honoured(channel: WebhookChannel, message: Message, status: int) -> None:
    async with answering(status, headers={"Retry-After": "120"}) as url:
        outcome = await channel.send(url, message)
    assert isinstance(outcome, Retry)
    assert outcome.after_seconds == 120.0


async def test_retry_after_as_a_date_is_measured_on_the_receivers_clock(
    channel: WebhookChannel, message: Message
) -> None:
    wrong_clock = datetime(2031, 1, 1, tzinfo=UTC)
    headers = {
        "Date": format_datetime(wrong_clock, usegmt=True),
        "Retry-After": format_datetime(wrong_clock + timedelta(seconds=90), usegmt=True),
    }
    async with answering(429, headers=headers) as url:
        outcome = await channel.send(url, message)
    assert isinstance(outcome, Retry)
    assert outcome.after_seconds == 90.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 17 ", 17.0),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("9" * 5000, 3600.0),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("Sat, 01 Mar 2025 12:01:00 GMT", 60.0),
        ("Saturday, 01-Mar-25 12:01:00 GMT", 60.0),
        ("Sat Mar  1 12:01:00 2025", 60.0),
        ("Sat, 01 Mar 2025 11:59:00 GMT", 0.0),
        ("Sun, 02 Mar 2025 12:00:00 GMT", 3600.0),
        ("Sat, 32 Mar 2025 12:01:00 GMT", None),
        ("Sat, 01 Mar 2025 12:01:00 +99999999999999", None),
    ],
)
def test_retry_after_is_read_in_every_form_and_bounded(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, NOON) == seconds


@given(st.text(max_size=60))
def test_no_retry_after_can_break_the_reader(value: str) -> None:
    seconds = retry_after_seconds(value, datetime(2025, 3, 1, 13, 0, tzinfo=timezone(timedelta(hours=1))))
    assert seconds is None or 0.0 <= seconds <= 3600.0


async def test_refused_connection_is_tried_again(channel: WebhookChannel, message: Message) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        outcome = await channel.send(f"http://127.0.0.1:{unused.getsockname()[1]}/", message)
    assert isinstance(outcome, Retry)
    assert "no answer from 127.0.0.1:" in outcome.answer


async def test_hanging_receiver_is_given_up_in_time(message: Message) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with raw_peer(hang) as port, webhooks(LOOPBACK, keyed, timeout_seconds=0.1) as channel:
        async with asyncio.timeout(3):
            outcome = await channel.send(f"http://127.0.0.1:{port}/", message)
    assert outcome == Retry(f"no answer from 127.0.0.1:{port} within 0.1 seconds")


async def test_dripping_headers_are_given_up_in_time(message: Message) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X: y\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with raw_peer(drip) as port, webhooks(LOOPBACK, keyed, timeout_seconds=0.2) as channel:
        async with asyncio.timeout(3):
            assert isinstance(await channel.send(f"http://127.0.0.1:{port}/", message), Retry)


async def test_accepted_page_is_delivered_although_the_body_never_ends(message: Message) -> None:
    async def promise_more(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\naccepted")
        await writer.drain()
        await asyncio.Event().wait()

    async with raw_peer(promise_more) as port, webhooks(LOOPBACK, keyed, timeout_seconds=0.2) as channel:
        async with asyncio.timeout(3):
            outcome = await channel.send(f"http://127.0.0.1:{port}/", message)
    assert outcome == Delivered("200 OK accepted (the body did not end in time)")


async def test_accepted_page_is_delivered_although_the_body_breaks_off(
    channel: WebhookChannel, message: Message
) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\naccepted")
        await writer.drain()

    async with raw_peer(break_off) as port:
        outcome = await channel.send(f"http://127.0.0.1:{port}/", message)
    assert isinstance(outcome, Delivered)
    assert "the body broke off" in outcome.answer


async def test_reset_connection_is_tried_again(channel: WebhookChannel, message: Message) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        writer.transport.abort()

    async with raw_peer(reset) as port:
        assert isinstance(await channel.send(f"http://127.0.0.1:{port}/", message), Retry)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 banana\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: banana\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"\x16\x03\x01\x00\x00",
    ],
    ids=["nothing", "blank", "ssh", "status", "length", "long header", "many headers", "tls"],
)
async def test_peer_that_speaks_no_http_is_tried_again(
    channel: WebhookChannel, message: Message, answer: bytes
) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with raw_peer(babble) as port:
        assert isinstance(await channel.send(f"http://127.0.0.1:{port}/", message), Retry)


async def test_receiver_without_tls_behind_https_is_tried_again(channel: WebhookChannel, message: Message) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with raw_peer(plain) as port:
        assert isinstance(await channel.send(f"https://127.0.0.1:{port}/", message), Retry)


async def test_endless_body_is_cut_and_not_waited_for(channel: WebhookChannel, message: Message) -> None:
    written = 0

    async def pour(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        try:
            while written < 1 << 30:
                await response.write(b"x" * 65536)
                written += 65536
        except ConnectionError:
            assert written < 1 << 30
        return response

    async with receiver(pour) as url:
        outcome = await channel.send(url, message)
    assert isinstance(outcome, Delivered)
    assert len(outcome.answer) == 500
    assert written < 64 << 20


async def test_answers_control_characters_are_cleaned(channel: WebhookChannel, message: Message) -> None:
    async with answering(400, "a\x1b[31m\r\nb\x00c") as url:
        assert await channel.send(url, message) == Rejected("400 Bad Request a [31m b c")


async def test_payload_beyond_the_bound_is_rejected_and_one_within_is_sent(
    channel: WebhookChannel, message: Message
) -> None:
    frame = len(b'{"x":""}')
    async with answering(200) as url:
        fits = replace(message, payload={"x": "a" * (MAX_REQUEST_BYTES - frame)})
        assert isinstance(await channel.send(url, fits), Delivered)
        larger = replace(message, payload={"x": "a" * (MAX_REQUEST_BYTES - frame + 1)})
        outcome = await channel.send(url, larger)
    assert isinstance(outcome, Rejected)
    assert "at most 262144" in outcome.answer


async def test_payload_of_dates_and_ids_becomes_json(channel: WebhookChannel, message: Message) -> None:
    bodies: list[object] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.json())
        return web.Response()

    async with receiver(answer) as url:
        await channel.send(url, replace(message, payload={"at": NOON, "id": UUID(int=1)}))
    assert bodies == [{"at": "2025-03-01T12:00:00Z", "id": str(UUID(int=1))}]


async def test_loopback_is_refused_unless_allowed(message: Message) -> None:
    requests = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal requests
        requests += 1
        return web.Response()

    async with receiver(answer) as url, webhooks(AddressGuard(), keyed) as channel:
        for address in (url, url.replace("127.0.0.1", "localhost"), url.replace("127.0.0.1", "127.1")):
            assert isinstance(await channel.send(address, message), Rejected)
    assert requests == 0


async def test_name_that_resolves_inside_is_rejected_with_the_address(message: Message) -> None:
    resolver = FixedResolver(["10.0.0.1"])
    async with webhooks(AddressGuard(), keyed, resolver=resolver) as channel:
        outcome = await channel.send("http://innocent.example/", message)
    assert isinstance(outcome, Rejected)
    assert "innocent.example leads inside: the address 10.0.0.1 is inside" in outcome.answer


async def test_name_rebound_to_the_inside_between_two_pages_is_refused(message: Message) -> None:
    requests = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal requests
        requests += 1
        return web.Response()

    # 127.0.0.1 plays the outside here, 127.0.0.2 the inside: the same receiver listens to both.
    guard = AddressGuard(parse_networks("127.0.0.1"))
    resolver = FixedResolver(["127.0.0.1"], ["127.0.0.2"])
    async with receiver(answer) as url, webhooks(guard, keyed, resolver=resolver) as channel:
        address = url.replace("127.0.0.1", "rebinding.example")
        assert isinstance(await channel.send(address, message), Delivered)
        assert isinstance(await channel.send(address, message), Rejected)
    assert requests == 1
    assert resolver.asked == ["rebinding.example", "rebinding.example"]


async def test_connection_goes_to_the_permitted_address_of_a_mixed_answer(message: Message) -> None:
    guard = AddressGuard(parse_networks("127.0.0.1"))
    resolver = FixedResolver(["10.0.0.1", "127.0.0.1", "169.254.169.254"])
    async with answering(200) as url, webhooks(guard, keyed, resolver=resolver, timeout_seconds=5) as channel:
        outcome = await channel.send(url.replace("127.0.0.1", "mixed.example"), message)
    assert isinstance(outcome, Delivered)


async def test_name_that_does_not_exist_is_tried_again(message: Message) -> None:
    async with webhooks(AddressGuard(), keyed, resolver=FixedResolver([])) as channel:
        assert isinstance(await channel.send("http://gone.example/", message), Retry)


async def test_proxy_of_the_environment_is_not_used(
    channel: WebhookChannel, message: Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    async with answering(200) as url:
        assert isinstance(await channel.send(url, message), Delivered)


async def test_receivers_cookie_is_not_carried_to_the_next_page(channel: WebhookChannel, message: Message) -> None:
    cookies: list[str | None] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        cookies.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "a=b"})

    async with receiver(answer) as url:
        await channel.send(url, message)
        await channel.send(url, message)
    assert cookies == [None, None]


async def test_cancelled_send_leaves_nothing_open(message: Message) -> None:
    connected = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()

    async with raw_peer(hang) as port, webhooks(LOOPBACK, keyed) as channel:
        sending = asyncio.create_task(channel.send(f"http://127.0.0.1:{port}/", message))
        await connected.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


@pytest.mark.slow
async def test_many_pages_at_once_all_arrive(channel: WebhookChannel, message: Message) -> None:
    async with answering(200) as url:
        outcomes = await asyncio.gather(*(channel.send(url, message) for _ in range(150)))
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)


async def test_closed_connections_may_be_closed_again_and_open_anew(message: Message) -> None:
    http = GuardedHttp(LOOPBACK)
    channel = WebhookChannel(http, keyed)
    await http.close()
    async with answering(200) as url:
        assert isinstance(await channel.send(url, message), Delivered)
        await http.close()
        await http.close()
        assert isinstance(await channel.send(url, message), Delivered)
    await http.close()
