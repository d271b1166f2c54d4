"""Delivery: first alerts alone, all else bundled, each page at least once and at most twice, and none without need."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import pytest

from tests.app.conftest import Crew, Inbox, Tables, run
from tests.conftest import ADMIN_EMAIL
from tests.support.clock import FakeClock
from tests.support.lives import reported
from tests.support.owing import owe_page
from tocsin.app import accounts, erase, health, leases, maintain, outbox, read_notifications, respond
from tocsin.app.leases import DOUBT, LEASE
from tocsin.app.outbox import BUNDLE
from tocsin.app.work import App, Work
from tocsin.channels import Delivered, Message, Outcome, Rejected, Retry
from tocsin.domain.delivery import BUNDLE_PAUSE, MAX_BUNDLE, MAX_IN_FULL
from tocsin.domain.erasure import Grounds
from tocsin.domain.policy import Duty
from tocsin.domain.workflow import Acknowledge
from tocsin.worker.handlers import Handlers

pytestmark = pytest.mark.anyio

RULE = "NO_ACK_1HR"


async def incidents(app: App, count: int) -> list[int]:
    """Open so many incidents; return their numbers."""
    for number in range(count):
        await reported(app, f"failure {number}")
    return list(range(1, count + 1))


async def owe(
    app: App, number: int, reason: str = RULE, *, email: str = "olga@example.org", after: timedelta = timedelta()
) -> UUID:
    """Owe somebody a page about an incident, due after a while."""
    async with app.work() as work:
        user_id = await work.tx.value(b"SELECT id FROM users WHERE email = %(email)s", {"email": email})
        return await owe_page(work, number, reason, user_id, email, after=after)


def states(tables: Tables) -> dict[str, int]:
    """Return how many pages are in which state."""
    return dict(tables.rows("SELECT state, count(*)::int FROM notifications GROUP BY state"))


def numbers_in(message: Message) -> list[int]:
    """Return which incidents a message is about."""
    pages = message.payload.get("pages", [message.payload])
    return [page["incident"]["number"] for page in pages]  # type: ignore[attr-defined]  # it is JSON


@pytest.fixture
async def quiet(app: App, crew: Crew, inbox: Inbox, tables: Tables) -> None:
    """Three incidents whose first alerts were sent, and whose timers are off."""
    await incidents(app, 3)
    await run(app, inbox)
    inbox.sent.clear()
    tables.connection.execute("DELETE FROM jobs WHERE kind = 'escalate'")


# --- bundles ----------------------------------------------------------------------------------------------------


async def test_every_first_alert_is_a_message_of_its_own(app: App, crew: Crew, inbox: Inbox) -> None:
    await incidents(app, 5)
    await owe(app, 1, "STORM")
    await owe(app, 2, "MANUAL_ESCALATION")
    await run(app, inbox)
    assert Counter(inbox.taken()) == {
        ("olga", "INCIDENT_OPENED"): 5,
        ("olga", "STORM"): 1,
        ("olga", "MANUAL_ESCALATION"): 1,
    }


async def test_what_is_owed_at_once_goes_at_once_and_what_comes_in_the_next_minute_together(
    app: App, quiet: None, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await owe(app, 1)
    await run(app, inbox)
    assert [numbers_in(message) for _, _, message in inbox.sent] == [[1]]
    for number, reason in ((2, RULE), (3, RULE), (1, "SEVERITY_ESCALATED")):
        clock.forward(seconds=10)
        await owe(app, number, reason)
        await run(app, inbox)
    assert len(inbox.sent) == 1
    clock.forward(seconds=29)
    assert await run(app, inbox) == 0, "not a moment early"
    clock.forward(seconds=1)
    await run(app, inbox)
    (_, _, message) = inbox.sent[1]
    assert sorted(numbers_in(message)) == [1, 2, 3]
    assert len(inbox.sent) == 2
    assert message.subject == "[HIGH] 3 pages: INC-2, INC-3, INC-1"
    for said in ("INC-2  HIGH", "It got worse", "Nobody has acknowledged", "http://tocsin.test/api/incidents/"):
        assert said in message.text
    assert message.text.count("Take it: http://tocsin.test/a/") == 3
    assert states(tables) == {"DELIVERED": 7}


async def test_a_first_alert_does_not_wait_for_a_bundle_nor_a_bundle_for_it(
    app: App, quiet: None, clock: FakeClock, inbox: Inbox
) -> None:
    await owe(app, 1)
    await run(app, inbox)
    clock.forward(seconds=5)
    await owe(app, 2)
    await reported(app, "something else")
    await run(app, inbox)
    assert inbox.taken() == [("olga", RULE), ("olga", "INCIDENT_OPENED")]


async def test_one_contact_method_does_not_hold_up_another(
    app: App, quiet: None, clock: FakeClock, inbox: Inbox
) -> None:
    await owe(app, 1)
    await run(app, inbox)
    await owe(app, 2, email="sam@example.org")
    await run(app, inbox)
    assert inbox.taken() == [("olga", RULE), ("sam", RULE)]


async def test_a_long_list_is_told_in_full_so_far_and_then_by_names(
    app: App, quiet: None, inbox: Inbox, tables: Tables
) -> None:
    for _ in range(MAX_IN_FULL):
        await owe(app, 1)
    for number in (2, 2, 3):
        await owe(app, number)
    await run(app, inbox)
    ((_, _, message),) = inbox.sent
    assert len(numbers_in(message)) == MAX_IN_FULL
    assert "And 3 more, about INC-2, INC-3" in message.text
    assert message.payload["more"] == {"count": 3, "incidents": [2, 3]}
    assert tables.value("SELECT count(DISTINCT bundle_id) FROM notifications WHERE reason = %s", RULE) == 1


async def test_a_flood_is_cut_into_messages_of_a_bounded_length(
    app: App, quiet: None, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await owe(app, 1)
    tables.connection.execute(
        "INSERT INTO notifications (id, incident_id, reason, user_id, channel, address, subject, body, payload,"
        " created_at, due_at, state) SELECT gen_random_uuid(), incident_id, reason, user_id, channel, address, subject,"
        " body, payload, created_at, due_at, state FROM notifications, generate_series(1, %s) WHERE reason = %s",
        [MAX_BUNDLE, RULE],
    )
    await run(app, inbox)
    assert states(tables)["PENDING"] == 1
    clock.forward(seconds=BUNDLE_PAUSE.total_seconds())
    await run(app, inbox)
    assert ["what else is due comes in a minute" in message.text for _, _, message in inbox.sent] == [True, False]
    assert "PENDING" not in states(tables)


async def test_a_retry_sends_the_same_set_under_the_same_id(
    app: App, quiet: None, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    for number in (1, 2):
        await owe(app, number)
    inbox.answers = [Retry("503")]
    await run(app, inbox)
    await owe(app, 3)
    assert await run(app, inbox) == 0, "what comes meanwhile does not hurry the retry"
    clock.forward(seconds=10)
    await run(app, inbox)
    first, second = (message for _, _, message in inbox.sent)
    assert (first.notification_id, first.text) == (second.notification_id, second.text)
    assert numbers_in(second) == [1, 2]
    clock.forward(seconds=60)
    await run(app, inbox)
    assert numbers_in(inbox.sent[2][2]) == [3]
    assert tables.rows(
        "SELECT attempt, outcome, count(*) FROM delivery_attempts a JOIN notifications n ON n.id = notification_id"
        " WHERE n.reason = %s GROUP BY 1, 2 ORDER BY 1, 2", RULE
    ) == [(1, "DELIVERED", 1), (1, "RETRY", 2), (2, "DELIVERED", 2)]  # fmt: skip


async def test_a_page_that_comes_while_a_bundle_is_being_sent_neither_doubles_it_nor_is_lost(
    app: App, quiet: None, clock: FakeClock, tables: Tables
) -> None:
    sent: list[list[int]] = []

    class Slow:
        async def send(self, _: str, message: Message) -> Outcome:
            sent.append(numbers_in(message))
            if len(sent) == 1:
                await owe(app, 2)
                # Another worker looks for something to do just now.
                assert (await leases.claim(app, [BUNDLE], 10)).leases == []
            return Delivered("250")

    await owe(app, 1)
    await leases_run(app, Slow())
    assert sent == [[1]]
    clock.forward(seconds=60)
    await leases_run(app, Slow())
    assert sent == [[1], [2]]
    assert tables.value("SELECT count(*) FROM jobs WHERE kind = 'bundle'") == 0


async def leases_run(app: App, channel: object) -> None:
    """Run the bundles that are due over a channel."""
    for lease in (await leases.claim(app, [BUNDLE], 10)).leases:
        await Handlers(app, {"email": channel}, "test").run(lease)  # type: ignore[dict-item]  # it sends


async def test_a_bundle_that_is_refused_is_given_up_and_the_others_are_told_of_each_incident_once(
    app: App, quiet: None, inbox: Inbox, tables: Tables
) -> None:
    for number in (1, 2, 2):
        await owe(app, number)
    inbox.answers = [Rejected("550 no such user")]
    await run(app, inbox)
    assert tables.value("SELECT count(*) FROM notifications WHERE state = 'FAILED'") == 3
    told = "SELECT address, count(*)::int FROM notifications WHERE reason = 'PAGE_NOT_DELIVERED' GROUP BY 1 ORDER BY 1"
    assert tables.rows(told) == [(ADMIN_EMAIL, 2), ("dee@example.org", 2), ("sam@example.org", 2)]
    ((title,),) = tables.rows("SELECT title FROM incidents WHERE project_id = 0")
    assert "3 pages in one message to email olga@example.org were given up after 1 attempt: 550" in title
    to_sam = [message for _, address, message in inbox.sent if address == "sam@example.org"]
    assert [sorted(numbers_in(message)) for message in to_sam] == [[1, 2]]


async def test_a_link_is_made_for_who_may_respond_and_nobody_else(app: App, quiet: None, inbox: Inbox) -> None:
    await owe(app, 1, email="dee@example.org")
    await owe(app, 1)
    await run(app, inbox)
    links = {address: message.acknowledge_url for _, address, message in inbox.sent}
    assert links["dee@example.org"] == ""
    assert links["olga@example.org"].startswith("http://tocsin.test/a/")


async def test_the_link_stands_first_in_the_text_and_is_stored_nowhere(
    app: App, crew: Crew, inbox: Inbox, tables: Tables
) -> None:
    await reported(app)
    await run(app, inbox)
    ((_, _, message),) = inbox.sent
    lines = message.text.splitlines()
    assert lines[1].startswith("INC-1  HIGH")
    assert lines[3] == f"Take it: {message.acknowledge_url}"
    assert message.payload["acknowledgeUrl"] == message.acknowledge_url
    token = message.acknowledge_url.rpartition("/")[2]
    everything = tables.value("SELECT string_agg(n::text, '') FROM notifications n")
    assert token not in everything


# --- delayed and cancelled pages --------------------------------------------------------------------------------


async def test_a_delayed_page_goes_when_it_is_due_unless_somebody_took_it(
    app: App, quiet: None, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    later = timedelta(minutes=5)
    for number in (1, 2):
        await owe(app, number, "INCIDENT_OPENED", after=later)
        await owe(app, number, RULE, after=later)
    clock.forward(minutes=4)
    assert await run(app, inbox) == 0
    async with app.work() as work:
        await respond.acknowledge(work, crew.olga, 1, Acknowledge("mine"))
    clock.forward(minutes=1)
    await run(app, inbox)
    assert sorted(number for _, _, message in inbox.sent for number in numbers_in(message)) == [2, 2]
    cancelled = "SELECT reason, because, settled_at FROM notifications WHERE state = 'CANCELLED' ORDER BY reason"
    assert tables.rows(cancelled) == [
        ("INCIDENT_OPENED", "ACKNOWLEDGED", clock.now),
        (RULE, "ACKNOWLEDGED", clock.now),
    ]
    assert tables.value("SELECT count(*) FROM jobs WHERE kind IN ('deliver', 'bundle')") == 0


async def test_the_first_alert_that_went_at_once_is_sent_whoever_was_faster(app: App, crew: Crew, inbox: Inbox) -> None:
    await reported(app)
    async with app.work() as work:
        await respond.acknowledge(work, crew.sam, 1, Acknowledge("mine"))
    await run(app, inbox)
    assert inbox.taken() == [("olga", "INCIDENT_OPENED")]


async def test_a_bundle_of_which_something_is_still_needed_stays_the_same_and_one_of_nothing_is_cancelled(
    app: App, quiet: None, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    for number in (1, 2):
        await owe(app, number)
    inbox.answers = [Retry("503"), Retry("503")]
    await run(app, inbox)
    async with app.work() as work:
        await respond.acknowledge(work, crew.olga, 1, Acknowledge("mine"))
    clock.forward(seconds=30)
    await run(app, inbox)
    assert [numbers_in(message) for _, _, message in inbox.sent] == [[1, 2], [1, 2]]
    async with app.work() as work:
        await respond.acknowledge(work, crew.olga, 2, Acknowledge("mine, too"))
    clock.forward(seconds=30)
    await run(app, inbox)
    assert len(inbox.sent) == 2
    assert states(tables) == {"DELIVERED": 3, "CANCELLED": 2}


async def test_a_page_is_late_from_when_it_is_due_and_not_from_when_it_was_owed(
    app: App, quiet: None, clock: FakeClock
) -> None:
    await leases.worker_seen(app, UUID(int=1), "here")
    await owe(app, 1, after=timedelta(minutes=10))

    async def unsent() -> list[str]:
        await leases.worker_seen(app, UUID(int=1), "here")
        async with app.work() as work:
            problems = (await health.condition(work)).problems
        return [problem.message for problem in problems if problem.name == "unsent_pages"]

    clock.forward(minutes=12)
    assert await unsent() == []
    clock.forward(seconds=1)
    assert await unsent() == ["1 page is not delivered; the oldest has waited 121 s."]


async def test_the_sweep_finds_pages_of_both_kinds_whose_jobs_are_gone(
    app: App, quiet: None, inbox: Inbox, tables: Tables
) -> None:
    await owe(app, 1)
    await owe(app, 2, "STORM")
    async with app.work() as work:
        assert (await maintain.sweep(work)).pages == 0
    tables.connection.execute("DELETE FROM jobs WHERE kind IN ('deliver', 'bundle')")
    assert await run(app, inbox) == 0
    async with app.work() as work:
        assert (await maintain.sweep(work)).pages == 2
    await run(app, inbox)
    assert sorted(inbox.taken()) == [("olga", RULE), ("olga", "STORM")]


async def test_a_page_that_an_older_version_queued_by_itself_joins_its_bundle(
    app: App, quiet: None, inbox: Inbox, tables: Tables
) -> None:
    page_id = await owe(app, 1)
    tables.connection.execute(
        "UPDATE jobs SET kind = 'deliver', key = 'deliver:' || %s,"
        " payload = jsonb_build_object('notificationId', %s::text) WHERE kind = 'bundle'",
        [str(page_id), str(page_id)],
    )
    await run(app, inbox)
    assert inbox.taken() == [("olga", RULE)]
    assert tables.value("SELECT bundle_id FROM notifications WHERE id = %s", page_id) == page_id


# --- crashes ----------------------------------------------------------------------------------------------------


class KilledError(BaseException):
    """The worker is gone: nothing after it runs, not even what notes a failure."""


@contextmanager
def killed_before(app: App, commit: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the worker of an installation die right before its n-th commit within the block."""
    counted = itertools.count(1)
    original = App.work

    def work(self: App, *, streaming: bool = False) -> object:
        inner = original(self, streaming=streaming)
        if self is not app:  # another test's server may still be at work in this process
            return inner
        number = next(counted)

        class Dying:
            async def __aenter__(self) -> Work:
                return await inner.__aenter__()

            async def __aexit__(self, *error: object) -> object:
                if number == commit:
                    await inner.__aexit__(KilledError, KilledError(), None)
                    raise KilledError
                return await inner.__aexit__(*error)  # type: ignore[arg-type]  # passed on

        return Dying()

    with monkeypatch.context() as patched:
        patched.setattr(App, "work", work)
        try:
            yield
        except KilledError:
            return


