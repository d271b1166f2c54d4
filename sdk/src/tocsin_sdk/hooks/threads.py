"""`threading.excepthook`: what ends a thread is HIGH; the program runs on without it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Callable

from tocsin_sdk.report import Details

if TYPE_CHECKING:
    from tocsin_sdk.client import Client


def install(client: Client) -> Callable[[], None]:
    """Report, then go on as before; return what undoes it. Python itself passes over SystemExit, and so do we."""
    before = threading.excepthook

    def report(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_value is not None and not issubclass(failed.exc_type, SystemExit):
            name = failed.thread.name if failed.thread else ""
            client.capture_exception(failed.exc_value, handled=False, details=Details(context={"thread": name}))
        before(failed)

    def remove() -> None:
        if threading.excepthook is report:
            threading.excepthook = before

    threading.excepthook = report
    return remove
