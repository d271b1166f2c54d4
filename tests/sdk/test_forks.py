"""Forks of which nobody is told: a program in C makes them, such as uWSGI."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.sdk.conftest import KEY, SOURCE, Programs, messages
from tests.sdk.receiving import Receiver, until
from tocsin_sdk.spool import Spool

# As uWSGI does it: Python's hooks are not called. And no other thread may be about to run just then: one that waits for
# the interpreter would be waited for in the child, in which it is not. Each of these programs is at rest when it forks.
IN_C = """
import ctypes, traceback
fork = ctypes.PyDLL(None).fork
def forked(work):
    time.sleep(0.2)  # the SDK's threads come to rest
    pid = fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]
"""
SPOOL_ALONE = """
import os, signal, sqlite3, sys, threading, time
from pathlib import Path
from tocsin_sdk import forks
from tocsin_sdk.spool import Parcel, Spool, SpoolUnusableError

spool = Spool(os.environ["SPOOL"])
log = Path(spool.directory) / "spool.db-wal"

def is_refused():
    try:
        spool.put(Parcel("/x", b"refused"))
    except SpoolUnusableError as error:
        return "forked" in str(error)
    return False
"""


def test_both_sides_of_a_fork_in_c_report_and_nothing_arrives_twice(programs: Programs, server: Receiver) -> None:
    ended = programs.run(
        IN_C
        + """
def storm(name):
    for number in range(20):
        assert tocsin_sdk.capture_message(f"{name} {number}")
    assert tocsin_sdk.flush(10)
storm("before")
assert [forked(lambda: storm(f"child{child}")) for child in range(3)] == [0, 0, 0]
storm("parent")
"""
    )
    assert (ended.code, ended.errors) == (0, "")
    names = ("before", "parent", "child0", "child1", "child2")
    assert messages(server) == {f"{name} {number}": 1 for name in names for number in range(20)}
    lines = [line for request in server.taken for line in request.body.splitlines()]
    assert len(lines) == 100, "each was sent once"


def test_a_child_of_a_fork_in_c_that_is_killed_after_a_capture_has_lost_nothing(
    programs: Programs, server: Receiver
) -> None:
    server.script[:] = [503] * 1_000
    ended = programs.run(
        IN_C
        + """
def work():
    assert tocsin_sdk.capture_message("of the child")
    os.kill(os.getpid(), signal.SIGKILL)
assert forked(work) == signal.SIGKILL
tocsin_sdk.capture_message("of the parent")
os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    assert ended.code == -signal.SIGKILL, ended.errors
    assert Spool(programs.spool).counts().waiting == 2


def _ran_well(programs: Programs, source: str, errors: str = "") -> list[bytes]:
    """Run a program that uses a spool alone; return what lies in the spool then."""
    ended = programs.run(IN_C + source, begin=SPOOL_ALONE)
    assert ended.code == 0, ended.errors
    assert errors in ended.errors
    return [parcel.body for _, parcel in Spool(programs.spool).take(100)]


def test_after_a_fork_in_c_both_sides_use_the_spool_and_its_locks(programs: Programs) -> None:
    source = """
assert spool.put(Parcel("/x", b"1"))
assert not spool.is_empty()  # the database is open from here on
def work():
    assert spool.put(Parcel("/x", b"2"))
    other = sqlite3.connect(Path(spool.directory) / "spool.db", timeout=0)
    # Whoever holds no lock is taken for gone, and the log is removed under it.
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    other.close()
    assert log.exists()
    assert spool.put(Parcel("/x", b"3"))
assert forked(work) == 0
assert spool.put(Parcel("/x", b"4"))
"""
    assert _ran_well(programs, source) == [b"1", b"2", b"3", b"4"]


def test_a_child_of_a_fork_in_c_never_touches_a_database_in_the_midst_of_a_commit(programs: Programs) -> None:
    source = """
inside, go_on = threading.Event(), threading.Event()
def notice(_):
    inside.set()
    go_on.wait(20)
    return Parcel("/x", b"2")
def work():
    assert is_refused()
spool.add_dropped(1)
thread = threading.Thread(target=spool.tell_dropped, args=(notice,))
thread.start()
inside.wait(20)
assert forked(work) == 0
go_on.set()
thread.join()
"""
    assert _ran_well(programs, source) == [b"2"], "the parent's commit went through"


