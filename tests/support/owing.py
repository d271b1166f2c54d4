"""Owes a page by hand, with the decision that it came of."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from tocsin.app import outbox, paging
from tocsin.app.paging import Subject
from tocsin.app.timeline import locked_head
from tocsin.app.work import Work
from tocsin.domain.paging import Because
from tocsin.store import decisions, notifications
from tocsin.store.decisions import NewDecision
from tocsin.store.notifications import NewNotification


async def owe_page(
    work: Work, number: int, reason: str, user_id: UUID, address: str, *, after: timedelta = timedelta()
) -> UUID:
    """Owe somebody a page about an incident over e-mail, due after a while; return the page's id."""
    head = await locked_head(work, number)
    text = await paging.page_text(work, Subject.of(head), reason)
    page_id, decision_id = work.new_id(), work.new_id()
    step = f"{reason} {page_id}"
    made = NewDecision(
        decision_id, head.incident_id, step, reason, user_id, "a test", Because.PAGED.value, None, None, None
    )
    await decisions.insert_many(work.tx, [made], work.now)
    page = NewNotification(
        page_id, head.incident_id, decision_id, None, reason, user_id, "email", address, work.now + after, text
    )
    await notifications.insert_many(work.tx, [page], work.now)
    await outbox.queue(work, [page])
    return page_id
