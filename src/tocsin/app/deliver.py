"""Delivers one page: send first, mark afterwards, so that a crash in between sends it again rather than never.

Each attempt is a row: when, over what, with which answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from tocsin import ids
from tocsin.app import paging
from tocsin.app.paging import Made, Subject
from tocsin.app.report_internal import report_internal
from tocsin.app.timeline import locked_head
from tocsin.app.work import App, Work
from tocsin.channels import Channel, Delivered, Message, Outcome, Retry, not_configured
from tocsin.domain.notification import UNDELIVERED, PageText, shown_address, with_checkpoint
from tocsin.domain.paging import Asked
from tocsin.domain.policy import Duty, Target
from tocsin.store import log, notifications
from tocsin.store.log import PublishedCheckpoint
from tocsin.store.notifications import Notification
from tocsin.tlog.checkpoint import Checkpoint
from tocsin.tlog.note import Note

MAX_ATTEMPTS = 27
"""Attempts before a page is given up; with the back-off below that is about nine hours."""
FIRST_RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of one attempt to deliver a page."""

    page: Notification
    started_at: datetime
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Again:
    """The page is to be tried again after a while, because of `answer`."""

    after: timedelta
    answer: str


async def send(app: App, channels: Mapping[str, Channel], notification_id: UUID) -> Sent | None:
    """Try to deliver a page, with no transaction open; return None when it is not owed (any more)."""
    async with app.work() as work:
        owed = await notifications.get(work.tx, notification_id)
        last = await log.last_checkpoint(work.tx)
    if owed is None or owed.state != "PENDING":
        return None
    started_at = app.clock()
    text = with_checkpoint(PageText(owed.subject, owed.body, owed.payload), _short(last) if last else None)
    return Sent(owed, started_at, await _send(channels, owed, text, started_at))


async def settle(work: Work, sent: Sent, attempts: int) -> Again | None:
    """Record an attempt; `attempts` counts it. Return when to try again; what is given up becomes an incident."""
    page, outcome = sent.page, sent.outcome
    await notifications.insert_attempt(
        work.tx,
        attempt_id=work.new_id(),
        notification_id=page.id,
        started_at=sent.started_at,
        finished_at=max(work.now, sent.started_at),
        outcome=type(outcome).__name__.upper(),
        answer=outcome.answer,
    )
    if isinstance(outcome, Delivered):
        await notifications.settle(work.tx, page.id, "DELIVERED", work.now)
        return None
    if isinstance(outcome, Retry) and attempts < MAX_ATTEMPTS:
        return Again(_wait(outcome, attempts), outcome.answer)
    await notifications.settle(work.tx, page.id, "FAILED", work.now)
    address = shown_address(page.channel, page.address)
    message = f"A page to {page.channel} {address} was given up after {attempts} attempts: {outcome.answer}"
    # The report locks a failure, telling others locks a head: failures come first, as everywhere.
    await report_internal(work, "PageNotDelivered", message, about=str(page.user_id))
    await tell_others(work, page)
    return None


async def tell_others(work: Work, page: Notification) -> None:
    """Owe the page that was given up to everybody with a duty and every superadmin who is reached in another way.

    What is given up of these is not handed on once more: two dead addresses must not page each other for ever.
    """
    if page.reason == UNDELIVERED:
        return
    subject = Subject.of(await locked_head(work, page.incident_id))
    arranged = await paging.arranged(work, subject)
    others = replace(arranged, directory=arranged.directory.without(page.address))
    everybody = tuple(Target(duty=duty) for duty in Duty)
    asked = Asked(f"{UNDELIVERED} {page.id}", UNDELIVERED, everybody, superadmins_too=True)
    await paging.page(work, Made(subject, asked, others.decide(asked, work.now)), others.hold)


async def _send(channels: Mapping[str, Channel], owed: Notification, text: PageText, now: datetime) -> Outcome:
    channel = channels.get(owed.channel)
    if channel is None:
        return not_configured(owed.channel)
    incident = text.payload.get("incident")
    facts = incident if isinstance(incident, dict) else {}
    message = Message(
        notification_id=owed.id,
        subject=text.subject,
        text=text.body,
        payload=text.payload,
        sent_at=now,
        reply_thread=str(owed.incident_id),
        title=facts.get("title", ""),
        severity=facts.get("severity", ""),
        incident_number=facts.get("number"),
        url=facts.get("url", ""),
    )
    return await channel.send(owed.address, message)


def _short(last: PublishedCheckpoint) -> str:
    return Checkpoint.parse(Note.parse(last.note).text).short()


def _wait(outcome: Retry, attempts: int) -> timedelta:
    doubled = min(FIRST_RETRY_SECONDS * 2 ** (attempts - 1), LONGEST_RETRY_SECONDS)
    seconds = outcome.after_seconds if outcome.after_seconds is not None else doubled * ids.jitter(0.2)
    return timedelta(seconds=max(seconds, 1.0))
