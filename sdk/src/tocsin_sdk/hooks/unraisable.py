"""`sys.unraisablehook`: errors in finalizers and the like, which nothing can catch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Callable

from tocsin_sdk.report import Details

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

    from tocsin_sdk.client import Client


def install(client: Client) -> Callable[[], None]:
    """Report, then go on as before; return what undoes it."""
    before = sys.unraisablehook

    def report(failed: UnraisableHookArgs) -> None:
        if failed.exc_value is not None:
            # Only the type of the object: it is being destroyed, and its repr may run its code.
            context = {"where": failed.err_msg or "Exception ignored", "object": type(failed.object).__qualname__}
            client.capture_exception(failed.exc_value, handled=False, details=Details(context=context))
        before(failed)

    def remove() -> None:
        if sys.unraisablehook is report:
            sys.unraisablehook = before

    sys.unraisablehook = report
    return remove
