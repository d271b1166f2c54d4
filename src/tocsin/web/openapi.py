"""The OpenAPI 3.1 description, made from the table: what is served and what is documented cannot differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from tocsin import __version__
from tocsin.domain.access import PERMISSIONS, Permission
from tocsin.errors import Code
from tocsin.web.authentication import CSRF_HEADER
from tocsin.web.endpoint import Access, Endpoint, InTransaction
from tocsin.web.problems import CONTENT_TYPE, KINDS, Problem

_REF = "#/components/schemas/{name}"
_PATH_PARAMETER = re.compile(r"\{(\w+)\}")
_PARAMETERS: dict[str, dict[str, Any]] = {
    "id": {
        "schema": {"type": "string", "examples": ["42", "INC-42"]},
        "description": "The incident's number (42 or INC-42) or its id.",
    },
    "position": {
        "schema": {"type": "string", "pattern": "^[1-9][0-9]?$", "examples": ["1"]},
        "description": "The place of the action among those of its incident, from 1 on.",
    },
    "escalationId": {"schema": {"type": "string", "format": "uuid"}},
    "key": {"schema": {"type": "string"}, "description": "The key in the heartbeat's URL."},
    "token": {"schema": {"type": "string"}, "description": "The token in the link of a page."},
    "projectId": {"schema": {"type": "string", "pattern": "^[0-9]{1,9}$"}, "description": "The project's number."},
    "scheduleId": {"schema": {"type": "string", "format": "uuid"}},
    "overrideId": {"schema": {"type": "string", "format": "uuid"}},
    "feedId": {"schema": {"type": "string", "format": "uuid"}},
    "contactId": {"schema": {"type": "string", "format": "uuid"}},
    "ruleId": {"schema": {"type": "string", "format": "uuid"}},
    "keyId": {"schema": {"type": "string", "format": "uuid"}},
    "policyId": {"schema": {"type": "string", "format": "uuid"}},
    "routeId": {"schema": {"type": "string", "format": "uuid"}},
    "silenceId": {"schema": {"type": "string", "format": "uuid"}},
    "project": {"schema": {"type": "string", "pattern": "^[0-9]{1,9}$"}, "description": "The number in the DSN."},
}
_HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {"schema": {"type": "string", "format": "uuid"}, "description": "Names this exchange in the log."},
    "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."},
    "WWW-Authenticate": {"schema": {"type": "string"}},
    "Idempotency-Replayed": {
        "schema": {"type": "string"},
        "description": "`true` when this is the answer to an earlier request with the same Idempotency-Key.",
    },
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "description": "The same key with the same body gives the same answer, and what it asks for is done once.",
}
_INTAKE_SECURITY: list[dict[str, list[str]]] = [
    {"intakeKey": []},
    {"intakeKeyHeader": []},
    {"intakeKeyQuery": []},
    {"sentryAuth": []},
]
_SECURITY_SCHEMES: dict[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API token: `tocsin tokens add`."},
    "csrf": {"type": "apiKey", "in": "header", "name": CSRF_HEADER, "description": "The csrfToken of the session."},
    "intakeKey": {"type": "http", "scheme": "bearer", "description": "The intake key of a project."},
    "intakeKeyHeader": {"type": "apiKey", "in": "header", "name": "X-Tocsin-Key"},
    "intakeKeyQuery": {"type": "apiKey", "in": "query", "name": "key"},
    "sentryAuth": {"type": "apiKey", "in": "header", "name": "X-Sentry-Auth"},
}
_DESCRIPTION = (
    "Failures are loud, structured and educational. Problems are answered as `application/problem+json` (RFC 9457) "
    "with a stable `code`; a failure of Tocsin itself is a 500 with the code INTERNAL, and becomes an incident."
)


def describe(table: Sequence[Endpoint], cookie_name: str) -> dict[str, Any]:
    """Return the OpenAPI document of a table of endpoints, with the session cookie's name of this installation."""
    shapes: list[type] = [Problem]
    for endpoint in table:
        shapes += [
            kind for kind in (endpoint.request, endpoint.query, endpoint.response, endpoint.partly) if kind is not None
        ]
    kinds = list(dict.fromkeys(shapes))
    references, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    queries = {endpoint.query for endpoint in table if endpoint.query is not None}
    schema_of = dict(zip(kinds, references, strict=True))
    parameters_of = {kind: _query_parameters(components.pop(kind.__name__)) for kind in queries}
    components["Problem"]["additionalProperties"] = True
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in table:
        operation = _operation(endpoint, schema_of)
        operation["parameters"] += parameters_of.get(endpoint.query, []) if endpoint.query else []
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tocsin", "version": __version__, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": _SECURITY_SCHEMES | {"session": _session(cookie_name)},
            "headers": _HEADERS,
        },
    }


def _session(cookie_name: str) -> dict[str, str]:
    return {"type": "apiKey", "in": "cookie", "name": cookie_name, "description": "Set by sign-in."}


