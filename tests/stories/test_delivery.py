"""Pages over real SMTP and HTTP: delivered, retried, given up loudly, each attempt a row."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import ADMIN_EMAIL, Installation
from tests.support import reached
from tests.support.clock import FakeClock
from tests.support.mailbox import smtp_server
from tocsin.app import accounts, read_incidents, respond
from tocsin.app.open_incident import open_by_hand
from tocsin.app.outbox import MAX_ATTEMPTS
from tocsin.app.read_incidents import IncidentDetail
from tocsin.app.work import App
from tocsin.bootstrap import outbound_channels
from tocsin.domain.access import Actor, Role
from tocsin.domain.incident import Severity
from tocsin.domain.policy import Duty
from tocsin.domain.workflow import Acknowledge
from tocsin.store.incidents import IncidentFilter
from tocsin.worker.run import run_due

pytestmark = pytest.mark.anyio


@dataclass(slots=True)
class Receiver:
    """An HTTP receiver that answers as it is told, then with 200."""

    answers: list[int] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append({"headers": dict(request.headers), "body": await request.json()})
        return web.Response(status=self.answers.pop(0) if self.answers else 200)


@asynccontextmanager
async def receiving(*answers: int) -> AsyncIterator[Receiver]:
    receiver = Receiver(list(answers))
    application = web.Application()
    application.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"{site.name}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def _with(app: App, **changes: object) -> App:
    return App(app.database, app.settings.model_copy(update=changes), app.clock)


INSIDE = {"webhook_allowed_networks": (ip_network("127.0.0.0/8"),)}


async def _open(app: App, admin: Actor, title: str = "It broke") -> None:
    async with app.work() as work:
        await open_by_hand(work, admin, severity=Severity.HIGH, title=title, description="")


async def _show(app: App, admin: Actor, number: int = 1) -> IncidentDetail:
    async with app.work() as work:
        return await read_incidents.show_incident(work, admin, number)


async def _run(app: App) -> None:
    async with outbound_channels(app.settings) as channels:
        await run_due(app, channels)


async def test_the_first_alert_and_the_escalations_arrive_as_mails_of_one_thread(
    installation: Installation, clock: FakeClock
) -> None:
    with smtp_server() as mailbox:
        app = _with(installation.app, smtp_host="127.0.0.1", smtp_port=mailbox.port, smtp_security="none")
        await _open(app, installation.admin)
        await _run(app)
        assert [(mail["To"], mail["Subject"]) for mail in mailbox.mails()] == [(ADMIN_EMAIL, "[HIGH] INC-1 It broke")]
        clock.forward(hours=1)
        await _run(app)
        clock.forward(minutes=30)
        async with app.work() as work:
            await respond.acknowledge(work, installation.admin, 1, Acknowledge("mine"))
        clock.forward(hours=9)
        await _run(app)
        subjects = [str(mail["Subject"]).strip() for mail in mailbox.mails()]
        assert subjects[1:] == [
            "Nobody has acknowledged this yet: [HIGH] INC-1 It broke",
            "It is acknowledged, and nothing was heard of it since: [HIGH] INC-1 It broke",
        ]
        assert len({mail["References"] for mail in mailbox.mails()}) == 1
        assert len({mail["Message-ID"] for mail in mailbox.mails()}) == 3
        assert "tocsin incidents ack 1" in mailbox.mails()[0].get_content()
    pages = (await _show(app, installation.admin)).notifications
    assert [(page.state, page.attempts) for page in pages] == [("DELIVERED", 1)] * 3


async def test_a_webhook_that_fails_twice_is_tried_until_it_answers(
    installation: Installation, clock: FakeClock
) -> None:
    async with receiving(503, 500) as receiver:
        app = _with(installation.app, **INSIDE)
        async with app.work() as work:
            await reached.also_by(work, ADMIN_EMAIL, "webhook", receiver.url)
            await reached.no_more_by(work, installation.admin, ADMIN_EMAIL, "email", ADMIN_EMAIL)
        await _open(app, installation.admin)
        for _ in range(3):
            await _run(app)
            clock.forward(seconds=15)
    assert len(receiver.requests) == 3
    assert len({request["headers"]["Idempotency-Key"] for request in receiver.requests}) == 1
    assert receiver.requests[0]["body"]["incident"]["title"] == "It broke"
    assert receiver.requests[0]["headers"]["webhook-signature"].startswith("v1,")
    (page,) = (await _show(app, installation.admin)).notifications
    assert (page.state, page.attempts) == ("DELIVERED", 3)


async def test_a_webhook_into_the_inside_is_refused_and_that_becomes_an_incident(installation: Installation) -> None:
    app, admin = installation.app, installation.admin
    async with receiving() as receiver:
        async with app.work() as work:
            await reached.also_by(work, ADMIN_EMAIL, "webhook", receiver.url)
            await reached.no_more_by(work, admin, ADMIN_EMAIL, "email", ADMIN_EMAIL)
        await _open(app, admin)
        async with outbound_channels(app.settings) as channels:
            # The page about the page that failed goes to the same address: it joins, and does not run in circles.
            await run_due(app, channels)
    assert receiver.requests == []
    async with app.work() as work:
        listed = await read_incidents.list_incidents(work, admin, IncidentFilter())
    titles = [row.title for row in listed.incidents]
    assert len(titles) == 2
    assert "PageNotDelivered" in (titles[0] or "")
    assert "127.0.0.1" in json.dumps([page.last_answer for page in (await _show(app, admin)).notifications])


async def test_without_a_mail_server_the_page_waits_and_is_given_up_loudly(
    installation: Installation, clock: FakeClock
) -> None:
    app, admin = installation.app, installation.admin
    await _open(app, admin)
    for _ in range(MAX_ATTEMPTS):
        await _run(app)
        clock.forward(hours=1)
    page = (await _show(app, admin)).notifications[0]
    assert (page.state, page.attempts) == ("FAILED", MAX_ATTEMPTS)
    assert page.last_answer is not None
    assert "TOCSIN_SMTP_HOST" in page.last_answer
    async with app.work() as work:
        listed = await read_incidents.list_incidents(work, admin, IncidentFilter())
    assert any("PageNotDelivered" in (row.title or "") for row in listed.incidents)


async def test_when_one_person_cannot_be_reached_the_others_are_told_and_the_secret_path_stays_secret(
    installation: Installation,
) -> None:
    admin = installation.admin
    async with receiving(404) as receiver:
        with smtp_server() as mailbox:
            mail = {"smtp_host": "127.0.0.1", "smtp_port": mailbox.port, "smtp_security": "none"}
            app = _with(installation.app, **INSIDE, **mail)
            async with app.work() as work:
                await accounts.add_user(
                    work, admin, email="noor@example.org", name="Noor", role=Role.RESPONDER, password=None
                )
                await reached.also_by(work, "noor@example.org", "webhook", f"{receiver.url}?secret=s3cret")
                await reached.no_more_by(work, admin, "noor@example.org", "email", "noor@example.org")
                await accounts.assign_duty(work, admin, Duty.ON_CALL, "noor@example.org")
            await _open(app, admin)
            await _run(app)
            told = [mail for mail in mailbox.mails() if "INC-1" in str(mail["Subject"])]
    assert [mail["To"] for mail in told] == [ADMIN_EMAIL]
    assert "Somebody else could not be reached" in str(told[0]["Subject"])
    pages = (await _show(app, admin)).notifications
    assert [(page.state, page.reason) for page in pages] == [
        ("FAILED", "INCIDENT_OPENED"),
        ("DELIVERED", "PAGE_NOT_DELIVERED"),
    ]
    assert "s3cret" not in str(pages)
    assert "s3cret" not in str(await _show(app, admin, 2))
