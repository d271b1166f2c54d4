"""Alerts: Alertmanager's webhook, Prometheus' own requests, PagerDuty's events; each is answered as its sender expects.

Alertmanager and Prometheus try again on 5xx and give up on 4xx; PagerDuty's senders on 429 and 5xx, giving up on 400.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec
from starlette.responses import Response

from tocsin.domain.report import MAX_REPORT_BYTES, ErrorReport
from tocsin.errors import Code, TocsinError
from tocsin.intake import Rejected, alertmanager, pagerduty
from tocsin.web.documents import AlertsAnswer
from tocsin.web.endpoint import Call
from tocsin.web.intake.door import (
    entered,
    intake_body,
    key_of,
    new_event_id,
    nothing_accepted,
    parsed,
    project_of,
    shown,
    take_in,
)

ALERTMANAGER = "alertmanager"
PROMETHEUS = "prometheus"
PAGERDUTY = "pagerduty"

_REFUSED = {Code.MALFORMED, Code.INVALID, Code.UNAUTHORIZED}
"""What PagerDuty answers with 400 and its own body."""


async def webhook(call: Call) -> Response:
    """Take in a notification of Alertmanager."""
    return await _alerts(call, ALERTMANAGER, lambda body, at: alertmanager.parse_webhook(body, received_at=at))


async def alerts(call: Call) -> Response:
    """Take in alerts as Prometheus sends them to an Alertmanager."""
    return await _alerts(call, PROMETHEUS, lambda body, at: alertmanager.parse_alerts(body, received_at=at))


async def _alerts(
    call: Call, protocol: str, parse: Callable[[bytes, datetime], list[ErrorReport | Rejected]]
) -> Response:
    project = await project_of(call, key_of(call.request))
    async with entered(call, project, protocol):
        body = await intake_body(call.request)
        received_at = call.services.app.clock()
        outcomes = await parsed(body, lambda: parse(body, received_at))
        accepted = await take_in(call, project, outcomes, protocol)
        if outcomes and not accepted:
            raise nothing_accepted(outcomes)
    answer = AlertsAnswer(len(accepted), shown(outcomes))
    return Response(msgspec.json.encode(answer), media_type="application/json")


async def enqueue(call: Call) -> Response:
    """Take in one event as PagerDuty's Events API v2 does; the key is in the body."""
    try:
        answer = await _enqueue(call)
    except TocsinError as error:
        if error.refusal.code not in _REFUSED:
            raise
        return Response(msgspec.json.encode(pagerduty.invalid(error.refusal)), 400, media_type="application/json")
    return Response(msgspec.json.encode(answer), 202, media_type="application/json")


async def _enqueue(call: Call) -> dict[str, object]:
    body = await intake_body(call.request, MAX_REPORT_BYTES)
    event = pagerduty.parse_enqueue(body, received_at=call.services.app.clock(), new_event_id=new_event_id)
    project = await project_of(call, event.routing_key)
    await take_in(call, project, [event.report], PAGERDUTY)
    return pagerduty.accepted(event.dedup_key)
