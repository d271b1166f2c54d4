"""What `policies simulate` foretells happens: the same pages and reasons, over generated policies, people and answers.

The real run is on PostgreSQL, from due instant to due instant of its jobs; the forecast is made just before it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from tests.conftest import Installation
from tests.support.by_hand import Connection, connected
from tests.support.clock import FakeClock
from tests.support.lives import RESOLVED_WITH_LESSONS, ROOT_CAUSE, accept_one, actor_of, error_report
from tests.support.policies import add_policy
from tests.support.servers import Server
from tocsin import ids
from tocsin.app import accounts, respond
from tocsin.app.simulate import Foreseen, Question, simulate
from tocsin.app.why import explain, unexplained
from tocsin.app.work import App
from tocsin.channels import Delivered, Message, Outcome
from tocsin.domain.access import Actor, Role
from tocsin.domain.contact_method import CHANNELS
from tocsin.domain.incident import Severity
from tocsin.domain.notification import shown_address
from tocsin.domain.policy import Duty, Step, StepReason, Target
from tocsin.domain.workflow import Acknowledge
from tocsin.worker.run import run_due

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

NAMES = ("Ann", "Bo", "Cy", "Di", "Ed")
MEMBER = st.integers(0, len(NAMES) - 1)
# Half hours on a coarse grid: that things fall together at one instant is what is to be tried.
HALF_HOURS = st.integers(1, 16).map(lambda count: timedelta(minutes=30 * count))
# Off that grid: whether a page that waits goes out or is cancelled at the very instant of an answer is a race.
WAITS = st.sampled_from([0, 7, 37, 97])


@dataclass(frozen=True, slots=True)
class Person:
    """Whether somebody is active, by which channels they are reached (verified or not), and after what (minutes)."""

    active: bool
    methods: list[tuple[str, bool]]
    rules: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Turns:
    """A schedule: who takes turns of how many hours from when on and until when, with overrides."""

    members: list[int]
    hours: int
    people: int
    ends: timedelta | None
    overrides: list[tuple[int, timedelta, timedelta]]


Whom = tuple[str, int]
"""A target: a user, a schedule or a duty, by its place."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything that decides who is paged, and what is done about the incident after how long."""

    people: list[Person]
    schedules: list[Turns]
    duties: list[Whom | None]
    steps: list[tuple[StepReason, timedelta, list[Whom]]]
    repeat: int
    lease: timedelta | None
    silences: list[tuple[timedelta, timedelta]]
    severity: Severity
    delays: list[timedelta] = field(default_factory=list)
    """After how long it is acknowledged, its root cause recorded, closed; fewer if that never happens."""
    by: int | None = None


PEOPLE = st.lists(
    st.builds(
        Person,
        st.integers(0, 5).map(bool),
        st.lists(st.tuples(st.sampled_from(["email", "webhook", "ntfy"]), st.booleans()), max_size=3, unique_by=str),
        st.lists(st.tuples(WAITS, st.integers(0, 2)), max_size=3, unique=True),
    ),
    min_size=len(NAMES),
    max_size=len(NAMES),
)
SCHEDULES = st.lists(
    st.builds(
        Turns,
        st.lists(MEMBER, min_size=1, max_size=3, unique=True),
        st.integers(1, 6),
        st.integers(1, 2),
        st.none() | HALF_HOURS,
        st.lists(st.tuples(MEMBER, HALF_HOURS, HALF_HOURS), max_size=2),
    ),
    min_size=2,
    max_size=2,
)
HOLDER = st.one_of(st.tuples(st.just("user"), MEMBER), st.tuples(st.just("schedule"), st.integers(0, 1)))
WHOM = st.one_of(HOLDER, st.tuples(st.just("duty"), st.integers(0, 2)))
TARGETS = st.lists(WHOM, min_size=1, max_size=3, unique=True)


