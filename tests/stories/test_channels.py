"""One incident, one person, every channel: what arrives at real receivers, wired as in production."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from tests.channels.peers import receiver
from tests.conftest import ADMIN_EMAIL, Installation
from tests.support import reached
from tocsin.app import read_incidents
from tocsin.app.open_incident import open_by_hand
from tocsin.app.work import App
from tocsin.bootstrap import outbound_channels
from tocsin.channels.working import working_channels
from tocsin.domain.contact_method import CHANNELS
from tocsin.domain.incident import Severity
from tocsin.settings import Settings
from tocsin.worker.run import run_due

pytestmark = pytest.mark.anyio

INSIDE = {"webhook_allowed_networks": (ip_network("127.0.0.0/8"),)}


@asynccontextmanager
async def everybody(seen: dict[str, list[Any]]) -> AsyncIterator[str]:
    """Be ntfy, Slack and the gateway at once: by path, each message is kept."""

    async def take(request: web.Request) -> web.StreamResponse:
        seen.setdefault(request.path, []).append(await request.json())
        return web.json_response({"ok": True, "channel": "C024BE91L", "ts": "1.2"})

    async with receiver(take) as url:
        yield url.removesuffix("/hook")


async def opened(installation: Installation, methods: dict[str, str], **settings: object) -> App:
    """Let the superadmin be reached by these alone, and an incident open."""
    app = App(installation.app.database, installation.app.settings.model_copy(update=settings), installation.app.clock)
    async with app.work() as work:
        for name, address in methods.items():
            await reached.also_by(work, ADMIN_EMAIL, name, address)
        await reached.no_more_by(work, installation.admin, ADMIN_EMAIL, "email", ADMIN_EMAIL)
    async with app.work() as work:
        await open_by_hand(work, installation.admin, severity=Severity.CRITICAL, title="It broke", description="")
    async with outbound_channels(app.settings) as channels:
        await run_due(app, channels)
    return app


async def pages(app: App, installation: Installation) -> dict[str, tuple[str, str | None]]:
    async with app.work() as work:
        found = (await read_incidents.show_incident(work, installation.admin, 1)).notifications
    return {page.channel: (page.state, page.last_answer) for page in found}


async def test_a_page_arrives_over_every_channel(installation: Installation) -> None:
    seen: dict[str, list[Any]] = {}
    async with everybody(seen) as url:
        methods = {
            "webhook": f"{url}/hook",
            "slack": f"{url}/services/T0/B0/X",
            "slack_app": "C024BE91L",
            "ntfy": f"{url}/oncall",
            "sms": "+4915112345678",
            "voice": "+4915112345678",
            "apprise": f"{url.replace('http', 'json')}/apprise",
        }
        operators = {"slack_token": SecretStr("xoxb-1"), "slack_api_url": f"{url}/api", "gateway_url": f"{url}/gateway"}
        app = await opened(installation, methods, **INSIDE, **operators)
    delivered = {name: state for name, (state, _) in (await pages(app, installation)).items()}
    assert delivered == dict.fromkeys(methods, "DELIVERED")
    assert seen["/hook"][0]["incident"]["title"] == "It broke"
    assert seen["/"][0]["priority"] == 5
    assert seen["/api/chat.postMessage"][0]["channel"] == "C024BE91L"
    assert {one["kind"]: one["incident"]["number"] for one in seen["/gateway"]} == {"sms": 1, "voice": 1}
    assert "incident number 1: It broke" in next(one["text"] for one in seen["/gateway"] if one["kind"] == "voice")
    assert "It broke" in seen["/apprise"][0]["message"]
    assert "INC-1" in seen["/services/T0/B0/X"][0]["text"]


async def test_the_operators_gateway_may_be_inside_and_a_persons_address_may_not(installation: Installation) -> None:
    seen: dict[str, list[Any]] = {}
    async with everybody(seen) as url:
        methods = {"sms": "+4915112345678", "ntfy": f"{url}/oncall", "slack": f"{url}/services/T0/B0/X"}
        app = await opened(installation, methods, gateway_url=f"{url}/gateway")
    found = await pages(app, installation)
    assert found["sms"][0] == "DELIVERED"
    for name in ("ntfy", "slack"):
        state, answer = found[name]
        assert (state, "is inside (loopback)" in (answer or "")) == ("FAILED", True)
    assert set(seen) == {"/gateway"}


async def test_a_channel_that_is_not_configured_is_waited_for_and_says_what_to_set(installation: Installation) -> None:
    app = await opened(installation, {"slack_app": "C024BE91L"})
    assert await pages(app, installation) == {
        "slack_app": ("PENDING", "The channel slack_app is not configured: set TOCSIN_SLACK_TOKEN.")
    }


def test_the_channels_that_work_follow_from_the_settings(settings: Settings) -> None:
    assert working_channels(settings) == {"webhook", "slack", "ntfy", "apprise"}
    complete = {"smtp_host": "mail.example.org", "slack_token": SecretStr("xoxb-1"), "gateway_url": "http://g/"}
    assert working_channels(settings.model_copy(update=complete)) == set(CHANNELS)
