"""The ledger of intake over HTTP: what was received, and what became of it."""

from __future__ import annotations

from tocsin.app.read_ledger import read_ledger
from tocsin.app.work import Work
from tocsin.web.documents import LedgerAnswer, LedgerQuery, ledger_answer
from tocsin.web.endpoint import Call
from tocsin.web.reading import believable


async def show_ledger(work: Work, call: Call) -> LedgerAnswer:
    """Show the ledger of some time, for each project that reported."""
    query = call.asked(LedgerQuery)
    view = await read_ledger(
        work,
        call.actor,
        since=believable("since", query.since),
        until=believable("until", query.until),
        project_id=query.project_id,
        by_minute=query.minutes,
    )
    return ledger_answer(view)
