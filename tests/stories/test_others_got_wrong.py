"""What the users of other paging systems wrote down, one story each: it happened there, and must not happen here.

A fake clock, real PostgreSQL, real receivers. A message that nobody expected fails the story it comes in.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any

import aiohttp
import pytest

from tests.conftest import Installation
from tests.faults.mortal import End
from tests.faults.paging_matrix import ended_at, scene, undisturbed
from tests.faults.stage import staged
from tests.support import reached
from tests.support.by_hand import Connection, connected
from tests.support.clock import FakeClock
from tests.support.reasons import check_reasons
from tests.support.receivers import Answer, Arrival, Receivers, receiving
from tests.support.servers import Server
from tocsin.address_guard import parse_networks
from tocsin.app import accounts, leases, maintain, policies, read_incidents, respond, schedules
from tocsin.app.leases import MAX_FAILURES
from tocsin.app.maintain import SWEEP_GRACE
from tocsin.app.open_incident import open_by_hand
from tocsin.app.paging import ESCALATE
from tocsin.app.work import App
from tocsin.bootstrap import outbound_channels
from tocsin.domain.access import Actor, Role
from tocsin.domain.incident import Severity
from tocsin.domain.policy import Duty, StepReason
from tocsin.domain.policy_document import PolicyDraft, StepDraft, TargetKind, TargetName
from tocsin.domain.rotation import Layer, Rotation, RotationKind
from tocsin.domain.workflow import Acknowledge, AddNote
from tocsin.errors import TocsinError
from tocsin.store import jobs
from tocsin.store.jobs import NewJob
from tocsin.web.server import serve
from tocsin.worker.run import run_due

pytestmark = pytest.mark.anyio

OLGA, SAM = "olga@example.org", "sam@example.org"


@dataclass(slots=True)
class World:
    """An installation with people, its receivers, and a clock: what arrives is taken, or it was not expected."""

    app: App
    admin: Actor
    clock: FakeClock
    receivers: Receivers
    tables: Connection
    looked_at: int = 0

    async def open(self, title: str, severity: Severity = Severity.HIGH) -> None:
        """Open an incident."""
        async with self.app.work() as work:
            await open_by_hand(work, self.admin, severity=severity, title=title, description="")

    async def work(self, **later: float) -> None:
        """Let time go by, then a worker work."""
        self.clock.forward(**later)
        async with outbound_channels(self.app.settings) as channels:
            await run_due(self.app, channels)

    def came(self) -> list[Arrival]:
        """Take what arrived since the last look."""
        arrivals = self.receivers.arrivals[self.looked_at :]
        self.looked_at += len(arrivals)
        return arrivals

    def mails(self) -> list[tuple[str, str]]:
        """Take the mails that arrived since the last look: to whom, and with which subject."""
        return sorted((arrival.to.partition("@")[0], arrival.subject) for arrival in self.came())

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return rows of the database, as a superuser sees them."""
        return [tuple(row.values()) for row in self.tables.execute(query.encode(), parameters)]


@pytest.fixture
async def world(
    installation: Installation, clock: FakeClock, server: Server, database_name: str
) -> AsyncIterator[World]:
    """Olga is on call, Sam is the supervisor; mail arrives. At the end nothing may have come that nobody took."""
    app, admin = installation.app, installation.admin
    async with receiving() as receivers:
        changes = receivers.settings() | {"webhook_allowed_networks": parse_networks("127.0.0.0/8")}
        app = App(app.database, app.settings.model_copy(update=changes), clock)
        async with app.work() as work:
            for email, duty in ((OLGA, Duty.ON_CALL), (SAM, Duty.SUPERVISOR)):
                name = email.partition("@")[0].title()
                await accounts.add_user(work, admin, email=email, name=name, role=Role.RESPONDER, password=None)
                await accounts.assign_duty(work, admin, duty, email)
        with connected(server, database_name) as tables:
            made = World(app, admin, clock, receivers, tables)
            yield made
            assert made.came() == [], "messages came that this story did not expect"
            await check_reasons(app, admin)


# --- healthchecks#212 -----------------------------------------------------------------------------------------------


async def test_a_crash_between_sent_and_marked_sends_again_with_the_same_key(server: Server) -> None:
    """healthchecks#212: marked as sent, then killed before it was sent; the alert was lost. Here: sent, then marked."""
    async with receiving() as receivers, scene(server, receivers, "two ways") as made:
        expected = await undisturbed(made)
        sent = next(point for point in expected.points if ": delivered" in point)
        run = await ended_at(made, expected, sent, End.KILL)
        times = receivers.times()
    assert run is not None
    assert run.pages.twice == 1
    assert sorted(times.values())[-2:] == [1, 2], "one message came twice, under one key"


