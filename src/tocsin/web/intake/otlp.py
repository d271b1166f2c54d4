"""OpenTelemetry: OTLP over HTTP, logs and the exceptions of spans, protobuf or JSON.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp: the answer is in the request's own content type, what was
taken in part is a 200 that says so, and a sender tries again on 429, 502, 503 and 504 only.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from starlette.responses import Response

from tocsin.domain.report import ErrorReport
from tocsin.errors import TocsinError
from tocsin.intake import Rejected, otlp
from tocsin.web.endpoint import Call
from tocsin.web.intake.door import (
    entered,
    intake_body,
    key_of,
    new_event_id,
    parsed,
    project_of,
    take_in,
    with_cors,
)
from tocsin.web.problems import KINDS

PROTOCOL = "otlp"

Parse = Callable[..., list[ErrorReport | Rejected]]
Answer = Callable[[str, int, str], tuple[bytes, str]]


async def logs(call: Call) -> Response:
    """Take in log records."""
    return await with_cors(call, lambda call: _export(call, otlp.parse_logs, otlp.answer_logs))


async def traces(call: Call) -> Response:
    """Take in the exceptions that spans recorded."""
    return await with_cors(call, lambda call: _export(call, otlp.parse_traces, otlp.answer_traces))


async def _export(call: Call, parse: Parse, answer: Answer) -> Response:
    content_type = call.request.headers.get("content-type", "")
    try:
        outcomes = await _taken(call, parse, content_type, call.services.app.clock())
    except TocsinError as error:
        body, media_type = otlp.error_status(content_type, error.refusal.message)
        return Response(body, KINDS[error.refusal.code].status, media_type=media_type)
    rejected = [item for item in outcomes if isinstance(item, Rejected)]
    body, media_type = answer(content_type, len(rejected), rejected[0].reason if rejected else "")
    return Response(body, media_type=media_type)


async def _taken(call: Call, parse: Parse, content_type: str, received_at: datetime) -> list[ErrorReport | Rejected]:
    project = await project_of(call, key_of(call.request))
    async with entered(call, project, PROTOCOL):
        body = await intake_body(call.request)
        outcomes = await parsed(
            body, lambda: parse(body, content_type, received_at=received_at, new_event_id=new_event_id)
        )
        await take_in(call, project, outcomes, PROTOCOL)
    return outcomes