def test_a_child_of_a_fork_in_c_never_closes_a_database_whose_log_is_another_one_by_now(programs: Programs) -> None:
    source = """
spool.put(Parcel("/x", b"1"))
spool.is_empty()
def work():
    log.rename(log.with_name("elsewhere"))
    log.write_bytes(b"the log of somebody else")
    assert is_refused()
    assert log.exists()
    log.with_name("elsewhere").rename(log)
assert forked(work) == 0
"""
    assert _ran_well(programs, source) == [b"1"]


def test_what_cannot_begin_anew_after_a_fork_is_said_and_raises_nothing(programs: Programs) -> None:
    source = """
class Broken:
    def before_fork(self):
        pass
    def after_fork_in_parent(self, before):
        pass
    def after_fork_in_child(self, before):
        raise OSError("it cannot be closed")
broken = Broken()
forks.watch(broken)
def work():
    assert spool.put(Parcel("/x", b"1"))
assert forked(work) == 0
"""
    said = "something could not begin anew: OSError: it cannot be closed"
    assert _ran_well(programs, source, errors=said) == [b"1"]


APPLICATION = """
import os
import tocsin_sdk

tocsin_sdk.init(service="shop", max_capture_seconds=10, spool_directory=os.environ["SPOOL"])
tocsin_sdk.capture_message("first process")

def application(environ, start_response):
    assert tocsin_sdk.capture_message(environ["PATH_INFO"])
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""


@contextlib.contextmanager
def _uwsgi(directory: Path, server: Receiver, *options: str) -> Iterator[tuple[str, Path]]:
    """Run the application in a uWSGI with two workers; give its address and the file with what it says."""
    (directory / "application.py").write_text(APPLICATION)
    said = directory / "said"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path]),
        "TOCSIN_DSN": f"http://{KEY}@127.0.0.1:{server.port}/1",
        "SPOOL": str(directory / "spool"),
    }
    command = [str(Path(sys.executable).with_name("uwsgi")), "--http-socket", "127.0.0.1:0", "--master"]
    command += ["--processes", "2", "--wsgi-file", str(directory / "application.py"), *options]
    with (
        said.open("w") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True) as uwsgi,
    ):
        try:
            until(lambda: "spawned uWSGI worker 2" in said.read_text() or uwsgi.poll() is not None)
            (address,) = re.findall(r"bound to TCP address (\S+)", said.read_text())
            yield f"http://{address}", said
        finally:
            os.killpg(uwsgi.pid, signal.SIGKILL)  # a worker that is just starting misses a gentler signal


@pytest.mark.slow
@pytest.mark.parametrize("how", ["preforked", "--lazy-apps", "--py-call-uwsgi-fork-hooks"])
def test_the_workers_of_a_uwsgi_report_and_send(tmp_path: Path, server: Receiver, how: str) -> None:
    options = [] if how == "preforked" else [how]
    with _uwsgi(tmp_path, server, "--enable-threads", *options) as (address, said):
        until(lambda: messages(server)["first process"])  # before anybody has asked for anything
        workers = set()
        for number in range(20):
            with urlopen(f"{address}/{number}") as answer:  # an address of our own
                workers.add(int(answer.read()))
        until(lambda: set(messages(server)) == {"first process", *(f"/{number}" for number in range(20))})
        assert "tocsin_sdk:" not in said.read_text()
        # A worker that comes later is forked from the first process as well.
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        with urlopen(f"{address}/again") as answer:
            assert int(answer.read()) not in workers
        until(lambda: messages(server)["/again"])


@pytest.mark.slow
def test_a_uwsgi_without_threads_is_said_and_what_its_workers_capture_is_on_the_disk(
    tmp_path: Path, server: Receiver
) -> None:
    server.script[:] = [503] * 1_000
    with _uwsgi(tmp_path, server) as (address, said), urlopen(f"{address}/1") as answer:
        os.kill(int(answer.read()), signal.SIGKILL)
        assert Spool(tmp_path / "spool").counts().waiting == 2
        assert "uWSGI runs without --enable-threads" in said.read_text()
