"""`kill -9` of whatever keeps the log: it has no gap, lost nothing, and continues every published checkpoint."""

from __future__ import annotations

import pytest

from tests.faults.log_matrix import VICTIMS, run_log_matrix

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

KILLS = 10
SEED = 20_261_128


async def test_kills_at_any_moment_leave_one_whole_log() -> None:
    outcome = await run_log_matrix(KILLS, SEED)
    print(outcome)
    assert sum(outcome.kills.values()) == KILLS
    assert set(outcome.kills) == set(VICTIMS)
    assert outcome.entries > 10 * KILLS
    assert outcome.checkpoints_seen > 1
    assert outcome.interruptions, "no writer was interrupted: were the right processes killed?"
