"""Timers at scale: a million incidents that nobody has acknowledged, ten thousand of their timers due at one instant.

Four workers, each a process, run on the machine's clock, which is off by what loading took. First single timers are due
at random instants, each of an on-call of its own: from the due instant to the mail in the mailbox. Then the burst, all
of it of one on-call: until the last escalation is committed and its page owed. One person gets one message a minute, so
the pages of the burst come in bundles, long after: of these the first is timed.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import re
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email import message_from_bytes, policy
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from aiosmtpd.smtp import SMTP
from psycopg.conninfo import make_conninfo

from bench.support import loading, processes
from bench.support.figures import Figure, table, timed
from bench.support.installation import Installation, installed, settings_at, temporary_directory, wait_for_stop
from bench.support.mail_sink import mail_settings
from bench.support.population import SECOND, instant_us
from bench.support.processes import OffClock
from bench.support.progress import say
from bench.support.resources import ServerProcesses
from bench.support.waiting import BURST_SECONDS, LAST_SINGLE_SECONDS, Waiting, service_of, write
from tocsin import embedded
from tocsin.app import accounts
from tocsin.app.seal import seal_everything
from tocsin.clock import monotonic_seconds, system_clock
from tocsin.domain.access import Role
from tocsin.domain.policy import Duty
from tocsin.embedded.layout import Layout
from tocsin.ids import new_id
from tocsin.settings import Settings

WORKERS = 4
SINGLE_GOAL_MS = 1_000.0
BURST_GOAL_SECONDS = 15.0
LEAD_SECONDS = 20.0
"""Until the measurement begins: the workers start meanwhile, and what they do at their start is over."""
PATIENCE_SECONDS = 150.0
LOOK_SECONDS = 0.1
TRANSACTIONS = 200
ON_CALL = "noor@bench.example"
REASON = "NO_ACK_1HR"
_MARK = "waiting.json"
_NUMBERS = re.compile(r"INC-(\d+)")
_PLAIN = """
CREATE TABLE public.plain_timers (id uuid PRIMARY KEY, due_at timestamptz NOT NULL);
INSERT INTO public.plain_timers
SELECT gen_random_uuid(), now() + CASE WHEN n <= {burst} THEN interval '-1 second' ELSE interval '1 day' END
FROM generate_series(1, {pending}) n;
CREATE INDEX ON public.plain_timers (due_at);
ANALYZE public.plain_timers
"""
_TAKE_ONE = """
DELETE FROM public.plain_timers WHERE id =
    (SELECT id FROM public.plain_timers WHERE due_at <= now() ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
"""
_FIRED = "SELECT count(*) FROM tocsin.incident_escalations WHERE escalation_reason = 'NO_ACK_1HR'"
_OWED = """
SELECT i.number, n.state, count(*) FROM tocsin.notifications n JOIN tocsin.incidents i ON i.id = n.incident_id
WHERE n.reason = 'NO_ACK_1HR' GROUP BY 1, 2
"""


async def mail_server(line: Connection, kept: Path) -> None:
    """Be a mail server on loopback; sends its port. Of each mail a line goes to a file: when, which incidents."""
    file = kept.open("a", buffering=1)

    class Mailbox:
        async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
            # Read as a person reads it: on its way a long line is broken, in the middle of a number too.
            mail = message_from_bytes(envelope.content, policy=policy.default)
            numbers = sorted({int(number) for number in _NUMBERS.findall(mail.get_content())})
            file.write(f"{monotonic_seconds()} {' '.join(map(str, numbers))}\n")
            return "250 2.0.0 kept"

    stop, loop = processes.stop_at_end_of(line), asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Mailbox(), loop=loop), "127.0.0.1", 0)
    async with server:
        line.send(server.sockets[0].getsockname()[1])
        await stop.wait()


@dataclass(slots=True)
class Mailbox:
    """When the first mail that names an incident was taken, how many do, and how many mails there were."""

    kept: Path
    at: dict[int, float] = field(default_factory=dict)
    times: Counter[int] = field(default_factory=Counter)
    mails: int = 0
    _read_bytes: int = 0

    def look(self) -> None:
        """Take note of the mails that have come since the last look."""
        with self.kept.open("rb") as file:
            file.seek(self._read_bytes)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read_bytes += len(line)
                at, *numbers = line.split()
                self.mails += 1
                for number in map(int, numbers):
                    self.times[number] += 1
                    self.at.setdefault(number, float(at))


@dataclass(slots=True)
class Burst:
    """How the burst went, in seconds after its instant; None: it did not come to that."""

    fired: dict[float, int] = field(default_factory=dict)
    last_owed: float | None = None
    first_delivered: float | None = None
    delivered: int = 0
    cpu_seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured."""

    waiting: Waiting
    baseline_seconds: float
    transaction: Figure
    singles: Figure
    burst: Burst
    mailbox: Mailbox
    owed: Sequence[tuple[int, str, int]]

    @property
    def missed(self) -> list[int]:
        """Return the incidents whose timer was due and whose page is not owed, or which came to nobody by itself."""
        owed = {number for number, _, _ in self.owed}
        return sorted(
            {*self.waiting.burst_numbers} - owed | {*self.waiting.single_numbers} - (owed & self.mailbox.at.keys())
        )

    @property
    def twice(self) -> list[int]:
        """Return the incidents of which more than one page was owed, or came."""
        counts = Counter[int]()
        for number, _, count in self.owed:
            counts[number] += count
        came = {number for number, times in self.mailbox.times.items() if times > 1}
        return sorted(came | {number for number, count in counts.items() if count > 1})

    @property
    def met(self) -> bool:
        """Tell whether nothing is missing or there twice, and both goals are met."""
        last = self.burst.last_owed
        in_time = last is not None and last <= BURST_GOAL_SECONDS
        return not self.missed and not self.twice and in_time and not self.singles.missed


# -- loading ----------------------------------------------------------------------------------------------------------


def prepare(directory: Path, pending: int, singles: int, burst: int) -> Waiting:
    """Load the database into a directory, unless it is there."""
    mark = directory / _MARK
    if mark.exists():
        return msgspec.json.decode(mark.read_bytes(), type=Waiting)
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)  # PostgreSQL may run as another user
    waiting = asyncio.run(_load(directory, pending, singles, burst))
    wait_for_stop(directory)
    mark.write_bytes(msgspec.json.encode(waiting))
    return waiting


