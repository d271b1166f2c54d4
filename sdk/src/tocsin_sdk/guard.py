"""The session guard: middleware that answers 403 while a critical incident blocks sessions.

Whether one blocks is read from memory at each request; one daemon thread asks the server every two seconds and
renews what is remembered. What holds while the server cannot be reached must be chosen: `when_unreachable`.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from tocsin_sdk import complaints, forks
from tocsin_sdk.delivery import unusable
from tocsin_sdk.dsn import Dsn

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PATH = "/api/v1/session-block"
MAX_ANSWER_BYTES = 65_536
MAX_DETAIL_CHARACTERS = 200
MIN_REFRESH_SECONDS = 0.05
"""More often than that would be a load, not a refresh."""
NEVER = float("-inf")

CONTENT_TYPE = "application/problem+json"
TYPE = "urn:tocsin:problem:session-blocked"
TITLE = "An unacknowledged incident blocks this session"
POLICY_VIOLATION = 1008
"""The code with which a websocket is closed (RFC 6455, section 7.4.1)."""

WhenUnreachable = Literal["open", "closed"]
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Exempt = Callable[[Mapping[str, Any]], bool]
"""Tells of a request (the ASGI scope, or the WSGI environment) that it is let through even while a block holds."""


@dataclass(frozen=True)
class Block:
    """Why sessions are blocked. `number` is the incident's; None when it is not known that nothing blocks."""

    number: int | None
    since: str | None = None

    def problem(self) -> bytes:
        """Return it as a problem of RFC 9457."""
        incident = None if self.number is None else {"number": self.number, "since": self.since}
        document = {
            "type": TYPE,
            "title": TITLE,
            "status": 403,
            "code": "SESSION_BLOCKED",
            "detail": self._detail(),
            "incident": incident,
        }
        return json.dumps(document).encode()

    def _detail(self) -> str:
        if self.number is None:
            return "It is not known whether an incident blocks sessions: Tocsin cannot be reached. Try again soon."
        return (
            f"Sessions are blocked: INC-{self.number} is critical and nobody has acknowledged it. "
            "It is lifted as soon as somebody who may respond acknowledges the incident."
        )


UNKNOWN = Block(None)


