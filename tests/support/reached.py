"""Contact methods of tests that are about something else: there at once, and no code goes over them."""

from __future__ import annotations

from tocsin import ids
from tocsin.app import contacts
from tocsin.app.work import Work
from tocsin.domain.access import Actor
from tocsin.store import contacts as store
from tocsin.store import users


async def also_by(work: Work, email: str, channel: str, address: str) -> None:
    """Let a user be reached in this way too."""
    user = await users.by_email(work.tx, email)
    assert user is not None
    assert await store.add(
        work.tx, contact_id=ids.new_id(), user_id=user.id, channel=channel, address=address, now=work.now
    )


async def no_more_by(work: Work, actor: Actor, email: str, channel: str, address: str) -> None:
    """Let a user be reached in this way no more."""
    await contacts.remove_method(work, actor, await contacts.find_method(work, email, channel, address))
