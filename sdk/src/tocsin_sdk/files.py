"""Makes the files of a spool, and moves them out of the way when they are damaged."""

from __future__ import annotations

import os

from tocsin_sdk import clock

DATABASE_FILE = "spool.db"
JOURNAL_FILE = "spool.journal"
LATE_PREFIX, LATE_SUFFIX = "late-", ".journal"
"""Of journals that programs left which ended while the spool was locked."""


def make(file: str) -> None:
    """Make a file and its directory, if they are not there; nobody else may read them, and both survive a power cut."""
    directory = os.path.dirname(file)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    if os.path.exists(file):
        return
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    _sync(directory)


def rename(file: str, name: str) -> None:
    """Give a file another name in its directory, which survives a power cut."""
    os.replace(file, name)
    _sync(os.path.dirname(name))


def _sync(directory: str) -> None:
    if os.name == "posix":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def move_aside(file: str, *suffixes: str) -> str:
    """Rename a damaged file, and those that belong to it by their suffixes; return its new name."""
    aside = f"{file}.corrupt-{round(clock.now())}-{os.getpid()}"
    for suffix in (*suffixes, ""):
        if os.path.exists(file + suffix):
            os.replace(file + suffix, aside + suffix)
    return aside
