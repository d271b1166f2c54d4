"""Signing in by an OpenID provider: whom it has seen, and who that is here."""

from __future__ import annotations

import hashlib

from tocsin.app import sessions
from tocsin.app.accounts import insert_user
from tocsin.app.sessions import SignedIn
from tocsin.app.sign_in import Whence
from tocsin.app.work import Work
from tocsin.domain.contact_method import address_problem
from tocsin.domain.workflow import checked_text
from tocsin.errors import Code, refuse
from tocsin.outside.oidc import Identity
from tocsin.store import provider_accounts, users
from tocsin.store.users import User

MAX_NAME_CHARACTERS = 200


async def enter(work: Work, identity: Identity, whence: Whence) -> SignedIn:
    """Open a session for who was seen by the provider; its own second factor takes the place of ours.

    Somebody is known by the provider's id of them, and by the address only at the first time: an address may go to
    somebody else one day. Raises FORBIDDEN for who has no place here.
    """
    # Two first sign-ins at once must not make two of one.
    await users.lock(work.tx)
    subject_hash = hashlib.sha256(f"{identity.issuer}\n{identity.subject}".encode()).digest()
    user_id = await provider_accounts.user_of(work.tx, subject_hash)
    user = await users.by_id(work.tx, user_id) if user_id is not None else await _first_time(work, identity)
    if user is None or not user.active:
        raise refuse(Code.FORBIDDEN, f"{identity.email} is shut out here.", "A superadmin can let you in again.")
    if user_id is None:
        await _bind(work, user, subject_hash)
    return await sessions.open_session(work, user, whence.client_address, whence.user_agent, by_provider=True)


async def _first_time(work: Work, identity: Identity) -> User | None:
    """Return who has this address; if nobody has it, add them where the operator has set a role for that."""
    known = await users.by_email(work.tx, identity.email)
    if known is not None:
        return known
    role = work.settings.oidc_role
    if role is None or address_problem("email", identity.email) is not None:
        raise refuse(
            Code.FORBIDDEN,
            f"{identity.email} is nobody here.",
            "A superadmin can add you: `tocsin users add EMAIL`. With TOCSIN_OIDC_ROLE that happens by itself.",
        )
    name = checked_text("name", identity.name.strip() or identity.email.split("@")[0])[:MAX_NAME_CHARACTERS]
    return await users.by_id(work.tx, await insert_user(work, identity.email, name, role, None))


async def _bind(work: Work, user: User, subject_hash: bytes) -> None:
    if not await provider_accounts.bind(work.tx, user.id, subject_hash):
        raise refuse(
            Code.FORBIDDEN,
            f"{user.email} belongs to another account at the provider.",
            "Was the address given to somebody else? A superadmin erases who had it, or signs you in by a password.",
        )
