"""The session guard in front of real servers, asking a real one whether sessions are blocked."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.sdk.conftest import SOURCE
from tocsin_sdk.guard import PATH, Block, Exempt, GuardState, SessionGuardASGI, SessionGuardWSGI

KEY = "0123456789abcdef0123456789abcdef"
OPEN_ANSWER: Mapping[str, Any] = {"blocked": False, "incident": None}
BLOCKING: Mapping[str, Any] = {
    "blocked": True,
    "incident": {"number": 42, "severity": "CRITICAL", "since": "2026-03-01T03:00:00Z"},
}
PATIENCE_SECONDS = 10.0
Serve = Callable[..., AbstractContextManager[int]]


@dataclass
class Tocsin:
    """The server that is asked. `answer` and `status` may be changed at any time."""

    answer: object = field(default_factory=lambda: dict(OPEN_ANSWER))
    status: int = 200
    port: int = 0
    asked: list[dict[str, str]] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)

    @property
    def dsn(self) -> str:
        return f"http://{KEY}@127.0.0.1:{self.port}/1"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: the guard hangs up on an answer that is too long."""


@contextmanager
def _tocsin(port: int = 0, **given: Any) -> Iterator[Tocsin]:
    tocsin = Tocsin(**given)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            tocsin.asked.append({"path": self.path, **{name.lower(): value for name, value in self.headers.items()}})
            body = json.dumps(tocsin.answer).encode()
            etag = f'"{hash(body)}"'
            is_known = self.headers.get("If-None-Match") == etag
            status = 304 if is_known and tocsin.status == 200 else tocsin.status
            self.send_response(status)
            self.send_header("ETag", etag)
            self.send_header("Content-Length", "0" if status == 304 else str(len(body)))
            self.end_headers()
            if status != 304:
                self.wfile.write(body)
            tocsin.answered.append(status)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            """Say nothing."""

    server = _Server(("127.0.0.1", port), Handler)
    tocsin.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield tocsin
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _state(dsn: str, **settings: Any) -> Iterator[GuardState]:
    given: dict[str, Any] = {"when_unreachable": "open", "refresh_seconds": 0.05} | settings
    state = GuardState(dsn, **given)
    try:
        yield state
    finally:
        assert state.close(PATIENCE_SECONDS)


def _until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


def _get(port: int, path: str = "/account", method: str = "GET") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return Answer(response.status, {n.lower(): v for n, v in response.getheaders()}, response.read())
    finally:
        connection.close()


async def _page(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.url.path)


@contextmanager
def _uvicorn(state: GuardState, exempt: Any = ()) -> Iterator[int]:
    app = Starlette(routes=[Route("/{path:path}", _page)])
    app.add_middleware(SessionGuardASGI, state=state, exempt=exempt)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        _until(lambda: server.started)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""


def _wsgi_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode("latin-1")]


@contextmanager
def _wsgiref(state: GuardState, exempt: Any = ()) -> Iterator[int]:
    app = SessionGuardWSGI(_wsgi_app, state, exempt=exempt)
    with make_server("127.0.0.1", 0, app, handler_class=_Silent) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(params=[_uvicorn, _wsgiref], ids=["asgi", "wsgi"])
def serve(request: pytest.FixtureRequest) -> Serve:
    """The guarded application, behind uvicorn and behind wsgiref."""
    served: Serve = request.param
    return served


def test_a_block_appears_names_its_incident_and_lifts(serve: Serve) -> None:
    with _tocsin() as tocsin, _state(tocsin.dsn) as state, serve(state) as port:
        assert state.start(PATIENCE_SECONDS)
        assert _get(port).status == 200
        tocsin.answer = BLOCKING
        _until(lambda: _get(port).status == 403)
        refused = _get(port)
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["cache-control"] == "no-store"
        problem = json.loads(refused.body)
        assert (problem["status"], problem["code"], problem["incident"]["number"]) == (403, "SESSION_BLOCKED", 42)
        assert "INC-42" in problem["detail"]
        assert {"type", "title"} <= problem.keys()
        assert _get(port, method="HEAD").body == b""
        tocsin.answer = OPEN_ANSWER
        _until(lambda: _get(port).status == 200)


def test_exempt_paths_stay_open_but_nothing_is_reached_through_them(serve: Serve) -> None:
    exempt = ["/login", "/static/", "/größe"]
    with _tocsin(answer=BLOCKING) as tocsin, _state(tocsin.dsn) as state, serve(state, exempt) as port:
        assert state.start(PATIENCE_SECONDS)
        for path in ("/login", "/static/site.css", "/static/", "/gr%C3%B6%C3%9Fe"):
            assert _get(port, path).status == 200, path
        for path in ("/", "/account", "/login/x", "/static", "/static/../account", "/static/%2e%2e/account"):
            assert _get(port, path).status == 403, path


