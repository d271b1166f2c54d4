"""The journal in front of the spool: wherever a write is cut off, what was answered for is there, and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest

from tocsin_sdk.journal import Journal, Row
from tocsin_sdk.spool import Parcel, Spool

SIZE = 16_384


class Journals:
    """Opens the journal of a directory as one process after the other, or several at once, would."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "spool.journal"
        self.said: list[str] = []

    def open(self, size: int = SIZE) -> Journal:
        return Journal(str(self.file), size, self.said.append)


@pytest.fixture
def journals(tmp_path: Path) -> Journals:
    return Journals(tmp_path / "spool")


def _row(number: int, size: int = 0) -> Row:
    return "/api/v1/errors", '[["Content-Type","text/plain"]]', b"%d " % number + os.urandom(size)


def _emptied(journal: Journal) -> list[Row]:
    with journal.emptied() as rows:
        return rows


def test_rows_come_out_once_as_they_were_put_in_and_others_take_their_place(journals: Journals) -> None:
    journal = journals.open()
    put = [_row(number, size=number * 100) for number in range(5)]
    assert journal.add(put[:1])
    assert journal.add(put[1:])
    assert _emptied(journal) == put
    assert _emptied(journal) == []
    assert journal.add([put[4]])
    assert _emptied(journals.open()) == [put[4]], "of what lay there before nothing comes again"


