"""Schedules: their layers, overrides and calendar feeds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import msgspec

from tocsin.domain.oncall import Override
from tocsin.domain.rotation import Layer, Restriction, Rotation, RotationKind
from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("schedules")
MAX_LISTED = 1_000
MAX_FEEDS_LISTED = 1_000


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A schedule without its layers."""

    id: UUID
    name: str
    time_zone: str
    people: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LayerRow:
    """A layer as it is stored; `every` of a custom rotation is in seconds."""

    schedule_id: UUID
    name: str
    rotation: str
    every: int
    starts_on: date
    hand_off: time
    restrictions: list[dict[str, Any]]
    starts_at: datetime | None
    ends_at: datetime | None
    members: list[UUID]

    def layer(self) -> Layer:
        """Return it as the domain knows it."""
        kind = RotationKind(self.rotation)
        every = timedelta(seconds=self.every) if kind is RotationKind.CUSTOM else self.every
        return Layer(
            self.name,
            Rotation(kind, every, self.starts_on, self.hand_off),
            tuple(self.members),
            tuple(
                Restriction(
                    frozenset(one["weekdays"]), time.fromisoformat(one["start"]), time.fromisoformat(one["end"])
                )
                for one in self.restrictions
            ),
            self.starts_at,
            self.ends_at,
        )


@dataclass(frozen=True, slots=True)
class OverrideRow:
    """An override as it is stored."""

    id: UUID
    schedule_id: UUID
    user_id: UUID
    instead_of: UUID | None
    starts_at: datetime
    ends_at: datetime

    def override(self) -> Override:
        """Return it as the domain knows it."""
        return Override(self.id, self.user_id, self.starts_at, self.ends_at, self.instead_of)


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A user as schedules name them."""

    id: UUID
    name: str
    email: str
    active: bool


@dataclass(frozen=True, slots=True)
class FeedRow:
    """A valid calendar feed; `person` is whose shifts it shows, None where it shows everybody's."""

    id: UUID
    person: str | None
    created_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OpenedFeed:
    """What a token opens."""

    id: UUID
    schedule_id: UUID
    user_id: UUID | None


@dataclass(frozen=True, slots=True)
class _UseRow:
    used_by: str


@dataclass(frozen=True, slots=True)
class _NameRow:
    name: str


async def get(
    tx: Tx, ids: Collection[UUID] | None, since: datetime
) -> tuple[list[ScheduleRow], list[LayerRow], list[OverrideRow]]:
    """Return schedules (all, or those of some ids) with their layers and the overrides that end after an instant."""
    which = {"ids": list(ids) if ids is not None else None}
    rows = await tx.ask(QUERIES["schedules"], ScheduleRow, which | {"limit": MAX_LISTED})
    layers = await tx.ask(QUERIES["layers"], LayerRow, which)
    overrides = await tx.ask(QUERIES["overrides"], OverrideRow, which | {"since": since})
    return await rows(), await layers(), await overrides()


async def by_name(tx: Tx, name: str) -> UUID | None:
    """Return the id of the schedule of a name, whatever its case."""
    found: UUID | None = await tx.value(QUERIES["by_name"], {"name": name}) if name.isprintable() else None
    return found


async def lock(tx: Tx, schedule_id: UUID) -> bool:
    """Lock a schedule until the transaction ends; return whether there is one."""
    return await tx.value(QUERIES["lock"], {"id": schedule_id}) is not None


async def insert(tx: Tx, *, schedule_id: UUID, name: str, time_zone: str, people: int, now: datetime) -> None:
    """Add a schedule without layers."""
    columns = {"id": schedule_id, "name": name, "time_zone": time_zone, "people": people, "now": now}
    await tx.run(QUERIES["insert"], columns)


async def change(tx: Tx, *, schedule_id: UUID, name: str, time_zone: str, people: int) -> None:
    """Change a schedule."""
    await tx.run(QUERIES["change"], {"id": schedule_id, "name": name, "time_zone": time_zone, "people": people})


async def delete(tx: Tx, schedule_id: UUID) -> None:
    """Remove a schedule with everything that belongs to it."""
    await tx.run(QUERIES["delete"], {"id": schedule_id})


async def uses(tx: Tx, schedule_id: UUID) -> list[str]:
    """Return which duties and policies use a schedule."""
    return [row.used_by for row in await tx.rows(QUERIES["uses"], _UseRow, {"id": schedule_id})]


