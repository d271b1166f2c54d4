"""Where a program's spool lies, when nobody says: with the user's own state, one for each project and service."""

from __future__ import annotations

import os
import sys

from tocsin_sdk.dsn import Dsn
from tocsin_sdk.files import DATABASE_FILE, JOURNAL_FILE

SPOOL_VARIABLE = "TOCSIN_SPOOL"


def spool_directory(dsn: Dsn, service: str) -> str:
    """Return the spool's directory, below TOCSIN_SPOOL or the user's state directory.

    The key is no part of the name: reports that wait while a key is replaced are sent with the new one.
    """
    import hashlib

    above = os.environ.get(SPOOL_VARIABLE) or os.path.join(_state_home(), "tocsin-sdk")
    mark = hashlib.sha256(f"{dsn.base_url} {dsn.project} {service}".encode("utf-8", "replace")).hexdigest()
    return os.path.join(above, mark[:16])


def earlier_spool() -> str | None:
    """Return TOCSIN_SPOOL if a spool lies in it: versions before had one there for all projects and services."""
    above = os.environ.get(SPOOL_VARIABLE)
    is_there = above and any(os.path.exists(os.path.join(above, file)) for file in (DATABASE_FILE, JOURNAL_FILE))
    return above if is_there else None


def _state_home() -> str:
    if sys.platform == "win32":
        return os.environ.get("LOCALAPPDATA") or os.path.expanduser("~")
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    if sys.platform == "darwin" and "XDG_STATE_HOME" not in os.environ:
        home = os.path.expanduser("~/Library/Application Support")
    return home
