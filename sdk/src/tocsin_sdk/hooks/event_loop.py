"""asyncio: tasks that fail and are never awaited, and callbacks that raise.

Without it such failures still reach the `asyncio` logger when the loop uses the default handler, and are reported from
there. With it they are reported whatever handler the loop has.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tocsin_sdk import current
from tocsin_sdk.report import Details


def watch(loop: asyncio.AbstractEventLoop | None = None) -> None:
    """Report what the event loop (by default the running one) cannot raise to anybody, then go on as before."""
    watched = loop or asyncio.get_running_loop()
    before = watched.get_exception_handler()

    def report(failing: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        client, error = current(), context.get("exception")
        # Without an exception the default handler logs the message, and that is reported.
        if client is not None and isinstance(error, BaseException):
            details = Details(context={"where": str(context.get("message", ""))}, logger="asyncio")
            client.capture_exception(error, handled=False, details=details)
        if before is not None:
            before(failing, context)
        else:
            failing.default_exception_handler(context)

    watched.set_exception_handler(report)
