"""Processes that are there at once: forked from a server that has imported the product, 20 ms instead of a second."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.context import ForkServerContext


def forks() -> ForkServerContext:
    """Return the context of such processes. Arguments travel by pickle, as with any other process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.mortal"])
    # The server of Python 3.11 does not hear of sys.path (python/cpython#117378).
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    return context