async def test_an_incident_and_its_page_are_there_together_or_not_at_all(world: World) -> None:
    """healthchecks#212: the page is owed in the incident's own transaction."""
    with pytest.raises(RuntimeError, match="just before the commit"):
        await _open_and_fail(world)
    assert world.rows("SELECT id FROM incidents UNION SELECT id FROM notifications UNION SELECT id FROM jobs") == []
    await world.open("It broke")
    owed = world.rows("SELECT n.state FROM notifications n JOIN jobs j ON j.key = 'deliver:' || n.id")
    assert owed == [("PENDING",)]
    await world.work()
    assert world.mails() == [("olga", "[HIGH] INC-2 It broke")]


async def _open_and_fail(world: World) -> None:
    async with world.app.work() as work:
        await open_by_hand(work, world.admin, severity=Severity.HIGH, title="Never was", description="")
        raise RuntimeError("just before the commit")


# --- healthchecks#363, #433 -----------------------------------------------------------------------------------------


async def test_when_nobody_sends_pages_whoever_looks_is_told_how_long_the_oldest_has_waited(world: World) -> None:
    """healthchecks#363, #433: the sender was not running, and the page of the service looked healthy."""
    await leases.worker_seen(world.app, world.admin.user_id, "the only one")
    await world.open("It broke")
    assert (await _ready(world.app))[0] == 200
    world.clock.forward(minutes=3)
    status, body = await _ready(world.app)
    assert status == 503
    said = str(body)
    assert "no_worker" in said
    assert "unsent_pages" in said
    await world.work()
    assert world.mails() == [("olga", "[HIGH] INC-1 It broke")]
    assert "unsent_pages" not in str((await _ready(world.app))[1])


async def _ready(app: App) -> tuple[int, Any]:
    """Ask a running server whether it is ready."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(app, stop, host="127.0.0.1", port=0, on_ready=ready.set_result))
    try:
        async with aiohttp.ClientSession(await ready) as http, http.get("/readyz") as response:
            return response.status, await response.json()
    finally:
        stop.set()
        await serving


# --- goalert#3783 ---------------------------------------------------------------------------------------------------


async def test_a_poisoned_job_becomes_an_incident_and_holds_up_nobody(world: World) -> None:
    """goalert#3783: one bad row, and everything behind it stood still."""
    async with world.app.work() as work:
        bad = NewJob(work.new_id(), ESCALATE, "poison", {"nonsense": True}, work.now - timedelta(minutes=1))
        await jobs.enqueue_many(work.tx, [bad], work.now)
    await world.open("Behind the bad one")
    await world.work()
    assert world.mails() == [("olga", "[HIGH] INC-1 Behind the bad one")]
    world.tables.execute("UPDATE jobs SET attempts = %s WHERE key = 'poison'", [MAX_FAILURES - 1])
    await world.work(minutes=5)
    await world.work(seconds=90)
    assert [to for to, subject in world.mails() if "JobSetAside" in subject] == ["olga"]
    assert world.rows("SELECT key FROM jobs WHERE dead_at IS NOT NULL") == [("poison",)]


# --- oncall#1206 ----------------------------------------------------------------------------------------------------


async def test_an_escalation_whose_task_was_lost_fires_all_the_same(world: World) -> None:
    """oncall#1206: the task was gone, and with it the escalation. Here the state says what is due, not the task."""
    await world.open("It broke")
    await world.work()
    assert world.mails() == [("olga", "[HIGH] INC-1 It broke")]
    world.tables.execute("DELETE FROM jobs")
    await world.work(hours=1)
    assert world.came() == [], "nobody has looked at the state yet"
    world.clock.now += SWEEP_GRACE
    async with world.app.work() as work:
        await maintain.sweep(work)
    await world.work()
    assert world.mails() == [("olga", "Nobody has acknowledged this yet: [HIGH] INC-1 It broke")]
    assert world.rows("SELECT escalation_reason FROM incident_escalations") == [("NO_ACK_1HR",)]


# --- oncall#1511, goalert#4548, goalert#2878 ------------------------------------------------------------------------


