"""Cases that share a test: for what only reads or is refused, an installation for each would be most of the work."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

Test = Callable[..., Awaitable[None]]


def cases(names: str | tuple[str, ...], values: Iterable[Any]) -> Callable[[Test], Test]:
    """Do what `pytest.mark.parametrize` does, but within one test: each case is a subtest of it and fails by itself.

    Only for cases that leave everything as it was.
    """
    listed = list(values)

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        async def run(**fixtures: Any) -> None:
            wanted = {name: fixtures[name] for name in inspect.signature(test).parameters if name in fixtures}
            for value in listed:
                case = dict(zip(names, value, strict=True)) if isinstance(names, tuple) else {names: value}
                with fixtures["subtests"].test(**case):
                    await test(**wanted, **case)

        own = [
            one for one in inspect.signature(test).parameters.values() if one.name not in {*names, names, "subtests"}
        ]
        subtests = inspect.Parameter("subtests", inspect.Parameter.KEYWORD_ONLY, annotation=pytest.Subtests)
        run.__signature__ = inspect.Signature([*own, subtests])  # type: ignore[attr-defined]  # which pytest goes by
        return run

    return decorate
