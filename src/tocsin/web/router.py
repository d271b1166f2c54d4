"""The router: finds the gate of a path, by the path itself or by its parts where some of them are names.

Starlette's tries every route in turn by a regular expression, which costs more than taking in a report does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from tocsin.errors import Code, refuse


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A path with names in it: None stands for a part that may be anything."""

    parts: tuple[str | None, ...]
    names: Mapping[int, str]
    app: ASGIApp

    def matches(self, parts: Sequence[str]) -> bool:
        return all(part == wanted or (wanted is None and part) for part, wanted in zip(parts, self.parts, strict=True))


class Router:
    """Passes a request on to what serves its path; the names in the path become `path_params`."""

    def __init__(self, apps: Mapping[str, ASGIApp]) -> None:
        """Make a router; of the paths with names, the earlier ones are tried first."""
        self._exact = {path: app for path, app in apps.items() if "{" not in path}
        self._patterns: dict[int, list[_Pattern]] = {}
        for path, app in apps.items():
            if path not in self._exact:
                pattern = _pattern(path, app)
                self._patterns.setdefault(len(pattern.parts), []).append(pattern)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; raise NOT_FOUND where there is nothing."""
        path = scope["path"]
        app = self._exact.get(path)
        if app is not None:
            scope["path_params"] = {}
            await app(scope, receive, send)
            return
        parts = path.split("/")
        for pattern in self._patterns.get(len(parts), ()):
            if pattern.matches(parts):
                scope["path_params"] = {name: parts[index] for index, name in pattern.names.items()}
                await pattern.app(scope, receive, send)
                return
        raise refuse(Code.NOT_FOUND, f"There is nothing at {path}.", "See what there is: /docs.")


def _pattern(path: str, app: ASGIApp) -> _Pattern:
    parts = path.split("/")
    names = {index: part[1:-1] for index, part in enumerate(parts) if part.startswith("{")}
    return _Pattern(tuple(None if index in names else part for index, part in enumerate(parts)), names, app)
