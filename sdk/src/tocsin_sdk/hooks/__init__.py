"""Where Python tells of failures that nobody caught: one file for each place. What was there before is still called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from tocsin_sdk.client import Client

_removals: list[Callable[[], None]] = []


def install(client: Client, logging_level: int | None) -> None:
    """Watch uncaught exceptions, and log records from a level on."""
    from tocsin_sdk.hooks import excepthook, log_records, threads, unraisable

    _removals.extend(hook.install(client) for hook in (excepthook, threads, unraisable))
    if logging_level is not None:
        _removals.append(log_records.install(client, logging_level))


def remove() -> None:
    """Take the hooks out again, the last one first."""
    while _removals:
        _removals.pop()()
