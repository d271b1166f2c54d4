"""`tocsin demo`: the whole story on real parts, in a temporary place, in well under a minute.

It starts what `tocsin up` starts (embedded PostgreSQL, web server, worker), a mailbox on loopback, and a program
that really fails; then it lives through an incident over the HTTP API and tries to cheat.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

from tocsin import bootstrap, clock, ids
from tocsin.app import accounts
from tocsin.app.attempt import attempt_statements, attempt_step
from tocsin.app.log_keys import view_log
from tocsin.app.verify import verify_database
from tocsin.app.verify_log import OutsideCheckpoint
from tocsin.app.verify_result import Verification
from tocsin.app.work import App
from tocsin.bootstrap import Sources
from tocsin.child_process import end, launch
from tocsin.domain.access import Actor, Role
from tocsin.domain.incident import Severity, Status
from tocsin.domain.plural import number_of
from tocsin.domain.policy import Duty
from tocsin.domain.timeline import EntryKind
from tocsin.domain.workflow import Step
from tocsin.errors import Code, refuse
from tocsin.settings import Settings, load_settings
from tocsin.signing.signer import Signer
from tocsin.web.server import serve
from tocsin.worker.run import Worker

ADMIN = "ada@shop.example"
PEOPLE = {Duty.ON_CALL: "noor@shop.example", Duty.SUPERVISOR: "sam@shop.example", Duty.DIRECTOR: "dora@shop.example"}
PATIENCE_SECONDS = 20.0
PROGRAM_SECONDS = 30.0
LOOK_SECONDS = 0.1
SHOWN_FINDINGS = 6
_MISDEEDS = [
    "SELECT tocsin_guard.suspend()",
    "ALTER TABLE incident_heads DISABLE TRIGGER ALL",
    "ALTER TABLE incident_root_causes DISABLE TRIGGER ALL",
    "ALTER TABLE incident_escalations DISABLE TRIGGER ALL",
    "ALTER TABLE incident_lifecycle DISABLE TRIGGER ALL",
    "UPDATE incident_root_causes SET root_cause_summary = 'an outage at the provider'",
    """DELETE FROM incident_escalations x USING incident_heads h, incident_lifecycle e
       WHERE h.number = 2 AND e.checksum = h.checksum AND x.checksum = e.detail_checksum""",
    "DELETE FROM incident_lifecycle e USING incident_heads h WHERE h.number = 2 AND e.checksum = h.checksum",
    """UPDATE incident_heads h SET sequence = e.sequence, checksum = e.checksum, last_event_at = e.event_at,
              no_root_cause_24hr_at = NULL
       FROM incident_lifecycle e
       WHERE h.number = 2 AND e.incident_id = h.incident_id AND e.sequence = h.sequence - 1""",
]
"""Of one row another story; of an incident the last entry gone, its detail and the head made to fit."""


class MovableClock:
    """The machine's clock, and what the demo moved it forward by."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        """Return the moved instant."""
        return clock.system_clock() + self._ahead

    def forward(self, duration: timedelta) -> None:
        """Move it forward."""
        self._ahead += duration


@dataclass
class Mailbox:
    """A mail server's handler that keeps what arrives; `arrived` wakes who waits for a mail.

    Without slots: aiosmtpd looks at its members one by one, which Python 3.11.2 cannot do with slots.
    """

    mails: list[EmailMessage] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        """Keep a mail and say so."""
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append(message)
        self.arrived.set()
        return "250 2.0.0 kept"

    async def next_to(self, address: str, since: int) -> EmailMessage:
        """Wait for a mail to somebody that came after the first `since` ones; raise UNAVAILABLE when none comes."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not (found := [mail for mail in self.mails[since:] if mail["To"] == address]):
                    self.arrived.clear()
                    await self.arrived.wait()
        except TimeoutError:
            message = f"The demo failed: no page to {address} arrived within {PATIENCE_SECONDS:.0f} s."
            raise refuse(Code.UNAVAILABLE, message, "This is a bug in Tocsin; please report it.") from None
        return found[0]


@dataclass(slots=True)
class Stage:
    """Everything that runs during the demo."""

    console: Console
    clock: MovableClock
    sources: Sources
    app: App
    admin: Actor
    worker: Worker
    signer: Signer
    mailbox: Mailbox
    dsn: str
    http: aiohttp.ClientSession
    chapter: int = 0

    def title(self, text: str) -> None:
        """Begin a chapter."""
        self.chapter += 1
        self.console.print(f"\n{self.chapter}. {text}", style="bold", markup=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line of the story."""
        self.console.print(f"   {text}", markup=False, highlight=False, soft_wrap=True)

    async def post(self, path: str, body: dict[str, object]) -> tuple[int, dict[str, Any]]:
        """POST to the admin API; return status and answer."""
        async with self.http.post(f"/api/admin/incidents/{path}", json=body) as response:
            return response.status, await response.json(content_type=None)

    async def get(self, path: str) -> dict[str, Any]:
        """GET from the admin API."""
        async with self.http.get(f"/api/admin/incidents{path}") as response:
            answer: dict[str, Any] = await response.json()
            return answer


