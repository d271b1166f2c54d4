"""Incidents found by what was said of them; how the two ways of looking are combined, app.search says.

What is searched for is what people type into a search box: words, "a phrase", or, -without (websearch_to_tsquery).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import psycopg

from tocsin.errors import Code, refuse
from tocsin.store import incidents
from tocsin.store.database import Tx
from tocsin.store.incidents import IncidentFilter
from tocsin.store.queries import Queries

QUERIES = Queries("search")
MOST_MILLISECONDS = 3_000

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class LookedBack:
    """How many incidents were looked at, down to which number (None: there is none), and which have the words."""

    looked: int
    lowest: int | None
    indexable: bool
    found: list[UUID]


@dataclass(frozen=True, slots=True)
class _Having:
    indexable: bool
    found: list[UUID]


@dataclass(frozen=True, slots=True)
class Asked:
    """How many texts have the words, as far as they were counted, and the newest of their incidents."""

    texts: int
    found: list[UUID]


async def look_back(tx: Tx, where: IncidentFilter, search: str, *, before_number: int | None, most: int) -> LookedBack:
    """Look at the newest `most` incidents; raise INVALID where that takes longer than MOST_MILLISECONDS."""
    looked = await incidents.newest(tx, where, before_number=before_number, limit=most)
    newest = [one.incident_id for one in looked]
    having = await _bounded(tx, "which_have", _Having, {"search": search, "incident_ids": newest})
    found = set(having.found)
    return LookedBack(
        len(looked),
        looked[-1].number if looked else None,
        having.indexable,
        [incident_id for incident_id in newest if incident_id in found],
    )


async def ask_indexes(
    tx: Tx, where: IncidentFilter, search: str, *, before_number: int | None, limit: int, most: int
) -> Asked:
    """Ask the indexes of words. With `most` texts or more nothing is found: which are the newest is not known."""
    bounds = {"search": search, "before_number": before_number, "limit": limit, "most": most}
    return await _bounded(tx, "ask_indexes", Asked, where.parameters() | bounds)


async def _bounded(tx: Tx, query: str, kind: type[Answer], parameters: Mapping[str, object]) -> Answer:
    await tx.run(QUERIES["bound_time"], {"milliseconds": str(MOST_MILLISECONDS)})
    try:
        answer = await tx.first(QUERIES[query], kind, parameters)
    except psycopg.errors.QueryCanceled:
        problem = "finds too much to look through in time"
        raise refuse(
            Code.INVALID,
            f"The search {problem}.",
            "Add a word that fewer incidents have, or a day since when.",
            errors=[{"field": "search", "problem": problem}],
        ) from None
    assert answer is not None, "these queries have one row"
    return answer
