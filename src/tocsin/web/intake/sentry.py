"""What Sentry's SDKs send: envelopes, and the older store requests. They throw away what is refused, so little is."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import structlog
from starlette.responses import Response

from tocsin.app.report_errors import Accepted
from tocsin.domain.project import Project
from tocsin.domain.report import MAX_REPORT_BYTES
from tocsin.intake import sentry
from tocsin.intake.sentry import Envelope
from tocsin.web.documents import SentryAnswer
from tocsin.web.endpoint import Call
from tocsin.web.heartbeats_api import take_monitor_check_ins
from tocsin.web.intake.door import (
    Outcomes,
    entered,
    event_ids,
    intake_body,
    named_project,
    nothing_accepted,
    parsed,
    sentry_key_of,
    shown,
    take_in,
)
from tocsin.web.json_answer import JsonAnswer

log = structlog.get_logger()

PROTOCOL = "sentry"


async def envelope(call: Call) -> Response:
    """Take in a Sentry envelope."""
    key = sentry_key_of(call.request)
    project = await named_project(call, key) if key is not None else None
    if project is None:
        # Whoever names the key only in the body has not been let in yet: they get less room.
        body = await intake_body(call.request, MAX_REPORT_BYTES)
        project = await named_project(call, sentry.parse_auth(None, None, sentry.envelope_dsn(body)))
    else:
        async with entered(call, project, PROTOCOL):
            body = await intake_body(call.request)
    async with entered(call, project, PROTOCOL):
        received_at, ids = call.services.app.clock(), event_ids(call.request)
        read = await parsed(body, lambda: sentry.parse_envelope(body, received_at=received_at, new_event_id=ids))
        accepted = await take_in(call, project, read.arrivals, PROTOCOL)
        await _enter_losses(call, project, read, body)
        await take_monitor_check_ins(call, project.id, read.check_ins)
        return _answer(accepted, read.event_id, read.arrivals)


async def store(call: Call) -> Response:
    """Take in one event, as older Sentry SDKs send it."""
    project = await named_project(call, sentry_key_of(call.request))
    async with entered(call, project, PROTOCOL):
        body = await intake_body(call.request, MAX_REPORT_BYTES)
        received_at, ids = call.services.app.clock(), event_ids(call.request)
        report = await parsed(body, lambda: sentry.parse_store(body, received_at=received_at, new_event_id=ids))
        return _answer(await take_in(call, project, [report], PROTOCOL), report.event_id, [report])


def _answer(accepted: Sequence[Accepted], event_id: str, outcomes: Outcomes) -> Response:
    if outcomes and not accepted:
        raise nothing_accepted(outcomes)
    return JsonAnswer(SentryAnswer(event_id, shown(outcomes)))


async def _enter_losses(call: Call, project: Project, read: Envelope, body: bytes) -> None:
    """Enter what the SDK itself dropped into the ledger: nobody else will ever hear of it. The body tells copies."""
    losses: Counter[tuple[str, str]] = Counter()
    for loss in read.client_reports:
        losses[loss.reason, loss.category] += loss.quantity
    call.services.metrics.ignored(sum(read.others.values()))
    if losses:
        origin = hashlib.sha256(body).hexdigest()
        entered_losses = await call.services.intake.tell_losses(project, losses, origin)
        for (reason, _), quantity in entered_losses.items():
            call.services.metrics.lost(reason, quantity)
