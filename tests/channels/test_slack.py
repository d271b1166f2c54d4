"""Slack: the blocks and their limits, and how its answers are sorted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tests.channels.conftest import MESSAGE
from tests.channels.peers import answering, receiver
from tocsin.address_guard import AddressGuard, parse_networks
from tocsin.channels import Delivered, Message, Outcome, Rejected, Retry
from tocsin.channels.http import GuardedHttp
from tocsin.channels.slack import SlackChannel, content
from tocsin.channels.slack_app import SlackAppChannel

pytestmark = pytest.mark.anyio

LOOPBACK = AddressGuard(parse_networks("127.0.0.0/8"))
TOKEN = "xoxb-the-secret-token"


async def by_webhook(url: str, message: Message) -> Outcome:
    async with GuardedHttp(LOOPBACK) as http:
        return await SlackChannel(http).send(url, message)


async def by_app(url: str, message: Message, *, interactive: bool = False) -> Outcome:
    async with GuardedHttp(LOOPBACK) as http:
        return await SlackAppChannel(http, url, TOKEN, interactive=interactive).send("C024BE91L", message)


@asynccontextmanager
async def slack(seen: list[tuple[web.Request, dict[str, Any]]], **answer: object) -> AsyncIterator[str]:
    async def respond(request: web.Request) -> web.StreamResponse:
        seen.append((request, await request.json()))
        return web.json_response(answer or {"ok": True, "channel": "C024BE91L", "ts": "1503435956.000247"})

    async with receiver(respond) as url:
        yield url


def buttons(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        button["text"]["text"]: button
        for block in document["blocks"]
        if block["type"] == "actions"
        for button in block["elements"]
    }


async def test_webhook_message_tells_what_happened_and_links_to_the_acknowledgment() -> None:
    seen: list[tuple[web.Request, dict[str, Any]]] = []
    async with slack(seen) as url:
        assert isinstance(await by_webhook(url, MESSAGE), Delivered)
    [(_, document)] = seen
    assert document["text"] == MESSAGE.subject
    texts = json.dumps(document["blocks"], ensure_ascii=False)
    assert "Severity: CRITICAL" in texts
    assert "INC-42" in texts
    assert MESSAGE.title in texts
    shown = buttons(document)
    assert shown["Acknowledge"]["url"] == MESSAGE.acknowledge_url
    assert shown["Open"]["url"] == MESSAGE.url
    assert "value" not in shown["Acknowledge"]


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (400, "invalid_payload"),
        (400, "user_not_found"),
        (403, "action_prohibited"),
        (404, "no_service"),
        (404, "channel_not_found"),
        (410, "channel_is_archived"),
    ],
)
async def test_word_with_which_a_webhook_refuses_is_final_and_recorded(status: int, word: str) -> None:
    async with answering(status, word) as url:
        outcome = await by_webhook(url, MESSAGE)
    assert isinstance(outcome, Rejected)
    assert outcome.answer.endswith(word)


async def test_rollup_error_is_tried_again() -> None:
    async with answering(500, "rollup_error") as url:
        assert isinstance(await by_webhook(url, MESSAGE), Retry)


async def test_app_posts_as_the_bot_to_the_channel_under_the_notifications_id() -> None:
    seen: list[tuple[web.Request, dict[str, Any]]] = []
    async with slack(seen) as url:
        assert await by_app(url, MESSAGE) == Delivered("200 ok C024BE91L 1503435956.000247")
    [(request, document)] = seen
    assert request.path == "/hook/chat.postMessage"
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert document["channel"] == "C024BE91L"
    assert document["client_msg_id"] == str(MESSAGE.notification_id)
    assert document["metadata"]["event_payload"] == {"notification_id": str(MESSAGE.notification_id)}


@pytest.mark.parametrize("interactive", [True, False])
async def test_button_comes_back_to_us_only_if_clicks_can_be_verified(interactive: bool) -> None:
    seen: list[tuple[web.Request, dict[str, Any]]] = []
    async with slack(seen) as url:
        await by_app(url, MESSAGE, interactive=interactive)
    button = buttons(seen[0][1])["Acknowledge"]
    if interactive:
        assert (button["action_id"], button["value"]) == ("acknowledge", str(MESSAGE.notification_id))
        assert "url" not in button
    else:
        assert button["action_id"] != "acknowledge"
        assert button["url"] == MESSAGE.acknowledge_url


def test_message_about_no_incident_has_nothing_to_acknowledge() -> None:
    plain = replace(MESSAGE, incident_number=None, severity="", title="", url="", acknowledge_url="")
    assert buttons(content(plain, interactive=True)) == {}


@pytest.mark.parametrize(
    "error", ["channel_not_found", "not_in_channel", "is_archived", "msg_too_long", "invalid_blocks", "user_not_found"]
)
async def test_error_about_the_message_or_its_address_is_final(error: str) -> None:
    async with slack([], ok=False, error=error) as url:
        assert await by_app(url, MESSAGE) == Rejected(f"Slack refuses the message: {error}")


@pytest.mark.parametrize(
    "error",
    ["ratelimited", "internal_error", "fatal_error", "service_unavailable", "invalid_auth", "token_revoked", "new_one"],
)
async def test_error_that_passes_or_that_the_operator_mends_is_tried_again(error: str) -> None:
    async with slack([], ok=False, error=error) as url:
        outcome = await by_app(url, MESSAGE)
    assert isinstance(outcome, Retry)
    assert error in outcome.answer
    assert TOKEN not in outcome.answer


async def test_missing_scope_is_named() -> None:
    async with slack([], ok=False, error="missing_scope", needed="chat:write") as url:
        assert (await by_app(url, MESSAGE)).answer == "Slack answers missing_scope (the scope chat:write is missing)"


@pytest.mark.parametrize("said", ["", "<html>welcome to the wifi</html>", "[]", "{}", '{"ok": "yes"}', "[" * 50_000])
async def test_success_that_is_not_slacks_is_no_delivery(said: str) -> None:
    async with answering(200, said) as url:
        assert isinstance(await by_app(url, MESSAGE), Retry)


async def test_answer_that_repeats_a_long_message_is_still_read() -> None:
    async with slack([], ok=True, channel="C1", message={"blocks": ["x" * 100_000]}, ts="1.2") as url:
        assert await by_app(url, MESSAGE) == Delivered("200 ok C1 1.2")


def test_text_of_a_report_mentions_nobody() -> None:
    document = content(replace(MESSAGE, subject="<!channel> & <@U1>", text="<!here> *bold*", title="<!everyone>"))
    assert document["text"] == "&lt;!channel&gt; &amp; &lt;@U1&gt;"
    assert "mrkdwn" not in json.dumps(document)


@given(
    subject=st.text(st.characters(exclude_categories=["Cs"]), max_size=5000),
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=5000),
    url=st.sampled_from(["", "https://x.example/" + "u" * 10, "https://x.example/" + "u" * 5000]),
)
def test_blocks_keep_block_kits_limits(subject: str, text: str, url: str) -> None:
    document: Any = content(replace(MESSAGE, subject=subject, text=text, url=url, acknowledge_url=url))
    assert len(document["blocks"]) <= 50
    for block in document["blocks"]:
        if block["type"] == "header":
            assert 1 <= len(block["text"]["text"]) <= 150
        if block["type"] == "section" and "text" in block:
            assert 1 <= len(block["text"]["text"]) <= 3000
        for button in block.get("elements", []):
            assert len(button["text"]["text"]) <= 75
            assert len(button["url"]) <= 3000
