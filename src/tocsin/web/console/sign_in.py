"""Signing in and out on pages; in two steps where there is a second factor."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import quote, urlsplit

import msgspec
from starlette.responses import RedirectResponse, Response

from tocsin.app import sessions
from tocsin.app import sign_in as entering
from tocsin.app.second_factor import counted
from tocsin.app.sessions import SignedIn
from tocsin.app.sign_in import Waiting
from tocsin.app.work import Work
from tocsin.domain.second_factor import MAX_CODE_CHARACTERS
from tocsin.web import auth_api
from tocsin.web.console.page import Form, Redirected, Shown, Visit

_HERE = re.compile(r"/(?![/\\])[!-~]{0,1000}")
_CODE = "/sign-in/code"

Code = Annotated[str, msgspec.Meta(max_length=MAX_CODE_CHARACTERS)]


class SignInQuery(msgspec.Struct):
    """Where to go on after signing in."""

    next: str = "/"


class SignInForm(Form):
    """Who signs in."""

    email: Annotated[str, msgspec.Meta(max_length=254)] = ""
    password: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    next: str = "/"


class CodeForm(Form):
    """The second factor."""

    code: Code = ""
    next: str = "/"


async def show(_: Work, visit: Visit) -> Shown:
    """Show the sign-in, which leads back to where somebody wanted to go."""
    return _shown(visit, visit.asked(SignInQuery).next)


async def again(_: Work, visit: Visit) -> Shown:
    """Show the sign-in once more: it was refused."""
    return _shown(visit, visit.said(SignInForm).next)


def _shown(visit: Visit, path: str) -> Shown:
    provider = visit.services.provider
    host = urlsplit(provider.issuer).hostname if provider is not None else None
    return Shown("sign_in.html", {"next": inside(path), "provider": host})


async def sign_in(visit: Visit) -> Response:
    """Open a session and go on, or ask for the second factor."""
    form = visit.said(SignInForm)
    verified_hash = await auth_api.verified(visit.services, visit.request, form.email, form.password)
    if verified_hash is None:
        raise sessions.wrong_sign_in()
    whence = auth_api.whence_of(visit.request)
    async with visit.app.work() as work:
        begun = await entering.begin(work, form.email, verified_hash=verified_hash, whence=whence)
    auth_api.note(visit.request, begun.actor)
    if isinstance(begun, Waiting):
        response = led_to(f"{_CODE}?next={quote(inside(form.next), safe='')}")
        visit.services.authentication.waiting_cookie.set(response, begun.token)
        return response
    return signed_in_response(visit, begun, form.next)


async def show_code(work: Work, visit: Visit) -> Shown | Redirected:
    """Ask for the second factor; who has shown no password begins with that."""
    token = visit.services.authentication.waiting_token(visit.request.scope)
    if token is None or await entering.whose(work, token) is None:
        return Redirected("/sign-in")
    return Shown("sign_in_code.html", {"next": inside(visit.asked(SignInQuery).next)})


async def code_again(_: Work, visit: Visit) -> Shown:
    """Ask for the second factor once more: it was refused."""
    return Shown("sign_in_code.html", {"next": inside(visit.said(CodeForm).next)})


async def enter_code(visit: Visit) -> Response:
    """Open the session of a sign-in that waits, and go on."""
    form, services = visit.said(CodeForm), visit.services
    token = services.authentication.waiting_token(visit.request.scope)
    if token is None:
        raise entering.sign_in_over()
    async with visit.app.work() as work:
        actor = await entering.whose(work, token)
    if actor is not None:
        auth_api.note(visit.request, actor)
    whence = auth_api.whence_of(visit.request)
    signed_in = await counted(visit.app, lambda work: entering.finish(work, services.vault, token, form.code, whence))
    response = signed_in_response(visit, signed_in, form.next)
    services.authentication.waiting_cookie.clear(response)
    return response


async def sign_out(visit: Visit) -> Response | Redirected:
    """End the session; possible while an incident blocks it."""
    authentication = visit.services.authentication
    session_token = authentication.session_token(visit.request.scope)
    if session_token is not None:
        async with visit.app.work() as work:
            await sessions.close_session(work, session_token)
    response = led_to("/sign-in")
    authentication.cookie.clear(response)
    return response


def signed_in_response(visit: Visit, signed_in: SignedIn, path: str) -> Response:
    """Give the browser its session, and lead it on."""
    response = led_to(inside(path))
    visit.services.authentication.cookie.set(response, signed_in.session_token)
    return response


def led_to(path: str) -> Response:
    """Lead the browser somewhere."""
    return RedirectResponse(path, 303, headers={"Cache-Control": "no-store"})


def inside(path: str) -> str:
    """Return a path of ours, "/" for anything that might lead somewhere else."""
    return path if _HERE.fullmatch(path) else "/"
