"""The machinery's condition on pages: many who look at once cost one look."""

from __future__ import annotations

import asyncio

import pytest

from tocsin.app import health
from tocsin.app.work import App

pytestmark = pytest.mark.anyio


async def test_many_who_look_at_once_cost_one_look(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [100.0]
    monkeypatch.setattr(health, "monotonic_seconds", lambda: seconds[0])
    shared = health.Shared()

    async def look() -> health.Condition:
        async with app.work() as work:
            return await shared.condition(work)

    first, *others = await asyncio.gather(*(look() for _ in range(20)))
    assert all(other is first for other in others)
    seconds[0] += health.SHARED_SECONDS - 0.01
    assert await look() is first
    seconds[0] += 0.01
    later = await look()
    assert later is not first
    async with app.work() as work:
        assert later == await health.condition(work)
