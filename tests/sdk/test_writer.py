"""Who writes a report: its caller while the disk is quick, else a thread; for that nobody waits too long."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tocsin_sdk import journal
from tocsin_sdk.memory import DiskOrMemory
from tocsin_sdk.spool import Parcel, Spool
from tocsin_sdk.writer import TRUSTED_SECONDS, Writer

PATIENCE_SECONDS = 0.05
BUSY_MACHINE_SECONDS = 0.5


class Writing:
    """A writer on a disk whose speed can be set; remembers which thread each sync was in."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.threads: list[str] = []
        self.sync_seconds = 0.0
        self.spool = Spool(directory)
        self.writer = Writer(
            DiskOrMemory(self.spool, self.said.append),
            max_wait_seconds=PATIENCE_SECONDS,
            on_kept=lambda: None,
            on_problem=self.said.append,
            drop_notice=_parcel,
        )
        self._slept = threading.Event()
        monkeypatch.setattr(journal, "_sync", self._sync)

    def _sync(self, handle: int) -> None:
        self.threads.append(threading.current_thread().name)
        self._slept.wait(self.sync_seconds)
        os.fsync(handle)

    def keep(self, number: int) -> tuple[bool, float]:
        began = time.monotonic()
        return self.writer.keep(_parcel(number)), time.monotonic() - began

    def begin(self) -> None:
        """Keep a first report, and wait until the thread has nothing to do."""
        self.writer._max_wait_seconds = 10
        assert self.writer.keep(_parcel(0))
        assert self.writer.flush(10)
        self.writer._max_wait_seconds = PATIENCE_SECONDS
        self.trust()

    def trust(self) -> None:
        self.writer._trusted_until = time.monotonic() + 60


@pytest.fixture
def writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writing]:
    writing = Writing(tmp_path, monkeypatch)
    yield writing
    assert writing.writer.close(10)


def _parcel(number: int) -> Parcel:
    return Parcel("/api/v1/errors", b"%d" % number)


def _bodies(spool: Spool) -> list[int]:
    return sorted(int(parcel.body) for _, parcel in spool.take(100))


def test_a_report_is_written_by_its_caller_while_the_disk_is_quick(writing: Writing) -> None:
    writing.begin()
    assert writing.keep(1)[0]
    assert writing.threads == [threading.current_thread().name]
    writing.writer._trusted_until = time.monotonic() - TRUSTED_SECONDS
    writing.writer._max_wait_seconds = 10
    assert writing.keep(2)[0]
    assert writing.threads[1:] == ["tocsin-writer"], "it was quick, but that is long ago"
    assert _bodies(writing.spool) == [0, 1, 2]


def test_a_disk_that_begins_to_hang_holds_up_one_caller_and_nobody_after_that(writing: Writing) -> None:
    writing.begin()
    writing.sync_seconds = 1.0
    assert writing.keep(1)[0]
    for number in range(2, 6):
        kept, seconds = writing.keep(number)
        assert not kept
        assert seconds < PATIENCE_SECONDS + BUSY_MACHINE_SECONDS
    assert len(writing.said) == 4
    writing.sync_seconds = 0.0
    writing._slept.set()
    assert writing.writer.flush(10)
    assert _bodies(writing.spool) == list(range(6))


def test_who_comes_while_another_caller_waits_for_the_disk_waits_no_longer_than_promised(writing: Writing) -> None:
    writing.begin()
    writing.sync_seconds = 10.0
    first = threading.Thread(target=writing.keep, args=(1,))
    first.start()
    while not writing.threads:
        time.sleep(0.001)
    kept, seconds = writing.keep(2)
    assert (kept, seconds < PATIENCE_SECONDS + BUSY_MACHINE_SECONDS) == (False, True)
    writing._slept.set()
    first.join(20)
    assert writing.writer.flush(10)
    assert _bodies(writing.spool) == [0, 1, 2]


def test_a_file_that_another_process_holds_is_waited_for_by_the_thread(writing: Writing) -> None:
    writing.begin()
    other = Spool(writing.spool.directory)
    with other._journal.emptied():
        kept, seconds = writing.keep(1)
        assert (kept, seconds < PATIENCE_SECONDS + BUSY_MACHINE_SECONDS) == (False, True)
    assert writing.writer.flush(10)
    assert writing.threads == ["tocsin-writer"]
    assert _bodies(writing.spool) == [0, 1]


def test_what_is_captured_while_its_own_thread_writes_is_written_by_the_other_one(
    writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing.begin()

    def interrupted(handle: int) -> None:
        monkeypatch.setattr(journal, "_sync", os.fsync)
        assert writing.keep(2)[0] is False  # as a signal handler would
        os.fsync(handle)

    monkeypatch.setattr(journal, "_sync", interrupted)
    assert writing.keep(1)[0]
    assert writing.writer.flush(10)
    assert _bodies(writing.spool) == [0, 1, 2]
    assert writing.said == []


def test_a_spool_that_was_deleted_is_begun_anew_by_the_thread(writing: Writing) -> None:
    writing.begin()
    for file in Path(writing.spool.directory).iterdir():
        file.unlink()
    writing.writer._max_wait_seconds = 10
    assert writing.keep(1)[0]
    assert _bodies(Spool(writing.spool.directory)) == [1]
