"""What the tests with real clients share: Tocsin in a process of its own, started as its user starts it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, LiteralString, TypeVar

import psycopg
import pytest

from tests.conftest import ADMIN_EMAIL, ADMIN_PASSWORD, ADMIN_TOKEN, INTAKE_KEY
from tests.support.databases import clone
from tests.support.servers import Server

JAVASCRIPT = Path(__file__).parent / "javascript"
TOCSIN = str(Path(sys.executable).with_name("tocsin"))
START_SECONDS = 60.0
STOP_SECONDS = 30.0
REQUEST_SECONDS = 10.0
PATIENCE_SECONDS = 30.0

_RUNNING = re.compile(r"Tocsin is running at (http://\S+)")

T = TypeVar("T")
RunNode = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True, slots=True)
class Live:
    """A running server whose every report opens an incident, and one project that clients report to.

    `database` leads a superuser into its database: tests move the time of its jobs there.
    """

    url: str
    database: str
    project: int = 1
    key: str = INTAKE_KEY

    @property
    def port(self) -> int:
        """Return the port that it listens on."""
        return int(self.url.rpartition(":")[2])

    def dsn(self, port: int | None = None) -> str:
        """Return what a Sentry client is given, or the same through another port (see tests.clients.wire)."""
        return f"http://{self.key}@127.0.0.1:{port or self.port}/{self.project}"

    def details(self) -> list[Any]:
        """Return every incident with its error, the oldest first."""
        incidents = json.loads(self._get("/api/incidents"))["incidents"]
        return [json.loads(self._get(f"/api/incidents/{one['number']}")) for one in reversed(incidents)]

    def entries(self, title: str) -> list[str]:
        """Return the kinds of the entries of the incident whose title begins like this; none while there is none."""
        found = [detail for detail in self.details() if detail["incident"]["title"].startswith(title)]
        return [entry["eventType"] for detail in found for entry in detail["timeline"]]

    def by_title(self) -> dict[str, Any]:
        """Return every incident with its error, by its title."""
        return {detail["incident"]["title"]: detail for detail in self.details()}

    def metrics(self) -> str:
        """Return what Prometheus would read."""
        return self._get("/metrics").decode()

    def rows(self, query: LiteralString) -> list[tuple[Any, ...]]:
        """Return what a statement of SQL finds or changes in its database."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            return connection.execute(query).fetchall()

    def became(self, *measures: str) -> int:
        """Return how many reports became what the ledger calls so: opened, joined, recorded, duplicate."""
        found = dict(self.rows("SELECT measure, sum(quantity)::bigint FROM tocsin.intake_ledger GROUP BY 1"))
        return sum(found.get(measure, 0) for measure in measures)

    def heartbeats(self) -> list[Any]:
        """Return every heartbeat."""
        found: list[Any] = json.loads(self._get("/api/heartbeats"))["heartbeats"]
        return found

    def _get(self, path: str) -> bytes:
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as response:
            body: bytes = response.read()
        return body


def eventually(look: Callable[[], T | None], seconds: float = PATIENCE_SECONDS) -> T:
    """Look until there is something, and return it: for what a client sends while nobody waits for it."""
    end = monotonic() + seconds
    while not (found := look()):
        assert monotonic() < end, f"nothing came within {seconds:g} seconds"
        sleep(0.05)
    return found


@pytest.fixture(scope="module")
def live(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """`tocsin up` on a database of its own, for the tests of one file: each knows its incidents by their titles."""
    folder = tmp_path_factory.mktemp("tocsin")
    with clone(server) as name:
        database = server.conninfo(name)
        with serving(server.conninfo(name, user="tocsin_app"), database, folder) as url:
            yield Live(url, database)


@contextmanager
def serving(database_url: str, migrate_url: str, folder: Path) -> Iterator[str]:
    """Run `tocsin up` on a port of its own choosing, and give its address."""
    environment = bare_environment(folder) | {
        "TOCSIN_DATABASE_URL": database_url,
        "TOCSIN_MIGRATE_DATABASE_URL": migrate_url,
        "TOCSIN_SECRET_KEY": "a secret key for the tests, long enough",
        "TOCSIN_BOOTSTRAP_EMAIL": ADMIN_EMAIL,
        "TOCSIN_BOOTSTRAP_PASSWORD": ADMIN_PASSWORD,
        "TOCSIN_BOOTSTRAP_TOKEN": ADMIN_TOKEN,
        "TOCSIN_BOOTSTRAP_KEY": INTAKE_KEY,
        "TOCSIN_INCIDENT_THRESHOLD": "LOW",
        # The tests open incidents faster than anybody reads; that is no storm here.
        "TOCSIN_STORM_THRESHOLD": "1000",
    }
    log = folder / "tocsin.log"
    with log.open("wb") as output:
        command = [TOCSIN, "up", "--host", "127.0.0.1", "--port", "0"]
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield _url(process, log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    def said() -> re.Match[str] | None:
        assert process.poll() is None, log.read_text()
        return _RUNNING.search(log.read_text())

    return eventually(said, START_SECONDS)[1]


def bare_environment(home: Path) -> dict[str, str]:
    """Return an environment for other programs: no proxy and no setting of the developer's reaches them."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(home)}


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The installed packages of the folder `javascript`."""
    path = JAVASCRIPT / "node_modules"
    if not path.is_dir():
        pytest.skip("needs the packages of tests/clients/javascript: Debian's package npm, then `python3 dev.py test`")
    return path


@pytest.fixture(scope="session")
def run_node(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> RunNode:
    """Run a program of the folder `javascript` to its end, with arguments and variables; return how it ended."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Debian's package nodejs")
    folder = tmp_path_factory.mktemp("node")

    def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [node, str(JAVASCRIPT / program), *arguments],
            env=bare_environment(folder) | environment,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )

    return run
