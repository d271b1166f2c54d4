"""Tocsin's own JSON: one report, an array of them, or one on each line."""

from __future__ import annotations

from starlette.responses import Response

from tocsin.domain.report import MAX_REPORT_BYTES
from tocsin.errors import Code, refuse
from tocsin.intake import native
from tocsin.web.documents import AcceptedDocument, IntakeAnswer
from tocsin.web.endpoint import Call
from tocsin.web.intake.door import (
    Outcomes,
    entered,
    event_ids,
    intake_body,
    key_of,
    nothing_accepted,
    parsed,
    project_of,
    shown,
    take_in,
)
from tocsin.web.json_answer import JsonAnswer
from tocsin.web.reading import header_of

PROTOCOL = "native"


async def errors(call: Call) -> Response:
    """Take in one report, an array of them, or one on each line."""
    project = await project_of(call, key_of(call.request))
    async with entered(call, project, PROTOCOL):
        body = await intake_body(call.request)
        outcomes = await parsed(body, lambda: _reports(call, body))
        accepted = await take_in(call, project, outcomes, PROTOCOL)
        if not accepted:
            raise nothing_accepted(outcomes)
    known = [AcceptedDocument(one.event_id, one.outcome, one.incident_id) for one in accepted]
    return JsonAnswer(IntakeAnswer(known, shown(outcomes)), 201)


def _reports(call: Call, body: bytes) -> Outcomes:
    outcomes = native.parse(
        body,
        header_of(call.request, b"content-type") or "",
        received_at=call.services.app.clock(),
        new_event_id=event_ids(call.request),
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
