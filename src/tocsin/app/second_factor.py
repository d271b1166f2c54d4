"""The second factor: set it up, use it, take it off. The secret is kept sealed, recovery codes as hashes.

A wrong code is counted in the transaction that finds it wrong. So what checks codes returns its refusal, and `counted`
raises that when the count is committed.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tocsin import ids
from tocsin.app.account import own_user, wrong_password
from tocsin.app.accounts import find_user
from tocsin.app.sessions import Principal
from tocsin.app.work import App, Work, secret_hash
from tocsin.domain.access import Actor, Permission, Role, require
from tocsin.domain.plural import number_of
from tocsin.domain.second_factor import (
    NUMBER_OF_RECOVERY_CODES,
    SET_UP_WITHIN,
    failed_again,
    is_recovery_code,
    key_uri,
    normalised,
    step_of,
    waiting_time,
)
from tocsin.errors import Code, TocsinError, refuse
from tocsin.store import credentials, second_factors
from tocsin.store.second_factors import Confirmed, SecondFactor
from tocsin.store.users import User

T = TypeVar("T")
_PURPOSE = b"tocsin second factor"
_NONCE_BYTES = 12


class Vault:
    """Seals the secrets of second factors: who reads the database alone can make no codes (AES-256-GCM)."""

    def __init__(self, secret_key: bytes) -> None:
        """`secret_key` is good for other things as well; each purpose has a key of its own, derived from it."""
        self._cipher = AESGCM(hmac.digest(secret_key, _PURPOSE, "sha256"))

    def seal(self, user_id: UUID, secret: str) -> bytes:
        """Return a secret sealed, for this user alone."""
        nonce = ids.new_nonce()[:_NONCE_BYTES]
        return nonce + self._cipher.encrypt(nonce, secret.encode(), user_id.bytes)

    def open(self, user_id: UUID, sealed: bytes) -> str:
        """Return the secret; raise MISCONFIGURED where it was sealed with another key, or for another user."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], user_id.bytes).decode()
        except InvalidTag:
            raise refuse(
                Code.MISCONFIGURED,
                "The second factor cannot be checked: it was set up while this server had another secret key.",
                "Give it the former TOCSIN_SECRET_KEY back, use a recovery code, or let a superadmin take it off: "
                "`tocsin users totp EMAIL --off`.",
            ) from None


@dataclass(frozen=True, slots=True)
class SetUp:
    """A second factor that waits for its first code: what the other side must know."""

    secret: str
    uri: str


async def counted(app: App, act: Callable[[Work], Awaitable[T | TocsinError]]) -> T:
    """Act in one transaction, and raise the refusal that comes back when it is committed."""
    async with app.work() as work:
        answer = await act(work)
    if isinstance(answer, TocsinError):
        raise answer
    return answer


async def standing(work: Work, principal: Principal) -> Confirmed | None:
    """Return one's own second factor, None without one that counts."""
    return await second_factors.standing(work.tx, principal.actor.user_id)


async def begin(work: Work, vault: Vault, principal: Principal, *, verified_hash: str) -> None:
    """Make a secret for who has just shown their password; it counts once a code was confirmed."""
    user = await own_user(work, principal)
    if user.password_hash != verified_hash:
        raise wrong_password()
    assert principal.session_id is not None, "only sessions have pages"
    sealed = vault.seal(user.id, ids.new_totp_secret())
    if not await second_factors.begin(work.tx, user.id, sealed, principal.session_id, work.now):
        raise refuse(
            Code.CONFLICT,
            "You have a second factor already.",
            "To set up another phone, take this one off first.",
        )


async def set_up(work: Work, vault: Vault, principal: Principal) -> SetUp:
    """Return what waits to be confirmed; raise CONFLICT when nothing does, or not any more."""
    user = await own_user(work, principal)
    factor = await _waiting(work, principal)
    secret = vault.open(user.id, factor.sealed_secret)
    return SetUp(secret, key_uri(secret, user.email, urlsplit(work.settings.base_url).hostname or ""))


async def confirm(work: Work, vault: Vault, principal: Principal, code: str) -> list[str] | TocsinError:
    """Make the second factor count, for who brings a code of it; return the recovery codes.

    One's other sessions end: they were opened without it.
    """
    user = await own_user(work, principal)
    factor = await _waiting(work, principal)
    if refusal := await _check(work, vault, factor, code, wrong_code()):
        return refusal
    await second_factors.confirm(work.tx, user.id, work.now)
    await credentials.revoke_sessions_of(work.tx, user.id, work.now, spared=principal.session_id)
    return await _new_recovery_codes(work, user)


async def renew_recovery_codes(work: Work, vault: Vault, principal: Principal, code: str) -> list[str] | TocsinError:
    """Return new recovery codes for who brings a code; those from before are good for nothing."""
    user = await own_user(work, principal)
    if refusal := await _check(work, vault, await _in_force(work, user), code, wrong_code()):
        return refusal
    return await _new_recovery_codes(work, user)