def test_a_callable_may_exempt_by_anything_in_the_request(serve: Serve) -> None:
    def is_form(request: Mapping[str, Any]) -> bool:
        return b"who=responder" in (request.get("query_string") or request.get("QUERY_STRING", "").encode())

    with _tocsin(answer=BLOCKING) as tocsin, _state(tocsin.dsn) as state, serve(state, is_form) as port:
        assert state.start(PATIENCE_SECONDS)
        assert _get(port, "/account?who=responder").status == 200
        assert _get(port, "/account?who=member").status == 403


@pytest.mark.parametrize(("when_unreachable", "status"), [("open", 200), ("closed", 403)])
def test_before_the_first_answer_the_chosen_setting_holds(serve: Serve, when_unreachable: str, status: int) -> None:
    with _state(f"http://{KEY}@127.0.0.1:1/1", when_unreachable=when_unreachable) as state, serve(state) as port:
        answer = _get(port)
        assert answer.status == status
        if status == 403:
            problem = json.loads(answer.body)
            assert (problem["code"], problem["incident"]) == ("SESSION_BLOCKED", None)
            assert "cannot be reached" in problem["detail"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("when_unreachable", "said", "later"),
    [("open", BLOCKING, None), ("closed", OPEN_ANSWER, Block(None))],
)
def test_the_last_answer_holds_until_it_is_stale(when_unreachable: str, said: Any, later: Block | None) -> None:
    problems: list[str] = []
    settings = {"when_unreachable": when_unreachable, "stale_after_seconds": 0.6, "on_problem": problems.append}
    with _tocsin(answer=said) as tocsin, _state(tocsin.dsn, **settings) as state:
        assert state.start(PATIENCE_SECONDS)
        heard = state.block()
        assert (heard is not None) == said["blocked"]
        tocsin.status = 500
        _until(lambda: problems)
        assert state.block() == heard, "one failure changes nothing"
        _until(lambda: state.block() == later)
        tocsin.status = 200
        _until(lambda: state.block() == heard)
    assert len(problems) == 1
    assert "answers 500" in problems[0]


def test_a_server_that_comes_back_is_asked_again() -> None:
    problems: list[str] = []
    with _tocsin() as tocsin:
        port = tocsin.port
    dsn = f"http://{KEY}@127.0.0.1:{port}/1"
    with _state(dsn, when_unreachable="closed", on_problem=problems.append) as state:
        state.start()
        _until(lambda: problems)
        assert state.block() == Block(None)
        with _tocsin(port, answer=OPEN_ANSWER):
            _until(lambda: state.block() is None)


def test_a_problem_that_cannot_be_told_and_a_thread_that_cannot_start_end_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unheard(problem: str) -> None:
        raise RuntimeError(problem)

    def unstartable(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with _tocsin(status=500) as tocsin, _state(tocsin.dsn, on_problem=unheard) as state:
        with monkeypatch.context() as exhausted:
            exhausted.setattr(threading.Thread, "start", unstartable)
            assert state.block() is None
        state.block()
        _until(lambda: bool(tocsin.asked))
        tocsin.answer, tocsin.status = BLOCKING, 200
        _until(lambda: state.block() is not None)


def test_the_question_carries_the_key_and_an_unchanged_answer_is_not_sent_again() -> None:
    with _tocsin(answer=BLOCKING) as tocsin, _state(tocsin.dsn) as state:
        state.start()
        _until(lambda: tocsin.answered.count(304) >= 2)
        assert state.block() == Block(42, "2026-03-01T03:00:00Z")
        assert tocsin.asked[0]["path"] == PATH
        assert {one["authorization"] for one in tocsin.asked} == {f"Bearer {KEY}"}
        assert "if-none-match" not in tocsin.asked[0]


@pytest.mark.parametrize("answer", [None, [], {}, {"blocked": "no"}, {"blocked": 0}, {"blocked": True}, "x" * 100_000])
def test_an_answer_that_is_not_one_counts_as_none(answer: object) -> None:
    problems: list[str] = []
    settings = {"when_unreachable": "closed", "on_problem": problems.append}
    with _tocsin(answer=answer) as tocsin, _state(tocsin.dsn, **settings) as state:
        state.start()
        _until(lambda: problems)
        assert state.block() == Block(None)


def test_a_wrong_key_is_told_once_with_what_to_check() -> None:
    problems: list[str] = []
    with _tocsin(status=401) as tocsin, _state(tocsin.dsn, on_problem=problems.append) as state:
        state.start()
        _until(lambda: len(tocsin.answered) >= 4)
    assert len(problems) == 1
    assert "401. Check the key" in problems[0]


def test_a_dsn_of_which_no_question_can_be_made_is_told_without_its_key() -> None:
    told: list[str] = []
    with _state("http://K%0AEY@127.0.0.1:9/1", on_problem=told.append) as state:
        state.start()
        _until(lambda: told)
    assert "Repair the DSN" in told[0]
    assert "EY" not in told[0]


def test_the_choice_of_open_or_closed_must_be_made() -> None:
    with pytest.raises(TypeError, match="when_unreachable"):
        GuardState(f"http://{KEY}@127.0.0.1:1/1")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="open"):
        GuardState(f"http://{KEY}@127.0.0.1:1/1", when_unreachable="maybe")  # type: ignore[arg-type]


