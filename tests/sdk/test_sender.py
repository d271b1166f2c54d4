"""The sender against a real server: what it gives up, what it keeps, and what travels together."""

from __future__ import annotations

import json
import os
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme

from tests.sdk.conftest import Programs
from tests.sdk.receiving import TAKEN, Receiver, receiving, until
from tocsin_sdk.delivery import ERRORS_PATH, MAX_RETRY_AFTER_SECONDS, Answer, Verdict
from tocsin_sdk.sender import (
    FIRST_PAUSE_SECONDS,
    LAST_PAUSE_SECONDS,
    LINES_TYPE,
    MAX_BROKEN_IN_A_ROW,
    MAX_JOINED_BYTES,
    MAX_JOINED_REPORTS,
    Sender,
    bundles,
)
from tocsin_sdk.spool import Parcel, Spool, SpoolCounts

LINES = (("Content-Type", LINES_TYPE),)
NOBODY = "http://127.0.0.1:1"


def _line(number: int, size: int = 0) -> Parcel:
    return Parcel(ERRORS_PATH, json.dumps({"number": number, "filling": "x" * size}).encode(), LINES)


class _Sending:
    """A spool, its sender, and what the sender said."""

    def __init__(self, directory: Path, url: str) -> None:
        self.said: list[str] = []
        self.spool = Spool(directory)
        self.sender = Sender(self.spool, url, timeout_seconds=5, on_problem=self.said.append)

    def put(self, *parcels: Parcel) -> None:
        assert all(self.spool.put_all(parcels))
        self.sender.wake()


@pytest.fixture
def sending(tmp_path: Path, server: Receiver) -> Iterator[_Sending]:
    started = _Sending(tmp_path / "spool", server.url)
    yield started
    started.sender.close(0.1)
    started.spool.close()


def _numbers(server: Receiver) -> list[int]:
    return [json.loads(line)["number"] for request in server.taken for line in request.body.splitlines()]


def test_what_waits_travels_together_in_its_order_and_leaves_the_spool(sending: _Sending, server: Receiver) -> None:
    sending.put(*[_line(number) for number in range(MAX_JOINED_REPORTS + 50)])
    assert sending.sender.flush(10)
    assert _numbers(server) == list(range(MAX_JOINED_REPORTS + 50))
    assert [len(request.body.splitlines()) for request in server.taken] == [MAX_JOINED_REPORTS, 50]
    assert sending.said == []


