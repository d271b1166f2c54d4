"""`sys.excepthook`: what ends the program is CRITICAL."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from tocsin_sdk.client import Client


def install(client: Client) -> Callable[[], None]:
    """Report, then go on as before; return what undoes it. Ctrl-C is no failure."""
    before = sys.excepthook

    def report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            client.capture_exception(error, severity="CRITICAL", handled=False)
        before(kind, error, traceback)

    def remove() -> None:
        if sys.excepthook is report:
            sys.excepthook = before

    sys.excepthook = report
    return remove
