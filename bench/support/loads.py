"""Loads from processes of their own: started together, awaited without holding up whoever waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection

from bench.support import load, processes
from bench.support.load import Load, Outcome


async def run(*loads: Load) -> list[Outcome]:
    """Prepare every load in a process of its own, then send them all at once; return what came of each."""
    with ExitStack() as stack:
        lines: Sequence[Connection] = [stack.enter_context(processes.running(load.generator, one))[1] for one in loads]
        for line in lines:
            line.send(True)
        return [await _heard(line) for line in lines]


async def _heard(line: Connection) -> Outcome:
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(line.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(line.fileno())
    try:
        outcome: Outcome = line.recv()
    except EOFError:
        raise RuntimeError("a load generator ended without a result: its last words stand above") from None
    return outcome
