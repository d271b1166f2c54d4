"""Policies, routes and silences as a test needs them, written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.types.json import Jsonb

from tests.support.by_hand import Connection
from tocsin import ids
from tocsin.domain.policy import DEFAULT_LEASE, Step, checked_steps

DEFAULT = UUID("00000000-0000-7000-8000-000000000001")


def add_policy(
    connection: Connection,
    name: str,
    steps: Sequence[Step],
    *,
    service: str | None = None,
    severities: list[str] | None = None,
    repeat: int = 0,
    lease: timedelta | None = DEFAULT_LEASE,
) -> UUID:
    """Add a policy with its route behind the others; return its id."""
    policy_id = ids.new_id()
    lease_seconds = lease.total_seconds() if lease is not None else None
    connection.execute(
        "INSERT INTO policies (id, name, is_default, repeat, lease_seconds, created_at)"
        " VALUES (%s, %s, false, %s, %s, '2026-01-01Z')",
        [policy_id, name, repeat, lease_seconds],
    )
    put_steps(connection, policy_id, steps)
    connection.execute(
        "INSERT INTO policy_routes (id, position, service, severities, policy_id)"
        " SELECT %s, count(*), %s, %s, %s FROM policy_routes",
        [ids.new_id(), service, severities, policy_id],
    )
    return policy_id


def put_steps(connection: Connection, policy_id: UUID, steps: Sequence[Step]) -> None:
    """Let these be the steps of a policy; the rules that are not named are the default's."""
    connection.execute("DELETE FROM policy_steps WHERE policy_id = %s", [policy_id])
    for position, step in enumerate(checked_steps(steps)):
        connection.execute(
            "INSERT INTO policy_steps VALUES (%s, %s, %s, %s)",
            [policy_id, position, step.reason.value, step.after.total_seconds()],
        )
        for place, target in enumerate(step.targets):
            connection.execute(
                "INSERT INTO policy_targets VALUES (%s, %s, %s, %s, %s, %s)",
                [policy_id, position, place, target.user_id, target.schedule_id, target.duty],
            )


def add_schedule(connection: Connection, name: str, members: Sequence[UUID], starts: datetime) -> UUID:
    """Add a schedule in which each member has a week, the first one's turn being now; return its id."""
    schedule_id, layer_id = ids.new_id(), ids.new_id()
    connection.execute("INSERT INTO schedules VALUES (%s, %s, 'UTC', 1, '2026-01-01Z')", [schedule_id, name])
    connection.execute(
        "INSERT INTO schedule_layers VALUES (%s, %s, 0, 'week', 'WEEKLY', 1, %s, '00:00', %s)",
        [layer_id, schedule_id, starts.date(), Jsonb([])],
    )
    for position, user_id in enumerate(members):
        connection.execute("INSERT INTO schedule_members VALUES (%s, %s, %s)", [layer_id, position, user_id])
    return schedule_id


def add_silence(
    connection: Connection, by: UUID, starts: datetime, length: timedelta, *, service: str | None = None
) -> UUID:
    """Add a silence; return its id."""
    silence_id = ids.new_id()
    connection.execute(
        "INSERT INTO silences (id, kind, service, starts_at, ends_at, reason, created_by, created_at)"
        " VALUES (%s, 'MAINTENANCE', %s, %s, %s, 'We move the database', %s, %s)",
        [silence_id, service, starts, starts + length, by, starts],
    )
    return silence_id
