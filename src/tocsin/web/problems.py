"""Refusals as `application/problem+json` (RFC 9457), and the boundary at which exceptions become answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
import structlog
from msgspec import Meta
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tocsin.app.report_internal import report_internal
from tocsin.app.work import App
from tocsin.errors import Code, Refusal, TocsinError, refuse
from tocsin.web.exchange import Exchange, exchange_of, find_exchange

log = structlog.get_logger()

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5
"""What a client is told to wait when the refusal does not know better."""
MAX_REPORTED_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class Kind:
    """How a code is answered: the HTTP status, and a title that never changes."""

    status: int
    title: str


KINDS: dict[Code, Kind] = {
    Code.MALFORMED: Kind(400, "The request cannot be read"),
    Code.UNAUTHORIZED: Kind(401, "Who are you?"),
    Code.FORBIDDEN: Kind(403, "Not allowed"),
    Code.SESSION_BLOCKED: Kind(403, "An unacknowledged incident blocks this session"),
    Code.NOT_FOUND: Kind(404, "There is no such thing"),
    Code.METHOD_NOT_ALLOWED: Kind(405, "Not with this method"),
    Code.ALREADY_ACKNOWLEDGED: Kind(409, "Acknowledged already"),
    Code.NOT_ACKNOWLEDGED: Kind(409, "Not acknowledged yet"),
    Code.ALREADY_RECORDED: Kind(409, "Recorded already"),
    Code.NO_ROOT_CAUSE: Kind(409, "No root cause is recorded"),
    Code.ALREADY_RESOLVED: Kind(409, "Resolved already"),
    Code.NOT_RESOLVED: Kind(409, "Not resolved yet"),
    Code.ALREADY_CLOSED: Kind(409, "Closed already"),
    Code.CONTEXT_REQUIRED: Kind(409, "Lessons and follow-up actions are required"),
    Code.CONFLICT: Kind(409, "In conflict with what there is"),
    Code.TOO_LARGE: Kind(413, "Too large"),
    Code.UNSUPPORTED_MEDIA_TYPE: Kind(415, "Not a format that is understood here"),
    Code.INVALID: Kind(422, "Some of it is not valid"),
    Code.RATE_LIMITED: Kind(429, "Too many attempts"),
    Code.INTERNAL: Kind(500, "A failure of Tocsin itself"),
    Code.UNAVAILABLE: Kind(503, "Not available at the moment"),
    Code.MISCONFIGURED: Kind(503, "The server is not set up for this"),
}


class FieldError(msgspec.Struct):
    """What is wrong with one field."""

    field: str
    problem: str


class Problem(msgspec.Struct, rename="camel"):
    """A problem (RFC 9457). Programs match on `code`; some codes bring members of their own."""

    type: str
    title: str
    status: int
    detail: str
    code: Code
    request_id: str | msgspec.UnsetType = msgspec.UNSET
    hint: Annotated[str, Meta(description="What to do next.")] | msgspec.UnsetType = msgspec.UNSET
    errors: list[FieldError] | msgspec.UnsetType = msgspec.UNSET


def type_of(code: Code) -> str:
    """Return the URI reference of a code: its paragraph in the documentation."""
    return f"/docs#{anchor_of(code)}"


def anchor_of(code: Code) -> str:
    """Return a code as it is written in a URI."""
    return code.value.lower().replace("_", "-")


def problem_response(refusal: Refusal, scope: Scope) -> Response:
    """Return the answer for a refusal, and note its code as the outcome of the exchange."""
    kind = KINDS[refusal.code]
    document: dict[str, object] = {
        "type": type_of(refusal.code),
        "title": kind.title,
        "status": kind.status,
        "detail": refusal.message,
        "code": refusal.code,
    }
    # The session guard also stands in applications that know no exchange.
    if (exchange := find_exchange(scope)) is not None:
        exchange.outcome = refusal.code.value
        document["requestId"] = str(exchange.request_id)
    if refusal.hint:
        document["hint"] = refusal.hint
    body = msgspec.json.encode(refusal.details | document)
    return Response(body, kind.status, headers_of(refusal), CONTENT_TYPE)


def headers_of(refusal: Refusal) -> dict[str, str]:
    """Return the headers that belong to the status of a refusal."""
    status = KINDS[refusal.code].status
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    if status in (429, 503):
        return {"Retry-After": str(refusal.details.get("retryAfterSeconds", RETRY_AFTER_SECONDS))}
    if status == 405:
        return {"Allow": str(refusal.details.get("allow", ""))}
    return {}


class ProblemBoundary:
    """Turns exceptions into answers. What nobody expected is logged, and reported as an incident of Tocsin's own."""

    def __init__(self, app: ASGIApp, *, tocsin: App) -> None:
        self._app = app
        self._tocsin = tocsin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and answer for what is raised."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            # The route and not the path, which may be a credential.
            log.info("http.client_gone", route=exchange_of(scope).route)
        except TocsinError as error:
            if started:
                raise
            await problem_response(error.refusal, scope)(scope, receive, send)
        except Exception as error:
            exchange = exchange_of(scope)
            log.exception("http.failed", route=exchange.route, request_id=str(exchange.request_id))
            await self._report(scope, exchange, error)
            if started:
                raise
            await problem_response(_internal().refusal, scope)(scope, receive, send)

    async def _report(self, scope: Scope, exchange: Exchange, error: Exception) -> None:
        """Report our own failure, as far as possible: the first one matters more than this one."""
        told = f"{scope['method']} {exchange.route} ({exchange.request_id}): {type(error).__name__}: {error}"
        message = told.replace("\x00", "�").encode("utf-8", "replace").decode()[:MAX_REPORTED_CHARACTERS]
        try:
            async with self._tocsin.work() as work:
                await report_internal(work, type(error).__name__, message)
        except Exception:
            log.exception("http.failure_not_reported", request_id=str(exchange.request_id))


def _internal() -> TocsinError:
    return refuse(
        Code.INTERNAL,
        "The server failed at this request. It has been reported as an incident of project `tocsin`.",
        "Name the requestId to who runs this server: its log tells what happened.",
    )
