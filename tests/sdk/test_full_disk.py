"""A disk without room: what lies on it is sent all the same, once, and removed as soon as that can be written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tocsin_sdk.memory import DiskOrMemory
from tocsin_sdk.spool import Parcel, Spool, SpoolCounts, SpoolUnwritableError

SIZE = "3m"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of three megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", place], check=False)
    if mounted.returncode:
        pytest.skip("only root can make a disk that is full")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def _fill(disk: Path) -> None:
    """Leave no room on a disk."""
    with (disk / "filling").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4_096))
        except OSError:
            return


def _full(disk: Path, number: int = 30) -> DiskOrMemory:
    """Return a spool on a full disk: half of it lies in the database, the others in the journal but for one."""
    spool = Spool(disk / "spool")
    spool.put_all([_parcel(one) for one in range(number // 2)])
    spool.counts()
    spool.put_all([_parcel(one) for one in range(number // 2, number - 1)])
    spool.put_late([_parcel(number - 1)])
    _fill(disk)
    return DiskOrMemory(spool, lambda _: None)


def _parcel(number: int) -> Parcel:
    return Parcel("/x", b"%d" % number + b"x" * 5_000)


def _numbers(taken: list[tuple[int, Parcel]]) -> list[int]:
    return [int(parcel.body.rstrip(b"x")) for _, parcel in taken]


def _all(store: DiskOrMemory) -> list[int]:
    """Take and send everything, and return what it was."""
    numbers: list[int] = []
    while taken := store.take(7):
        numbers += _numbers(taken)
        store.done([number for number, _ in taken])
    return numbers


def test_what_lies_on_a_full_disk_is_taken_once_and_removed_when_there_is_room(disk: Path) -> None:
    store = _full(disk)
    with pytest.raises(SpoolUnwritableError):
        store.disk.take(1)
    assert not store.is_empty()
    assert sorted(_all(store)) == list(range(30))
    assert store.is_empty()
    (disk / "filling").unlink()
    store._disk_is_left_alone_until = 0.0
    assert store.disk.put(_parcel(30))
    assert not store.is_empty()
    assert _all(store) == [30]
    assert store.disk.counts() == SpoolCounts(waiting=0, refused=0, dropped=0)


def test_what_is_given_back_or_refused_comes_again_when_it_may(disk: Path) -> None:
    store = _full(disk, 4)
    (first, _), (second, _), *others = store.take(10)
    store.again([first], 0.0)
    store.refuse(second, "400")
    store.done([number for number, _ in others])
    assert _all(store) == [0]
    assert not store.is_empty()
    (disk / "filling").unlink()
    store._disk_is_left_alone_until = 0.0
    assert _all(store) == [1], "now it can be put aside"


def test_of_two_processes_one_sends_what_lies_on_a_full_disk(disk: Path) -> None:
    store = _full(disk)
    other = DiskOrMemory(Spool(store.disk.directory), lambda _: None)
    assert _numbers(store.take(5)) == [0, 1, 2, 3, 4]
    assert other.take(5) == []
    assert not other.is_empty()
    store.disk.close()
    assert len(other.take(100)) == 30


@pytest.mark.parametrize("is_clean", [True, False])
def test_what_an_earlier_process_left_on_a_full_disk_is_sent(disk: Path, is_clean: bool) -> None:
    child = os.fork()
    if child == 0:
        spool = Spool(disk / "spool")
        spool.put_all([_parcel(number) for number in range(5)])
        spool.counts()
        spool.put(_parcel(5))
        if is_clean:
            spool.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    _fill(disk)
    assert _all(DiskOrMemory(Spool(disk / "spool"), lambda _: None)) == list(range(6))
