"""Where a process spends its time: py-spy samples its stacks from outside, in an environment of its own.

It needs the right to trace another process: root's, or a kernel that lets a user trace their own.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.support.environment import made_environment

SAMPLES_A_SECOND = 200
STOP_SECONDS = 30.0
SHOWN = 25
_AROUND = re.compile(r"\((typer/|threading\.py|concurrent/|asyncio/runners|<string>|tocsin/cli/)")
"""What stands around every request: of no interest among what others call."""


@contextmanager
def watching(kept_in: Path, name: str, pid: int, directory: Path) -> Iterator[None]:
    """Sample a process during the block; print where it was, and keep the stacks in a file of this directory."""
    kept_in.mkdir(parents=True, exist_ok=True)
    stacks = kept_in.resolve() / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.folded"
    py_spy = made_environment(directory / "py-spy", ["py-spy"]) / "py-spy"
    process = subprocess.Popen(
        # The web server may be a process that keeps others, which do the work.
        [
            *(py_spy, "record", "--gil", "--subprocesses", "--pid", str(pid)),
            *("--rate", str(SAMPLES_A_SECOND), "--format=raw", "-o", stacks),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    print(summary(name, stacks.read_text()))
    print(f"Every stack is in {stacks} (flamegraph.pl and speedscope read it).\n")


def summary(name: str, folded: str) -> str:
    """Return the functions in which most samples ended, and those below which most lay, each in percent."""
    own: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        for frame in set(frames):
            below[frame] += 0 if _AROUND.search(frame) else int(count)
    total = max(own.total(), 1)
    lines = [f"{name}: {total:,} samples"]
    for title, counts in (("in the function itself", own), ("in it, and in what it calls", below)):
        lines.append(f"  {title}")
        lines += [f"    {count / total:6.1%}  {frame}" for frame, count in counts.most_common(SHOWN)]
    return "\n".join(lines)
