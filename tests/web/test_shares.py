"""The numbers that web processes share: whose turn it is to take the next connection."""

from __future__ import annotations

from collections.abc import Iterator
from tempfile import TemporaryFile

import pytest

from tocsin.web.shares import Shares, make_shares


@pytest.fixture
def processes() -> Iterator[list[Shares]]:
    with TemporaryFile() as file:
        make_shares(3, file.fileno())
        yield [Shares(file.fileno(), place) for place in range(3)]


def test_the_process_with_the_fewest_connections_takes_the_next(processes: list[Shares]) -> None:
    for process, number in zip(processes, (5, 3, 4), strict=True):
        process.tell(number)
    assert [process.another_has_fewer for process in processes] == [True, False, True]


def test_nobody_waits_for_a_process_that_has_ended_or_not_begun(processes: list[Shares]) -> None:
    processes[0].tell(5)
    assert not processes[0].another_has_fewer
    processes[1].tell(1)
    assert processes[0].another_has_fewer
    processes[0].leave(1)
    assert not processes[0].another_has_fewer
