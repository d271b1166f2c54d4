"""The console's gate: from its table of pages to what answers each path.

1. Who is it? Nobody known is led to the sign-in, and back. 2. May they? 3. Read the form and the query. 4. Was the form
shown in this session? 5. Act. What is refused is said on a page: on that of the form, if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tocsin import ids
from tocsin.app.sessions import Principal
from tocsin.domain.access import PERMISSIONS, Permission
from tocsin.errors import Code, Refusal, TocsinError, refuse
from tocsin.web.compression import smaller
from tocsin.web.console.forms import MAX_FORM_BYTES, csrf_matches, csrf_of, decode_form
from tocsin.web.console.page import Directly, Form, InTransaction, Page, Redirected, Shown, Visit
from tocsin.web.console.rendering import Renderer
from tocsin.web.endpoint import Access, Services
from tocsin.web.exchange import UNMATCHED, exchange_of
from tocsin.web.problems import KINDS
from tocsin.web.reading import decode_query, read_body

SIGN_IN = "/sign-in"
PROGRAMS = ("/api/", "/v1/", "/v2/")
"""Where programs speak to us, and people do not."""
SET_UP = "/account/second-factor"


def page_gates(table: Sequence[Page], services: Services, renderer: Renderer) -> dict[str, ASGIApp]:
    """Return one gate for each path of the table, in its order."""
    by_path: dict[str, dict[str, Page]] = {}
    for page in table:
        by_path.setdefault(page.path, {})[page.method] = page
    return {path: PageGate(path, methods, services, renderer) for path, methods in by_path.items()}


@dataclass(frozen=True)
class PageGate:
    """The gate of one path, an ASGI application."""

    path: str
    methods: Mapping[str, Page]
    services: Services
    renderer: Renderer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with a page, with the way to another one, or with a page that says what is refused."""
        exchange_of(scope).route = self.path
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except TocsinError as error:
            principal = await self.services.authentication.identify(scope)
            response = self._refused(request, error.refusal, principal)
        await smaller(request, response)(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        page = self.methods.get("GET" if request.method == "HEAD" else request.method)
        if page is None:
            allowed = ", ".join(sorted(self.methods))
            raise refuse(Code.METHOD_NOT_ALLOWED, f"{self.path} does not know {request.method}.", allow=allowed)
        principal = await self._session(request)
        if page.access is not Access.PUBLIC:
            if principal is None:
                return _to_sign_in(request)
            if isinstance(page.access, Permission):
                if principal.must_set_up and request.method in ("GET", "HEAD"):
                    return RedirectResponse(SET_UP, 303, headers={"Cache-Control": "no-store"})
                principal.require(page.access)
        visit = await self._read(page, request, principal)
        return await self._act(page, visit)

    async def _session(self, request: Request) -> Principal | None:
        """Return whose session it is. A token is no session: programs have the API."""
        if self.services.authentication.session_token(request.scope) is None:
            return None
        principal = await self.services.authentication.identify(request.scope)
        return principal if principal is not None and principal.csrf_hash is not None else None

    async def _read(self, page: Page, request: Request, principal: Principal | None) -> Visit:
        query = None
        if page.query is not None:
            # A form that filters sends its empty fields, too.
            said = [(name, value) for name, value in request.query_params.multi_items() if value.strip()]
            query = decode_query(said, page.query, page.lists)
        form = None
        if page.form is not None:
            self._require_same_origin(request)
            body = await read_body(request, MAX_FORM_BYTES)
            form = decode_form(body, request.headers.get("content-type", ""), page.form)
            self._require_ours(request, form, principal)
        return Visit(self.services, request, principal, form, query)

    def _require_same_origin(self, request: Request) -> None:
        """Refuse what another site sent, as the browser says it (Fetch Metadata; Origin in RFC 6454)."""
        origin = request.headers.get("origin")
        ours = (request.headers.get("host"), urlsplit(self.services.app.settings.base_url).netloc)
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") or (
            origin is not None and urlsplit(origin).netloc not in ours
        ):
            raise _forged()

    def _require_ours(self, request: Request, form: Form, principal: Principal | None) -> None:
        """Refuse a form that was not shown in this session; who has none yet signs in, which any page may show."""
        session_token = self.services.authentication.session_token(request.scope)
        if principal is not None and (session_token is None or not csrf_matches(form, session_token)):
            raise _forged()

    async def _act(self, page: Page, visit: Visit) -> Response:
        try:
            return self._response(visit, await _handled(page.handler, visit))
        except TocsinError as error:
            if page.again is None:
                raise
            shown = await _handled(page.again, visit)
            assert isinstance(shown, Shown), "what shows a form again shows it"
            visit.exchange.outcome = error.refusal.code.value
            context = {**shown.context, "refusal": error.refusal, "said": visit.form}
            return self._response(visit, Shown(shown.template, context, KINDS[error.refusal.code].status))

    def _response(self, visit: Visit, answer: Shown | Redirected | Response) -> Response:
        match answer:
            case Shown(template, context, status):
                whole = {**self._common(visit.request, visit.principal), **context}
                return self.renderer.page(template, whole, status)
            case Redirected(to):
                return RedirectResponse(to, 303, headers={"Cache-Control": "no-store"})
            case Response():
                return answer

    def _common(self, request: Request, principal: Principal | None) -> dict[str, object]:
        """Return what every page needs."""
        session_token = self.services.authentication.session_token(request.scope)
        return {
            "now": self.services.app.clock(),
            "viewer": principal.actor if principal else None,
            "may": _may(principal),
            "csrf": csrf_of(session_token, ids.new_nonce()) if principal and session_token else "",
            "path": request.url.path,
            "refusal": None,
            "said": None,
        }

    def _refused(self, request: Request, refusal: Refusal, principal: Principal | None) -> Response:
        exchange = exchange_of(request.scope)
        exchange.outcome = refusal.code.value
        kind = KINDS[refusal.code]
        context = {"title": kind.title, "kind": kind, "request_id": str(exchange.request_id)}
        return self.renderer.page(
            "refused.html", {**self._common(request, principal), **context, "refusal": refusal}, kind.status
        )


