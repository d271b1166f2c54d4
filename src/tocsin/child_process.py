"""Processes that we start: however often we are cut off while one begins or ends, none is left behind."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from typing import Any


async def launch(*program: str, **options: Any) -> Process:
    """Start a program, with the options of `asyncio.create_subprocess_exec`.

    Cut off in the middle of it, there would be a process that nobody knows of: it is ended before that is passed on.
    Raises OSError when it cannot be started.
    """
    launching = asyncio.ensure_future(asyncio.create_subprocess_exec(*program, **options))
    cut_off: asyncio.CancelledError | None = None
    while not launching.done():
        try:
            await asyncio.wait([launching])
        except asyncio.CancelledError as error:
            cut_off = error
    if cut_off is None:
        return launching.result()
    if not launching.cancelled() and launching.exception() is None:
        await end(launching.result())
    raise cut_off


async def end(process: Process) -> None:
    """Kill a process if it still runs, and wait until it is gone; only then pass on that we were cut off meanwhile."""
    if process.returncode is not None:
        return
    process.kill()
    cut_off: asyncio.CancelledError | None = None
    while process.returncode is None:
        try:
            await process.wait()
        except asyncio.CancelledError as error:
            cut_off = error
    if cut_off is not None:
        raise cut_off
