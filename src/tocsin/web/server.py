"""The web server of one process: the ASGI application, and uvicorn running it in the present event loop."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from math import inf
from operator import itemgetter

import msgspec
import structlog
import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp

from tocsin.app.health import Shared
from tocsin.app.learning import Kept
from tocsin.app.projects import IntakeKeys
from tocsin.app.refused_keys import RefusedKeys
from tocsin.app.take_in import Intake
from tocsin.app.work import App
from tocsin.bootstrap import links_of, provider_of, vault_of
from tocsin.web.audit_trail import AuditTrail
from tocsin.web.authentication import PROVIDER_COOKIE, WAITING_COOKIE, Authentication, brief_cookie, cookie_for
from tocsin.web.connection import HEAD_PATIENCE_SECONDS, Connection
from tocsin.web.console.assets import apps_of, load_assets
from tocsin.web.console.gate import Nowhere, page_gates
from tocsin.web.console.live import Live
from tocsin.web.console.rendering import Renderer
from tocsin.web.console.table import PAGES
from tocsin.web.docs_page import docs_page
from tocsin.web.endpoint import Services
from tocsin.web.endpoints import ENDPOINTS
from tocsin.web.exchange import ExchangeLayer
from tocsin.web.gate import gates
from tocsin.web.listener import listen, url_of
from tocsin.web.metrics import Metrics
from tocsin.web.openapi import describe
from tocsin.web.problems import ProblemBoundary
from tocsin.web.room import Room
from tocsin.web.router import Router
from tocsin.web.session_guard import SessionGuard
from tocsin.web.shares import PATIENCE_SECONDS, Shares
from tocsin.web.throttle import SignInThrottle

log = structlog.get_logger()

GRACE_SECONDS = 10
"""How long requests that are under way may take to end when the server stops."""
SPARE_DESCRIPTORS = 256
"""For everything that is no client's connection."""
MAX_CONNECTIONS = 4_096
"""Beyond it those that have waited longest for the head of a request make room; if none waits, new ones wait."""
MADE_ROOM = 256
"""So many make room at once: to find them takes a look at all connections."""

TICK_SECONDS = 0.1
"""Between two ticks."""
TICKS_A_LOOK = 10
"""Between two looks for connections whose head does not come; uvicorn renews the Date header as often."""
FULL_SECONDS = 0.1
"""The pause when a request is under way on every connection that there may be."""
EXHAUSTED_SECONDS = 1.0
"""The pause when the system has no descriptor or no memory for another connection; who waits, waits in the listener."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

OnReady = Callable[[str], None]
"""Called with the URL at which the server answers."""


def create_app(app: App, intake: Intake, refused: RefusedKeys, live: Live, metrics: Metrics) -> ASGIApp:
    """Return the ASGI application on a wired `App`, its intake and what tells pages of changes. Nothing is opened here,
    and nothing is closed.

    From the outside in: the exchange (request id, headers, metrics), the audit trail, the boundary at which exceptions
    become problems, the session guard, the routes.
    """
    cookie = cookie_for(app.settings)
    authentication = Authentication(
        app, cookie, brief_cookie(cookie, WAITING_COOKIE), brief_cookie(cookie, PROVIDER_COOKIE)
    )
    openapi, docs = _documents(cookie.name)
    services = Services(
        app=app,
        intake=intake,
        keys=IntakeKeys(app, refused),
        room=Room(),
        authentication=authentication,
        throttle=SignInThrottle(),
        links=links_of(app.settings),
        link_throttle=SignInThrottle("Too many links that lead nowhere.", "Copy the whole link from the message."),
        vault=vault_of(app.settings),
        provider=provider_of(app.settings),
        metrics=metrics,
        openapi=openapi,
        docs=docs,
        live=live,
        figures=Kept(),
        machinery=Shared(),
    )
    assets = load_assets()
    paths: dict[str, ASGIApp] = {
        **gates(ENDPOINTS, services),
        **page_gates(PAGES, services, _renderer()),
        **apps_of(assets),
    }
    routed = SessionGuard(Router(paths, Nowhere(services, _renderer())), authentication.session_block)
    return ExchangeLayer(AuditTrail(ProblemBoundary(routed, tocsin=app), tocsin=app), metrics=metrics)


@cache
def _documents(cookie_name: str) -> tuple[bytes, Response]:
    """Return the OpenAPI document and its page."""
    document = describe(ENDPOINTS, cookie_name)
    return msgspec.json.encode(document), docs_page(document)


@cache
def _renderer() -> Renderer:
    """Return the console's templates, compiled once in a process."""
    return Renderer(load_assets())


async def serve(app: App, stop: asyncio.Event, *, host: str, port: int, on_ready: OnReady | None = None) -> None:
    """Serve until `stop` is set; what is under way then has GRACE_SECONDS to end.

    Signals are the caller's. Port 0 takes any free one; `on_ready` is called with the real URL.
    Raises MISCONFIGURED when it cannot listen there.
    """
    listener = await listen(host, port)
    url = url_of(listener)
    await serve_on(listener, app, stop, Metrics(), lambda: on_ready(url) if on_ready else None)


