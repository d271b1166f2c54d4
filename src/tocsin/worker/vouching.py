"""Looks after those who vouch for the log: one loop each, so that one that hangs holds up no other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from tocsin.app.vouch import Voucher, introduce, look_after, note_failure
from tocsin.app.work import App
from tocsin.clock import monotonic_seconds
from tocsin.errors import TocsinError
from tocsin.worker.log_keeper import pause

log = structlog.get_logger()

LOOK_SECONDS = 1.0
INTRODUCE_SECONDS = 600.0


async def look_after_all(app: App, vouchers: Sequence[Voucher], stop: asyncio.Event) -> None:
    """Look after each until `stop` is set."""
    async with asyncio.TaskGroup() as group:
        for voucher in vouchers:
            group.create_task(_look_after(app, voucher, stop))


async def _look_after(app: App, voucher: Voucher, stop: asyncio.Event) -> None:
    introduced_at_seconds = float("-inf")
    while not stop.is_set():
        try:
            if monotonic_seconds() - introduced_at_seconds > INTRODUCE_SECONDS:
                await introduce(app, voucher)
                introduced_at_seconds = monotonic_seconds()
            await look_after(app, voucher)
        except TocsinError as error:
            log.error("worker.vouching_waits", who=voucher.name, reason=error.refusal.message)
        except Exception as error:
            log.exception("worker.vouching_failed", who=voucher.name)
            await _note(app, voucher, error)
        await pause(stop, LOOK_SECONDS)


async def _note(app: App, voucher: Voucher, error: Exception) -> None:
    try:
        await note_failure(app, voucher, 10, error)
    except Exception:
        # The lease ends by itself, and then it is tried again.
        log.exception("worker.vouching_failure_not_noted", who=voucher.name)
