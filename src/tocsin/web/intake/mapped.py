"""JSON of others: whatever a program sends, read with the field mapping of its project, bare or as CloudEvents.

CloudEvents are answered with an empty 204: a broker (Knative's, for one) takes any other body than an event for a
failure, and delivers again what was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.responses import Response

from tocsin.app.report_errors import Accepted
from tocsin.domain.project import Project
from tocsin.domain.report import ErrorReport
from tocsin.intake import Rejected
from tocsin.intake import cloudevents as events
from tocsin.intake.generic import GUESSED, parse_generic
from tocsin.web.documents import AlertsAnswer
from tocsin.web.endpoint import Call
from tocsin.web.intake.door import (
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

GENERIC = "generic"
CLOUDEVENTS = "cloudevents"

Items = Sequence[ErrorReport | Rejected]


async def generic(call: Call) -> Response:
    """Take in any JSON."""

    def parse(project: Project, body: bytes) -> Items:
        mapping = project.field_mapping or GUESSED
        return parse_generic(body, mapping, received_at=call.services.app.clock(), new_event_id=event_ids(call.request))

    return _answer(*await _taken(call, GENERIC, parse))


async def cloudevents(call: Call) -> Response:
    """Take in CloudEvents: one, a batch, or one whose attributes are headers."""
    headers = call.request.headers

    def parse(project: Project, body: bytes) -> Items:
        return events.parse(
            body,
            headers.get("content-type", ""),
            headers,
            project.field_mapping,
            received_at=call.services.app.clock(),
            new_event_id=event_ids(call.request),
        )

    accepted, outcomes = await _taken(call, CLOUDEVENTS, parse)
    return Response(status_code=204) if len(accepted) == len(outcomes) else _answer(accepted, outcomes)


async def _taken(call: Call, protocol: str, parse: Callable[[Project, bytes], Items]) -> tuple[list[Accepted], Items]:
    project = await project_of(call, key_of(call.request))
    async with entered(call, project, protocol):
        body = await intake_body(call.request)
        outcomes = await parsed(body, lambda: parse(project, body))
        accepted = await take_in(call, project, outcomes, protocol)
        if outcomes and not accepted:
            raise nothing_accepted(outcomes)
    return accepted, outcomes


def _answer(accepted: Sequence[Accepted], outcomes: Items) -> Response:
    return JsonAnswer(AlertsAnswer(len(accepted), shown(outcomes)))
