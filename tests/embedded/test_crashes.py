"""`kill -9` of everything that can be killed, alone and together."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.embedded.observed import FAST, Program, eventually, execute, keeper_of, postmaster_of, processes, works
from tocsin import embedded
from tocsin.embedded import binaries, cluster
from tocsin.embedded.account import Account, account_for
from tocsin.embedded.layout import Layout

pytestmark = pytest.mark.slow


def _create(data_dir: Path) -> Account:
    """Leave a cluster behind that no longer runs; return the account that owns it."""
    with embedded.use(data_dir, settings=FAST) as server:
        execute(server.conninfo(server.superuser, "postgres"), "CREATE TABLE kept AS SELECT 1 AS one")
        os.kill(keeper_of(data_dir), signal.SIGTERM)
    eventually(lambda: not processes(data_dir))
    return account_for(Layout.at(data_dir))


@contextmanager
def _running(command: list[str], account: Account) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=cluster.ENVIRONMENT,
        user=account.user,
        group=account.group,
        extra_groups=account.extra_groups,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _was_replaced(data_dir: Path, postmaster: int, conninfo: str) -> bool:
    return works(conninfo) and postmaster_of(data_dir) != postmaster


def _kept(data_dir: Path) -> list[tuple[object, ...]]:
    with embedded.use(data_dir, settings=FAST) as server:
        return execute(server.conninfo(server.superuser, "postgres"), "SELECT one FROM kept")


def test_a_killed_program_leaves_nothing_running(data_dir: Path) -> None:
    program = Program(data_dir)
    program.conninfo()
    assert processes(data_dir)
    program.kill()
    eventually(lambda: not processes(data_dir))
    assert "database system is shut down" in (data_dir / "postgres.log").read_text()


def test_a_killed_server_comes_back_with_everything_committed(data_dir: Path) -> None:
    with embedded.use(data_dir, settings=FAST) as server:
        conninfo = server.conninfo(server.superuser, "postgres")
        execute(conninfo, "CREATE TABLE kept AS SELECT 1 AS one")
        for _ in range(2):
            killed = postmaster_of(data_dir)
            os.kill(killed, signal.SIGKILL)
            eventually(partial(_was_replaced, data_dir, killed, conninfo))
        assert execute(conninfo, "SELECT one FROM kept") == [(1,)]


def test_a_killed_server_comes_back_although_a_backend_of_it_computes_on(data_dir: Path) -> None:
    with embedded.use(data_dir, settings=FAST) as server:
        conninfo = server.conninfo(server.superuser, "postgres")
        psql = [
            str(binaries.installed() / "psql"),
            conninfo,
            "-c",
            "SELECT count(*) FROM generate_series(1, 1e12::bigint)",
        ]
        with subprocess.Popen(psql, stderr=subprocess.DEVNULL) as client:
            busy = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%1e12%' AND pid <> pg_backend_pid()"
            eventually(lambda: execute(conninfo, busy))
            os.kill(postmaster_of(data_dir), signal.SIGKILL)
            try:
                assert client.wait(30) != 0
            finally:
                client.kill()
        eventually(lambda: works(conninfo))


def test_a_program_gets_its_server_back_when_the_keeper_is_killed(data_dir: Path) -> None:
    with embedded.use(data_dir, settings=FAST) as server:
        conninfo = server.conninfo(server.superuser, "postgres")
        killed, postmaster = keeper_of(data_dir), postmaster_of(data_dir)
        os.kill(killed, signal.SIGKILL)
        eventually(partial(_was_replaced, data_dir, postmaster, conninfo))
        assert keeper_of(data_dir) != killed


def test_nothing_is_left_when_program_and_keeper_are_killed_together(data_dir: Path) -> None:
    program = Program(data_dir)
    program.conninfo()
    keeper = keeper_of(data_dir)
    program.process.send_signal(signal.SIGSTOP)  # so that its watchdog cannot be quicker than the second kill
    os.kill(keeper, signal.SIGKILL)
    program.kill()
    eventually(lambda: not processes(data_dir))
    with embedded.use(data_dir, settings=FAST) as server:
        assert works(server.conninfo(server.superuser, "postgres"))


def test_everything_killed_at_once_is_recovered_by_the_next_use(data_dir: Path) -> None:
    program = Program(data_dir)
    execute(program.conninfo(), "CREATE TABLE kept AS SELECT 1 AS one")
    program.process.send_signal(signal.SIGSTOP)
    os.kill(keeper_of(data_dir), signal.SIGKILL)
    for pid in processes(data_dir):
        with suppress(ProcessLookupError):  # those whose parent was killed first leave by themselves
            os.kill(pid, signal.SIGKILL)
    program.kill()
    assert _kept(data_dir) == [(1,)]


def test_an_orphaned_server_is_ended_before_a_new_one_starts(data_dir: Path) -> None:
    account = _create(data_dir)
    layout = Layout.at(data_dir)
    with _running(cluster.server_command(layout, binaries.installed(), FAST), account) as orphan:
        eventually(lambda: cluster.is_ready(layout, str(orphan.pid)))
        layout.keeper_lock.write_text(str(orphan.pid))  # as its keeper, killed, would have left it
        with embedded.use(data_dir, settings=FAST) as server:
            assert postmaster_of(data_dir) != orphan.pid
            assert execute(server.conninfo(server.superuser, "postgres"), "SELECT one FROM kept") == [(1,)]
        assert orphan.wait(10) == 0  # fast shutdown: it stopped in order


def test_a_stale_pid_file_whose_number_was_reused_is_removed_and_the_stranger_lives(data_dir: Path) -> None:
    account = _create(data_dir)
    layout = Layout.at(data_dir)
    with _running(["/bin/sleep", "600"], account) as stranger:
        stale = f"{stranger.pid}\n{layout.pgdata}\n1700000000\n5432\n{layout.socket_dir}\n\n0 0\nready   \n"
        lock = layout.socket_dir / ".s.PGSQL.5432.lock"
        for file in (layout.pid_file, lock):
            file.write_text(stale)
            file.chmod(0o600)
            account.own(file)
        (layout.socket_dir / ".s.PGSQL.5432").touch()
        assert _kept(data_dir) == [(1,)]
        assert stranger.poll() is None


def test_an_interrupted_creation_is_begun_anew(data_dir: Path) -> None:
    program = Program(data_dir)
    eventually(lambda: list(data_dir.glob("pgdata.new-*/base")))
    program.process.send_signal(signal.SIGSTOP)
    os.kill(keeper_of(data_dir), signal.SIGKILL)
    program.kill()
    eventually(lambda: not processes(data_dir))
    assert not (data_dir / "pgdata").exists()
    with embedded.use(data_dir, settings=FAST) as server:
        assert works(server.conninfo(server.superuser, "postgres"))
    assert not list(data_dir.glob("pgdata.new-*"))


def test_a_keeper_whose_directory_was_deleted_ends(data_dir: Path) -> None:
    program = Program(data_dir)
    program.conninfo()
    data_dir.rename(data_dir.with_name("elsewhere"))
    eventually(lambda: not processes(data_dir))
    program.leave()