async def test_a_policy_that_reaches_nobody_is_refused_with_what_to_do(world: World) -> None:
    """oncall#1511: a page could not reach its on-call by the configuration alone, and nobody was told."""
    nobody = TargetName(TargetKind.USER, "eve@example.org")
    async with world.app.work() as work:
        await accounts.add_user(work, world.admin, email=nobody.name, name="Eve", role=Role.RESPONDER, password=None)
        await reached.no_more_by(work, world.admin, nobody.name, "email", nobody.name)
    draft = PolicyDraft("nights", (StepDraft(StepReason.POLICY_STEP, timedelta(minutes=10), (nobody,)),))
    with pytest.raises(TocsinError) as refused:
        await _add_policy(world, draft)
    assert "eve@example.org, who has no contact method" in refused.value.refusal.message
    assert refused.value.refusal.hint
    with pytest.raises(TocsinError, match="reach nobody"):
        await _lose(world, OLGA)


async def test_a_step_that_finds_nobody_asks_the_next_ones_at_once(world: World) -> None:
    """goalert#4548, goalert#2878: a step without anybody on call waited all the same, and so did the incident."""
    # By hand: the product refuses to let the last contact method of somebody on call go.
    world.tables.execute("DELETE FROM contact_methods WHERE address = %s", [OLGA])
    await world.open("It broke")
    await world.work()
    first, complaint = world.mails()
    assert first == ("sam", "[HIGH] INC-1 It broke")
    assert complaint[0] == "sam"
    assert "ReachesNobody" in complaint[1], "and that nobody is reached is an incident"
    why = world.rows(
        "SELECT u.name, d.because FROM paging_decisions d LEFT JOIN users u ON u.id = d.user_id"
        " JOIN incidents i ON i.id = d.incident_id WHERE i.number = 1 ORDER BY u.name NULLS LAST"
    )
    assert why == [("Olga", "NO_CONTACT_METHOD"), ("Sam", "PAGED"), (None, "NOBODY")]


async def _add_policy(world: World, draft: PolicyDraft) -> None:
    async with world.app.work() as work:
        await policies.add_policy(work, world.admin, draft)


async def _lose(world: World, email: str) -> None:
    """Let somebody leave who alone is reached by the default policy's steps for a duty."""
    async with world.app.work() as work:
        await accounts.set_active(work, world.admin, email, active=False)


# --- alertmanager#2222, #4108 ---------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_two_nodes_send_a_page_once(server: Server) -> None:
    """alertmanager#2222, #4108: every node of the cluster sent it. Here one claims it, in the database."""
    async with staged(server, [0, 0]) as stage:
        await stage.begin_anew()
        for number in range(6):
            await stage.open(f"Failure {number}")
        await stage.running.until_nothing_is_owed(step_seconds=0.0)
        times = stage.receivers.times()
    assert len(times) >= 6
    assert set(times.values()) == {1}


# --- oncall#1792, #3111 ---------------------------------------------------------------------------------------------


async def test_an_incident_that_was_acknowledged_and_forgotten_pages_again(world: World) -> None:
    """oncall#1792, #3111: acknowledged, and found two months later. An acknowledgment is a lease: it lapses."""
    await world.open("It broke")
    await world.work()
    assert world.mails() == [("olga", "[HIGH] INC-1 It broke")]
    await world.work(minutes=30)
    async with world.app.work() as work:
        sam = (await accounts.find_user(work, SAM)).actor()
        await respond.acknowledge(work, sam, 1, Acknowledge("I have it"))
    await world.work(hours=3, minutes=59)
    assert world.came() == [], "the lease runs for four hours"
    forgotten = "It is acknowledged, and nothing was heard of it since: [HIGH] INC-1 It broke"
    await world.work(minutes=1)
    assert world.mails() == [("sam", forgotten)], "first whoever acknowledged"
    await world.work(hours=4)
    assert world.mails() == [("olga", forgotten), ("sam", forgotten)], "then those who were paged first as well"
    async with world.app.work() as work:
        await respond.add_note(work, sam, 1, AddNote("Still waiting for the disks"))
    await world.work(hours=3, minutes=59)
    assert world.came() == [], "progress renews it"
    assert world.rows("SELECT count(*) FROM incident_lifecycle WHERE event_type = 'ACKNOWLEDGMENT_LAPSED'") == [(2,)]


# --- alertmanager#172, oncall#1403 ----------------------------------------------------------------------------------