class GuardState:
    """What the server last said, renewed in the background. One of it serves any number of middlewares.

    `when_unreachable` says what holds before the first answer, and once the last good one is older than
    `stale_after_seconds`: "open" lets everybody through, "closed" blocks everybody but what is exempt.
    `on_problem` is told why the server could not be asked: once, and again after it could be.
    """

    def __init__(
        self,
        dsn: str,
        *,
        when_unreachable: WhenUnreachable,
        refresh_seconds: float = 2.0,
        stale_after_seconds: float = 30.0,
        timeout_seconds: float = 5.0,
        on_problem: Callable[[str], None] = complaints.say,
    ) -> None:
        if when_unreachable not in ("open", "closed"):
            raise ValueError(f'when_unreachable is {when_unreachable!r}; choose "open" or "closed".')
        if refresh_seconds < MIN_REFRESH_SECONDS or stale_after_seconds <= refresh_seconds:
            raise ValueError(
                f"refresh_seconds must be at least {MIN_REFRESH_SECONDS}, and stale_after_seconds more than that: "
                "an answer that is stale before the next one comes would block or open at random."
            )
        self._inquiry = _Inquiry(Dsn.parse(dsn), timeout_seconds)
        self._refresh_seconds = refresh_seconds
        self._stale_after_seconds = stale_after_seconds
        self._on_problem = on_problem
        self._unknown = UNKNOWN if when_unreachable == "closed" else None
        self._view: tuple[float, Block | None] = (NEVER, None)
        self._problem = ""
        self._closed = False
        self._begin()
        forks.watch(self)

    def _begin(self) -> None:
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._answered = threading.Event()

    def block(self) -> Block | None:
        """Return what blocks sessions now, None if nothing does. It reads memory and never waits."""
        forks.notice()
        if self._thread is None:
            self.start()
        good_until, block = self._view
        return block if monotonic() < good_until else self._unknown

    def start(self, wait_seconds: float = 0.0) -> bool:
        """Start to ask, unless it is done already; return whether an answer has come within `wait_seconds`.

        The first request in a forked child starts it anew by itself.
        """
        forks.notice()
        forks.say_if_threads_stand_still()
        if forks.is_before_workers():
            forks.start_in_workers(self)
        with self._lock:
            if self._thread is None and not self._closed:
                thread = threading.Thread(
                    target=self._keep_fresh, args=(self._stop, self._answered), name="tocsin-guard", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError as error:  # the next request tries again
                    self._tell(f"no thread can be started to ask {self._inquiry.url}: {_words(error)}")
                else:
                    self._thread = thread
        return self._answered.wait(wait_seconds)

    def close(self, timeout_seconds: float = 5.0) -> bool:
        """Stop asking; return whether the thread has ended in time. What was last heard goes stale from then on."""
        forks.notice()
        with self._lock:
            self._closed = True
            self._stop.set()
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout_seconds)
        return not thread.is_alive()

    def _keep_fresh(self, stop: threading.Event, answered: threading.Event) -> None:
        # The connection is the thread's own: a child of a fork must not write to its parent's.
        connection = self._inquiry.connection()
        memory = _Memory(None, None)
        while not stop.is_set():
            asked_at = monotonic()
            try:
                memory = self._inquiry.ask(connection, memory)
            except Exception as error:  # noqa: BLE001  # without this thread nobody would notice that nothing is renewed
                self._tell(f"{self._inquiry.url} does not say whether sessions are blocked: {_words(error)}")
            else:
                self._view = (asked_at + self._stale_after_seconds, memory.block)
                answered.set()
                self._tell("")
            stop.wait(self._refresh_seconds)
        connection.close()

    def _tell(self, problem: str) -> None:
        was, self._problem = self._problem, problem
        if problem and problem != was:
            try:
                self._on_problem(problem)
            except Exception as error:  # noqa: BLE001  # without this thread nothing would be renewed any more
                complaints.say(f"on_problem failed: {_words(error)}; it was to say: {problem}")

    def before_fork(self) -> None:
        """Nothing is needed: the parent goes on asking."""

    def after_fork_in_parent(self, before: None) -> None:
        """Nothing has changed here."""

    def after_fork_in_child(self, before: None) -> None:  # noqa: ARG002  # as forks has it
        """Begin without a thread, for it stayed with the parent; what was heard last is as good here."""
        self._begin()


@dataclass(frozen=True)
class _Memory:
    """The last good answer, and the tag by which the server recognises it."""

    etag: str | None
    block: Block | None


class _BadAnswerError(Exception):
    """The server did not answer, or not with what was asked for."""


