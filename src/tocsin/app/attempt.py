"""Tries by SQL what nobody may do, and tells what the database answers: for the demo, which shows that it holds."""

from __future__ import annotations

from collections.abc import Sequence

from tocsin.store import attempts


async def attempt(conninfo: str, statements: Sequence[str]) -> str | None:
    """Run statements past the application; return the database's refusal, None when it let them through."""
    return await attempts.attempt(conninfo, statements)
