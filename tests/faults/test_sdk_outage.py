"""The server is away, and the programs that report to it are killed meanwhile: every capture arrives, once."""

from __future__ import annotations

import pytest

from tests.faults.outage import run_outage

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

OUTAGE_SECONDS = 12.0
KILLS = 10
SEED = 20_261_124


async def test_what_was_captured_during_an_outage_arrives_once_although_its_program_was_killed() -> None:
    outcome = await run_outage(OUTAGE_SECONDS, KILLS, SEED)
    print(outcome)
    assert set(outcome.captured) == {"tocsin", "sentry", "forwarded"}
    assert min(outcome.captured.values()) > 5 * KILLS