@pytest.mark.parametrize("exempt", [["/"], ["login"], "/login"])
def test_exemptions_that_would_open_everything_or_nothing_are_refused(exempt: Any) -> None:
    with _state(f"http://{KEY}@127.0.0.1:1/1") as state, pytest.raises(ValueError, match="exempt"):
        SessionGuardWSGI(_wsgi_app, state, exempt=exempt)


def test_a_websocket_is_turned_away_with_1008_and_lifespan_is_never_touched() -> None:
    reached: list[str] = []
    sent: list[Mapping[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["type"])

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    with _state(f"http://{KEY}@127.0.0.1:1/1", when_unreachable="closed") as state:
        guarded = SessionGuardASGI(app, state)
        asyncio.run(guarded({"type": "websocket", "path": "/feed"}, receive, send))
        asyncio.run(guarded({"type": "lifespan"}, receive, send))
    assert reached == ["lifespan"]
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]


def test_a_forked_child_asks_for_itself() -> None:
    with _tocsin() as tocsin, _state(tocsin.dsn) as state:
        assert state.start(PATIENCE_SECONDS)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            # Nothing of the test runner may go on here.
            state.block()
            fresh = state.start(PATIENCE_SECONDS)
            os.write(writing, b"fresh" if fresh else b"stale")
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            assert pipe.read() == b"fresh"
        assert os.waitpid(child, 0)[1] == 0


def test_a_child_of_a_fork_in_c_asks_for_itself() -> None:
    source = """
import ctypes, os, sys, time
from tocsin_sdk.guard import GuardState
state = GuardState(sys.argv[1], when_unreachable="open", refresh_seconds=5)
assert state.start(10)
time.sleep(0.2)  # its thread comes to rest: it must not wait for the interpreter while it is left behind
child = ctypes.PyDLL(None).fork()  # Python's hooks are not called
if child == 0:
    state.block()
    os._exit(0 if state.start(10) else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    with _tocsin() as tocsin:
        command = [sys.executable, "-c", source, tocsin.dsn]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0, ended.stderr
        assert len(tocsin.asked) == 2


def test_a_closed_state_asks_no_more() -> None:
    with _tocsin() as tocsin:
        with _state(tocsin.dsn) as state:
            assert state.start(PATIENCE_SECONDS)
        asked = len(tocsin.asked)
        state.block()
        assert not any(thread.name == "tocsin-guard" for thread in threading.enumerate())
        assert len(tocsin.asked) == asked


async def _nothing_asgi(scope: Any, receive: Any, send: Any) -> None:
    return None


def _nothing_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    return []


async def _time_asgi(app: Any, rounds: int) -> float:
    scope = {"type": "http", "path": "/account"}
    started = time.perf_counter()
    for _ in range(rounds):
        await app(scope, None, None)
    return (time.perf_counter() - started) / rounds


def _time_wsgi(app: Any, rounds: int) -> float:
    environ = {"PATH_INFO": "/account"}
    started = time.perf_counter()
    for _ in range(rounds):
        app(environ, None)
    return (time.perf_counter() - started) / rounds


def test_a_decision_costs_less_than_two_microseconds() -> None:
    with _tocsin() as tocsin, _state(tocsin.dsn, refresh_seconds=2.0) as state:
        assert state.start(PATIENCE_SECONDS)
        asgi = SessionGuardASGI(_nothing_asgi, state)
        wsgi = SessionGuardWSGI(_nothing_wsgi, state)
        by_asgi = [
            asyncio.run(_time_asgi(asgi, 2_000)) - asyncio.run(_time_asgi(_nothing_asgi, 2_000)) for _ in range(21)
        ]
        by_wsgi = [_time_wsgi(wsgi, 2_000) - _time_wsgi(_nothing_wsgi, 2_000) for _ in range(21)]
    medians = {"asgi": statistics.median(by_asgi) * 1e6, "wsgi": statistics.median(by_wsgi) * 1e6}
    print("median microseconds per decision:", {name: round(cost, 3) for name, cost in medians.items()})
    assert max(medians.values()) < 2.0


def test_the_exempt_callable_is_not_asked_while_nothing_blocks() -> None:
    asked: list[object] = []

    def ask(request: Mapping[str, Any]) -> bool:
        asked.append(request)
        return False

    exempt: Exempt = ask
    with _tocsin() as tocsin, _state(tocsin.dsn) as state:
        assert state.start(PATIENCE_SECONDS)
        guarded = SessionGuardWSGI(_nothing_wsgi, state, exempt=exempt)
        assert guarded({}, lambda *_: print) == []
    assert asked == []
