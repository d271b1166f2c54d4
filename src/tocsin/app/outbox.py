"""The outbox: which job delivers a page. First alerts go alone, all others of one contact method together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from tocsin.app.work import Work
from tocsin.domain.delivery import goes_alone
from tocsin.store import jobs
from tocsin.store.jobs import NewJob

DELIVER = "deliver"
"""The kind of job that delivers one first alert."""
BUNDLE = "bundle"
"""The kind of job that delivers everything else that is owed over one contact method."""
MAX_ATTEMPTS = 27
"""Attempts before a message is given up; with the back-off of `deliver` that is about nine hours."""


class Owed(Protocol):
    """As much of a page as its job needs."""

    @property
    def id(self) -> UUID: ...

    @property
    def reason(self) -> str: ...

    @property
    def channel(self) -> str: ...

    @property
    def address(self) -> str: ...

    @property
    def due_at(self) -> datetime: ...


async def queue(work: Work, owed: Sequence[Owed]) -> None:
    """Queue the delivery of pages that were just written, or that have no job any more; each when it is due."""
    alone = [_delivery(work, page) for page in owed if goes_alone(page.reason)]
    earliest: dict[tuple[str, str], datetime] = {}
    for page in owed:
        if not goes_alone(page.reason):
            contact = page.channel, page.address
            earliest[contact] = min(page.due_at, earliest.get(contact, page.due_at))
    await jobs.enqueue_many(work.tx, alone, work.now)
    together = [_bundle(work, channel, address, due_at) for (channel, address), due_at in earliest.items()]
    await jobs.enqueue_behind(work.tx, together, work.now)


def _delivery(work: Work, page: Owed) -> NewJob:
    return NewJob(work.new_id(), DELIVER, f"{DELIVER}:{page.id}", {"notificationId": str(page.id)}, page.due_at)


def _bundle(work: Work, channel: str, address: str, due_at: datetime) -> NewJob:
    # The key is written in SQL once more, where pages without a job are looked for.
    key = f"{BUNDLE}:{channel}:{hashlib.sha256(address.encode()).hexdigest()[:16]}"
    return NewJob(work.new_id(), BUNDLE, key, {"channel": channel, "address": address}, due_at)
