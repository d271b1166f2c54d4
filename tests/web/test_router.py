"""The router finds what trying one path after the other would find."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Receive, Scope, Send

from tocsin.web.router import Router

NOWHERE = -1
PARTS = st.sampled_from(["", "a", "b", "c", "{}"])
PATHS = st.lists(PARTS, max_size=4).map(lambda parts: "/" + "/".join(parts))


def app_of(place: int) -> ASGIApp:
    async def note(scope: Scope, _: Receive, __: Send) -> None:
        scope["found"] = place

    return note


def found(router: Router, path: str) -> tuple[int, dict[str, str]] | None:
    async def nothing(*_: object) -> None:
        raise AssertionError("nobody reads or answers here")

    scope: Scope = {"path": path}
    asyncio.run(router(scope, nothing, nothing))  # type: ignore[arg-type]  # it is never called
    return None if scope["found"] == NOWHERE else (scope["found"], scope["path_params"])


def tried_in_turn(paths: Sequence[str], path: str) -> tuple[int, dict[str, str]] | None:
    if path in paths and "{" not in path:
        return paths.index(path), {}
    parts = path.split("/")
    for place, pattern in enumerate(paths):
        wanted = pattern.split("/")
        names = {one[1:-1]: part for one, part in zip(wanted, parts, strict=False) if one.startswith("{")}
        if (
            names
            and len(wanted) == len(parts)
            and all(part if one.startswith("{") else part == one for one, part in zip(wanted, parts, strict=True))
        ):
            return place, names
    return None


@given(st.lists(PATHS, max_size=8, unique=True), st.lists(PATHS, min_size=1, max_size=8))
def test_it_finds_what_trying_each_in_turn_finds(patterns: list[str], asked: list[str]) -> None:
    numbered = [numbered_names(pattern) for pattern in patterns]
    router = Router({path: app_of(place) for place, path in enumerate(numbered)}, app_of(NOWHERE))
    for path in (one.replace("{}", "x") for one in asked):
        assert found(router, path) == tried_in_turn(numbered, path)


def numbered_names(pattern: str) -> str:
    return "/".join(part.replace("{}", f"{{name{index}}}") for index, part in enumerate(pattern.split("/")))


@pytest.mark.parametrize(
    "path", ["/api//envelope/", "/api/1/2/envelope/", "/api/1/envelope//", "/API/1/envelope/", "/{}"]
)
def test_what_only_resembles_a_path_is_not_found(path: str) -> None:
    assert found(Router({"/api/{project}/envelope/": app_of(0), "/": app_of(1)}, app_of(NOWHERE)), path) is None