@pytest.mark.parametrize("commit", [1, 2, 3])
@pytest.mark.parametrize("kind", ["alert", "bundle"])
async def test_a_worker_that_dies_at_any_commit_delivers_each_page_once_or_twice(
    app: App, quiet: None, clock: FakeClock, inbox: Inbox, tables: Tables, monkeypatch: pytest.MonkeyPatch,
    commit: int, kind: str,
) -> None:  # fmt: skip
    for number in (1, 2, 3):
        await owe(app, number, RULE if kind == "bundle" else "STORM")
    # Commits of one job: the claim, the set, the settlement.
    with killed_before(app, commit, monkeypatch):
        for lease in (await leases.claim(app, [outbox.DELIVER, BUNDLE], 1)).leases:
            await Handlers(app, {"email": inbox}, "test").run(lease)
    clock.forward(seconds=LEASE.total_seconds())
    await run(app, inbox)
    clock.forward(minutes=2)
    await run(app, inbox)
    delivered = Counter(number for _, _, message in inbox.sent for number in numbers_in(message))
    assert set(delivered) == {1, 2, 3}
    assert max(delivered.values()) <= 2
    assert (max(delivered.values()) == 2) is (commit == 3), "only after sending is it sent again"
    ids = {message.notification_id for _, _, message in inbox.sent}
    assert len(ids) == (1 if kind == "bundle" else 3), "and the receiver can tell that it is the same"
    assert states(tables) == {"DELIVERED": 6}
    assert tables.value("SELECT count(*) FROM jobs WHERE kind IN ('deliver', 'bundle')") == 0


