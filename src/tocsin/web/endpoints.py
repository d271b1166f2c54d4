"""The one table of everything that this server answers: routes and documentation are made from it alone."""

from __future__ import annotations

from tocsin.domain.access import Permission
from tocsin.errors import Code
from tocsin.web import auth_api, incidents_api, intake_api, operations_api
from tocsin.web.documents import (
    AcknowledgeBody,
    CloseBody,
    EscalateAnswer,
    EscalateBody,
    EscalationStatsAnswer,
    HealthAnswer,
    IncidentAnswer,
    IncidentDetailAnswer,
    IncidentListAnswer,
    IntakeAnswer,
    ListQuery,
    NoteBody,
    Nothing,
    OpenBody,
    ReadinessAnswer,
    ResolveBody,
    RootCauseAnswer,
    RootCauseBody,
    SentryAnswer,
    SessionAnswer,
    SeverityBody,
    SignInAnswer,
    SignInBody,
    StatsAnswer,
)
from tocsin.web.endpoint import Access, Directly, Endpoint, InTransaction

_INTAKE_CODES = (
    Code.MALFORMED,
    Code.UNAUTHORIZED,
    Code.TOO_LARGE,
    Code.UNSUPPORTED_MEDIA_TYPE,
    Code.INVALID,
    Code.UNAVAILABLE,
)
_SENTRY_CODES = (*_INTAKE_CODES, Code.FORBIDDEN, Code.NOT_FOUND)


def _incidents(prefix: str, tag: str, read: Permission, respond: Permission) -> tuple[Endpoint, ...]:
    """Return the incidents' endpoints under one prefix; they stand twice, for different people."""
    one = f"{prefix}/{{id}}"
    return (
        Endpoint(
            "GET",
            prefix,
            "List incidents",
            read,
            InTransaction(incidents_api.list_incidents),
            "Newest first. Go on with `cursor` = `pagination.next`, which is null on the last page.",
            query=ListQuery,
            lists=frozenset({"status", "severity"}),
            response=IncidentListAnswer,
            tag=tag,
        ),
        Endpoint(
            "POST",
            prefix,
            "Open an incident by hand",
            respond,
            InTransaction(incidents_api.open_by_hand),
            "For what a person saw, or (`errorId`) for a report that was only recorded.",
            request=OpenBody,
            response=IncidentAnswer,
            status=201,
            codes=(Code.NOT_FOUND, Code.CONFLICT),
            tag=tag,
        ),
        Endpoint(
            "GET",
            f"{prefix}/stats",
            "Count the open incidents",
            read,
            InTransaction(incidents_api.stats),
            response=StatsAnswer,
            tag=tag,
        ),
        Endpoint(
            "GET",
            f"{prefix}/stats/escalations",
            "Count the escalations of the last 24 hours by reason",
            read,
            InTransaction(incidents_api.escalation_stats),
            response=EscalationStatsAnswer,
            tag=tag,
        ),
        Endpoint(
            "GET",
            one,
            "Show an incident, whole",
            read,
            InTransaction(incidents_api.show),
            response=IncidentDetailAnswer,
            codes=(Code.NOT_FOUND,),
            tag=tag,
        ),
        *_workflow(one, tag, respond),
        *_beyond(one, tag, read, respond),
    )


def _workflow(one: str, tag: str, respond: Permission) -> tuple[Endpoint, ...]:
    return (
        Endpoint(
            "POST",
            f"{one}/acknowledge",
            "Acknowledge: say that you have it",
            respond,
            InTransaction(incidents_api.acknowledge),
            "Once. Who comes second is told who was first.",
            request=AcknowledgeBody,
            response=IncidentAnswer,
            codes=(Code.NOT_FOUND, Code.ALREADY_ACKNOWLEDGED),
            tag=tag,
        ),
        Endpoint(
            "POST",
            f"{one}/investigate",
            "Start the investigation",
            respond,
            InTransaction(incidents_api.investigate),
            "Recording a root cause starts it too.",
            request=Nothing,
            response=IncidentAnswer,
            codes=(Code.NOT_FOUND, Code.NOT_ACKNOWLEDGED, Code.ALREADY_RECORDED),
            tag=tag,
        ),
        Endpoint(
            "POST",
            f"{one}/root-cause",
            "Record the root cause",
            respond,
            InTransaction(incidents_api.record_root_cause),
            "Once, after the acknowledgment.",
            request=RootCauseBody,
            response=RootCauseAnswer,
            codes=(Code.NOT_FOUND, Code.NOT_ACKNOWLEDGED, Code.ALREADY_RECORDED),
            tag=tag,
        ),
        Endpoint(
            "POST",
            f"{one}/resolve",
            "Resolve: say that it is over, and how",
            respond,
            InTransaction(incidents_api.resolve),
            "With lessons learned and follow-up actions it closes in the same transaction.",
            request=ResolveBody,
            response=IncidentAnswer,
            codes=(Code.NOT_FOUND, Code.NOT_ACKNOWLEDGED, Code.NO_ROOT_CAUSE, Code.ALREADY_RESOLVED),
            tag=tag,
        ),
        Endpoint(
            "POST",
            f"{one}/close",
            "Close with lessons learned and follow-up actions",
            respond,
            InTransaction(incidents_api.close),
            "What the resolution brought already need not be said again.",
            request=CloseBody,
            response=IncidentAnswer,
            codes=(Code.NOT_FOUND, Code.NOT_RESOLVED, Code.ALREADY_CLOSED, Code.CONTEXT_REQUIRED),
            tag=tag,
        ),
    )


