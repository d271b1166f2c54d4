"""Programs that capture: what arrives, and that nothing of it ever hurts or holds up the program itself."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sdk.conftest import BEGIN, KEY, SOURCE, Programs, messages, reports
from tests.sdk.receiving import Receiver, receiving, until
from tocsin_sdk import clock
from tocsin_sdk.spool import LEASE_SECONDS, Spool

LATER = f"""
import time
from tocsin_sdk import clock
clock.now = lambda: time.time() + {LEASE_SECONDS + 1}  # what a killed process had taken is free again
"""


def test_a_captured_exception_arrives_with_what_the_program_is(programs: Programs, server: Receiver) -> None:
    ended = programs.run("""
try:
    int("x")
except ValueError:
    print(tocsin_sdk.capture_exception(tags={"region": "eu"}, context={"password": "hunter2"}))
""")
    assert (ended.code, ended.errors) == (0, "")
    (report,) = reports(server)
    assert report["eventId"] == ended.output.strip()
    assert (report["service"], report["environment"], report["release"]) == ("shop", "test", "1.2.3")
    assert (report["type"], report["severity"], report["tags"]) == ("ValueError", "HIGH", {"region": "eu"})
    assert report["context"] == {"password": "[scrubbed]"}


def test_a_program_killed_right_after_capture_returned_has_lost_nothing(programs: Programs, server: Receiver) -> None:
    server.script[:] = [503] * 1_000
    killed = programs.run("""
for number in range(20):
    assert tocsin_sdk.capture_message(f"order {number}")
os.kill(os.getpid(), signal.SIGKILL)
""")
    assert killed.code == -signal.SIGKILL
    assert reports(server) == []
    server.script.clear()
    assert programs.run("tocsin_sdk.flush(10)", begin=LATER + BEGIN).code == 0
    assert messages(server) == {f"order {number}": 1 for number in range(20)}


@pytest.mark.slow
def test_whenever_it_is_killed_every_returned_capture_arrives_exactly_once(
    programs: Programs, server: Receiver
) -> None:
    returned: list[str] = []
    for round_ in range(6):
        program = programs.start(
            """
for number in range(100_000):
    event_id = tocsin_sdk.capture_message(f"{sys.argv[1]} {number}")
    os.write(1, (event_id + "\\n").encode())
""",
            round_,
            begin=LATER + BEGIN,
        )
        assert program.stdout is not None
        returned += [program.stdout.readline().strip() for _ in range(20 + 17 * round_)]
        program.kill()
        # What came after the last line that was read did return as well; a line that was cut short did not.
        returned += [line for line in program.stdout.read().split("\n")[:-1] if len(line) == 32]
        program.communicate()
    assert programs.run("tocsin_sdk.flush(15)", begin=LATER + LATER.replace("() +", "() + 60 +") + BEGIN).code == 0
    arrived = {report["eventId"] for report in reports(server)}
    assert set(returned) <= arrived
    assert len(returned) == len(set(returned)) > 300
    assert Spool(programs.spool).counts().waiting == 0


@pytest.mark.slow
def test_a_program_that_ends_while_the_server_is_down_ends_in_time_and_the_next_one_sends(tmp_path: Path) -> None:
    with receiving() as earlier:
        programs = Programs(tmp_path / "spool", earlier.port)
    ended = programs.run("""
tocsin_sdk.capture_message("order 1")
before = time.monotonic()
tocsin_sdk.close(0.5)
print(time.monotonic() - before)
""")
    assert ended.code == 0
    assert float(ended.output) < 1.5
    assert ended.errors.count("cannot be reached") == 1
    with receiving(programs.port) as server:
        programs.run("tocsin_sdk.flush(10)")
        assert messages(server) == {"order 1": 1}


def test_both_sides_of_a_fork_report_and_nothing_arrives_twice(programs: Programs, server: Receiver) -> None:
    ended = programs.run("""
def storm(name):
    for number in range(40):
        tocsin_sdk.capture_message(f"{name} {number}")
