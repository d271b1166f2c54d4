"""Query plans: every statement that a use case really runs, with its real parameters, explained."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from tocsin.store.database import Parameters, Row, Tx

HISTORY = frozenset(
    {
        "incidents",
        "incident_lifecycle",
        "incident_heads",
        "incident_escalations",
        "audit_logs",
        "incident_occurrences",
        "incident_acknowledgments",
        "incident_root_causes",
        "incident_resolution",
        "incident_closures",
        "notifications",
        "attempts_begun",
        "delivery_attempts",
        "failures",
        "follow_ups",
        "audit_access_log",
    }
)
"""The tables that grow with history: nothing may read one of them from end to end."""

_PARAMETER = re.compile(rb"%\((\w+)\)s")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as it was run."""

    query: bytes
    parameters: Parameters | None


class RecordingTx(Tx):
    """A transaction that remembers what it was asked to run."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        super().__init__(connection)
        self.statements: list[Statement] = []

    async def ask(
        self, query: bytes, row_type: type[Row], parameters: Parameters | None = None
    ) -> Callable[[], Awaitable[list[Row]]]:
        """Remember, then do it."""
        self.statements.append(Statement(query, parameters))
        return await super().ask(query, row_type, parameters)

    async def rows(self, query: bytes, row_type: type[Row], parameters: Parameters | None = None) -> list[Row]:
        """Remember, then do it."""
        self.statements.append(Statement(query, parameters))
        return await super().rows(query, row_type, parameters)

    async def first(self, query: bytes, row_type: type[Row], parameters: Parameters | None = None) -> Row | None:
        """Remember, then do it."""
        self.statements.append(Statement(query, parameters))
        return await super().first(query, row_type, parameters)

    async def value(self, query: bytes, parameters: Parameters | None = None) -> Any:
        """Remember, then do it."""
        self.statements.append(Statement(query, parameters))
        return await super().value(query, parameters)

    async def run(self, query: bytes, parameters: Parameters | None = None) -> None:
        """Remember, then do it."""
        self.statements.append(Statement(query, parameters))
        await super().run(query, parameters)


@dataclass(frozen=True, slots=True)
class Plan:
    """How PostgreSQL would run a statement: its scans, and which tables of the history it reads from end to end."""

    kind: str
    nodes: tuple[str, ...]
    whole_tables: tuple[str, ...]


async def explain(tx: Tx, statement: Statement) -> tuple[Plan, Plan]:
    """Return the plan for these parameters, and the one for any: a statement that is prepared may get either."""
    known = await _plan(tx, b"EXPLAIN (FORMAT JSON) " + statement.query, statement.parameters)
    numbered = b"EXPLAIN (GENERIC_PLAN, FORMAT JSON) " + _numbered(statement.query)
    unknown = await _plan(tx, numbered, None)
    return _read("these parameters", known), _read("any parameters", unknown)


async def _plan(tx: Tx, query: bytes, parameters: Parameters | None) -> dict[str, Any]:
    answer = await tx.value(query, parameters)
    root: dict[str, Any] = answer[0]["Plan"]
    return root


def _numbered(query: bytes) -> bytes:
    """Return a statement with $1, $2 for its named parameters, which is the form that a generic plan is asked for."""
    names: list[bytes] = []

    def number(match: re.Match[bytes]) -> bytes:
        if match[1] not in names:
            names.append(match[1])
        return b"$%d" % (names.index(match[1]) + 1)

    return _PARAMETER.sub(number, query).replace(b"%%", b"%")


def _read(kind: str, root: dict[str, Any]) -> Plan:
    scans = [node for node in _walk(root) if "Relation Name" in node or "Index Name" in node]
    whole = [
        str(node["Relation Name"])
        for node in scans
        if "Seq Scan" in node["Node Type"] and node.get("Relation Name") in HISTORY
    ]
    return Plan(kind, tuple(_name(node) for node in scans), tuple(whole))


def _walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _walk(child)


def _name(node: dict[str, Any]) -> str:
    return f"{node['Node Type']} {node.get('Index Name') or node.get('Relation Name')}"
