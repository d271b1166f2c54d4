"""The forwarder as a program of its own: what it answered is delivered, though it is killed and the server fails."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.sdk.receiving import PATIENCE_SECONDS, receiving, until
from tocsin.cli.forward import forward
from tocsin.cli.output import Call
from tocsin.errors import TocsinError
from tocsin_sdk.delivery import ERRORS_PATH
from tocsin_sdk.forward import MAX_BODY_BYTES, SharedSender, UnreadableError, answer_to
from tocsin_sdk.sender import LINES_TYPE
from tocsin_sdk.spool import Parcel, Spool

SOURCE = Path(__file__).parents[2] / "sdk" / "src"
KEY = "0123456789abcdef0123456789abcdef"
EVENT_ID = "fedcba9876543210fedcba9876543210"
NOBODY = "http://127.0.0.1:1"
LATER = """
import runpy, sys, time
from tocsin_sdk import clock
clock.now = lambda: time.time() + 600  # leases and pauses of a process that was killed are over
sys.argv[0] = "forward"
runpy.run_module("tocsin_sdk.forward", run_name="__main__")
"""


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Forwarder:
    """A running forwarder, in a process of its own."""

    process: subprocess.Popen[str]
    port: int

    def call(self, method: str, path: str, body: Any = b"", headers: Mapping[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, {n.lower(): v for n, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def post(self, path: str, document: object, **headers: str) -> Answer:
        return self.call("POST", path, json.dumps(document).encode(), {"Content-Type": "application/json"} | headers)

    def raw(self, request: bytes) -> bytes:
        """Send bytes as they are; return all that is answered until the connection ends."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    def health(self) -> Any:
        return self.call("GET", "/healthz").json


@contextmanager
def _forwarder(spool: Path, to: str, *more: str, program: str | None = None) -> Iterator[Forwarder]:
    arguments = ["--to", to, "--listen", "127.0.0.1:0", "--spool", str(spool), "--json", *more]
    process = _start(*arguments, program=program)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield Forwarder(process, int(json.loads(line)["url"].rpartition(":")[2]))
    finally:
        process.kill()
        process.communicate()


