"""The real sentry-sdk with the spooling transport: what was captured arrives, whatever happens in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.receiving import Receiver, receiving, until

SOURCE = Path(__file__).parents[2] / "sdk" / "src"
KEY = "0123456789abcdef0123456789abcdef"
BEGIN = """
import os, signal, sys, time
import sentry_sdk
from tocsin_sdk.sentry_transport import SpoolingTransport, spooling_transport
dsn = sys.argv[1]
# Without what it would import for every framework that is installed here.
sentry_sdk.init(
    dsn=dsn, transport=SpoolingTransport, shutdown_timeout=float(sys.argv[2]), auto_enabling_integrations=False
)
"""
LATER = """
import time
from tocsin_sdk import clock
clock.now = lambda: time.time() + 60  # what a killed process had taken is leased to it for half a minute
"""
SLOW_DISK = """
import time
from tocsin_sdk.spool import Spool
put_all = Spool.put_all
Spool.put_all = lambda spool, parcels: time.sleep(1.5) or put_all(spool, parcels)
"""
SLOW_TO_TAKE = """
import time
from tocsin_sdk import spool
lease = spool._lease
spool._lease = lambda *arguments: time.sleep(0.3) or lease(*arguments)
"""
CAPTURE = """
for number in range(int(sys.argv[3])):
    sentry_sdk.capture_message(f"{sys.argv[4]} {number}", level="error")
"""
KILL = """
os.kill(os.getpid(), signal.SIGKILL)
"""


def _run(
    program: str, port: int, spool: Path, *arguments: object, **variables: str
) -> subprocess.CompletedProcess[str]:
    dsn = f"http://{KEY}@127.0.0.1:{port}/7"
    path = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "TOCSIN_SPOOL": str(spool), "PYTHONWARNINGS": "error"} | variables
    command = [sys.executable, "-c", program, dsn, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def _unused_port() -> int:
    with receiving() as receiver:
        return receiver.port


def _client_reports(receiver: Receiver) -> list[Any]:
    lines = [line for request in receiver.taken for line in request.text.split(b"\n")]
    return [json.loads(line) for line in lines if b'"discarded_events"' in line]


def test_importing_the_package_does_not_import_sentry() -> None:
    program = "import sys, tocsin_sdk; sys.exit('sentry_sdk' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])}
    assert subprocess.run([sys.executable, "-c", program], env=environment, timeout=30, check=False).returncode == 0


def test_an_error_goes_to_the_envelope_door_of_its_project_with_its_key(tmp_path: Path) -> None:
    with receiving() as receiver:
        program = (
            BEGIN + "\ntry:\n    1 / 0\nexcept ZeroDivisionError as error:\n    sentry_sdk.capture_exception(error)"
        )
        ended = _run(program, receiver.port, tmp_path, 10)
        assert (ended.returncode, ended.stderr) == (0, "")
    (request,) = [one for one in receiver.taken if one.events()]
    assert request.path == "/api/7/envelope/"
    assert f"sentry_key={KEY}" in request.headers["x-sentry-auth"]
    assert request.headers["content-encoding"] == "gzip"
    assert request.headers["content-type"] == "application/x-sentry-envelope"
    assert request.events()[0]["exception"]["values"][0]["type"] == "ZeroDivisionError"


@pytest.mark.slow
def test_a_burst_arrives_whole(tmp_path: Path) -> None:
    """sentry-sdk by itself delivered 101 of 500."""
    with receiving() as receiver:
        ended = _run(BEGIN + CAPTURE, receiver.port, tmp_path, 20, 500, "burst")
        assert ended.returncode == 0, ended.stderr
        assert Counter(receiver.messages()) == Counter(f"burst {number}" for number in range(500))


@pytest.mark.slow
def test_what_waits_for_a_slow_disk_when_the_program_ends_arrives_too(tmp_path: Path) -> None:
    with receiving() as receiver:
        ended = _run(SLOW_DISK + BEGIN + CAPTURE, receiver.port, tmp_path, 20, 4, "slow")
        assert ended.returncode == 0, ended.stderr
        assert Counter(receiver.messages()) == Counter(f"slow {number}" for number in range(4))


@pytest.mark.slow
def test_a_program_that_ends_while_its_spool_is_busy_waits_for_the_delivery(tmp_path: Path) -> None:
    with receiving() as receiver:
        ended = _run(SLOW_TO_TAKE + BEGIN + CAPTURE, receiver.port, tmp_path, 20, 4, "busy")
        assert ended.returncode == 0, ended.stderr
        assert "tocsin_sdk" not in ended.stderr, "there is nothing to complain of"
        assert Counter(receiver.messages()) == Counter(f"busy {number}" for number in range(4))


@pytest.mark.slow
def test_what_was_captured_while_the_server_was_down_arrives_once_it_is_up(tmp_path: Path) -> None:
    """sentry-sdk by itself delivered 0 of 300."""
    port = _unused_port()
    down = _run(BEGIN + CAPTURE, port, tmp_path, 0.2, 300, "down")
    assert down.returncode == 0, down.stderr
    with receiving(port) as receiver:
        # Longer than a lease: on a busy machine the first program may have ended before it gave back what it had taken.
        up = _run(BEGIN + CAPTURE, port, tmp_path, 50, 1, "up")
        assert up.returncode == 0, up.stderr
        expected = [f"down {number}" for number in range(300)] + ["up 0"]
        until(lambda: len(receiver.events()) == len(expected))
    assert Counter(receiver.messages()) == Counter(expected)


@pytest.mark.slow
def test_a_kill_right_after_the_capture_loses_nothing(tmp_path: Path) -> None:
    """sentry-sdk by itself delivered 1 of 90."""
    port = _unused_port()
    killed = _run(BEGIN + CAPTURE + KILL, port, tmp_path, 2, 90, "killed")
    assert killed.returncode == -signal.SIGKILL
    # Once with nobody there, once in the midst of sending: some have been taken, of some the answer is lost.
    with receiving(port, script=[200, 503, None, 500, 200, 429]) as receiver:
        again = _run(BEGIN + CAPTURE + KILL, port, tmp_path, 2, 90, "again")
        assert again.returncode == -signal.SIGKILL
        last = _run(LATER + BEGIN + "\nsentry_sdk.flush(30)", port, tmp_path, 30)
        assert last.returncode == 0, last.stderr
    expected = [f"{when} {number}" for when in ("killed", "again") for number in range(90)]
    assert Counter(receiver.messages()) == Counter(expected)


@pytest.mark.slow
def test_an_event_keeps_its_id_however_often_it_is_sent(tmp_path: Path) -> None:
    with receiving(script=[503, None]) as receiver:
        ended = _run(BEGIN + CAPTURE, receiver.port, tmp_path, 20, 1, "once")
        assert ended.returncode == 0, ended.stderr
        until(lambda: len(receiver.arrived) >= 3)
    ids = {event["event_id"] for request in receiver.arrived for event in request.events()}
    assert len(ids) == 1


@pytest.mark.slow
def test_what_the_client_dropped_by_itself_is_told(tmp_path: Path) -> None:
    program = BEGIN.replace("transport=", "before_send=lambda event, hint: None, transport=") + CAPTURE
    with receiving() as receiver:
        ended = _run(program, receiver.port, tmp_path, 20, 3, "boring")
        assert ended.returncode == 0, ended.stderr
    (dropped,) = [one for report in _client_reports(receiver) for one in report["discarded_events"]]
    assert dropped == {"reason": "before_send", "category": "error", "quantity": 3}


@pytest.mark.slow
def test_the_factory_says_where_the_spool_lies(tmp_path: Path) -> None:
    program = BEGIN.replace("transport=SpoolingTransport", "transport=spooling_transport(directory=sys.argv[5])")
    ended = _run(program + CAPTURE + KILL, _unused_port(), tmp_path / "unused", 0, 1, "here", tmp_path / "chosen")
    assert ended.returncode == -signal.SIGKILL
    assert any((tmp_path / "chosen").rglob("*"))
    assert not (tmp_path / "unused").exists()


@pytest.mark.slow
def test_where_the_disk_cannot_be_used_the_host_goes_on_and_errors_leave_from_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a directory")
    with receiving() as receiver:
        ended = _run(BEGIN + CAPTURE, receiver.port, tmp_path / "file", 20, 2, "memory")
        assert ended.returncode == 0, ended.stderr
        assert Counter(receiver.messages()) == Counter(["memory 0", "memory 1"])
    assert "reports are held in memory" in ended.stderr
    assert "Traceback" not in ended.stderr


FULL = """
from tocsin_sdk import spool
whole = spool.Spool.__init__
def small(self, directory, **settings):
    whole(self, directory, max_parcels=5, **settings)
