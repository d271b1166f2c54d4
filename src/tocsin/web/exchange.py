"""One request and its answer: what is known of it, shared by every layer that it passes.

The outermost layer makes it, gives each answer its request id and security headers, and counts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tocsin import ids
from tocsin.app.sessions import Principal
from tocsin.clock import monotonic_seconds
from tocsin.web.metrics import Metrics
from tocsin.web.room import Held

UNMATCHED = "(no such path)"
DONE = "OK"
NOBODY = "none"
_KEY = "tocsin.exchange"
_COMMON = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_UNCACHED = (*_COMMON, (b"cache-control", b"no-store"))
_CROSS_ORIGIN = (
    *_UNCACHED,
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"Retry-After, X-Request-Id"),
)


@dataclass(slots=True)
class Exchange:
    """What is known of a request so far. `outcome` is DONE, or the code of the problem that answers it.

    Where it is `cross_origin`, any page's script may read the answer, whatever it is.
    """

    request_id: UUID = field(default_factory=ids.new_id)
    route: str = UNMATCHED
    cross_origin: bool = False
    room: Held | None = None
    identified: bool = False
    principal: Principal | None = None
    user_id: UUID | None = None
    credential: str = NOBODY
    outcome: str = DONE

    def identify(self, principal: Principal | None) -> None:
        """Take note of who makes the request."""
        self.identified, self.principal = True, principal
        if principal is not None:
            self.user_id, self.credential = principal.actor.user_id, principal.credential


def exchange_of(scope: Scope) -> Exchange:
    """Return the exchange of a request; there is one inside of `ExchangeLayer`."""
    return cast(Exchange, scope[_KEY])


def find_exchange(scope: Scope) -> Exchange | None:
    """Return the exchange of a request, None where no `ExchangeLayer` stands."""
    return cast("Exchange | None", scope.get(_KEY))


class ExchangeLayer:
    """The outermost layer: begins the exchange and completes the answer's headers."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; everything but HTTP is passed on untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange, began = Exchange(), monotonic_seconds()
        scope[_KEY] = exchange

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _completed(message["headers"], scope["path"], exchange)
                self._metrics.answered(exchange.route, scope["method"], message["status"], monotonic_seconds() - began)
            await send(message)

        await self._app(scope, receive, complete)


def _completed(headers: Sequence[tuple[bytes, bytes]], path: str, exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """Return an answer's headers with those that every answer has; a header that is there already stays."""
    there = {name for name, _ in headers}
    uncached = path.startswith("/api/") or path == "/metrics"
    every = _CROSS_ORIGIN if exchange.cross_origin else _UNCACHED if uncached else _COMMON
    added = [header for header in every if header[0] not in there]
    return [*headers, (b"x-request-id", str(exchange.request_id).encode()), *added]
