"""Progress on standard error, on a terminal only: standard output belongs to the figures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[int], None]
"""Called with how many more are done."""

_console = Console(stderr=True)


@contextmanager
def progress(what: str, total: int) -> Iterator[Advance]:
    """Show how far a long piece of work has come."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console, disable=not sys.stderr.isatty(), transient=True) as shown:
        task = shown.add_task(what, total=total)
        yield lambda done: shown.advance(task, done)


def say(text: str) -> None:
    """Tell what is being done."""
    if sys.stderr.isatty():
        _console.print(text, style="dim", highlight=False)
