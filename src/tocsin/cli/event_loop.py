"""The event loop of a program that runs on, and how often such a program looks for garbage."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

_YOUNG_OBJECTS = 20_000
_YOUNGER_COLLECTIONS = 20


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a program to its end."""
    import uvloop  # noqa: PLC0415  # short commands need none

    collect_seldom()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def collect_seldom() -> None:
    """Look for garbage as seldom as it is worth it.

    What a request leaves behind is freed when its last reference goes; the collector is for circles, of which there
    are few. By default Python looks for them after every 700 new objects, which took a seventh of intake's time. What
    was there at the start stays to the end, and is not looked through at all.
    """
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, _YOUNGER_COLLECTIONS, _YOUNGER_COLLECTIONS)