async def remove_own(work: Work, vault: Vault, principal: Principal, code: str) -> TocsinError | None:
    """Take one's own second factor off, for who brings a code; raise CONFLICT where the role needs one."""
    user = await own_user(work, principal)
    if Role(user.role) in work.settings.require_totp:
        raise refuse(
            Code.CONFLICT,
            f"Every {user.role} needs a second factor here.",
            "For another phone: a superadmin takes this one off (`tocsin users totp EMAIL --off`), "
            "and you set up the new one when you sign in.",
        )
    if refusal := await _check(work, vault, await _in_force(work, user), code, wrong_code()):
        return refusal
    await second_factors.remove(work.tx, user.id)
    return None


async def of_user(work: Work, actor: Actor, email: str) -> Confirmed | None:
    """Return a user's second factor, None without one that counts."""
    require(actor, Permission.ADMINISTER)
    return await second_factors.standing(work.tx, (await find_user(work, email)).id)


async def take_off(work: Work, actor: Actor, email: str) -> None:
    """Take a user's second factor off: their phone is lost, and so are the recovery codes. Raises NOT_FOUND."""
    require(actor, Permission.ADMINISTER)
    if not await second_factors.remove(work.tx, (await find_user(work, email)).id):
        raise refuse(Code.NOT_FOUND, f"{email} has no second factor.", "They set one up on their account's page.")


async def admit(work: Work, vault: Vault, user: User, code: str | None) -> TocsinError | None:
    """Let pass who has no second factor that counts, or brings a code of it; else return the refusal."""
    factor = await second_factors.locked(work.tx, user.id)
    if factor is None or factor.confirmed_at is None:
        return None
    if not code:
        return refuse(
            Code.UNAUTHORIZED,
            "The password is right; a code of the second factor is needed as well.",
            "Send the code of your authenticator app, or a recovery code, as `code`.",
            secondFactor=True,
        )
    return await _check(work, vault, factor, code, wrong_code_at_sign_in())


def wrong_code() -> TocsinError:
    """Return the refusal for a wrong code of who is signed in."""
    problem = "is wrong, too old, or was used already"
    return refuse(
        Code.INVALID,
        f"The code {problem}.",
        "Wait for the next one. If all are wrong, set the phone's clock.",
        errors=[{"field": "code", "problem": problem}],
    )


def wrong_code_at_sign_in() -> TocsinError:
    """Return the refusal for a wrong code of who wants to sign in."""
    return refuse(
        Code.UNAUTHORIZED,
        "The code is wrong, too old, or was used already.",
        "Wait for the next one. If all are wrong, set the phone's clock, or take a recovery code.",
        secondFactor=True,
    )


async def _check(work: Work, vault: Vault, factor: SecondFactor, code: str, wrong: TocsinError) -> TocsinError | None:
    """Check a code and take note of it; return `wrong`, or RATE_LIMITED after too many. `factor` is locked."""
    wait = waiting_time(factor.failures, factor.failing_since, work.now)
    if wait:
        return _too_many(int(wait.total_seconds()) + 1)
    step = await _step_of(work, vault, factor, normalised(code))
    if step is not None:
        await second_factors.passed(work.tx, factor.user_id, step)
        return None
    failures, since = failed_again(factor.failures, factor.failing_since, work.now)
    await second_factors.failed(work.tx, factor.user_id, failures, since)
    return wrong


async def _step_of(work: Work, vault: Vault, factor: SecondFactor, code: str) -> int | None:
    """Return the time step of a code that is right, 0 for a recovery code (used up by this), None for a wrong one."""
    if is_recovery_code(code):
        return 0 if await second_factors.use_recovery_code(work.tx, factor.user_id, secret_hash(code)) else None
    return step_of(vault.open(factor.user_id, factor.sealed_secret), code, work.now, factor.last_step)


def _too_many(seconds: int) -> TocsinError:
    return refuse(
        Code.RATE_LIMITED,
        "Too many wrong codes.",
        f"Wait {number_of(seconds, 'second')}. If it was not you, somebody knows your password: change it.",
        retryAfterSeconds=seconds,
    )


async def _new_recovery_codes(work: Work, user: User) -> list[str]:
    codes = [ids.new_recovery_code() for _ in range(NUMBER_OF_RECOVERY_CODES)]
    await second_factors.replace_recovery_codes(work.tx, user.id, [secret_hash(normalised(code)) for code in codes])
    return codes


async def _waiting(work: Work, principal: Principal) -> SecondFactor:
    """Return one's second factor that waits for its first code, locked; for the session alone that was shown it."""
    factor = await second_factors.locked(work.tx, principal.actor.user_id)
    if (
        factor is None
        or factor.confirmed_at is not None
        or factor.begun_in != principal.session_id
        or factor.created_at + SET_UP_WITHIN <= work.now
    ):
        raise refuse(
            Code.CONFLICT, "There is no second factor that waits for its first code.", "Begin again with your password."
        )
    return factor


async def _in_force(work: Work, user: User) -> SecondFactor:
    """Return a user's second factor that counts, locked."""
    factor = await second_factors.locked(work.tx, user.id)
    if factor is None or factor.confirmed_at is None:
        raise refuse(Code.CONFLICT, "You have no second factor.", "Set one up on your account's page.")
    return factor
