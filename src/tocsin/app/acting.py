"""Who acts on the command line: the person that was named, or the only superadmin there is."""

from __future__ import annotations

from tocsin.app.work import Work
from tocsin.domain.access import Actor
from tocsin.errors import Code, Refusal, TocsinError, refuse
from tocsin.store import users


class ActorUnnamedError(TocsinError):
    """Nobody was named, and it cannot be guessed who acts: the call was incomplete, not refused."""


async def acting(work: Work, email: str | None) -> Actor:
    """Return the active user of this e-mail; without one the only active superadmin.

    Raises UNAUTHORIZED when there is no such user or no user at all, ActorUnnamedError when several could be meant.
    """
    if email is not None:
        user = await users.by_email(work.tx, email)
        if user is None or not user.active:
            raise refuse(
                Code.UNAUTHORIZED,
                f"There is no active user {email} to act as.",
                "See who there is: `tocsin users list`.",
            )
        return user.actor()
    superadmins = await users.active_superadmins(work.tx)
    if not superadmins:
        raise refuse(
            Code.UNAUTHORIZED,
            "There is no user yet.",
            "The first start makes one: `tocsin up`, or `tocsin serve` on a database of your own.",
        )
    if len(superadmins) > 1:
        raise ActorUnnamedError(
            Refusal(
                Code.UNAUTHORIZED,
                f"There are {len(superadmins)} superadmins: it is not clear who acts.",
                "Say who you are with --as EMAIL, or once for all with TOCSIN_ACTOR=EMAIL.",
            )
        )
    return superadmins[0].actor()
