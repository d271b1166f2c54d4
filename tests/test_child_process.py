"""Whoever starts a program is cut off at any moment, once or again and again: the program is gone afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

import pytest

from tocsin.child_process import end, launch

pytestmark = pytest.mark.anyio

SLEEPS = "import time; time.sleep(600)"


def sleeping() -> list[int]:
    """Return our processes that are still there, dead but not waited for included (proc(5))."""
    ours = os.getpid()
    children = Path(f"/proc/{ours}/task/{ours}/children").read_text().split()
    return [int(pid) for pid in children if SLEEPS in Path(f"/proc/{pid}/cmdline").read_text() or is_zombie(pid)]


def is_zombie(pid: str) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def launched() -> asyncio.Task[Process]:
    return asyncio.create_task(launch(sys.executable, "-c", SLEEPS, stdin=PIPE, stdout=PIPE, stderr=DEVNULL))


async def cut_off(task: asyncio.Task[object], *, times: int) -> None:
    """Cancel a task as often as this, a turn of the loop apart, and wait for its end."""
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    await asyncio.wait([task])


@pytest.mark.parametrize("times", [1, 2, 50])
@pytest.mark.parametrize("turns", range(6))
async def test_a_start_that_is_cut_off_leaves_nothing(turns: int, times: int) -> None:
    launching = launched()
    for _ in range(turns):
        await asyncio.sleep(0)
    await cut_off(launching, times=times)
    if not launching.cancelled():
        await end(launching.result())
    assert sleeping() == []


@pytest.mark.parametrize("times", [1, 2, 50])
async def test_an_end_that_is_cut_off_is_one_all_the_same(times: int) -> None:
    process = await launched()
    ending = asyncio.create_task(end(process))
    await asyncio.sleep(0)
    await cut_off(ending, times=times)
    assert ending.cancelled()
    assert process.returncode == -signal.SIGKILL
    assert sleeping() == []


async def test_what_has_ended_is_left_alone() -> None:
    process = await launch(sys.executable, "-c", "")
    assert await process.wait() == 0
    await end(process)
    assert process.returncode == 0


async def test_what_cannot_be_started_is_said() -> None:
    with pytest.raises(FileNotFoundError):
        await launch("/nowhere/to/be/found")