def play(console: Console) -> None:
    """Play the demo to its end; SIGTERM ends it as cleanly as Ctrl-C does."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    asyncio.run(run(console))


async def run(console: Console) -> None:
    """Play the demo; raises TocsinError when something does not happen that must."""
    started = clock.monotonic_seconds()
    console.print("Tocsin demo: everything below really happens, in a temporary directory.", style="bold")
    with temporary_directory() as directory:
        async with _stage(console, directory) as stage:
            await _something_breaks(stage)
            await _no_step_can_be_skipped(stage)
            await _the_incident_is_worked(stage)
            await _history_cannot_be_rewritten(stage)
            await _nobody_answers(stage)
            await _the_record_is_verified(stage)
    console.print(f"\nDone in {clock.monotonic_seconds() - started:.1f} s. Nothing is left behind.", style="bold")
    console.print("Now with your own application: `tocsin up`, then paste the DSN that it prints.")


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Give a directory that is removed afterwards, and remove those of demos that were killed."""
    base = Path(tempfile.gettempdir())
    for left in base.glob("tocsin-demo-*"):
        match = re.fullmatch(r"tocsin-demo-(\d+)-.*", left.name)
        if match and not _is_running(int(match[1])):
            shutil.rmtree(left, ignore_errors=True)
    directory = Path(tempfile.mkdtemp(prefix=f"tocsin-demo-{os.getpid()}-"))
    directory.chmod(0o755)  # the database may run as another user
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@asynccontextmanager
async def _stage(console: Console, directory: Path) -> AsyncIterator[Stage]:
    """Start what `tocsin up` starts, and a mailbox; stop all of it in the end."""
    mailbox, moved = Mailbox(), MovableClock()
    token, stop = ids.new_secret(), asyncio.Event()
    async with _mail_server(mailbox) as mail_port:
        settings = _settings(directory, mail_port, token)
        async with bootstrap.database_sources(settings) as sources:
            first = await bootstrap.prepare(sources, settings, moved)
            assert first is not None, "a temporary directory has no users yet"
            async with bootstrap.wired(sources, settings, moved) as app, bootstrap.outbound_channels(settings) as out:
                admin = await _hire(app)
                signer = bootstrap.signer_of(settings)
                assert signer is not None, "the embedded database has its signer beside it"
                worker = Worker(app, out, "demo", signer=signer)
                async with _serving(app, worker, stop) as url:
                    headers = {"Authorization": f"Bearer {token}"}
                    async with aiohttp.ClientSession(url, headers=headers) as http:
                        dsn = url.replace("://", f"://{first.key}@") + f"/{first.project_id}"
                        yield Stage(console, moved, sources, app, admin, worker, signer, mailbox, dsn, http)


