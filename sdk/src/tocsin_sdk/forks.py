"""Tells what has threads, locks or open files that the process forks: none of these survives in the child as it was.

Python's own forks call hooks. A program in C that forks calls none (uWSGI, unless it is told to): its child is
recognised by its number, at the next use of anything in here.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from functools import cache
from typing import Any, Callable, Protocol

from tocsin_sdk import complaints


class ForkAware(Protocol):
    """What wants to be told. `before_fork` returns something that both sides are given back.

    The child is given None where nobody was told before: then all is as it happened to be at that moment.
    """

    def before_fork(self) -> Any: ...
    def after_fork_in_parent(self, before: Any, /) -> None: ...
    def after_fork_in_child(self, before: Any, /) -> None: ...


_WATCHED: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_FORKING: list[tuple[ForkAware, Any]] = []
_PUT_OFF: weakref.WeakSet[Starting] = weakref.WeakSet()
_reviving = threading.RLock()
_pid = os.getpid()
_is_child = False


class Starting(Protocol):
    """What has a thread."""

    def start(self) -> object: ...


def watch(item: ForkAware) -> None:
    """Tell `item` of every fork from now on, for as long as it lives."""
    _WATCHED.add(item)


def notice() -> None:
    """Make good a fork of which nobody was told. Whatever may be used first in a child calls this: it costs nothing."""
    if os.getpid() == _pid:
        return
    with _reviving:
        if os.getpid() != _pid:
            _in_child()


def is_before_workers() -> bool:
    """Return whether this is uWSGI's first process, which forks its workers, at any time, and tells nobody.

    Nothing may run or stay open there: what waits, waits for the workers.
    """
    uwsgi = _uwsgi()
    return uwsgi is not None and not _is_child and uwsgi.worker_id() == 0


def start_in_workers(item: Starting) -> None:
    """Start `item` in each worker that uWSGI forks from here, as soon as it is there."""
    if not _PUT_OFF:
        _follow(_uwsgi())
    _PUT_OFF.add(item)


@cache
def say_if_threads_stand_still() -> None:
    """Say, once, that uWSGI lets no thread run but while it handles a request."""
    uwsgi = _uwsgi()
    if uwsgi is not None and not {"enable-threads", "threads", "gevent"} & set(uwsgi.opt):
        complaints.say(
            "uWSGI runs without --enable-threads: reports are kept, but hardly sent, and the session guard hears next"
            " to nothing. Start it with --enable-threads"
        )


def _uwsgi() -> Any:
    """Return what uWSGI offers to the program in it; None elsewhere, where a module of that name is another one."""
    module = sys.modules.get("uwsgi")
    return module if hasattr(module, "worker_id") else None


def _follow(uwsgi: Any) -> None:
    """Be called in each worker, after what is called there already. Who takes this place leaves us to `notice`."""
    earlier: Callable[[], None] | None = getattr(uwsgi, "post_fork_hook", None)

    def hook() -> None:
        if earlier is not None:
            earlier()
        notice()
        for item in list(_PUT_OFF):
            item.start()

    uwsgi.post_fork_hook = hook


def _before() -> None:
    _FORKING[:] = [(item, item.before_fork()) for item in list(_WATCHED)]


def _in_parent() -> None:
    for item, before in _FORKING:
        item.after_fork_in_parent(before)
    _FORKING.clear()


def _in_child() -> None:
    global _pid, _is_child  # noqa: PLW0603  # which process this is
    told = {id(item): before for item, before in _FORKING}
    for item in list(_WATCHED):
        try:
            item.after_fork_in_child(told.get(id(item)))
        except Exception as error:  # noqa: BLE001  # whoever noticed the fork is about something else, and the others wait
            complaints.say(f"after a fork something could not begin anew: {complaints.words(error)}")
    _FORKING.clear()
    _is_child = True
    _pid = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
