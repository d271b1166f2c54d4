"""What the tests see of an embedded server from outside: its processes, and programs that use it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg

from tocsin import embedded
from tocsin.embedded.layout import Layout

FAST = {"fsync": "off", "shared_buffers": "16MB"}

REPOSITORY = Path(__file__).resolve().parents[2]


def processes(data_dir: Path) -> dict[int, str]:
    """Return everything that runs for this directory: keeper, PostgreSQL, initdb; not the programs that use it."""
    found = {}
    name = Layout.at(data_dir).cluster_name
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        ours = str(data_dir) in line and ("embedded.keeper" in line or "postgres" in line or "initdb" in line)
        if (ours or name in line) and __name__.rpartition(".")[2] not in line:
            found[int(entry.name)] = line
    return found


def keeper_of(data_dir: Path) -> int:
    """Return the process id of the keeper, once the process that forked it has ended."""
    found: list[int] = []

    def is_alone() -> bool:
        found[:] = [pid for pid, line in processes(data_dir).items() if "embedded.keeper" in line]
        return len(found) == 1

    eventually(is_alone)
    return found[0]


def postmaster_of(data_dir: Path) -> int:
    """Return the process id of the postmaster, as its own lock file says."""
    return int((data_dir / "pgdata" / "postmaster.pid").read_text().splitlines()[0])


def eventually(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Poll until the condition holds; fail after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)


def execute(conninfo: str, statement: str) -> list[tuple[object, ...]]:
    """Run one statement in a connection of its own; return its rows."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def works(conninfo: str) -> bool:
    """Return whether a connection succeeds now."""
    try:
        return execute(conninfo, "SELECT 1") == [(1,)]
    except psycopg.OperationalError:
        return False


class Program:
    """Another process that uses the server until told to leave; run as `observed.py`."""

    def __init__(
        self,
        data_dir: Path,
        *,
        python: str = sys.executable,
        user: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            [python, __file__, str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": ":".join(sys.path), **(environment or {})},
            process_group=0,
            user=user,
            group=user,
            extra_groups=None if user is None else (),
        )

    def conninfo(self) -> str:
        """Wait for the program to have the server; return the connection string that it got."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line.startswith("ready "), line + self.process.stdout.read()
        return line.removeprefix("ready ").strip()

    def leave(self) -> int:
        """Let it end in order; return its exit status."""
        self.process.communicate("", timeout=30)
        return self.process.returncode

    def kill(self) -> None:
        """`kill -9`."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=30)


def main() -> None:
    """Use the server of the directory in the first argument until the input ends or Ctrl-C comes."""
    # Who starts the tests in a shell's background has it ignored, and so have their children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with embedded.use(Path(sys.argv[1]), settings=FAST) as server:
        sys.stdout.write(f"ready {server.conninfo(server.superuser, 'postgres')}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