async def _load(directory: Path, pending: int, singles: int, burst: int) -> Waiting:
    began, now = monotonic_seconds(), system_clock()
    with embedded.use(directory, settings=loading.FOR_LOADING):
        async with installed(settings_at(directory)) as installation:
            await _hire(installation, singles)
            waiting = Waiting(pending, singles, burst, instant_us(now), str(installation.admin.user_id))
            await asyncio.to_thread(loading.load, installation.sources.migrator, pending, partial(write, waiting))
            say("Sealing…")
            await seal_everything(installation.app)
            await asyncio.to_thread(loading.check_sample, installation.sources.migrator)
    say(f"Loaded in {monotonic_seconds() - began:.0f} s.")
    return waiting


async def _hire(installation: Installation, singles: int) -> None:
    """Give the duty to one person, and each single timer's service to another."""
    async with installation.app.work() as work:
        for email in (ON_CALL, *(_email(number) for number in range(1, singles + 1))):
            name = email.partition("@")[0]
            await accounts.add_user(
                work, installation.admin, email=email, name=name, role=Role.RESPONDER, password=None
            )
        await accounts.assign_duty(work, installation.admin, Duty.ON_CALL, ON_CALL)
    _route(installation.sources.migrator, singles)


def _route(superuser: str, singles: int) -> None:
    """Let each single timer's service follow a policy that pages its own person, else as the default one does."""
    with psycopg.connect(superuser, options="-c search_path=tocsin") as connection:
        for number in range(1, singles + 1):
            policy, service = new_id(), service_of(number)
            connection.execute(
                "INSERT INTO policies (id, name, is_default, created_at) VALUES (%s, %s, false, now())",
                [policy, service],
            )
            connection.execute(
                "INSERT INTO policy_steps SELECT %s, s.position, s.reason, s.after_seconds"
                " FROM policy_steps s JOIN policies p ON p.id = s.policy_id AND p.is_default",
                [policy],
            )
            connection.execute(
                "INSERT INTO policy_targets (policy_id, step, position, user_id)"
                " SELECT %s, s.position, 0, u.id FROM policy_steps s, users u WHERE s.policy_id = %s AND u.email = %s",
                [policy, policy, _email(number)],
            )
            connection.execute(
                "INSERT INTO policy_routes (id, position, service, policy_id) VALUES (%s, %s, %s, %s)",
                [new_id(), number - 1, service, policy],
            )


