"""The command line on a clone of the template database, after its first start."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import ADMIN_EMAIL, ADMIN_PASSWORD, INTAKE_KEY
from tests.support.databases import clone
from tests.support.servers import Server
from tocsin import bootstrap
from tocsin.bootstrap import Sources
from tocsin.cli.main import main
from tocsin.settings import load_settings

COMMAND = [sys.executable, "-c", "from tocsin.cli.main import run; run()"]
SOURCE = Path(__file__).parents[2] / "src"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return standard output as JSON: it must be nothing else."""
        return json.loads(self.out)

    @property
    def problem(self) -> Any:
        """Return standard error as JSON."""
        return json.loads(self.err)


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without anybody's settings but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOCSIN_", "COLUMNS", "FORCE_"))}
    return kept | {"PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "error"} | dict(variables)


@dataclass(frozen=True, slots=True)
class Cli:
    """Calls the command line: in this process, or in one of its own where streams and signals matter."""

    capture: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch
    variables: Mapping[str, str]
    superuser: str
    directory: Path

    def __call__(self, *arguments: str, stdin: str | bytes = "") -> Answer:
        """Call it in this process."""
        said = stdin.encode() if isinstance(stdin, str) else stdin
        self.patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(said), encoding="utf-8"))
        self.capture.readouterr()
        code = main(arguments)
        printed = self.capture.readouterr()
        return Answer(code, printed.out, printed.err)

    def done(self, *arguments: str, stdin: str = "") -> Answer:
        """Call it and expect that it was done."""
        answer = self(*arguments, stdin=stdin)
        assert answer.code == 0, answer.err
        return answer

    def process(self, *arguments: str, stdin: str = "") -> Answer:
        """Call it in a process of its own, in a pipe."""
        ended = subprocess.run(
            [*COMMAND, *arguments],
            env=environment(self.variables),
            cwd=self.directory,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Answer(ended.returncode, ended.stdout, ended.stderr)

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run SQL as the superuser, past the application."""
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def idle_cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line where it must not need a database: one that nobody can reach is configured."""
    variables = {"TOCSIN_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing", "TOCSIN_POOL_SIZE": "2"}
    return _configured(Cli(capsys, monkeypatch, variables, "", tmp_path))


@pytest.fixture
def fresh_cli(
    server: Server,
    database_name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Cli:
    """The command line of an installation of this test alone: one superadmin, who holds every duty."""
    variables = _first_start(server, database_name) | {"TOCSIN_DATA_DIR": str(tmp_path / "data")}
    return _configured(Cli(capsys, monkeypatch, variables, server.conninfo(database_name), tmp_path))


@pytest.fixture(scope="module")
def shared_installation(server: Server) -> Iterator[tuple[dict[str, str], str]]:
    """An installation that the tests of a module share: a database of its own costs each of them half a second."""
    with clone(server) as name:
        yield _first_start(server, name), server.conninfo(name)


@pytest.fixture
def cli(
    shared_installation: tuple[dict[str, str], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Cli:
    """The command line of the module's installation. What others left there must not matter to a test."""
    variables, superuser = shared_installation
    variables = variables | {"TOCSIN_DATA_DIR": str(tmp_path / "data")}
    return _configured(Cli(capsys, monkeypatch, variables, superuser, tmp_path))


def _first_start(server: Server, name: str) -> dict[str, str]:
    variables = {
        "TOCSIN_DATABASE_URL": server.conninfo(name, user="tocsin_app"),
        "TOCSIN_MIGRATE_DATABASE_URL": server.conninfo(name),
        "TOCSIN_SECRET_KEY": "a secret key for the tests, long enough",
        "TOCSIN_BOOTSTRAP_EMAIL": ADMIN_EMAIL,
        "TOCSIN_BOOTSTRAP_PASSWORD": ADMIN_PASSWORD,
        "TOCSIN_BOOTSTRAP_KEY": INTAKE_KEY,
        "TOCSIN_PUBLIC_URL": "http://tocsin.test",
        "TOCSIN_POOL_SIZE": "2",
    }
    given = {name.removeprefix("TOCSIN_").lower(): value for name, value in variables.items()}
    sources = Sources(variables["TOCSIN_DATABASE_URL"], variables["TOCSIN_MIGRATE_DATABASE_URL"], embedded=False)
    asyncio.run(bootstrap.prepare(sources, load_settings(**given, _env_file=None)))
    return variables


def _configured(cli: Cli) -> Cli:
    cli.patch.chdir(cli.directory)
    for name in [name for name in os.environ if name.startswith("TOCSIN_")]:
        cli.patch.delenv(name)
    for name, value in cli.variables.items():
        cli.patch.setenv(name, value)
    return cli
