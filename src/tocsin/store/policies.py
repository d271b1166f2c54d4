"""Policies and the routes that lead to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from tocsin.domain.incident import Severity
from tocsin.domain.policy import Duty, Policies, Policy, Route, Step, StepReason, Target
from tocsin.domain.policy_reach import Directory, Person, Roster
from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("policies")


@dataclass(frozen=True, slots=True)
class _PolicyRow:
    id: UUID
    name: str
    is_default: bool
    repeat: int
    lease_seconds: int | None
    steps: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _RouteRow:
    id: UUID
    service: str | None
    severities: list[str] | None
    policy_id: UUID


@dataclass(frozen=True, slots=True)
class _PersonRow:
    id: UUID
    email: str
    active: bool
    has_contact: bool


@dataclass(frozen=True, slots=True)
class _RosterRow:
    id: UUID
    name: str
    members: list[UUID]


@dataclass(frozen=True, slots=True)
class _HeldRow:
    duty: str
    user_id: UUID | None
    schedule_id: UUID | None


async def load(tx: Tx) -> Policies:
    """Return every policy and route."""
    return await (await ask(tx))()


async def ask(tx: Tx) -> Callable[[], Awaitable[Policies]]:
    """Ask for every policy and route; return what waits for them, as `Tx.ask` does."""
    asked = await tx.ask(QUERIES["all"], _PolicyRow)
    asked_routes = await tx.ask(QUERIES["routes"], _RouteRow)

    async def loaded() -> Policies:
        rows, routes = await asked(), await asked_routes()
        return Policies(
            {row.id: _policy(row) for row in rows},
            tuple(_route(row) for row in routes),
            next(row.id for row in rows if row.is_default),
        )

    return loaded


def _policy(row: _PolicyRow) -> Policy:
    lease = timedelta(seconds=row.lease_seconds) if row.lease_seconds is not None else None
    return Policy(row.id, row.name, tuple(_step(step) for step in row.steps), row.repeat, lease)


def _step(said: dict[str, Any]) -> Step:
    targets = tuple(_target(target) for target in said["targets"])
    return Step(StepReason(said["reason"]), timedelta(seconds=said["after_seconds"]), targets)


def _target(said: dict[str, Any]) -> Target:
    return Target(
        user_id=UUID(said["user_id"]) if said["user_id"] else None,
        schedule_id=UUID(said["schedule_id"]) if said["schedule_id"] else None,
        duty=Duty(said["duty"]) if said["duty"] else None,
    )


def _route(row: _RouteRow) -> Route:
    severities = frozenset(Severity(name) for name in row.severities) if row.severities is not None else None
    return Route(row.id, row.service, severities, row.policy_id)


async def lock(tx: Tx) -> None:
    """Hold off others who change policies or routes until this transaction ends."""
    await tx.run(QUERIES["lock_policies"])


async def insert(tx: Tx, policy: Policy, now: datetime) -> None:
    """Add a policy, which is not the default."""
    await tx.run(QUERIES["insert"], _columns(policy) | {"now": now})
    await _insert_steps(tx, policy)


async def change(tx: Tx, policy: Policy) -> None:
    """Change a policy to what it is now."""
    await tx.run(QUERIES["set_policy"], _columns(policy))
    await tx.run(QUERIES["remove_steps"], {"id": policy.id})
    await _insert_steps(tx, policy)


def _columns(policy: Policy) -> dict[str, object]:
    lease = _seconds(policy.lease) if policy.lease is not None else None
    return {"id": policy.id, "name": policy.name, "repeat": policy.repeat, "lease_seconds": lease}


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())


async def _insert_steps(tx: Tx, policy: Policy) -> None:
    steps = [
        {"position": position, "reason": step.reason, "after_seconds": _seconds(step.after)}
        for position, step in enumerate(policy.steps)
    ]
    targets = [
        {
            "step": number,
            "position": position,
            "user_id": target.user_id,
            "schedule_id": target.schedule_id,
            "duty": target.duty,
        }
        for number, step in enumerate(policy.steps)
        for position, target in enumerate(step.targets)
    ]
    await tx.run(QUERIES["insert_steps"], {"id": policy.id, "steps": _json(steps)})
    await tx.run(QUERIES["insert_targets"], {"id": policy.id, "targets": _json(targets)})


def _json(rows: Sequence[object]) -> str:
    return msgspec.json.encode(rows).decode()


async def remove(tx: Tx, policy_id: UUID) -> None:
    """Remove a policy that no route leads to; the default stays."""
    await tx.run(QUERIES["remove"], {"id": policy_id})


async def put_routes(tx: Tx, routes: Sequence[Route]) -> None:
    """Let these be the routes, in this order."""
    rows = [
        {
            "id": route.id,
            "position": position,
            "service": route.service,
            "severities": [one for one in Severity if one in route.severities] if route.severities else None,
            "policy_id": route.policy_id,
        }
        for position, route in enumerate(routes)
    ]
    await tx.run(QUERIES["remove_other_routes"], {"ids": [route.id for route in routes]})
    await tx.run(QUERIES["put_routes"], {"routes": _json(rows)})


async def directory(tx: Tx, now: datetime) -> Directory:
    """Return who stands behind the targets of the policies."""
    people = await tx.rows(QUERIES["people"], _PersonRow)
    rosters = await tx.rows(QUERIES["rosters"], _RosterRow, {"now": now})
    duties = await tx.rows(QUERIES["duties"], _HeldRow)
    return Directory(
        {row.id: Person(row.email, row.active, row.has_contact) for row in people},
        {row.id: Roster(row.name, frozenset(row.members)) for row in rosters},
        {Duty(row.duty): Target(user_id=row.user_id, schedule_id=row.schedule_id) for row in duties},
        bool(await tx.value(QUERIES["superadmins_told"])),
    )


async def schedule_by_name(tx: Tx, name: str) -> UUID | None:
    """Return the id of a schedule."""
    schedule_id: UUID | None = await tx.value(QUERIES["schedule_by_name"], {"name": name})
    return schedule_id
