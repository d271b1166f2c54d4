"""Another server for the same clients, measured with the same load: Bugsink from PyPI, set up as its docs say.

Two gunicorn workers and its snappea, on SQLite (its default) or PostgreSQL. Its quotas and its retention are raised, so
that it keeps everything as Tocsin does.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.support import loads
from bench.support.environment import made_environment
from bench.support.events import Envelopes
from bench.support.load import Load, Outcome
from bench.support.progress import say
from bench.support.served import program, said
from tocsin.clock import monotonic_seconds

STORES = ("sqlite", "postgresql")
CONNECTIONS = 8
COMMAND_SECONDS = 120.0
WARM_UP_SECONDS = 3.0
MAX_DIGESTING_SECONDS = 30.0
"""How long the digestion of the warm-up is waited for."""
LOOK_SECONDS = 0.25
_DATABASE = "bugsink"
_LISTENS = re.compile(r"Listening at: (http://\S+)")
_MORE_SETTINGS = """
ALLOWED_HOSTS = ["*"]
BUGSINK["BASE_URL"] = "http://127.0.0.1:8000"
for _name in ("PER_PROJECT_PER_5_MINUTES", "PER_PROJECT_PER_HOUR", "PER_PROJECT_PER_MONTH", "PER_5_MINUTES",
              "PER_HOUR", "PER_MONTH"):
    BUGSINK[f"MAX_EVENTS_{_name}"] = 1_000_000_000
"""
_MAKE_PROJECT = """
from projects.models import Project
made = Project.objects.create(name="bench", slug="bench", retention_max_event_count=1_000_000_000)
print("PROJECT", made.id, made.sentry_key.hex)
"""
_COUNT = "SELECT digested_event_count FROM projects_project"


@dataclass(frozen=True, slots=True)
class Digested:
    """What came of the load, and how many events were digested in so many seconds after its beginning."""

    name: str
    outcome: Outcome
    digested: int
    seconds: float

    @property
    def rate(self) -> float:
        """Return events digested a second."""
        return self.digested / self.seconds


async def measure(directory: Path, store: str, superuser: str, envelope: bytes, seconds: float) -> Digested:
    """Install it, run it, send it the envelope for so long, and watch for as long again what it digests."""
    say("Installing Bugsink…")
    home = directory / "bugsink"
    home.mkdir()
    bugsink = await asyncio.to_thread(_installed, home, store, superuser)
    with ExitStack() as running:
        gunicorn = [str(bugsink.programs / "gunicorn"), "--bind=127.0.0.1:0", "--workers=2", "bugsink.wsgi"]
        web = running.enter_context(program(gunicorn, home / "gunicorn.log", os.environ))
        address = urlsplit(said(web, home / "gunicorn.log", _LISTENS))
        running.enter_context(program([str(bugsink.programs / "bugsink-runsnappea")], home / "snappea.log", os.environ))
        path, at = f"/api/{bugsink.project}/envelope/", (address.hostname or "127.0.0.1", address.port or 80)
        first = Envelopes(envelope, path, bugsink.key, 1, "a11a11a1")
        (warm_up,) = await loads.run(Load(first, *at, CONNECTIONS, WARM_UP_SECONDS))
        if not warm_up.accepted:
            raise SystemExit(f"{bugsink.version} accepted nothing: {warm_up.refused}")
        before = await _watched(bugsink, warm_up.accepted, monotonic_seconds() + MAX_DIGESTING_SECONDS)
        events = Envelopes(envelope, path, bugsink.key, 1, "5eed5eed")
        (outcome,) = await loads.run(Load(events, *at, CONNECTIONS, seconds))
        began = outcome.last_answer - outcome.seconds
        digested = await _watched(bugsink, before + outcome.accepted, began + 2 * seconds) - before
        return Digested(f"{bugsink.version} on {store}", outcome, digested, monotonic_seconds() - began)


async def _watched(bugsink: _Bugsink, enough: int, deadline: float) -> int:
    digested = bugsink.digested()
    while digested < enough and monotonic_seconds() < deadline:
        await asyncio.sleep(LOOK_SECONDS)
        digested = bugsink.digested()
    return digested


@dataclass(frozen=True, slots=True)
class _Bugsink:
    """An installed Bugsink with a project."""

    programs: Path
    version: str
    project: int
    key: str
    digested: Callable[[], int]


def _installed(home: Path, store: str, superuser: str) -> _Bugsink:
    packages = ["bugsink", "psycopg[binary]"] if store == "postgresql" else ["bugsink"]
    programs = made_environment(home / "environment", packages)

    def run(name: str, *arguments: str) -> str:
        done = subprocess.run(
            [programs / name, *arguments],
            cwd=home,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{name} {arguments[0]} failed: {done.stderr[-1_000:]}")
        return done.stdout

    conf = home / "bugsink_conf.py"
    run("bugsink-create-conf", "--template=singleserver", "--host=127.0.0.1", f"--base-dir={home}", f"-o{conf}")
    digested = _in_sqlite(home)
    with conf.open("a") as file:
        file.write(_MORE_SETTINGS)
        if store == "postgresql":
            database = _new_database(superuser)
            file.write(f"DATABASES['default'] = {_as_django_names(database)!r}\n")
            digested = _in_postgresql(database)
    run("bugsink-manage", "migrate")
    run("bugsink-manage", "migrate", "--database=snappea")
    made = re.search(r"PROJECT (\d+) (\w+)", run("bugsink-manage", "shell", "-c", _MAKE_PROJECT))
    if made is None:
        raise SystemExit("Bugsink did not make a project")
    version = run("python", "-c", "import importlib.metadata as m; print(m.version('bugsink'))").strip()
    return _Bugsink(programs, f"Bugsink {version}", int(made[1]), made[2], digested)


def _in_sqlite(home: Path) -> Callable[[], int]:
    def digested() -> int:
        with closing(sqlite3.connect(home / "db.sqlite3", timeout=30.0)) as connection:
            return int(connection.execute(_COUNT).fetchone()[0])

    return digested


def _in_postgresql(database: str) -> Callable[[], int]:
    def digested() -> int:
        with psycopg.connect(database) as connection:
            row = connection.execute(_COUNT).fetchone()
            assert row is not None, "the project was made"
            return int(row[0])

    return digested


def _new_database(superuser: str) -> str:
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {_DATABASE}")
    return make_conninfo(superuser, dbname=_DATABASE)


def _as_django_names(database: str) -> dict[str, str]:
    parts = conninfo_to_dict(database)
    names = {"NAME": "dbname", "USER": "user", "HOST": "host", "PORT": "port"}
    engine = {"ENGINE": "django.db.backends.postgresql"}
    return engine | {name: str(parts[part]) for name, part in names.items()}