def _hours(count: int) -> timedelta:
    return timedelta(hours=count)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Any arrangement, and an incident in it."""
    steps = [(StepReason.INCIDENT_OPENED, timedelta(), draw(TARGETS))]
    for reason in (StepReason.NO_ACK_1HR, StepReason.NO_ACK_4HR, StepReason.NO_ROOT_CAUSE_24HR):
        steps.append((reason, draw(HALF_HOURS), draw(TARGETS)))
    for _ in range(draw(st.integers(0, 3))):
        steps.append((StepReason.POLICY_STEP, draw(HALF_HOURS), draw(TARGETS)))
    people = draw(PEOPLE)
    active = [index for index, one in enumerate(people) if one.active]
    return World(
        people=people,
        schedules=draw(SCHEDULES),
        duties=draw(st.lists(st.none() | HOLDER, min_size=3, max_size=3)),
        steps=steps,
        repeat=draw(st.integers(0, 2)),
        lease=draw(st.none() | HALF_HOURS),
        silences=draw(
            st.lists(st.tuples(st.integers(-2, 8).map(lambda n: timedelta(hours=n)), HALF_HOURS), max_size=2)
        ),
        severity=draw(st.sampled_from([Severity.HIGH, Severity.CRITICAL])),
        delays=sorted(draw(st.lists(HALF_HOURS, max_size=3))),
        by=draw(st.sampled_from(active)) if active else None,
    )


@dataclass(slots=True)
class Deaf:
    """A channel that takes everything."""

    async def send(self, _address: str, _message: Message) -> Outcome:
        """Say that it arrived."""
        return Delivered("250 OK")


CHANNEL_FOR_ALL = {name: Deaf() for name in CHANNELS}


@dataclass(slots=True)
class Stage:
    """One database in which one incident after the other is played, each in a world of its own."""

    app: App
    admin: Actor
    connection: Connection
    clock: FakeClock
    people: list[Actor]
    number: int = 0
    schedule_ids: list[UUID] = field(default_factory=list)

    def arrange(self, world: World) -> str:
        """Let the database be this world; return the service that follows its policy."""
        self.number += 1
        service, now = f"service {self.number}", self.clock.now
        connection = self.connection
        connection.execute("DELETE FROM jobs")
        connection.execute("DELETE FROM policy_routes")
        connection.execute("DELETE FROM policies WHERE NOT is_default")
        connection.execute("DELETE FROM duties")
        connection.execute("DELETE FROM schedules")
        for actor, person in zip(self.people, world.people, strict=True):
            self._person(actor.user_id, person)
        self.schedule_ids = [self._schedule(turns, now) for turns in world.schedules]
        for duty, holder in zip(Duty, world.duties, strict=True):
            if holder is not None:
                target = self.target(holder)
                connection.execute(
                    "INSERT INTO duties (duty, user_id, schedule_id, assigned_at) VALUES (%s, %s, %s, %s)",
                    [duty, target.user_id, target.schedule_id, now],
                )
        steps = [Step(reason, after, tuple(map(self.target, whom))) for reason, after, whom in world.steps]
        add_policy(connection, "played", steps, service=service, repeat=world.repeat, lease=world.lease)
        for starts, length in world.silences:
            connection.execute(
                "INSERT INTO silences (id, kind, service, starts_at, ends_at, reason, created_by, created_at)"
                " VALUES (%s, 'SILENCE', %s, %s, %s, 'Quiet, please', %s, %s)",
                [ids.new_id(), service, now + starts, now + starts + length, self.admin.user_id, now],
            )
        return service

    def target(self, whom: Whom) -> Target:
        """Return a target by its place."""
        kind, place = whom
        if kind == "user":
            return Target(user_id=self.people[place].user_id)
        return Target(schedule_id=self.schedule_ids[place]) if kind == "schedule" else Target(duty=list(Duty)[place])

    def _person(self, user_id: UUID, person: Person) -> None:
        connection, now = self.connection, self.clock.now
        connection.execute("UPDATE users SET active = %s WHERE id = %s", [person.active, user_id])
        connection.execute("DELETE FROM contact_methods WHERE user_id = %s", [user_id])
        method_ids = []
        for channel, verified in person.methods:
            method_ids.append(ids.new_id())
            connection.execute(
                "INSERT INTO contact_methods (id, user_id, channel, address, created_at, verified_at)"
                " VALUES (%s, %s, %s, %s, %s, %s)",
                [
                    method_ids[-1],
                    user_id,
                    channel,
                    _address(channel, f"{user_id}-{len(method_ids)}"),
                    now,
                    now if verified else None,
                ],
            )
        for minutes, place in person.rules:
            if place < len(method_ids):
                connection.execute(
                    "INSERT INTO notification_rules (id, user_id, contact_method_id, after_seconds, created_at)"
                    " VALUES (%s, %s, %s, %s, %s)",
                    [ids.new_id(), user_id, method_ids[place], minutes * 60, now],
                )

    def _schedule(self, turns: Turns, now: datetime) -> UUID:
        schedule_id, layer_id = ids.new_id(), ids.new_id()
        self.connection.execute(
            "INSERT INTO schedules VALUES (%s, %s, 'Europe/Vienna', %s, %s)",
            [schedule_id, f"schedule {schedule_id}", turns.people, now],
        )
        self.connection.execute(
            "INSERT INTO schedule_layers (id, schedule_id, position, name, rotation, every, starts_on, hand_off,"
            " restrictions, ends_at) VALUES (%s, %s, 0, 'turns', 'HOURLY', %s, %s, '00:00', %s, %s)",
            [layer_id, schedule_id, turns.hours, now.date(), Jsonb([]), now + turns.ends if turns.ends else None],
        )
        for position, place in enumerate(turns.members):
            row = [layer_id, position, self.people[place].user_id]
            self.connection.execute("INSERT INTO schedule_members VALUES (%s, %s, %s)", row)
        for place, starts, length in turns.overrides:
            user_id = self.people[place].user_id
            self.connection.execute(
                "INSERT INTO schedule_overrides (id, schedule_id, user_id, starts_at, ends_at, created_by, created_at)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s)",
                [ids.new_id(), schedule_id, user_id, now + starts, now + starts + length, self.admin.user_id, now],
            )
        return schedule_id

    async def foresee(self, world: World, service: str) -> Foreseen:
        """Ask what will happen."""
        delays = [*world.delays, None, None, None][:3] if world.by is not None else [None] * 3
        by = f"{NAMES[world.by].lower()}@example.org" if world.by is not None else None
        question = Question(
            self.clock.now,
            world.severity,
            service=service,
            project=1,
            ack_after=delays[0],
            root_cause_after=delays[1],
            close_after=delays[2],
            ack_by=by,
            days=1,
        )
        async with self.app.work() as work:
            return await simulate(work, self.admin, question)

    async def live(self, world: World, service: str) -> UUID:
        """Let it happen: from due instant to due instant, and what is done at an instant comes after what is due."""
        began = self.clock.now
        report = msgspec.structs.replace(error_report(f"Failure {self.number}", world.severity), service=service)
        incident_id = (await accept_one(self.app, report)).incident_id
        assert incident_id is not None
        answers = [began + delay for delay in world.delays] if world.by is not None else []
        done = 0
        while True:
            await run_due(self.app, CHANNEL_FOR_ALL)
            due_at = self._next_due()
            if done < len(answers) and (due_at is None or answers[done] < due_at):
                self.clock.now = max(answers[done], self.clock.now)
                await self._answer(incident_id, done, self.people[world.by or 0])
                done += 1
            elif due_at is not None and due_at <= began + timedelta(days=1):
                self.clock.now = max(due_at, self.clock.now)
            else:
                return incident_id

    def _next_due(self) -> datetime | None:
        row = self.connection.execute("SELECT min(due_at) AS at FROM jobs WHERE dead_at IS NULL").fetchone()
        assert row is not None
        found: datetime | None = row["at"]
        return found

    async def _answer(self, incident_id: UUID, which: int, actor: Actor) -> None:
        async with self.app.work() as work:
            if which == 0:
                await respond.acknowledge(work, actor, incident_id, Acknowledge("On it"))
            elif which == 1:
                await respond.record_root_cause(work, actor, incident_id, ROOT_CAUSE)
            else:
                await respond.resolve(work, actor, incident_id, RESOLVED_WITH_LESSONS)

    async def happened(self, incident_id: UUID) -> tuple[list[Any], list[Any], datetime | None]:
        """Return the reasons and the pages that are on record, and when sessions were blocked."""
        async with self.app.work() as work:
            why = await explain(work, self.admin, incident_id)
        reasons = [
            (one.decided_at, step.step, step.reason, str(one.user_id), one.name, one.via, one.because, one.words)
            for step in why.steps
            for one in step.candidates
            if one.decided_at is not None
        ]
        pages = self.connection.execute(
            "SELECT n.due_at, n.reason, u.name, n.channel, n.address, n.because FROM notifications n"
            " JOIN users u ON u.id = n.user_id WHERE incident_id = %s",
            [incident_id],
        ).fetchall()
        until = self.connection.execute(
            "SELECT sessions_blocked_at AS at FROM incident_heads WHERE incident_id = %s", [incident_id]
        ).fetchone()
        assert until is not None
        shown = [
            (
                row["due_at"],
                row["reason"],
                row["name"],
                row["channel"],
                shown_address(row["channel"], row["address"]),
                row["because"] or "",
            )
            for row in pages
        ]
        return sorted(reasons), sorted(shown), until["at"]


def _address(channel: str, name: str) -> str:
    return f"{name}@example.org" if channel == "email" else f"https://{channel}-{name}.example.org/topic"


def foretold(foreseen: Foreseen) -> tuple[list[Any], list[Any], datetime | None]:
    """Return the reasons and the pages that were foretold, and when sessions are blocked."""
    reasons = [
        (one.decided_at, step.step, step.reason, str(one.user_id), one.name, one.via, one.because, one.words)
        for step in foreseen.steps
        for one in step.candidates
    ]
    pages = [
        (page.due_at, step.reason, one.name, page.channel, page.address, page.because or "")
        for step in foreseen.steps
        for one in step.candidates
        for page in one.pages
    ]
    blocked = [step.at for step in foreseen.steps if step.reason == "SESSIONS_BLOCKED"]
    return sorted(reasons), sorted(pages), blocked[0] if blocked else None


_SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.fixture
async def stage(
    installation: Installation, server: Server, database_name: str, clock: FakeClock
) -> AsyncIterator[Stage]:
    """A stage with its people, sessions being blocked."""
    base = installation.app
    app = App(base.database, base.settings.model_copy(update={"session_blocking": True}), clock)
    for name in NAMES:
        async with app.work() as work:
            await accounts.add_user(
                work,
                installation.admin,
                email=f"{name.lower()}@example.org",
                name=name,
                role=Role.RESPONDER,
                password=None,
            )
    people = [await actor_of(app, f"{name.lower()}@example.org") for name in NAMES]
    with connected(server, database_name) as connection:
        yield Stage(app, installation.admin, connection, clock, people)


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], database=None
)
@given(world=worlds())
async def test_simulate_and_the_real_run_agree_on_every_generated_policy(stage: Stage, world: World) -> None:
    stage.clock.now = stage.clock.now.replace(hour=0, minute=0) + timedelta(days=4)
    service = stage.arrange(world)
    foreseen = await stage.foresee(world, service)
    assert foreseen.policy == "played"
    assert not foreseen.cut_off
    incident_id = await stage.live(world, service)
    assert foretold(foreseen) == await stage.happened(incident_id)
    async with stage.app.work() as work:
        assert await unexplained(work, incident_id) == []