def _beyond(one: str, tag: str, read: Permission, respond: Permission) -> tuple[Endpoint, ...]:
    return (
        Endpoint(
            "POST",
            f"{one}/notes",
            "Add a note",
            respond,
            InTransaction(incidents_api.add_note),
            request=NoteBody,
            response=IncidentAnswer,
            codes=(Code.NOT_FOUND,),
            tag=tag,
        ),
        Endpoint(
            "POST",
            f"{one}/escalate",
            "Escalate to a named person",
            respond,
            InTransaction(incidents_api.escalate_by_hand),
            request=EscalateBody,
            response=EscalateAnswer,
            codes=(Code.NOT_FOUND, Code.ALREADY_CLOSED),
            tag=tag,
        ),
        Endpoint(
            "POST",
            f"{one}/severity",
            "Change the current severity",
            respond,
            InTransaction(incidents_api.change_severity),
            "A rise is told to the on-call. The severity that it was opened with stays on record.",
            request=SeverityBody,
            response=IncidentAnswer,
            codes=(Code.NOT_FOUND, Code.ALREADY_CLOSED, Code.ALREADY_RECORDED),
            tag=tag,
        ),
        Endpoint(
            "POST",
            f"{one}/escalations/{{escalationId}}/acknowledge",
            "Say that an escalation arrived",
            # Whoever it went to may say so, also who may only read; the use case lets nobody else.
            read,
            InTransaction(incidents_api.acknowledge_escalation),
            "Only the one to whom it went.",
            request=Nothing,
            response=IncidentAnswer,
            codes=(Code.NOT_FOUND, Code.ALREADY_ACKNOWLEDGED),
            tag=tag,
        ),
    )


_AUTH = (
    Endpoint(
        "POST",
        "/api/auth/sign-in",
        "Sign in with e-mail and password",
        Access.PUBLIC,
        Directly(auth_api.sign_in),
        "The session comes as a cookie; unsafe requests with it must bring `csrfToken` as X-CSRF-Token. "
        "Every sign-in opens its own session, so Idempotency-Key means nothing here.",
        request=SignInBody,
        response=SignInAnswer,
        codes=(Code.UNAUTHORIZED, Code.RATE_LIMITED, Code.UNAVAILABLE),
        tag="Sessions",
    ),
    Endpoint(
        "POST",
        "/api/auth/sign-out",
        "Sign out",
        Access.SIGNED_IN,
        Directly(auth_api.sign_out),
        "Possible while an incident blocks the session.",
        request=Nothing,
        status=204,
        codes=(Code.CONFLICT,),
        tag="Sessions",
    ),
    Endpoint(
        "GET",
        "/api/auth/session",
        "Who am I?",
        Access.SIGNED_IN,
        Directly(auth_api.who_am_i),
        response=SessionAnswer,
        tag="Sessions",
    ),
)

_INTAKE = (
    Endpoint(
        "POST",
        "/api/v1/errors",
        "Report errors",
        Access.INTAKE,
        Directly(intake_api.errors),
        "One object, an array, or one object a line. The same `eventId` twice is once. Of several reports the wrong "
        "ones are named in `rejected`; the others are accepted.",
        response=IntakeAnswer,
        status=201,
        codes=_INTAKE_CODES,
        raw=(
            "application/json",
            "A report, or an array of reports; `application/x-ndjson` with one a line. May be gzip.",
        ),
        tag="Intake",
    ),
    Endpoint(
        "POST",
        "/api/{project}/envelope/",
        "Take in a Sentry envelope",
        Access.INTAKE,
        Directly(intake_api.envelope),
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
        Directly(intake_api.store),
        "What older Sentry SDKs use.",
        response=SentryAnswer,
        codes=_SENTRY_CODES,
        also=("/api/{project}/store",),
        raw=("application/json", "A Sentry event."),
        tag="Intake",
    ),
    *(
        Endpoint(
            "OPTIONS",
            f"/api/{{project}}/{kind}/",
            "Let any page's script report its errors",
            Access.PUBLIC,
            Directly(intake_api.preflight),
            status=204,
            also=(f"/api/{{project}}/{kind}",),
            tag="Intake",
        )
        for kind in ("envelope", "store")
    ),
)

_OPERATIONS = (
    Endpoint(
        "GET",
        "/healthz",
        "Is the process alive?",
        Access.PUBLIC,
        Directly(operations_api.healthz),
        response=HealthAnswer,
        tag="Operation",
    ),
    Endpoint(
        "GET",
        "/readyz",
        "Can it keep its promises?",
        Access.PUBLIC,
        Directly(operations_api.readyz),
        "200 if so, else 503 with the same document. `checks` names everything that is wrong.",
        response=ReadinessAnswer,
        tag="Operation",
    ),
    Endpoint(
        "GET",
        "/metrics",
        "Prometheus metrics",
        Permission.READ,
        Directly(operations_api.scrape),
        media_type="text/plain",
        tag="Operation",
    ),
    Endpoint(
        "GET",
        "/openapi.json",
        "This description, for machines",
        Access.PUBLIC,
        Directly(operations_api.openapi),
        tag="Operation",
    ),
    Endpoint(
        "GET",
        "/docs",
        "This description, for people",
        Access.PUBLIC,
        Directly(operations_api.docs),
        media_type="text/html",
        tag="Operation",
    ),
    Endpoint(
        "GET",
        "/",
        "Leads to /docs",
        Access.PUBLIC,
        Directly(operations_api.root),
        status=307,
        tag="Operation",
    ),
)

ENDPOINTS: tuple[Endpoint, ...] = (
    *_incidents("/api/incidents", "Incidents", Permission.READ, Permission.RESPOND),
    *_incidents("/api/admin/incidents", "Administration", Permission.ADMINISTER, Permission.ADMINISTER),
    *_AUTH,
    *_INTAKE,
    *_OPERATIONS,
)
"""The order is that of the routes: what is more particular stands before what is more general."""
