"""Says what goes wrong inside this package: one line on stderr, and a number that a host can watch. It never raises."""

from __future__ import annotations

import itertools
import sys
import time

REPEAT_SECONDS = 60.0
"""The same line is said again after this much time."""
MAX_REMEMBERED = 100
MAX_LINE_CHARACTERS = 600

unsaid = 0
"""Problems at the end of the stack, where no function can be called that would say them: a statement adds to it."""

_numbers = itertools.count()
_count = 0
_said: dict[str, float] = {}


def count() -> int:
    """Return how many problems there were in this process."""
    return _count + unsaid


def words(error: BaseException) -> str:
    """Return what an exception is and says; its text is the host's code, and may fail itself."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001
        return type(error).__name__


def say(text: str) -> None:
    """Count a problem, and say it on stderr unless it was just said."""
    global _count  # noqa: PLW0603  # a process has one such number, as it has one stderr
    _count = next(_numbers) + 1
    now = time.monotonic()
    line = " ".join(text.split())[:MAX_LINE_CHARACTERS]
    if now - _said.get(line, -REPEAT_SECONDS) < REPEAT_SECONDS:
        return
    if len(_said) >= MAX_REMEMBERED:
        _said.clear()
    _said[line] = now
    # The original stream: some hosts turn sys.stderr into log records, and those would come back here.
    stream = sys.__stderr__ or sys.stderr
    try:
        stream.write(f"tocsin_sdk: {line}\n")
        stream.flush()
    except (OSError, ValueError, RuntimeError, AttributeError):
        return  # No stderr, a closed one, or one that a signal interrupted: the number still tells.
