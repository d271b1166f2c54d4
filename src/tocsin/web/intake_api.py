"""Intake: Tocsin's own JSON, and what Sentry's SDKs send. The answer is 2xx only after the commit."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from tocsin import ids
from tocsin.app.accounts import project_of_key
from tocsin.app.report_errors import Accepted, accept
from tocsin.domain.report import MAX_REPORT_BYTES, ErrorReport
from tocsin.errors import Code, TocsinError, refuse
from tocsin.intake import Rejected, native, sentry
from tocsin.intake.decoding import decode_body
from tocsin.intake.sentry import Envelope
from tocsin.web.authentication import bearer_token
from tocsin.web.documents import AcceptedDocument, IntakeAnswer, RejectedDocument, SentryAnswer
from tocsin.web.endpoint import Call
from tocsin.web.problems import problem_response
from tocsin.web.reading import read_body

log = structlog.get_logger()

MAX_REQUEST_BYTES = 20_971_520
"""One request, compressed as well as decompressed."""
MAX_KEY_CHARACTERS = 200
_IN_PLACE_BYTES = 65_536
"""Larger bodies are read in a thread, so that nobody else waits for it."""
_PROJECT = re.compile(r"[0-9]{1,9}")
_CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Retry-After, X-Request-Id"}
_PREFLIGHT = {
    **_CORS,
    "Access-Control-Allow-Methods": "POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Encoding, Content-Type, X-Sentry-Auth",
    "Access-Control-Max-Age": "3600",
}

T = TypeVar("T")


async def errors(call: Call) -> Response:
    """Take in one report, an array of them, or one on each line."""
    request = call.request
    project_id = await _project_of(call, _native_key(request))
    body = await _body(request, MAX_REQUEST_BYTES)
    outcomes = await _parsed(body, lambda: _native_reports(call, body))
    accepted = await _take_in(call, project_id, outcomes)
    rejected = [item for item in outcomes if isinstance(item, Rejected)]
    if not accepted:
        raise _none_of_them(rejected)
    answer = IntakeAnswer(
        [AcceptedDocument(one.event_id, one.outcome, one.incident_id) for one in accepted], _shown(rejected)
    )
    return Response(msgspec.json.encode(answer), 201, media_type="application/json")


def _native_key(request: Request) -> str | None:
    header = request.headers.get("authorization")
    return (
        (bearer_token(header) if header else None)
        or request.headers.get("x-tocsin-key")
        or request.query_params.get("key")
        or _sentry_key(request)
    )


def _native_reports(call: Call, body: bytes) -> list[ErrorReport | Rejected]:
    outcomes = native.parse(
        body,
        call.request.headers.get("content-type", ""),
        received_at=call.services.app.clock(),
        new_event_id=_event_ids(call.request.headers.get("idempotency-key")),
    )
    # Of a batch each report is cut to what is kept; one that is alone and as large as this is a mistake worth telling.
    if len(outcomes) == 1 and len(body) > MAX_REPORT_BYTES:
        raise refuse(
            Code.TOO_LARGE,
            f"The report is larger than {MAX_REPORT_BYTES:,} bytes.",
            "Send less context with it.",
            limitBytes=MAX_REPORT_BYTES,
        )
    return outcomes


async def envelope(call: Call) -> Response:
    """Take in a Sentry envelope."""
    return await _with_cors(call, _envelope)


async def _envelope(call: Call) -> Response:
    project_id = _named_project(call)
    key = _sentry_key(call.request)
    if key is not None:
        await _check_project(call, key, project_id)
    # Whoever names the key only in the body has not been let in yet: they get less room.
    body = await _body(call.request, MAX_REQUEST_BYTES if key else MAX_REPORT_BYTES)
    if key is None:
        await _check_project(call, sentry.parse_auth(None, None, sentry.envelope_dsn(body)), project_id)
    received_at = call.services.app.clock()
    read = await _parsed(body, lambda: sentry.parse_envelope(body, received_at=received_at, new_event_id=_new_event_id))
    _count_losses(call, project_id, read)
    return await _sentry_answer(call, project_id, read.event_id, read.reports)


async def store(call: Call) -> Response:
    """Take in one event, as older Sentry SDKs send it."""
    return await _with_cors(call, _store)


async def _store(call: Call) -> Response:
    project_id = _named_project(call)
    await _check_project(call, _sentry_key(call.request), project_id)
    body = await _body(call.request, MAX_REPORT_BYTES)
    received_at = call.services.app.clock()
    report = await _parsed(body, lambda: sentry.parse_store(body, received_at=received_at, new_event_id=_new_event_id))
    return await _sentry_answer(call, project_id, report.event_id, [report])


async def preflight(_: Call) -> Response:
    """Tell a browser that any page may report its errors here."""
    return Response(status_code=204, headers=_PREFLIGHT)


async def _with_cors(call: Call, answer: Callable[[Call], Awaitable[Response]]) -> Response:
    """Answer so that a page's script may read it, refusals too."""
    try:
        response = await answer(call)
    except TocsinError as error:
        response = problem_response(error.refusal, call.request.scope)
    response.headers.update(_CORS)
    return response