async def test_every_attempt_can_be_read_when_to_whom_over_what_and_with_which_answer(world: World) -> None:
    """alertmanager#172 (since 2015), oncall#1403: nobody could see what had been sent to whom."""
    async with world.app.work() as work:
        await reached.also_by(work, OLGA, "webhook", world.receivers.url)
    world.receivers.answers["email"] = [Answer(451, takes=False)]
    world.receivers.answers["webhook"] = [Answer(503, takes=False)]
    began = world.clock.now
    await world.open("It broke")
    await world.work()
    await world.work(seconds=10)
    assert sorted(arrival.channel for arrival in world.came()) == ["email", "webhook"]
    attempts = world.rows(
        "SELECT u.name, n.channel, a.attempt, a.started_at, a.outcome, split_part(a.answer, ' ', 1)"
        " FROM delivery_attempts a JOIN notifications n ON n.id = a.notification_id JOIN users u ON u.id = n.user_id"
        " ORDER BY n.channel, a.attempt"
    )
    later = began + timedelta(seconds=10)
    assert attempts == [
        ("Olga", "email", 1, began, "RETRY", "451"),
        ("Olga", "email", 2, later, "DELIVERED", "250"),
        ("Olga", "webhook", 1, began, "RETRY", "503"),
        ("Olga", "webhook", 2, later, "DELIVERED", "200"),
    ]
    async with world.app.work() as work:
        shown = (await read_incidents.show_incident(work, world.admin, 1)).notifications
    assert {(page.user_name, page.channel, page.state, page.attempts) for page in shown} == {
        ("Olga", "email", "DELIVERED", 2),
        ("Olga", "webhook", "DELIVERED", 2),
    }


async def test_each_candidate_of_each_step_has_one_reason(world: World) -> None:
    """alertmanager#172, oncall#1403: not only who was paged, but why, and why the others were not."""
    await world.open("It broke")
    await world.work()
    assert world.mails() == [("olga", "[HIGH] INC-1 It broke")]
    async with world.app.work() as work:
        await respond.acknowledge(work, world.admin, 1, Acknowledge("Mine"))
    await world.work(hours=25)
    assert {to for to, _ in world.mails()} == {"ada"}, "she acknowledged, and is the director too"
    reasons = world.rows(
        "SELECT step, lower(u.name), because FROM paging_decisions d JOIN users u ON u.id = d.user_id"
        " WHERE reason <> 'ACK_LAPSED' ORDER BY decided_at, 1"
    )
    assert reasons == [
        ("INCIDENT_OPENED", "olga", "PAGED"),
        ("NO_ACK_1HR", "olga", "ACKNOWLEDGED"),
        ("NO_ACK_4HR", "sam", "ACKNOWLEDGED"),
        ("NO_ROOT_CAUSE_24HR", "ada", "PAGED"),
    ]


# --- sentry#71520 ---------------------------------------------------------------------------------------------------


async def test_a_flood_hides_no_first_alert_and_all_the_rest_comes_in_few_messages(world: World) -> None:
    """sentry#71520: a flood of messages hid the one that mattered."""
    for number in range(20):
        await world.open(f"Failure {number}")
    await world.work()
    firsts = world.came()
    assert sorted(arrival.subject for arrival in firsts) == sorted(
        f"[HIGH] INC-{number + 1} Failure {number}" for number in range(20)
    ), "the first alert of an incident is a message of its own"
    await world.work(hours=1)
    later = world.came()
    for _ in range(3):
        await world.work(minutes=1)
        later += world.came()
    assert len(later) <= 2, "at once what there is, and after a minute all that came since"
    named = Counter(number for arrival in later for number in set(re.findall(r"INC-(\d+)", arrival.text)))
    assert named == {str(number): 1 for number in range(1, 21)}, "each incident is in one of them"


# --- oncall#4208, oneuptime#2413 -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("changes_on", [date(2026, 3, 29), date(2026, 10, 25)])
async def test_no_change_of_the_clocks_leaves_an_hour_without_anybody(world: World, changes_on: date) -> None:
    """oncall#4208, oneuptime#2413: gaps of an hour and the wrong turn, whenever the clocks changed."""
    world.clock.now = datetime.combine(changes_on, time(23), UTC) - timedelta(days=1)
    async with world.app.work() as work:
        members = tuple([(await accounts.find_user(work, email)).id for email in (OLGA, SAM)])
        made = await schedules.add(work, world.admin, name="Berlin", time_zone="Europe/Berlin")
        # They hand off at an hour that the first of these days does not have, and the second has twice.
        daily = Rotation(RotationKind.DAILY, 1, date(2026, 3, 1), time(2, 30))
        await schedules.add_layer(work, world.admin, made.id, Layer("day by day", daily, members))
        await accounts.assign_schedule(work, world.admin, Duty.ON_CALL, made.id)
    paged = []
    for number in range(9):
        await world.open(f"Failure {number}")
        await world.work()
        paged.append([to for to, subject in world.mails() if subject == f"[HIGH] INC-{number + 1} Failure {number}"])
        world.clock.forward(minutes=30)
    assert {len(people) for people in paged} == {1}, "at each instant one person is paged"
    turns = [person for (person,), _ in groupby(paged)]
    assert sorted(turns) == ["olga", "sam"], "they hand off once in that night"