def _start(*arguments: str, program: str | None = None) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": "error"}
    run = ["-c", program] if program else ["-m", "tocsin_sdk.forward"]
    return subprocess.Popen(
        [sys.executable, *run, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _sentry(message: str, event_id: str = EVENT_ID) -> bytes:
    event = {"event_id": event_id, "level": "error", "message": message}
    return "\n".join(json.dumps(part) for part in ({"event_id": event_id}, {"type": "event"}, event)).encode()


SENTRY_AUTH = {"X-Sentry-Auth": f"Sentry sentry_key={KEY}, sentry_version=7"}


def test_each_client_is_answered_as_its_server_would_and_its_request_arrives_whole(tmp_path: Path) -> None:
    protobuf = {"Content-Type": "application/x-protobuf", "Authorization": f"Bearer {KEY}"}
    packed = gzip.compress(_sentry("packed", "1" * 32))
    with receiving() as server, _forwarder(tmp_path, server.url + "/tocsin") as forwarder:
        envelope = forwarder.call("POST", "/api/1/envelope/", _sentry("plain"), SENTRY_AUTH)
        assert (envelope.status, envelope.json) == (200, {"id": EVENT_ID})
        assert envelope.headers["access-control-allow-origin"] == "*"
        by_query = f"/api/1/envelope/?sentry_key={KEY}&sentry_version=7"
        assert forwarder.call("POST", by_query, packed, {"Content-Encoding": "gzip"}).json == {"id": "1" * 32}
        assert forwarder.post("/api/1/store/", {"event_id": EVENT_ID, "message": "old"}).json == {"id": EVENT_ID}
        reports = forwarder.post("/api/v1/errors", [{"severity": "HIGH", "message": "x"}], Authorization="Bearer k")
        assert (reports.status, reports.json["accepted"], reports.json["kept"]) == (202, [], True)
        logs = forwarder.call("POST", "/v1/logs", b"\x0a\x00", protobuf)
        assert (logs.status, logs.body, logs.headers["content-type"]) == (200, b"", "application/x-protobuf")
        traces = forwarder.post("/v1/traces", {"resourceSpans": []})
        assert (traces.status, traces.json, traces.headers["content-type"]) == (200, {}, "application/json")
        trigger = {"routing_key": KEY, "event_action": "trigger", "payload": {"summary": "disk full"}}
        page = forwarder.post("/v2/enqueue", trigger)
        assert (page.status, page.json["status"]) == (202, "success")
        assert forwarder.post("/api/v1/alertmanager", {"alerts": []}).status == 200
        assert forwarder.post("/api/v2/alerts", []).status == 200
        until(lambda: len(server.taken) == 9)
    by_path = {request.path.removeprefix("/tocsin"): request for request in server.taken}
    assert by_path["/api/1/envelope/"].body == _sentry("plain")
    assert by_path["/api/1/envelope/"].headers["x-sentry-auth"] == SENTRY_AUTH["X-Sentry-Auth"]
    assert (by_path[by_query].body, by_path[by_query].headers["content-encoding"]) == (packed, "gzip")
    assert by_path["/v1/logs"].body == b"\x0a\x00"
    assert by_path["/v1/logs"].headers["authorization"] == f"Bearer {KEY}"
    assert json.loads(by_path["/v2/enqueue"].body) == {**trigger, "dedup_key": page.json["dedup_key"]}


def test_a_request_keeps_one_idempotency_key_however_often_it_is_sent(tmp_path: Path) -> None:
    with receiving(script=[503, None, 503]) as server, _forwarder(tmp_path, server.url) as forwarder:
        forwarder.post("/api/v1/errors", {"severity": "HIGH", "message": "x"}, Cookie="session=secret")
        until(lambda: len(server.arrived) >= 4)
        until(lambda: forwarder.health()["waiting"] == 0)
    assert len({request.headers["idempotency-key"] for request in server.arrived}) == 1
    assert not any("cookie" in request.headers for request in server.arrived)


def test_the_clients_own_idempotency_key_is_kept(tmp_path: Path) -> None:
    with receiving() as server, _forwarder(tmp_path, server.url) as forwarder:
        forwarder.post("/api/v1/errors", {"severity": "HIGH", "message": "x"}, **{"Idempotency-Key": "mine"})
        until(lambda: server.taken)
    assert server.taken[0].headers["idempotency-key"] == "mine"


@pytest.mark.slow
def test_what_was_answered_survives_kills_and_a_failing_server_and_arrives_once(tmp_path: Path) -> None:
    with receiving() as unused:
        port = unused.port
    numbers = iter(range(1_000_000))
    answered: list[str] = []

    def send_until_dead(forwarder: Forwarder) -> None:
        for number in numbers:
            try:
                answer = forwarder.call("POST", "/api/1/envelope/", _sentry(f"event {number}", f"{number:032x}"))
            except (OSError, http.client.HTTPException):
                return
            if answer.status == 200:
                answered.append(f"event {number}")

    def live_and_die(enough: int) -> None:
        with _forwarder(tmp_path, f"http://127.0.0.1:{port}", program=LATER) as forwarder:
            client = threading.Thread(target=send_until_dead, args=(forwarder,))
            client.start()
            until(lambda: len(answered) >= enough)
            forwarder.process.send_signal(signal.SIGKILL)
            client.join()

    live_and_die(100)
    with receiving(port, script=[200, 503, None, 500, 200, 429, None]) as server:
        live_and_die(200)
        with _forwarder(tmp_path, server.url, program=LATER) as forwarder:
            until(lambda: forwarder.health()["waiting"] <= 1)  # the one that met the 500 waits for half a minute
        with _forwarder(tmp_path, server.url, program=LATER.replace("600", "1200")) as forwarder:
            until(lambda: forwarder.health()["waiting"] == 0)
            assert forwarder.health()["refused"] == 0
    arrived = Counter(server.messages())
    assert set(answered) <= set(arrived)
    assert set(arrived.values()) == {1}
    # At each kill one request was on its way: it may have been kept without an answer, and is nobody's loss.
    assert len(set(arrived) - set(answered)) <= 2


def test_a_refused_key_holds_up_nobody_elses_requests(tmp_path: Path) -> None:
    with receiving(script=[401, 404]) as server, _forwarder(tmp_path, server.url) as forwarder:
        for name in ("locked", "lost", "fine"):
            forwarder.post(f"/api/v1/{name}", {})
            until(lambda: len(server.arrived) >= 1)
        until(lambda: [request.path for request in server.taken] == ["/api/v1/fine"])
        # The server has it a moment before the forwarder has taken note of the answer.
        until(lambda: forwarder.health()["waiting"] == 2)
        health = forwarder.health()
        assert health["refused"] == 0
        assert "401" in health["lastProblem"]


@pytest.mark.parametrize("idempotency_keys", [("the same", "the same"), ("first", "second")])
def test_what_has_a_refused_key_waits_aside_and_the_server_is_asked_but_once(
    tmp_path: Path, idempotency_keys: tuple[str, str]
) -> None:
    first, second = (("Idempotency-Key", key) for key in idempotency_keys)
    wrong, right = (("Authorization", "Bearer wrong"),), (("Authorization", "Bearer right"),)
    lines = (("Content-Type", LINES_TYPE),)
    spool = Spool(tmp_path / "spool")
    bodies = {b"one": (*wrong, *lines, first), b"two": (*wrong, *lines, second), b"fine": (*right, *lines, first)}
    spool.put_all([Parcel(ERRORS_PATH, body, headers) for body, headers in bodies.items()])
    problems: list[str] = []
    with receiving(script=[401]) as server:
        sender = SharedSender(spool, server.url, on_problem=problems.append)
        sender.start()
        until(lambda: spool.counts().waiting == 2)
        sender.close(0.0)
    assert len(server.arrived) == 2
    assert [request.body for request in server.taken] == [b"fine"]
    assert "401" in problems[0]
    spool.close()


def test_where_the_key_is_in_the_body_the_next_one_is_asked_for(tmp_path: Path) -> None:
    with receiving(script=[401]) as server, _forwarder(tmp_path, server.url) as forwarder:
        for key in ("wrong", "right"):
            forwarder.post("/v2/enqueue", {"routing_key": key, "event_action": "trigger"})
            until(lambda: server.arrived)
        until(lambda: [json.loads(request.body)["routing_key"] for request in server.taken] == ["right"])


def test_what_the_server_never_takes_is_put_aside_and_seen(tmp_path: Path) -> None:
    with receiving(script=[422]) as server, _forwarder(tmp_path, server.url) as forwarder:
        forwarder.post("/api/v1/errors", {"nonsense": True})
        until(lambda: forwarder.health()["refused"] == 1)
        assert (forwarder.health()["waiting"], forwarder.health()["status"]) == (0, "ok")


def test_a_chunked_body_is_taken_and_so_is_a_second_request_on_the_connection(tmp_path: Path) -> None:
    head = b"POST /api/1/envelope/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"5;note=1\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: 1\r\n\r\n"
    second = b"POST /api/v2/alerts HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]"
    with receiving() as server, _forwarder(tmp_path, server.url) as forwarder:
        assert forwarder.raw(head + chunks + second).count(b"HTTP/1.1 200 OK") == 2
        until(lambda: len(server.taken) == 2)
    assert sorted(request.body for request in server.taken) == [b"[]", b"hello world"]


def test_a_client_that_asks_first_is_told_to_go_on(tmp_path: Path) -> None:
    head = b"POST /api/v2/alerts HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: "
    with _forwarder(tmp_path, NOBODY) as forwarder:
        answer = forwarder.raw(head + b"2\r\n\r\n[]")
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
        refused = forwarder.raw(head + str(MAX_BODY_BYTES + 1).encode() + b"\r\n\r\n")
        assert refused.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (b"Content-Length: -1", b"", 400),
        (b"Content-Length: 1\r\nContent-Length: 2", b"[]", 400),
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked", b"[]", 400),
        (b"Transfer-Encoding: gzip", b"", 400),
        (b"Transfer-Encoding: chunked", b"xyz\r\n", 400),
        (b"Transfer-Encoding: chunked", b"2\r\n[]]]\r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked", b"ffffffff\r\n", 413),
        (b"Content-Length: 20971521", b"", 413),
        (b"Content-Length: 0\r\nAuthorization: " + b"k" * 40_000, b"", 431),
    ],
)
def test_a_request_that_cannot_be_read_is_refused_and_its_connection_ended(
    shared: Forwarder, head: bytes, body: bytes, status: int
) -> None:
    rest = b"POST /second HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    before = shared.health()["waiting"]
    answer = shared.raw(b"POST /api/v2/alerts HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n" + body + rest)
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [str(status).encode()]
    assert shared.health()["waiting"] == before


