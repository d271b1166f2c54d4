"""Clicks in Slack: signed and fresh, in the name of who clicked, and the message is updated over Slack alone."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from aiohttp import web
from pydantic import SecretStr

from tests.support.clock import FakeClock
from tests.web.conftest import Answer, Live, rows
from tocsin.app import accounts, slack_clicks
from tocsin.app.work import App
from tocsin.domain.access import Actor, Role
from tocsin.settings import Settings

pytestmark = pytest.mark.anyio

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
PATH = "/api/v1/slack/interactions"
NOOR, SAM = "U0NOOR", "U0SAM"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Slack calls back in these tests, and lives on loopback."""
    update = {"slack_signing_secret": SecretStr(SECRET), "webhook_allowed_networks": (ip_network("127.0.0.0/8"),)}
    return settings.model_copy(update=update)


@dataclass(slots=True)
class Slack:
    """Where Slack takes replies."""

    url: str = ""
    replies: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)

    async def take(self, request: web.Request) -> web.Response:
        await self.replies.put(await request.json())
        return web.Response(text="ok")

    async def reply(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            return await self.replies.get()


@pytest.fixture
async def slack(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Slack]:
    """A receiver on loopback in the place of hooks.slack.com."""
    receiver = Slack()
    application = web.Application()
    application.router.add_post("/actions/{rest:.*}", receiver.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"{site.name}/actions/T0/1"
    monkeypatch.setattr(slack_clicks, "REPLIES_TO", f"{site.name}/")
    yield receiver
    await runner.cleanup()


async def _person(app: App, admin: Actor, name: str, slack_id: str, *, verified: bool, role: Role) -> None:
    async with app.work() as work:
        email = f"{name.lower()}@example.org"
        user_id = await accounts.add_user(work, admin, email=email, name=name, role=role, password=None)
        contact = {"id": work.new_id(), "user_id": user_id, "address": slack_id, "now": work.now}
        await work.tx.run(
            b"INSERT INTO contact_methods (id, user_id, channel, address, created_at, verified_at)"
            b" VALUES (%(id)s, %(user_id)s, 'slack_app', %(address)s, %(now)s, CASE WHEN "
            + (b"true" if verified else b"false")
            + b" THEN %(now)s END)",
            contact,
        )


@pytest.fixture
async def page(live: Live, admin: Actor) -> UUID:
    """A page about INC-1 that went to a Slack channel; Noor verified her id there, Sam did not."""
    await _person(live.app, admin, "Noor", NOOR, verified=True, role=Role.RESPONDER)
    await _person(live.app, admin, "Sam", SAM, verified=False, role=Role.RESPONDER)
    await _person(live.app, admin, "Dee", "U0DEE", verified=True, role=Role.AUDITOR)
    await live.open_incident()
    async with live.app.work() as work:
        await work.tx.run(b"UPDATE notifications SET channel = 'slack_app', address = 'C0INCIDENTS'")
    ((page_id,),) = await rows(live.app, b"SELECT id FROM notifications")
    return UUID(str(page_id))


def _payload(page: UUID | str, who: str, url: str, action: str = "acknowledge") -> dict[str, Any]:
    blocks = [{"type": "section", "text": {"type": "plain_text", "text": "It broke"}}, {"type": "actions"}]
    return {
        "type": "block_actions",
        "user": {"id": who, "username": "whoever"},
        "actions": [{"action_id": action, "value": str(page), "type": "button"}],
        "response_url": url,
        "message": {"text": "It broke", "blocks": blocks},
    }


async def click(live: Live, clock: FakeClock, payload: object, **changes: str) -> Answer:
    """Click as Slack would tell us."""
    body = urlencode({"payload": json.dumps(payload)}).encode()
    timestamp = changes.get("timestamp", str(int(clock.now.timestamp())))
    signed = b"v0:%s:%s" % (timestamp.encode(), body)
    signature = "v0=" + hmac.new(changes.get("secret", SECRET).encode(), signed, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": changes.get("signature", signature),
    }
    return await live.call("POST", PATH, data=body, headers=headers)


async def _status(live: Live) -> str:
    ((status,),) = await rows(live.app, b"SELECT status FROM incident_heads")
    return str(status)


async def test_a_click_acknowledges_in_the_name_of_who_clicked_and_the_message_says_so(
    live: Live, clock: FakeClock, slack: Slack, page: UUID
) -> None:
    answer = await click(live, clock, _payload(page, NOOR, slack.url))
    assert (answer.status, answer.body) == (200, b"")
    reply = await slack.reply()
    assert reply["replace_original"] is True
    assert [block["type"] for block in reply["blocks"]] == ["section", "section"]
    assert reply["text"] == "INC-1: acknowledged by Noor, 2026-03-01 03:00:00 UTC."
    found = await rows(
        live.app,
        b"SELECT u.name, a.action, a.status, a.outcome, a.credential FROM audit_access_log a"
        b" JOIN users u ON u.id = a.user_id WHERE a.credential = 'slack'",
    )
    assert found == [("Noor", f"POST {PATH}", 200, "OK", "slack")]
    clock.forward(minutes=1)
    await click(live, clock, _payload(page, NOOR, slack.url))
    assert (await slack.reply())["text"] == "INC-1: Noor has it, since 2026-03-01 03:00:00 UTC."
    assert await rows(live.app, b"SELECT count(*) FROM incident_acknowledgments") == [(1,)]


@pytest.mark.parametrize(
    ("who", "said"),
    [
        ("U0STRANGER", "does not know who you are"),
        (SAM, "does not know who you are"),
        ("U0DEE", "may not do this"),
        ("\x00", "does not know"),
    ],
)
async def test_who_is_not_known_or_may_not_is_told_so_alone(
    live: Live, clock: FakeClock, slack: Slack, page: UUID, who: str, said: str
) -> None:
    assert (await click(live, clock, _payload(page, who, slack.url))).status == 200
    reply = await slack.reply()
    assert (reply["response_type"], reply["replace_original"]) == ("ephemeral", False)
    assert said in reply["text"]
    assert await _status(live) == "REPORTED"


async def test_whom_the_page_went_to_in_person_needs_no_verification(
    live: Live, clock: FakeClock, slack: Slack, page: UUID
) -> None:
    async with live.app.work() as work:
        await work.tx.run(
            b"UPDATE notifications SET address = 'U0SAM', user_id = (SELECT id FROM users WHERE name = 'Sam')"
        )
    await click(live, clock, _payload(page, SAM, slack.url))
    assert "acknowledged by Sam" in (await slack.reply())["text"]


async def test_what_slack_did_not_sign_or_signed_long_ago_is_refused(
    live: Live, clock: FakeClock, slack: Slack, page: UUID
) -> None:
    now = int(clock.now.timestamp())
    payload = _payload(page, NOOR, slack.url)
    for changes in (
        {"secret": "another"},
        {"signature": ""},
        {"signature": "v0="},
        {"signature": "v0=\xe9"},
        {"timestamp": str(now - 301)},
        {"timestamp": str(now + 301)},
        {"timestamp": "yesterday"},
        {"timestamp": "9" * 100},
        {"timestamp": ""},
    ):
        answer = await click(live, clock, payload, **changes)
        assert (answer.status, answer.code) == (401, "UNAUTHORIZED"), changes
    assert await _status(live) == "REPORTED"
    assert (await click(live, clock, payload, timestamp=str(now - 300))).status == 200


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com.evil.example/x",
        "https://hooks.slack.com@127.0.0.1/",
        "http://127.0.0.1:1/x",
        "",
        "file:///",
    ],
)
async def test_nobody_but_slack_is_told_anything(
    live: Live, clock: FakeClock, page: UUID, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def ask(*_: object) -> None:
        asked.append(1)

    monkeypatch.setattr("tocsin.outside.http.Http.ask", ask)
    assert (await click(live, clock, _payload(page, NOOR, url))).status == 200
    assert await _status(live) == "ACKNOWLEDGED"
    assert asked == []


async def test_other_clicks_and_broken_payloads_do_nothing(
    live: Live, clock: FakeClock, slack: Slack, page: UUID
) -> None:
    assert (await click(live, clock, _payload(page, NOOR, slack.url, "open_link"))).status == 200
    broken: tuple[object, ...] = ({}, [], "x", {"user": 1}, {"user": {"id": NOOR}, "actions": 7})
    for payload in broken:
        answer = await click(live, clock, payload)
        assert (answer.status, answer.code) == (400, "MALFORMED"), payload
    for value in ("", "7", "0196f3a0-7c3e-7c3e-8c3e-0123456789ab"):
        assert (await click(live, clock, _payload(value, NOOR, slack.url))).status == 200
        assert "no such page" in (await slack.reply())["text"]
    assert await _status(live) == "REPORTED"


class TestUnset:
    """Without the setting."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"slack_signing_secret": None})

    async def test_there_is_nothing_without_the_signing_secret(self, live: Live, clock: FakeClock) -> None:
        answer = await click(live, clock, {})
        assert (answer.status, answer.code) == (404, "NOT_FOUND")
