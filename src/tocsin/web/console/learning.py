"""What is learned: follow-up actions, what comes back and why, and how long it takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import msgspec

from tocsin.app import follow_ups
from tocsin.app import learning as figures
from tocsin.app.follow_ups import MAX_OFFSET, Wanted, Which
from tocsin.app.learning import DEFAULT_WEEKS, MAX_WEEKS, Learned, Response
from tocsin.app.work import Work
from tocsin.domain.follow_up import MAX_FOLLOW_UP_CHARACTERS
from tocsin.web.console.page import Form, Redirected, Shown, Visit
from tocsin.web.follow_ups_api import position
from tocsin.web.reading import incident_ref

PAGE_SIZE = 50
PERIODS = (4, 13, 26, 52)

Line = Annotated[str, msgspec.Meta(max_length=MAX_FOLLOW_UP_CHARACTERS)]


class LearningQuery(msgspec.Struct):
    """How many weeks are looked at."""

    weeks: Annotated[int, msgspec.Meta(ge=1, le=MAX_WEEKS)] = DEFAULT_WEEKS


class FollowUpQuery(msgspec.Struct):
    """Which actions the list shows."""

    which: Which = Which.OPEN
    owner: Line = ""
    mine: bool = False
    offset: Annotated[int, msgspec.Meta(ge=0, le=MAX_OFFSET)] = 0


class MarkForm(Form):
    """What was done, or why not; `back` is the page that the form stands on: the list, or an incident's."""

    note: Line = ""
    back: Annotated[str, msgspec.Meta(pattern="^$|^[1-9][0-9]{0,15}$")] = ""


async def show(work: Work, visit: Visit) -> Shown:
    """Show how long it takes to answer and to mend, why it happens, and what comes back."""
    query = visit.asked(LearningQuery)
    found = await figures.learned(work, visit.actor, query.weeks, visit.services.figures)
    context = {
        "learned": found,
        "query": query,
        "periods": PERIODS,
        "categories": [category for category, number in found.causes.items() if number],
        "owed": await follow_ups.list_follow_ups(work, visit.actor, Wanted(Which.OVERDUE, limit=1)),
        "charts": _charts(found),
    }
    return Shown("learning.html", context)


def _charts(found: Learned) -> dict[str, object]:
    """Return the numbers of the charts, which stand in the tables too: minutes, null where there are none."""
    acknowledged, resolved = ([getattr(week, name) for week in found.weeks] for name in ("acknowledged", "resolved"))
    return {
        "weeks": [week.week.isoformat() for week in found.weeks],
        "acknowledged": {"median": _minutes(acknowledged, "median"), "p90": _minutes(acknowledged, "p90")},
        "resolved": {"median": _minutes(resolved, "median"), "p90": _minutes(resolved, "p90")},
        "causes": {
            name.replace("_", " ").capitalize(): [week.causes[name] for week in found.weeks]
            for name, number in found.causes.items()
            if number
        },
    }


def _minutes(responses: Sequence[Response | None], figure: str) -> list[float | None]:
    return [round(getattr(one, figure).total_seconds() / 60, 1) if one else None for one in responses]


async def show_follow_ups(work: Work, visit: Visit) -> Shown:
    """Show what is owed, the most urgent first."""
    query = visit.asked(FollowUpQuery)
    wanted = Wanted(query.which, query.owner or None, query.mine, PAGE_SIZE, query.offset)
    page = await follow_ups.list_follow_ups(work, visit.actor, wanted)
    context = {"page": page, "rows": page.follow_ups, "query": query, "choices": [*Which], "page_size": PAGE_SIZE}
    return Shown("follow_ups.html", context)


async def mark_done(work: Work, visit: Visit) -> Redirected:
    """Say that an action is done."""
    ref, number, note = incident_ref(visit.path("id")), position(visit.path("position")), visit.said(MarkForm).note
    await follow_ups.mark_done(work, visit.actor, ref, number, note)
    return _back(visit)


async def reopen(work: Work, visit: Visit) -> Redirected:
    """Say that an action is not done after all."""
    ref, number, note = incident_ref(visit.path("id")), position(visit.path("position")), visit.said(MarkForm).note
    await follow_ups.reopen(work, visit.actor, ref, number, note)
    return _back(visit)


def _back(visit: Visit) -> Redirected:
    back = visit.said(MarkForm).back
    return Redirected(f"/incidents/{back}" if back else "/learning/follow-ups")


MARKS: dict[str, Callable[[Work, Visit], Awaitable[Redirected]]] = {"done": mark_done, "reopen": reopen}
"""What can be said of an action: the last part of the address, and the act."""
