"""The account page: who one is, one's own password, where one is signed in."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tocsin.app import account, second_factor, sessions
from tocsin.app.work import Work
from tocsin.web import auth_api
from tocsin.web.console.page import Form, Redirected, Shown, Visit
from tocsin.web.reading import part_id

ACCOUNT = "/account"

Password = Annotated[str, msgspec.Meta(max_length=sessions.MAX_PASSWORD_CHARACTERS)]


class PasswordForm(Form):
    """A new password, for who knows the old one."""

    old_password: Password = ""
    new_password: Password = ""


async def show(work: Work, visit: Visit) -> Shown:
    """Show the account."""
    own = await account.own_account(work, visit.somebody)
    context = {
        "account": own,
        "own_session": visit.somebody.session_id,
        "standing": await second_factor.standing(work, visit.somebody),
    }
    return Shown("account.html", context)


async def change_password(visit: Visit) -> Redirected:
    """Give who asks a new password; their other sessions end."""
    form = visit.said(PasswordForm)
    verified_hash = await own_password(visit, form.old_password)
    async with visit.app.work() as work:
        await account.change_password(work, visit.somebody, form.new_password, verified_hash=verified_hash)
    return Redirected(ACCOUNT)


async def own_password(visit: Visit, password: str) -> str:
    """Return the hash of one's own password, verified; raise INVALID, or RATE_LIMITED for who guesses.

    A session that was left open must not be enough to guess the password: wrong ones count as at the sign-in.
    """
    async with visit.app.work() as work:
        user = await account.own_user(work, visit.somebody)
    verified_hash = await auth_api.verified(visit.services, visit.request, user.email, password)
    if verified_hash is None:
        raise account.wrong_password()
    return verified_hash


async def end_session(work: Work, visit: Visit) -> Redirected:
    """End one of one's own sessions."""
    await account.end_own_session(work, visit.somebody, part_id(visit.path("id"), "session"))
    return Redirected(ACCOUNT)


async def end_other_sessions(work: Work, visit: Visit) -> Redirected:
    """End all of one's own sessions but this one."""
    await account.end_own_other_sessions(work, visit.somebody)
    return Redirected(ACCOUNT)
