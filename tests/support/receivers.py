"""Real receivers of pages on loopback, SMTP and HTTP, that do with each page what a test asks."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from typing import Any

from aiohttp import web
from aiosmtpd.smtp import SMTP


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver does with one page: takes it or not, waits, then answers with a status, or hangs up (None)."""

    status: int | None
    takes: bool = True
    wait_seconds: float = 0.0
    retry_after: str | None = None


TAKEN_HTTP, TAKEN_SMTP = Answer(200), Answer(250)
HANGS = Answer(None, takes=False, wait_seconds=3_600.0)
GONE = Answer(404, takes=False)
TAKES_AND_DIES = Answer(None)
"""The page is there, and the one who sent it never hears so: over SMTP the end comes after the final dot."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that a receiver took: over what, to whom, its key (the same on every attempt), and its text."""

    channel: str
    to: str
    key: str
    subject: str
    text: str


@dataclass(slots=True)
class Receivers:
    """Both receivers. Each page, or each attempt that is refused, takes the next answer of its channel."""

    smtp_port: int = 0
    http_port: int = 0
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    arrivals: list[Arrival] = field(default_factory=list)
    attempts: int = 0
    on_arrival: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        """Where the HTTP receiver takes pages."""
        return f"http://127.0.0.1:{self.http_port}/hook"

    def times(self) -> Counter[str]:
        """Return how often each page has arrived, by its key."""
        return Counter(arrival.key for arrival in self.arrivals)

    def forget(self) -> None:
        """Begin anew: nothing has arrived, and every page is taken."""
        self.answers.clear()
        self.arrivals.clear()
        self.attempts = 0
        self.on_arrival = lambda: None

    def settings(self) -> dict[str, object]:
        """Return the settings with which pages go here."""
        return {"smtp_host": "127.0.0.1", "smtp_port": self.smtp_port, "smtp_security": "none"}

    def _next(self, channel: str, otherwise: Answer) -> Answer:
        self.attempts += 1
        waiting = self.answers.get(channel)
        return waiting.pop(0) if waiting else otherwise

    def _arrived(self, arrival: Arrival) -> None:
        self.arrivals.append(arrival)
        self.on_arrival()

    async def take_request(self, request: web.Request) -> web.Response:
        """Be the HTTP receiver."""
        body = await request.json()
        answer = self._next("webhook", TAKEN_HTTP)
        if answer.takes:
            key = request.headers["Idempotency-Key"]
            self._arrived(Arrival("webhook", self.url, key, str(body.get("event", "")), json.dumps(body)))
        await asyncio.sleep(answer.wait_seconds)
        if answer.status is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        headers = {"Retry-After": answer.retry_after} if answer.retry_after else {}
        return web.Response(status=answer.status, headers=headers)


class _Mailboxes:
    """The SMTP half. What is not taken is refused with the recipient, as greylisting does."""

    def __init__(self, receivers: Receivers) -> None:
        self._receivers = receivers
        self._answer = TAKEN_SMTP

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _server: object, _session: object, envelope: Any, address: str, _options: object
    ) -> str:
        self._answer = self._receivers._next("email", TAKEN_SMTP)
        if not self._answer.takes:
            await asyncio.sleep(self._answer.wait_seconds)
            return f"{self._answer.status} 4.7.1 come back later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 known here"

    async def handle_DATA(self, server: Any, _session: object, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        mail = message_from_bytes(envelope.content, policy=policy.default)
        key = str(mail["Message-ID"]).strip("<>").partition("@")[0]
        text = mail.get_content()
        self._receivers._arrived(Arrival("email", str(mail["To"]), key, str(mail["Subject"]).strip(), text))
        await asyncio.sleep(self._answer.wait_seconds)
        if self._answer.status is None:
            server.transport.abort()
        return f"{self._answer.status} 2.0.0 kept"


@asynccontextmanager
async def receiving() -> AsyncIterator[Receivers]:
    """Run both receivers in the loop of the caller."""
    receivers, loop = Receivers(), asyncio.get_running_loop()
    application = web.Application()
    application.router.add_post("/hook", receivers.take_request)
    # What still hangs at the end is not waited for.
    runner = web.AppRunner(application, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receivers.http_port = runner.addresses[0][1]
    server = await loop.create_server(lambda: SMTP(_Mailboxes(receivers), loop=loop), "127.0.0.1", 0)
    receivers.smtp_port = server.sockets[0].getsockname()[1]
    try:
        yield receivers
    finally:
        server.close()
        await runner.cleanup()
