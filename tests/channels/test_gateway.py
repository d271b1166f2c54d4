"""The gateway for SMS and calls: what it is told, and the example of the reference, run as it is printed."""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tests.channels.conftest import MESSAGE
from tests.channels.peers import receiver
from tocsin.address_guard import AddressGuard, parse_networks
from tocsin.channels import Delivered, Message, Outcome, Rejected, Retry
from tocsin.channels.gateway import GatewayChannel, Kind, short_text, spoken_text
from tocsin.channels.http import GuardedHttp

pytestmark = pytest.mark.anyio

LOOPBACK = AddressGuard(parse_networks("127.0.0.0/8"))
NUMBER = "+4915112345678"
KEY = b"0123456789abcdef0123456789abcdef"
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "gateway.md"


async def send(url: str, message: Message, kind: Kind = Kind.SMS, key: bytes = KEY) -> Outcome:
    async with GuardedHttp(LOOPBACK, timeout_seconds=5) as http:
        return await GatewayChannel(http, url, key, kind).send(NUMBER, message)


@pytest.mark.parametrize("kind", list(Kind))
async def test_gateway_is_told_what_to_say_to_whom(kind: Kind) -> None:
    seen: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(await request.json())
        return web.Response(status=202)

    async with receiver(answer) as url:
        assert await send(url, MESSAGE, kind) == Delivered("202 Accepted ")
    assert seen == [
        {
            "id": str(MESSAGE.notification_id),
            "kind": kind.value,
            "to": NUMBER,
            "text": short_text(MESSAGE) if kind is Kind.SMS else spoken_text(MESSAGE),
            "incident": {"number": 42, "severity": "CRITICAL", "url": MESSAGE.url},
        }
    ]


def test_sms_has_the_subject_and_the_acknowledge_link() -> None:
    assert short_text(MESSAGE) == f"{MESSAGE.subject} {MESSAGE.acknowledge_url}"


def test_voice_says_the_number_digit_by_digit_and_again() -> None:
    spoken = spoken_text(replace(MESSAGE, incident_number=1042, title="the database is down"))
    assert spoken == (
        "This is Tocsin. Critical incident number 1, 0, 4, 2: the database is down. "
        "I repeat: incident number 1, 0, 4, 2. Please acknowledge it."
    )


def test_voice_spells_the_code_of_a_message_about_no_incident() -> None:
    told = replace(MESSAGE, incident_number=None, severity="", title="", subject="Your code is 12345678")
    assert spoken_text(told) == "This is Tocsin. Your code is 1, 2, 3, 4, 5, 6, 7, 8"


@given(
    subject=st.text(max_size=600),
    link=st.sampled_from(["", "https://t.example/a/" + "x" * 43, "https://t/" + "x" * 400]),
)
def test_sms_is_one_bounded_line_with_a_whole_link_or_none(subject: str, link: str) -> None:
    text = short_text(replace(MESSAGE, subject=subject, url="", acknowledge_url=link))
    assert len(text) <= 320
    assert len(text.splitlines()) <= 1
    assert link in text or "https://t" not in text or "https://t" in subject


@given(title=st.text(max_size=600), number=st.integers(1, 10**9))
def test_spoken_text_is_one_bounded_line(title: str, number: int) -> None:
    text = spoken_text(replace(MESSAGE, title=title, incident_number=number))
    assert len(text) <= 600
    assert text.endswith("Please acknowledge it.")


@asynccontextmanager
async def example_gateway(changed: str = "", port: int = 0) -> AsyncIterator[tuple[str, asyncio.StreamReader]]:
    """Run the reference's example, with `send` replaced by `changed` if given."""
    [program] = re.findall(r"```python\n(.*?)```", REFERENCE.read_text(), re.DOTALL)
    program = program.replace('"8421"', '"0"')
    program = program.replace(".serve_forever()", ".serve_forever()  # ")
    program = re.sub(
        r"    ThreadingHTTPServer\((.*)\)\.serve_forever\(\).*",
        r"    server = ThreadingHTTPServer(\1)\n    print(server.server_port, flush=True)\n    server.serve_forever()",
        program,
    )
    program = program.replace("class Gateway", f"{changed}\n\nclass Gateway")
    environment = {**os.environ, "GATEWAY_SECRET": "whsec_" + base64.b64encode(KEY).decode()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        listening = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{listening}/", process.stdout
    finally:
        process.kill()
        await process.wait()


def now(message: Message, number: int = 1) -> Message:
    return replace(message, notification_id=UUID(int=number), sent_at=datetime.now(UTC))


def test_the_reference_tells_how_the_example_gets_its_secret() -> None:
    assert 'hmac.digest(key.encode(), url.encode(), "sha256")' in REFERENCE.read_text()
    assert hmac.digest(KEY, b"http://x/", "sha256")


async def test_example_of_the_reference_sends_each_message_once() -> None:
    async with asyncio.timeout(20), example_gateway() as (url, said):
        for _ in range(2):
            assert isinstance(await send(url, now(MESSAGE)), Delivered)
        assert isinstance(await send(url, now(MESSAGE, 2), Kind.VOICE), Delivered)
        assert (await said.readline()).decode().startswith(f"sms {NUMBER} [CRITICAL] INC-42")
        assert (await said.readline()).decode().startswith(f"voice {NUMBER} This is Tocsin.")


async def test_example_of_the_reference_refuses_wrong_numbers_for_good_and_strangers() -> None:
    refusing = "def send(kind, number, text):\n    raise ValueError(number)"
    async with asyncio.timeout(20), example_gateway(refusing) as (url, _):
        assert isinstance(await send(url, now(MESSAGE)), Rejected)
        stranger = await send(url, now(MESSAGE), key=b"x" * 32)
        old = await send(url, replace(now(MESSAGE), sent_at=datetime.now(UTC) - timedelta(minutes=10)))
    for refused in (stranger, old):
        assert isinstance(refused, Retry)
        assert refused.answer.startswith("the gateway answers 401")