def test_half_a_body_is_not_kept(shared: Forwarder) -> None:
    before = shared.health()["waiting"]
    assert shared.raw(b"POST /api/v2/alerts HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n[") == b""
    assert shared.health()["waiting"] == before


def test_the_largest_body_is_taken(shared: Forwarder) -> None:
    assert shared.call("POST", "/api/v2/alerts", b" " * MAX_BODY_BYTES).status == 200
    too_large = {"Content-Length": str(MAX_BODY_BYTES + 1)}
    assert shared.call("POST", "/api/v2/alerts", b"", too_large).status == 413


def test_a_page_may_report_to_sentrys_door_only(shared: Forwarder) -> None:
    preflight = shared.call("OPTIONS", "/api/1/envelope/", headers={"Origin": "https://shop.example"})
    assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (204, "*")
    assert "X-Sentry-Auth" in preflight.headers["access-control-allow-headers"]
    assert "access-control-allow-origin" not in shared.call("OPTIONS", "/v2/enqueue").headers


def test_other_methods_are_told_what_this_is(shared: Forwarder) -> None:
    answer = shared.call("GET", "/")
    assert answer.status == 404
    assert "/healthz" in answer.json["detail"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forwarder]:
    """A forwarder whose server is never there: what is kept, stays."""
    with _forwarder(tmp_path_factory.mktemp("spool"), NOBODY) as forwarder:
        yield forwarder


