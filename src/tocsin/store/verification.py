"""What `tocsin verify --db` reads: whole tables in a stream, and pairs that should match and do not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import DataError
from psycopg.abc import Buffer
from psycopg.rows import dict_row, tuple_row
from psycopg.types.datetime import TimestamptzLoader

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("verify")
DETAIL_TABLES = (
    "incidents",
    "incident_acknowledgments",
    "incident_root_causes",
    "incident_escalations",
    "incident_escalation_acknowledgments",
    "incident_resolution",
    "incident_closures",
)
_CHUNK = 2_000

Erasures = Mapping[tuple[UUID, str, str], Set[str]]
"""The columns that entries say were erased, by incident, table and the row's checksum (hex)."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Some rows: their canonical bytes, their checksum, and their columns as the canonical form writes them.

    JSON columns are the text of the JSON. `id_at` is where the id stands.
    """

    names: tuple[str, ...]
    id_at: int
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class HeadCheck:
    """A head that is not what its incident and its timeline make it, and in which of its columns."""

    incident_id: UUID
    changed: list[str]


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that lacks its counterpart; `kind` is its table."""

    id: UUID
    kind: str


@dataclass(frozen=True, slots=True)
class _Id:
    id: UUID


class _AnyTime(TimestamptzLoader):
    """Reads a time that Python cannot hold (infinity, the year 10000) as its text: a finding, not the end."""

    def load(self, data: Buffer) -> Any:
        try:
            return super().load(data)
        except DataError:
            return bytes(data).decode()


async def snapshot(tx: Tx) -> None:
    """Make the whole transaction see one instant, so that work going on meanwhile is no finding."""
    await tx.run(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    await tx.take_time()
    await tx.run(b"SET LOCAL idle_in_transaction_session_timeout = 0")
    # Whole tables are joined: with the little memory of everyday's statements they would go through the disk.
    await tx.run(b"SET LOCAL work_mem = '128MB'")


async def count_rows(tx: Tx) -> int:
    """Return how many guarded rows there are."""
    counted: int = await tx.value(QUERIES["count_rows"])
    return counted


async def texts(tx: Tx, table: str) -> AsyncIterator[Texts]:
    """Yield every row of a guarded table in the order of its query, as the canonical form writes it, by the chunk."""
    async with tx.connection.cursor(name=f"verify_{table}", row_factory=tuple_row, binary=True) as cursor:
        await cursor.execute(QUERIES[f"texts_of_{table}"])
        while chunk := await cursor.fetchmany(_CHUNK):
            names = tuple(column.name for column in cursor.description or ())
            yield Texts(names, names.index("id"), chunk)


async def rows(tx: Tx, table: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return some rows of a guarded table as they are."""
    async with tx.connection.cursor(row_factory=dict_row) as cursor:
        cursor.adapters.register_loader("timestamptz", _AnyTime)
        await cursor.execute(QUERIES[f"rows_of_{table}"], {"ids": list(ids)})
        return await cursor.fetchall()


async def erasures(tx: Tx) -> Erasures:
    """Return which texts of which rows the timelines say were erased; they are few."""
    named: dict[tuple[UUID, str, str], set[str]] = {}
    async with tx.connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES["erasures"])
        for row in await cursor.fetchall():
            for item in row["erased"] if isinstance(row["erased"], list) else []:
                if isinstance(item, dict) and isinstance(item.get("columns"), list):
                    key = (row["incident_id"], str(item.get("table")), str(item.get("checksum")))
                    named.setdefault(key, set()).update(map(str, item["columns"]))
    return named


async def count_heads(tx: Tx) -> int:
    """Return how many heads there are."""
    counted: int = await tx.value(QUERIES["count_heads"])
    return counted


async def changed_heads(tx: Tx) -> AsyncIterator[HeadCheck]:
    """Yield every head that does not say what its timeline says."""
    async with tx.connection.cursor(name="verify_heads", row_factory=dict_row) as cursor:
        cursor.itersize = _CHUNK
        await cursor.execute(QUERIES["heads"])
        async for row in cursor:
            yield HeadCheck(**row)


async def broken_pairs(tx: Tx) -> list[tuple[str, Broken]]:
    """Return every row that lacks its counterpart, with what is wrong."""
    found = [
        ("no timeline entry names it", broken) for broken in await tx.rows(QUERIES["details_without_entry"], Broken)
    ]
    for name, kind, problem in (
        ("entries_without_detail", "incident_lifecycle", "the detail that it names is gone or changed"),
        ("incidents_without_head", "incidents", "its head is gone"),
        ("changed_reports", "audit_logs", "it is not the report that opened the incident, or it is gone"),
        ("reports_erased_silently", "audit_logs", "it was erased, and nothing recorded says so"),
        ("accesses_erased_silently", "audit_access_log", "it was erased, and nothing recorded says so"),
    ):
        found += [(problem, Broken(row.id, kind)) for row in await tx.rows(QUERIES[name], _Id)]
    return found
