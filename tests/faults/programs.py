"""The product as its operator runs it, each program a process that can be killed: servers, a worker, PostgreSQL."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ADMIN_EMAIL, ADMIN_PASSWORD, INTAKE_KEY
from tests.support.mailbox import Mailbox, smtp_server
from tests.support.servers import temporary_directory
from tocsin import embedded
from tocsin.embedded import EmbeddedServer
from tocsin.store.provision import DATABASE

TOCSIN = str(Path(sys.executable).with_name("tocsin"))
START_SECONDS = 60.0
LOOK_SECONDS = 0.02
MAX_LAST_WORDS = 3_000


@dataclass(slots=True)
class Program:
    """One process, which can be killed and started again. What it says is added to `log`."""

    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)
    _begin: int = 0

    def start(self) -> None:
        """Start it, and do not wait for it."""
        with self.log.open("ab") as log:
            self._begin = log.tell()
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """Do `kill -9`."""
        self.process.kill()
        self.process.wait()

    def last_words(self) -> str:
        """Return what this process has said; of much, the end."""
        return self.log.read_bytes()[self._begin :].decode(errors="replace")[-MAX_LAST_WORDS:]


@dataclass(frozen=True, slots=True)
class Site:
    """A whole installation on the embedded server, and the mailbox to which its pages go."""

    directory: Path
    environment: Mapping[str, str]
    database: EmbeddedServer
    mailbox: Mailbox
    ports: tuple[int, ...]
    webs: tuple[Program, ...]
    worker: Program

    @property
    def conninfo(self) -> str:
        """The application's database, as the superuser."""
        return self.database.conninfo(self.database.superuser, DATABASE)

    @property
    def data_dir(self) -> Path:
        """The data directory of the embedded server."""
        return self.directory / "data"

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `tocsin` with arguments to its end."""
        return subprocess.run(
            [TOCSIN, *arguments], env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )


@contextmanager
def site(*, servers: int = 2, **variables: str) -> Iterator[Site]:
    """Run an installation: its programs are started, and every server listens. Whatever runs at the end is killed.

    The database is as durable as an operator's; this process uses it too, so that it outlives all the others.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(temporary_directory())
        mailbox = stack.enter_context(smtp_server())
        database = stack.enter_context(embedded.use(directory / "data"))
        environment = os.environ | _settings(directory / "data", mailbox) | variables
        ports = tuple(free_port() for _ in range(servers))
        webs = tuple(
            Program([TOCSIN, "serve", "--port", str(port)], environment, directory / f"web-{port}.log")
            for port in ports
        )
        worker = Program([TOCSIN, "worker"], environment, directory / "worker.log")
        made = Site(directory, environment, database, mailbox, ports, webs, worker)
        migrated = made.command("migrate")
        assert migrated.returncode == 0, migrated.stderr
        # One after the other: the first makes the first user.
        for web, port in zip(webs, ports, strict=True):
            web.start()
            stack.callback(web.kill)
            until_listening(port)
        worker.start()
        stack.callback(worker.kill)
        with _last_words(directory):
            yield made


@contextmanager
def _last_words(directory: Path) -> Iterator[None]:
    """Print how every log ends if the block fails: the directory goes with it."""
    try:
        yield
    except BaseException:
        for log in sorted([*directory.glob("*.log"), directory / "data" / "postgres.log"]):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-MAX_LAST_WORDS:]}", file=sys.stderr)
        raise


def _settings(data_dir: Path, mailbox: Mailbox) -> dict[str, str]:
    return {
        "TOCSIN_DATA_DIR": str(data_dir),
        "TOCSIN_SECRET_KEY": "a secret key for the tests, long enough",
        "TOCSIN_BOOTSTRAP_EMAIL": ADMIN_EMAIL,
        "TOCSIN_BOOTSTRAP_PASSWORD": ADMIN_PASSWORD,
        "TOCSIN_BOOTSTRAP_KEY": INTAKE_KEY,
        "TOCSIN_SMTP_HOST": "127.0.0.1",
        "TOCSIN_SMTP_PORT": str(mailbox.port),
        "TOCSIN_SMTP_SECURITY": "none",
    }


def free_port() -> int:
    """Return a port of loopback on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until_listening(port: int) -> None:
    """Wait until somebody listens there."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            assert time.monotonic() < deadline, f"nobody listens on port {port}"
            time.sleep(LOOK_SECONDS)
        else:
            return


def children_of(parent: int, title: str) -> list[int]:
    """Return the child processes of a process whose command line says so."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            is_child = int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent
            line = (entry / "cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if is_child and title.encode() in line:
            found.append(int(entry.name))
    return found
