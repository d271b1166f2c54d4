"""ASGI: reports what an application raises while it answers, and lets it pass on."""

from __future__ import annotations

from collections.abc import Awaitable, MutableMapping
from typing import Any, Callable

from tocsin_sdk import current
from tocsin_sdk.integrations.requests import as_utf8, request_details
from tocsin_sdk.report import Details

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


class TocsinASGI:
    """Middleware: `app = TocsinASGI(app)`."""

    def __init__(self, app: Application) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(
        self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Run the application; what it raises is reported and raised on."""
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            if (client := current()) is not None:
                client.capture_exception(error, handled=False, details=_details(scope))
            raise


def _details(scope: Scope) -> Details:
    headers = {bytes(name): bytes(value) for name, value in scope.get("headers", ())}
    return request_details(
        str(scope.get("method") or scope["type"]),
        str(scope.get("path", "")),
        as_utf8(bytes(scope.get("query_string", b"")).decode("latin-1")),
        headers.get(b"traceparent", b"").decode("latin-1"),
        route=str(getattr(scope.get("route"), "path", "")),
    )
