"""Delivers pages: send first, mark afterwards, so that a crash in between sends them again rather than never.

A first alert is a message of its own. Everything else that is owed over one contact method goes together: at once if
nothing went lately, else after a pause. Which pages a bundle has is committed before it is sent, so that it is the same
message, under the same id, however often it is tried. Each attempt is a row for each page, committed before it is sent,
too: one that is cut short is told, and that nobody knows what came of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from tocsin import ids
from tocsin.app import outbox, paging
from tocsin.app.links import Links
from tocsin.app.outbox import MAX_ATTEMPTS
from tocsin.app.paging import Made, Subject
from tocsin.app.report_internal import report_internal
from tocsin.app.timeline import locked_head
from tocsin.app.work import App, Work
from tocsin.channels import Channel, Delivered, Message, Outcome, Retry, not_configured
from tocsin.domain.access import Permission, Role, may
from tocsin.domain.delivery import BUNDLE_PAUSE, FIRST_ALERTS, MAX_BUNDLE, Bundled, compose_bundle, goes_alone, moot
from tocsin.domain.notification import UNDELIVERED, PageText, shown_address, with_checkpoint, with_link
from tocsin.domain.paging import Asked
from tocsin.domain.plural import number_of
from tocsin.domain.policy import Duty, Target
from tocsin.store import log, notifications
from tocsin.store.log import PublishedCheckpoint
from tocsin.store.notifications import Notification
from tocsin.tlog.checkpoint import Checkpoint
from tocsin.tlog.note import Note

FIRST_RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message that is to be sent, and the pages in it, all over one contact method. `id` stays on every attempt."""

    id: UUID
    pages: tuple[Notification, ...]
    checkpoint: str | None


