"""What the use cases' tests share: a crew with duties, a channel that only remembers, and a look into the tables."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from tests.conftest import Beginning, Installation, Template, make_template, template_for
from tests.support.by_hand import Connection, connected
from tests.support.clock import FakeClock
from tests.support.lives import actor_of
from tests.support.reasons import check_reasons
from tests.support.servers import Server
from tocsin.app import accounts
from tocsin.app.work import App
from tocsin.channels import Delivered, Message, Outcome
from tocsin.domain.access import Actor, Role
from tocsin.domain.policy import Duty
from tocsin.settings import Settings
from tocsin.worker.run import run_due

PASSWORD = "correct horse battery"


def _events(message: Message) -> list[str]:
    """Return what a message is about: of a bundle, what each of its pages is."""
    pages: Any = message.payload.get("pages", [message.payload])
    return [str(page["event"]) for page in pages]


@dataclass(slots=True)
class Inbox:
    """A channel that remembers what it was given, and answers as it is told, then with success."""

    clock: FakeClock
    sent: list[tuple[datetime, str, Message]] = field(default_factory=list)
    answers: list[Outcome | Exception] = field(default_factory=list)

    async def send(self, address: str, message: Message) -> Outcome:
        """Remember the message; give the next answer."""
        self.sent.append((self.clock.now, address, message))
        answer = self.answers.pop(0) if self.answers else Delivered("250 OK")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def taken(self) -> list[tuple[str, str]]:
        """Return what came since the last look: to whom, and about what."""
        came = [(address.split("@")[0], event) for _, address, message in self.sent for event in _events(message)]
        self.sent.clear()
        return came


@pytest.fixture
def inbox(clock: FakeClock) -> Inbox:
    """The e-mail channel of these tests."""
    return Inbox(clock)


@dataclass(frozen=True, slots=True)
class Crew:
    """People, each with one duty: olga on call, sam supervisor, dee director; mia only has sessions."""

    ada: Actor
    olga: Actor
    sam: Actor
    dee: Actor
    mia: Actor


@pytest.fixture(scope="session")
def crewed(settings_elsewhere: Settings, server: Server, beginning: Template[Beginning]) -> Template[Crew]:
    """The crew, made once: a test that wants it has a clone of its database."""

    async def fill(app: App) -> Crew:
        return await _add_crew(app, beginning.made.admin)

    return make_template(settings_elsewhere, server, f"{beginning.name}_crew", beginning.name, fill)


async def _add_crew(app: App, ada: Actor) -> Crew:
    people = {"olga": Role.RESPONDER, "sam": Role.SUPERADMIN, "dee": Role.AUDITOR, "mia": Role.MEMBER}
    for name, role in people.items():
        async with app.work() as work:
            await accounts.add_user(
                work, ada, email=f"{name}@example.org", name=name.title(), role=role, password=PASSWORD
            )
    for duty, name in {Duty.ON_CALL: "olga", Duty.SUPERVISOR: "sam", Duty.DIRECTOR: "dee"}.items():
        async with app.work() as work:
            await accounts.assign_duty(work, ada, duty, f"{name}@example.org")
    actors = {name: await actor_of(app, f"{name}@example.org") for name in people}
    return Crew(ada=ada, **actors)


@pytest.fixture
def template(request: pytest.FixtureRequest, template: str) -> str:
    """Of which database the test's own is a clone: the one with the crew where it wants that."""
    return template_for(request, "crew", "crewed", otherwise=template)


@pytest.fixture
def crew(crewed: Template[Crew], installation: Installation) -> Crew:
    """The crew of this test's installation, with the duties assigned."""
    return crewed.made


@pytest.fixture
async def installation(installation: Installation) -> AsyncIterator[Installation]:
    """The installation, which after each test must have a reason for every candidate: a missing one is a bug."""
    yield installation
    await check_reasons(installation.app, installation.admin)


@dataclass(frozen=True, slots=True)
class Tables:
    """A look into the tables, as somebody who sees everything."""

    connection: Connection

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return rows as tuples."""
        return [tuple(row.values()) for row in self.connection.execute(query.encode(), parameters)]

    def value(self, query: str, *parameters: object) -> Any:
        """Return the only value of the only row."""
        ((value,),) = self.rows(query, *parameters)
        return value

    def escalations(self) -> list[tuple[str, str | None]]:
        """Return every escalation in its order: the reason, and to whom."""
        return self.rows(
            "SELECT escalation_reason, u.name FROM incident_escalations e"
            " LEFT JOIN users u ON u.id = e.escalated_to_user_id ORDER BY escalated_at, escalation_reason, e.id"
        )

    def owed(self) -> list[tuple[str, str]]:
        """Return every page in its order: to whom, and why."""
        return self.rows(
            "SELECT lower(u.name), reason FROM notifications n JOIN users u ON u.id = n.user_id"
            " ORDER BY n.created_at, n.id"
        )


@pytest.fixture
def tables(server: Server, installation: Installation, database_name: str) -> Iterator[Tables]:
    """A superuser's connection to this test's database."""
    with connected(server, database_name) as connection:
        yield Tables(connection)


def with_settings(app: App, **changes: object) -> App:
    """Return the application with other settings."""
    return App(app.database, app.settings.model_copy(update=changes), app.clock)


async def run(app: App, inbox: Inbox) -> int:
    """Run everything that is due now; return how many jobs."""
    return await run_due(app, {"email": inbox})
