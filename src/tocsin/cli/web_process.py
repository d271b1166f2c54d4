"""One web process of several. Internal: started by `web_processes` as `python -m tocsin.cli.web_process`.

Three lines lead to the parent:

- Standard input: a line with the orders; later one byte, which means stop. The line's end means that the parent is
  gone, however it died: what is under way is finished then, too. Where the parent goes although it has said stop,
  somebody wants it over at once.
- Standard output: one line of JSON: `{}` when this process answers, or why it never will.
- The descriptors that its arguments name: the listening socket and the numbers of connections, shared with the others.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pickle
import shutil
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tocsin import bootstrap
from tocsin.bootstrap import Sources
from tocsin.cli import event_loop, logs
from tocsin.errors import TocsinError
from tocsin.settings import Settings
from tocsin.web.metrics import Metrics, count_together, remove_counts
from tocsin.web.server import serve_on
from tocsin.web.shares import Shares

STOP_SECONDS = 30
"""How long a process that is told to stop may take, parent or no parent. The web server's own end is sooner."""
CUT_OFF = 130

Orders = tuple[Sources, Settings, Path, int]
"""How to reach the database, the settings, the folder of the counts, and this process's place there."""


def main(descriptor: int, shared: int) -> int:
    """Serve until told to stop; return the exit code."""
    # Ctrl-C and `systemctl stop` reach the whole family. The parent alone says what they mean: a process that left
    # before it was told to would look like one that died.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    logs.for_services()
    try:
        orders = _orders()
        event_loop.run(_serve(descriptor, shared, orders))
    except EOFError:
        return CUT_OFF  # the parent was gone before it could say anything
    except TocsinError as error:
        _say(asdict(error.refusal))
        return 1
    return 0


def _orders() -> Orders:
    # Without a buffer: the word to stop may follow at once, and must not be read along.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as line:
        orders: Orders = pickle.loads(base64.b64decode(line.readline()))  # noqa: S301  # only the parent writes there
    return orders


async def _serve(descriptor: int, shared: int, orders: Orders) -> None:
    sources, settings, counts, place = orders
    parent = _Parent(counts, place)
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), parent.heed)
    with socket.socket(fileno=descriptor) as listener, count_together(counts, place):
        async with bootstrap.wired(sources, settings) as app:
            await serve_on(listener, app, parent.stop, Metrics(counts), parent.tell_ready, Shares(shared, place))
    if parent.is_gone:
        remove_counts(counts, place)


@dataclass(slots=True)
class _Parent:
    """What the parent has said, and what its silence means."""

    counts: Path
    place: int
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    is_told: bool = False
    is_gone: bool = False

    def tell_ready(self) -> None:
        """Say that this process answers."""
        self.is_told = True
        _say({})

    def heed(self) -> None:
        """Read what there is on the line: a word, or its end."""
        if not os.read(sys.stdin.fileno(), 1):
            self.is_gone = True
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            if not self.is_told:
                remove_counts(self.counts, self.place)
                os._exit(CUT_OFF)  # nothing is under way, and whoever is started next wants the port
            if self.stop.is_set():
                shutil.rmtree(self.counts, ignore_errors=True)  # all leave, or have left
                os._exit(CUT_OFF)
        # The kernel minds the bound, even where this process is stuck and nobody is left to end it.
        signal.alarm(STOP_SECONDS)
        self.stop.set()


def _say(word: Mapping[str, object]) -> None:
    with suppress(BrokenPipeError):  # the parent is gone, as standard input says too
        os.write(sys.stdout.fileno(), json.dumps(word).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
