"""A live server for every test of the web, on a port of its own, and people of every role who speak to it."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.conftest import (
    ADMIN_EMAIL,
    ADMIN_PASSWORD,
    ADMIN_TOKEN,
    INTAKE_KEY,
    Beginning,
    Installation,
    Template,
    make_template,
    template_for,
)
from tests.support.servers import Server
from tocsin.app.accounts import add_token, add_user
from tocsin.app.work import App
from tocsin.domain.access import Actor, Role
from tocsin.settings import Settings
from tocsin.web.server import serve

PASSWORD = "a long enough password"
START_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """Return the problem's code, None when the answer is none."""
        if not self.headers.get("Content-Type", "").startswith("application/problem+json"):
            return None
        code: str = self.json["code"]
        return code


@dataclass(frozen=True, slots=True)
class Live:
    """A running server, and a client without cookies of its own."""

    url: str
    http: aiohttp.ClientSession
    app: App

    async def call(self, method: str, path: str, *, token: str | None = None, **more: Any) -> Answer:
        """Make a request, with a bearer token if one is given."""
        headers = dict(more.pop("headers", {}))
        if isinstance(more.get("data"), bytes):
            more["data"] = io.BytesIO(more["data"])
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self.http.request(
            method, self.url + path, headers=headers, allow_redirects=False, **more
        ) as response:
            return Answer(response.status, response.headers.copy(), await response.read())

    async def get(self, path: str, **more: Any) -> Answer:
        """Read as the superadmin, or as who is named."""
        more.setdefault("token", ADMIN_TOKEN)
        return await self.call("GET", path, **more)

    async def post(self, path: str, body: object = None, **more: Any) -> Answer:
        """Act as the superadmin, or as who is named."""
        more.setdefault("token", ADMIN_TOKEN)
        if body is not None:
            more["json"] = body
        return await self.call("POST", path, **more)

    async def report(self, body: object, **more: Any) -> Answer:
        """Report errors with the key of project 1."""
        return await self.call("POST", "/api/v1/errors", token=INTAKE_KEY, json=body, **more)

    async def open_incident(self, **said: Any) -> dict[str, Any]:
        """Open an incident by hand and return it."""
        answer = await self.post("/api/incidents", {"severity": "HIGH", "title": "It broke"} | said)
        assert answer.status == 201, answer.body
        incident: dict[str, Any] = answer.json["incident"]
        return incident


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser: its cookie and its CSRF token."""

    cookie: str
    csrf_token: str

    @property
    def headers(self) -> dict[str, str]:
        """Return what the browser and the page's script send together."""
        return {"Cookie": self.cookie, "X-CSRF-Token": self.csrf_token}


@dataclass(frozen=True, slots=True)
class Running:
    """A server under way."""

    url: str
    stop: asyncio.Event
    task: asyncio.Task[None]


async def start(app: App, host: str = "127.0.0.1", port: int = 0) -> Running:
    """Start a server and wait until it answers; raises what it raises."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    task = asyncio.create_task(serve(app, stop, host=host, port=port, on_ready=ready.set_result))
    futures: list[asyncio.Future[Any]] = [task, ready]
    await asyncio.wait(futures, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    assert ready.done(), "the server did not start in time"
    return Running(ready.result(), stop, task)


async def finish(running: Running) -> None:
    """Stop a server and wait for it."""
    running.stop.set()
    await running.task


@pytest.fixture
async def live(app: App) -> AsyncIterator[Live]:
    """A server on the test's application."""
    async with serving(app) as live:
        yield live


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[Live]:
    """Run a server on an application until the block ends."""
    running = await start(app)
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            yield Live(running.url, http, app)
    finally:
        await finish(running)


@pytest.fixture(scope="session")
def peopled(settings_elsewhere: Settings, server: Server, beginning: Template[Beginning]) -> Template[dict[Role, str]]:
    """Somebody of every role, made once: a test that wants their tokens has a clone of their database."""

    async def fill(app: App) -> dict[Role, str]:
        return await add_people(app, beginning.made.admin)

    return make_template(settings_elsewhere, server, f"{beginning.name}_people", beginning.name, fill)


@pytest.fixture
def template(request: pytest.FixtureRequest, template: str) -> str:
    """Of which database the test's own is a clone: the one with somebody of every role where it wants tokens."""
    return template_for(request, "tokens", "peopled", otherwise=template)


@pytest.fixture
def tokens(peopled: Template[dict[Role, str]], installation: Installation) -> dict[Role, str]:
    """A token of somebody of every role; everybody's password is PASSWORD, the superadmin's ADMIN_PASSWORD."""
    return dict(peopled.made)


async def add_people(app: App, admin: Actor) -> dict[Role, str]:
    """Add somebody of every role; return a token of each."""
    made = {Role.SUPERADMIN: ADMIN_TOKEN}
    async with app.work() as work:
        for role in (Role.RESPONDER, Role.AUDITOR, Role.MEMBER):
            await add_user(work, admin, email=email_of(role), name=role.value, role=role, password=PASSWORD)
            made[role] = await add_token(work, admin, email=email_of(role), name="test", days=None)
    return made


def email_of(role: Role) -> str:
    """Return the e-mail of the person of a role."""
    return ADMIN_EMAIL if role is Role.SUPERADMIN else f"{role.value}@example.org"


def password_of(role: Role) -> str:
    """Return the password of the person of a role."""
    return ADMIN_PASSWORD if role is Role.SUPERADMIN else PASSWORD


async def sign_in(live: Live, role: Role) -> Session:
    """Sign in as the person of a role."""
    said = {"email": email_of(role), "password": password_of(role)}
    answer = await live.call("POST", "/api/auth/sign-in", json=said)
    assert answer.status == 200, answer.body
    return Session(answer.headers["Set-Cookie"].partition(";")[0], answer.json["csrfToken"])


async def rows(app: App, query: bytes) -> list[tuple[Any, ...]]:
    """Return what the database holds."""
    async with app.work() as work:
        cursor = await work.tx.connection.execute(query)
        return await cursor.fetchall()
