"""What the server's processes use: CPU between two looks, and memory once a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression, median

import psutil  # type: ignore[import-untyped]  # it brings no types

from bench.support.served import Served
from tocsin.clock import monotonic_seconds
from tocsin.embedded.layout import Layout

MEBIBYTE = 1_048_576
MAX_SAMPLES = 100_000
LEAST_SLOPE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ServerProcesses:
    """The halves of the product and PostgreSQL, by name: each a process, and those below it."""

    roots: Mapping[str, int]

    @classmethod
    def of(cls, served: Served, directory: Path) -> ServerProcesses:
        """Find them: PostgreSQL by its own lock file."""
        postmaster = int(Layout.at(directory).pid_file.read_text().split("\n", 1)[0])
        return cls({"web": served.web, "worker": served.worker, "postgres": postmaster})

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU time that each has used so far; a child that has ended counts with its parent."""
        return {name: sum(map(_cpu_seconds, _family(pid))) for name, pid in self.roots.items()}

    def bytes_in_memory(self) -> dict[str, int]:
        """Return how much memory each holds now, what processes share counted once (PSS)."""
        return {name: sum(map(_bytes_in_memory, _family(pid))) for name, pid in self.roots.items()}


@dataclass(slots=True)
class MemoryOverTime:
    """Samples of one process: seconds since the beginning, and bytes."""

    seconds: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)

    @property
    def least(self) -> float:
        """Return the smallest sample (MiB)."""
        return min(self.bytes) / MEBIBYTE

    @property
    def middle(self) -> float:
        """Return the median (MiB)."""
        return median(self.bytes) / MEBIBYTE

    @property
    def most(self) -> float:
        """Return the largest sample (MiB)."""
        return max(self.bytes) / MEBIBYTE

    @property
    def a_minute(self) -> float | None:
        """Return the slope of the second half in MiB a minute: the first half is where caches and pools fill.

        None when it was looked at too briefly to tell.
        """
        half = len(self.bytes) // 2
        if self.seconds[-1] - self.seconds[half] < LEAST_SLOPE_SECONDS:
            return None
        return linear_regression(self.seconds[half:], self.bytes[half:]).slope * 60 / MEBIBYTE


@asynccontextmanager
async def memory_sampled(
    processes: ServerProcesses, every_seconds: float = 1.0
) -> AsyncIterator[dict[str, MemoryOverTime]]:
    """Take samples during the block."""
    samples = {name: MemoryOverTime() for name in processes.roots}
    began = monotonic_seconds()

    async def sample() -> None:
        for _ in range(MAX_SAMPLES):
            for name, size in (await asyncio.to_thread(processes.bytes_in_memory)).items():
                samples[name].seconds.append(monotonic_seconds() - began)
                samples[name].bytes.append(size)
            await asyncio.sleep(every_seconds)

    task = asyncio.create_task(sample())
    try:
        yield samples
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _family(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def _cpu_seconds(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def _bytes_in_memory(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return int(process.memory_full_info().pss)
    return 0