def test_a_joined_request_is_bounded_in_bytes() -> None:
    taken = [(number, _line(number, MAX_JOINED_BYTES // 3)) for number in range(5)]
    assert [len(bundle.taken) for bundle in bundles(taken)] == [2, 2, 1]
    assert all(len(bundle.body) <= MAX_JOINED_BYTES for bundle in bundles(taken))
    assert len(bundles([(1, _line(1, MAX_JOINED_BYTES * 2))])) == 1


@pytest.mark.parametrize(
    "other",
    [
        Parcel("/api/1/envelope/", b"{}", LINES),
        Parcel(ERRORS_PATH, b"{}", (("Content-Type", "application/json"),)),
        Parcel(ERRORS_PATH, b"\x1f\x8b", (*LINES, ("Content-Encoding", "gzip"))),
        Parcel(ERRORS_PATH, b"{}", (*LINES, ("X-Tocsin-Key", "another"))),
        Parcel(ERRORS_PATH, b"{}\n{}", LINES),
    ],
)
def test_what_is_not_one_line_for_the_same_door_travels_alone_and_unchanged(other: Parcel) -> None:
    sent = bundles([(1, _line(1)), (2, other), (3, other), (4, _line(4))])
    assert len(sent) == (3 if other.headers[-1][0] == "X-Tocsin-Key" else 4)
    assert sent[1].first == other
    assert other.body in sent[1].body


@pytest.mark.parametrize("status", [408, 425, 429, 502, 503, 504])
def test_a_server_that_is_busy_gets_it_later(sending: _Sending, server: Receiver, status: int) -> None:
    server.script[:] = [status]
    sending.put(_line(1))
    until(lambda: _numbers(server) == [1])
    assert sending.sender.flush(10)
    assert len(server.arrived) == 2
    assert sending.spool.counts().refused == 0


def test_a_flush_that_had_nothing_to_hurry_for_ends_no_later_pause(sending: _Sending, server: Receiver) -> None:
    assert [sending.sender.flush(5) for _ in range(20)] == [True] * 20
    server.script[:] = [503] * 100
    began = time.monotonic()
    sending.put(_line(1))
    until(lambda: len(server.arrived) >= 5)
    least = sum(FIRST_PAUSE_SECONDS / 2 * 2**number for number in range(4))
    assert time.monotonic() - began >= least


def test_an_answer_that_never_came_is_asked_for_again(sending: _Sending, server: Receiver) -> None:
    server.script[:] = [None]
    sending.put(_line(1))
    assert sending.sender.flush(10)
    assert _numbers(server) == [1, 1], "the server has it twice, under one event id"


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_of_joined_reports_the_one_that_is_refused_is_put_aside_and_the_others_arrive(
    sending: _Sending, server: Receiver, status: int
) -> None:
    server.script[:] = [status, 200, status, 200]
    sending.put(_line(1), _line(2), _line(3))
    assert sending.sender.flush(10)
    assert _numbers(server) == [1, 3]
    assert [(json.loads(one.body)["number"], one.reason[:3]) for one in sending.spool.refused()] == [(2, str(status))]
    assert len(sending.said) == 1
    assert "refused" in sending.said[0]


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_report_that_a_proxy_refuses_with_a_page_is_kept(sending: _Sending, server: Receiver, status: int) -> None:
    server.bad_answer = b"<html><center>nginx</center></html>"
    server.script[:] = [status, 200, status, 200]
    sending.put(_line(1), _line(2), _line(3))
    until(lambda: len(server.taken) == 2)
    assert _numbers(server) == [1, 3]
    until(lambda: sending.spool.counts().waiting == 1)
    assert list(sending.spool.refused()) == []
    assert "nginx" in sending.said[0]


def test_one_report_at_which_the_server_fails_does_not_hold_up_the_others(sending: _Sending, server: Receiver) -> None:
    server.script[:] = [500, 200, 500, 200]
    sending.put(_line(1), _line(2), _line(3))
    until(lambda: len(server.taken) == 2)
    assert _numbers(server) == [1, 3]
    until(lambda: sending.spool.counts().waiting == 1)


def test_a_server_that_fails_at_everything_is_left_alone_for_a_while(sending: _Sending, server: Receiver) -> None:
    server.script[:] = [500] * 100
    sending.put(*[_line(number) for number in range(50)])
    until(lambda: sending.said)
    assert len(server.arrived) == MAX_BROKEN_IN_A_ROW + 1
    assert sending.spool.counts().waiting == 50


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405])
def test_a_door_that_is_locked_keeps_everything_and_says_so_once(
    sending: _Sending, server: Receiver, status: int
) -> None:
    server.script[:] = [status]
    sending.put(_line(1), _line(2))
    until(lambda: sending.said)
    assert sending.spool.counts().waiting == 2
    assert sending.sender.flush(10), "the key was repaired, and somebody was in a hurry"
    assert len(sending.said) == 1
    assert "repair the DSN" in sending.said[0]
    assert _numbers(server) == [1, 2]


@pytest.mark.parametrize(
    ("dsn", "why"),
    [
        ("http://KEY…@127.0.0.1:9/1", "the key has a character that no key has"),
        ("http://K%0AEY@127.0.0.1:9/1", "the key has a character that no key has"),
        ("http://KEY@tocsin..example.org/1", "there can be no host 'tocsin..example.org'"),
        (f"http://KEY@{'a' * 64}.example.org/1", "there can be no host 'aaa"),
        ("http://KEY@toc sin.example.org/1", "there can be no host 'toc sin"),
        ("http://KEY@127.0.0.1:9/my path/1", "no URL can have the path '/my path'"),
    ],
)
def test_a_dsn_of_which_no_request_can_be_made_is_said_at_once_and_reports_wait(
    programs: Programs, dsn: str, why: str
) -> None:
    ended = programs.run(
        """
tocsin_sdk.capture_message("order 1")
assert not tocsin_sdk.close(0.2)
""",
        TOCSIN_DSN=dsn,
    )
    assert ended.code == 0, ended.errors
    assert ended.errors.count("tocsin_sdk:") == 1
    assert why in ended.errors
    assert "repair the DSN" in ended.errors
    assert "KEY" not in ended.errors
    assert Spool(programs.spool).counts() == SpoolCounts(waiting=1, refused=0, dropped=0)


def test_a_server_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    with receiving() as earlier:
        port = earlier.port
    sending = _Sending(tmp_path, f"http://127.0.0.1:{port}")
    sending.put(_line(1))
    until(lambda: sending.said)
    assert sending.spool.counts().waiting == 1
    with receiving(port) as server:
        until(lambda: _numbers(server) == [1])
        assert sending.sender.close(5)
    assert len(sending.said) == 1
    assert "cannot be reached" in sending.said[0]


def test_what_the_server_refuses_of_an_accepted_request_is_put_aside() -> None:
    body = b'{"accepted": [], "rejected": [{"index": 1, "reason": "no severity"}]}'
    answer = Answer(201, body, path=ERRORS_PATH)
    assert (answer.verdict, answer.rejected()) == (Verdict.DONE, {1: "no severity"})
    for odd in (b'"rejected"', b'{"rejected": 7}', b'{"rejected": [{}]}', b'{"rejected": ["a"]}', b'{"rejected": []}'):
        assert Answer(201, odd).rejected() == {}


SIGN_IN = b"<html><body>Please sign in to the network</body></html>"


@pytest.mark.parametrize(
    ("path", "status", "content_type", "body", "is_tocsins"),
    [
        (ERRORS_PATH, 201, "application/json", b'{"accepted":[],"rejected":[]}', True),
        (ERRORS_PATH, 202, "application/json", b'{"accepted":[],"rejected":[],"kept":true}', True),
        (ERRORS_PATH + "?x=1", 201, "application/json", b'{"accepted":[{"cut off', True),
        (ERRORS_PATH, 200, "text/html", SIGN_IN, False),
        (ERRORS_PATH, 200, "text/html", b'<script>let state = {"accepted": 1}</script>', False),
        (ERRORS_PATH, 200, "application/json", b'{"status":"ok"}', False),
        (ERRORS_PATH, 204, "", b"", False),
        ("/api/1/envelope/", 200, "application/json", b"{}", True),
        ("/api/1/envelope/", 200, "text/html", SIGN_IN, False),
        ("/api/v1/events", 204, "", b"", True),
        ("/v1/logs", 200, "application/x-protobuf", b"", True),
        ("/v1/logs", 200, "text/html", b"", False),
    ],
)
def test_only_an_answer_of_tocsins_says_that_something_was_taken(
    path: str, status: int, content_type: str, body: bytes, is_tocsins: bool
) -> None:
    answer = Answer(status, body, path=path, content_type=content_type)
    assert answer.verdict is (Verdict.DONE if is_tocsins else Verdict.LOCKED)


def test_what_a_page_to_sign_in_was_given_is_kept(sending: _Sending, server: Receiver) -> None:
    server.good_answer = SIGN_IN
    sending.put(_line(1), _line(2))
    until(lambda: sending.said)
    assert sending.spool.counts().waiting == 2
    assert "no answer of Tocsin's" in sending.said[0]
    server.good_answer = TAKEN
    assert sending.sender.flush(10)
    assert len(sending.said) == 1


def test_pauses_grow_to_their_bound_and_are_never_the_same(tmp_path: Path) -> None:
    sender = Sender(Spool(tmp_path), NOBODY, on_problem=lambda _: None)
    pauses = [sender._longer_pause() for _ in range(30)]
    assert FIRST_PAUSE_SECONDS / 2 <= pauses[0] <= FIRST_PAUSE_SECONDS
    assert all(LAST_PAUSE_SECONDS / 2 <= pause <= LAST_PAUSE_SECONDS for pause in pauses[-20:])
    assert len(set(pauses[-20:])) > 5


class _Busy(BaseHTTPRequestHandler):
    """A server that asks to be left alone; how often it was asked is counted."""

    def do_POST(self) -> None:
        self.server.asked += 1  # type: ignore[attr-defined]
        self.send_response(429)
        self.send_header("Retry-After", "3600")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""


@pytest.mark.slow
def test_a_server_that_asks_for_time_gets_it_even_when_somebody_flushes(tmp_path: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Busy)
    server.asked = 0  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    sending = _Sending(tmp_path, f"http://127.0.0.1:{server.server_port}")
    sending.put(_line(1))
    until(lambda: sending.said)
    assert not sending.sender.flush(0.3)
    assert server.asked == 1  # type: ignore[attr-defined]
    held = sending.sender._held_until
    assert not sending.sender.close(0.1)
    server.shutdown()
    server.server_close()
    thread.join()
    assert held > MAX_RETRY_AFTER_SECONDS - 60
    assert sending.spool.counts().waiting == 1


def test_a_request_that_http_cannot_carry_is_put_aside(sending: _Sending, server: Receiver) -> None:
    sending.put(Parcel("/with space\n", b"{}"), Parcel("/x", b"{}", (("Bad\nName", "value"),)), Parcel("/good", b"{}"))
    assert sending.sender.flush(10)
    assert [request.path for request in server.taken] == ["/good"]
    assert sending.spool.counts().refused == 2


def test_a_server_with_a_certificate_of_ones_own_is_trusted_by_SSL_CERT_FILE(  # noqa: N802  # a variable's name
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = HTTPServer(("127.0.0.1", 0), _Taking)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"https://127.0.0.1:{server.server_port}"
    try:
        stranger = _Sending(tmp_path / "stranger", url)
        stranger.put(_line(1))
        until(lambda: stranger.said)
        stranger.sender.close(0)
        assert "CERTIFICATE_VERIFY_FAILED" in stranger.said[0]
        authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        friend = _Sending(tmp_path / "friend", url)
        friend.put(_line(2))
        assert friend.sender.close(10)
        assert friend.said == []
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Taking(_Busy):
    """A server that takes everything."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", str(len(TAKEN)))
        self.end_headers()
        self.wfile.write(TAKEN)


def test_a_child_process_sends_with_a_thread_and_a_connection_of_its_own(tmp_path: Path, server: Receiver) -> None:
    sending = _Sending(tmp_path, server.url)
    sending.put(_line(1))
    assert sending.sender.flush(10)
    child = os.fork()
    if child == 0:
        sending.put(_line(2))
        os._exit(0 if sending.sender.flush(10) else 1)
    assert os.waitpid(child, 0)[1] == 0
    sending.put(_line(3))
    assert sending.sender.close(10)
    assert sorted(_numbers(server)) == [1, 2, 3]


def test_a_sender_outlives_a_spool_that_cannot_be_read(
    sending: _Sending, server: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin_sdk.sender.SPOOL_PAUSE_SECONDS", 0.01)
    take = sending.spool.take
    failures = iter([OSError("the disk is gone")])

    def failing(limit: int) -> list[tuple[int, Parcel]]:
        for failure in failures:
            raise failure
        return take(limit)

    monkeypatch.setattr(sending.spool, "take", failing)
    sending.put(_line(1))
    until(lambda: _numbers(server) == [1])
    assert "the disk is gone" in sending.said[0]
