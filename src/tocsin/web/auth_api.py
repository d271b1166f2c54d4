"""Signing in and out, and who one is."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tocsin.app import sessions
from tocsin.app.sessions import SignedIn
from tocsin.app.work import App
from tocsin.errors import Code, TocsinError, refuse
from tocsin.web import documents
from tocsin.web.audit_trail import client_address
from tocsin.web.documents import SessionAnswer, SignInAnswer, SignInBody, UserDocument
from tocsin.web.endpoint import Call, Services
from tocsin.web.exchange import exchange_of

PASSWORD = "password"  # noqa: S105  # the name of a credential in the access log, not one


async def sign_in(call: Call) -> Response:
    """Open a session for who knows the password; the secret goes into the cookie, the CSRF token into the answer."""
    body = call.said(SignInBody)
    signed_in = await open_session(call.services, call.request, body.email, body.password)
    answer = SignInAnswer(_user(signed_in), signed_in.csrf_token)
    response = Response(msgspec.json.encode(answer), media_type="application/json")
    call.services.authentication.cookie.set(response, signed_in.session_token)
    return response


async def open_session(services: Services, request: Request, email: str, password: str) -> SignedIn:
    """Open a session for who knows the password, and note who it is; raise UNAUTHORIZED or RATE_LIMITED."""
    address, now = client_address(request.scope), services.app.clock()
    services.throttle.begin(address, email, now)
    try:
        signed_in = await _verified(services.app, request, email, password, address)
    except TocsinError as error:
        if error.refusal.code is not Code.UNAUTHORIZED:
            services.throttle.take_back(address, email, now)
        raise
    services.throttle.take_back(address, email, now)
    exchange = exchange_of(request.scope)
    exchange.user_id, exchange.credential = signed_in.actor.user_id, PASSWORD
    return signed_in


async def _verified(app: App, request: Request, email: str, password: str, address: str) -> SignedIn:
    """Check the password between two transactions: argon2 takes a while, and no connection waits for it."""
    async with app.work() as work:
        password_hash = await sessions.password_hash_of(work, email)
    verified = await asyncio.to_thread(sessions.verify_password, password, password_hash)
    if not verified or password_hash is None:
        raise sessions.wrong_sign_in()
    async with app.work() as work:
        user_agent = request.headers.get("user-agent", "").replace("\x00", "")
        return await sessions.open_session(
            work, email, verified_hash=password_hash, client_address=address, user_agent=user_agent
        )


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
