"""ntfy: a receiver that checks what is published against ntfy's documented format, as its server does."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tests.channels.conftest import MESSAGE
from tests.channels.peers import answering, receiver
from tocsin.address_guard import AddressGuard, parse_networks
from tocsin.channels import Delivered, Message, Outcome, Rejected
from tocsin.channels.http import GuardedHttp
from tocsin.channels.ntfy import NtfyChannel, Topic

pytestmark = pytest.mark.anyio

LOOPBACK = AddressGuard(parse_networks("127.0.0.0/8"))
TOPIC = re.compile(r"[-_A-Za-z0-9]{1,64}")
FIELDS = {"topic": str, "title": str, "message": str, "priority": int, "tags": list, "click": str, "actions": list}
FIELDS["sequence_id"] = str


@dataclass
class Server:
    """ntfy's JSON door: POST on the root, limits and answers as docs.ntfy.sh and its errors list say."""

    token: str = ""
    url: str = ""
    published: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)

    async def publish(self, request: web.Request) -> web.StreamResponse:
        self.authorizations.append(request.headers.get("Authorization"))
        document = json.loads(await request.read())
        for refused, code, error in self._rules(request, document):
            if refused:
                return web.json_response({"code": code, "http": code // 100, "error": error}, status=code // 100)
        self.published.append(document)
        return web.json_response({"id": "hwQ2YpKdmg", "event": "message", "topic": document["topic"]})

    def _rules(self, request: web.Request, document: dict[str, Any]) -> Iterator[tuple[bool, int, str]]:
        yield self.token not in ("", request.headers.get("Authorization")), 40301, "forbidden"
        yield request.path != "/" or bool(request.query_string), 40401, "page not found"
        mistyped = any(not isinstance(value, FIELDS[name]) for name, value in document.items())
        yield mistyped, 40017, "invalid request: request body must be message JSON"
        yield not TOPIC.fullmatch(document["topic"]), 40009, "invalid request: topic invalid"
        yield not 1 <= document["priority"] <= 5, 40007, "invalid priority parameter"
        sizes = len(document["message"].encode()), len(document["title"].encode()), len(str(document["tags"]))
        yield any(size > most for size, most in zip(sizes, (4096, 1024, 512), strict=True)), 40057, "too large"
        wrong = any(
            action["action"] != "view" or not action["label"] or not action["url"]
            for action in document.get("actions", [])
        )
        yield wrong, 40018, "invalid request: actions invalid"


@asynccontextmanager
async def ntfy(token: str = "") -> AsyncIterator[Server]:
    server = Server(token)
    async with receiver(server.publish) as url:
        server.url = url.removesuffix("/hook")
        yield server


async def send(address: str, message: Message = MESSAGE) -> Outcome:
    async with GuardedHttp(LOOPBACK) as http:
        return await NtfyChannel(http).send(address, message)


async def test_page_is_published_with_what_a_phone_needs() -> None:
    async with ntfy() as server:
        outcome = await send(f"{server.url}/oncall-7f3a")
    assert isinstance(outcome, Delivered)
    assert "hwQ2YpKdmg" in outcome.answer
    [published] = server.published
    assert published == {
        "topic": "oncall-7f3a",
        "title": MESSAGE.subject,
        "message": MESSAGE.text,
        "priority": 5,
        "tags": ["rotating_light"],
        "click": MESSAGE.url,
        "actions": [{"action": "view", "label": "Acknowledge", "url": MESSAGE.acknowledge_url, "clear": True}],
        "sequence_id": str(MESSAGE.notification_id),
    }


@pytest.mark.parametrize(("severity", "priority"), [("CRITICAL", 5), ("HIGH", 4), ("MEDIUM", 3), ("LOW", 2), ("", 3)])
async def test_severity_decides_how_loud_it_is(severity: str, priority: int) -> None:
    async with ntfy() as server:
        await send(f"{server.url}/t", replace(MESSAGE, severity=severity))
    assert server.published[0]["priority"] == priority


AUTH = base64.urlsafe_b64encode(b"Bearer tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2").decode()


@pytest.mark.parametrize(
    ("user", "query", "header"),
    [
        ("tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2@", "", "Bearer tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2"),
        (":tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2@", "", "Bearer tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2"),
        ("phil:p%40ss@", "", "Basic " + base64.b64encode(b"phil:p@ss").decode()),
        ("", f"?auth={AUTH}", "Bearer tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2"),
        ("", f"?auth={AUTH.rstrip('=')}", "Bearer tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2"),
    ],
)
async def test_token_of_the_address_becomes_a_header(user: str, query: str, header: str) -> None:
    async with ntfy(header) as server:
        address = server.url.replace("//", f"//{user}") + f"/oncall{query}"
        assert isinstance(await send(address), Delivered)
    assert server.authorizations == [header]


async def test_wrong_token_is_final_and_not_repeated_in_the_answer() -> None:
    async with ntfy("Bearer right") as server:
        outcome = await send(server.url.replace("//", "//tk_wrongwrong@") + "/oncall")
    assert isinstance(outcome, Rejected)
    assert "forbidden" in outcome.answer
    assert "tk_wrongwrong" not in outcome.answer


async def test_server_below_a_path_is_posted_to_below_that_path() -> None:
    assert Topic.of("https://example.org/push/oncall") == Topic("https://example.org/push/", "oncall", None)


async def test_limit_reached_is_quoted() -> None:
    said = '{"code":42908,"http":429,"error":"limit reached: too many messages"}'
    async with answering(429, said) as url:
        assert "too many messages" in (await send(url)).answer


@pytest.mark.parametrize("address", ["https://example.org", "https://example.org/", "https://[::1", "ntfy"])
async def test_address_without_a_topic_is_rejected(address: str) -> None:
    assert isinstance(await send(address), Rejected)


@given(st.text(max_size=80))
def test_no_address_can_break_the_reader(text: str) -> None:
    topic = Topic.of(f"https://{text}")
    assert topic is None or topic.name
    Topic.of(f"https://x.example/t?auth={text}")
