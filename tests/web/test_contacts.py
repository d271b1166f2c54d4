"""Contact methods and notification rules over HTTP, with a real receiver that gets the codes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import ADMIN_EMAIL
from tests.support.cases import cases
from tests.web.conftest import Live, rows, sign_in
from tocsin.app.work import App
from tocsin.bootstrap import outbound_channels
from tocsin.domain.access import Role
from tocsin.worker.run import run_due

pytestmark = pytest.mark.anyio


@dataclass
class Hook:
    """A webhook on loopback, and what it received."""

    url: str = ""
    received: list[dict[str, Any]] = field(default_factory=list)


@asynccontextmanager
async def hook() -> AsyncIterator[Hook]:
    found = Hook()

    async def take(request: web.Request) -> web.StreamResponse:
        found.received.append(await request.json())
        return web.Response(text="taken")

    application = web.Application()
    application.router.add_post("/SECRET", take)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/SECRET"
    try:
        yield found
    finally:
        await runner.cleanup()


async def work_off(app: App) -> None:
    """Run what is due, over the real channels."""
    settings = app.settings.model_copy(update={"webhook_allowed_networks": (ip_network("127.0.0.0/8"),)})
    async with outbound_channels(settings) as channels:
        await run_due(app, channels)


async def test_somebody_adds_verifies_and_tests_their_own(live: Live, tokens: dict[Role, str]) -> None:
    own: dict[str, Any] = {"token": tokens[Role.RESPONDER]}
    async with hook() as receiver:
        made = await live.post("/api/contacts", {"channel": "webhook", "address": receiver.url}, **own)
        assert made.status == 201
        path = f"/api/contacts/{made.json['id']}"
        await work_off(live.app)
        code = receiver.received[-1]["code"]
        wrong = await live.post(f"{path}/verify", {"code": f"{(int(code) + 1) % 10**8:08}"}, **own)
        assert (wrong.status, wrong.code) == (422, "INVALID")
        assert await rows(live.app, b"SELECT max(code_tries) FROM contact_methods") == [(1,)]
        assert (await live.post(f"{path}/verify", {"code": code}, **own)).status == 200
        soon = await live.post(f"{path}/test", **own)
        assert (soon.code, soon.headers["Retry-After"].isdecimal()) == ("RATE_LIMITED", True)
    listed = await live.get("/api/contacts", **own)
    assert b"SECRET" not in listed.body
    [method] = [one for one in listed.json["contacts"] if one["channel"] == "webhook"]
    assert method["address"] == "http://127.0.0.1/…"
    assert method["verifiedAt"] is not None
    assert (method["used"], method["lastAnswer"]) == (True, "delivered: 200 OK taken")


async def test_rules_are_added_shown_and_removed(live: Live, tokens: dict[Role, str]) -> None:
    own: dict[str, Any] = {"token": tokens[Role.AUDITOR]}
    [method] = (await live.get("/api/contacts", **own)).json["contacts"]
    rule = {"contactId": method["id"], "afterSeconds": 300}
    made = await live.post("/api/notification-rules", rule, **own)
    assert made.status == 201
    assert (await live.post("/api/notification-rules", rule, **own)).code == "CONFLICT"
    found = (await live.get("/api/notification-rules", **own)).json
    assert [one["afterSeconds"] for one in found["rules"]] == [300]
    assert [one["afterSeconds"] for one in found["plan"]] == [0, 300], "something goes at once"
    assert (await live.post(f"/api/notification-rules/{made.json['id']}/remove", **own)).status == 200
    assert (await live.get("/api/notification-rules", **own)).json["rules"] == []


async def test_a_session_manages_its_own_too_and_needs_its_csrf_token(live: Live, tokens: dict[Role, str]) -> None:
    session = await sign_in(live, Role.RESPONDER)
    said = {"channel": "email", "address": "mobile@example.org"}
    bare = {"Cookie": session.cookie}
    assert (await live.call("POST", "/api/contacts", json=said, headers=bare)).code == "FORBIDDEN"
    assert (await live.call("POST", "/api/contacts", json=said, headers=session.headers)).status == 201


async def test_only_a_superadmin_changes_what_is_somebody_elses(live: Live, tokens: dict[Role, str]) -> None:
    theirs = (await live.get(f"/api/contacts?user={ADMIN_EMAIL}", token=tokens[Role.AUDITOR])).json["contacts"]
    path = f"/api/contacts/{theirs[0]['id']}"
    for role in (Role.RESPONDER, Role.AUDITOR):
        own: dict[str, Any] = {"token": tokens[role]}
        said = {"channel": "email", "address": "eve@example.org", "user": ADMIN_EMAIL}
        assert (await live.post("/api/contacts", said, **own)).code == "FORBIDDEN"
        for verb, body in (("remove", {}), ("send-code", {}), ("test", {}), ("verify", {"code": "12345678"})):
            assert (await live.post(f"{path}/{verb}", body, **own)).code == "FORBIDDEN", verb
    [one] = (await live.get("/api/contacts", token=tokens[Role.RESPONDER])).json["contacts"]
    assert (await live.post(f"/api/contacts/{one['id']}/send-code")).status == 200


@cases(
    "said",
    [
        {},
        {"channel": "webhook"},
        {"channel": "pigeon", "address": "coop"},
        {"channel": "sms", "address": "112"},
        {"channel": "apprise", "address": "syslog://localhost"},
        {"channel": "webhook", "address": "https://x/" + "y" * 2000},
        {"channel": "email", "address": "a\x00b@example.org"},
        {"channel": "email", "address": "a@example.org", "verifiedAt": "2026-01-01T00:00:00Z"},
    ],
)
async def test_what_cannot_be_an_address_is_a_problem(live: Live, said: dict[str, Any]) -> None:
    answer = await live.post("/api/contacts", said)
    assert (answer.status, answer.code) == (422, "INVALID")


async def test_every_access_is_on_record_without_the_address(live: Live) -> None:
    await live.post("/api/contacts", {"channel": "slack", "address": "https://hooks.slack.com/services/SECRET"})
    recorded = await rows(live.app, b"SELECT action, target FROM audit_access_log")
    assert ("POST /api/contacts", "/api/contacts") in recorded
    assert "SECRET" not in str(recorded)
