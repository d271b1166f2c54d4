"""`kill -9` of whatever runs, at random under load: what was accepted is there once, and its page went out."""

from __future__ import annotations

import pytest

from tests.faults.matrix import run_matrix

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

KILLS = 7
SEED = 20_261_124


async def test_kills_of_anything_at_any_moment_lose_no_accepted_event_and_no_page() -> None:
    outcome = await run_matrix(KILLS, SEED, hurry=True)
    print(outcome)
    victims = ("server", "web process", "worker", "client", "postmaster", "backend")
    assert outcome.kills == dict.fromkeys(victims, KILLS)
    assert outcome.reckoning.reports > 10 * KILLS
    assert outcome.reckoning.pages > KILLS
    assert outcome.failed, "no request failed, so nothing was tried again: were the right processes killed?"