async def _sentry_answer(
    call: Call, project_id: int, event_id: str, outcomes: Sequence[ErrorReport | Rejected]
) -> Response:
    accepted = await _take_in(call, project_id, outcomes)
    rejected = [item for item in outcomes if isinstance(item, Rejected)]
    if rejected and not accepted:
        raise _none_of_them(rejected)
    answer = SentryAnswer(event_id, _shown(rejected))
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _count_losses(call: Call, project_id: int, read: Envelope) -> None:
    """Make known what the SDK itself dropped: nobody else will ever hear of it."""
    metrics = call.services.metrics
    for loss in read.client_reports:
        metrics.lost(loss.reason, loss.quantity)
        log.warning(
            "intake.client_lost_events",
            project=project_id,
            reason=loss.reason,
            category=loss.category,
            quantity=loss.quantity,
        )
    metrics.ignored(sum(read.others.values()))


async def _take_in(call: Call, project_id: int, outcomes: Sequence[ErrorReport | Rejected]) -> list[Accepted]:
    batch = [item for item in outcomes if isinstance(item, ErrorReport)]
    accepted = await accept(call.services.app, project_id, batch) if batch else []
    call.services.metrics.reports([one.outcome.value for one in accepted] + ["rejected"] * (len(outcomes) - len(batch)))
    return accepted


def _none_of_them(rejected: Sequence[Rejected]) -> TocsinError:
    return refuse(
        Code.INVALID,
        f"Nothing was accepted: {rejected[0].reason}" if rejected else "Nothing was accepted.",
        "Each entry of `errors` names one report by its place in the request, from 0.",
        errors=[{"field": f"[{item.index}]", "problem": item.reason} for item in rejected],
    )


def _shown(rejected: Sequence[Rejected]) -> list[RejectedDocument]:
    return [RejectedDocument(item.index, item.reason) for item in rejected]


def _sentry_key(request: Request) -> str | None:
    return sentry.parse_auth(request.headers.get("x-sentry-auth"), request.query_params.get("sentry_key"))


def _named_project(call: Call) -> int:
    text = call.path("project")
    if not _PROJECT.fullmatch(text):
        raise refuse(Code.NOT_FOUND, f"There is no project {text[:50]!r}.", "A project's id is a number: see the DSN.")
    return int(text)


async def _check_project(call: Call, key: str | None, project_id: int) -> None:
    if await _project_of(call, key) != project_id:
        raise refuse(
            Code.FORBIDDEN,
            f"This key does not open project {project_id}.",
            "Use the DSN exactly as it was given: key and project belong together.",
        )


async def _project_of(call: Call, key: str | None) -> int:
    if key and len(key) <= MAX_KEY_CHARACTERS:
        async with call.services.app.work() as work:
            project_id = await project_of_key(work, key)
        if project_id is not None:
            return project_id
    raise refuse(
        Code.UNAUTHORIZED,
        "There is no intake key, or it opens no project.",
        "Send it as `Authorization: Bearer KEY`, X-Tocsin-Key, ?key=, or as a Sentry DSN.",
    )


async def _body(request: Request, limit: int) -> bytes:
    """Return the decompressed body: at most `limit` bytes, as it is sent and as it is read."""
    body = await read_body(request, limit)
    encoding = request.headers.get("content-encoding", "")
    return await asyncio.to_thread(decode_body, body, encoding, limit) if encoding else body


async def _parsed(body: bytes, parse: Callable[[], T]) -> T:
    return parse() if len(body) <= _IN_PLACE_BYTES else await asyncio.to_thread(parse)


def _new_event_id() -> str:
    return ids.new_id().hex


def _event_ids(key: str | None) -> Callable[[], str]:
    """Return what names reports that come without an id: by an Idempotency-Key and their order, or else by chance."""
    if not key:
        return _new_event_id
    numbers = itertools.count()
    return lambda: hashlib.sha256(f"{key} {next(numbers)}".encode("utf-8", "replace")).hexdigest()[:32]
