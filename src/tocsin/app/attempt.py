"""Tries what nobody may do, and tells what the database answers: for the demo, which shows that it holds."""

from __future__ import annotations

from collections.abc import Sequence

from tocsin.app.timeline import Detail, IncidentRef, locked_head, write_entry
from tocsin.app.work import App
from tocsin.domain.access import Actor
from tocsin.domain.workflow import Step
from tocsin.store import attempts
from tocsin.store.database import GuardRefusedError


async def attempt_statements(conninfo: str, statements: Sequence[str]) -> str | None:
    """Run statements past the application; return the database's refusal, None when it let them through."""
    return await attempts.attempt(conninfo, statements)


async def attempt_step(app: App, actor: Actor, ref: IncidentRef, step: Step) -> str | None:
    """Write an entry without asking the workflow; return the database's refusal, None when it let it through."""
    try:
        async with app.work() as work:
            await write_entry(work, await locked_head(work, ref), step, actor, Detail())
    except GuardRefusedError as refused:
        return str(refused)
    return None