def _email(number: int) -> str:
    return f"{service_of(number)}@bench.example"


# -- measuring --------------------------------------------------------------------------------------------------------


async def measure(directory: Path, waiting: Waiting) -> Report:
    """Run everything on a loaded database."""
    kept = directory / "mails"
    kept.touch()
    with processes.running(mail_server, kept) as (port, _):
        settings = settings_at(directory, **mail_settings(port))
        async with installed(settings) as installation:
            say("The baselines…")
            transaction = await timed("transaction with SELECT 1", TRANSACTIONS, lambda _: _nothing(installation))
            baseline = await asyncio.to_thread(claim_plainly, installation.sources.migrator, waiting)
            mailbox, begins = Mailbox(kept), monotonic_seconds() + LEAD_SECONDS
            now_us = instant_us(system_clock()) + int(LEAD_SECONDS * SECOND)
            off = OffClock(timedelta(microseconds=waiting.begins_us - now_us))
            async with _workers(installation, settings, off, directory) as server:
                say(f"{waiting.singles} timers, one by one…")
                await _sleep_until(begins + LAST_SINGLE_SECONDS + 2)
                say(f"{waiting.burst:,} timers at once…")
                burst = await _burst(installation, waiting, mailbox, begins + BURST_SECONDS, server)
            with psycopg.connect(installation.sources.migrator) as connection:
                owed = connection.execute(_OWED).fetchall()
    waits = [
        (mailbox.at[number] - begins) * 1_000 - (waiting.due_us(number) - waiting.begins_us) / 1_000
        for number in waiting.single_numbers
        if number in mailbox.at
    ]
    singles = Figure("due timer, its page in the mailbox", waits or [1e9], transaction, SINGLE_GOAL_MS, 99)
    return Report(waiting, baseline, transaction, singles, burst, mailbox, owed)


async def _nothing(installation: Installation) -> None:
    async with installation.app.work() as work:
        await work.tx.value(b"SELECT 1")


async def _sleep_until(instant: float) -> None:
    await asyncio.sleep(max(instant - monotonic_seconds(), 0.0))


@asynccontextmanager
async def _workers(
    installation: Installation, settings: Settings, clock: OffClock, directory: Path
) -> AsyncIterator[ServerProcesses]:
    with ExitStack() as stack:
        pids = [
            stack.enter_context(processes.running(processes.worker, installation.sources, settings, clock))[0]
            for _ in range(WORKERS)
        ]
        postmaster = int(Layout.at(directory).pid_file.read_text().split("\n", 1)[0])
        names = {f"worker {place}": pid for place, pid in enumerate(pids, 1)}
        yield ServerProcesses({"postgres": postmaster, **names})


async def _burst(
    installation: Installation, waiting: Waiting, mailbox: Mailbox, instant: float, server: ServerProcesses
) -> Burst:
    burst, numbers = Burst(), waiting.burst_numbers
    await _sleep_until(instant - 1)
    before = server.cpu_seconds()
    async with await psycopg.AsyncConnection.connect(installation.sources.migrator, autocommit=True) as connection:
        deadline = instant + PATIENCE_SECONDS
        while monotonic_seconds() < deadline and (burst.last_owed is None or burst.first_delivered is None):
            await asyncio.sleep(LOOK_SECONDS)
            mailbox.look()
            if burst.last_owed is None:
                row = await (await connection.execute(_FIRED)).fetchone()
                after = monotonic_seconds() - instant
                burst.fired[after] = (row[0] if row else 0) - waiting.singles
                if burst.fired[after] == waiting.burst:
                    burst.last_owed = after
                    used = server.cpu_seconds()
                    burst.cpu_seconds = {name: used[name] - before[name] for name in used}
            came = [mailbox.at[number] for number in numbers if number in mailbox.at]
            burst.delivered = len(came)
            burst.first_delivered = min(came) - instant if came else None
    return burst


