"""One server for all who use a directory, from the first of them to the last."""

from __future__ import annotations

import os
import signal
import stat
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tests.embedded.observed import FAST, Program, eventually, execute, keeper_of, postmaster_of, processes, works
from tocsin import embedded
from tocsin.embedded.launch import keeper_is_absent
from tocsin.embedded.layout import Layout
from tocsin.embedded.locks import FileLock
from tocsin.errors import TocsinError


@pytest.mark.slow
def test_first_use_creates_a_server_and_the_next_finds_its_data(data_dir: Path) -> None:
    said: list[str] = []
    with embedded.use(data_dir, progress=said.append) as server:
        conninfo = server.conninfo(server.superuser, "postgres")
        execute(conninfo, "CREATE TABLE kept AS SELECT 'still here' AS word")
    eventually(lambda: not processes(data_dir))
    assert said == ["Creating the embedded PostgreSQL database…", "Starting the embedded PostgreSQL…"]
    assert not works(conninfo)

    with embedded.use(data_dir) as server:
        assert server.conninfo(server.superuser, "postgres") == conninfo
        assert execute(conninfo, "SELECT word FROM kept") == [("still here",)]


def test_the_server_is_durable_checksummed_and_reachable_through_a_private_socket_only(data_dir: Path) -> None:
    with embedded.use(data_dir) as server:
        conninfo = server.conninfo(server.superuser, "postgres")
        names = (
            "fsync",
            "synchronous_commit",
            "full_page_writes",
            "data_checksums",
            "listen_addresses",
            "max_connections",
        )
        settings = {name: execute(conninfo, f"SHOW {name}")[0][0] for name in names}
        assert settings == {
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "data_checksums": "on",
            "listen_addresses": "",
            "max_connections": "120",
        }
        assert execute(conninfo, "SHOW server_encoding") == [("UTF8",)]
        assert execute(conninfo, "SELECT 'Ä' ILIKE 'ä', 'a' < 'Z' COLLATE \"default\"") == [(True, False)]
        assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
        assert "ready to accept connections" in server.log_file.read_text()


@pytest.mark.slow
def test_programs_that_start_at_once_share_one_server_until_the_last_leaves(data_dir: Path) -> None:
    programs = [Program(data_dir) for _ in range(3)]
    first, *others = {program.conninfo() for program in programs}
    assert not others
    postmaster, keeper = postmaster_of(data_dir), keeper_of(data_dir)
    for program in programs[:2]:
        assert program.leave() == 0
        assert works(first)
    assert (postmaster_of(data_dir), keeper_of(data_dir)) == (postmaster, keeper)
    assert programs[2].leave() == 0
    eventually(lambda: not processes(data_dir))


def _is_closed(conninfo: str) -> bool:
    return not works(conninfo)


@pytest.mark.slow
def test_who_arrives_exactly_while_the_keeper_leaves_gets_a_server_of_its_own(data_dir: Path) -> None:
    layout = Layout.at(data_dir)
    servers = set()
    for pause in range(8):
        server = embedded.acquire(data_dir, settings=FAST)
        conninfo = server.conninfo(server.superuser, "postgres")
        assert works(conninfo)
        servers.add(postmaster_of(data_dir))
        os.kill(keeper_of(data_dir), signal.SIGTERM)  # no grace: it leaves in the round that finds nobody
        server.release()
        if pause % 2:  # in the midst of its leaving; else anywhere before
            eventually(partial(_is_closed, conninfo))
    eventually(lambda: keeper_is_absent(layout))
    assert len(servers) >= 4


@pytest.mark.slow
def test_nobody_joins_a_server_that_is_being_stopped(data_dir: Path) -> None:
    server = embedded.acquire(data_dir, settings=FAST)
    stopping = postmaster_of(data_dir)
    os.kill(stopping, signal.SIGSTOP)  # it will take its time
    os.kill(keeper_of(data_dir), signal.SIGTERM)
    server.release()
    with closing(FileLock(Layout.at(data_dir).users_lock)) as users:
        eventually(partial(_is_taken, users))
    with pytest.raises(TocsinError, match="does not answer after 0 s"):
        embedded.acquire(data_dir, settings=FAST, patience_seconds=0.3)
    os.kill(stopping, signal.SIGCONT)
    with embedded.use(data_dir, settings=FAST):
        assert postmaster_of(data_dir) != stopping


def _is_taken(lock: FileLock) -> bool:
    if not lock.try_shared():
        return True
    lock.unlock()
    return False


@pytest.mark.slow
def test_a_keeper_that_is_asked_to_end_stays_while_the_server_is_used(data_dir: Path) -> None:
    with embedded.use(data_dir, settings=FAST) as server:
        os.kill(keeper_of(data_dir), signal.SIGTERM)
        other = embedded.acquire(data_dir)
        other.release()
        other.release()  # which does no more than the first time
        assert works(server.conninfo(server.superuser, "postgres"))


@pytest.mark.slow
def test_ctrl_c_reaches_the_program_and_not_the_server(data_dir: Path) -> None:
    with embedded.use(data_dir, settings=FAST) as server:
        postmaster = postmaster_of(data_dir)
        program = Program(data_dir)
        program.conninfo()
        os.killpg(program.process.pid, signal.SIGINT)
        output, _ = program.process.communicate(timeout=30)
        assert "KeyboardInterrupt" in output
        assert works(server.conninfo(server.superuser, "postgres"))
        assert postmaster_of(data_dir) == postmaster


@pytest.mark.slow
def test_ctrl_c_on_the_program_that_started_the_server_stops_it_in_order(data_dir: Path) -> None:
    program = Program(data_dir)
    program.conninfo()
    os.killpg(program.process.pid, signal.SIGINT)
    program.process.communicate(timeout=30)
    eventually(lambda: not processes(data_dir))
    assert "database system is shut down" in (data_dir / "postgres.log").read_text()


@pytest.mark.slow
def test_an_awkward_path_and_awkward_names_work(place: Path) -> None:
    data_dir = place / 'it\'s, "odd" ä'
    with embedded.use(data_dir, settings=FAST) as server:
        conninfo = server.conninfo(server.superuser, "postgres")
        execute(conninfo, 'CREATE DATABASE "o\'dd name"')
        with psycopg.connect(server.conninfo(server.superuser, "o'dd name")) as connection:
            assert connection.info.dbname == "o'dd name"
        os.kill(keeper_of(data_dir), signal.SIGTERM)
        socket_dir = server.socket_dir
    eventually(lambda: not processes(data_dir))
    socket_dir.rmdir()


@pytest.mark.slow
def test_a_path_too_long_for_a_socket_gets_a_private_directory_in_tmp(place: Path) -> None:
    data_dir = place / ("long" * 30)
    with embedded.use(data_dir, settings=FAST) as server:
        assert server.socket_dir.parent == Path("/tmp")
        assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
        assert works(server.conninfo(server.superuser, "postgres"))
        os.kill(keeper_of(data_dir), signal.SIGTERM)
        socket_dir = server.socket_dir
    eventually(lambda: not processes(data_dir))
    socket_dir.rmdir()
