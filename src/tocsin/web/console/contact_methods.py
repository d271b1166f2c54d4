"""The page of one's own contact methods: add one, have a code sent over it, type that in, remove it."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import msgspec

from tocsin.app import contacts, verification
from tocsin.app.work import Work
from tocsin.channels.working import working_channels
from tocsin.domain.contact_method import CHANNELS
from tocsin.web.console.page import Form, Redirected, Shown, Visit
from tocsin.web.reading import invalid, part_id

CONTACTS = "/account/contacts"

Line = Annotated[str, msgspec.Meta(max_length=2000)]


class MethodForm(Form):
    """A new way to be reached."""

    channel: Line
    address: Line = ""


class CodeForm(Form):
    """The code that came over a contact method."""

    code: Annotated[str, msgspec.Meta(max_length=100)] = ""


async def show(work: Work, visit: Visit) -> Shown:
    """Show how one is reached."""
    context = {
        "methods": await contacts.list_methods(work, visit.actor, None),
        "rules": await contacts.list_rules(work, visit.actor, None),
        "channels": CHANNELS,
        "working": working_channels(work.settings),
        "tried": visit.request.path_params.get("method"),
    }
    return Shown("contact_methods.html", context)


async def add(work: Work, visit: Visit) -> Redirected:
    """Add a way to be reached, over which a code is sent."""
    form = visit.said(MethodForm)
    if form.channel not in CHANNELS:
        raise invalid("channel", f"must be one of {', '.join(CHANNELS)}")
    await contacts.add_method(work, visit.actor, None, form.channel, form.address)
    return Redirected(CONTACTS)


async def send_code(work: Work, visit: Visit) -> Redirected:
    """Send another code."""
    await verification.send_code(work, visit.actor, _method(visit))
    return Redirected(CONTACTS)


async def send_test(work: Work, visit: Visit) -> Redirected:
    """Send a test."""
    await verification.send_test(work, visit.actor, _method(visit))
    return Redirected(CONTACTS)


async def enter_code(visit: Visit) -> Redirected:
    """Take a code that came back. A wrong one is committed before it is refused: it has to count."""
    async with visit.app.work() as work:
        answered = await verification.take_code(work, visit.actor, _method(visit), visit.said(CodeForm).code)
    answered.require_right()
    return Redirected(CONTACTS)


async def remove(work: Work, visit: Visit) -> Redirected:
    """Remove a way to be reached."""
    await contacts.remove_method(work, visit.actor, _method(visit))
    return Redirected(CONTACTS)


def _method(visit: Visit) -> UUID:
    return part_id(visit.path("method"), "contact method")
