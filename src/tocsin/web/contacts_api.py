"""Contact methods and notification rules over HTTP: everybody's own, and anybody's for superadmins."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta
from starlette.responses import Response

from tocsin.app import contacts, verification
from tocsin.app.work import Work
from tocsin.domain.contact_method import CHANNELS, MAX_ADDRESS_CHARACTERS
from tocsin.domain.reach import LONGEST_DELAY
from tocsin.web.documents import Body, Document, Email, shown
from tocsin.web.endpoint import Call
from tocsin.web.json_answer import JsonAnswer
from tocsin.web.reading import part_id

ChannelName = Annotated[str, Meta(extra_json_schema={"enum": list(CHANNELS)})]
Address = Annotated[str, Meta(min_length=3, max_length=MAX_ADDRESS_CHARACTERS)]
AfterSeconds = Annotated[int, Meta(ge=0, le=int(LONGEST_DELAY.total_seconds()))]


class PersonQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Whose; without it, one's own."""

    user: Email | None = None


class AddContactBody(Body):
    channel: ChannelName
    address: Address
    user: Email | None = None


class CodeBody(Body):
    code: Annotated[str, Meta(min_length=1, max_length=20, examples=["12345678"])]


class AddRuleBody(Body):
    contact_id: UUID
    after_seconds: AfterSeconds = 0


class ContactDocument(Document):
    id: UUID
    channel: str
    address: Annotated[str, Meta(description="Without what of it may be a secret.")]
    created_at: datetime
    verified_at: datetime | None
    used: Annotated[bool, Meta(description="Pages go over it, as far as rules say nothing else.")]
    code_sent_at: datetime | None
    last_answer: Annotated[str | None, Meta(description="What came of the last code or test.")]
    last_answer_at: datetime | None


class ContactListAnswer(Document):
    contacts: list[ContactDocument]


class RuleDocument(Document):
    id: UUID
    contact_method_id: UUID
    channel: str
    address: str
    after_seconds: int


class PlannedDocument(Document):
    contact_method_id: UUID
    channel: str
    address: str
    after_seconds: int


class RuleListAnswer(Document):
    rules: list[RuleDocument]
    plan: list[PlannedDocument]


class DoneAnswer(Document):
    id: UUID


async def list_contacts(work: Work, call: Call) -> ContactListAnswer:
    """List the ways to reach somebody."""
    found = await contacts.list_methods(work, call.actor, call.asked(PersonQuery).user)
    return ContactListAnswer([shown(ContactDocument, one) for one in found])


async def add_contact(work: Work, call: Call) -> DoneAnswer:
    """Add a way to reach somebody."""
    body = call.said(AddContactBody)
    return DoneAnswer(await contacts.add_method(work, call.actor, body.user, body.channel, body.address))


async def remove_contact(work: Work, call: Call) -> DoneAnswer:
    """Remove a way to reach somebody."""
    contact_id = _contact_id(call)
    await contacts.remove_method(work, call.actor, contact_id)
    return DoneAnswer(contact_id)


async def send_code(work: Work, call: Call) -> DoneAnswer:
    """Send another code."""
    contact_id = _contact_id(call)
    await verification.send_code(work, call.actor, contact_id)
    return DoneAnswer(contact_id)


async def send_test(work: Work, call: Call) -> DoneAnswer:
    """Send a test."""
    contact_id = _contact_id(call)
    await verification.send_test(work, call.actor, contact_id)
    return DoneAnswer(contact_id)


async def verify(call: Call) -> Response:
    """Judge a code; that it was tried is committed before it is refused."""
    contact_id = _contact_id(call)
    async with call.services.app.work() as work:
        answered = await verification.take_code(work, call.actor, contact_id, call.said(CodeBody).code)
    answered.require_right()
    return JsonAnswer(DoneAnswer(contact_id))


async def list_rules(work: Work, call: Call) -> RuleListAnswer:
    """List notification rules, and what a page consists of by them."""
    found = await contacts.list_rules(work, call.actor, call.asked(PersonQuery).user)
    rules = [shown(RuleDocument, one) for one in found.rules]
    return RuleListAnswer(rules, [shown(PlannedDocument, one) for one in found.plan])


async def add_rule(work: Work, call: Call) -> DoneAnswer:
    """Add a notification rule."""
    body = call.said(AddRuleBody)
    after = timedelta(seconds=body.after_seconds)
    return DoneAnswer(await contacts.add_rule(work, call.actor, body.contact_id, after))


async def remove_rule(work: Work, call: Call) -> DoneAnswer:
    """Remove a notification rule."""
    rule_id = part_id(call.path("ruleId"), "notification rule")
    await contacts.remove_rule(work, call.actor, rule_id)
    return DoneAnswer(rule_id)


def _contact_id(call: Call) -> UUID:
    return part_id(call.path("contactId"), "contact method")
