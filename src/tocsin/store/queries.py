"""Reads the named queries of `sql/<noun>.sql`: `-- name: lock_head`, a sentence of comment, the statement."""

from __future__ import annotations

import re
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


class Queries:
    """The queries of one noun, each by its name: `Queries("incidents")["lock_head"]`. Bytes, as psycopg takes them."""

    def __init__(self, noun: str) -> None:
        text = resources.files("tocsin.store").joinpath("sql", f"{noun}.sql").read_text("utf-8")
        parts = _NAME.split(text)[1:]
        self._statements = {
            name: statement.strip().encode() for name, statement in zip(parts[::2], parts[1::2], strict=True)
        }

    def __getitem__(self, name: str) -> bytes:
        return self._statements[name]

    def names(self) -> frozenset[str]:
        """Return the names of all queries of the noun."""
        return frozenset(self._statements)
