"""Finds the newest incidents that have words in one of their texts, however many have them, in bounded steps.

Most searches are for what few incidents have: the indexes of words know them all. What many have (`refused`) would
cost a look at each of them to find the newest; those are found by looking back from the newest on. Such a page may be
short, and says from where to look further back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from tocsin.app.work import Work
from tocsin.errors import Code, refuse
from tocsin.store import incidents, search
from tocsin.store.incidents import IncidentFilter, IncidentRow
from tocsin.store.search import LookedBack

MAX_SEARCH_CHARACTERS = 200
FIRST_LOOK = 500
"""Incidents that are looked at before an index is asked: enough where nearly all have the words."""
LONG_LOOK = 3_000
MAX_TEXTS = 5_000
"""With more texts than these the indexes cannot tell the newest in time."""


@dataclass(frozen=True, slots=True)
class Found:
    """Some incidents that have the words, newest first; `next_cursor` is the number to go on before (None: no more)."""

    incidents: list[IncidentRow]
    next_cursor: int | None


def checked_search(text: str) -> str:
    """Return what is searched for, stripped; raise INVALID when it is too long or cannot be asked."""
    problem = ""
    if len(text) > MAX_SEARCH_CHARACTERS:
        problem = f"must have at most {MAX_SEARCH_CHARACTERS} characters"
    elif "\x00" in text:
        problem = "must not contain NUL characters"
    if problem:
        raise refuse(Code.INVALID, f"search {problem}.", errors=[{"field": "search", "problem": problem}])
    return text.strip()


async def find(work: Work, where: IncidentFilter, words: str, limit: int, cursor: int | None) -> Found:
    """Return the newest incidents before the cursor that a filter lets through and that have the words."""
    look = await search.look_back(
        work.tx, where, words, before_number=cursor, limit=limit + 1, most=max(FIRST_LOOK, limit)
    )
    if len(look.found) > limit or look.looked < max(FIRST_LOOK, limit):
        return await _page(work, look.found, limit)
    if look.indexable:
        asked = await search.ask_indexes(
            work.tx, where, words, before_number=cursor, limit=limit + 1, most=MAX_TEXTS + 1
        )
        if asked.texts <= MAX_TEXTS:
            return await _page(work, asked.found, limit)
    look = await search.look_back(work.tx, where, words, before_number=cursor, limit=limit + 1, most=LONG_LOOK)
    return await _page(work, look.found, limit, look)


async def _page(work: Work, found: Sequence[UUID], limit: int, look: LookedBack | None = None) -> Found:
    shown = await incidents.get_many(work.tx, found[:limit])
    if len(found) > limit:
        return Found(shown, shown[-1].number)
    return Found(shown, look.lowest if look is not None and look.looked == LONG_LOOK else None)
