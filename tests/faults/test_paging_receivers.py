"""Receivers that are slow, refuse, hang, break off or are away: the page arrives, and every attempt is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
import pytest

from tests.conftest import ADMIN_EMAIL, Installation
from tests.faults.page_reckoning import Pages, reckon_pages
from tests.faults.programs import free_port
from tests.support import reached
from tests.support.clock import FakeClock
from tests.support.receivers import HANGS, TAKES_AND_DIES, Answer, Receivers, receiving
from tests.support.servers import Server
from tocsin.address_guard import parse_networks
from tocsin.app.open_incident import open_by_hand
from tocsin.app.work import App
from tocsin.bootstrap import outbound_channels
from tocsin.domain.incident import Severity
from tocsin.worker.run import run_due

pytestmark = pytest.mark.anyio

TIMEOUT_SECONDS = 0.3
LOOKS = 10


@dataclass(frozen=True, slots=True)
class Case:
    """How a receiver behaves, how often each page comes then, and with which outcomes."""

    answers: Sequence[Answer]
    times: int
    outcomes: Sequence[str]


CASES = {
    "slow": Case([Answer(200, wait_seconds=TIMEOUT_SECONDS / 3)], 1, ["DELIVERED"]),
    "hanging": Case([HANGS, HANGS], 1, ["RETRY", "RETRY", "DELIVERED"]),
    "taking and dying": Case([TAKES_AND_DIES], 2, ["RETRY", "DELIVERED"]),
    "taking and too slow": Case([Answer(200, wait_seconds=TIMEOUT_SECONDS * 3)], 2, ["RETRY", "DELIVERED"]),
}
WEBHOOKS = CASES | {
    "500": Case([Answer(500, takes=False)] * 3, 1, ["RETRY"] * 3 + ["DELIVERED"]),
    "429": Case([Answer(429, takes=False)], 1, ["RETRY", "DELIVERED"]),
}
MAILS = CASES | {
    "slow": Case([Answer(250, wait_seconds=TIMEOUT_SECONDS / 3)], 1, ["DELIVERED"]),
    "greylisting": Case([Answer(451, takes=False)] * 2, 1, ["RETRY", "RETRY", "DELIVERED"]),
    "full for a while": Case([Answer(452)], 2, ["RETRY", "DELIVERED"]),
}


async def _paged(installation: Installation, clock: FakeClock, receivers: Receivers, channel: str) -> App:
    """Owe a page over one channel alone."""
    app, admin = installation.app, installation.admin
    changes = receivers.settings() | {
        "delivery_timeout": TIMEOUT_SECONDS,
        "webhook_allowed_networks": parse_networks("127.0.0.0/8"),
    }
    app = App(app.database, app.settings.model_copy(update=changes), clock)
    async with app.work() as work:
        if channel == "webhook":
            await reached.also_by(work, ADMIN_EMAIL, "webhook", receivers.url)
            await reached.no_more_by(work, admin, ADMIN_EMAIL, "email", ADMIN_EMAIL)
        await open_by_hand(work, admin, severity=Severity.HIGH, title="It broke", description="")
    return app


async def _work(app: App, clock: FakeClock) -> None:
    """Look for work several times, longer apart than the first pauses between attempts."""
    async with outbound_channels(app.settings) as channels:
        for _ in range(LOOKS):
            await run_due(app, channels)
            clock.forward(seconds=50)


def _reckoned(server: Server, database_name: str, receivers: Receivers, ends: int) -> tuple[Pages, list[str]]:
    with psycopg.connect(server.conninfo(database_name)) as connection:
        pages = reckon_pages(connection, receivers.times(), ends=ends)
        rows = connection.execute("SELECT outcome FROM tocsin.delivery_attempts ORDER BY attempt").fetchall()
        return pages, [outcome for (outcome,) in rows]


@pytest.mark.parametrize(
    ("channel", "name"), [("webhook", name) for name in WEBHOOKS] + [("email", name) for name in MAILS]
)
async def test_the_page_arrives_whatever_its_receiver_does_first(
    installation: Installation, clock: FakeClock, server: Server, database_name: str, channel: str, name: str
) -> None:
    case = (WEBHOOKS if channel == "webhook" else MAILS)[name]
    async with receiving() as receivers:
        receivers.answers[channel] = list(case.answers)
        app = await _paged(installation, clock, receivers, channel)
        await _work(app, clock)
        pages, outcomes = _reckoned(server, database_name, receivers, case.times - 1)
    assert (pages.delivered, pages.failed) == (1, 0)
    assert list(receivers.times().values()) == [case.times]
    assert outcomes == case.outcomes


async def test_a_receiver_that_asks_for_time_is_given_it(
    installation: Installation, clock: FakeClock, server: Server, database_name: str
) -> None:
    async with receiving() as receivers:
        receivers.answers["webhook"] = [Answer(429, takes=False, retry_after="120")]
        app = await _paged(installation, clock, receivers, "webhook")
        async with outbound_channels(app.settings) as channels:
            await run_due(app, channels)
            clock.forward(seconds=119)
            await run_due(app, channels)
            assert receivers.attempts == 1
            clock.forward(seconds=1)
            await run_due(app, channels)
        assert _reckoned(server, database_name, receivers, 0)[1] == ["RETRY", "DELIVERED"]


async def test_a_mail_server_that_is_away_is_asked_again_until_it_is_back(
    installation: Installation, clock: FakeClock, server: Server, database_name: str
) -> None:
    async with receiving() as receivers:
        app = await _paged(installation, clock, receivers, "email")
        away = App(app.database, app.settings.model_copy(update={"smtp_port": free_port()}), clock)
        await _work(away, clock)
        assert receivers.attempts == 0
        clock.forward(minutes=30)
        await _work(app, clock)
        pages, outcomes = _reckoned(server, database_name, receivers, 0)
    assert pages.delivered == 1
    assert set(outcomes[:-1]) == {"RETRY"}
    assert outcomes[-1] == "DELIVERED"