other = threading.Thread(target=storm, args=("thread",))
other.start()
children = []
for child in range(4):
    pid = os.fork()
    if pid == 0:
        storm(f"child{child}")
        tocsin_sdk.flush(10)
        os._exit(0)
    children.append(pid)
storm("parent")
other.join()
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
tocsin_sdk.flush(10)
""")
    assert (ended.code, ended.errors) == (0, "")
    expected = {f"{name} {number}": 1 for name in _FORKED for number in range(40)}
    assert messages(server) == expected


_FORKED = ["thread", "parent", "child0", "child1", "child2", "child3"]


def test_many_threads_report_at_once_and_all_of_it_arrives(programs: Programs, server: Receiver) -> None:
    ended = programs.run("""
def work(name):
    for number in range(50):
        assert tocsin_sdk.capture_message(f"{name} {number}")
threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
tocsin_sdk.flush(10)
print(tocsin_sdk.problems())
""")
    assert (ended.code, ended.output.strip(), ended.errors) == (0, "0", "")
    assert messages(server) == {f"{name} {number}": 1 for name in range(8) for number in range(50)}


def test_what_other_threads_capture_while_init_is_called_again_arrives(programs: Programs, server: Receiver) -> None:
    ended = programs.run("""
import logging
stop = False
def work(name):
    number = 0
    while not stop:
        assert tocsin_sdk.capture_message(f"{name} {number}")
        number += 1
        time.sleep(0.001)
    os.write(1, f"{name} {number}\\n".encode())
threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
[thread.start() for thread in threads]
for _ in range(2):
    time.sleep(0.05)
    tocsin_sdk.init(service="shop", max_capture_seconds=10, spool_directory=spool)
stop = True
[thread.join() for thread in threads]
logging.error("logged once")
assert tocsin_sdk.flush(10)
""")
    assert ended.code == 0, ended.errors
    assert "tocsin_sdk:" not in ended.errors
    numbers = dict(line.split() for line in ended.output.splitlines())
    expected = {f"{name} {number}": 1 for name, count in numbers.items() for number in range(int(count))}
    assert messages(server) == expected | {"logged once": 1}


def test_a_signal_handler_may_capture_in_the_midst_of_a_capture(programs: Programs, server: Receiver) -> None:
    ended = programs.run("""
handled = 0
def handler(*_):
    global handled
    handled += 1
    tocsin_sdk.capture_message(f"signal {handled}")
signal.signal(signal.SIGALRM, handler)
for number in range(300):
    signal.setitimer(signal.ITIMER_REAL, 0.00002 * (number % 20 + 1))
    tocsin_sdk.capture_message(f"main {number}")
signal.setitimer(signal.ITIMER_REAL, 0)
tocsin_sdk.flush(10)
print(handled)
""")
    assert (ended.code, ended.errors) == (0, "")
    handled = int(ended.output)
    assert handled > 100
    assert messages(server) == {f"main {number}": 1 for number in range(300)} | {
        f"signal {number}": 1 for number in range(1, handled + 1)
    }


def test_an_error_logged_while_an_error_is_reported_does_not_go_round_for_ever(
    programs: Programs, server: Receiver
) -> None:
    ended = programs.run(
        """
import logging
def before_send(report):
    logging.getLogger("shop").error("before_send saw %s", report["message"])
    return report
tocsin_sdk.init(before_send=before_send)
logging.getLogger("shop").error("first")
tocsin_sdk.flush(10)
print(tocsin_sdk.problems())
""",
    )
    assert ended.code == 0
    assert messages(server) == {"first": 1, "before_send saw first": 1}
    assert int(ended.output.split()[-1]) == 1


def test_before_send_may_change_a_report_or_keep_it_back_and_its_own_failure_loses_nothing(
    programs: Programs, server: Receiver
) -> None:
    ended = programs.run("""
def before_send(report):
    if report["message"] == "broken":
        raise RuntimeError("a mistake in before_send")
    if report["message"] == "odd":
        return {**report, "context": {"what": object()}}
    return None if report["message"] == "noise" else {**report, "tags": {"seen": "yes"}}