FULL = """
import runpy, sys
from tocsin_sdk import spool
whole = spool.Spool.__init__
def small(self, directory, **settings):
    whole(self, directory, max_parcels=3, **settings)
spool.Spool.__init__ = small
sys.argv[0] = "forward"
runpy.run_module("tocsin_sdk.forward", run_name="__main__")
"""


def test_a_full_spool_refuses_with_503_says_so_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    with receiving() as unused:
        port = unused.port
    with _forwarder(tmp_path, f"http://127.0.0.1:{port}", program=FULL) as forwarder:
        assert [forwarder.post("/api/v2/alerts", []).status for _ in range(5)] == [200, 200, 200, 503, 503]
        refused = forwarder.post("/api/v2/alerts", [])
        assert (refused.status, "retry-after" in refused.headers) == (503, True)
        assert "full" in refused.json["detail"]
        assert (forwarder.health()["status"], forwarder.health()["dropped"]) == ("full", 3)
        with receiving(port):
            until(lambda: forwarder.post("/api/v2/alerts", []).status == 200)
            assert forwarder.health()["status"] == "ok"
        forwarder.process.terminate()
        _, said = forwarder.process.communicate(timeout=PATIENCE_SECONDS)
    assert [json.loads(line)["event"] for line in said.splitlines()].count("full") == 1


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly_and_what_waits_is_named(tmp_path: Path, signal_number: int) -> None:
    with _forwarder(tmp_path, NOBODY) as forwarder:
        assert forwarder.post("/api/v2/alerts", []).status == 200
        forwarder.process.send_signal(signal_number)
        out, err = forwarder.process.communicate(timeout=PATIENCE_SECONDS)
        assert forwarder.process.returncode == 0, err
    stopped = json.loads(out.splitlines()[-1])
    assert (stopped["event"], stopped["waiting"]) == ("stopped", 1)
    assert "Traceback" not in err
    with receiving() as server, _forwarder(tmp_path, server.url, program=LATER):
        until(lambda: server.taken)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", NOBODY, "--listen", "0.0.0.0:0"], "--allow-remote"),
        (["--to", NOBODY, "--listen", "8421"], "HOST:PORT"),
        (["--to", "tocsin.example.org"], "not a URL"),
        (["--to", f"http://{KEY}@127.0.0.1:1/1"], "carries a key"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    process = _start(*arguments, "--spool", str(tmp_path))
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, said.count("\n")) == (1, 1)
    assert words in said
    assert KEY not in said


def test_a_spool_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a directory")
    process = _start("--to", NOBODY, "--listen", "127.0.0.1:0", "--spool", str(tmp_path / "file"))
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert said.count("\n") == 1
    assert "cannot be used" in said


