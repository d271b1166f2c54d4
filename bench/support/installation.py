"""An installation to measure: the embedded server with the product's own settings, a superadmin, a token, a key."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep

from tocsin import bootstrap
from tocsin.app import accounts
from tocsin.app.work import App
from tocsin.clock import Clock, monotonic_seconds, system_clock
from tocsin.domain.access import Actor, Role
from tocsin.embedded.launch import keeper_is_absent
from tocsin.embedded.layout import Layout
from tocsin.settings import Settings, load_settings

ADMIN = "ada@bench.example"
PASSWORD = "the password of the benchmark"
TOKEN = "token-of-the-benchmark"
KEY = "0123456789abcdef0123456789abcdef"
PROJECT_ID = 1
DEFAULT_POOL = 12
STOP_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Installation:
    """A wired application after its first start, and how other processes reach its database."""

    app: App
    admin: Actor
    sources: bootstrap.Sources


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Give a directory that the user to whom root's PostgreSQL drops can reach; removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="tocsin-bench-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        wait_for_stop(directory)
        shutil.rmtree(directory, ignore_errors=True)


def wait_for_stop(directory: Path) -> None:
    """Wait until the server of a directory has stopped: one that still runs keeps the settings it was started with."""
    deadline = monotonic_seconds() + STOP_SECONDS
    while not keeper_is_absent(Layout.at(directory)):
        if monotonic_seconds() > deadline:
            raise TimeoutError(f"the server in {directory} did not stop within {STOP_SECONDS:.0f} s")
        sleep(0.1)


def settings_at(directory: Path, **more: object) -> Settings:
    """Return the settings of an installation whose database lies in a directory; the environment does not count."""
    fixed = {
        "database_url": None,
        "data_dir": directory,
        "pool_size": DEFAULT_POOL,
        "secret_key": "the secret key of the benchmark, long enough",
        "bootstrap_email": ADMIN,
        "bootstrap_password": PASSWORD,
        "bootstrap_token": TOKEN,
        "bootstrap_key": KEY,
        "_env_file": None,
    }
    return load_settings(**(fixed | more))


@asynccontextmanager
async def installed(settings: Settings, clock: Clock = system_clock) -> AsyncIterator[Installation]:
    """Run the embedded server, migrate, make the first user, and give the wired application."""
    async with bootstrap.database_sources(settings) as sources:
        await bootstrap.prepare(sources, settings, clock)
        async with bootstrap.wired(sources, settings, clock) as app:
            async with app.work() as work:
                user = await accounts.find_user(work, ADMIN)
            yield Installation(app, Actor(user.id, user.name, Role.SUPERADMIN), sources)