tocsin_sdk.init(before_send=before_send)
for message in ("noise", "wanted", "broken", "odd"):
    print(repr(tocsin_sdk.capture_message(message)))
""")
    assert ended.code == 0
    assert {report["message"]: report.get("tags") for report in reports(server)} == {
        "wanted": {"seen": "yes"},
        "broken": None,
        "odd": None,
    }
    assert ended.output.split()[0] == "''"
    assert "a mistake in before_send" in ended.errors


@pytest.mark.parametrize(
    ("call", "frames"),
    [
        ("tocsin_sdk.capture_exception(ValueError('deep'))", 1),
        ("tocsin_sdk.capture_message('deep')", 1),
        ("logger.callHandlers(record)", 3),  # two are logging's own, below ours
    ],
)
def test_at_the_end_of_the_stack_nothing_is_raised_into_the_host(
    programs: Programs, server: Receiver, call: str, frames: int
) -> None:
    ended = programs.run(f"""
import logging
record = logging.LogRecord("shop", logging.ERROR, "shop.py", 1, "deep", (), None)
logger = logging.getLogger("shop")
logger.addHandler(logging.NullHandler())
logger.propagate = False
def dive(room):
    try:
        above = dive(room)
    except RecursionError:
        above = 0
    if above == room:
        try:
            {call}
        except RecursionError:
            print(room, "is too little")
    return above + 1
for room in range({frames}, 60):
    dive(room)
print(tocsin_sdk.problems() > 0, tocsin_sdk.capture_message("afterwards") != "")
""")
    assert (ended.code, ended.output) == (0, "True True\n"), ended.errors[-2000:]
    assert messages(server)["afterwards"] == 1


def test_an_error_in_before_send_that_cannot_be_told_is_named(programs: Programs, server: Receiver) -> None:
    ended = programs.run("""
class Hostile(Exception):
    def __str__(self):
        raise self
def before_send(report):
    raise Hostile
tocsin_sdk.init(before_send=before_send)
assert tocsin_sdk.capture_message("order 1")
""")
    assert ended.code == 0, ended.errors
    assert messages(server) == {"order 1": 1}
    assert "before_send failed, so the report goes as it was: Hostile" in ended.errors


def test_a_directory_that_cannot_be_written_is_said_and_reports_still_arrive(
    programs: Programs, server: Receiver
) -> None:
    programs.spool.write_text("a file where the directory should be")
    ended = programs.run("""
for number in range(5):
    assert tocsin_sdk.capture_message(f"order {number}")
assert tocsin_sdk.flush(10)
""")
    assert ended.code == 0, ended.errors
    assert messages(server) == {f"order {number}": 1 for number in range(5)}
    assert "cannot be used" in ended.errors
    assert "memory" in ended.errors


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="it starts no thread while the interpreter ends")
@pytest.mark.parametrize("what", ["journal", "database"])
def test_the_last_reports_of_a_program_that_ends_while_its_spool_is_locked_are_kept(
    programs: Programs, server: Receiver, what: str
) -> None:
    Spool(programs.spool).counts()
    with contextlib.ExitStack() as held:
        if what == "journal":
            fcntl.flock(held.enter_context((programs.spool / "spool.journal").open("rb")), fcntl.LOCK_EX)
        else:
            other = sqlite3.connect(programs.spool / "spool.db", isolation_level=None)
            held.enter_context(contextlib.closing(other)).execute("BEGIN IMMEDIATE")
        words = "for word in ('the', 'last', 'words'): tocsin_sdk.capture_message(word)"
        ended = programs.run(words, begin=BEGIN.replace("=10", "=0.05"))
    assert (ended.code, messages(server)) == (0, {}), ended.errors
    assert "may be lost" not in ended.errors
    programs.run("assert tocsin_sdk.flush(10)", begin=LATER + BEGIN)
    assert messages(server) == {"the": 1, "last": 1, "words": 1}
    assert not list(programs.spool.glob("late-*"))


MENDED = """
from tocsin_sdk import memory, writer
memory.DISK_PAUSE_SECONDS = writer.DISK_PAUSE_SECONDS = float(sys.argv[1])
assert tocsin_sdk.capture_message("order 1")
os.remove(spool)
"""


def test_what_memory_holds_goes_back_to_a_mended_disk_without_another_report(tmp_path: Path) -> None:
    with receiving() as earlier:
        programs = Programs(tmp_path / "spool", earlier.port)
    programs.spool.write_text("a file where the directory should be")
    ended = programs.run(
        MENDED
        + """
