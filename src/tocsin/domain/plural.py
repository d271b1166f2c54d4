"""A number and what it counts, in words: "1 page", "1,200 pages", "1 entry waits"."""

from __future__ import annotations


def number_of(number: int, one: str, several: str | None = None) -> str:
    """Return a number with the words that go with it; without `several`, the many are `one` with an s."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def times(number: int) -> str:
    """Return how often something was: "once", "7 times"."""
    return "once" if number == 1 else f"{number:,} times"
