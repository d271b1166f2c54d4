"""Policies and routes: what is written is what is read, and no change leaves a step that reaches nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import pytest

from tests.app.conftest import Crew, Tables
from tests.conftest import ADMIN_EMAIL
from tests.support import reached
from tocsin.app import accounts, erase, policies
from tocsin.app.erase import Grounds
from tocsin.app.policies import PolicyView, RouteView
from tocsin.app.policy_reach import in_force
from tocsin.app.work import App, Work
from tocsin.domain.access import Actor, Permission
from tocsin.domain.incident import Severity
from tocsin.domain.policy import Duty, StepReason
from tocsin.domain.policy_document import PolicyDraft, StepDraft, TargetKind, TargetName, document_of, parse_policy
from tocsin.errors import Code, Refusal, TocsinError

pytestmark = pytest.mark.anyio

T = TypeVar("T")
Change = Callable[[Work], Awaitable[T]]
OLGA, SAM, MIA = (TargetName(TargetKind.USER, f"{name}@example.org") for name in ("olga", "sam", "mia"))
ON_CALL = TargetName(TargetKind.DUTY, "ON_CALL")
DIRECTOR = TargetName(TargetKind.DUTY, "DIRECTOR")
WEEK = UUID(int=77)


def paging(*targets: TargetName, name: str = "payments") -> PolicyDraft:
    """Return a policy whose own step, ten minutes late, is for these targets."""
    return PolicyDraft(name, (StepDraft(StepReason.POLICY_STEP, timedelta(minutes=10), targets),))


async def done(app: App, change: Change[T]) -> T:
    """Do something in a unit of work of its own."""
    async with app.work() as work:
        return await change(work)


async def refused(app: App, change: Change[object]) -> Refusal:
    """Return the refusal of something."""
    with pytest.raises(TocsinError) as caught:
        await done(app, change)
    return caught.value.refusal


async def added(app: App, actor: Actor, draft: PolicyDraft) -> PolicyView:
    """Add a policy."""
    return await done(app, lambda work: policies.add_policy(work, actor, draft))


async def routed(app: App, actor: Actor, policy: str, service: str | None, *severities: Severity) -> RouteView:
    """Add a route, asked last."""
    return await done(
        app, lambda work: policies.add_route(work, actor, policy, service=service, severities=severities or None)
    )


def schedule(tables: Tables, *members: Actor) -> None:
    """Make a schedule of one layer that lasts, and one that is over with everybody in it."""
    rows = tables.connection
    rows.execute(b"INSERT INTO schedules VALUES (%s, 'Week', 'UTC', 1, now())", [WEEK])
    for position, (ends, people) in enumerate(
        ((None, members), ("2020-01-01", [row[0] for row in tables.rows("SELECT id FROM users")]))
    ):
        layer = UUID(int=position + 1)
        rows.execute(
            "INSERT INTO schedule_layers"
            " (id, schedule_id, position, name, rotation, every, starts_on, hand_off, ends_at)"
            " VALUES (%s, %s, %s, 'layer', 'WEEKLY', 1, '2020-01-01', '09:00', %s)",
            [layer, WEEK, position, ends],
        )
        for place, member in enumerate(people):
            user_id = member.user_id if isinstance(member, Actor) else member
            rows.execute(b"INSERT INTO schedule_members VALUES (%s, %s, %s)", [layer, place, user_id])


async def test_what_is_written_is_what_is_read(app: App, crew: Crew, tables: Tables) -> None:
    schedule(tables, crew.mia)
    draft = parse_policy(
        {
            "name": "Payments",
            "repeat": 2,
            "leaseSeconds": None,
            "steps": [
                {"targets": [{"schedule": "week"}, {"user": "OLGA@example.org"}, {"user": "olga@example.org"}]},
                {"afterSeconds": 600, "targets": [{"duty": "SUPERVISOR"}]},
                {"reason": "NO_ACK_4HR", "afterSeconds": 7200, "targets": [{"duty": "DIRECTOR"}]},
            ],
        }
    )
    made = await added(app, crew.ada, draft)
    reasons = [(step.reason.value, step.after.total_seconds()) for step in made.said.steps]
    assert reasons == [
        ("INCIDENT_OPENED", 0),
        ("POLICY_STEP", 600),
        ("NO_ACK_1HR", 3600),
        ("NO_ACK_4HR", 7200),
        ("NO_ROOT_CAUSE_24HR", 86_400),
    ]
    assert [str(target) for target in made.said.steps[0].targets] == ["schedule:Week", "user:olga@example.org"]
    assert (made.said.lease, made.said.repeat, made.is_default, made.routes, made.unreached) == (None, 2, False, 0, ())
    again = replace(parse_policy(document_of(made.said)), name="again")
    assert replace((await added(app, crew.ada, again)).said, name="Payments") == made.said
    changed = await done(app, lambda work: policies.change_policy(work, crew.ada, "PAYMENTS", paging(SAM, name="pay")))
    assert (changed.id, changed.said.name, changed.said.repeat, changed.said.lease) == (
        made.id,
        "pay",
        0,
        timedelta(hours=4),
    )
    listed = await done(app, lambda work: policies.list_policies(work, crew.dee))
    assert [view.said.name for view in listed] == ["default", "again", "pay"]
    await done(app, lambda work: policies.remove_policy(work, crew.ada, made.id))
    assert tables.value("SELECT count(*) FROM policy_steps WHERE policy_id = %s", made.id) == 0


@pytest.mark.parametrize(
    ("target", "code", "problem"),
    [
        (TargetName(TargetKind.USER, "eve@example.org"), Code.INVALID, "there is no user eve@example.org"),
        (TargetName(TargetKind.SCHEDULE, "month"), Code.INVALID, "there is no schedule month"),
        (MIA, Code.INVALID, "mia@example.org, who has no contact method"),
        (TargetName(TargetKind.SCHEDULE, "week"), Code.INVALID, "the schedule Week, of whose members none is active"),
    ],
)
async def test_a_policy_that_reaches_nobody_is_refused_at_once(
    app: App, crew: Crew, tables: Tables, target: TargetName, code: Code, problem: str
) -> None:
    schedule(tables, crew.mia)
    tables.connection.execute(b"DELETE FROM contact_methods WHERE user_id = %s", [crew.mia.user_id])
    refusal = await refused(app, lambda work: policies.add_policy(work, crew.ada, paging(target)))
    assert (refusal.code, problem in refusal.message) == (code, True), refusal.message
    assert tables.value("SELECT count(*) FROM policies") == 1
    await added(app, crew.ada, paging(target, OLGA) if "there is no" not in problem else paging(OLGA))
    change = await refused(app, lambda work: policies.change_policy(work, crew.ada, "payments", paging(target)))
    rule = await refused(
        app, lambda work: policies.set_rule(work, crew.ada, "", StepReason.NO_ACK_1HR, targets=[target])
    )
    assert problem in change.message
    assert problem in rule.message


async def test_a_duty_that_nobody_holds_is_refused_with_what_to_do(app: App, crew: Crew, tables: Tables) -> None:
    tables.connection.execute(b"DELETE FROM duties WHERE duty = 'DIRECTOR'")
    refusal = await refused(app, lambda work: policies.add_policy(work, crew.ada, paging(ON_CALL)))
    assert "the step NO_ROOT_CAUSE_24HR after 1d reaches nobody: nobody holds the duty DIRECTOR" in refusal.message
    assert "tocsin oncall assign DIRECTOR" in refusal.hint
    delay = timedelta(minutes=5)
    rule = await done(app, lambda work: policies.set_rule(work, crew.ada, "", StepReason.NO_ACK_1HR, after=delay))
    assert [one.step.reason for one in rule.unreached] == [StepReason.NO_ROOT_CAUSE_24HR]


def leavings(crew: Crew) -> dict[str, Change[object]]:
    """Return every way in which olga may stop being reached."""
    email = "olga@example.org"
    return {
        "deactivated": lambda work: accounts.set_active(work, crew.ada, email, active=False),
        "unreachable": lambda work: reached.no_more_by(work, crew.ada, email, "email", email),
        "erased": lambda work: erase.erase_user(work, crew.ada, email, Grounds("asked", None)),
    }


@pytest.mark.parametrize("how", ["deactivated", "unreachable", "erased"])
async def test_whom_a_policy_in_force_needs_stays(app: App, crew: Crew, tables: Tables, how: str) -> None:
    schedule(tables, crew.mia, crew.olga)
    leave = leavings(crew)[how]
    for duty in Duty:
        await done(app, lambda work, duty=duty: accounts.assign_duty(work, crew.ada, duty, ADMIN_EMAIL))  # type: ignore[misc]
    await done(app, lambda work: accounts.set_active(work, crew.ada, "mia@example.org", active=False))
    await added(app, crew.ada, paging(TargetName(TargetKind.SCHEDULE, "week")))
    await routed(app, crew.ada, "payments", "payments")
    refusal = await refused(app, leave)
    assert refusal.code is Code.CONFLICT
    if how == "erased":
        assert refusal.message.startswith("olga@example.org is on call by the schedule Week")
        return
    assert "Policy payments: the step POLICY_STEP after 10m would reach nobody any more: the schedule Week" in (
        refusal.message
    )
    assert "Let the step page somebody else first: `tocsin policies change payments`" in refusal.hint
    await done(app, lambda work: policies.remove_route(work, crew.ada, 1))
    await done(app, leave)


async def test_what_reached_nobody_before_does_not_stand_in_the_way(app: App, crew: Crew, tables: Tables) -> None:
    tables.connection.execute(b"UPDATE users SET active = false WHERE email = 'olga@example.org'")
    assert [one.step.reason.value for one in await done(app, in_force)] == ["INCIDENT_OPENED", "NO_ACK_1HR"]
    await done(app, lambda work: accounts.set_active(work, crew.ada, "mia@example.org", active=False))
    await done(app, lambda work: accounts.assign_duty(work, crew.ada, Duty.SUPERVISOR, "dee@example.org"))
    sam, ada = (
        lambda work, email=email: reached.no_more_by(work, crew.ada, email, "email", email)
        for email in ("sam@example.org", ADMIN_EMAIL)
    )
    await done(app, sam)
    assert "no superadmin can be reached either" in (await refused(app, ada)).message


async def test_two_who_leave_at_once_leave_one(app: App, crew: Crew) -> None:
    for duty in Duty:
        await done(app, lambda work, duty=duty: accounts.assign_duty(work, crew.ada, duty, ADMIN_EMAIL))  # type: ignore[misc]
    await added(app, crew.ada, paging(OLGA, MIA))
    await routed(app, crew.ada, "payments", None)
    outcomes = await asyncio.gather(
        *(
            done(app, lambda work, who=who: reached.no_more_by(work, crew.ada, who, "email", who))  # type: ignore[misc]
            for who in ("olga@example.org", "mia@example.org")
        ),
        return_exceptions=True,
    )
    assert len([one for one in outcomes if isinstance(one, TocsinError)]) == 1
    assert await done(app, in_force) == ()


async def test_a_name_is_taken_once_and_the_default_stays(app: App, crew: Crew) -> None:
    await added(app, crew.ada, paging(OLGA))
    refusals = [
        await refused(app, lambda work: policies.add_policy(work, crew.ada, paging(OLGA, name="PAYMENTS"))),
        await refused(app, lambda work: policies.change_policy(work, crew.ada, "", paging(OLGA))),
        await refused(app, lambda work: policies.change_policy(work, crew.ada, "", paging(OLGA, name="d"))),
        await refused(
            app, lambda work: policies.change_policy(work, crew.ada, "payments", paging(OLGA, name="Default"))
        ),
        await refused(app, lambda work: policies.remove_policy(work, crew.ada, "default")),
    ]
    assert [one.code for one in refusals] == [Code.CONFLICT] * 5
    missing = await refused(app, lambda work: policies.show_policy(work, crew.ada, "search"))
    assert (missing.code, "no policy search" in missing.message) == (Code.NOT_FOUND, True)
    changed = await done(
        app, lambda work: policies.change_policy(work, crew.ada, "default", paging(OLGA, name="default"))
    )
    assert changed.is_default


async def test_there_are_only_so_many_policies(app: App, crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "MAX_POLICIES", 2)
    await added(app, crew.ada, paging(OLGA))
    full = await refused(app, lambda work: policies.add_policy(work, crew.ada, paging(OLGA, name="more")))
    assert (full.code, "as many as there may be" in full.message) == (Code.CONFLICT, True)


async def test_one_rule_changes_and_what_is_not_said_stays(app: App, crew: Crew) -> None:
    await added(app, crew.ada, paging(OLGA))
    first, second = StepReason.NO_ACK_1HR, StepReason.INCIDENT_OPENED
    delay = timedelta(minutes=5)
    view = await done(app, lambda work: policies.set_rule(work, crew.ada, "payments", first, after=delay))
    step = next(step for step in view.said.steps if step.reason is first)
    assert (step.after, step.targets) == (delay, (ON_CALL,))
    assert view.said.steps[1] is step, "the steps stay in the order of their delays"
    view = await done(app, lambda work: policies.set_rule(work, crew.ada, "", second, targets=[SAM, DIRECTOR]))
    assert (view.is_default, view.said.steps[0].targets) == (True, (SAM, DIRECTOR))
    late = await refused(app, lambda work: policies.set_rule(work, crew.ada, "", second, after=delay))
    early = await refused(app, lambda work: policies.set_rule(work, crew.ada, "", first, after=timedelta()))
    assert (late.code, early.code) == (Code.INVALID, Code.INVALID)


# --- routes ----------------------------------------------------------------------------------------------------


async def places(app: App, actor: Actor) -> list[tuple[int, str | None, str]]:
    """Return the routes as people see them."""
    views = await done(app, lambda work: policies.list_routes(work, actor))
    return [(view.position, view.service, view.policy) for view in views]


async def test_routes_are_asked_in_their_order(app: App, crew: Crew) -> None:
    for name in ("payments", "night"):
        await added(app, crew.ada, paging(OLGA, name=name))
    await routed(app, crew.ada, "payments", "payments", Severity.CRITICAL, Severity.HIGH)
    await routed(app, crew.ada, "night", None, Severity.LOW)
    first = await done(app, lambda work: policies.add_route(work, crew.ada, "NIGHT", service=" search ", position=1))
    assert await places(app, crew.dee) == [(1, "search", "night"), (2, "payments", "payments"), (3, None, "night")]
    moved = await done(app, lambda work: policies.move_route(work, crew.ada, first.id, 3))
    assert (moved.position, moved.severities) == (3, None)
    assert [place[1] for place in await places(app, crew.ada)] == ["payments", None, "search"]
    used = await refused(app, lambda work: policies.remove_policy(work, crew.ada, "night"))
    assert (used.code, "the route at place 2, 3 leads to it" in used.message) == (Code.CONFLICT, True)
    removed = await done(app, lambda work: policies.remove_route(work, crew.ada, 1))
    assert removed.severities == (Severity.HIGH, Severity.CRITICAL)
    await done(app, lambda work: policies.remove_policy(work, crew.ada, "payments"))
    assert [place[1] for place in await places(app, crew.ada)] == [None, "search"]


async def test_a_route_that_would_never_be_asked_is_refused(app: App, crew: Crew) -> None:
    await added(app, crew.ada, paging(OLGA))
    await routed(app, crew.ada, "payments", "payments", Severity.HIGH)
    await routed(app, crew.ada, "payments", None)
    behind = await refused(app, lambda work: policies.add_route(work, crew.ada, "", service="search"))
    assert "for service search and any severity to default would never be asked" in behind.message
    pushed = await refused(app, lambda work: policies.move_route(work, crew.ada, 2, 1))
    assert pushed.code is Code.CONFLICT
    await done(app, lambda work: policies.add_route(work, crew.ada, "", service="search", position=2))


async def test_what_no_route_can_be_is_refused(app: App, crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = crew.ada
    cases: list[tuple[Change[object], Code]] = [
        (lambda work: policies.add_route(work, ada, "nothing"), Code.NOT_FOUND),
        (lambda work: policies.add_route(work, ada, "", position=0), Code.INVALID),
        (lambda work: policies.add_route(work, ada, "", position=2), Code.INVALID),
        (lambda work: policies.add_route(work, ada, "", service=""), Code.INVALID),
        (lambda work: policies.add_route(work, ada, "", service="x" * 201), Code.INVALID),
        (lambda work: policies.move_route(work, ada, 1, 1), Code.NOT_FOUND),
        (lambda work: policies.remove_route(work, ada, UUID(int=1)), Code.NOT_FOUND),
    ]
    for change, code in cases:
        assert (await refused(app, change)).code is code
    monkeypatch.setattr(policies, "MAX_ROUTES", 0)
    full = await refused(app, lambda work: policies.add_route(work, ada, ""))
    assert full.code is Code.CONFLICT


async def test_a_route_brings_no_policy_into_force_that_reaches_nobody(app: App, crew: Crew) -> None:
    await added(app, crew.ada, paging(MIA))
    await done(app, lambda work: accounts.set_active(work, crew.ada, "mia@example.org", active=False))
    refusal = await refused(app, lambda work: policies.add_route(work, crew.ada, "payments"))
    assert (refusal.code, "mia@example.org, who is not active" in refusal.message) == (Code.INVALID, True)


async def test_who_may_read_and_who_may_change(app: App, crew: Crew) -> None:
    readings: list[Callable[[Actor], Change[object]]] = [
        lambda by: lambda work: policies.list_policies(work, by),
        lambda by: lambda work: policies.show_policy(work, by, ""),
        lambda by: lambda work: policies.list_routes(work, by),
    ]
    changes: list[Callable[[Actor], Change[object]]] = [
        lambda by: lambda work: policies.add_policy(work, by, paging(OLGA)),
        lambda by: lambda work: policies.change_policy(work, by, "", paging(OLGA, name="default")),
        lambda by: lambda work: policies.set_rule(work, by, "", StepReason.NO_ACK_1HR, after=timedelta(hours=2)),
        lambda by: lambda work: policies.add_route(work, by, "", service="x"),
        lambda by: lambda work: policies.move_route(work, by, 1, 1),
        lambda by: lambda work: policies.remove_route(work, by, 1),
        lambda by: lambda work: policies.remove_policy(work, by, "payments"),
    ]
    table = {
        crew.mia: frozenset[Permission](),
        crew.dee: {Permission.READ},
        crew.olga: {Permission.READ},
        crew.ada: {Permission.READ, Permission.ADMINISTER},
    }
    for actor, granted in table.items():
        for permission, operations in ((Permission.READ, readings), (Permission.ADMINISTER, changes)):
            for operation in operations:
                if permission in granted:
                    await done(app, operation(actor))
                else:
                    assert (await refused(app, operation(actor))).code is Code.FORBIDDEN
