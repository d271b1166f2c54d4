"""`kill -9` of server and worker at random under load: what was accepted is there once, and its page went out."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psycopg
import pytest

from tests.conftest import ADMIN_EMAIL, INTAKE_KEY, Installation
from tests.support.mailbox import Mailbox, smtp_server
from tests.support.servers import Server

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

KILLS = 50
SENDERS = 6
SETTLE_SECONDS = 90
TOCSIN = str(Path(sys.executable).with_name("tocsin"))


@dataclass(slots=True)
class Program:
    """One process of Tocsin, which can be killed and started again."""

    arguments: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        self.process = subprocess.Popen(
            [TOCSIN, *self.arguments], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def programs(environment: dict[str, str], port: int) -> Iterator[list[Program]]:
    running = [Program(["serve", "--port", str(port)], environment), Program(["worker"], environment)]
    for program in running:
        program.start()
    try:
        yield running
    finally:
        for program in running:
            program.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _send_until(stop: asyncio.Event, http: aiohttp.ClientSession, sender: int, accepted: set[str]) -> None:
    """Send reports, each until it is accepted; every third one is a failure of its own, the others share one."""
    number = 0
    while not stop.is_set():
        number += 1
        event_id = f"{sender}-{number}"
        failure = event_id if number % 3 == 0 else "shared"
        report = {"eventId": event_id, "severity": "HIGH", "message": "broken", "fingerprint": [failure]}
        while event_id not in accepted:
            try:
                async with http.post("/api/v1/errors", json=report) as response:
                    if response.status < 300:
                        accepted.add(event_id)
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.02)


async def _kill_at_random(running: list[Program], chance: random.Random) -> None:
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.2, 1.6))
        program = chance.choice(running)
        program.kill()
        program.start()


async def test_fifty_kills_lose_no_accepted_report_and_no_page(
    installation: Installation, server: Server, database_name: str
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    port, accepted, stop = _free_port(), set[str](), asyncio.Event()
    with smtp_server() as mailbox:
        environment = os.environ | {
            "TOCSIN_DATABASE_URL": server.conninfo(database_name, user="tocsin_app"),
            "TOCSIN_SECRET_KEY": "a secret key for the tests, long enough",
            "TOCSIN_SMTP_HOST": "127.0.0.1",
            "TOCSIN_SMTP_PORT": str(mailbox.port),
            "TOCSIN_SMTP_SECURITY": "none",
        }
        with programs(environment, port) as running:
            headers = {"Authorization": f"Bearer {INTAKE_KEY}"}
            async with (
                aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as http,
                asyncio.TaskGroup() as group,
            ):
                for sender in range(SENDERS):
                    group.create_task(_send_until(stop, http, sender, accepted))
                await _kill_at_random(running, random.Random(seed))
                stop.set()
            with psycopg.connect(server.conninfo(database_name), autocommit=True) as connection:
                await _wait_until_settled(connection)
                _check_reports(connection, accepted)
                _check_pages(connection, mailbox)


async def _wait_until_settled(connection: psycopg.Connection) -> None:
    async with asyncio.timeout(SETTLE_SECONDS):
        pending = "SELECT count(*) FROM tocsin.notifications WHERE state = 'PENDING'"
        while connection.execute(pending).fetchone() != (0,):
            await asyncio.sleep(0.2)


def _check_reports(connection: psycopg.Connection, accepted: set[str]) -> None:
    recorded = connection.execute("SELECT event_id FROM tocsin.audit_logs WHERE project_id = 1").fetchall()
    assert Counter(event_id for (event_id,) in recorded).most_common(1)[0][1] == 1
    assert accepted <= {event_id for (event_id,) in recorded}
    assert len(accepted) > KILLS
    counted = connection.execute("SELECT sum(occurrences)::bigint FROM tocsin.current_incident_status").fetchone()
    assert counted == (len(recorded),)


def _check_pages(connection: psycopg.Connection, mailbox: Mailbox) -> None:
    incidents = connection.execute("SELECT count(*) FROM tocsin.incidents").fetchone()
    owed = connection.execute("SELECT id, address, state FROM tocsin.notifications").fetchall()
    assert incidents == (len(owed),)
    assert {(address, state) for _, address, state in owed} == {(ADMIN_EMAIL, "DELIVERED")}
    arrived = Counter(str(mail["Message-ID"]) for mail in mailbox.mails())
    missing = [str(page) for page, _, _ in owed if not any(str(page) in message_id for message_id in arrived)]
    assert not missing
    assert max(arrived.values()) <= 2, "a page may arrive twice when its worker was killed after sending"