def test_what_does_not_fit_in_is_not_half_written(journals: Journals) -> None:
    journal = journals.open()
    assert journal.add([_row(1)])
    assert not journal.add([_row(2), _row(3, size=SIZE)])
    assert [row[2] for row in _emptied(journal)] == [b"1 "]
    assert journal.add([_row(4, size=SIZE // 2)])
    assert journals.file.stat().st_size == SIZE


def test_nobody_else_may_read_it(journals: Journals) -> None:
    journals.open().add([_row(1)])
    assert stat.S_IMODE(journals.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(journals.file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("rest", [b"\0", b"\xff"], ids=["zeros", "ones"])
def test_wherever_the_last_record_is_cut_off_those_before_it_are_there_and_the_next_one_takes_its_place(
    journals: Journals, rest: bytes
) -> None:
    journal = journals.open()
    whole = [_row(1, size=30), _row(2, size=70)]
    assert journal.add(whole)
    before = journals.file.read_bytes()
    assert journal.add([_row(3, size=50)])
    after = journals.file.read_bytes()
    (begin, end) = _changed(before, after)
    for length in range(end - begin):
        cut = begin + length
        torn = after[:cut] + rest * (end - cut) + after[end:]
        if torn == after:  # the record's last bytes, which are random, were just these
            continue
        journals.file.write_bytes(torn)
        assert _emptied(journals.open()) == whole, f"after {length} bytes of {end - begin}"
        journals.file.write_bytes(torn)
        short = _row(4)
        assert journals.open().add([short])
        assert _emptied(journals.open()) == [*whole, short], f"after {length} bytes of {end - begin}"
    assert journals.said == []


def _changed(before: bytes, after: bytes) -> tuple[int, int]:
    different = [place for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    return different[0], different[-1] + 1


def test_of_a_batch_that_was_cut_off_what_is_whole_is_kept(journals: Journals) -> None:
    journals.open().add([_row(1)])
    before = journals.file.read_bytes()
    batch = [_row(number, size=20) for number in range(2, 5)]
    journals.open().add(batch)
    after = journals.file.read_bytes()
    begin, end = _changed(before, after)
    counts = []
    for cut in range(begin, end):
        journals.file.write_bytes(after[:cut] + before[cut:])
        rows = _emptied(journals.open())[1:]
        assert rows == batch[: len(rows)]
        counts.append(len(rows))
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2}


def test_a_byte_that_went_bad_costs_its_record_alone_and_that_is_said(journals: Journals) -> None:
    journal = journals.open()
    rows = [_row(number, size=40) for number in range(3)]
    assert journal.add(rows[:1])
    middle = len(journals.file.read_bytes().rstrip(b"\0"))
    assert journal.add(rows[1:])
    content = journals.file.read_bytes()
    last = content.index(rows[2][2])
    for place in range(middle, last - 100, 7):
        journals.said.clear()
        damaged = bytearray(content)
        damaged[place] ^= 0x40
        journals.file.write_bytes(damaged)
        reopened = journals.open()
        assert reopened.add([_row(9)])
        assert [row[2][:2] for row in _emptied(reopened)] == [b"0 ", b"2 ", b"9 "], place
        assert len(journals.said) == 1
        assert "damaged" in journals.said[0]


@pytest.mark.parametrize("place", range(20))
def test_a_journal_whose_head_went_bad_is_moved_aside_and_said_and_a_new_one_begun(
    journals: Journals, place: int
) -> None:
    journal = journals.open()
    assert journal.add([_row(1)])
    content = bytearray(journals.file.read_bytes())
    content[place] ^= 0x40
    journals.file.write_bytes(content)
    for user in (journal, journals.open()):  # one that has it open, and one that comes later
        assert user.add([_row(2)])
    assert [row[2] for row in _emptied(journals.open())] == [b"2 ", b"2 "]
    (aside,) = journals.file.parent.glob("spool.journal.corrupt-*")
    assert aside.read_bytes() == content
    assert len(journals.said) == 1
    assert str(aside) in journals.said[0]


@pytest.mark.parametrize("made", [0, 1, 20, 4_096, SIZE])
def test_a_process_killed_while_it_made_the_file_leaves_it_to_the_next_one(journals: Journals, made: int) -> None:
    journals.file.parent.mkdir()
    journals.file.write_bytes(bytes(made))
    assert journals.open().add([_row(1)])
    assert [row[2] for row in _emptied(journals.open())] == [b"1 "]
    assert journals.file.stat().st_size == SIZE
    assert journals.said == []


def test_what_could_not_be_moved_elsewhere_stays(journals: Journals) -> None:
    journal = journals.open()
    journal.add([_row(1)])
    with pytest.raises(OSError, match="the disk is full"), journal.emptied():
        raise OSError("the disk is full")
    assert [row[2] for row in _emptied(journals.open())] == [b"1 "]


def test_several_add_and_empty_in_turns_and_see_what_the_others_did(journals: Journals) -> None:
    small, large = journals.open(SIZE), journals.open(SIZE * 4)
    assert small.add([_row(1)])
    assert large.add([_row(2)])
    assert small.add([_row(3)])
    assert [row[2] for row in _emptied(large)] == [b"1 ", b"2 ", b"3 "]
    assert small.add([_row(4)])
    assert large.add([_row(5)])
    assert [row[2] for row in _emptied(small)] == [b"4 ", b"5 "]
    assert _emptied(large) == []


def test_a_file_of_another_size_is_used_as_it_is(journals: Journals) -> None:
    large, small = journals.open(SIZE * 4), journals.open(SIZE)
    assert large.add([_row(1, size=SIZE * 2)])
    assert small.add([_row(2)])
    assert [row[2][:2] for row in _emptied(small)] == [b"1 ", b"2 "]
    assert large.add([_row(3, size=SIZE * 3)])


def test_a_file_that_was_deleted_is_emptied_and_left(journals: Journals) -> None:
    journal = journals.open()
    journal.add([_row(1)])
    journals.file.unlink()
    assert [row[2] for row in _emptied(journal)] == [b"1 "]
    assert journal.add([_row(2)])
    assert [row[2] for row in _emptied(journals.open())] == [b"2 "]


def test_while_another_program_holds_it_nothing_is_written(journals: Journals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tocsin_sdk.journal.BUSY_SECONDS", 0.01)
    holder, waiting = journals.open(), journals.open()
    with holder.emptied(), pytest.raises(OSError, match="locked by another program"):
        waiting.add([_row(1)])
    assert waiting.add([_row(2)])
    assert [row[2] for row in _emptied(holder)] == [b"2 "]


def test_a_child_that_closes_what_it_inherited_does_not_let_go_of_its_parents_lock(
    journals: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin_sdk.journal.BUSY_SECONDS", 0.01)
    journal = journals.open()
    with journal.emptied():
        _in_a_child(journal.close)
        with pytest.raises(OSError, match="locked"):
            journals.open().add([_row(1)])


def _in_a_child(action: Callable[[], object]) -> None:
    """Do something in a forked process, and kill that."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def _parcel(number: int, size: int = 0) -> Parcel:
    return Parcel("/api/v1/errors", b"%d" % number + b" " * size)


def _bodies(spool: Spool) -> list[bytes]:
    return [parcel.body for _, parcel in spool.take(1_000)]


def _rows_in_journal(spool: Spool) -> int:
    return (Path(spool.directory) / "spool.journal").read_bytes().count(b"/api/v1/errors")


def test_what_a_killed_process_was_answered_for_is_taken_by_the_others_and_by_the_next(tmp_path: Path) -> None:
    other = Spool(tmp_path)
    other.put(_parcel(0))
    for first in (1, 4, 7):
        _in_a_child(partial(_put_three, tmp_path, first))
    assert _rows_in_journal(other) > 0, "that is what this is about"
    assert _bodies(other) == [b"%d" % number for number in range(10)]
    _in_a_child(partial(_put_three, tmp_path, 10))
    assert _bodies(Spool(tmp_path)) == [b"10", b"11", b"12"]


def _put_three(directory: Path, first: int) -> None:
    spool = Spool(directory)
    for number in range(first, first + 3):
        assert spool.put(_parcel(number))


def test_after_a_fork_both_sides_write_behind_each_other(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put_all([_parcel(0)])
    assert spool.put(_parcel(1))
    _in_a_child(lambda: [spool.put(_parcel(number)) for number in (2, 3, 4)])
    spool.put(_parcel(5))
    spool.put(_parcel(6))
    assert _bodies(spool) == [b"%d" % number for number in range(7)]


def test_processes_and_threads_that_put_while_others_take_lose_nothing_and_take_nothing_twice(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    putting = [fork.Process(target=_put_many, args=(tmp_path, first)) for first in (1_000, 2_000, 3_000)]
    takers = [Spool(tmp_path), Spool(tmp_path)]
    taken: list[bytes] = []
    deadline = time.monotonic() + 30

    def take(spool: Spool) -> None:
        while len(taken) < 300 and time.monotonic() < deadline:
            for number, parcel in spool.take(7):
                taken.append(parcel.body)
                spool.done([number])

    threads = [threading.Thread(target=take, args=(taker,)) for taker in takers]
    for process in putting:
        process.start()
    for thread in threads:
        thread.start()
    for process in putting:
        process.join(30)
    for thread in threads:
        thread.join(30)
    assert [process.exitcode for process in putting] == [0, 0, 0]
    assert sorted(taken) == sorted(b"%d" % (first + more) for first in (1_000, 2_000, 3_000) for more in range(100))
    assert takers[0].is_empty()


def _put_many(directory: Path, first: int) -> None:
    spool = Spool(directory)
    assert all(spool.put(_parcel(number)) for number in range(first, first + 100))


@pytest.mark.parametrize(("killed", "copies"), [("in the midst of the commit", 1), ("after the commit", 2)])
def test_a_process_killed_while_it_moves_reports_to_the_database_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: str, copies: int
) -> None:
    spool = Spool(tmp_path)
    assert all(spool.put(_parcel(number)) for number in range(4))

    def be_killed(*_: object) -> NoReturn:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("it is still there")

    with monkeypatch.context() as patched:
        if copies == 1:
            insert = Spool._transaction

            def transaction(self: Spool, action: Callable[..., object], *rest: object) -> object:
                return insert(self, lambda connection: be_killed(action(connection)), *rest)  # type: ignore[arg-type]

            patched.setattr(Spool, "_transaction", transaction)
        else:
            patched.setattr(Journal, "_begin_anew", be_killed)
        _in_a_child(lambda: spool.take(10))
    found = _bodies(spool)
    assert sorted(found) == sorted([b"0", *[b"1", b"2", b"3"] * copies]), f"killed {killed}"


def test_what_is_too_large_for_the_journal_keeps_its_place_in_the_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    sizes = [0, 0, 2_000_000, 0, 100, 900_000, 900_000]
    assert all(spool.put(_parcel(number, size)) for number, size in enumerate(sizes))
    assert [int(body) for body in _bodies(spool)] == list(range(len(sizes)))


def test_a_full_spool_is_counted_to_the_parcel_whether_they_lie_here_or_there(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_parcels=10)
    assert [spool.put(_parcel(number)) for number in range(13)] == [True] * 10 + [False] * 3
    assert (spool.counts().waiting, spool.counts().dropped) == (10, 3)
    spool.done([number for number, _ in spool.take(4)])
    assert [spool.put(_parcel(number)) for number in range(5)] == [True] * 4 + [False]


def test_a_database_that_was_damaged_takes_nothing_of_the_journal_with_it(tmp_path: Path) -> None:
    said: list[str] = []
    before = Spool(tmp_path)
    assert all(before.put(_parcel(number)) for number in range(3))
    before.close()
    (tmp_path / "spool.db").write_bytes(b"this was a database once" * 500)
    spool = Spool(tmp_path, on_problem=said.append)
    assert _bodies(spool) == [b"1", b"2"], "the first one was in the database"
    assert len(said) == 1