while not tocsin_sdk.current()._store.memory.is_empty():
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
""",
        0.02,
    )
    assert ended.code == -signal.SIGKILL, ended.errors
    assert Spool(programs.spool).counts().waiting == 1


def test_what_memory_holds_when_the_program_ends_goes_to_a_mended_disk(tmp_path: Path) -> None:
    with receiving() as earlier:
        programs = Programs(tmp_path / "spool", earlier.port)
    programs.spool.write_text("a file where the directory should be")
    ended = programs.run(MENDED, 3_600)
    assert ended.code == 0
    assert "lost" not in ended.errors
    assert Spool(programs.spool).counts().waiting == 1


def test_what_neither_disk_nor_server_took_when_the_program_ends_is_said_to_be_lost(tmp_path: Path) -> None:
    with receiving() as earlier:
        programs = Programs(tmp_path / "spool", earlier.port)
    programs.spool.write_text("a file where the directory should be")
    ended = programs.run("tocsin_sdk.capture_message('order 1')")
    assert ended.code == 0
    assert "1 reports are lost" in ended.errors


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its rights")
def test_a_read_only_directory_is_said_and_reports_still_arrive(programs: Programs, server: Receiver) -> None:
    programs.spool.mkdir(mode=0o555)
    programs.spool.parent.chmod(0o755)
    # Python itself may lie where only root may read: everything is imported before.
    modules = "os, signal, sys, threading, time, sqlite3, http.client, email.parser, hashlib, encodings.idna"
    begin = f"import {modules}, tocsin_sdk.client, tocsin_sdk.hooks.log_records\nimport tocsin_sdk.directories\n"
    hooks = "from tocsin_sdk.hooks import excepthook, log_records, threads, unraisable\nos.setuid(65534)\n"
    begin += hooks + BEGIN
    ended = programs.run("assert tocsin_sdk.capture_message('order')\nassert tocsin_sdk.flush(10)", begin=begin)
    assert ended.code == 0, ended.errors
    assert messages(server) == {"order": 1}
    assert "cannot be used" in ended.errors


def test_a_full_spool_drops_what_is_new_and_the_loss_is_reported_once_there_is_room(
    tmp_path: Path,
) -> None:
    with receiving() as earlier:
        programs = Programs(tmp_path / "spool", earlier.port)
    full = programs.run("""
tocsin_sdk.current().spool._max_parcels = 3
for number in range(5):
    tocsin_sdk.capture_message(f"order {number}")
tocsin_sdk.close(0.1)
""")
    assert "the spool is full" in full.errors
    with receiving(programs.port) as server:
        programs.run("tocsin_sdk.flush(10)\ntocsin_sdk.capture_message('after')\ntocsin_sdk.flush(10)")
        until(lambda: len(reports(server)) == 5)
        notice = next(report for report in reports(server) if report.get("type") == "tocsin_sdk.ReportsDropped")
        assert notice["message"].startswith("2 error reports were dropped")
        assert set(messages(server)) == {"order 0", "order 1", "order 2", "after", notice["message"]}


@pytest.mark.slow
def test_a_spool_that_another_program_locks_holds_nobody_up_and_loses_nothing(
    programs: Programs, server: Receiver
) -> None:
    Spool(programs.spool).counts()
    other = sqlite3.connect(programs.spool / "spool.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    program = programs.start(
        """
