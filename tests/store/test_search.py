"""Search at scale: which index answers which word, and that no step is longer than its bound."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.databases import clone
from tests.support.servers import Server
from tocsin.store.database import connection_options
from tocsin.store.incidents import IncidentFilter
from tocsin.store.queries import Queries

QUERIES = Queries("search")
LISTS = Queries("incidents")
INCIDENTS = 8_000
_FILL = (
    "SELECT tocsin_guard.suspend()",
    "ALTER TABLE incidents DISABLE TRIGGER ALL",
    "ALTER TABLE incident_heads DISABLE TRIGGER ALL",
    "ALTER TABLE incident_root_causes DISABLE TRIGGER ALL",
    f"""CREATE TEMP TABLE made AS
        SELECT n, (lpad(to_hex(n), 12, '0') || '70008' || substr(md5(n::text), 1, 15))::uuid AS id
        FROM generate_series(1, {INCIDENTS}) n""",
    """INSERT INTO incidents
           (id, number, incident_type, severity, title, description, created_at, created_by_system, canonical)
       SELECT id, n, 'P1_INCIDENT', 'HIGH',
              'ConnectionError: refused' || CASE WHEN n = 77 THEN ' unicorn' ELSE '' END, '', now(), true, ''
       FROM made""",
    """INSERT INTO incident_heads
           (incident_id, number, status, current_severity, sequence, checksum, created_at, last_event_at)
       SELECT id, n, 'REPORTED', 'HIGH', 1, '', now(), now() FROM made""",
    """INSERT INTO incident_root_causes (id, incident_id, root_cause_summary, root_cause_category,
           identified_by_user_id, identified_at, remediation_steps, canonical)
       SELECT gen_random_uuid(), id, CASE WHEN n = 78 THEN 'a flywheel' ELSE 'the pool' END, 'UNKNOWN',
              gen_random_uuid(), now(), 'x', '' FROM made""",
    "ANALYZE",
)


@pytest.fixture(scope="module")
def many(server: Server) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection as the application has it, to a database with many incidents that nothing guards."""
    with clone(server) as name:
        with psycopg.connect(server.conninfo(name), autocommit=True, options="-c search_path=tocsin") as superuser:
            for statement in _FILL:
                superuser.execute(statement.encode())
        with psycopg.connect(server.conninfo(name), autocommit=True, options=connection_options()) as connection:
            yield connection


def asked(search: str, most: int) -> dict[str, object]:
    """Return a query's parameters."""
    return IncidentFilter().parameters() | {"search": search, "before_number": None, "limit": 51, "most": most}


def newest(many: psycopg.Connection[tuple[Any, ...]], limit: int) -> list[tuple[UUID, int]]:
    """Return where the newest incidents are."""
    return many.execute(LISTS["newest"], listed(limit)).fetchall()


def listed(limit: int) -> dict[str, object]:
    """Return the parameters of a list."""
    return IncidentFilter().parameters() | {"before_number": None, "limit": limit, "offset": 0}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a plan's nodes."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def explained(
    many: psycopg.Connection[tuple[Any, ...]], query: bytes, parameters: dict[str, object]
) -> list[dict[str, Any]]:
    """Return the nodes of a query's plan, run."""
    answer = many.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) " + query, parameters).fetchone()
    assert answer is not None
    plan = answer[0] if not isinstance(answer[0], str) else json.loads(answer[0])
    return list(nodes(plan[0]["Plan"]))


@pytest.mark.parametrize("search", ["unicorn", "flywheel", "nothing"])
def test_a_rare_word_is_found_by_the_indexes_of_words(many: psycopg.Connection[tuple[Any, ...]], search: str) -> None:
    plan = explained(many, QUERIES["ask_indexes"], asked(search, 5_001))
    assert not [node for node in plan if node["Node Type"] == "Seq Scan"]
    scanned = {node["Index Name"] for node in plan if node["Node Type"] == "Bitmap Index Scan"}
    assert {"incidents_words", "incident_root_causes_words", "incident_lifecycle_words"} <= scanned
    assert max(node.get("Rows Removed by Filter", 0) for node in plan) == 0


def test_a_common_word_is_found_without_a_look_at_all_that_have_it(many: psycopg.Connection[tuple[Any, ...]]) -> None:
    looked = [incident_id for incident_id, _ in newest(many, 500)]
    steps: list[tuple[bytes, dict[str, object]]] = [
        (LISTS["newest"], listed(500)),
        (QUERIES["which_have"], {"search": "refused", "incident_ids": looked}),
        (QUERIES["which_have"], {"search": "unicorn", "incident_ids": looked}),
    ]
    for query, parameters in steps:
        plan = explained(many, query, parameters)
        assert not [node for node in plan if node["Node Type"] == "Seq Scan"]
        read = [node for node in plan if not node["Node Type"].startswith("Bitmap")]
        assert max(node["Actual Rows"] * node["Actual Loops"] for node in read) <= 500


def test_counting_ends_at_the_bound_and_nothing_is_looked_up_then(many: psycopg.Connection[tuple[Any, ...]]) -> None:
    answer = many.execute(QUERIES["ask_indexes"], asked("refused", 1_000)).fetchone()
    assert answer is not None
    assert answer[:2] == (1_000, [])


@pytest.mark.parametrize(
    ("search", "indexable"), [("a", True), ("a -b", True), ("-a", False), ("a or -b", False), ("", False)]
)
def test_what_no_index_knows_is_not_asked_of_one(
    many: psycopg.Connection[tuple[Any, ...]], search: str, indexable: bool
) -> None:
    looked = newest(many, 10)
    assert [number for _, number in looked] == list(range(INCIDENTS, INCIDENTS - 10, -1))
    asked_of_them = {"search": search, "incident_ids": [incident_id for incident_id, _ in looked]}
    answer = many.execute(QUERIES["which_have"], asked_of_them).fetchone()
    assert answer is not None
    assert answer[0] == indexable
