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

MAX_SEARCH_CHARACTERS = 200
FIRST_LOOK = 500
"""Incidents that are looked at before an index is asked: enough where nearly all have the words."""
OFTEN = 10
"""Found by the first look, the words are in one incident of fifty, or more: a long look finds a page of them."""
LONG_LOOK = 3_000
MAX_TEXTS = 3_000
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
    first = max(FIRST_LOOK, limit)
    look = await search.look_back(work.tx, where, words, before_number=cursor, most=first)
    if len(look.found) > limit or look.looked < first:
        return await _page(work, look.found, limit)
    further = None
    if len(look.found) >= OFTEN:
        further = await search.look_back(work.tx, where, words, before_number=look.lowest, most=LONG_LOOK - first)
        if len(look.found) + len(further.found) > limit:
            return await _page(work, [*look.found, *further.found], limit)
    if look.indexable:
        asked = await search.ask_indexes(
            work.tx, where, words, before_number=cursor, limit=limit + 1, most=MAX_TEXTS + 1
        )
        if asked.texts <= MAX_TEXTS:
            return await _page(work, asked.found, limit)
    if further is None:
        further = await search.look_back(work.tx, where, words, before_number=look.lowest, most=LONG_LOOK - first)
    go_on = further.lowest if further.looked == LONG_LOOK - first else None
    return await _page(work, [*look.found, *further.found], limit, go_on)


async def _page(work: Work, found: Sequence[UUID], limit: int, go_on: int | None = None) -> Found:
    shown = await incidents.get_many(work.tx, found[:limit])
    return Found(shown, shown[-1].number if len(found) > limit else go_on)