longest = 0
for number in range(5):
    before = time.monotonic()
    tocsin_sdk.capture_message(f"order {number}")
    longest = max(longest, time.monotonic() - before)
print(longest, flush=True)
before = time.monotonic()
assert not tocsin_sdk.flush(0.1)
print(time.monotonic() - before, flush=True)
tocsin_sdk.flush(10)
""",
        begin=BEGIN.replace("max_capture_seconds=10", "max_capture_seconds=0.05"),
    )
    assert program.stdout is not None
    longest, flushing = float(program.stdout.readline()), float(program.stdout.readline())
    other.execute("ROLLBACK")
    other.close()
    _, errors = program.communicate(timeout=30)
    assert longest < 0.5, "it was promised 0.05 s; the rest is a busy machine"
    assert flushing < 0.6
    assert "took longer than 0.05 s" in errors
    assert messages(server) == {f"order {number}": 1 for number in range(5)}


def test_a_damaged_spool_is_said_and_moved_aside_and_reporting_goes_on(programs: Programs, server: Receiver) -> None:
    programs.spool.mkdir()
    (programs.spool / "spool.db").write_bytes(b"this was a database once" * 500)
    ended = programs.run("assert tocsin_sdk.capture_message('order')\nassert tocsin_sdk.flush(10)")
    assert ended.code == 0, ended.errors
    assert messages(server) == {"order": 1}
    assert re.search(r"the spool was damaged .* kept as .*spool\.db\.corrupt-", ended.errors)


def test_one_exception_seen_twice_is_one_report_unless_it_got_worse(programs: Programs, server: Receiver) -> None:
    ended = programs.run("""
error = ValueError("no such order")
first = tocsin_sdk.capture_exception(error)
assert tocsin_sdk.capture_exception(error, severity="LOW") == first
assert tocsin_sdk.capture_exception(error, severity="CRITICAL") not in ("", first)
""")
    assert ended.code == 0, ended.errors
    assert [report["severity"] for report in reports(server)] == ["HIGH", "CRITICAL"]


def test_what_makes_no_sense_is_said_and_raises_nothing(programs: Programs, server: Receiver) -> None:
    ended = programs.run("""
assert tocsin_sdk.capture_exception() == ""
tocsin_sdk.capture_message("urgent", severity="URGENT")
tocsin_sdk.capture_message(None, tags=7)
tocsin_sdk.flush(10)
tocsin_sdk.close()
assert tocsin_sdk.capture_message("after the end") == ""
print(tocsin_sdk.problems())
""")
    assert (ended.code, ended.output.strip()) == (0, "4"), ended.errors
    assert messages(server) == {"urgent": 1}
    for line in ("no exception is being handled", "no severity 'URGENT'", "could not be made", "init has not been"):
        assert line in ended.errors


def test_whatever_an_error_or_its_details_are_like_it_is_reported_and_nothing_is_raised(
    programs: Programs, server: Receiver
) -> None:
    ended = programs.run("""
import logging

class Attributes(Exception):
    def __getattr__(self, name):
        raise KeyError(name)

class Empty(Exception):
    def __len__(self):
        return 0

class Ambiguous(dict):
    def __bool__(self):
        raise ValueError("its truth is ambiguous")

class Detached:
    def __str__(self):
        raise RuntimeError("no session")

class Rank:
    def __str__(self):
        raise RuntimeError("no text")

