"""Policies and the routes that lead to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from tocsin.domain.incident import Severity
from tocsin.domain.policy import Duty, Policies, Policy, Route, Step, StepReason, Target
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


async def load(tx: Tx) -> Policies:
    """Return every policy and route."""
    rows = await tx.rows(QUERIES["all"], _PolicyRow)
    routes = await tx.rows(QUERIES["routes"], _RouteRow)
    return Policies(
        {row.id: _policy(row) for row in rows},
        tuple(_route(row) for row in routes),
        next(row.id for row in rows if row.is_default),
    )


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
