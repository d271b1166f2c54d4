"""The router: finds the gate of a path, by the path itself or by its parts where some of them are names.

Starlette's tries every route in turn by a regular expression, which costs more than taking in a report does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

_NAME = "{}"


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A path with names in it, and its place among those of the table."""

    place: int
    names: Mapping[int, str]
    app: ASGIApp


class Router:
    """Passes a request on to what serves its path; the names in the path become `path_params`."""

    def __init__(self, apps: Mapping[str, ASGIApp], nowhere: ASGIApp) -> None:
        """Make a router; of the paths with names, the earlier ones go first; `nowhere` answers where there is none."""
        self._nowhere = nowhere
        self._exact = {path: app for path, app in apps.items() if "{" not in path}
        # By the number of parts, then by which of them are names: what is left of the path is looked up.
        self._shapes: dict[int, dict[tuple[int, ...], dict[tuple[str, ...], _Pattern]]] = {}
        for place, (path, app) in enumerate(apps.items()):
            if path not in self._exact:
                parts = path.split("/")
                names = {index: part[1:-1] for index, part in enumerate(parts) if part.startswith("{")}
                patterns = self._shapes.setdefault(len(parts), {}).setdefault(tuple(names), {})
                patterns.setdefault(_nameless(parts, tuple(names)), _Pattern(place, names, app))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        path = scope["path"]
        app = self._exact.get(path)
        if app is not None:
            scope["path_params"] = {}
            await app(scope, receive, send)
            return
        parts = path.split("/")
        pattern = self._found(parts)
        if pattern is None:
            await self._nowhere(scope, receive, send)
            return
        scope["path_params"] = {name: parts[index] for index, name in pattern.names.items()}
        await pattern.app(scope, receive, send)

    def _found(self, parts: Sequence[str]) -> _Pattern | None:
        """Return the pattern of a path, the first one of the table if there are several. No name is empty."""
        found = None
        for names, patterns in self._shapes.get(len(parts), {}).items():
            pattern = patterns.get(_nameless(parts, names))
            if pattern is not None and (found is None or pattern.place < found.place) and all(parts[n] for n in names):
                found = pattern
        return found


def _nameless(parts: Sequence[str], names: tuple[int, ...]) -> tuple[str, ...]:
    rest = list(parts)
    for index in names:
        rest[index] = _NAME
    return tuple(rest)
