"""What every test shares: one event loop library, how Hypothesis behaves, and a wired application on a clone."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import argon2
import pytest
import structlog
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr

from tests.support.clock import FakeClock
from tests.support.databases import TEMPLATE, clone, derive_template, prepare_template
from tests.support.servers import Server, embedded_server
from tests.support.wiring import wired
from tocsin.app.accounts import FirstStart, first_start
from tocsin.app.work import App
from tocsin.domain.access import Actor
from tocsin.settings import Settings
from tocsin.store import users

# No deadline: a busy machine is not a bug. In CI the examples are the same every time, so that red means changed code.
hypothesis_settings.register_profile("tocsin", deadline=None, derandomize=os.environ.get("CI") == "true")
hypothesis_settings.register_profile("everyday", hypothesis_settings.get_profile("tocsin"), max_examples=20)
hypothesis_settings.load_profile("tocsin")

# Plain tracebacks, as the product writes them: a pretty one takes a third of a second.
_plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[structlog.processors.add_log_level, _plain])

ADMIN_EMAIL = "ada@example.org"
ADMIN_PASSWORD = "correct horse battery"
ADMIN_TOKEN = "test-token-of-the-superadmin"
INTAKE_KEY = "0123456789abcdef0123456789abcdef"
POOL_SIZE = 8


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that hold slow tests: a long one that begins last keeps one process busy and all waiting."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays to the end: a tenth of the tests' own time went into walking it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, the one event loop that the product uses."""
    return "asyncio"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A running PostgreSQL with the template database; folders may run their tests on several."""
    with embedded_server() as running:
        prepare_template(running)
        yield running


@pytest.fixture(scope="session", autouse=True)
def _cheap_passwords() -> Iterator[None]:
    # A good password hash costs a tenth of a second, and most tests make one; hashes carry their own parameters.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tocsin.app.sessions._HASHER", argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield


@pytest.fixture
def template(request: pytest.FixtureRequest) -> str:
    """Of which database the test's own is a clone: the one after the first start where it wants an installation."""
    return template_for(request, "installation", "beginning", otherwise=TEMPLATE)


@pytest.fixture
def database_name(server: Server, template: str) -> Iterator[str]:
    """A migrated database of this test alone."""
    with clone(server, template) as name:
        yield name


@pytest.fixture
def clock() -> FakeClock:
    """The time, which stands still until the test moves it."""
    return FakeClock()


@pytest.fixture(scope="session")
def settings_elsewhere() -> Settings:
    """Settings as an operator would make them, of no database yet: reading them takes longer than most tests do."""
    values: dict[str, Any] = {
        "secret_key": "a secret key for the tests, long enough",
        "bootstrap_email": ADMIN_EMAIL,
        "bootstrap_password": ADMIN_PASSWORD,
        "bootstrap_token": ADMIN_TOKEN,
        "bootstrap_key": INTAKE_KEY,
        "public_url": "http://tocsin.test",
        "secure_cookies": False,
        "_env_file": None,
    }
    return Settings(**values)


@pytest.fixture
def settings(settings_elsewhere: Settings, server: Server, database_name: str) -> Settings:
    """Settings of this test's database; tests vary them with `model_copy(update=…)`."""
    return settings_of(settings_elsewhere, server, database_name)


def settings_of(settings: Settings, server: Server, database: str) -> Settings:
    """Return settings with a database."""
    here = {
        "database_url": SecretStr(server.conninfo(database, user="tocsin_app")),
        "migrate_database_url": SecretStr(server.conninfo(database)),
    }
    return settings.model_copy(update=here)


Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Template(Generic[Made]):
    """A database to clone, and what was made in it."""

    name: str
    made: Made


def make_template(
    settings: Settings, server: Server, name: str, origin: str, fill: Callable[[App], Awaitable[Made]]
) -> Template[Made]:
    """Make a template out of another by what `fill` does in it; what that returns is what was made."""

    async def _fill() -> Made:
        async with wired(settings_of(settings, server, name), FakeClock(), size=POOL_SIZE) as app:
            return await fill(app)

    derive_template(server, name, origin)
    return Template(name, asyncio.run(_fill()))


def template_for(request: pytest.FixtureRequest, fixture: str, made: str, otherwise: str) -> str:
    """Return the template of the fixture `made` for a test that wants `fixture`, and another one for the others."""
    if fixture not in request.fixturenames:
        return otherwise
    template: Template[object] = request.getfixturevalue(made)
    return template.name


@dataclass(frozen=True, slots=True)
class Beginning:
    """What the first start made: one superadmin with every duty, project 1 with its key."""

    admin: Actor
    first: FirstStart


@pytest.fixture(scope="session")
def beginning(settings_elsewhere: Settings, server: Server) -> Template[Beginning]:
    """The first start, made once: an installation is a clone of its database."""
    return make_template(settings_elsewhere, server, f"{TEMPLATE}_started", TEMPLATE, _start)


async def _start(app: App) -> Beginning:
    async with app.work() as work:
        first = await first_start(work)
        assert first is not None
        user = await users.by_email(work.tx, ADMIN_EMAIL)
        assert user is not None
    return Beginning(user.actor(), first)


@dataclass(frozen=True, slots=True)
class Installation:
    """A wired application after its first start."""

    app: App
    admin: Actor
    first: FirstStart


@pytest.fixture
async def installation(
    settings: Settings, clock: FakeClock, beginning: Template[Beginning]
) -> AsyncIterator[Installation]:
    """A wired application after its first start."""
    async with wired(settings, clock, size=POOL_SIZE) as app:
        yield Installation(app, beginning.made.admin, beginning.made.first)


@pytest.fixture
def app(installation: Installation) -> App:
    """The wired application."""
    return installation.app


@pytest.fixture
def admin(installation: Installation) -> Actor:
    """The superadmin, who holds every duty."""
    return installation.admin
