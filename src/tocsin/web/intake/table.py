"""The endpoints of intake: what can be sent, and where. Pages' scripts may use every one of them."""

from __future__ import annotations

from tocsin.errors import Code
from tocsin.web.documents import AlertsAnswer, IntakeAnswer, SentryAnswer, SessionBlockAnswer
from tocsin.web.endpoint import Access, Directly, Endpoint
from tocsin.web.intake import alerts, guard, mapped, native, otlp, sentry
from tocsin.web.intake.door import preflight

_INTAKE_CODES = (
    Code.MALFORMED,
    Code.UNAUTHORIZED,
    Code.TOO_LARGE,
    Code.UNSUPPORTED_MEDIA_TYPE,
    Code.INVALID,
    Code.UNAVAILABLE,
)
_SENTRY_CODES = (*_INTAKE_CODES, Code.FORBIDDEN, Code.NOT_FOUND)

_DOORS: tuple[Endpoint, ...] = (
    Endpoint(
        "POST",
        "/api/v1/errors",
        "Report errors",
        Access.INTAKE,
        Directly(native.errors),
        "One object, an array, or one object a line. The same `eventId` twice is once. Of several reports the wrong "
        "ones are named in `rejected`; the others are accepted.",
        response=IntakeAnswer,
        status=201,
        codes=_INTAKE_CODES,
        raw=(
            "application/json",
            "A report, or an array of reports; `application/x-ndjson` with one a line. "
            "May be compressed: gzip, deflate, br, zstd.",
        ),
        tag="Intake",
    ),
    Endpoint(
        "POST",
        "/api/v1/alertmanager",
        "Take in a notification of Alertmanager",
        Access.INTAKE,
        Directly(alerts.webhook),
        "Alertmanager's webhook, version 4. A resolved alert is an entry in the timeline and closes nothing.",
        response=AlertsAnswer,
        codes=_INTAKE_CODES,
        raw=("application/json", '`{"alerts": […]}`.'),
        tag="Intake",
    ),
    Endpoint(
        "POST",
        "/api/v1/grafana",
        "Take in a notification of Grafana's alerting",
        Access.INTAKE,
        Directly(alerts.grafana_webhook),
        "A webhook contact point with its default payload. A resolved alert is an entry in the timeline and closes "
        "nothing.",
        response=AlertsAnswer,
        codes=_INTAKE_CODES,
        raw=("application/json", '`{"alerts": […]}`.'),
        tag="Intake",
    ),
    Endpoint(
        "POST",
        "/api/v1/generic",
        "Take in any JSON",
        Access.INTAKE,
        Directly(mapped.generic),
        "The project's field mapping says what stands where; without one the usual names are tried (`message`, "
        "`severity`, `level`, …). What no field takes is kept in the report's context.",
        response=AlertsAnswer,
        codes=_INTAKE_CODES,
        raw=("application/json", "An object, an array of them, or whatever the field mapping reads."),
        tag="Intake",
    ),
    Endpoint(
        "POST",
        "/api/v1/cloudevents",
        "Take in CloudEvents",
        Access.INTAKE,
        Directly(mapped.cloudevents),
        "Version 1.0: structured, batched or binary. The data is read as at `/api/v1/generic`; `source` and `id` "
        "together are the event's id. The answer is empty, or brokers would take it for an event; only a batch of "
        "which a part was rejected is answered with a 200 that names it.",
        partly=AlertsAnswer,
        status=204,
        codes=_INTAKE_CODES,
        raw=(
            "application/cloudevents+json",
            "An event; a batch as `application/cloudevents-batch+json`; or any data, with the attributes in headers "
            "that begin with `ce-`.",
        ),
        tag="Intake",
    ),
    Endpoint(
        "POST",
        "/api/v2/alerts",
        "Take in alerts from Prometheus itself",
        Access.INTAKE,
        Directly(alerts.alerts),
        "Name this server among Prometheus' alertmanagers. An alert that is not repeated until its `endsAt` is over.",
        response=AlertsAnswer,
        codes=_INTAKE_CODES,
        raw=("application/json", "An array of alerts."),
        tag="Intake",
    ),
    Endpoint(
        "POST",
        "/v2/enqueue",
        "Take in an event as PagerDuty's Events API v2 does",
        Access.INTAKE,
        Directly(alerts.enqueue),
        "`routing_key` is the project's intake key. An event that is not valid is answered with 400, as there.",
        status=202,
        codes=_INTAKE_CODES,
        raw=("application/json", "`trigger`, `acknowledge` or `resolve`."),
        forms=("application/json",),
        tag="Intake",
    ),
    *(
        Endpoint(
            "POST",
            f"/v1/{kind}",
            f"Take in OpenTelemetry {kind}",
            Access.INTAKE,
            Directly(handler),
            "OTLP over HTTP, protobuf or JSON, answered in the same form; at most 4 MiB, decompressed.",
            codes=_INTAKE_CODES,
            raw=("application/json", f"{what}; or the same as `application/x-protobuf`."),
            forms=("application/json", "application/x-protobuf"),
            tag="Intake",
        )
        for kind, handler, what in (
            ("logs", otlp.logs, "ExportLogsServiceRequest: every record is a report"),
            ("traces", otlp.traces, "ExportTraceServiceRequest: the `exception` events of its spans are reports"),
        )
    ),
    Endpoint(
        "POST",
        "/api/{project}/envelope/",
        "Take in a Sentry envelope",
        Access.INTAKE,
        Directly(sentry.envelope),
        "Point any Sentry SDK here: the DSN is `http://KEY@HOST:PORT/PROJECT`.",
        response=SentryAnswer,
        codes=_SENTRY_CODES,
        also=("/api/{project}/envelope",),
        raw=("text/plain", "A header line, then items of a header line and a payload each."),
        tag="Intake",
    ),
    Endpoint(
        "POST",
        "/api/{project}/store/",
        "Take in a Sentry event",
        Access.INTAKE,
        Directly(sentry.store),
        "What older Sentry SDKs use.",
        response=SentryAnswer,
        codes=_SENTRY_CODES,
        also=("/api/{project}/store",),
        raw=("application/json", "A Sentry event."),
        tag="Intake",
    ),
)

INTAKE: tuple[Endpoint, ...] = (
    *_DOORS,
    *(
        Endpoint(
            "OPTIONS",
            door.path,
            "Let any page's script report its errors",
            Access.PUBLIC,
            Directly(preflight),
            status=204,
            also=door.also,
            tag="Intake",
        )
        for door in _DOORS
    ),
    Endpoint(
        "GET",
        "/api/v1/session-block",
        "Does a critical incident block sessions?",
        Access.INTAKE,
        Directly(guard.session_block),
        "For the session guard of `tocsin_sdk`; with If-None-Match it is answered 304 while nothing changes.",
        response=SessionBlockAnswer,
        codes=(Code.UNAUTHORIZED, Code.UNAVAILABLE),
        tag="Intake",
    ),
)
"""Every door, and the question of a browser whether its page may knock there."""
