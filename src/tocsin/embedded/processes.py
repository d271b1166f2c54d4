"""The processes of a server: how a child dies with its parent, and how those left over are found and ended."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tocsin.embedded.layout import Layout
from tocsin.embedded.locks import insist
from tocsin.errors import Code, refuse

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

STOP = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
"""How a postmaster is stopped: fast shutdown with a checkpoint, immediate shutdown, by force; seconds to wait for each.
Only the first leaves nothing to recover at the next start; none of them loses what was committed."""

_END_ORPHANS = ((0, 1.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 10.0))
"""Backends whose postmaster is gone leave by themselves, except from the middle of a long computation."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """The living processes of one cluster."""

    postmasters: tuple[int, ...]
    children: tuple[int, ...]


def die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """Return what a new child has to run so that the kernel sends it this signal when its parent is gone (Linux).

    It must run after the change of user, which clears the setting; `preexec_fn` does. Elsewhere there is no such
    thing (None): there the next keeper ends the orphan.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it died before the kernel knew of our wish
            os._exit(1)

    return arrange


def is_alive(pid: int) -> bool:
    """Return whether a process has this number, whosever it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def leftovers(layout: Layout) -> Leftovers:
    """Return the processes that provably belong to this cluster: by their command line, which anybody may read."""
    title = f"postgres: {layout.cluster_name}: "
    postmasters, children = [], []
    for pid, arguments in _command_lines():
        if arguments[0].startswith(title):
            children.append(pid)
        elif _is_postmaster(pid, arguments, layout.pgdata):
            postmasters.append(pid)
    return Leftovers(tuple(postmasters), tuple(children))


def end_leftovers(layout: Layout) -> None:
    """End every process of this cluster. Raises TocsinError if one survives.

    For the keeper in office alone: nobody else may start or stop processes of the cluster meanwhile.
    """
    if leftovers(layout).postmasters:
        _end(lambda: leftovers(layout).postmasters, STOP)
    _end(lambda: leftovers(layout).children, _END_ORPHANS)
    found = leftovers(layout)
    if found.postmasters or found.children:
        numbers = ", ".join(map(str, (*found.postmasters, *found.children)))
        raise refuse(
            Code.UNAVAILABLE,
            f"Processes of an earlier PostgreSQL in {layout.data_dir} do not end (process ids {numbers})",
            "They hang in the operating system, mostly on a disk that does not answer: look at it, then try again",
        )


def _end(found: Callable[[], tuple[int, ...]], steps: tuple[tuple[int, float], ...]) -> None:
    for number, seconds in steps:
        for pid in found():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue  # it was faster
        if insist(lambda: not found(), seconds):
            return


def _is_postmaster(pid: int, arguments: list[str], pgdata: Path) -> bool:
    if Path(arguments[0]).name not in {"postgres", "postmaster"}:
        return False
    if f" -D {pgdata} " in f"{' '.join(arguments)} ":
        return True
    try:  # one that somebody started by hand, by a relative path: a postmaster works in its data directory
        return Path(f"/proc/{pid}/cwd").readlink() == pgdata
    except OSError:
        return False  # another account's, or gone: in both cases not one that we could have started


def _command_lines() -> Iterator[tuple[int, list[str]]]:
    if sys.platform != "linux":
        yield from _command_lines_by_ps()
        return
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            line = Path(entry.path, "cmdline").read_bytes()
        except OSError:  # it ended while we looked, or is hidden from us and so not ours
            continue
        if line.strip(b"\0"):
            yield int(entry.name), os.fsdecode(line).rstrip("\0").split("\0")


def _command_lines_by_ps() -> Iterator[tuple[int, list[str]]]:
    listing = subprocess.run(
        ["/bin/ps", "-axww", "-o", "pid=,args="], capture_output=True, check=True, timeout=30
    ).stdout
    for line in os.fsdecode(listing).splitlines():
        pid, _, command = line.strip().partition(" ")
        program, separator, rest = command.partition(" -D ")
        yield int(pid), [program, f"-D {rest}"] if separator else [command]