@dataclass(frozen=True)
class _Inquiry:
    """How the server is asked."""

    dsn: Dsn
    timeout_seconds: float

    @property
    def url(self) -> str:
        return self.dsn.base_url.rstrip("/") + PATH

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection, which opens itself at the first question and after each failure."""
        url = urlsplit(self.url)
        host = url.hostname or ""
        if url.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, url.port, timeout=self.timeout_seconds, context=context)
        return http.client.HTTPConnection(host, url.port, timeout=self.timeout_seconds)

    def ask(self, connection: http.client.HTTPConnection, memory: _Memory) -> _Memory:
        """Return what the server says; `memory` again if nothing has changed."""
        is_reused = connection.sock is not None
        try:
            return self._ask(connection, memory)
        except (http.client.HTTPException, OSError):
            connection.close()
            if not is_reused:
                raise
        # A kept connection that the server gave up in the meantime says nothing about the server.
        try:
            return self._ask(connection, memory)
        except (http.client.HTTPException, OSError):
            connection.close()
            raise

    def _ask(self, connection: http.client.HTTPConnection, memory: _Memory) -> _Memory:
        headers = {"Authorization": f"Bearer {self.dsn.key}", "Accept": "application/json"}
        if memory.etag is not None:
            headers["If-None-Match"] = memory.etag
        if why := unusable(self.url, headers.items()):
            raise _BadAnswerError(f"{why}. Repair the DSN.")
        connection.request("GET", urlsplit(self.url).path, headers=headers)
        response = connection.getresponse()
        body = response.read(MAX_ANSWER_BYTES + 1)
        if not response.isclosed():
            # More than was read is still on its way; it must not become the next answer.
            connection.close()
        if response.status == 304 and memory.etag is not None:
            return memory
        if response.status != 200:
            raise _BadAnswerError(f"it answers {response.status}. {_hint(response.status)}")
        return _Memory(response.getheader("ETag"), _block_of(body))


def _hint(status: int) -> str:
    if status in (401, 403):
        return "Check the key in the DSN."
    if status == 404:
        return "Check the host in the DSN, and that the server is of this version."
    return "See the server's log."


def _block_of(body: bytes) -> Block | None:
    try:
        answer = json.loads(body)
        if answer["blocked"] is False:
            return None
        if answer["blocked"] is True:
            incident = answer["incident"]
            return Block(int(incident["number"]), str(incident["since"]))
    except (ValueError, KeyError, TypeError):
        pass  # said below, with what was heard
    heard = body[:MAX_DETAIL_CHARACTERS].decode("utf-8", "replace")
    raise _BadAnswerError(f"it answers 200 with {heard!r}. Check the host in the DSN.")


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


class SessionGuardASGI:
    """An ASGI middleware: while sessions are blocked, HTTP is answered with 403 and websockets are turned away.

    `exempt` names what stays open: paths (one that ends in "/" with all below it), or a callable that is asked
    with the scope, and only while a block holds.
    """

    def __init__(self, app: ASGIApp, state: GuardState, *, exempt: Exempt | Collection[str] = ()) -> None:
        self._app = app
        self._state = state
        self._exempt = exempt if callable(exempt) else _exempt_paths(exempt, _asgi_path)
        state.start()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on unless it is blocked."""
        block = self._state.block()
        if block is None or scope["type"] not in ("http", "websocket") or self._exempt(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": TITLE})
        else:
            await _answer(block, scope, send)


async def _answer(block: Block, scope: Scope, send: Send) -> None:
    body = block.problem()
    headers = [(name.lower().encode(), value.encode()) for name, value in _headers(body)]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _asgi_path(scope: Mapping[str, Any]) -> str:
    return str(scope["path"])


class SessionGuardWSGI:
    """A WSGI middleware: while sessions are blocked, requests are answered with 403.

    `exempt` is as for `SessionGuardASGI`; a callable is asked with the environment of the request.
    """

    def __init__(self, app: WSGIApplication, state: GuardState, *, exempt: Exempt | Collection[str] = ()) -> None:
        self._app = app
        self._state = state
        self._exempt = exempt if callable(exempt) else _exempt_paths(exempt, _wsgi_path)
        state.start()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass a request on unless it is blocked."""
        block = self._state.block()
        if block is None or self._exempt(environ):
            return self._app(environ, start_response)
        body = block.problem()
        start_response("403 Forbidden", _headers(body))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _wsgi_path(environ: Mapping[str, Any]) -> str:
    # PEP 3333: the bytes of the path, each as a character.
    path = str(environ.get("SCRIPT_NAME", "")) + str(environ.get("PATH_INFO", ""))
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


def _headers(body: bytes) -> list[tuple[str, str]]:
    return [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]


def _exempt_paths(paths: Collection[str], path_of: Callable[[Mapping[str, Any]], str]) -> Exempt:
    if isinstance(paths, str) or any(not path.startswith("/") for path in paths):
        raise ValueError(f'exempt is {paths!r}; give a list of paths such as ["/login", "/static/"], or a callable.')
    if "/" in paths:
        raise ValueError('exempt holds "/", which is every path: the guard would guard nothing. Use a callable.')
    whole = frozenset(paths)
    below = tuple(path for path in paths if path.endswith("/"))

    def is_exempt(request: Mapping[str, Any]) -> bool:
        path = path_of(request)
        if path in whole:
            return True
        # Whoever routes after us may resolve "/static/../account": such a path is never exempt.
        return path.startswith(below) and "/.." not in path and "//" not in path

    return is_exempt
