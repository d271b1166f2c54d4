"""Sessions: signing in, and being blocked while a critical incident waits for somebody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from tests.app.conftest import PASSWORD, Crew, Inbox, Tables, run, with_settings
from tests.conftest import ADMIN_EMAIL, ADMIN_PASSWORD, ADMIN_TOKEN
from tests.support.clock import FakeClock
from tests.support.lives import reported
from tocsin.app import account, accounts, respond, sessions
from tocsin.app.sessions import SignedIn
from tocsin.app.work import App, Work
from tocsin.domain.access import Actor, Role
from tocsin.domain.incident import Severity
from tocsin.domain.workflow import Acknowledge
from tocsin.errors import Code, TocsinError

pytestmark = pytest.mark.anyio


@pytest.fixture
def blocking(app: App) -> App:
    """The application of an operator who wants it to hurt."""
    return with_settings(app, session_blocking=True)


async def signed_in(app: App, email: str) -> SignedIn:
    """Open a session."""
    async with app.work() as work:
        verified = await sessions.password_hash_of(work, email) or "nobody can have this one"
        user = await sessions.verified_user(work, email, verified)
        return await sessions.open_session(work, user, "127.0.0.1", "tests")


async def blocked_by(app: App, session: SignedIn) -> UUID | None:
    """Return the incident that blocks a session."""
    async with app.work() as work:
        principal = await sessions.principal_of_session(work, session.session_token)
    assert principal is not None
    return principal.blocked_due_to_incident


async def acknowledged(app: App, crew: Crew, incident_id: UUID) -> None:
    """Let olga take the incident."""
    async with app.work() as work:
        await respond.acknowledge(work, crew.olga, incident_id, Acknowledge("On it"))


async def test_two_hours_without_an_answer_block_everybody_who_cannot_give_one(
    blocking: App, crew: Crew, clock: FakeClock, inbox: Inbox, tables: Tables
) -> None:
    mia, dee = await signed_in(blocking, "mia@example.org"), await signed_in(blocking, "dee@example.org")
    olga, ada = await signed_in(blocking, "olga@example.org"), await signed_in(blocking, ADMIN_EMAIL)
    incident_id = await reported(blocking, severity=Severity.CRITICAL)
    clock.forward(hours=2, seconds=-1)
    await run(blocking, inbox)
    assert [await blocked_by(blocking, one) for one in (mia, dee, olga, ada)] == [None] * 4
    clock.forward(seconds=1)
    await run(blocking, inbox)
    assert [await blocked_by(blocking, one) for one in (mia, dee)] == [incident_id] * 2
    assert [await blocked_by(blocking, one) for one in (olga, ada)] == [None] * 2
    late = await signed_in(blocking, "mia@example.org")
    assert await blocked_by(blocking, late) == incident_id, "a new sign-in is born blocked"
    assert await blocked_by(blocking, await signed_in(blocking, "olga@example.org")) is None
    await acknowledged(blocking, crew, incident_id)
    assert [await blocked_by(blocking, one) for one in (mia, dee, late)] == [None] * 3
    assert await blocked_by(blocking, await signed_in(blocking, "mia@example.org")) is None
    kinds = tables.rows("SELECT event_type FROM incident_lifecycle ORDER BY sequence")
    assert kinds == [("REPORTED",), ("ESCALATED",), ("SESSIONS_BLOCKED",), ("ACKNOWLEDGED",)]


async def test_a_second_blocking_incident_takes_over(blocking: App, crew: Crew, clock: FakeClock, inbox: Inbox) -> None:
    mia = await signed_in(blocking, "mia@example.org")
    first = await reported(blocking, "one", Severity.CRITICAL)
    clock.forward(minutes=30)
    second = await reported(blocking, "two", Severity.CRITICAL)
    clock.forward(hours=2)
    await run(blocking, inbox)
    assert await blocked_by(blocking, mia) in (first, second)
    await acknowledged(blocking, crew, first)
    assert await blocked_by(blocking, mia) == second
    await acknowledged(blocking, crew, second)
    assert await blocked_by(blocking, mia) is None


async def test_only_critical_incidents_block_and_one_that_becomes_critical_does(
    blocking: App, crew: Crew, clock: FakeClock, inbox: Inbox
) -> None:
    mia = await signed_in(blocking, "mia@example.org")
    incident_id = await reported(blocking, severity=Severity.HIGH)
    clock.forward(hours=3)
    await run(blocking, inbox)
    assert await blocked_by(blocking, mia) is None
    await reported(blocking, severity=Severity.CRITICAL)
    await run(blocking, inbox)
    assert await blocked_by(blocking, mia) == incident_id


async def test_nobody_is_blocked_unless_the_operator_wants_it(
    app: App, crew: Crew, clock: FakeClock, inbox: Inbox
) -> None:
    mia = await signed_in(app, "mia@example.org")
    await reported(app, severity=Severity.CRITICAL)
    clock.forward(hours=11)
    await run(app, inbox)
    assert await blocked_by(app, mia) is None


async def test_an_acknowledged_incident_never_comes_to_block(
    blocking: App, crew: Crew, clock: FakeClock, inbox: Inbox
) -> None:
    mia = await signed_in(blocking, "mia@example.org")
    incident_id = await reported(blocking, severity=Severity.CRITICAL)
    clock.forward(hours=1, minutes=59)
    await acknowledged(blocking, crew, incident_id)
    clock.forward(hours=9)
    await run(blocking, inbox)
    assert await blocked_by(blocking, mia) is None


async def test_acknowledging_counts_for_the_person(app: App, crew: Crew, tables: Tables) -> None:
    for name in ("one", "two"):
        await acknowledged(app, crew, await reported(app, name))
    latest = tables.value("SELECT id FROM incident_acknowledgments ORDER BY ack_at DESC, id DESC LIMIT 1")
    query = "SELECT incident_ack_count, last_incident_ack_id FROM users WHERE email = %s"
    assert tables.rows(query, "olga@example.org") == [(2, latest)]
    with pytest.raises(TocsinError):
        await acknowledged(app, crew, await reported(app, "two"))
    assert tables.rows(query, "olga@example.org") == [(2, latest)]
    assert tables.rows(query, ADMIN_EMAIL) == [(0, None)]


# --- signing in ------------------------------------------------------------------------------------------------


async def test_a_session_ends_when_its_time_is_over_or_somebody_ends_it(app: App, crew: Crew, clock: FakeClock) -> None:
    one, two = await signed_in(app, "mia@example.org"), await signed_in(app, "mia@example.org")

    async def valid(session: SignedIn) -> bool:
        async with app.work() as work:
            return await sessions.principal_of_session(work, session.session_token) is not None

    async with app.work() as work:
        await sessions.close_session(work, one.session_token)
    assert not await valid(one)
    assert await valid(two)
    clock.forward(hours=app.settings.session_hours, seconds=-1)
    assert await valid(two)
    clock.forward(seconds=1)
    assert not await valid(two)


async def test_a_new_role_or_password_and_being_shut_out_end_every_session(app: App, crew: Crew) -> None:
    async def valid(session: SignedIn) -> bool:
        async with app.work() as work:
            return await sessions.principal_of_session(work, session.session_token) is not None

    email = "mia@example.org"
    changes: list[Callable[[Work], Awaitable[None]]] = [
        lambda work: accounts.set_role(work, crew.ada, email, Role.AUDITOR),
        lambda work: accounts.set_password(work, crew.ada, email, PASSWORD),
        lambda work: accounts.set_active(work, crew.ada, email, active=False),
    ]
    for change in changes:
        session = await signed_in(app, email)
        assert await valid(session)
        async with app.work() as work:
            await change(work)
        assert not await valid(session)
    with pytest.raises(TocsinError) as caught:
        await signed_in(app, email)
    assert caught.value.refusal.code is Code.UNAUTHORIZED


async def test_only_the_right_password_of_an_active_user_is_right(app: App, crew: Crew) -> None:
    async def accepted(email: str, password: str) -> bool:
        async with app.work() as work:
            stored = await sessions.password_hash_of(work, email)
        return sessions.verify_password(password, stored)

    assert await accepted(ADMIN_EMAIL, ADMIN_PASSWORD)
    assert await accepted(ADMIN_EMAIL.upper(), ADMIN_PASSWORD)
    for email, password in (
        (ADMIN_EMAIL, "wrong horse battery"),
        (ADMIN_EMAIL, ""),
        (ADMIN_EMAIL, "\ud800"),
        (ADMIN_EMAIL, "a\x00b"),
        ("nobody@example.org", ADMIN_PASSWORD),
        ("mia@example.org", ""),
        ("a\x00b@example.org", "x"),
        ("a\ud800b@example.org", "x"),
    ):
        assert not await accepted(email, password), email


async def test_a_token_is_valid_until_it_is_revoked_or_over(app: App, crew: Crew, clock: FakeClock) -> None:
    async def holder(token: str) -> str | None:
        async with app.work() as work:
            principal = await sessions.principal_of_token(work, token)
        return principal.actor.name if principal else None

    assert await holder(ADMIN_TOKEN) == "ada"
    assert await holder("tcs_nonsense") is None
    async with app.work() as work:
        token = await accounts.add_token(work, crew.ada, email="olga@example.org", name="laptop", days=30)
    assert await holder(token) == "Olga"
    clock.forward(days=30, seconds=-1)
    assert await holder(token) == "Olga"
    clock.forward(seconds=1)
    assert await holder(token) is None
    async with app.work() as work:
        (admins,) = [row for row in await accounts.list_tokens(work, crew.ada) if row.expires_at is None]
        await accounts.revoke_token(work, crew.ada, admins.id)
    assert await holder(ADMIN_TOKEN) is None
    with pytest.raises(TocsinError) as caught:
        async with app.work() as work:
            await accounts.revoke_token(work, crew.ada, admins.id)
    assert caught.value.refusal.code is Code.NOT_FOUND


async def test_secrets_are_kept_as_hashes_only(app: App, crew: Crew, tables: Tables) -> None:
    session = await signed_in(app, "mia@example.org")
    everything = str(tables.rows("SELECT s::text FROM sessions s UNION ALL SELECT t::text FROM api_tokens t"))
    everything += str(tables.rows("SELECT u::text FROM users u UNION ALL SELECT k::text FROM project_keys k"))
    for secret in (session.session_token, session.csrf_token, ADMIN_TOKEN, ADMIN_PASSWORD):
        assert secret not in everything
        assert secret.encode().hex() not in everything


async def test_a_password_changed_during_a_sign_in_is_the_one_that_counts(app: App, admin: Actor) -> None:
    async with app.work() as work:
        verified = await sessions.password_hash_of(work, ADMIN_EMAIL)
        await accounts.set_password(work, admin, ADMIN_EMAIL, "another long enough password")
    assert verified is not None

    async def sign_in() -> None:
        async with app.work() as work:
            await sessions.verified_user(work, ADMIN_EMAIL, verified)

    with pytest.raises(TocsinError) as caught:
        await sign_in()
    assert caught.value.refusal.code is Code.UNAUTHORIZED


async def test_a_superadmin_sees_and_ends_the_sessions_of_others(app: App, crew: Crew) -> None:
    first, second = [await signed_in(app, "mia@example.org") for _ in range(2)]
    async with app.work() as work:
        listed = await account.sessions_of(work, crew.ada, "mia@example.org")
        assert [row.client_address for row in listed] == ["127.0.0.1"] * 2
        await account.end_session(work, crew.ada, "mia@example.org", listed[0].id)
        assert len(await account.sessions_of(work, crew.ada, "mia@example.org")) == 1
        assert await account.end_sessions(work, crew.ada, "mia@example.org") == 1
        assert await sessions.principal_of_session(work, first.session_token) is None
        assert await sessions.principal_of_session(work, second.session_token) is None
