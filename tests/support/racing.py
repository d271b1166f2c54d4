"""One process of a race: `python -m tests.support.racing ACTION CONNINFO …`. Says "ready", waits for a line, races.

What came of it is printed as one line of JSON. Actions: `report HOW_MANY`, `acknowledge EMAIL NUMBER`, `work`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import SecretStr

from tests.support.lives import error_report
from tests.support.reporting import accept
from tocsin.app import respond
from tocsin.app.work import App
from tocsin.channels import Delivered, Message, Outcome
from tocsin.clock import system_clock
from tocsin.domain.workflow import Acknowledge
from tocsin.errors import TocsinError
from tocsin.settings import Settings
from tocsin.store import users
from tocsin.store.database import Database
from tocsin.worker.run import Worker


async def report(app: App, how_many: str) -> list[dict[str, Any]]:
    """Report one failure so many times at once."""
    await _go(app)
    answers = await asyncio.gather(*(accept(app, 1, [error_report("the one")]) for _ in range(int(how_many))))
    return [{"outcome": taken.outcome, "incident": str(taken.incident_id)} for (taken,) in answers]


async def acknowledge(app: App, email: str, number: str) -> list[dict[str, Any]]:
    """Acknowledge an incident in somebody's name."""
    async with app.work() as work:
        user = await users.by_email(work.tx, email)
    assert user is not None
    await _go(app)
    try:
        async with app.work() as work:
            await respond.acknowledge(work, user.actor(), int(number), Acknowledge(f"{user.name} has it"))
    except TocsinError as error:
        return [{"code": error.refusal.code, "message": error.refusal.message, "details": error.refusal.details}]
    return [{"code": "OK", "by": user.name}]


class CountingChannel:
    """Delivers to nobody, and counts."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def send(self, address: str, message: Message) -> Outcome:
        """Take the message."""
        self.sent.append(str(message.notification_id))
        return Delivered(f"taken for {address}")


async def work(app: App) -> list[dict[str, Any]]:
    """Be a worker until the next line."""
    channel = CountingChannel()
    stop = asyncio.Event()
    await _go(app)
    async with asyncio.TaskGroup() as group:
        group.create_task(Worker(app, {"email": channel}, "racing").run(stop))
        await asyncio.to_thread(sys.stdin.readline)
        stop.set()
    return [{"sent": channel.sent}]


async def _go(app: App) -> None:
    # A connection is there before the start, so that it is the transactions that race.
    async with app.work():
        pass
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


ACTIONS: dict[str, Callable[..., Awaitable[list[dict[str, Any]]]]] = {
    "report": report,
    "acknowledge": acknowledge,
    "work": work,
}


async def _race(action: str, conninfo: str, *arguments: str) -> None:
    settings = Settings(database_url=SecretStr(conninfo), _env_file=None)  # type: ignore[call-arg]  # pydantic's own
    database = Database(conninfo, size=12)
    await database.open()
    try:
        print(json.dumps(await ACTIONS[action](App(database, settings, system_clock), *arguments)), flush=True)
    finally:
        await database.close()


if __name__ == "__main__":
    asyncio.run(_race(*sys.argv[1:]))
