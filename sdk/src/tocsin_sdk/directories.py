"""Where a program's spool lies, when nobody says: with the user's own state, one for each project and service."""

from __future__ import annotations

import os
import sys

from tocsin_sdk.dsn import Dsn

SPOOL_VARIABLE = "TOCSIN_SPOOL"


def spool_directory(dsn: Dsn, service: str) -> str:
    """Return the spool's directory: TOCSIN_SPOOL, or one in the user's state directory.

    The key is no part of the name: reports that wait while a key is replaced are sent with the new one.
    """
    import hashlib

    if chosen := os.environ.get(SPOOL_VARIABLE):
        return chosen
    mark = hashlib.sha256(f"{dsn.base_url} {dsn.project} {service}".encode("utf-8", "replace")).hexdigest()
    return os.path.join(_state_home(), "tocsin-sdk", mark[:16])


def _state_home() -> str:
    if sys.platform == "win32":
        return os.environ.get("LOCALAPPDATA") or os.path.expanduser("~")
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    if sys.platform == "darwin" and "XDG_STATE_HOME" not in os.environ:
        home = os.path.expanduser("~/Library/Application Support")
    return home
