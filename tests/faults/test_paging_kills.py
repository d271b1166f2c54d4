"""A worker dies at every point of its work that there is, found by the code: each page arrives, at most twice."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.faults.mortal import End
from tests.faults.paging_matrix import BEGUN, STORIES, ended_at, ended_while_sending, points_of, scene, undisturbed
from tests.support.receivers import receiving
from tests.support.servers import Server

pytestmark = pytest.mark.anyio

ENDS = [("two ways", End.KILL), *(pytest.param(name, End.CUT, marks=pytest.mark.slow) for name in STORIES)]
ENDS += [pytest.param("dead address", End.KILL, marks=pytest.mark.slow)]
BEFORE_THE_ANSWER_IS_SAFE = {*BEGUN, "send: before COMMIT"}
SENDING = {"email: before sending", "email: delivered", "webhook: before sending"}
CUT_SHORT_AT = {
    ("two ways", End.KILL): {*BEFORE_THE_ANSWER_IS_SAFE, *SENDING, "webhook: delivered"},
    ("two ways", End.CUT): BEFORE_THE_ANSWER_IS_SAFE,
    ("dead address", End.KILL): {*BEFORE_THE_ANSWER_IS_SAFE, *SENDING, "webhook: rejected"},
    ("dead address", End.CUT): BEFORE_THE_ANSWER_IS_SAFE,
}
"""Where an attempt has begun, and its answer is not written down: only there one is cut short."""
FEWEST_POINTS = {"two ways": 20, "dead address": 30}


@pytest.mark.slow
@pytest.mark.parametrize(("story", "end"), ENDS)
async def test_an_end_at_any_point_loses_no_page_and_doubles_at_most_the_one_it_was_at(
    server: Server, story: str, end: End
) -> None:
    async with receiving() as receivers, scene(server, receivers, story) as made:
        expected = await undisturbed(made)
        assert len(expected.points) >= FEWEST_POINTS[story], "the work has fewer points than it must have"
        points = points_of(expected, end)
        ended = [await ended_at(made, expected, point, end) for point in points]
    runs = [run for run in ended if run is not None]
    assert len(runs) >= 0.8 * len(ended)
    assert _functions(run.point for run in runs) == _functions(points)
    assert any(run.pages.twice for run in runs), "no page came twice: was anybody ended between sending and marking?"
    assert any(not run.pages.twice for run in runs)
    assert _functions(run.point for run in runs if run.pages.cut_short) == CUT_SHORT_AT[story, end]


def _functions(points: Iterable[str]) -> set[str]:
    """Return the points without their numbers: of how many there are, the order decides in which jobs are claimed."""
    return {point.rpartition(" ")[0] for point in points}


async def test_a_kill_while_the_receiver_has_the_page_sends_it_again_with_the_same_key(server: Server) -> None:
    async with receiving() as receivers, scene(server, receivers, "two ways") as made:
        expected = await undisturbed(made)
        runs = [await ended_while_sending(made, expected, at) for at in range(1, expected.sendings + 1)]
    assert [run.pages.twice for run in runs if run] == [1] * expected.sendings
    assert [run.pages.cut_short for run in runs if run] == [1] * expected.sendings
