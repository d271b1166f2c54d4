"""The web server of one process: the ASGI application, and uvicorn running it in the present event loop."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from tocsin.app.projects import IntakeKeys
from tocsin.app.take_in import Intake
from tocsin.app.work import App
from tocsin.errors import Code, TocsinError, refuse
from tocsin.web.audit_trail import AuditTrail
from tocsin.web.authentication import Authentication, cookie_for
from tocsin.web.docs_page import docs_page
from tocsin.web.endpoint import Services
from tocsin.web.endpoints import ENDPOINTS
from tocsin.web.exchange import ExchangeLayer
from tocsin.web.gate import routes
from tocsin.web.metrics import Metrics
from tocsin.web.openapi import describe
from tocsin.web.problems import ProblemBoundary, unrouted
from tocsin.web.room import Room
from tocsin.web.session_guard import SessionGuard
from tocsin.web.throttle import SignInThrottle

GRACE_SECONDS = 10
"""How long requests that are under way may take to end when the server stops."""
MAX_CONNECTIONS = 4_096
"""Beyond it uvicorn itself answers 503."""
BACKLOG = 2_048

OnReady = Callable[[str], None]
"""Called with the URL at which the server answers."""


def create_app(app: App, intake: Intake) -> Starlette:
    """Return the ASGI application on a wired `App` and its intake. Nothing is opened here, and nothing is closed.

    From the outside in: the exchange (request id, headers, metrics), the audit trail, the boundary at which exceptions
    become problems, the session guard, the routes.
    """
    cookie = cookie_for(app.settings)
    authentication = Authentication(app, cookie)
    document = describe(ENDPOINTS, cookie.name)
    metrics = Metrics()
    services = Services(
        app=app,
        intake=intake,
        keys=IntakeKeys(app),
        room=Room(),
        authentication=authentication,
        throttle=SignInThrottle(),
        metrics=metrics,
        openapi=msgspec.json.encode(document),
        docs=docs_page(document),
    )
    starlette = Starlette(
        routes=routes(ENDPOINTS, services),
        middleware=[
            Middleware(ExchangeLayer, metrics=metrics),
            Middleware(AuditTrail, tocsin=app),
            Middleware(ProblemBoundary, tocsin=app),
            Middleware(SessionGuard, block_of=authentication.session_block),
        ],
        exception_handlers={HTTPException: unrouted},
    )
    # One path, one meaning: a redirect would answer before the gate has asked who it is.
    starlette.router.redirect_slashes = False
    return starlette


async def serve(app: App, stop: asyncio.Event, *, host: str, port: int, on_ready: OnReady | None = None) -> None:
    """Serve until `stop` is set; what is under way then has GRACE_SECONDS to end.

    Signals are the caller's. Port 0 takes any free one; `on_ready` is called with the real URL.
    Raises MISCONFIGURED when it cannot listen there.
    """
    listener = await _listen(host, port)
    # Nobody's word is taken for where a request comes from: proxy headers are off.
    intake = Intake(app)
    config = uvicorn.Config(
        create_app(app, intake),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config, lambda: on_ready(_url(listener)) if on_ready else None)
    with listener:
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(_stop(server, stop))
            await server.serve(sockets=[listener])
            stopping.cancel()
        await intake.close()


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it listens and leaves signals alone."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _stop(server: _Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True


async def _listen(host: str, port: int) -> socket.socket:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise _cannot_listen(host, port, error) from None
    # asyncio does this only for sockets that name their protocol; without it every answer over a kept connection
    # waits some 40 ms for the client's delayed acknowledgment. Accepted sockets inherit it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _cannot_listen(host: str, port: int, error: OSError) -> TocsinError:
    if error.errno == errno.EADDRINUSE:
        return refuse(
            Code.MISCONFIGURED,
            f"Port {port} of {host} is in use by another program.",
            "Stop that program, or choose another port with TOCSIN_PORT (0 takes any free one).",
        )
    return refuse(
        Code.MISCONFIGURED,
        f"Cannot listen on port {port} of {host!r}: {error.strerror or error}.",
        "Correct TOCSIN_HOST and TOCSIN_PORT; ports below 1024 need a privilege.",
    )


def _url(listener: socket.socket) -> str:
    """Return the URL of a listening socket; for one on every address, how this machine reaches it."""
    host, port = listener.getsockname()[:2]
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # it is compared with, not bound
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