@pytest.mark.parametrize(("meanwhile", "state"), [("acknowledged", "CANCELLED"), ("refused", "FAILED")])
async def test_an_attempt_of_a_bundle_that_was_cut_short_is_told_of_each_page_however_it_ends(
    app: App, quiet: None, crew: Crew, clock: FakeClock, inbox: Inbox, monkeypatch: pytest.MonkeyPatch,
    meanwhile: str, state: str,
) -> None:  # fmt: skip
    for number in (1, 2):
        await owe(app, number)
    with killed_before(app, 3, monkeypatch):
        await leases_run(app, inbox)
    assert len(inbox.sent) == 1
    assert await bundled(app, crew) == [("PENDING", ["UNDER_WAY"])] * 2
    clock.forward(seconds=1)
    if meanwhile == "acknowledged":
        for number in (1, 2):
            async with app.work() as work:
                await respond.acknowledge(work, crew.olga, number, Acknowledge("mine"))
    inbox.answers = [Rejected("550 no such user")]
    for wait in (LEASE, DOUBT):
        clock.forward(seconds=wait.total_seconds())
        await run(app, inbox)
    ended = ["CUT_SHORT", *(["REJECTED"] if state == "FAILED" else [])]
    assert (await bundled(app, crew))[:2] == [(state, ended)] * 2