@dataclass(frozen=True)
class Nowhere:
    """Answers where there is nothing: a browser with a page that leads home, every program with a problem."""

    services: Services
    renderer: Renderer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; raise NOT_FOUND for a program."""
        path = scope["path"]
        if not _shows_pages(scope):
            raise refuse(Code.NOT_FOUND, f"There is nothing at {path}.", "See what there is: /docs.")
        await PageGate(UNMATCHED, {"GET": _no_page(path)}, self.services, self.renderer)(scope, receive, send)


def _shows_pages(scope: Scope) -> bool:
    """Tell whether somebody looks for a page: a browser asks for HTML, and the API answers nobody with a page."""
    accepted = Headers(scope=scope).get("accept", "")
    return scope["method"] in ("GET", "HEAD") and "text/html" in accepted and not scope["path"].startswith(PROGRAMS)


def _no_page(path: str) -> Page:
    async def refused(_: Visit) -> Shown:
        hint = "The address may be mistyped, or what was there has another one now."
        raise refuse(Code.NOT_FOUND, f"There is no page at {path[:200]}.", hint)

    return Page("GET", UNMATCHED, Access.PUBLIC, Directly(refused))


async def _handled(handler: InTransaction | Directly, visit: Visit) -> Shown | Redirected | Response:
    match handler:
        case InTransaction(act):
            async with visit.app.work() as work:
                return await act(work, visit)
        case Directly(answer):
            return await answer(visit)


def _may(principal: Principal | None) -> dict[str, bool]:
    granted = PERMISSIONS[principal.actor.role] if principal and not principal.must_set_up else frozenset()
    return {permission.value: permission in granted for permission in Permission}


def _to_sign_in(request: Request) -> Response:
    if request.method not in ("GET", "HEAD"):
        raise refuse(
            Code.UNAUTHORIZED,
            "You are not signed in any more, so nothing was done.",
            "Sign in in another tab, come back and send it again: what you wrote is still there.",
        )
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    exchange_of(request.scope).outcome = Code.UNAUTHORIZED.value
    return RedirectResponse(f"{SIGN_IN}?next={quote(here, safe='')}", 303, headers={"Cache-Control": "no-store"})


def _forged() -> TocsinError:
    return refuse(
        Code.FORBIDDEN,
        "This form was not shown in this session, so nothing was done.",
        "Open the page again and send the form from there.",
    )
