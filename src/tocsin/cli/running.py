"""Runs what a command asks for: settings, the wired application, the one who acts, the access recorded."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

import tocsin
from tocsin import bootstrap, ids
from tocsin.app.acting import ActorUnnamedError, acting
from tocsin.app.audit import record_access
from tocsin.app.work import App, Work
from tocsin.bootstrap import Sources
from tocsin.cli.output import Call
from tocsin.domain.access import Actor
from tocsin.embedded.layout import Layout
from tocsin.errors import Code, TocsinError, refuse
from tocsin.settings import Settings, load_settings

T = TypeVar("T")
Operation = Callable[[Work, Actor], Awaitable[T]]
DONE = "OK"


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a short command's coroutine to its end."""
    return asyncio.run(main)


def act(call: Call, action: str, target: str, operation: Operation[T]) -> T:
    """Do something in a person's name, in one transaction with the record that they did; refusals are recorded too."""
    return run(_act(call, action, target, operation))


async def _act(call: Call, action: str, target: str, operation: Operation[T]) -> T:
    async with application(call) as app:
        actor: Actor | None = None
        try:
            async with app.work() as work:
                actor = await acting(work, call.actor_email)
                answer = await operation(work, actor)
                await record(work, actor, action, target, 0, DONE)
        except TocsinError as error:
            async with app.work() as work:
                status = 2 if isinstance(error, ActorUnnamedError) else 1
                await record(work, actor, action, target, status, error.refusal.code.value)
            raise
        return answer


async def record(work: Work, actor: Actor | None, action: str, target: str, status: int, outcome: str) -> None:
    """Record what the command did, and with which exit code and outcome."""
    await record_access(
        work,
        user_id=actor.user_id if actor else None,
        credential=f"cli:{operating_system_user()}",
        action=action,
        target=target,
        client_address="cli",
        user_agent=f"tocsin/{tocsin.__version__}",
        status=status,
        outcome=outcome,
        request_id=ids.new_id(),
    )


def operating_system_user() -> str:
    """Return whose account this process runs under; the environment is not asked, for anybody can set it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


@asynccontextmanager
async def application(call: Call) -> AsyncIterator[App]:
    """Give the application on the configured database; what the embedded server needs to start is shown."""
    settings = load_settings()
    async with AsyncExitStack() as stack:
        sources = await stack.enter_async_context(database(call, settings))
        yield await stack.enter_async_context(bootstrap.wired(sources, settings))


@asynccontextmanager
async def database(call: Call, settings: Settings, *, create: bool = False) -> AsyncIterator[Sources]:
    """Give the way to the database; unless it may be created, an embedded one that is not there is refused."""
    if not create and is_absent(settings):
        raise refuse(
            Code.MISCONFIGURED,
            f"There is no database in {settings.data_dir} yet.",
            "Start Tocsin with `tocsin up`, only make the database with `tocsin migrate`, "
            "or set TOCSIN_DATA_DIR or TOCSIN_DATABASE_URL to where it is.",
        )
    async with AsyncExitStack() as stack:
        with call.progress() as progress:
            sources = await stack.enter_async_context(bootstrap.database_sources(settings, progress))
        yield sources


def is_absent(settings: Settings) -> bool:
    """Tell whether the embedded database is meant, and was never made."""
    if settings.database_url is not None:
        return False
    try:
        return not Layout.at(settings.data_dir).pgdata.exists()
    except OSError:
        # Not ours to look into: using it will say why.
        return False


def text_of(ref: UUID | int) -> str:
    """Return how the access log names an incident."""
    return f"INC-{ref}" if isinstance(ref, int) else str(ref)