def test_a_spool_that_breaks_later_is_answered_with_503_and_never_with_success(tmp_path: Path) -> None:
    with _forwarder(tmp_path / "spool", NOBODY) as forwarder:
        assert forwarder.post("/api/v2/alerts", []).status == 200
        shutil.rmtree(tmp_path / "spool")
        (tmp_path / "spool").write_text("in the way of a directory")
        assert forwarder.post("/api/v2/alerts", []).status == 503
        health = forwarder.call("GET", "/healthz")
        assert (health.status, health.json["status"]) == (503, "broken")


def test_the_command_becomes_the_forwarder_with_the_same_options(monkeypatch: pytest.MonkeyPatch) -> None:
    become: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda program, command: become.append([program, *command]))
    given = ["--to", NOBODY, "--listen", "127.0.0.1:0", "--spool", "here", "--allow-remote", "--json"]
    _tocsin_forward(*given)
    program, executable, *rest = become[0]
    assert program == executable == sys.executable
    assert rest[:2] == ["-m", "tocsin_sdk.forward"]
    assert sorted(rest[2:]) == sorted(given)


def test_without_the_package_the_command_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tocsin.cli.forward.PACKAGE", "tocsin_sdk_that_is_not_there")
    with pytest.raises(TocsinError) as refused:
        _tocsin_forward("--to", NOBODY)
    assert "pip install ./sdk" in refused.value.refusal.hint


def _tocsin_forward(*arguments: str) -> None:
    commands = typer.Typer()
    commands.command()(forward)
    commands(args=list(arguments), standalone_mode=False, obj=Call(json="--json" in arguments))


def test_it_says_what_to_paste(tmp_path: Path) -> None:
    process = _start("--to", NOBODY, "--listen", "127.0.0.1:0", "--spool", str(tmp_path))
    assert process.stdout is not None
    said = ""
    while "Ctrl-C" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    process.terminate()
    process.communicate(timeout=PATIENCE_SECONDS)
    address = re.search(r"http://(127\.0\.0\.1:\d+) delivers to", said)
    assert address, said
    assert f"http://KEY@{address[1]}/PROJECT" in said


CROWDED = """
import sys
from tocsin_sdk import forward
forward.MAX_CONNECTIONS, forward.CROWDED_CONNECTIONS = 3, 2
sys.exit(forward.main())
"""


def test_connections_are_bounded_and_whoever_finds_no_place_waits_for_one(tmp_path: Path) -> None:
    request = b"POST /api/v2/alerts HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]"
    with _forwarder(tmp_path, NOBODY, program=CROWDED) as forwarder:
        where = ("127.0.0.1", forwarder.port)
        with ExitStack() as stack:
            first, second, third, fourth = [
                stack.enter_context(socket.create_connection(where, PATIENCE_SECONDS)) for _ in range(4)
            ]
            fourth.sendall(request)
            fourth.settimeout(0.2)
            with pytest.raises(TimeoutError):
                fourth.recv(4_096)
            third.sendall(request)
            answer = b"".join(iter(lambda: third.recv(4_096), b""))
            assert b"Connection: close" in answer, "where it is crowded, no connection is kept"
            fourth.settimeout(PATIENCE_SECONDS)
            assert b"200 OK" in fourth.recv(4_096)
            for idle in (first, second):
                idle.sendall(request)
                assert b"200 OK" in idle.recv(4_096)


def test_pagerdutys_own_dedup_key_is_answered_and_a_body_that_is_no_event_is_refused() -> None:
    event = Parcel("/v2/enqueue", b'{"event_action": "resolve", "dedup_key": "disk-1"}')
    kept, answer = answer_to(event)
    assert kept is event
    assert json.loads(answer.body)["dedup_key"] == "disk-1"
    for body in (b"", b"[]", b"not json", b"[" * 100_000):
        with pytest.raises(UnreadableError):
            answer_to(Parcel("/v2/enqueue", body))


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b'{"event_id": 5}', b"[" * 100_000, b"\x1f\x8b broken"])
@pytest.mark.parametrize("path", ["/api/1/envelope/", "/api/1/store/"])
@pytest.mark.parametrize("encoding", ["", "gzip", "br"])
def test_an_event_id_that_cannot_be_seen_is_not_made_up(path: str, body: bytes, encoding: str) -> None:
    parcel = Parcel(path, body, (("Content-Encoding", encoding),))
    kept, answer = answer_to(parcel)
    assert kept == parcel
    assert (answer.status, answer.body) == (200, b"{}")