async def serve_on(
    listener: socket.socket,
    app: App,
    stop: asyncio.Event,
    metrics: Metrics,
    on_ready: Callable[[], None],
    shares: Shares | None = None,
) -> None:
    """Serve on a listening socket, as `serve` does; it is closed at the end. `shares` is of those who share it."""
    intake, refused, live = Intake(app), RefusedKeys(app), Live(app)
    _allow_descriptors()
    config = uvicorn.Config(
        create_app(app, intake, refused, live, metrics),
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Nobody's word is taken for where a request comes from.
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    with listener:
        async with asyncio.TaskGroup() as group:
            server = _Server(config, group, on_ready, shares)
            stopping = group.create_task(_stop(server, live, stop))
            await server.serve(sockets=[listener])
            stopping.cancel()
        await intake.close()
        await refused.close()


def _allow_descriptors() -> None:
    """Raise how many files and sockets this process may have open, as far as it may: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + SPARE_DESCRIPTORS
    if soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))


class _Server(uvicorn.Server):
    """uvicorn's server, which accepts by itself, says when it does, and leaves signals alone."""

    def __init__(
        self,
        config: uvicorn.Config,
        group: asyncio.TaskGroup,
        on_started: Callable[[], None],
        shares: Shares | None,
    ) -> None:
        super().__init__(config)
        self._group = group
        self._on_started = on_started
        self._shares = shares
        self._accepting: list[asyncio.Task[None]] = []
        self._is_told = asyncio.Event()

    def tell_to_stop(self) -> None:
        """Let it stop: not at its next tick, but now."""
        self.should_exit = True
        self._is_told.set()

    async def main_loop(self) -> None:
        tick = 0
        while not await self.on_tick(tick):
            tick += 1
            if tick % TICKS_A_LOOK == 0:
                self._end_overdue()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_told.wait(), TICK_SECONDS)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        for listener in sockets or []:
            listener.setblocking(False)
        self._accepting = [self._group.create_task(self._accept(listener)) for listener in sockets or []]
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for accepting in self._accepting:
            accepting.cancel()
        # uvicorn gives what is under way a tenth of a second at least, also where nothing is.
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)

    async def _accept(self, listener: socket.socket) -> None:
        """Accept one connection after the other; where several processes share the listener, each in its turn."""
        loop = asyncio.get_running_loop()
        while True:
            await _readable(listener)
            await self._room()
            if self._shares is not None:
                self._shares.tell(len(self.server_state.connections))
                if self._shares.another_has_fewer:
                    await asyncio.sleep(PATIENCE_SECONDS)
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue  # another process has it, or it is gone
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                log.error("web.cannot_accept", reason=error.strerror, again_in_seconds=EXHAUSTED_SECONDS)
                self._make_room()
                await asyncio.sleep(EXHAUSTED_SECONDS)
                continue
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, connection)

    async def _room(self) -> None:
        """Wait until one more connection may be accepted."""
        is_said = False
        while len(self.server_state.connections) >= MAX_CONNECTIONS:
            if self._make_room():
                await asyncio.sleep(0)  # they are gone after this turn of the event loop
                continue
            if not is_said:
                is_said = True
                log.error("web.full", connections=len(self.server_state.connections))
            await asyncio.sleep(FULL_SECONDS)

    def _make_room(self) -> int:
        """End the connections that have waited longest for a head; return how many."""
        ended = self._waiting()[:MADE_ROOM]
        for connection in ended:
            connection.end_waiting()
        if ended:
            log.error("web.crowded", connections=len(self.server_state.connections), ended=len(ended))
        return len(ended)

    def _end_overdue(self) -> None:
        latest = asyncio.get_running_loop().time() - HEAD_PATIENCE_SECONDS
        for connection in self._waiting(latest):
            connection.end_waiting()

    def _waiting(self, latest: float = inf) -> list[Connection]:
        """Return the connections that have waited for a head since `latest` or longer, the longest first."""
        waiting = [
            (since, connection)
            for connection in self.server_state.connections
            if isinstance(connection, Connection)
            and (since := connection.waiting_since) is not None
            and since <= latest
            and not connection.transport.is_closing()
        ]
        return [connection for _, connection in sorted(waiting, key=itemgetter(0))]

    def _protocol(self) -> asyncio.Protocol:
        return Connection(self.config, self.server_state, self.lifespan.state)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _readable(listener: socket.socket) -> None:
    """Wait until somebody waits to be accepted."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(listener, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(listener)


async def _stop(server: _Server, live: Live, stop: asyncio.Event) -> None:
    await stop.wait()
    await live.close()
    server.tell_to_stop()
