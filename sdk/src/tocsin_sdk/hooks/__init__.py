"""Where Python tells of failures that nobody caught: one file for each place. What was there before is still called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from tocsin_sdk.client import Client


def install(client: Client, logging_level: int | None) -> list[Callable[[], None]]:
    """Watch uncaught exceptions, and log records from a level on; return what undoes it, to be called from the end."""
    from tocsin_sdk.hooks import excepthook, log_records, threads, unraisable

    removals = [hook.install(client) for hook in (excepthook, threads, unraisable)]
    return removals if logging_level is None else [*removals, log_records.install(client, logging_level)]