async def bundled(app: App, crew: Crew) -> list[tuple[str, list[str]]]:
    """Return the state of each bundled page, and what came of its attempts; the one that was owed first first."""
    async with app.work() as work:
        histories = (await read_notifications.listed(work, crew.ada)).pages
    return [
        (one.page.state, [attempt.outcome for attempt in one.attempts])
        for one in reversed(histories)
        if one.page.bundle_id
    ]


async def test_a_worker_that_lost_its_lease_before_it_began_sends_nothing(
    app: App, quiet: None, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    await owe(app, 1)
    (stood_still,) = (await leases.claim(app, [BUNDLE], 10)).leases
    clock.now += LEASE
    assert (await leases.claim(app, [BUNDLE], 10)).leases == []
    clock.now += DOUBT

    class GoesOnMeanwhile(Inbox):
        async def send(self, address: str, message: Message) -> Outcome:
            await Handlers(app, {"email": inbox}, "late").run(stood_still)
            return await super().send(address, message)

    other = GoesOnMeanwhile(clock)
    await leases_run(app, other)
    assert (len(other.sent), len(inbox.sent)) == (1, 0)
    assert await bundled(app, crew) == [("DELIVERED", ["DELIVERED"])]


async def test_of_an_erased_person_no_job_keeps_the_address_unless_somebody_else_is_reached_there(
    app: App, quiet: None, crew: Crew, tables: Tables, clock: FakeClock
) -> None:
    # Who held the duty when the incidents opened is told by the decisions of that time.
    clock.forward(seconds=1)
    async with app.work() as work:
        await accounts.assign_duty(work, crew.ada, Duty.ON_CALL, ADMIN_EMAIL)
    await owe(app, 1)
    await owe(app, 2)
    jobs_naming = "SELECT count(*) FROM jobs WHERE payload::text LIKE '%%olga%%'"
    assert tables.value(jobs_naming) == 1
    async with app.work() as work:
        await erase.erase_user(work, crew.ada, "olga@example.org", Grounds("she asked", "R-1"))
    assert tables.value(jobs_naming) == 0
    assert tables.value("SELECT count(*) FROM notifications WHERE address LIKE 'olga%%'") == 0