@asynccontextmanager
async def _serving(app: App, worker: Worker, stop: asyncio.Event) -> AsyncIterator[str]:
    """Run web server and worker; when the block ends, however it ends, let them finish what is under way."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        parts = [
            group.create_task(serve(app, stop, host="127.0.0.1", port=0, on_ready=ready.set_result)),
            group.create_task(worker.run(stop)),
        ]
        try:
            yield await ready
        finally:
            stop.set()
            await asyncio.wait(parts, timeout=PATIENCE_SECONDS)


@asynccontextmanager
async def _mail_server(mailbox: Mailbox) -> AsyncIterator[int]:
    try:
        from aiosmtpd.smtp import SMTP  # noqa: PLC0415  # only the demo needs it
    except ModuleNotFoundError:
        hint = "Install the demo's extra: pip install 'tocsin[demo]'."
        raise refuse(Code.MISCONFIGURED, "The demo needs aiosmtpd and sentry-sdk.", hint) from None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, loop=loop), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _settings(directory: Path, mail_port: int, token: str) -> Settings:
    return load_settings(
        database_url=None,
        data_dir=directory,
        port=0,
        smtp_host="127.0.0.1",
        smtp_port=mail_port,
        smtp_security="none",
        smtp_sender="tocsin@shop.example",
        bootstrap_email=ADMIN,
        bootstrap_token=token,
        _env_file=None,
    )


async def _hire(app: App) -> Actor:
    async with app.work() as work:
        admin_id = (await accounts.find_user(work, ADMIN)).id
        admin = Actor(admin_id, "Ada", Role.SUPERADMIN)
        for duty, address in PEOPLE.items():
            name = address.split("@")[0].capitalize()
            await accounts.add_user(work, admin, email=address, name=name, role=Role.RESPONDER, password=None)
            await accounts.assign_duty(work, admin, duty, address)
        return admin


async def _run_program(stage: Stage, bug: str) -> None:
    program = await launch(
        sys.executable, "-m", "tocsin.cli.demo_program", stage.dsn, bug, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(PROGRAM_SECONDS):
            code = await program.wait()
    finally:
        await end(program)
    if code != 0:
        raise refuse(Code.UNAVAILABLE, f"The demo's program ended with {code}.", "Its own message stands above.")


async def _newest(stage: Stage) -> dict[str, Any]:
    incidents = (await stage.get("?limit=1"))["incidents"]
    if not incidents:
        raise refuse(Code.UNAVAILABLE, "The error was reported, but no incident is there.")
    newest: dict[str, Any] = incidents[0]
    return newest


async def _something_breaks(stage: Stage) -> None:
    stage.title("A program fails. Its Sentry client points at Tocsin; nothing else was configured.")
    await _run_program(stage, "checkout")
    incident = await _newest(stage)
    detail = await stage.get(f"/{incident['number']}")
    raised = detail["error"]["exceptions"][-1]
    frame = raised["frames"][-1]
    stage.say(f"{raised['type']}: {raised['message']}")
    stage.say(
        f"  in {frame['function']}, {Path(frame['filename']).name}:{frame['line']}: {frame['sourceLine'].strip()}"
    )
    stage.say(
        f"→ INC-{incident['number']} {incident['severity']} {incident['status']}, "
        f"{incident['occurrences']} occurrences of one failure"
    )
    mail = await stage.mailbox.next_to(PEOPLE[Duty.ON_CALL], 0)
    stage.say(f"→ mail to {mail['To']}: {mail['Subject']}")


async def _no_step_can_be_skipped(stage: Stage) -> None:
    stage.title("Somebody wants it off the list: resolve, without acknowledgment or root cause.")
    status, problem = await stage.post("1/resolve", {"resolutionSummary": "it went away"})
    _must(status == 409, "An incident was resolved out of order.")
    stage.say(f"HTTP {status} {problem['code']}: {problem['detail']}")
    closed = Step(EntryKind.CLOSED, Status.CLOSED, Severity.HIGH)
    said = await attempt_step(stage.app, stage.admin, 1, closed)
    _must(said is not None, "An entry out of order was accepted.")
    stage.say(f"and past the program, straight into the timeline: {said}")


async def _the_incident_is_worked(stage: Stage) -> None:
    stage.title("Noor takes it, step by step.")
    steps: list[tuple[str, dict[str, object]]] = [
        ("acknowledge", {"notes": "Looking at the checkout."}),
        (
            "root-cause",
            {
                "summary": "Articles that were taken out of the range can still be ordered.",
                "category": "SYSTEM_DEFECT",
                "remediationSteps": "Check the range before reserving.",
            },
        ),
        ("resolve", {"resolutionSummary": "Deployed shop 1.4.3 with the check."}),
        (
            "close",
            {
                "lessonsLearned": "The range changed without the shop noticing.",
                "followUpActions": [{"title": "Test the checkout against removed articles", "owner": "noor"}],
            },
        ),
    ]
    for step, body in steps:
        status, answer = await stage.post(f"1/{step}", body)
        _must(status == 200, f"{step} was refused: {answer}")
        incident = (await stage.get("/1"))["incident"]
        stage.say(f"{step:<12} → {incident['status']}")


async def _history_cannot_be_rewritten(stage: Stage) -> None:
    stage.title("Half a year later, somebody would like the story to be another one.")
    rewrite = "UPDATE incident_root_causes SET root_cause_summary = 'an outage at the provider'"
    for who, conninfo, before in (
        ("the application's role", stage.sources.application, []),
        ("the owner of the tables", stage.sources.migrator, ["SET ROLE tocsin_owner"]),
    ):
        said = await attempt_statements(conninfo, [*before, rewrite])
        _must(said is not None, f"{who} could rewrite history.")
        stage.say(f"{who}: {said}")


async def _nobody_answers(stage: Stage) -> None:
    stage.title("A worse failure at night, and nobody answers. The clock runs fast now.")
    before = len(stage.mailbox.mails)
    await _run_program(stage, "payment")
    incident = await _newest(stage)
    first = await stage.mailbox.next_to(PEOPLE[Duty.ON_CALL], before)
    stage.say(f"at once    → {first['To']}: {first['Subject']}")
    for hours, duty in ((1, Duty.ON_CALL), (3, Duty.SUPERVISOR), (20, Duty.DIRECTOR)):
        before = len(stage.mailbox.mails)
        stage.clock.forward(timedelta(hours=hours))
        stage.worker.wake()
        mail = await stage.mailbox.next_to(PEOPLE[duty], before)
        stage.say(f"{hours:>2} h later → {mail['To']}: {mail['Subject']}")
    escalations = (await stage.get(f"/{incident['number']}"))["escalations"]
    stage.say(f"recorded: {', '.join(escalation['escalationReason'] for escalation in escalations)}")


async def _the_record_is_verified(stage: Stage) -> None:
    stage.title("The whole record is recomputed: every checksum, every chain, and the log of it all.")
    checkpoint = await _everything_signed(stage)
    stage.say("The log's signed checkpoint, which everybody who is paged gets, too:")
    for line in checkpoint.rstrip("\n").split("\n"):
        stage.say(f"  {line}".rstrip())
    result = await _verify(stage)
    _must(not result.findings_in_all, f"The record does not verify: {result.findings}")
    rows, incidents = number_of(result.rows, "row"), number_of(result.incidents, "incident")
    stage.say(f"{rows} of {incidents}: all as they were recorded and signed.")
    stage.say("Now the database's superuser switches the triggers off, edits a row, and cuts the last entry off INC-2:")
    said = await attempt_statements(stage.sources.migrator, _MISDEEDS)
    _must(said is None, f"The superuser was refused: {said}")
    tampered = await _verify(stage)
    _must(tampered.findings_in_all > 0, "An edited row was not noticed.")
    for finding in tampered.findings[:SHOWN_FINDINGS]:
        stage.say(f"tocsin verify --db: {finding.table} {finding.row_id}: {finding.problem}")


async def _everything_signed(stage: Stage) -> str:
    """Wait until what was recorded is in the log and signed; return the checkpoint."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                async with stage.app.work() as work:
                    view = await view_log(work)
                if view.checkpoint is not None and not view.waiting and view.signed_size == view.size:
                    return view.checkpoint
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        message = f"The demo failed: the log was not signed within {PATIENCE_SECONDS:.0f} s."
        raise refuse(Code.UNAVAILABLE, message, "This is a bug in Tocsin; please report it.") from None


async def _verify(stage: Stage) -> Verification:
    memory = stage.signer.memory()
    known = OutsideCheckpoint("the signer's memory", memory.size, memory.root, memory.note)
    async with stage.app.work(streaming=True) as work:
        return await verify_database(work, outside=[known])


def _must(holds: bool, otherwise: str) -> None:  # reads as a sentence where it is called
    if not holds:
        raise refuse(Code.CONFLICT, f"The demo failed: {otherwise}", "This is a bug in Tocsin; please report it.")
