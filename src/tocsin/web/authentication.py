"""Who makes a request: a program with a bearer token, or a browser with a session cookie and a CSRF token."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from tocsin.app import sessions
from tocsin.app.session_blocks import SessionBlock, block_of
from tocsin.app.sessions import Principal
from tocsin.app.work import App
from tocsin.domain.second_factor import SIGN_IN_WITHIN
from tocsin.errors import Code, TocsinError, refuse
from tocsin.settings import Settings
from tocsin.web.audit_trail import LINKS, is_audited
from tocsin.web.exchange import exchange_of

SESSION_COOKIE = "tocsin_session"
WAITING_COOKIE = "tocsin_sign_in"
CSRF_HEADER = "X-CSRF-Token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN_WHILE_BLOCKED = frozenset({"/api/auth/sign-in", "/api/auth/sign-out", "/sign-in", "/sign-in/code", "/sign-out"})
MAX_SECRET_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie with a secret: with https it has the prefix that ties it to this very host (RFC 6265bis, 4.1.3.2)."""

    secure: bool
    max_age_seconds: int
    plain_name: str = SESSION_COOKIE

    @property
    def name(self) -> str:
        """Return the cookie's name."""
        return f"__Host-{self.plain_name}" if self.secure else self.plain_name

    def set(self, response: Response, secret: str) -> None:
        """Give the browser the secret."""
        response.set_cookie(
            self.name, secret, max_age=self.max_age_seconds, secure=self.secure, httponly=True, samesite="lax"
        )

    def clear(self, response: Response) -> None:
        """Take the secret from the browser."""
        response.delete_cookie(self.name, secure=self.secure, httponly=True, samesite="lax")


def cookie_for(settings: Settings) -> Cookie:
    """Return the cookie as the operator wants it: secure if told so, else if the public URL is https."""
    secure = settings.base_url.startswith("https:") if settings.secure_cookies is None else settings.secure_cookies
    return Cookie(secure, settings.session_hours * 3600)


def waiting_cookie_for(cookie: Cookie) -> Cookie:
    """Return the cookie of a sign-in that waits for its second factor."""
    return Cookie(cookie.secure, int(SIGN_IN_WITHIN.total_seconds()), WAITING_COOKIE)


@dataclass(frozen=True, slots=True)
class Authentication:
    """Finds out who makes a request; asks the database once for each."""

    app: App
    cookie: Cookie
    waiting_cookie: Cookie

    def session_token(self, scope: Scope) -> str | None:
        """Return the session cookie of a request."""
        return _usable(Request(scope).cookies.get(self.cookie.name))

    def waiting_token(self, scope: Scope) -> str | None:
        """Return the cookie of a sign-in that waits for its second factor."""
        return _usable(Request(scope).cookies.get(self.waiting_cookie.name))

    async def identify(self, scope: Scope) -> Principal | None:
        """Return who makes the request, None when there is no credential or it is not valid.

        A bearer token is never overruled by a cookie: a program must hear that its token has ended.
        """
        exchange = exchange_of(scope)
        if not exchange.identified:
            exchange.identify(await self._look_up(scope))
        return exchange.principal

    async def _look_up(self, scope: Scope) -> Principal | None:
        header = Request(scope).headers.get("authorization")
        session_token = self.session_token(scope)
        if header is None and session_token is None:
            return None
        async with self.app.work() as work:
            if header is not None:
                token = bearer_token(header)
                return await sessions.principal_of_token(work, token) if token else None
            return await sessions.principal_of_session(work, session_token) if session_token else None

    async def require(self, request: Request) -> Principal:
        """Return who makes the request; raise UNAUTHORIZED, or FORBIDDEN when a browser's CSRF token is wrong."""
        principal = await self.identify(request.scope)
        if principal is None:
            raise _unauthorized(request)
        if principal.csrf_hash is not None and request.method not in SAFE_METHODS:
            csrf_token = request.headers.get(CSRF_HEADER, "")
            if not principal.csrf_matches(csrf_token[:MAX_SECRET_CHARACTERS]):
                raise refuse(
                    Code.FORBIDDEN,
                    f"A session must prove with {CSRF_HEADER} that this request was meant.",
                    f"Send the csrfToken that sign-in answered as {CSRF_HEADER}.",
                )
        return principal

    async def session_block(self, scope: Scope) -> SessionBlock | None:
        """Return what blocks the session of a request, for the session guard. Signing out stays possible.

        A link does not ask for a session, and to acknowledge by it is what lifts the block.
        """
        path = scope["path"]
        if path in OPEN_WHILE_BLOCKED or path.startswith(LINKS) or not (is_audited(path) or path == "/metrics"):
            return None
        principal = await self.identify(scope)
        if principal is None or principal.blocked_due_to_incident is None:
            return None
        async with self.app.work() as work:
            return await block_of(work, principal)


def bearer_token(header: str) -> str | None:
    """Return the token of an Authorization header (RFC 6750, 2.1), None when it holds none."""
    scheme, _, token = header.partition(" ")
    return _usable(token.strip()) if scheme.lower() == "bearer" else None


def _usable(secret: str | None) -> str | None:
    return secret if secret and len(secret) <= MAX_SECRET_CHARACTERS else None


def _unauthorized(request: Request) -> TocsinError:
    if "authorization" in request.headers:
        return refuse(
            Code.UNAUTHORIZED,
            "The bearer token is not valid: it was never made, has expired or was revoked.",
            "A superadmin can make a new one: `tocsin tokens add`.",
        )
    return refuse(
        Code.UNAUTHORIZED,
        "This needs a bearer token or a session.",
        "Send `Authorization: Bearer TOKEN`, or sign in with POST /api/auth/sign-in.",
    )
