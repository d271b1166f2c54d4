"""Signing in and out, and who one is."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tocsin.app import sessions
from tocsin.app import sign_in as entering
from tocsin.app.second_factor import counted
from tocsin.app.sessions import SignedIn
from tocsin.app.sign_in import Whence
from tocsin.domain.access import Actor
from tocsin.errors import Code, TocsinError, refuse
from tocsin.web import documents
from tocsin.web.audit_trail import client_address
from tocsin.web.documents import SessionAnswer, SignInAnswer, SignInBody, UserDocument
from tocsin.web.endpoint import Call, Services
from tocsin.web.exchange import exchange_of

PASSWORD = "password"  # noqa: S105  # the name of a credential in the access log, not one


async def sign_in(call: Call) -> Response:
    """Open a session for who knows the password, and brings a code where that is needed.

    The secret goes into the cookie, the CSRF token into the answer.
    """
    body = call.said(SignInBody)
    services, request = call.services, call.request
    verified_hash = await verified(services, request, body.email, body.password)
    if verified_hash is None:
        raise sessions.wrong_sign_in()
    whence, code = whence_of(request), body.code or None
    signed_in = await counted(
        services.app,
        lambda work: entering.sign_in(
            work, services.vault, body.email, verified_hash=verified_hash, code=code, whence=whence
        ),
    )
    note(request, signed_in.actor)
    answer = SignInAnswer(_user(signed_in), signed_in.csrf_token)
    response = Response(msgspec.json.encode(answer), media_type="application/json")
    call.services.authentication.cookie.set(response, signed_in.session_token)
    return response


async def verified(services: Services, request: Request, email: str, password: str) -> str | None:
    """Return the hash that a password was verified against, None for a wrong one; raise RATE_LIMITED for who guesses.

    Between two transactions: argon2 takes a while, and no connection waits for it.
    """
    address, now = client_address(request.scope), services.app.clock()
    services.throttle.begin(address, email, now)
    try:
        async with services.app.work() as work:
            password_hash = await sessions.password_hash_of(work, email)
        right = await asyncio.to_thread(sessions.verify_password, password, password_hash)
    except TocsinError:
        services.throttle.take_back(address, email, now)
        raise
    if not right:
        return None
    services.throttle.take_back(address, email, now)
    return password_hash


def whence_of(request: Request) -> Whence:
    """Return where a request comes from, as a session keeps it."""
    return Whence(client_address(request.scope), request.headers.get("user-agent", "").replace("\x00", ""))


def note(request: Request, actor: Actor) -> None:
    """Take note of who signs in, for the access log."""
    exchange = exchange_of(request.scope)
    exchange.user_id, exchange.credential = actor.user_id, PASSWORD


async def sign_out(call: Call) -> Response:
    """End the session; possible while an incident blocks it."""
    authentication = call.services.authentication
    session_token = authentication.session_token(call.request.scope)
    if session_token is None or call.principal is None or call.principal.csrf_hash is None:
        raise refuse(
            Code.CONFLICT,
            "There is no session to end: this request is made with a token.",
            "A token ends when a superadmin revokes it: `tocsin tokens revoke`.",
        )
    async with call.services.app.work() as work:
        await sessions.close_session(work, session_token)
    response = Response(status_code=204)
    authentication.cookie.clear(response)
    return response


async def who_am_i(call: Call) -> Response:
    """Tell who makes the request, and by what."""
    assert call.principal is not None, "the gate lets only who is known pass"
    kind = "token" if call.principal.csrf_hash is None else "session"
    return Response(msgspec.json.encode(SessionAnswer(_user(call.principal), kind)), media_type="application/json")


def _user(holder: SignedIn | sessions.Principal) -> UserDocument:
    actor = holder.actor
    return documents.UserDocument(actor.user_id, actor.name, actor.role)
