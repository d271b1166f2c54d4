"""Incidents that have lived: one at each stage, with every kind of detail, made by the use cases themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from pydantic import SecretStr

from tests.support.clock import FakeClock
from tests.support.reporting import accept
from tests.support.servers import Server
from tests.support.wiring import wired
from tocsin import ids
from tocsin.app import accounts, audit, escalate, respond
from tocsin.app.accounts import first_start
from tocsin.app.report_errors import Accepted
from tocsin.app.work import App
from tocsin.domain.access import Actor, Role
from tocsin.domain.follow_up import FollowUpAction
from tocsin.domain.incident import EscalationReason, RootCauseCategory, Severity
from tocsin.domain.report import ErrorReport
from tocsin.domain.workflow import Acknowledge, AddNote, ChangeSeverity, Close, Escalate, RecordRootCause, Resolve
from tocsin.settings import Settings
from tocsin.store import notifications, users

LESSONS = "Watch the queue's depth."
FOLLOW_UPS = (FollowUpAction("Alert on queue depth", "ana", "2026-12-01"),)
ROOT_CAUSE = RecordRootCause("The pool was too small", RootCauseCategory.CONFIGURATION, "Raised it to 50")
RESOLVED = Resolve("The pool has 50 connections now")
RESOLVED_WITH_LESSONS = Resolve(
    "The pool has 50 connections now", "Deployed at noon", "Checkout failed for 4 minutes", LESSONS, FOLLOW_UPS
)


def error_report(
    failure: str = "ConnectionError",
    severity: Severity = Severity.HIGH,
    *,
    event_id: str | None = None,
    message: str = "connection refused",
) -> ErrorReport:
    """Return a report of the failure of this name."""
    return ErrorReport(
        event_id=event_id or ids.new_id().hex,
        severity=severity,
        error_type=failure,
        message=message,
        occurred_at=FakeClock().now,
        fingerprint=(failure,),
    )


async def reported(app: App, failure: str = "ConnectionError", severity: Severity = Severity.HIGH) -> UUID:
    """Report a failure; return the incident that it opened or joined."""
    taken = await accept_one(app, error_report(failure, severity))
    assert taken.incident_id is not None
    return taken.incident_id


async def accept_one(app: App, report: ErrorReport) -> Accepted:
    """Take in one report of project 1."""
    return (await accept(app, 1, [report]))[0]


@asynccontextmanager
async def application(server: Server, database: str, clock: FakeClock, **overrides: object) -> AsyncIterator[App]:
    """Give the application on a migrated database; `overrides` are settings."""
    settings = Settings(
        database_url=SecretStr(server.conninfo(database, user="tocsin_app")),
        secret_key=SecretStr("a secret key for the tests, long enough"),
        bootstrap_email="ada@example.org",
        bootstrap_password=SecretStr("correct horse battery"),
        **overrides,  # type: ignore[arg-type]
        _env_file=None,
    )  # type: ignore[call-arg]  # pydantic's own keyword argument
    async with wired(settings, clock) as app:
        yield app


async def actor_of(app: App, email: str) -> Actor:
    """Return a user as the one who acts."""
    async with app.work() as work:
        user = await users.by_email(work.tx, email)
    assert user is not None
    return user.actor()


@dataclass(frozen=True, slots=True)
class Lived:
    """The incidents of a database that has lived, each by the stage at which it stands."""

    admin: UUID
    incidents: dict[str, UUID]

    def __getitem__(self, stage: str) -> UUID:
        return self.incidents[stage]


async def live(app: App, clock: FakeClock) -> Lived:
    """Fill a fresh database: an incident at each stage, escalated, joined, noted, blocked, closed in both ways."""
    async with app.work() as work:
        await first_start(work)
    admin = await actor_of(app, "ada@example.org")
    async with app.work() as work:
        await accounts.add_user(work, admin, email="bob@example.org", name="Bob", role=Role.RESPONDER, password=None)
    lived = Lived(admin.user_id, {})
    for stage, severity in STAGES.items():
        lived.incidents[stage] = await reported(app, stage, severity)
    await _escalations(app, admin, lived, clock)
    clock.forward(minutes=1)
    for stage in ("acknowledged", "investigating", "cause known", "resolved", "closed", "closed at once"):
        async with app.work() as work:
            await respond.acknowledge(work, admin, lived[stage], Acknowledge("On it"))
    await _later_stages(app, admin, lived, clock)
    await _access(app, admin)
    await _delivery(app, lived, clock)
    return lived


STAGES = {
    "reported": Severity.HIGH,
    "escalated": Severity.CRITICAL,
    "acknowledged": Severity.HIGH,
    "investigating": Severity.HIGH,
    "cause known": Severity.HIGH,
    "resolved": Severity.HIGH,
    "closed": Severity.HIGH,
    "closed at once": Severity.CRITICAL,
}
"""The stages, and with which severity an incident comes to each. "escalated" is reported, and has seen it all."""


async def _escalations(app: App, admin: Actor, lived: Lived, clock: FakeClock) -> None:
    incident_id = lived["escalated"]
    clock.forward(hours=25)
    # All timers at once, the blocking of sessions among them, as after a long downtime.
    async with app.work() as work:
        await escalate.run_timers(work, incident_id)
    action = Escalate(EscalationReason.MANUAL_ESCALATION, "I need help")
    async with app.work() as work:
        escalation_id = await escalate.escalate_by_hand(work, admin, incident_id, "ada@example.org", action)
    clock.forward(seconds=1)
    async with app.work() as work:
        await escalate.acknowledge_escalation(work, admin, incident_id, escalation_id)
    async with app.work() as work:
        await escalate.change_severity(work, admin, incident_id, ChangeSeverity(Severity.HIGH, "Only one shop"))
    await accept_one(app, error_report("escalated", Severity.CRITICAL))
    await accept_one(app, error_report("only recorded", Severity.LOW))


async def _later_stages(app: App, admin: Actor, lived: Lived, clock: FakeClock) -> None:
    clock.forward(minutes=1)
    async with app.work() as work:
        await respond.start_investigation(work, admin, lived["investigating"])
    for stage in ("cause known", "resolved", "closed", "closed at once"):
        async with app.work() as work:
            cause = RecordRootCause("Too small a pool", RootCauseCategory.CONFIGURATION, "Raised it", clock.now)
            await respond.record_root_cause(work, admin, lived[stage], cause)
    clock.forward(minutes=1)
    for stage, action in {"resolved": RESOLVED, "closed": RESOLVED, "closed at once": RESOLVED_WITH_LESSONS}.items():
        async with app.work() as work:
            await respond.resolve(work, admin, lived[stage], action)
    clock.forward(minutes=1)
    async with app.work() as work:
        await respond.add_note(work, admin, lived["closed"], AddNote("Customers are told"))
    async with app.work() as work:
        await respond.close(work, admin, lived["closed"], Close(LESSONS, FOLLOW_UPS))


async def _access(app: App, admin: Actor) -> None:
    async with app.work() as work:
        await audit.record_access(
            work,
            user_id=admin.user_id,
            credential="token:1",
            action="incidents.list",
            target="",
            client_address="127.0.0.1",
            user_agent="tests",
            status=200,
            outcome="OK",
            request_id=work.new_id(),
        )


async def _delivery(app: App, lived: Lived, clock: FakeClock) -> None:
    async with app.work() as work:
        page = (await notifications.of_incident(work.tx, lived["reported"]))[0]
        attempt_id = work.new_id()
        await notifications.begin_attempt(work.tx, {page.id: attempt_id}, clock.now, "tests")
        await notifications.end_attempt(work.tx, [attempt_id], clock.now, "RETRY", "451 try again later")