spool.Spool.__init__ = small
"""


@pytest.mark.slow
def test_what_finds_no_room_is_counted_and_told_once_there_is_some(tmp_path: Path) -> None:
    port = _unused_port()
    full = _run(FULL + BEGIN + CAPTURE, port, tmp_path, 0.1, 8, "full")
    assert full.returncode == 0
    assert "the spool is full" in full.stderr
    with receiving(port) as receiver:
        empty = _run(LATER + BEGIN + "\nsentry_sdk.flush(20)", port, tmp_path, 20)
        assert empty.returncode == 0, empty.stderr
        told = _run(LATER + BEGIN + CAPTURE, port, tmp_path, 20, 1, "room")
        assert told.returncode == 0, told.stderr
    assert Counter(receiver.messages()) == Counter([*(f"full {number}" for number in range(5)), "room 0"])
    losses = [one for report in _client_reports(receiver) for one in report["discarded_events"]]
    assert losses == [{"reason": "queue_overflow", "category": "error", "quantity": 3}]


@pytest.mark.slow
def test_a_forked_child_reports_too(tmp_path: Path) -> None:
    program = """
child = os.fork()
sentry_sdk.capture_message("from the child" if child == 0 else "from the parent", level="error")
sentry_sdk.flush(20)
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    with receiving() as receiver:
        ended = _run(BEGIN + program, receiver.port, tmp_path, 20)
        assert ended.returncode == 0, ended.stderr
        until(lambda: len(receiver.events()) == 2)
    assert set(receiver.messages()) == {"from the child", "from the parent"}


@pytest.mark.slow
def test_programs_with_different_servers_may_share_a_spool_directory(tmp_path: Path) -> None:
    with receiving() as one, receiving() as other:
        for receiver, word in ((one, "one"), (other, "other")):
            down = _run(BEGIN + CAPTURE + KILL, receiver.port, tmp_path, 0, 3, word)
            assert down.returncode == -signal.SIGKILL
        for receiver in (one, other):
            up = _run(LATER + BEGIN + "\nsentry_sdk.flush(20)", receiver.port, tmp_path, 20)
            assert up.returncode == 0, up.stderr
    for receiver, word in ((one, "one"), (other, "other")):
        assert Counter(receiver.messages()) == Counter(f"{word} {number}" for number in range(3))