def claim_plainly(superuser: str, waiting: Waiting) -> float:
    """Return how long as many processes need to take as many rows from a plain table, a commit each (seconds)."""
    superuser = make_conninfo(superuser, dbname="postgres")  # our own database takes no table with an index
    with psycopg.connect(superuser) as connection:
        connection.execute(_PLAIN.format(burst=waiting.burst, pending=waiting.pending).encode())
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(WORKERS + 1)
    takers = [spawn.Process(target=_take_all, args=(superuser, together)) for _ in range(WORKERS)]
    for taker in takers:
        taker.start()
    together.wait()
    began = monotonic_seconds()
    for taker in takers:
        taker.join()
    seconds = monotonic_seconds() - began
    with psycopg.connect(superuser) as connection:
        connection.execute("DROP TABLE public.plain_timers")
    return seconds


def _take_all(superuser: str, together: Any) -> None:
    with psycopg.connect(superuser, autocommit=True) as connection:
        together.wait()
        while connection.execute(_TAKE_ONE).rowcount:
            pass


# -- telling ----------------------------------------------------------------------------------------------------------


def tell(report: Report) -> None:
    """Print the figures."""
    waiting, burst = report.waiting, report.burst
    title = f"{waiting.pending:,} timers pending, {WORKERS} workers"
    print(table(title, [report.transaction, report.singles]), "\n")
    print(f"{waiting.burst:,} timers due at one instant (seconds after it):")
    print(f"  plain rows taken, a commit each:   {report.baseline_seconds:8.2f}  baseline")
    for name, seconds, goal in (
        ("last escalation committed, page owed", burst.last_owed, f"  goal {BURST_GOAL_SECONDS:g}"),
        ("first of these pages in the mailbox", burst.first_delivered, ""),
    ):
        shown = f"{seconds:8.2f}  x {seconds / report.baseline_seconds:.1f}{goal}" if seconds else "   never"
        print(f"  {name + ':':<36}{shown}")
    used = ", ".join(f"{name} {seconds:.1f}" for name, seconds in burst.cpu_seconds.items())
    print(f"  CPU seconds until the last was owed: {used}")
    print(f"  of its pages in the mailbox by then: {burst.delivered:,}; the others come in bundles, one a minute")
    print(f"Mails: {report.mailbox.mails:,}. Missed: {len(report.missed)} {report.missed[:5] or ''}. ", end="")
    print(f"Twice: {len(report.twice)} {report.twice[:5] or ''}.")


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python3 dev.py bench timers",
        description="Loads a million incidents whose timers wait, lets single ones and then ten thousand at once "
        "become due, and verifies that each paged once. Exit code 1: a goal or a page is missing, or one came twice.",
        epilog="The baselines are a transaction with SELECT 1, and as many rows of a plain table that as many "
        "processes take one by one.",
    )
    parser.add_argument("--pending", type=int, default=1_000_000, help="timers (default: %(default)s)")
    parser.add_argument("--singles", type=int, default=150, help="due one by one (default: %(default)s)")
    parser.add_argument("--burst", type=int, default=10_000, help="due at one instant (default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what was loaded there; runs use copies")
    arguments = parser.parse_args()
    if not (10 <= arguments.singles <= 1_000 and 1 <= arguments.burst <= 100_000):
        parser.error("--singles must be 10 to 1,000, --burst 1 to 100,000")
    if not arguments.singles + arguments.burst <= arguments.pending <= 10_000_000:
        parser.error("--pending must be at least the singles and the burst, at most 10 million")
    with temporary_directory() as directory:
        place = directory / "database"
        loaded = arguments.keep or place
        waiting = prepare(loaded, arguments.pending, arguments.singles, arguments.burst)
        if loaded != place:
            # A run uses its timers up. `cp` keeps the owner, who may be another user.
            subprocess.run(["cp", "-a", "--reflink=auto", loaded, place], check=True)
        report = asyncio.run(measure(place, waiting))
    tell(report)
    return 0 if report.met else 1


if __name__ == "__main__":
    raise SystemExit(main())
