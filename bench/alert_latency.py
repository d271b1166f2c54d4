"""From an error to its alert: new failures at a steady rate, each timed from its request to its mail in the mailbox.

Web server, worker and mail server are processes of their own. The rate is kept whatever the answers take (an open
loop), and time counts from the instant at which a request was due to be sent: what waits in the client counts too.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from multiprocessing.connection import Connection
from typing import Any

import aiohttp
import aiosmtplib
from aiosmtpd.smtp import SMTP

from bench.support import processes
from bench.support.figures import Figure, table, timed
from bench.support.installation import ADMIN, KEY, Installation, installed, settings_at, temporary_directory
from bench.support.plain_table import plain_inserts
from bench.support.progress import progress, say
from tocsin.app import read_incidents
from tocsin.clock import monotonic_seconds

GOAL_P99_MS = 1_000.0
PATIENCE_SECONDS = 60.0
WARM_UP = 20
"""Failures sent before the clock counts: connections are made, statements prepared."""
COMMITS = 200
NO_STORM = 10_000
SENDER = "tocsin@bench.example"
_MARK = re.compile(rb"Bench(\d{6})Error")


@dataclass(frozen=True, slots=True)
class Sent:
    """When each failure was due to be sent and when it was answered, by its number (seconds, monotonic)."""

    due: dict[int, float]
    answered: dict[int, float]


async def mail_server(line: Connection) -> None:
    """Be a mail server on loopback; sends its port, then the number and instant of each mail that it accepts."""

    class Mailbox:
        async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
            found = _MARK.search(envelope.content)
            line.send((int(found[1]) if found else -1, monotonic_seconds()))
            return "250 2.0.0 kept"

    stop, loop = processes.stop_at_end_of(line), asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Mailbox(), loop=loop), "127.0.0.1", 0)
    async with server:
        line.send(server.sockets[0].getsockname()[1])
        await stop.wait()


class Mailbox:
    """What the mail server has accepted: the first instant of each number, and how many mails came twice."""

    def __init__(self) -> None:
        self.accepted: dict[int, float] = {}
        self.twice = 0
        self._came = asyncio.Event()

    @contextmanager
    def reading(self, line: Connection) -> Iterator[None]:
        """Take note of each mail at once: a line that nobody reads fills up, and the mail server would wait."""
        loop = asyncio.get_running_loop()
        loop.add_reader(line.fileno(), self._take_note, line)
        try:
            yield
        finally:
            loop.remove_reader(line.fileno())

    def _take_note(self, line: Connection) -> None:
        while line.poll():
            number, at = line.recv()
            self.twice += number in self.accepted
            self.accepted.setdefault(number, at)
        self._came.set()

    async def wait_for(self, numbers: range) -> None:
        """Wait until a mail of each number has come, at most PATIENCE_SECONDS."""
        with suppress(TimeoutError):  # what is missing then is counted by the caller
            async with asyncio.timeout(PATIENCE_SECONDS):
                while any(number not in self.accepted for number in numbers):
                    self._came.clear()
                    await self._came.wait()


async def at_rate(rate: float, numbers: range, send: Callable[[int], Awaitable[None]]) -> Sent:
    """Start `send` for each number at its instant, whatever became of those before."""
    sent = Sent({}, {})
    loop = asyncio.get_running_loop()
    began = loop.time() + 0.1
    with progress(f"{rate:g} a second", len(numbers)) as advance:

        async def one(number: int) -> None:
            await send(number)
            sent.answered[number] = monotonic_seconds()
            advance(1)

        async with asyncio.TaskGroup() as group:
            for position, number in enumerate(numbers):
                await asyncio.sleep(began + position / rate - loop.time())
                # monotonic_seconds is the loop's own clock: what was due then may start later, and that counts.
                sent.due[number] = began + position / rate
                group.create_task(one(number))
    return sent


async def report(http: aiohttp.ClientSession, number: int) -> None:
    """Report a failure that nobody has seen before."""
    body = {
        "severity": "HIGH",
        "type": f"Bench{number:06}Error",
        "message": "the payment gateway did not answer",
        "service": "shop",
        "environment": "production",
    }
    async with http.post("/api/v1/errors", json=body) as response:
        if not 200 <= response.status < 300:
            raise SystemExit(f"POST /api/v1/errors answered {response.status}: {(await response.text())[:500]}")


async def mail(port: int, number: int) -> None:
    """Send a mail to the same server as the worker does: a connection each."""
    message = EmailMessage()
    message["From"], message["To"] = SENDER, ADMIN
    message["Subject"] = f"[HIGH] INC-{number} Bench{number:06}Error: the payment gateway did not answer"
    message.set_content("New incident.\n\n" + "Look: http://127.0.0.1:8420/api/incidents/1\n" * 6)
    await aiosmtplib.send(message, hostname="127.0.0.1", port=port, start_tls=False, use_tls=False)


async def measure(rate: float, seconds: float) -> int:
    """Run everything; return the exit code."""
    with temporary_directory() as directory, processes.running(mail_server) as (mail_port, line):
        settings = settings_at(
            directory,
            smtp_host="127.0.0.1",
            smtp_port=mail_port,
            smtp_security="none",
            smtp_sender=SENDER,
            storm_threshold=NO_STORM,  # each failure shall have a mail of its own
        )
        async with installed(settings) as installation:
            say("The baselines: one commit, and mails sent directly…")
            async with plain_inserts(installation.sources.migrator, row_bytes=100, connections=1) as insert_one:
                commit = await timed("INSERT of a plain row, committed", COMMITS, lambda _: insert_one())
            numbers = range(WARM_UP, WARM_UP + int(rate * seconds))
            direct, alerts = Mailbox(), Mailbox()
            with direct.reading(line):
                mails = await at_rate(rate, numbers, lambda number: mail(mail_port, number))
                await direct.wait_for(numbers)
            with alerts.reading(line):
                errors = await _alerts(rate, numbers, installation, alerts)
            opened = await _opened(installation)
    return tell(mails, direct, errors, alerts, commit, opened)


async def _alerts(rate: float, numbers: range, installation: Installation, mailbox: Mailbox) -> Sent:
    sources, settings = installation.sources, installation.app.settings
    with (
        processes.running(processes.worker, sources, settings),
        processes.running(processes.web, sources, settings) as (url, _),
    ):
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(url, headers={"X-Tocsin-Key": KEY}, connector=connector) as http:
            warm_up = range(WARM_UP)
            await at_rate(rate, warm_up, lambda number: report(http, number))
            await mailbox.wait_for(warm_up)
            sent = await at_rate(rate, numbers, lambda number: report(http, number))
            await mailbox.wait_for(numbers)
    return sent


async def _opened(installation: Installation) -> int:
    async with installation.app.work() as work:
        return (await read_incidents.stats(work, installation.admin)).total_open


def tell(mails: Sent, direct: Mailbox, errors: Sent, alerts: Mailbox, commit: Figure, opened: int) -> int:
    """Print the figures; return the exit code."""
    missing = sorted(errors.due.keys() - alerts.accepted.keys())
    if len(missing) == len(errors.due) or not direct.accepted:
        raise SystemExit("not one mail arrived: see what the worker says above")
    sent = Figure("mail sent directly, in the mailbox", _waits(mails.due, direct.accepted))
    figures = [
        sent,
        Figure("error answered (committed)", _waits(errors.due, errors.answered), sent),
        Figure("alert in the mailbox", _waits(errors.due, alerts.accepted), sent, GOAL_P99_MS, goal_percent=99),
        Figure("  of it, after the answer", _waits(errors.answered, alerts.accepted), sent),
        Figure(commit.name, commit.samples_ms, sent),
    ]
    print(table(f"{len(errors.due):,} new failures", figures), "\n")
    print(f"{opened:,} incidents are open of {len(errors.due) + WARM_UP:,} failures reported, warm-up included.")
    print(
        f"Alerts missing after {PATIENCE_SECONDS:.0f} s: {len(missing)} {missing[:10] or ''}; "
        f"alerts that came twice: {alerts.twice}."
    )
    whole = not missing and opened == len(errors.due) + WARM_UP
    return 0 if whole and not any(figure.missed for figure in figures) else 1


def _waits(begun: dict[int, float], ended: dict[int, float]) -> list[float]:
    return [(ended[number] - at) * 1_000 for number, at in begun.items() if number in ended]


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python3 dev.py bench alert_latency",
        description="Reports new failures at a steady rate and times each until its mail is accepted by a mail "
        "server. Exit code 1: an alert or an incident is missing, or p99 is 1 s or more.",
        epilog="The baseline is as many mails at the same rate, sent to the same mail server without Tocsin.",
    )
    parser.add_argument("--rate", type=float, default=50.0, help="new failures a second (default: 50)")
    parser.add_argument("--seconds", type=float, default=30.0, help="for how long (default: 30)")
    arguments = parser.parse_args()
    if not (0 < arguments.rate <= 1_000 and 1 <= arguments.rate * arguments.seconds <= 900_000):
        parser.error("--rate must be at most 1000, and make at least one failure in --seconds")
    return asyncio.run(measure(arguments.rate, arguments.seconds))


if __name__ == "__main__":
    raise SystemExit(main())
