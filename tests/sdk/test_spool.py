"""The spool: what it answered for stays, and everything about it has an end."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tocsin_sdk import clock
from tocsin_sdk.memory import MAX_MEMORY_BYTES, MAX_MEMORY_PARCELS, DiskOrMemory
from tocsin_sdk.spool import (
    LEASE_SECONDS,
    MAX_REFUSED,
    MAX_REFUSED_BODY_BYTES,
    MAX_TAKEN_BYTES,
    Parcel,
    Spool,
    SpoolCounts,
    SpoolUnusableError,
)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def _parcel(number: int = 0, size: int = 0) -> Parcel:
    return Parcel("/api/v1/errors", b"%d" % number + b"x" * size, (("Content-Type", "application/x-ndjson"),))


def _bodies(spool: Spool, limit: int = 100) -> list[bytes]:
    return [parcel.body for _, parcel in spool.take(limit)]


@contextmanager
def _held(spool: Spool) -> Iterator[None]:
    """Keep a spool busy from another thread."""
    inside, go_on = threading.Event(), threading.Event()

    def action(_: sqlite3.Connection) -> None:
        inside.set()
        assert go_on.wait(20)

    thread = threading.Thread(target=spool._do, args=(action,))
    thread.start()
    assert inside.wait(20)
    try:
        yield
    finally:
        go_on.set()
        thread.join()


def _later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.time() + seconds
    monkeypatch.setattr(clock, "now", lambda: now)


def test_parcels_come_out_as_they_were_put_in_the_oldest_first(spool: Spool) -> None:
    put = [_parcel(number) for number in range(3)]
    assert [spool.put(parcel) for parcel in put] == [True, True, True]
    assert [parcel for _, parcel in spool.take(2)] == put[:2]
    assert [parcel for _, parcel in spool.take(2)] == put[2:]


def test_another_spool_on_the_directory_does_not_get_what_is_leased(spool: Spool) -> None:
    spool.put_all([_parcel(1), _parcel(2)])
    assert len(spool.take(1)) == 1
    assert _bodies(Spool(spool.directory)) == [b"2"]


def test_a_lease_ends_so_that_a_killed_sender_keeps_nothing_back(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.put(_parcel(1))
    spool.take(1)
    _later(monkeypatch, LEASE_SECONDS - 1)
    assert _bodies(Spool(spool.directory)) == []
    _later(monkeypatch, LEASE_SECONDS + 1)
    assert _bodies(Spool(spool.directory)) == [b"1"]


def test_a_lease_of_a_clock_that_was_set_back_does_not_count(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    _later(monkeypatch, 100_000)
    spool.put(_parcel(1))
    spool.take(1)
    _later(monkeypatch, 0)
    assert _bodies(spool) == [b"1"]


def test_what_is_given_back_comes_again_when_it_may(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.put_all([_parcel(1), _parcel(2)])
    (first, _), (second, _) = spool.take(2)
    spool.again([first], 0.0)
    spool.again([second], clock.now() + 20)
    assert _bodies(spool) == [b"1"]
    _later(monkeypatch, 21)
    assert _bodies(spool) == [b"2"]


def test_what_came_late_is_seen_taken_once_and_its_file_removed(spool: Spool) -> None:
    spool.put(_parcel(1))
    assert spool.put_late([_parcel(2), _parcel(3)])
    spool.done([number for number, _ in Spool(spool.directory).take(1)])
    assert not spool.is_empty()
    assert sorted(_bodies(spool) + _bodies(Spool(spool.directory))) == [b"2", b"3"]
    assert not list(Path(spool.directory).glob("late-*"))
    assert {stat.S_IMODE(file.stat().st_mode) for file in Path(spool.directory).iterdir()} == {0o600}


def test_what_is_late_stays_when_the_database_does_not_take_it(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tocsin_sdk.spool._BUSY_SECONDS", 0.01)
    spool.counts()
    assert spool.put_late([_parcel(1)])
    other = sqlite3.connect(Path(spool.directory) / "spool.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SpoolUnusableError, match="locked"):
        spool.take(1)
    other.execute("ROLLBACK")
    other.close()
    assert _bodies(spool) == [b"1"]


def test_what_is_done_is_gone(spool: Spool) -> None:
    spool.put_all([_parcel(1), _parcel(2)])
    spool.done([number for number, _ in spool.take(1)])
    assert spool.counts() == SpoolCounts(waiting=1, refused=0, dropped=0)
    assert not spool.is_empty()
    spool.done([number for number, _ in spool.take(1)])
    assert spool.is_empty()


def test_a_late_done_removes_nothing_that_took_the_number_meanwhile(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.put(_parcel(1))
    ((number, _),) = spool.take(1)
    _later(monkeypatch, LEASE_SECONDS + 1)
    other = Spool(spool.directory)
    other.done([found for found, _ in other.take(1)])
    other.put(_parcel(2))
    assert other.take(1)[0][0] == number, "the number came again: that is what this is about"
    spool.done([number])
    spool.refuse(number, "no")
    spool.again([number], 0.0)
    assert spool.counts() == SpoolCounts(waiting=1, refused=0, dropped=0)
    assert _bodies(spool) == []


def test_what_the_server_refused_is_kept_aside_with_the_reason(spool: Spool) -> None:
    spool.put(_parcel(1, size=MAX_REFUSED_BODY_BYTES))
    spool.refuse(spool.take(1)[0][0], "400 no such severity")
    assert spool.counts() == SpoolCounts(waiting=0, refused=1, dropped=0)
    (refused,) = spool.refused()
    assert (refused.path, refused.reason) == ("/api/v1/errors", "400 no such severity")
    assert len(refused.body) == MAX_REFUSED_BODY_BYTES


def test_of_many_refused_parcels_the_latest_are_kept_and_all_are_counted(spool: Spool) -> None:
    spool.put_all([_parcel(number) for number in range(MAX_REFUSED + 3)])
    for number, _ in spool.take(MAX_REFUSED + 3):
        spool.refuse(number, "400")
    assert spool.counts().refused == MAX_REFUSED + 3
    kept = spool.refused()
    assert (len(kept), kept[0].body, kept[-1].body) == (MAX_REFUSED, b"%d" % (MAX_REFUSED + 2), b"3")


def test_a_full_spool_drops_what_is_new_counts_it_and_takes_more_once_there_is_room(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_parcels=3)
    assert spool.put_all([_parcel(number) for number in range(5)]) == [True, True, True, False, False]
    assert not spool.put(_parcel(5))
    assert spool.counts() == SpoolCounts(waiting=3, refused=0, dropped=3)
    spool.done([number for number, _ in spool.take(1)])
    assert spool.put(_parcel(6))
    assert not spool.put(_parcel(7))


def test_a_spool_does_not_outgrow_its_bytes(tmp_path: Path) -> None:
    limit = 400_000
    spool = Spool(tmp_path, max_bytes=limit)
    kept = [spool.put(_parcel(number, size=5_000)) for number in range(200)]
    assert 20 < kept.count(True) < 80
    assert not spool.put(_parcel(size=limit))
    spool.close()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= limit * 1.1


def test_what_was_dropped_is_remembered_and_told_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_parcels=1)
    spool.put_all([_parcel(1), _parcel(2), _parcel(3)])
    told: list[int] = []

    def notice(number: int) -> Parcel:
        told.append(number)
        return _parcel(99)

    assert not spool.tell_dropped(notice), "there is no room for the notice"
    spool.done([number for number, _ in spool.take(1)])
    spool.close()
    again = Spool(tmp_path, max_parcels=1)
    assert again.dropped == 2
    assert again.tell_dropped(notice)
    assert not again.tell_dropped(notice)
    assert told[-1] == 2
    assert _bodies(again) == [b"99"]


def test_one_helping_is_bounded_in_bytes_but_never_empty(spool: Spool) -> None:
    spool.put_all([_parcel(number, size=MAX_TAKEN_BYTES // 2) for number in range(3)])
    assert [len(spool.take(10)) for _ in range(3)] == [1, 1, 1]
    spool.put(_parcel(size=MAX_TAKEN_BYTES + 1))
    assert len(spool.take(10)) == 1


def test_nobody_else_may_read_what_waits(spool: Spool) -> None:
    spool.put(_parcel())
    assert stat.S_IMODE(os.stat(spool.directory).st_mode) == 0o700
    modes = {stat.S_IMODE(file.stat().st_mode) for file in Path(spool.directory).iterdir()}
    assert modes == {0o600}


@pytest.mark.parametrize("damage", [b"this is no database, and never was one" * 200, b"\x00" * 20_000])
def test_a_damaged_spool_is_moved_aside_and_said_and_a_new_one_begun(tmp_path: Path, damage: bytes) -> None:
    said: list[str] = []
    before = Spool(tmp_path)
    before.put_all([_parcel(number, size=3_000) for number in range(20)])
    before.close()
    file = tmp_path / "spool.db"
    content = file.read_bytes()
    file.write_bytes((content[:100] if damage.startswith(b"\x00") else b"") + damage)
    spool = Spool(tmp_path, on_problem=said.append)
    assert spool.put(_parcel(7))
    assert _bodies(spool) == [b"7"]
    assert len(said) == 1
    (aside,) = tmp_path.glob("spool.db.corrupt-*[0-9]")
    assert str(aside) in said[0]
    assert damage in aside.read_bytes()


@pytest.mark.parametrize(
    ("part", "damage"),
    [
        ("headers", b'\xdb[["Content-Type"'),
        ("headers", b"{}["),
        ("headers", b"7"),
        ("path", b"\xaf/api/v1/errors"),
    ],
)
def test_a_damaged_parcel_is_put_aside_and_said_and_holds_up_no_other(tmp_path: Path, part: str, damage: bytes) -> None:
    said: list[str] = []
    spool = Spool(tmp_path, on_problem=said.append)
    spool.put_all([_parcel(number) for number in range(3)])
    spool.counts()
    with sqlite3.connect(tmp_path / "spool.db") as other:
        other.execute(f"UPDATE parcels SET {part} = CAST(? AS TEXT) WHERE id = 1", (damage,))
    other.close()
    assert _bodies(spool) == [b"1", b"2"]
    (refused,) = spool.refused()
    assert (refused.body, refused.reason) == (b"0", "it was damaged on the disk")
    assert spool.counts().waiting == 2
    assert len(said) == 1
    assert _bodies(spool) == []


def test_a_spool_whose_file_was_deleted_under_it_begins_a_new_one(spool: Spool) -> None:
    spool.put(_parcel(1))
    for file in Path(spool.directory).iterdir():
        file.unlink()
    assert spool.put(_parcel(2))
    assert _bodies(Spool(spool.directory)) == [b"2"], "it was written where the next process looks"


def test_a_closed_spool_says_so(spool: Spool) -> None:
    spool.put(_parcel(1))
    spool.close()
    with pytest.raises(SpoolUnusableError, match="closed"):
        spool.put(_parcel(2))
    assert _bodies(Spool(spool.directory)) == [b"1"]


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(SpoolUnusableError, match="file/spool"):
        Spool(tmp_path / "file" / "spool").put(_parcel())


def test_threads_lose_nothing_and_take_nothing_twice(spool: Spool) -> None:
    taken: list[bytes] = []

    def work(first: int) -> None:
        for number in range(first, first + 25):
            assert spool.put(_parcel(number))
        for number, parcel in spool.take(25):
            taken.append(parcel.body)
            spool.done([number])

    threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 100, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(b"%d" % number for number in range(100))
    assert spool.is_empty()


def _put_in_a_process(directory: str, first: int) -> None:
    spool = Spool(directory)
    assert all(spool.put(_parcel(number)) for number in range(first, first + 20))


def test_processes_that_open_a_new_spool_at_once_lose_nothing(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    started = [fork.Process(target=_put_in_a_process, args=(str(tmp_path), first)) for first in range(0, 80, 20)]
    for process in started:
        process.start()
    for process in started:
        process.join(20)
    assert [process.exitcode for process in started] == [0, 0, 0, 0]
    assert sorted(_bodies(Spool(tmp_path))) == sorted(b"%d" % number for number in range(80))


def test_over_a_fork_no_connection_is_inherited_and_both_sides_go_on(spool: Spool) -> None:
    spool.put(_parcel(1))
    child = os.fork()
    if child == 0:
        opened = {os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")}
        is_open = any(file.startswith(spool.directory) for file in opened)
        os._exit(0 if not is_open and spool.put(_parcel(2)) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert spool.put(_parcel(3))
    assert _bodies(spool) == [b"1", b"2", b"3"]


def test_a_child_that_was_forked_in_the_midst_of_a_commit_never_touches_the_database(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin_sdk.spool._FORK_SECONDS", 0.01)
    inside, go_on = threading.Event(), threading.Event()

    def notice(_: int) -> Parcel:
        inside.set()
        go_on.wait(20)
        return _parcel(2)

    spool.add_dropped(1)
    thread = threading.Thread(target=spool.tell_dropped, args=(notice,))
    thread.start()
    inside.wait(20)
    child = os.fork()
    if child == 0:
        try:
            spool.put(_parcel(1))
        except SpoolUnusableError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    go_on.set()
    thread.join()
    assert _bodies(spool) == [b"2"], "the parent's commit went through"


def test_a_database_that_another_program_locks_raises_and_nothing_is_half_done(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin_sdk.spool._BUSY_SECONDS", 0.01)
    spool.put(_parcel(1))
    spool.close()
    other = sqlite3.connect(Path(spool.directory) / "spool.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = Spool(spool.directory)
    with pytest.raises(SpoolUnusableError, match="locked"):
        waiting.put(_parcel(2))
    other.execute("ROLLBACK")
    other.close()
    assert waiting.put(_parcel(3))
    assert _bodies(waiting) == [b"1", b"3"]


@pytest.mark.parametrize("is_open", [True, False])
def test_a_spool_whose_database_another_process_holds_is_seen_not_to_be_empty(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, is_open: bool
) -> None:
    """A flush said that all was delivered."""
    monkeypatch.setattr("tocsin_sdk.spool._BUSY_SECONDS", 0.01)
    both = DiskOrMemory(spool, lambda _: None)
    assert both.put_all([_parcel(1)]) == [True]
    if not is_open:
        spool._disconnect()
    other = sqlite3.connect(Path(spool.directory) / "spool.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert not both.is_empty()
    other.execute("ROLLBACK")
    other.close()
    both._disk_is_left_alone_until = 0.0
    both.done([number for number, _ in both.take(1)])
    assert both.is_empty()


def test_while_the_disk_refuses_memory_holds_and_then_gives_it_to_the_disk(tmp_path: Path) -> None:
    said: list[str] = []
    blocker = tmp_path / "spool"
    blocker.write_text("a file where the directory should be")
    both = DiskOrMemory(Spool(blocker), said.append)
    assert both.put_all([_parcel(1)]) == [True]
    assert not both.is_empty()
    assert len(said) == 1
    assert "memory" in said[0]
    blocker.unlink()
    both._disk_is_left_alone_until = 0.0
    assert both.put_all([_parcel(2)]) == [True]
    assert sorted(_bodies(Spool(blocker))) == [b"1", b"2"]


def test_memory_is_bounded_and_what_it_drops_is_counted_on_the_disk_later(tmp_path: Path) -> None:
    blocker = tmp_path / "spool"
    blocker.write_text("a file where the directory should be")
    both = DiskOrMemory(Spool(blocker), lambda _: None)
    assert both.put_all([_parcel(size=MAX_MEMORY_BYTES)]) == [False]
    assert both.put_all([_parcel(number) for number in range(MAX_MEMORY_PARCELS + 1)]).count(False) == 1
    blocker.unlink()
    both._disk_is_left_alone_until = 0.0
    both.put_all([_parcel()])
    assert both.disk.counts() == SpoolCounts(waiting=MAX_MEMORY_PARCELS + 1, refused=0, dropped=2)


def test_a_spool_that_is_busy_is_neither_empty_nor_broken(spool: Spool) -> None:
    """A program that ended while its spool was busy left behind what it had promised to wait for."""
    said: list[str] = []
    both = DiskOrMemory(spool, said.append)
    assert both.put_all([_parcel(1)]) == [True]
    with _held(spool):
        assert not both.is_empty(0.01)
    assert both.put_all([_parcel(2)]) == [True]
    assert said == []
    assert _bodies(Spool(spool.directory)) == [b"1", b"2"], "the disk is used as before"
