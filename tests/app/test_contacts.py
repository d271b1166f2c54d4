"""Contact methods and notification rules: how people come to be reached, and what is known of each way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest

from tests.app.conftest import Crew, Inbox, Tables, run
from tests.support.clock import FakeClock
from tocsin import ids
from tocsin.app import contacts, verification
from tocsin.app.contacts import ShownMethod
from tocsin.app.work import App, Work
from tocsin.channels import Delivered, Rejected, Retry
from tocsin.domain.access import Actor
from tocsin.domain.contact_method import CHANNELS
from tocsin.domain.reach import MAX_METHODS, MAX_RULES, Reach
from tocsin.domain.verification import Verdict
from tocsin.errors import Code, Refusal, TocsinError
from tocsin.store import contacts as store


async def reach(app: App, crew: Crew, *names: str) -> dict[str, Reach]:
    async with app.work() as work:
        found = await store.reach(work.tx, [getattr(crew, name).user_id for name in names])
    return {one.name.lower(): one for one in found.values()}


async def test_reach_has_the_methods_and_rules_of_each_in_order(app: App, crew: Crew, tables: Tables) -> None:
    tables.connection.execute(
        "INSERT INTO contact_methods (id, user_id, channel, address, created_at, verified_at)"
        " VALUES (%s, %s, 'sms', '+4915112345678', now() + interval '1 day', now())",
        (method_id := ids.new_id(), crew.olga.user_id),
    )
    for seconds in (600, 0):
        tables.connection.execute(
            "INSERT INTO notification_rules (id, user_id, contact_method_id, after_seconds, created_at)"
            " VALUES (%s, %s, %s, %s, now())",
            (ids.new_id(), crew.olga.user_id, method_id, seconds),
        )
    found = await reach(app, crew, "olga", "dee")
    olga, dee = found["olga"], found["dee"]
    assert (olga.role, olga.active) == ("responder", True)
    assert [(one.channel, one.address, one.verified_at is not None) for one in olga.methods] == [
        ("email", "olga@example.org", False),
        ("sms", "+4915112345678", True),
    ]
    assert [(one.after, one.contact_method_id) for one in olga.rules] == [
        (timedelta(0), method_id),
        (timedelta(minutes=10), method_id),
    ]
    assert (dee.rules, [one.address for one in dee.methods]) == ((), ["dee@example.org"])


async def test_reach_of_nobody_and_of_who_does_not_exist_is_empty(app: App) -> None:
    async with app.work() as work:
        assert await store.reach(work.tx, []) == {}
        assert await store.reach(work.tx, [ids.new_id()]) == {}


# --- verification ----------------------------------------------------------------------------------------------

MOBILE = "olga.mobile@example.org"
OLGA = "olga@example.org"


async def added(app: App, actor: Actor, address: str = MOBILE, *, email: str | None = OLGA) -> UUID:
    async with app.work() as work:
        return await contacts.add_method(work, actor, email, "email", address)


async def given_back(app: App, actor: Actor, contact_id: UUID, code: str) -> Verdict:
    async with app.work() as work:
        return (await verification.take_code(work, actor, contact_id, code)).verdict


async def shown(app: App, actor: Actor, address: str = MOBILE) -> ShownMethod:
    async with app.work() as work:
        (method,) = [one for one in await contacts.list_methods(work, actor, OLGA) if one.address == address]
    return method


def code_in(inbox: Inbox) -> str:
    _, _, message = inbox.sent[-1]
    code = str(message.payload["code"])
    assert code in message.subject
    assert code in message.text
    return code


def other_than(code: str) -> str:
    return f"{(int(code) + 1) % 10**8:08}"


async def refusal(app: App, change: Callable[..., Awaitable[object]], *arguments: object) -> Refusal:
    with pytest.raises(TocsinError) as caught:
        async with app.work() as work:
            await change(work, *arguments)
    return caught.value.refusal


async def test_code_goes_over_the_new_method_and_given_back_it_verifies(app: App, crew: Crew, inbox: Inbox) -> None:
    contact_id = await added(app, crew.olga)
    await run(app, inbox)
    assert [(address, message.payload["event"]) for _, address, message in inbox.sent] == [(MOBILE, "VERIFY_CONTACT")]
    before = await shown(app, crew.olga)
    assert (before.verified_at, before.used, before.last_answer) == (None, True, "delivered: 250 OK")
    code = code_in(inbox)
    assert await given_back(app, crew.olga, contact_id, f" {code[:4]} {code[4:]}") is Verdict.RIGHT
    after = await shown(app, crew.olga)
    assert after.verified_at == inbox.clock.now
    assert not (await shown(app, crew.olga, OLGA)).used, "who has a verified way is not paged over others"
    assert await given_back(app, crew.olga, contact_id, code) is Verdict.RIGHT


async def test_code_is_kept_nowhere(app: App, crew: Crew, inbox: Inbox, tables: Tables) -> None:
    await added(app, crew.olga)
    jobs = tables.rows("SELECT payload::text FROM jobs WHERE kind = 'verify-contact'")
    await run(app, inbox)
    code = code_in(inbox)
    kept = tables.rows("SELECT c::text FROM contact_methods c WHERE address = %s", MOBILE)
    assert len(jobs) == len(kept) == 1
    assert code not in str(jobs + kept)
    assert tables.value("SELECT count(*) FROM jobs WHERE kind = 'verify-contact'") == 0


async def test_five_wrong_codes_end_it_and_a_new_one_is_needed(
    app: App, crew: Crew, inbox: Inbox, clock: FakeClock
) -> None:
    contact_id = await added(app, crew.olga)
    await run(app, inbox)
    code = code_in(inbox)
    for _ in range(5):
        assert await given_back(app, crew.olga, contact_id, other_than(code)) is Verdict.WRONG
    assert await given_back(app, crew.olga, contact_id, code) is Verdict.STALE
    clock.forward(minutes=1)
    async with app.work() as work:
        await verification.send_code(work, crew.olga, contact_id)
    await run(app, inbox)
    assert await given_back(app, crew.olga, contact_id, code) is not Verdict.RIGHT, "a later code takes its place"
    assert await given_back(app, crew.olga, contact_id, code_in(inbox)) is Verdict.RIGHT


async def test_guesses_at_the_same_time_are_counted_each(app: App, crew: Crew, inbox: Inbox, tables: Tables) -> None:
    contact_id = await added(app, crew.olga)
    await run(app, inbox)
    wrong = other_than(code_in(inbox))
    verdicts = await asyncio.gather(*(given_back(app, crew.olga, contact_id, wrong) for _ in range(8)))
    assert sorted(verdicts) == [Verdict.STALE] * 3 + [Verdict.WRONG] * 5
    assert tables.value("SELECT code_tries FROM contact_methods WHERE id = %s", contact_id) == 5


async def test_code_is_good_for_fifteen_minutes(app: App, crew: Crew, inbox: Inbox, clock: FakeClock) -> None:
    contact_id = await added(app, crew.olga)
    await run(app, inbox)
    clock.forward(minutes=15, seconds=1)
    answered = verification.Answered(await given_back(app, crew.olga, contact_id, code_in(inbox)))
    with pytest.raises(TocsinError, match="not good any more"):
        answered.require_right()


async def test_wrong_code_says_so_and_what_is_none_costs_no_try(
    app: App, crew: Crew, inbox: Inbox, tables: Tables
) -> None:
    contact_id = await added(app, crew.olga)
    await run(app, inbox)
    with pytest.raises(TocsinError, match="not the one that was sent last"):
        verification.Answered(await given_back(app, crew.olga, contact_id, other_than(code_in(inbox)))).require_right()
    refused = await refusal(app, lambda work: verification.take_code(work, crew.olga, contact_id, "123"))
    assert refused.code is Code.INVALID
    assert tables.value("SELECT code_tries FROM contact_methods WHERE id = %s", contact_id) == 1


async def test_code_that_cannot_be_sent_is_tried_again_and_the_list_says_why(
    app: App, crew: Crew, inbox: Inbox, clock: FakeClock
) -> None:
    await added(app, crew.olga)
    inbox.answers = [Retry("451 later"), Retry("451 later"), Delivered("250 at last")]
    await run(app, inbox)
    assert (await shown(app, crew.olga)).last_answer == "not delivered: 451 later"
    for _ in range(2):
        clock.forward(minutes=1)
        await run(app, inbox)
    assert (await shown(app, crew.olga)).last_answer == "delivered: 250 at last"
    codes = {str(message.payload["code"]) for _, _, message in inbox.sent}
    assert len(codes) == 3, "each attempt has a code of its own"


async def test_code_is_given_up_after_some_attempts_and_opens_no_incident(
    app: App, crew: Crew, inbox: Inbox, clock: FakeClock, tables: Tables
) -> None:
    await added(app, crew.olga)
    inbox.answers = [Retry("451 never")] * 50
    for _ in range(20):
        await run(app, inbox)
        clock.forward(minutes=10)
    assert len([1 for _, address, _ in inbox.sent if address == MOBILE]) == verification.MAX_ATTEMPTS
    assert (await shown(app, crew.olga)).last_answer == "not delivered: 451 never"
    assert tables.value("SELECT count(*) FROM incident_heads") == 0


async def test_refused_code_is_final_and_told(app: App, crew: Crew, inbox: Inbox) -> None:
    await added(app, crew.olga)
    inbox.answers = [Rejected("550 no such user")]
    await run(app, inbox)
    assert (await shown(app, crew.olga)).last_answer == "refused: 550 no such user"
    assert await run(app, inbox) == 0


async def test_channel_that_is_not_configured_says_what_to_set(app: App, crew: Crew, inbox: Inbox) -> None:
    async with app.work() as work:
        await contacts.add_method(work, crew.olga, None, "sms", "+4915112345678")
    await run(app, inbox)
    method = await shown(app, crew.olga, "+4915112345678")
    assert method.last_answer == "not delivered: The channel sms is not configured: set TOCSIN_GATEWAY_URL."


async def test_messages_over_one_method_keep_their_distance(
    app: App, crew: Crew, inbox: Inbox, clock: FakeClock
) -> None:
    contact_id = await added(app, crew.olga)
    await run(app, inbox)
    for use_case in (verification.send_code, verification.send_test):
        refused = await refusal(app, use_case, crew.olga, contact_id)
        assert (refused.code, refused.details["retryAfterSeconds"]) == (Code.RATE_LIMITED, 61)
    clock.forward(minutes=1)
    async with app.work() as work:
        await verification.send_test(work, crew.olga, contact_id)
    await run(app, inbox)
    assert [message.payload["event"] for _, _, message in inbox.sent] == ["VERIFY_CONTACT", "TEST_CONTACT"]


async def test_verified_method_gets_no_code_but_a_test(app: App, crew: Crew, inbox: Inbox, clock: FakeClock) -> None:
    contact_id = await added(app, crew.olga)
    await run(app, inbox)
    await given_back(app, crew.olga, contact_id, code_in(inbox))
    clock.forward(hours=1)
    refused = await refusal(app, lambda work: verification.send_code(work, crew.olga, contact_id))
    assert refused.code is Code.CONFLICT
    async with app.work() as work:
        await verification.send_test(work, crew.olga, contact_id)
    await run(app, inbox)
    assert inbox.sent[-1][2].payload == {"event": "TEST_CONTACT"}


async def test_method_that_is_gone_before_its_code_left_gets_none(app: App, crew: Crew, inbox: Inbox) -> None:
    contact_id = await added(app, crew.olga)
    async with app.work() as work:
        await contacts.remove_method(work, crew.olga, contact_id)
    await run(app, inbox)
    assert inbox.sent == []


# --- whose they are --------------------------------------------------------------------------------------------


async def test_everybody_changes_their_own_and_a_superadmin_anybodys(app: App, crew: Crew, inbox: Inbox) -> None:
    contact_id = await added(app, crew.dee, "dee.mobile@example.org", email=None)
    changes: list[Callable[[Work, Actor], Awaitable[object]]] = [
        lambda work, by: contacts.add_method(work, by, "dee@example.org", "email", "eve@example.org"),
        lambda work, by: verification.take_code(work, by, contact_id, "12345678"),
        lambda work, by: verification.send_test(work, by, contact_id),
        lambda work, by: contacts.add_rule(work, by, contact_id, timedelta(0)),
        lambda work, by: contacts.remove_method(work, by, contact_id),
    ]
    for change in changes:
        for stranger in (crew.olga, crew.mia):
            refused = await refusal(app, change, stranger)
            assert refused.code is Code.FORBIDDEN
    for change in changes:
        async with app.work() as work:
            await change(work, crew.ada)


async def test_member_has_none(app: App, crew: Crew) -> None:
    refused = await refusal(app, lambda work: contacts.add_method(work, crew.mia, None, "email", "mia2@example.org"))
    assert refused.code is Code.FORBIDDEN


async def test_what_does_not_exist_is_not_found(app: App, crew: Crew) -> None:
    nothing = ids.new_id()
    for change in (
        lambda work: contacts.remove_method(work, crew.ada, nothing),
        lambda work: contacts.remove_rule(work, crew.ada, nothing),
        lambda work: contacts.add_rule(work, crew.ada, nothing, timedelta(0)),
        lambda work: verification.send_code(work, crew.ada, nothing),
        lambda work: contacts.find_method(work, OLGA, "sms", "+4915112345678"),
        lambda work: contacts.list_methods(work, crew.ada, "nobody@example.org"),
    ):
        assert (await refusal(app, change)).code is Code.NOT_FOUND


async def test_there_is_a_bound_to_methods_and_to_rules(app: App, crew: Crew) -> None:
    for number in range(MAX_METHODS - 1):
        await added(app, crew.olga, f"olga{number}@example.org")
    refused = await refusal(app, lambda work: contacts.add_method(work, crew.olga, None, "email", MOBILE))
    assert refused.code is Code.CONFLICT
    own = (await shown(app, crew.olga, OLGA)).id
    for minutes in range(MAX_RULES):
        async with app.work() as work:
            await contacts.add_rule(work, crew.olga, own, timedelta(minutes=minutes))
    refused = await refusal(app, lambda work: contacts.add_rule(work, crew.olga, own, timedelta(hours=5)))
    assert refused.code is Code.CONFLICT


async def test_address_of_every_channel_is_checked_and_shown_without_its_secret(
    app: App, crew: Crew, tables: Tables
) -> None:
    async with app.work() as work:
        await contacts.add_method(work, crew.olga, None, "slack", "https://hooks.slack.com/services/T0/B0/SECRET")
        await contacts.add_method(work, crew.olga, None, "apprise", "tgram://123456789:SECRET/1")
    for channel in CHANNELS:
        bad = await refusal(app, contacts.add_method, crew.olga, None, channel, "x y z")
        assert bad.code is Code.INVALID
    again = await refusal(
        app,
        lambda work: contacts.add_method(
            work, crew.olga, None, "slack", "https://hooks.slack.com/services/T0/B0/SECRET"
        ),
    )
    async with app.work() as work:
        listed = str(await contacts.list_methods(work, crew.dee, OLGA))
    assert again.code is Code.CONFLICT
    assert "SECRET" not in listed + again.message


# --- rules -----------------------------------------------------------------------------------------------------


async def test_rules_come_show_what_a_page_consists_of_and_go(app: App, crew: Crew) -> None:
    own, mobile = (await shown(app, crew.olga, OLGA)).id, await added(app, crew.olga)
    async with app.work() as work:
        later = await contacts.add_rule(work, crew.olga, mobile, timedelta(minutes=5))
        await contacts.add_rule(work, crew.olga, own, timedelta(0))
    async with app.work() as work:
        found = await contacts.list_rules(work, crew.dee, OLGA)
    assert [(one.after_seconds, one.address) for one in found.rules] == [(0, OLGA), (300, MOBILE)]
    assert [(one.after_seconds, one.address) for one in found.plan] == [(0, OLGA), (300, MOBILE)]
    again = await refusal(app, lambda work: contacts.add_rule(work, crew.olga, mobile, timedelta(minutes=5)))
    assert again.code is Code.CONFLICT
    async with app.work() as work:
        await contacts.remove_rule(work, crew.olga, later)
        left = await contacts.list_rules(work, crew.olga, None)
    assert [(one.after_seconds, one.address) for one in left.plan] == [(0, OLGA)]


async def test_rule_goes_with_its_method(app: App, crew: Crew) -> None:
    mobile = await added(app, crew.olga)
    async with app.work() as work:
        await contacts.add_rule(work, crew.olga, mobile, timedelta(minutes=5))
        await contacts.remove_method(work, crew.olga, mobile)
        assert (await contacts.list_rules(work, crew.olga, None)).rules == []


@pytest.mark.parametrize("after", [timedelta(seconds=-1), timedelta(days=1, seconds=1)])
async def test_delay_of_a_rule_is_bounded(app: App, crew: Crew, after: timedelta) -> None:
    own = (await shown(app, crew.olga, OLGA)).id
    refused = await refusal(app, lambda work: contacts.add_rule(work, crew.olga, own, after))
    assert refused.code is Code.INVALID


async def test_adding_rules_and_removing_methods_at_once_never_lock_each_other_out(app: App, crew: Crew) -> None:
    methods = [await added(app, crew.olga, f"olga{number}@example.org") for number in range(6)]

    async def rule(method: UUID) -> None:
        async with app.work() as work:
            await contacts.add_rule(work, crew.olga, method, timedelta(minutes=1))

    async def removal(method: UUID) -> None:
        async with app.work() as work:
            await contacts.remove_method(work, crew.olga, method)

    outcomes = await asyncio.gather(
        *(act(method) for method in methods for act in (rule, removal)), return_exceptions=True
    )
    codes = {one.refusal.code for one in outcomes if isinstance(one, TocsinError)}
    assert codes <= {Code.NOT_FOUND}
    assert not [one for one in outcomes if isinstance(one, Exception) and not isinstance(one, TocsinError)]
