"""Makes the calls of the watchman's own dead man's switch, for as long as this worker works."""

from __future__ import annotations

import asyncio

import structlog

from tocsin.app.watchdog import Watchdog
from tocsin.app.work import App
from tocsin.errors import TocsinError
from tocsin.worker.log_keeper import pause

log = structlog.get_logger()

LOOK_SECONDS = 1.0


async def keep_calling(app: App, watchdog: Watchdog, stop: asyncio.Event) -> None:
    """Call whenever it is due, until `stop` is set. What fails here is a call that stays away: that is the alarm."""
    while not stop.is_set():
        try:
            await watchdog.run(app)
        except TocsinError as error:
            log.error("worker.watchdog_waits", reason=error.refusal.message)
        except Exception:
            log.exception("worker.watchdog_failed")
        await pause(stop, LOOK_SECONDS)
