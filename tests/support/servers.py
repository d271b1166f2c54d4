"""PostgreSQL servers for the tests: the embedded one, and Debian's PostgreSQL 15 as somebody's own server."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import make_conninfo

from tocsin import embedded

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
"""A test's database need not survive the machine; tests of durability take a server of their own."""
SYSTEM_BINARIES = Path("/usr/lib/postgresql/15/bin")


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    host: Path
    port: int
    superuser: str

    def conninfo(self, dbname: str, user: str | None = None) -> str:
        """Return how to reach a database, as the superuser unless told otherwise."""
        return make_conninfo("", host=str(self.host), port=self.port, user=user or self.superuser, dbname=dbname)


def _fastest_place() -> str:
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 * 1024**3
    return str(memory) if roomy else "/tmp"


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Give a directory that the user to whom root drops can reach: in memory where that is possible.

    A clone of the template is some three hundred files: 0.3 s on a disk, 0.02 s in memory, for each test.
    """
    path = Path(tempfile.mkdtemp(prefix="tocsin-test-", dir=_fastest_place()))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def embedded_server(settings: Mapping[str, str] = FAST) -> Iterator[Server]:
    """Run the embedded server in a directory of its own."""
    with temporary_directory() as path, embedded.use(path, settings=settings) as server:
        yield Server(server.socket_dir, server.port, server.superuser)


@contextmanager
def system_server() -> Iterator[Server]:
    """Run Debian's PostgreSQL 15 on a Unix socket, as the user postgres when we are root."""
    account = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    with temporary_directory() as path:
        os.chown(path, account.pw_uid, account.pw_gid)

        def run(*command: str) -> None:
            subprocess.run(
                command, check=True, capture_output=True, user=account.pw_uid, group=account.pw_gid, cwd=path
            )

        data = path / "data"
        run(str(SYSTEM_BINARIES / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        options = " ".join(f"-c {name}={value}" for name, value in FAST.items())
        log = str(path / "log")
        start = f"-c listen_addresses= -c unix_socket_directories={path} {options}"
        run(str(SYSTEM_BINARIES / "pg_ctl"), "-D", str(data), "-l", log, "-w", "-o", start, "start")
        try:
            yield Server(path, 5432, "postgres")
        finally:
            run(str(SYSTEM_BINARIES / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
