"""Lanes: many requests, one commit; each is answered after its own, in turn, and nobody falls with another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from tocsin.app import lanes
from tocsin.app.lanes import ENOUGH_ITEMS, HOLD_SECONDS, MAX_RACES, MOMENT_SECONDS, Lane
from tocsin.errors import Code, Refusal, TocsinError, refuse
from tocsin.store.database import LostRaceError

pytestmark = pytest.mark.anyio

UNAVAILABLE = refuse(Code.UNAVAILABLE, "The database cannot be used: it is away.")
LOST = LostRaceError(Refusal(Code.UNAVAILABLE, "Another transaction was faster."))


@dataclass(slots=True)
class Monotonic:
    """A clock that never steps unless it is moved."""

    now: float = 1_000.0

    def __call__(self) -> float:
        """Return the seconds at which it stands."""
        return self.now


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> Monotonic:
    """The lanes' clock; their pauses take no time."""
    clock = Monotonic()
    monkeypatch.setattr(lanes, "monotonic_seconds", clock)
    monkeypatch.setattr(lanes, "_FIRST_PAUSE_SECONDS", 0.0)
    return clock


@dataclass(slots=True)
class Commits:
    """Remembers every batch; the gate holds commits back, `before` decides whether one fails."""

    batches: list[list[str]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    before: Callable[[list[str]], Awaitable[None] | None] = lambda _: None

    async def __call__(self, items: Sequence[str]) -> Sequence[str]:
        """Commit: every item is answered with itself in capitals."""
        self.batches.append(list(items))
        await self.gate.wait()
        waited = self.before(list(items))
        if waited is not None:
            await waited
        return [item.upper() for item in items]


@pytest.fixture
def commits() -> Commits:
    """The commits of one lane; the gate is open."""
    made = Commits()
    made.gate.set()
    return made


@pytest.fixture
async def moments(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long lanes waited for those who were just answered; it takes no time."""
    loop = asyncio.get_running_loop()
    call_later = loop.call_later
    waited: list[float] = []

    def at_once(seconds: float, wake: Callable[..., None], *arguments: object) -> asyncio.Handle:
        # The loop is every test's: servers that stay for the whole session wait in it too.
        if wake is not lanes._wake:
            return call_later(seconds, wake, *arguments)
        waited.append(seconds)
        return loop.call_soon(wake, *arguments)

    monkeypatch.setattr(loop, "call_later", at_once)
    return waited


async def queued(count: int = 1) -> None:
    """Let tasks that were just made run until they wait."""
    for _ in range(count + 1):
        await asyncio.sleep(0)


async def test_a_lone_request_is_committed_at_once_and_an_empty_one_not_at_all(commits: Commits) -> None:
    lane = Lane(commits, max_items=10)
    assert await lane.put(1, ["a", "b"]) == ["A", "B"]
    assert await lane.put(1, []) == []
    assert commits.batches == [["a", "b"]]
    assert not lane.busy


async def test_what_arrives_during_a_commit_is_the_next_batch_and_each_is_told_its_own(commits: Commits) -> None:
    lane = Lane(commits, max_items=10)
    commits.gate.clear()
    first = asyncio.create_task(lane.put(1, ["a"]))
    await queued()
    others = [asyncio.create_task(lane.put(1, [f"{name}{part}" for part in range(2)])) for name in "bcd"]
    await queued()
    assert lane.busy
    commits.gate.set()
    assert await first == ["A"]
    assert [await other for other in others] == [["B0", "B1"], ["C0", "C1"], ["D0", "D1"]]
    assert commits.batches == [["a"], ["b0", "b1", "c0", "c1", "d0", "d1"]]


async def test_who_was_just_answered_comes_along_with_those_who_waited_meanwhile(commits: Commits) -> None:
    """Two halves of the clients, each of which waits while the other is committed, become one batch."""
    lane = Lane(commits, max_items=10)

    async def client(name: str) -> None:
        for turn in range(10):
            await lane.put(1, [f"{name}{turn}"])

    commits.gate.clear()
    clients = [asyncio.create_task(client("a"))]
    await queued()
    clients += [asyncio.create_task(client(name)) for name in "bcd"]
    await queued()
    commits.gate.set()
    await asyncio.gather(*clients)
    assert [len(batch) for batch in commits.batches] == [1, *[4] * 9, 3]


async def test_who_does_not_come_back_is_waited_for_once_and_a_moment(
    commits: Commits, monotonic: Monotonic, moments: list[float]
) -> None:
    lane = Lane(commits, max_items=10)
    await asyncio.gather(*(lane.put(1, [name]) for name in "abcd"))
    assert moments == []
    for name in "efg":
        assert await lane.put(1, [name]) == [name.upper()]
    assert moments == [MOMENT_SECONDS]
    await asyncio.gather(*(lane.put(1, [name]) for name in "hi"))
    monotonic.now += 2 * MOMENT_SECONDS
    assert await lane.put(1, ["j"]) == ["J"]
    assert moments == [MOMENT_SECONDS]


@pytest.mark.usefixtures("monotonic")
async def test_a_batch_that_is_large_enough_waits_for_nobody(commits: Commits, moments: list[float]) -> None:
    lane = Lane(commits, max_items=1_000)
    await lane.put(1, ["x"] * 500)
    await lane.put(1, ["x"] * ENOUGH_ITEMS)
    assert moments == []
    await lane.put(1, ["x"] * (ENOUGH_ITEMS - 1))
    assert moments == [MOMENT_SECONDS]


async def test_a_batch_is_full_at_its_bound_and_only_a_single_request_may_be_larger(commits: Commits) -> None:
    lane = Lane(commits, max_items=3)
    commits.gate.clear()
    puts = [asyncio.create_task(lane.put(1, ["x"]))]
    await queued()
    for size in (2, 1, 1, 5, 3):
        puts.append(asyncio.create_task(lane.put(1, ["y"] * size)))
    await queued()
    commits.gate.set()
    await asyncio.gather(*puts)
    assert [len(batch) for batch in commits.batches] == [1, 3, 1, 5, 3]


async def test_a_project_gone_mad_delays_another_by_one_batch(commits: Commits) -> None:
    lane = Lane(commits, max_items=100)
    commits.gate.clear()
    mad = [asyncio.create_task(lane.put(1, [f"mad {number}"])) for number in range(10_000)]
    await queued()
    calm = [asyncio.create_task(lane.put(2, [f"calm {number}"])) for number in range(3)]
    await queued()
    commits.gate.set()
    assert [await one for one in calm] == [["CALM 0"], ["CALM 1"], ["CALM 2"]]
    assert [item for item in commits.batches[1] if item.startswith("calm")] == ["calm 0", "calm 1", "calm 2"]
    await lane.idle()
    assert [(await one)[0] for one in mad] == [f"MAD {number}" for number in range(10_000)]
    assert {len(batch) for batch in commits.batches[2:-1]} == {100}


async def test_many_projects_take_turns_one_request_at_a_time(commits: Commits) -> None:
    lane = Lane(commits, max_items=4)
    commits.gate.clear()
    puts = [asyncio.create_task(lane.put(0, ["first"]))]
    await queued()
    for name, project in (("a", 1), ("b", 2), ("c", 3)):
        puts += [asyncio.create_task(lane.put(project, [f"{name}{turn}"])) for turn in range(3)]
    await queued()
    commits.gate.set()
    await asyncio.gather(*puts)
    assert commits.batches[1:] == [["a0", "b0", "c0", "a1"], ["b1", "c1", "a2", "b2"], ["c2"]]


async def test_requests_are_held_while_the_database_is_away_and_then_taken(
    commits: Commits, monotonic: Monotonic
) -> None:
    lane = Lane(commits, max_items=10)

    def away(_: list[str]) -> None:
        monotonic.now += 6.0
        if len(commits.batches) < 4:
            raise UNAVAILABLE

    commits.before = away
    assert await lane.put(1, ["a"]) == ["A"]
    assert commits.batches == [["a"]] * 4


async def test_a_request_is_given_up_after_its_time_and_not_before(commits: Commits, monotonic: Monotonic) -> None:
    lane = Lane(commits, max_items=10)
    started = monotonic.now

    def away(_: list[str]) -> None:
        monotonic.now += HOLD_SECONDS / 4
        raise UNAVAILABLE

    commits.before = away
    with pytest.raises(TocsinError, match="away") as caught:
        await lane.put(1, ["a"])
    assert caught.value.refusal.code is Code.UNAVAILABLE
    assert monotonic.now - started == HOLD_SECONDS
    assert len(commits.batches) == 4


async def test_while_a_commit_hangs_each_request_is_told_in_time_and_none_that_was_told_is_kept(
    commits: Commits,
) -> None:
    lane = Lane(commits, max_items=10)
    commits.gate.clear()
    under_way = asyncio.create_task(lane.put(1, ["under way"], hold_seconds=0.05))
    await queued()
    waiting = asyncio.create_task(lane.put(1, ["waiting"], hold_seconds=0.05))
    patient = asyncio.create_task(lane.put(2, ["patient"]))
    for told in (under_way, waiting):
        with pytest.raises(TocsinError, match="does not answer") as caught:
            await told
        assert caught.value.refusal.code is Code.UNAVAILABLE
    commits.gate.set()
    assert await patient == ["PATIENT"]
    assert commits.batches == [["under way"], ["patient"]]
    assert not lane.busy


async def test_a_request_that_just_came_is_not_given_up_with_one_that_waited_long(
    commits: Commits, monotonic: Monotonic
) -> None:
    lane = Lane(commits, max_items=10)
    commits.gate.clear()
    first = asyncio.create_task(lane.put(1, ["first"]))
    await queued()
    waited_long = asyncio.create_task(lane.put(1, ["long"]))
    await queued()
    monotonic.now += HOLD_SECONDS - 1
    just_came = asyncio.create_task(lane.put(1, ["new"]))
    await queued()

    def away_for_a_while(items: list[str]) -> None:
        if "long" in items:
            monotonic.now += 1
            raise UNAVAILABLE

    commits.before = away_for_a_while
    commits.gate.set()
    assert await first == ["FIRST"]
    with pytest.raises(TocsinError):
        await waited_long
    assert await just_came == ["NEW"]
    assert commits.batches[-1] == ["new"]


async def test_a_lost_race_is_run_again_a_bounded_number_of_times(commits: Commits) -> None:
    lane = Lane(commits, max_items=10)

    def lose(until: int) -> Callable[[list[str]], None]:
        def losing(_: list[str]) -> None:
            if len(commits.batches) < until:
                raise LOST

        return losing

    commits.before = lose(until=MAX_RACES)
    assert await lane.put(1, ["a"]) == ["A"]
    assert len(commits.batches) == MAX_RACES
    commits.batches.clear()
    commits.before = lose(until=MAX_RACES + 1)
    with pytest.raises(LostRaceError):
        await lane.put(1, ["a"])
    assert len(commits.batches) == MAX_RACES


@pytest.mark.parametrize("error", [ValueError("NUL"), refuse(Code.CONFLICT, "No."), refuse(Code.INTERNAL, "No.")])
async def test_one_request_that_cannot_be_committed_fails_alone(commits: Commits, error: Exception) -> None:
    lane = Lane(commits, max_items=10)
    commits.gate.clear()
    puts = [asyncio.create_task(lane.put(1, ["first"]))]
    await queued()
    puts += [asyncio.create_task(lane.put(project, [name, name])) for project, name in enumerate(("a", "bad", "c"), 1)]
    await queued()

    def refuse_bad(items: list[str]) -> None:
        if "bad" in items:
            raise error

    commits.before = refuse_bad
    commits.gate.set()
    answers = await asyncio.gather(*puts, return_exceptions=True)
    assert answers == [["FIRST"], ["A", "A"], error, ["C", "C"]]
    assert await lane.put(1, ["after"]) == ["AFTER"]


async def test_a_caller_who_goes_away_disturbs_nobody_and_is_committed_all_the_same(commits: Commits) -> None:
    lane = Lane(commits, max_items=10)
    commits.gate.clear()
    first = asyncio.create_task(lane.put(1, ["first"]))
    await queued()
    gone, stays = (asyncio.create_task(lane.put(1, [name])) for name in ("gone", "stays"))
    await queued()
    first.cancel()
    gone.cancel()
    await queued()
    commits.gate.set()
    assert await stays == ["STAYS"]
    assert commits.batches == [["first"], ["gone", "stays"]]
    assert first.cancelled()
    assert gone.cancelled()


async def test_a_failure_is_not_told_to_a_caller_who_went_away(commits: Commits) -> None:
    lane = Lane(commits, max_items=10)
    commits.gate.clear()
    first = asyncio.create_task(lane.put(1, ["first"]))
    await queued()
    first.cancel()
    await queued()

    def fail(_: list[str]) -> None:
        raise ValueError

    commits.before = fail
    commits.gate.set()
    await lane.idle()
    commits.before = lambda _: None
    assert await lane.put(1, ["next"]) == ["NEXT"]


async def test_idle_waits_for_everything_that_was_put_in(commits: Commits) -> None:
    lane = Lane(commits, max_items=1)
    await lane.idle()
    puts = [asyncio.create_task(lane.put(1, [str(number)])) for number in range(5)]
    await queued()
    await lane.idle()
    assert not lane.busy
    assert [len(batch) for batch in commits.batches] == [1] * 5
    await asyncio.gather(*puts)
