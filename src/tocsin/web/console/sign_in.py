"""Signing in and out on pages."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from starlette.responses import RedirectResponse, Response

from tocsin.app import sessions
from tocsin.app.work import Work
from tocsin.web import auth_api
from tocsin.web.console.page import Form, Redirected, Shown, Visit

_HERE = re.compile(r"/(?![/\\])[!-~]{0,1000}")


class SignInQuery(msgspec.Struct):
    """Where to go on after signing in."""

    next: str = "/"


class SignInForm(Form):
    """Who signs in."""

    email: Annotated[str, msgspec.Meta(max_length=254)] = ""
    password: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    next: str = "/"


class SignOutForm(Form):
    """Nothing but the proof that it was meant."""


async def show(_: Work, visit: Visit) -> Shown:
    """Show the sign-in, which leads back to where somebody wanted to go."""
    query = visit.query
    return Shown("sign_in.html", {"next": _inside(query.next) if isinstance(query, SignInQuery) else "/"})


async def again(_: Work, visit: Visit) -> Shown:
    """Show the sign-in once more: it was refused."""
    return Shown("sign_in.html", {"next": _inside(visit.said(SignInForm).next)})


async def sign_in(visit: Visit) -> Response:
    """Open a session and go on."""
    form = visit.said(SignInForm)
    signed_in = await auth_api.open_session(visit.services, visit.request, form.email, form.password)
    response = RedirectResponse(_inside(form.next), 303, headers={"Cache-Control": "no-store"})
    visit.services.authentication.cookie.set(response, signed_in.session_token)
    return response


async def sign_out(visit: Visit) -> Response | Redirected:
    """End the session; possible while an incident blocks it."""
    authentication = visit.services.authentication
    session_token = authentication.session_token(visit.request.scope)
    if session_token is not None:
        async with visit.app.work() as work:
            await sessions.close_session(work, session_token)
    response = RedirectResponse("/sign-in", 303, headers={"Cache-Control": "no-store"})
    authentication.cookie.clear(response)
    return response


def _inside(path: str) -> str:
    """Return a path of ours, "/" for anything that might lead somewhere else."""
    return path if _HERE.fullmatch(path) else "/"