@dataclass(frozen=True, slots=True)
class Begun:
    """One attempt to deliver a message: the ids of its rows, one for each page."""

    parcel: Parcel
    attempt_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of one attempt to deliver a message."""

    begun: Begun
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Again:
    """The message is to be tried again after a while, because of `answer`."""

    after: timedelta
    answer: str


async def first_alert(work: Work, notification_id: UUID) -> Parcel | None:
    """Return the message of a first alert; None when it is not owed (any more)."""
    owed = [page for page in await notifications.by_ids(work.tx, [notification_id]) if page.state == "PENDING"]
    if owed and not goes_alone(owed[0].reason):
        # A version before bundles queued it by itself.
        await outbox.queue(work, owed)
        return None
    pages = await _still_owed(work, owed)
    return await _parcel(work, pages[0].id, pages) if pages else None


async def bundle(work: Work, channel: str, address: str) -> Parcel | None:
    """Return the message that is due over a contact method, its pages fixed; None when none is.

    One that was fixed before is sent as it was, unless nobody needs any of it any more.
    """
    opened = await notifications.by_ids(work.tx, await notifications.open_bundle(work.tx, channel, address))
    if opened and not all(moot(page) for page in opened):
        bundle_id = opened[0].bundle_id
        assert bundle_id is not None, "the query asks for those that have one"
        return await _parcel(work, bundle_id, opened)
    await _still_owed(work, opened)
    if work.now < await _free_at(work, channel, address):
        return None
    due = await notifications.due_of_contact(
        work.tx, channel, address, alone=FIRST_ALERTS, now=work.now, limit=MAX_BUNDLE
    )
    pages = await _still_owed(work, await notifications.by_ids(work.tx, due))
    if not pages:
        return None
    # The id of its first page serves: no other message has it.
    bundle_id = pages[0].id
    await notifications.bundle(work.tx, bundle_id, [page.id for page in pages])
    return await _parcel(work, bundle_id, pages)


async def next_bundle_at(work: Work, channel: str, address: str) -> datetime | None:
    """Return when there is something to send over a contact method again, besides first alerts; None: nothing is."""
    due_at = await notifications.next_of_contact(work.tx, channel, address, FIRST_ALERTS)
    return max(due_at, await _free_at(work, channel, address)) if due_at is not None else None


async def _free_at(work: Work, channel: str, address: str) -> datetime:
    last = await notifications.last_bundle_at(work.tx, channel, address)
    return last + BUNDLE_PAUSE if last is not None else work.now


async def _still_owed(work: Work, pages: Sequence[Notification]) -> list[Notification]:
    """Cancel the pages that nobody needs any more, and return the others."""
    because: dict[str, list[UUID]] = {}
    for page in pages:
        if reason := moot(page):
            because.setdefault(reason, []).append(page.id)
    for reason, cancelled in because.items():
        await notifications.settle(work.tx, cancelled, "CANCELLED", work.now, reason)
    return [page for page in pages if not moot(page)]


async def _parcel(work: Work, message_id: UUID, pages: Sequence[Notification]) -> Parcel:
    last = await log.last_checkpoint(work.tx)
    return Parcel(message_id, tuple(pages), _short(last) if last else None)


async def begin(work: Work, parcel: Parcel, worker: str) -> Begun:
    """Record that a message is about to be sent: nothing is sent before this is committed."""
    ids = {page.id: work.new_id() for page in parcel.pages}
    await notifications.begin_attempt(work.tx, ids, work.now, worker)
    return Begun(parcel, tuple(ids.values()))


async def send(app: App, channels: Mapping[str, Channel], links: Links, begun: Begun) -> Sent:
    """Try to deliver a message, with no transaction open."""
    first = begun.parcel.pages[0]
    channel = channels.get(first.channel)
    if channel is None:
        return Sent(begun, not_configured(first.channel))
    message = _message(begun.parcel, links, app.settings.base_url, app.clock())
    return Sent(begun, await channel.send(first.address, message))


def _message(parcel: Parcel, links: Links, base_url: str, now: datetime) -> Message:
    pages = [_bundled(page, links, base_url) for page in parcel.pages]
    if len(pages) > 1:
        text = with_checkpoint(compose_bundle(pages), parcel.checkpoint)
        worst = max(pages, key=lambda page: page.rank)
        return Message(parcel.id, text.subject, text.body, text.payload, now, severity=worst.severity)
    (page,), (owed,) = pages, parcel.pages
    written = with_link(PageText(owed.subject, owed.body, owed.payload), page.acknowledge_url)
    text = with_checkpoint(written, parcel.checkpoint)
    number = page.incident.get("number")
    return Message(
        notification_id=parcel.id,
        subject=text.subject,
        text=text.body,
        payload=text.payload,
        sent_at=now,
        reply_thread=str(owed.incident_id),
        title=str(page.incident.get("title", "")),
        severity=page.severity,
        incident_number=number if isinstance(number, int) else None,
        url=str(page.incident.get("url", "")),
        acknowledge_url=page.acknowledge_url,
    )


def _bundled(page: Notification, links: Links, base_url: str) -> Bundled:
    """Return a page with its link, if who gets it may answer."""
    answers = page.user_active and may(Role(page.user_role), Permission.RESPOND)
    return Bundled(page.user_name, page.reason, page.payload, links.url(base_url, page.id) if answers else "")


async def settle(work: Work, sent: Sent, attempts: int) -> Again | None:
    """End an attempt; `attempts` counts it. Return when to try again; what is given up becomes an incident."""
    pages, outcome = sent.begun.parcel.pages, sent.outcome
    await notifications.end_attempt(
        work.tx, sent.begun.attempt_ids, work.now, type(outcome).__name__.upper(), outcome.answer
    )
    which = [page.id for page in pages]
    if isinstance(outcome, Delivered):
        await notifications.settle(work.tx, which, "DELIVERED", work.now)
        return None
    if isinstance(outcome, Retry) and attempts < MAX_ATTEMPTS:
        return Again(_wait(outcome, attempts), outcome.answer)
    await notifications.settle(work.tx, which, "FAILED", work.now)
    await _give_up(work, pages, attempts, outcome.answer)
    return None


async def _give_up(work: Work, pages: Sequence[Notification], attempts: int, answer: str) -> None:
    """Report for each person that they could not be reached, and tell the others of each incident."""
    first = pages[0]
    what = "A page" if len(pages) == 1 else f"{len(pages)} pages in one message"
    where = f"{first.channel} {shown_address(first.channel, first.address)}"
    was = "was" if len(pages) == 1 else "were"
    message = f"{what} to {where} {was} given up after {number_of(attempts, 'attempt')}: {answer}"
    # The report locks a failure, telling others locks a head: failures come first, as everywhere.
    for user_id in sorted({page.user_id for page in pages}):
        await report_internal(work, "PageNotDelivered", message, about=str(user_id))
    about = {page.incident_id: page for page in reversed(pages) if page.reason != UNDELIVERED}
    # Everybody locks heads in this order who locks several.
    for incident_id in sorted(about):
        await tell_others(work, about[incident_id])


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


def _short(last: PublishedCheckpoint) -> str:
    return Checkpoint.parse(Note.parse(last.note).text).short()


def _wait(outcome: Retry, attempts: int) -> timedelta:
    doubled = min(FIRST_RETRY_SECONDS * 2 ** (attempts - 1), LONGEST_RETRY_SECONDS)
    seconds = outcome.after_seconds if outcome.after_seconds is not None else doubled * ids.jitter(0.2)
    return timedelta(seconds=max(seconds, 1.0))
