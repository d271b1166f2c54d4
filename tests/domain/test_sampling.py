"""Which reports are kept whole: the first ones, a series that thins out, and one in half a minute."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.sampling import ALWAYS_KEPT, KEPT_EVERY, is_kept

NO_TIME = timedelta(0)
MOMENT = timedelta(microseconds=1)


def test_the_first_ones_are_kept_and_then_ever_fewer() -> None:
    kept = [nth for nth in range(1, 5_001) if is_kept(nth, NO_TIME)]
    assert kept == [1, 2, 3, 4, 16, 64, 256, 1_024, 4_096]


@given(st.integers(ALWAYS_KEPT + 1, 10**15))
def test_of_later_ones_only_the_powers_of_four_are_kept(nth: int) -> None:
    assert is_kept(nth, NO_TIME) == (nth in {4**power for power in range(26)})


@given(st.integers(1, 10**15), st.timedeltas(KEPT_EVERY, timedelta.max))
def test_after_half_a_minute_without_a_kept_one_the_next_is_kept(nth: int, since: timedelta) -> None:
    assert is_kept(nth, since)


def test_half_a_minute_is_over_at_its_very_end() -> None:
    assert not is_kept(5, KEPT_EVERY - MOMENT)
    assert is_kept(5, KEPT_EVERY)


def test_a_storm_of_ten_million_in_a_moment_keeps_a_dozen() -> None:
    kept = [1 << power for power in range(24) if is_kept(1 << power, NO_TIME)]
    assert len({1, 2, 3, *kept}) == 14
    assert kept[-1] < 10_000_000 < 4 * kept[-1]