tocsin_sdk.capture_exception(Attributes("attributes"))
tocsin_sdk.capture_exception(Empty("empty"))
assert tocsin_sdk.capture_exception(ValueError("ambiguous"), context=Ambiguous(a=1)) == ""
tocsin_sdk.capture_exception(ValueError("rank"), severity=Rank())
tocsin_sdk.capture_exception(ValueError("huge"), context={"n": 10**400, "nan": float("nan")})
logging.error("detached %s", Detached())
again = ValueError("again")
assert tocsin_sdk.capture_exception(again, tags={7: object()}, context=7) == ""
assert tocsin_sdk.capture_exception(again) != ""
""")
    assert ended.code == 0, ended.errors
    said = ("attributes", "empty", "rank", "huge", "detached %s (its parameters do not fit)", "again")
    assert messages(server) == dict.fromkeys(said, 1), ended.errors


def _init(port: int, project: int, service: str) -> str:
    dsn = f"http://{KEY}@127.0.0.1:{port}/{project}"
    return f"import tocsin_sdk\ntocsin_sdk.init({dsn!r}, max_capture_seconds=10, service={service!r})\n"


@pytest.mark.parametrize(("project", "service"), [(2, "payroll"), (1, "blog")])
def test_programs_of_several_projects_and_services_share_tocsin_spool_and_get_nothing_of_each_other(
    programs: Programs, server: Receiver, project: int, service: str
) -> None:
    with receiving() as earlier:
        port = earlier.port
    programs.run("tocsin_sdk.capture_message('of payroll')\ntocsin_sdk.close(0)", begin=_init(port, 1, "payroll"))
    other = programs.run("assert tocsin_sdk.flush(10)", begin=_init(server.port, project, service))
    assert (other.code, messages(server)) == (0, {}), other.errors
    with receiving(port) as its_own:
        programs.run("assert tocsin_sdk.flush(10)", begin=_init(port, 1, "payroll"))
        assert messages(its_own) == {"of payroll": 1}


def test_what_an_earlier_version_left_in_tocsin_spool_itself_is_sent_by_its_own_service(
    programs: Programs, server: Receiver
) -> None:
    shared = programs.spool.parent / "spools"
    with receiving() as nobody:
        down = Programs(shared, nobody.port)
    for service in ("blog", "payroll"):
        begin = _init(down.port, 1, service).replace("service=", "spool_directory=os.environ['SPOOL'], service=")
        down.run(f"tocsin_sdk.capture_message('of {service}')\ntocsin_sdk.close(0)", begin="import os\n" + begin)
    assert Spool(shared).counts().waiting == 2
    later = LATER + _init(server.port, 1, "payroll")
    ended = programs.run("assert tocsin_sdk.flush(10)", begin=later)
    assert (ended.code, ended.errors) == (0, "")
    assert messages(server) == {"of payroll": 1}
    ended = programs.run("assert tocsin_sdk.flush(10)", begin=later.replace("payroll", "blog"))
    assert messages(server) == {"of payroll": 1, "of blog": 1}
    assert Spool(shared).is_empty()


def test_without_a_dsn_init_says_what_to_do(programs: Programs) -> None:
    ended = programs.run("", TOCSIN_DSN="")
    assert ended.code == 1
    assert "give init one, or set TOCSIN_DSN" in ended.errors


def test_the_key_does_not_lie_on_the_disk(tmp_path: Path) -> None:
    with receiving() as earlier:
        programs = Programs(tmp_path / "spool", earlier.port)
    programs.run("tocsin_sdk.capture_message('order')\ntocsin_sdk.close(0)")
    files = list(programs.spool.iterdir())
    assert any(b"order" in file.read_bytes() for file in files)
    assert not any(KEY.encode() in file.read_bytes() for file in files)


def test_a_report_at_the_very_end_of_the_interpreter_is_kept(programs: Programs, server: Receiver) -> None:
    ended = programs.run("""
class Last:
    def __del__(self, capture=tocsin_sdk.capture_message):
        capture("the last word")
keep = Last()
""")
    assert ended.code == 0, ended.errors
    programs.run("tocsin_sdk.flush(10)")
    assert messages(server) == {"the last word": 1}


def test_importing_it_imports_neither_network_nor_database() -> None:
    code = "import sys, tocsin_sdk; print(*sorted({'http.client', 'ssl', 'sqlite3', 'asyncio'} & set(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_an_instant_is_written_to_the_microsecond() -> None:
    assert clock.timestamp(0.9999996) == "1970-01-01T00:00:01.000000Z"
    assert clock.timestamp(1_772_334_000.25) == "2026-03-01T03:00:00.250000Z"
