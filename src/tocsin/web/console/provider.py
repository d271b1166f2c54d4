"""Signing in at an OpenID provider: there, and back."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Annotated

import msgspec
import structlog
from starlette.responses import Response

from tocsin import ids
from tocsin.app import provider_sign_in
from tocsin.errors import Code, TocsinError, refuse
from tocsin.outside import OutsideError
from tocsin.outside.oidc import Attempt, Identity, Provider
from tocsin.web import auth_api
from tocsin.web.audit_trail import client_address
from tocsin.web.console.page import Visit
from tocsin.web.console.sign_in import SignInQuery, inside, led_to, signed_in_response

log = structlog.get_logger()

PROVIDER = "oidc"
"""The name of the credential in the access log; e-mails of the throttle are none of these."""
CALLBACK = "/sign-in/oidc/callback"
_LONGEST_PATH = 200

Bounded = Annotated[str, msgspec.Meta(max_length=4_000)]


class CallbackQuery(msgspec.Struct):
    """What the provider sends the browser back with (RFC 6749, 4.1.2)."""

    code: Bounded = ""
    state: Bounded = ""
    error: Bounded = ""


async def start(visit: Visit) -> Response:
    """Lead the browser to the provider."""
    provider, attempt = _provider(visit), Attempt(ids.new_secret())
    try:
        url = await provider.sign_in_url(attempt, _callback_url(visit))
    except OutsideError as error:
        log.warning("oidc.failed", issuer=provider.issuer, reason=str(error))
        raise refuse(
            Code.UNAVAILABLE,
            "The provider of your sign-in cannot be asked at the moment.",
            "Sign in with your password; the server's log says what is wrong.",
        ) from None
    response = led_to(url)
    visit.services.authentication.provider_cookie.set(response, _kept(attempt, visit.asked(SignInQuery).next))
    return response


async def come_back(visit: Visit) -> Response:
    """Open a session for who comes back from the provider, once, in the browser that went there."""
    provider, query = _provider(visit), visit.asked(CallbackQuery)
    address, now, throttle = client_address(visit.request.scope), visit.app.clock(), visit.services.throttle
    attempt, path = _remembered(visit)
    if not hmac.compare_digest(query.state.encode(), attempt.state.encode()):
        raise _not_begun()
    throttle.begin(address, PROVIDER, now)
    try:
        identity = await _identity(visit, provider, attempt, query)
    except OutsideError as error:
        log.warning("oidc.failed", issuer=provider.issuer, reason=str(error))
        raise refuse(
            Code.UNAUTHORIZED,
            "The provider did not tell for sure who you are, so you are not signed in.",
            "Try again; the server's log says what was wrong.",
        ) from None
    throttle.take_back(address, PROVIDER, now)
    async with visit.app.work() as work:
        signed_in = await provider_sign_in.enter(work, identity, auth_api.whence_of(visit.request))
    auth_api.note(visit.request, signed_in.actor, PROVIDER)
    response = signed_in_response(visit, signed_in, path)
    visit.services.authentication.provider_cookie.clear(response)
    return response


async def _identity(visit: Visit, provider: Provider, attempt: Attempt, query: CallbackQuery) -> Identity:
    if query.error or not query.code:
        raise OutsideError(f"the provider says {query.error[:100]!r}")
    return await provider.identity(attempt, query.code, _callback_url(visit), visit.app.clock())


def _provider(visit: Visit) -> Provider:
    if visit.services.provider is None:
        raise refuse(Code.NOT_FOUND, "Nobody signs in by a provider here.", "TOCSIN_OIDC_ISSUER sets one up.")
    return visit.services.provider


def _callback_url(visit: Visit) -> str:
    return f"{visit.app.settings.base_url}{CALLBACK}"


def _kept(attempt: Attempt, path: str) -> str:
    """Return what the browser keeps meanwhile: the secret, and where to go on."""
    path = inside(path) if len(path) <= _LONGEST_PATH else "/"
    return f"{attempt.secret}.{base64.urlsafe_b64encode(path.encode()).decode().rstrip('=')}"


def _remembered(visit: Visit) -> tuple[Attempt, str]:
    secret, _, encoded = (visit.services.authentication.provider_token(visit.request.scope) or "").partition(".")
    if not secret:
        raise _not_begun()
    try:
        path = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        path = "/"
    return Attempt(secret), inside(path)


def _not_begun() -> TocsinError:
    return refuse(
        Code.UNAUTHORIZED,
        "This sign-in was not begun in this browser, or too long ago.",
        "Begin again on the page of the sign-in.",
    )
