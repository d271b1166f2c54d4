"""Verifies contact methods: sends a code over one, takes it back, and sends a test on demand.

The code is made when it is sent and nothing keeps it: a job in the database holds none, and of the last one the hash
alone remains. What came of a message is shown with the contact method; no incident is about it, for nobody is paged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from tocsin import ids
from tocsin.app.work import App, Work
from tocsin.channels import Channel, Delivered, Message, Outcome, Rejected, Retry, not_configured
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.plural import number_of
from tocsin.domain.verification import GOOD_FOR, Verdict, code_hash, judge, pause_left, read_code
from tocsin.errors import Code, TocsinError, refuse
from tocsin.store import contacts, jobs
from tocsin.store.contacts import ContactMethod
from tocsin.store.jobs import NewJob

SEND_CODE = "verify-contact"
"""The kind of job that sends a code over a contact method."""
SEND_TEST = "test-contact"
"""The kind of job that sends a test over one."""
MAX_ATTEMPTS = 5
FIRST_RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of one attempt to send a code or a test."""

    contact_id: UUID
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Answered:
    """What a code that came back is. It is committed before anybody is refused: a wrong guess has to count."""

    verdict: Verdict

    def require_right(self) -> None:
        """Raise INVALID unless the contact method is verified now."""
        if self.verdict is Verdict.RIGHT:
            return
        stale = self.verdict is Verdict.STALE
        problem = "is not good any more, or was tried too often" if stale else "is not the one that was sent last"
        hint = "Have another one sent: `tocsin users contact send-code`." if stale else "Read it once more."
        raise refuse(Code.INVALID, f"The code {problem}.", hint, errors=[{"field": "code", "problem": problem}])


async def queue_code(work: Work, contact_id: UUID) -> None:
    """Queue a code over a contact method, now."""
    await _queue(work, SEND_CODE, contact_id)


async def send_code(work: Work, actor: Actor, contact_id: UUID) -> None:
    """Have another code sent; raise CONFLICT where none is needed, RATE_LIMITED soon after the last message."""
    method = await own_method(work, actor, contact_id)
    if method.verified_at is not None:
        raise refuse(Code.CONFLICT, "This contact method is verified already.", "Send a test over it.")
    _require_pause(work, method)
    await _queue(work, SEND_CODE, contact_id)


async def send_test(work: Work, actor: Actor, contact_id: UUID) -> None:
    """Have a test sent; raise RATE_LIMITED soon after the last message."""
    _require_pause(work, await own_method(work, actor, contact_id))
    await _queue(work, SEND_TEST, contact_id)


async def take_code(work: Work, actor: Actor, contact_id: UUID, text: str) -> Answered:
    """Judge a code that came back, and verify the contact method if it is right. Commit, then `require_right`."""
    method = await own_method(work, actor, contact_id)
    code = read_code(text)
    if code is None:
        problem = "has eight digits"
        raise refuse(Code.INVALID, f"A code {problem}.", errors=[{"field": "code", "problem": problem}])
    if method.verified_at is not None:
        return Answered(Verdict.RIGHT)
    verdict = judge(await contacts.pending(work.tx, contact_id), code, work.now)
    if verdict is Verdict.RIGHT:
        await contacts.set_verified(work.tx, contact_id, work.now)
    elif verdict is Verdict.WRONG:
        await contacts.count_try(work.tx, contact_id)
    return Answered(verdict)


async def send(app: App, channels: Mapping[str, Channel], kind: str, contact_id: UUID) -> Sent | None:
    """Send what a job asks for, with no transaction open; return None where nothing is to be sent (any more)."""
    async with app.work() as work:
        method = await contacts.locked(work.tx, contact_id)
        if method is None or (kind == SEND_CODE and method.verified_at is not None):
            return None
        message = await _code(work, method) if kind == SEND_CODE else _test(work.new_id(), work.now)
    channel = channels.get(method.channel)
    outcome = await channel.send(method.address, message) if channel else not_configured(method.channel)
    return Sent(contact_id, outcome)


async def settle(work: Work, sent: Sent, attempts: int) -> timedelta | None:
    """Keep the answer where the contact method is shown; return when to try again, None if that is all."""
    outcome = sent.outcome
    await contacts.set_answer(work.tx, sent.contact_id, f"{_word(outcome)}: {outcome.answer}", work.now)
    if not isinstance(outcome, Retry) or attempts >= MAX_ATTEMPTS:
        return None
    doubled = FIRST_RETRY_SECONDS * 2 ** (attempts - 1) * ids.jitter(0.2)
    asked = outcome.after_seconds if outcome.after_seconds is not None else doubled
    return timedelta(seconds=min(max(asked, 1.0), LONGEST_RETRY_SECONDS))


def _word(outcome: Outcome) -> str:
    match outcome:
        case Delivered():
            return "delivered"
        case Rejected():
            return "refused"
        case Retry():
            return "not delivered"


async def own_method(work: Work, actor: Actor, contact_id: UUID) -> ContactMethod:
    """Lock a contact method that the actor may change; raise NOT_FOUND, or FORBIDDEN for somebody else's."""
    method = await contacts.locked(work.tx, contact_id)
    if method is None:
        raise no_such("contact method", contact_id)
    require(actor, Permission.READ if method.user_id == actor.user_id else Permission.ADMINISTER)
    return method


def no_such(what: str, its_id: UUID) -> TocsinError:
    """Return the refusal where an id names nothing."""
    return refuse(Code.NOT_FOUND, f"There is no {what} {its_id}.", "Ids are shown where they are listed.")


def _require_pause(work: Work, method: ContactMethod) -> None:
    times = [at for at in (method.code_sent_at, method.last_answer_at) if at is not None]
    left = pause_left(method.created_at, max(times, default=None), work.now)
    if left:
        seconds = int(left.total_seconds()) + 1
        raise refuse(
            Code.RATE_LIMITED,
            "A message went over this contact method a short time ago.",
            f"Wait {number_of(seconds, 'second')}, and see what came of it: `tocsin users contact list`.",
            retryAfterSeconds=seconds,
        )


async def _queue(work: Work, kind: str, contact_id: UUID) -> None:
    payload: dict[str, object] = {"contactId": str(contact_id)}
    await jobs.enqueue_many(work.tx, [NewJob(work.new_id(), kind, f"{kind}:{contact_id}", payload, work.now)], work.now)


async def _code(work: Work, method: ContactMethod) -> Message:
    code = ids.new_code()
    await contacts.set_code(work.tx, method.id, code_hash(method.id, code), work.now)
    minutes = int(GOOD_FOR.total_seconds()) // 60
    text = (
        f"{code} is your code. It is good for {minutes} minutes, and a later one takes its place.\n\n"
        "It shows that pages of Tocsin reach you here. If you did not ask for it, somebody mistyped an address."
    )
    payload: dict[str, object] = {"event": "VERIFY_CONTACT", "code": code}
    return Message(work.new_id(), f"Tocsin: your code is {code}", text, payload, work.now)


def _test(message_id: UUID, now: datetime) -> Message:
    text = "This is a test that you asked for: pages of Tocsin reach you here. Nothing is wrong."
    return Message(message_id, "Tocsin: a test, nothing is wrong", text, {"event": "TEST_CONTACT"}, now)
