"""Alerts: Alertmanager's and Grafana's webhooks, Prometheus' requests, PagerDuty's events, each answered in its way.

Alertmanager, Grafana and Prometheus try again on 5xx and give up on 4xx; PagerDuty's senders try again on 429 and 5xx,
and give up on 400.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response

from tocsin.domain.report import MAX_REPORT_BYTES, ErrorReport
from tocsin.errors import Code, TocsinError
from tocsin.intake import Rejected, alertmanager, grafana, pagerduty
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
    reject,
    shown,
    take_in,
    uncounted_while_away,
)
from tocsin.web.json_answer import JsonAnswer

ALERTMANAGER = "alertmanager"
PROMETHEUS = "prometheus"
GRAFANA = "grafana"
PAGERDUTY = "pagerduty"

_REFUSED = {Code.MALFORMED, Code.INVALID, Code.UNAUTHORIZED}
"""What PagerDuty answers with 400 and its own body."""


async def webhook(call: Call) -> Response:
    """Take in a notification of Alertmanager."""
    return await _alerts(call, ALERTMANAGER, alertmanager.parse_webhook)


async def alerts(call: Call) -> Response:
    """Take in alerts as Prometheus sends them to an Alertmanager."""
    return await _alerts(call, PROMETHEUS, alertmanager.parse_alerts)


async def grafana_webhook(call: Call) -> Response:
    """Take in a notification of Grafana's alerting."""
    return await _alerts(call, GRAFANA, grafana.parse_webhook)


async def _alerts(call: Call, protocol: str, parse: Callable[..., list[ErrorReport | Rejected]]) -> Response:
    project = await project_of(call, key_of(call.request))
    async with entered(call, project, protocol):
        body = await intake_body(call.request)
        received_at, ids = call.services.app.clock(), event_ids(call.request)
        outcomes = await parsed(body, lambda: parse(body, received_at=received_at, new_event_id=ids))
        accepted = await take_in(call, project, outcomes, protocol)
        if outcomes and not accepted:
            raise nothing_accepted(outcomes)
    return JsonAnswer(AlertsAnswer(len(accepted), shown(outcomes)))


async def enqueue(call: Call) -> Response:
    """Take in one event as PagerDuty's Events API v2 does; the key is in the body."""
    try:
        answer = await _enqueue(call)
    except TocsinError as error:
        if error.refusal.code not in _REFUSED:
            raise
        call.exchange.outcome = error.refusal.code.value
        return JsonAnswer(pagerduty.invalid(error.refusal), 400)
    return JsonAnswer(answer, 202)


async def _enqueue(call: Call) -> dict[str, object]:
    body = await intake_body(call.request, MAX_REPORT_BYTES)
    ids = event_ids(call.request)
    try:
        event = pagerduty.parse_enqueue(body, received_at=call.services.app.clock(), new_event_id=ids)
    except TocsinError as error:
        await _enter_refused(call, pagerduty.routing_key_of(body), error)
        raise
    project = await project_of(call, event.routing_key)
    await take_in(call, project, [event.report], PAGERDUTY)
    return pagerduty.accepted(event.dedup_key)


async def _enter_refused(call: Call, key: str, refused: TocsinError) -> None:
    """Enter a refused event into the ledger of the project whose key it names, if it names one."""
    async with uncounted_while_away(PAGERDUTY):
        if key and (project := await call.services.keys.project(key)) is not None:
            await reject(call, project, PAGERDUTY, refused.refusal.code, 1)
