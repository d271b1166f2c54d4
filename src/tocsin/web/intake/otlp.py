"""OpenTelemetry: OTLP over HTTP, logs and the exceptions of spans, protobuf or JSON.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp: the answer is in the request's own content type, what was
taken in part is a 200 that says so, and a sender tries again on 429, 502, 503 and 504 only.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from starlette.responses import Response

from tocsin.domain.arrival import Arrival
from tocsin.errors import Code, Refusal, TocsinError
from tocsin.intake import Rejected, otlp
from tocsin.web.endpoint import Call
from tocsin.web.intake.door import (
    entered,
    event_ids,
    intake_body,
    key_of,
    parsed,
    project_of,
    take_in,
)
from tocsin.web.problems import problem_response
from tocsin.web.reading import header_of

PROTOCOL = "otlp"
MAX_OTLP_BYTES = 4_194_304
"""One export, compressed as well as decompressed: what protobuf makes of it takes many times its size."""

Parse = Callable[..., list[Arrival | Rejected]]
Answer = Callable[[str, int, str], tuple[bytes, str]]


async def logs(call: Call) -> Response:
    """Take in log records."""
    return await _export(call, otlp.parse_logs, otlp.answer_logs)


async def traces(call: Call) -> Response:
    """Take in the exceptions that spans recorded."""
    return await _export(call, otlp.parse_traces, otlp.answer_traces)


async def _export(call: Call, parse: Parse, answer: Answer) -> Response:
    content_type = header_of(call.request, b"content-type") or ""
    try:
        outcomes = await _taken(call, parse, content_type, call.services.app.clock())
    except TocsinError as error:
        return _refused(call, content_type, error.refusal)
    rejected = [item for item in outcomes if isinstance(item, Rejected)]
    body, media_type = answer(content_type, len(rejected), rejected[0].reason if rejected else "")
    return Response(body, media_type=media_type)


def _refused(call: Call, content_type: str, refusal: Refusal) -> Response:
    """Answer a refusal. Data that are wrong are a 400, however they are wrong; a 503 says when to come back."""
    problem = problem_response(refusal, call.request.scope)
    status = 400 if refusal.code is Code.INVALID else problem.status_code
    body, media_type = otlp.error_status(content_type, refusal.message)
    headers = {name: value for name, value in problem.headers.items() if name == "retry-after"}
    return Response(body, status, headers, media_type)


async def _taken(call: Call, parse: Parse, content_type: str, received_at: datetime) -> list[Arrival | Rejected]:
    project = await project_of(call, key_of(call.request))
    ids = event_ids(call.request)
    async with entered(call, project, PROTOCOL):
        body = await intake_body(call.request, MAX_OTLP_BYTES)
        outcomes = await parsed(body, lambda: parse(body, content_type, received_at=received_at, new_event_id=ids))
        await take_in(call, project, outcomes, PROTOCOL)
    return outcomes