async def set_layers(tx: Tx, schedule_id: UUID, layers: Sequence[Layer], new_id: Callable[[], UUID]) -> None:
    """Put layers in the place of those that a schedule has."""
    ids = [new_id() for _ in layers]
    rows = [
        _layer_row(layer_id, position, layer)
        for position, (layer_id, layer) in enumerate(zip(ids, layers, strict=True))
    ]
    members = [
        {"layer_id": layer_id, "position": position, "user_id": user_id}
        for layer_id, layer in zip(ids, layers, strict=True)
        for position, user_id in enumerate(layer.members)
    ]
    await tx.run(QUERIES["delete_layers"], {"id": schedule_id})
    await tx.run(QUERIES["insert_layers"], {"id": schedule_id, "rows": _json(rows)})
    await tx.run(QUERIES["insert_members"], {"rows": _json(members)})


def _layer_row(layer_id: UUID, position: int, layer: Layer) -> dict[str, object]:
    every = layer.rotation.every
    return {
        "id": layer_id,
        "position": position,
        "name": layer.name,
        "rotation": layer.rotation.kind.value,
        "every": int(every.total_seconds()) if isinstance(every, timedelta) else every,
        "starts_on": layer.rotation.starts_on,
        "hand_off": layer.rotation.hand_off,
        "restrictions": [
            {"weekdays": sorted(one.weekdays), "start": f"{one.start:%H:%M}", "end": f"{one.end:%H:%M}"}
            for one in layer.restrictions
        ],
        "starts_at": layer.starts_at,
        "ends_at": layer.ends_at,
    }


async def insert_overrides(
    tx: Tx, schedule_id: UUID, overrides: Sequence[Override], *, created_by: UUID, now: datetime
) -> None:
    """Add overrides to a schedule, the earlier ones below."""
    rows: list[dict[str, object]] = [
        {
            "id": one.id,
            "user_id": one.user_id,
            "instead_of": one.instead_of,
            "starts_at": one.starts_at,
            "ends_at": one.ends_at,
        }
        for one in overrides
    ]
    columns = {"id": schedule_id, "rows": _json(rows), "created_by": created_by, "now": now}
    await tx.run(QUERIES["insert_overrides"], columns)


async def delete_override(tx: Tx, schedule_id: UUID, override_id: UUID) -> None:
    """Remove an override."""
    await tx.run(QUERIES["delete_override"], {"id": override_id, "schedule_id": schedule_id})


async def people(tx: Tx, ids: Collection[UUID]) -> list[PersonRow]:
    """Return users by their ids."""
    return await tx.rows(QUERIES["people"], PersonRow, {"ids": list(ids)})


async def named(tx: Tx, texts: Collection[str]) -> list[PersonRow]:
    """Return the active users who have one of these texts as their e-mail or name, whatever the case."""
    lowered = [text.lower() for text in texts]
    return await tx.rows(QUERIES["named"], PersonRow, {"texts": lowered, "limit": MAX_LISTED})


async def of_member(tx: Tx, user_id: UUID, now: datetime) -> list[str]:
    """Return the schedules in which a user has turns, or an override that is not over."""
    return [row.name for row in await tx.rows(QUERIES["of_member"], _NameRow, {"user_id": user_id, "now": now})]


async def insert_feed(
    tx: Tx,
    *,
    feed_id: UUID,
    schedule_id: UUID,
    user_id: UUID | None,
    token_hash: bytes,
    created_by: UUID,
    now: datetime,
) -> None:
    """Add a calendar feed, of one person's shifts or of everybody's."""
    columns = {
        "id": feed_id,
        "schedule_id": schedule_id,
        "user_id": user_id,
        "token_hash": token_hash,
        "created_by": created_by,
        "now": now,
    }
    await tx.run(QUERIES["insert_feed"], columns)


async def feeds(tx: Tx, schedule_id: UUID) -> list[FeedRow]:
    """Return the valid calendar feeds of a schedule (at most MAX_FEEDS_LISTED)."""
    return await tx.rows(QUERIES["feeds"], FeedRow, {"schedule_id": schedule_id, "limit": MAX_FEEDS_LISTED})


async def feed(tx: Tx, token_hash: bytes) -> OpenedFeed | None:
    """Return the valid feed that a token opens."""
    return await tx.first(QUERIES["feed"], OpenedFeed, {"token_hash": token_hash})


async def revoke_feed(tx: Tx, schedule_id: UUID, feed_id: UUID, now: datetime) -> bool:
    """Revoke a feed; return whether it was valid."""
    return await tx.touch(QUERIES["revoke_feed"], {"id": feed_id, "schedule_id": schedule_id, "now": now}) == 1


def _json(rows: Sequence[dict[str, object]]) -> str:
    return msgspec.json.encode(rows).decode()
