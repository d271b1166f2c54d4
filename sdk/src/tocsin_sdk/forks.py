"""Tells what has threads, locks or open files that the process forks: none of these survives in the child as it was."""

from __future__ import annotations

import os
import weakref
from typing import Any, Protocol


class ForkAware(Protocol):
    """What wants to be told. `before_fork` returns something that both sides are given back."""

    def before_fork(self) -> Any: ...
    def after_fork_in_parent(self, before: Any, /) -> None: ...
    def after_fork_in_child(self, before: Any, /) -> None: ...


_WATCHED: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_FORKING: list[tuple[ForkAware, Any]] = []


def watch(item: ForkAware) -> None:
    """Tell `item` of every fork from now on, for as long as it lives."""
    _WATCHED.add(item)


def _before() -> None:
    _FORKING[:] = [(item, item.before_fork()) for item in list(_WATCHED)]


def _in_parent() -> None:
    for item, before in _FORKING:
        item.after_fork_in_parent(before)
    _FORKING.clear()


def _in_child() -> None:
    for item, before in _FORKING:
        item.after_fork_in_child(before)
    _FORKING.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
