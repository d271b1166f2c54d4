"""Accounts: what the first start makes, and what keeps an installation from locking itself out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.app.conftest import PASSWORD, Crew, Tables
from tests.conftest import ADMIN_EMAIL, INTAKE_KEY, Installation
from tests.support import reached
from tests.support.cases import cases
from tests.support.lives import actor_of
from tocsin.app import accounts, contacts, projects
from tocsin.app.projects import IntakeKeys
from tocsin.app.refused_keys import RefusedKeys
from tocsin.app.work import App, Work
from tocsin.domain.access import Actor, Role
from tocsin.domain.policy import Duty
from tocsin.errors import Code, TocsinError

pytestmark = pytest.mark.anyio


async def project_id_of(app: App, key: str) -> int | None:
    """Return the project that an intake key opens."""
    project = await IntakeKeys(app, RefusedKeys(app)).project(key)
    return project.id if project else None


Change = Callable[[Work], Awaitable[object]]


async def done(app: App, change: Change) -> object:
    """Do something in a unit of work of its own."""
    async with app.work() as work:
        return await change(work)


async def refused(app: App, change: Change) -> Code:
    """Return the code with which something is refused."""
    with pytest.raises(TocsinError) as caught:
        await done(app, change)
    return caught.value.refusal.code


async def test_the_first_start_makes_one_superadmin_with_every_duty_and_a_key(
    installation: Installation, app: App, admin: Actor
) -> None:
    assert admin.role is Role.SUPERADMIN
    async with app.work() as work:
        assert {row.duty for row in await accounts.list_duties(work, admin)} == set(Duty)
        assert await project_id_of(installation.app, INTAKE_KEY) == installation.first.project_id == 1
        assert [project.id for project in await projects.list_projects(work, admin)] == [0, 1]
        assert [contact.address for contact in await contacts.list_methods(work, admin, ADMIN_EMAIL)] == [ADMIN_EMAIL]
        assert await accounts.first_start(work) is None


async def test_two_first_starts_at_once_make_one_superadmin(app: App, tables: Tables) -> None:
    for table in ("contact_methods", "duties", "api_tokens", "project_keys", "projects", "users"):
        tables.connection.execute(f"DELETE FROM {table}".encode())
    made = await asyncio.gather(*(done(app, accounts.first_start) for _ in range(4)))
    assert len([first for first in made if first is not None]) == 1
    assert tables.value("SELECT count(*) FROM users") == 1


async def test_the_last_superadmin_can_neither_step_down_nor_be_shut_out(app: App, crew: Crew) -> None:
    await done(app, lambda work: accounts.set_role(work, crew.ada, "sam@example.org", Role.RESPONDER))
    changes: list[Change] = [
        lambda work: accounts.set_role(work, crew.ada, ADMIN_EMAIL, Role.RESPONDER),
        lambda work: accounts.set_active(work, crew.ada, ADMIN_EMAIL, active=False),
    ]
    for change in changes:
        assert await refused(app, change) is Code.CONFLICT
    await done(app, lambda work: accounts.set_role(work, crew.ada, ADMIN_EMAIL, Role.SUPERADMIN))
    await done(app, lambda work: accounts.set_active(work, crew.ada, ADMIN_EMAIL, active=True))
    await done(app, lambda work: accounts.set_role(work, crew.ada, "olga@example.org", Role.SUPERADMIN))
    await done(app, lambda work: accounts.set_role(work, crew.ada, ADMIN_EMAIL, Role.AUDITOR))
    assert (await actor_of(app, ADMIN_EMAIL)).role is Role.AUDITOR


async def test_two_superadmins_who_shut_each_other_out_at_once_leave_one(app: App, crew: Crew, tables: Tables) -> None:
    await done(app, lambda work: accounts.assign_duty(work, crew.ada, Duty.SUPERVISOR, "olga@example.org"))
    outcomes = await asyncio.gather(
        done(app, lambda work: accounts.set_active(work, crew.ada, "sam@example.org", active=False)),
        done(app, lambda work: accounts.set_active(work, crew.sam, ADMIN_EMAIL, active=False)),
        return_exceptions=True,
    )
    assert len([outcome for outcome in outcomes if isinstance(outcome, TocsinError)]) == 1
    assert tables.value("SELECT count(*) FROM users WHERE role = 'superadmin' AND active") == 1


async def test_a_shut_out_superadmin_does_not_count_as_another_one(app: App, crew: Crew) -> None:
    await done(app, lambda work: accounts.assign_duty(work, crew.ada, Duty.SUPERVISOR, "olga@example.org"))
    await done(app, lambda work: accounts.set_active(work, crew.ada, "sam@example.org", active=False))
    code = await refused(app, lambda work: accounts.set_role(work, crew.ada, ADMIN_EMAIL, Role.RESPONDER))
    assert code is Code.CONFLICT


@cases(
    "email",
    [
        "",
        "olga",
        "@example.org",
        "olga@",
        "ol ga@example.org",
        "olga@example.org\n",
        "olga@exa mple.org",
        "olga@example.org\r\nBcc: everybody@example.org",
        "a\x00b@example.org",
        "a\ud800b@example.org",
        "<olga@example.org>",
        "x" * 65 + "@example.org",
        "olga@" + "x" * 190,
    ],
)
async def test_what_is_no_address_is_refused(app: App, admin: Actor, email: str) -> None:
    code = await refused(
        app, lambda work: accounts.add_user(work, admin, email=email, name="X", role=Role.MEMBER, password=None)
    )
    assert code is Code.INVALID
    code = await refused(app, lambda work: contacts.add_method(work, admin, ADMIN_EMAIL, "email", email))
    assert code is Code.INVALID


@pytest.mark.parametrize(
    "address",
    [
        "",
        "example.org",
        "ftp://example.org",
        "https://",
        "https://exa mple.org",
        "https://example.org\n",
        "https://a\x00",
    ],
)
async def test_what_is_no_webhook_is_refused(app: App, admin: Actor, address: str) -> None:
    code = await refused(app, lambda work: contacts.add_method(work, admin, ADMIN_EMAIL, "webhook", address))
    assert code is Code.INVALID
    code = await refused(app, lambda work: contacts.add_method(work, admin, ADMIN_EMAIL, "pigeon", address))
    assert code is Code.INVALID


async def test_an_address_belongs_to_one_user_whatever_its_case(app: App, crew: Crew) -> None:
    code = await refused(
        app,
        lambda work: accounts.add_user(
            work, crew.ada, email="OLGA@example.org", name="X", role=Role.MEMBER, password=None
        ),
    )
    assert code is Code.CONFLICT
    assert (await actor_of(app, "Olga@Example.org")).user_id == crew.olga.user_id


@pytest.mark.parametrize("password", ["", "eleven char", "x" * 1_001, "half of a pair: \ud800"])
async def test_a_password_is_neither_short_nor_endless(app: App, admin: Actor, password: str) -> None:
    code = await refused(app, lambda work: accounts.set_password(work, admin, ADMIN_EMAIL, password))
    assert code is Code.INVALID


def assigning(actor: Actor, email: str) -> Change:
    """Return the assigning of the on-call duty to this user."""
    return lambda work: accounts.assign_duty(work, actor, Duty.ON_CALL, email)


async def test_a_duty_goes_only_to_somebody_who_can_be_reached(app: App, crew: Crew, tables: Tables) -> None:
    await done(app, lambda work: reached.no_more_by(work, crew.ada, "mia@example.org", "email", "mia@example.org"))
    await done(app, lambda work: accounts.assign_duty(work, crew.ada, Duty.SUPERVISOR, "olga@example.org"))
    await done(app, lambda work: accounts.set_active(work, crew.ada, "sam@example.org", active=False))
    for email, code in (
        ("mia@example.org", Code.INVALID),
        ("sam@example.org", Code.INVALID),
        ("nobody@example.org", Code.NOT_FOUND),
    ):
        assert await refused(app, assigning(crew.ada, email)) is code
    assert tables.value("SELECT user_id FROM duties WHERE duty = 'ON_CALL'") == crew.olga.user_id


async def test_the_last_way_to_reach_somebody_with_a_duty_stays(app: App, crew: Crew) -> None:
    email = "olga@example.org"
    remove: Change = lambda work: reached.no_more_by(work, crew.ada, email, "email", email)  # noqa: E731
    assert await refused(app, remove) is Code.CONFLICT
    hook = "https://pager.example.org/olga"
    await done(app, lambda work: contacts.add_method(work, crew.ada, email, "webhook", hook))
    code = await refused(app, lambda work: contacts.add_method(work, crew.ada, email, "webhook", hook))
    assert code is Code.CONFLICT
    await done(app, remove)
    assert await refused(app, remove) in (Code.CONFLICT, Code.NOT_FOUND)
    code = await refused(app, lambda work: reached.no_more_by(work, crew.ada, email, "webhook", hook))
    assert code is Code.CONFLICT


def adding(actor: Actor, name: str) -> Change:
    """Return the adding of a project of this name."""
    return lambda work: projects.add_project(work, actor, name)


async def test_a_project_s_key_opens_that_project_and_names_are_taken_once(app: App, admin: Actor) -> None:
    async with app.work() as work:
        project_id, key = await projects.add_project(work, admin, "shop")
        second = await projects.add_key(work, admin, project_id)
    assert await project_id_of(app, key) == project_id
    assert await project_id_of(app, second) == project_id
    assert await project_id_of(app, "0" * 32) is None
    await done(app, lambda work: projects.add_project(work, admin, "x" * 300))
    for taken in ("shop", " shop ", "x" * 201):
        assert await refused(app, adding(admin, taken)) is Code.CONFLICT
    assert await refused(app, lambda work: projects.add_project(work, admin, " ")) is Code.INVALID
    assert await refused(app, lambda work: projects.add_key(work, admin, 99)) is Code.NOT_FOUND


def administrations(by: Actor) -> list[Change]:
    """Return everything that only a superadmin may do."""
    email = "mia@example.org"
    eve: dict[str, Any] = {"email": "eve@example.org", "name": "Eve", "role": Role.SUPERADMIN, "password": PASSWORD}
    return [
        lambda work: accounts.add_user(work, by, **eve),
        lambda work: accounts.set_role(work, by, email, Role.SUPERADMIN),
        lambda work: accounts.set_password(work, by, ADMIN_EMAIL, PASSWORD),
        lambda work: accounts.set_active(work, by, email, active=False),
        lambda work: accounts.add_token(work, by, email=ADMIN_EMAIL, name="x", days=None),
        lambda work: accounts.list_tokens(work, by),
        lambda work: contacts.add_method(work, by, ADMIN_EMAIL, "email", "eve@example.org"),
        lambda work: reached.no_more_by(work, by, email, "email", email),
        lambda work: accounts.assign_duty(work, by, Duty.ON_CALL, email),
        lambda work: projects.add_project(work, by, "mine"),
        lambda work: projects.add_key(work, by, 1),
    ]


async def test_only_a_superadmin_administers(app: App, crew: Crew) -> None:
    for actor in (crew.olga, crew.dee, crew.mia):
        for change in administrations(actor):
            assert await refused(app, change) is Code.FORBIDDEN


async def test_a_member_reads_nothing(app: App, crew: Crew) -> None:
    readings: list[Change] = [
        lambda work: accounts.list_users(work, crew.mia),
        lambda work: accounts.list_duties(work, crew.mia),
        lambda work: projects.list_projects(work, crew.mia),
        lambda work: contacts.list_methods(work, crew.mia, ADMIN_EMAIL),
    ]
    for reading in readings:
        assert await refused(app, reading) is Code.FORBIDDEN
    async with app.work() as work:
        assert len(await accounts.list_users(work, crew.dee)) == 5
