"""The gate: from the table to what answers each path. Every request passes the same steps before a handler sees it.

1. Who is it? 2. May they? 3. Read and decode the body and the query. 4. Act, in one transaction where the table says
so, with the remembered answer of its Idempotency-Key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tocsin.app import audit
from tocsin.app.sessions import Principal
from tocsin.domain.access import Permission
from tocsin.errors import Code, refuse
from tocsin.web.endpoint import Access, Call, Directly, Endpoint, InTransaction, Services
from tocsin.web.exchange import exchange_of
from tocsin.web.reading import MAX_JSON_BYTES, decode_json, decode_query, read_body

REPLAYED = "REPLAYED"
"""The outcome in the access log when nothing was done again."""


def gates(table: Sequence[Endpoint], services: Services) -> dict[str, Gate]:
    """Return one gate for each path of the table, in its order."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in table:
        for path in (endpoint.path, *endpoint.also):
            by_path.setdefault(path, {})[endpoint.method] = endpoint
    return {path: Gate(path, methods, services) for path, methods in by_path.items()}


@dataclass(frozen=True)
class Gate:
    """The gate of one path, an ASGI application."""

    path: str
    methods: Mapping[str, Endpoint]
    services: Services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or raise the refusal that answers it."""
        exchange_of(scope).route = self.path
        endpoint = self.methods.get("GET" if scope["method"] == "HEAD" else scope["method"])
        if endpoint is None:
            allowed = sorted({*self.methods, *(["HEAD"] if "GET" in self.methods else [])})
            raise refuse(
                Code.METHOD_NOT_ALLOWED,
                f"{self.path} does not know {scope['method']}.",
                f"It knows {', '.join(allowed)}.",
                allow=", ".join(allowed),
            )
        response = await self._answer(endpoint, Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, endpoint: Endpoint, request: Request) -> Response:
        principal = await self._admit(endpoint, request)
        call = await self._read(endpoint, request, principal)
        match endpoint.handler:
            case Directly(answer) if endpoint.access is Access.INTAKE:
                call.exchange.cross_origin = True
                if request.method == "GET":
                    return await answer(call)
                async with self.services.room.held(request) as call.exchange.room:
                    return await answer(call)
            case Directly(answer):
                return await answer(call)
            case InTransaction():
                return await self._act(endpoint, endpoint.handler, call)

    async def _admit(self, endpoint: Endpoint, request: Request) -> Principal | None:
        if endpoint.access in (Access.PUBLIC, Access.INTAKE):
            return None
        principal = await self.services.authentication.require(request)
        if isinstance(endpoint.access, Permission):
            principal.require(endpoint.access)
        return principal

    async def _read(self, endpoint: Endpoint, request: Request, principal: Principal | None) -> Call:
        body, query, raw_body = None, None, b""
        if endpoint.query is not None:
            query = decode_query(request.query_params.multi_items(), endpoint.query, endpoint.lists)
        if endpoint.request is not None:
            raw_body = await read_body(request, MAX_JSON_BYTES)
            body = decode_json(raw_body, request.headers.get("content-type", ""), endpoint.request)
        return Call(self.services, request, principal, body, query, raw_body)

    async def _act(self, endpoint: Endpoint, handler: InTransaction, call: Call) -> Response:
        key = call.request.headers.get("idempotency-key") if endpoint.idempotent else None
        async with self.services.app.work() as work:
            if key is None:
                return _json(msgspec.json.encode(await handler.act(work, call)), endpoint.status)
            principal = str(call.actor.user_id)
            said = b"%s %s\n%s" % (call.request.method.encode(), call.request.url.path.encode(), call.raw_body)
            known = await audit.remembered_answer(work, principal, key, said)
            if known is not None:
                call.exchange.outcome = REPLAYED
                return _json(known.body, known.status, {"Idempotency-Replayed": "true"})
            body = msgspec.json.encode(await handler.act(work, call))
            await audit.remember_answer(work, principal, key, said, endpoint.status, body)
        return _json(body, endpoint.status)


def _json(body: bytes, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, status, headers, "application/json")