def _query_parameters(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            **({"description": described["description"]} if "description" in described else {}),
            "schema": {key: value for key, value in described.items() if key not in ("default", "description")},
        }
        for name, described in ((name, _without_null(part)) for name, part in schema["properties"].items())
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter's schema: absent is how a query says null."""
    options: list[dict[str, Any]] = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) != 1:
        return schema
    return options[0] | {key: value for key, value in schema.items() if key != "anyOf"}


def codes_of(endpoint: Endpoint) -> tuple[Code, ...]:
    """Return every code that an endpoint may answer with: what its handler declares, and what the gate adds."""
    codes = set(endpoint.codes)
    if endpoint.access is Access.SIGNED_IN or isinstance(endpoint.access, Permission):
        codes |= {Code.UNAUTHORIZED, Code.FORBIDDEN, Code.SESSION_BLOCKED, Code.UNAVAILABLE}
    if endpoint.request is not None:
        codes |= {Code.MALFORMED, Code.TOO_LARGE, Code.UNSUPPORTED_MEDIA_TYPE, Code.INVALID}
    if endpoint.query is not None or endpoint.idempotent:
        codes.add(Code.INVALID)
    if isinstance(endpoint.handler, InTransaction):
        codes.add(Code.UNAVAILABLE)
    return tuple(code for code in Code if code in codes)


def _operation(endpoint: Endpoint, schema_of: dict[type, dict[str, Any]]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, **_PARAMETERS[name]}
        for name in _PATH_PARAMETER.findall(endpoint.path)
    ]
    if endpoint.idempotent:
        parameters.append(_IDEMPOTENCY_KEY)
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.summary,
        "description": " ".join(part for part in (endpoint.description, _who(endpoint)) if part),
        "tags": [endpoint.tag],
        "security": _security(endpoint),
        "parameters": parameters,
        "responses": _responses(endpoint, schema_of),
    }
    if (body := _request_body(endpoint, schema_of)) is not None:
        operation["requestBody"] = body
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    words = re.findall(r"\w+", endpoint.path.replace("api/", "", 1))
    return "-".join([endpoint.method.lower(), *words])


def _who(endpoint: Endpoint) -> str:
    if not isinstance(endpoint.access, Permission):
        return ""
    roles = [role.value for role, granted in PERMISSIONS.items() if endpoint.access in granted]
    return f"For the roles: {', '.join(roles)}."


def _security(endpoint: Endpoint) -> list[dict[str, list[str]]]:
    if endpoint.access is Access.PUBLIC:
        return []
    if endpoint.access is Access.INTAKE:
        return _INTAKE_SECURITY
    session: dict[str, list[str]] = {"session": []} if endpoint.method == "GET" else {"session": [], "csrf": []}
    return [{"bearer": []}, session]


def _request_body(endpoint: Endpoint, schema_of: dict[type, dict[str, Any]]) -> dict[str, Any] | None:
    if endpoint.raw is not None:
        media_type, description = endpoint.raw
        return {"required": True, "description": description, "content": {media_type: {"schema": {}}}}
    if endpoint.request is None:
        return None
    # Who says nothing may leave the body away.
    required = bool(endpoint.request.__struct_fields__)
    return {"required": required, "content": {"application/json": {"schema": schema_of[endpoint.request]}}}


def _responses(endpoint: Endpoint, schema_of: dict[type, dict[str, Any]]) -> dict[str, Any]:
    responses: dict[str, Any] = {str(endpoint.status): _success(endpoint, schema_of)}
    if endpoint.partly is not None:
        whole = replace(endpoint, status=200, response=endpoint.partly)
        responses["200"] = _success(whole, schema_of) | {"description": "Done in part"}
    by_status: dict[int, list[Code]] = {}
    for code in codes_of(endpoint):
        by_status.setdefault(KINDS[code].status, []).append(code)
    for status, codes in sorted(by_status.items()):
        responses[str(status)] = {
            "description": " or ".join(f"{code}: {KINDS[code].title}" for code in codes),
            "headers": _headers("X-Request-Id", *_PROBLEM_HEADERS.get(status, ())),
            "content": {CONTENT_TYPE: {"schema": schema_of[Problem]}} | _own_forms(endpoint),
        }
    if endpoint.path == "/readyz":
        responses["503"] = responses["200"] | {
            "description": "Not ready",
            "headers": _headers("X-Request-Id", "Retry-After"),
        }
    return responses


_PROBLEM_HEADERS = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}


def _success(endpoint: Endpoint, schema_of: dict[type, dict[str, Any]]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": "Done", "headers": _headers("X-Request-Id")}
    if endpoint.idempotent:
        response["headers"] |= _headers("Idempotency-Replayed")
    if endpoint.response is not None:
        response["content"] = {endpoint.media_type: {"schema": schema_of[endpoint.response]}}
    elif endpoint.status == 200:
        schema = {"type": "object"} if endpoint.media_type == "application/json" else {"type": "string"}
        response["content"] = {endpoint.media_type: {"schema": schema}} | _own_forms(endpoint)
    return response


def _own_forms(endpoint: Endpoint) -> dict[str, Any]:
    return {media_type: {"schema": {}} for media_type in endpoint.forms}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
