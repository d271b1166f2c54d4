"""Room for requests is bounded, given in order, and given back whatever happens; whoever waits too long is told."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request

from tocsin.errors import Code, TocsinError
from tocsin.web import room as rooms
from tocsin.web.room import INFLATION, ROOM_BYTES, SMALLEST_BYTES, UNDECLARED_BYTES, Room

pytestmark = pytest.mark.anyio

UNIT = SMALLEST_BYTES


def request(size: int | str | None, encoding: str | None = None) -> Request:
    """Return a request that says how long it is."""
    headers = []
    if size is not None:
        headers.append((b"content-length", str(size).encode()))
    if encoding is not None:
        headers.append((b"content-encoding", encoding.encode()))
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers})


class Visitor:
    """Somebody who asks for room, stays until told to leave, and is seen to be inside."""

    def __init__(self, room: Room, asked: Request) -> None:
        self.inside = False
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(self._visit(room, asked))

    async def _visit(self, room: Room, asked: Request) -> None:
        async with room.held(asked):
            self.inside = True
            await self._leave.wait()
        self.inside = False

    async def leave(self) -> None:
        """Leave, and let those who wait come in."""
        self._leave.set()
        await self.task
        await settled()


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def visitors(room: Room, *sizes: int | None) -> list[Visitor]:
    """Let visitors of these sizes ask in this order (None: undeclared)."""
    made = []
    for size in sizes:
        made.append(Visitor(room, request(size)))
        await settled()
    return made


async def test_no_more_than_the_capacity_is_inside_and_the_others_come_in_their_order() -> None:
    room = Room(3 * UNIT)
    first, second, big, small = await visitors(room, UNIT, UNIT, 2 * UNIT, UNIT)
    assert [one.inside for one in (first, second, big, small)] == [True, True, False, False]
    await first.leave()
    assert (big.inside, small.inside) == (True, False), "two of three are free for the big one, which came first"
    await second.leave()
    assert small.inside
    await big.leave()
    await small.leave()


async def test_whoever_waits_is_not_overtaken_by_a_smaller_one() -> None:
    room = Room(3 * UNIT)
    holder, big, small = await visitors(room, 2 * UNIT, 3 * UNIT, UNIT)
    assert (big.inside, small.inside) == (False, False)
    await holder.leave()
    assert (big.inside, small.inside) == (True, False)
    await big.leave()
    assert small.inside
    await small.leave()


async def test_a_request_larger_than_the_room_takes_all_of_it_and_is_let_in() -> None:
    room = Room(2 * UNIT)
    giant, next_one = await visitors(room, 100 * UNIT, UNIT)
    assert (giant.inside, next_one.inside) == (True, False)
    await giant.leave()
    assert next_one.inside
    await next_one.leave()


async def test_room_is_given_back_when_the_request_fails_or_is_cancelled() -> None:
    room = Room(UNIT)
    with pytest.raises(ZeroDivisionError):
        async with room.held(request(UNIT)):
            raise ZeroDivisionError
    (cancelled,) = await visitors(room, UNIT)
    cancelled.task.cancel()
    await settled()
    (after,) = await visitors(room, UNIT)
    assert after.inside
    await after.leave()


async def test_whoever_stops_waiting_takes_nothing_and_holds_up_nobody() -> None:
    room = Room(3 * UNIT)
    holder, big, small = await visitors(room, 2 * UNIT, 3 * UNIT, UNIT)
    big.task.cancel()
    await settled()
    assert small.inside, "there is room for it, and nobody before it any more"
    await holder.leave()
    await small.leave()
    (whole,) = await visitors(room, 3 * UNIT)
    assert whole.inside
    await whole.leave()


async def test_whoever_is_cancelled_at_the_very_moment_of_their_turn_gives_it_back() -> None:
    room = Room(UNIT)
    holder, unlucky, after = await visitors(room, UNIT, UNIT, UNIT)
    holder._leave.set()
    # The holder leaves and gives the turn; before the one who got it runs, it is cancelled.
    while not holder.task.done():
        await asyncio.sleep(0)
        unlucky.task.cancel()
    await settled()
    assert unlucky.task.done()
    assert after.inside
    await after.leave()


async def test_whoever_finds_no_room_in_time_is_told_to_come_again_and_those_behind_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rooms, "HOLD_SECONDS", 0.0)
    room = Room(3 * UNIT)
    (holder,) = await visitors(room, 2 * UNIT)
    with pytest.raises(TocsinError) as caught:
        await room.take(3 * UNIT)
    assert caught.value.refusal.code is Code.UNAVAILABLE
    assert "Nothing was recorded" in caught.value.refusal.hint
    (small,) = await visitors(room, UNIT)
    assert small.inside, "the one who gave up is not waited for"
    await holder.leave()
    await small.leave()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request(None), UNDECLARED_BYTES),
        (request("abc"), UNDECLARED_BYTES),
        (request("-5"), UNDECLARED_BYTES),
        (request("9" * 13), UNDECLARED_BYTES),
        (request(0), SMALLEST_BYTES),
        (request(SMALLEST_BYTES + 1), SMALLEST_BYTES + 1),
        (request(100_000, "identity"), 100_000),
        (request(100_000, "gzip"), 100_000 * INFLATION),
        (request(10, "br"), SMALLEST_BYTES),
        (request("9" * 12), SMALLEST_BYTES),
    ],
)
async def test_a_request_counts_for_what_it_may_become(asked: Request, expected: int) -> None:
    room = Room()
    async with room.held(asked):
        await room.take(ROOM_BYTES - expected)
        with pytest.raises(TocsinError):
            room.take_now(1)


async def test_what_grows_beyond_its_room_takes_more_or_is_told_to_come_again() -> None:
    room = Room(4 * UNIT)
    async with room.held(request(UNIT)) as held:
        held.grow(3 * UNIT)
        held.grow(2 * UNIT)
        with pytest.raises(TocsinError) as caught:
            held.grow(5 * UNIT)
        assert caught.value.refusal.code is Code.UNAVAILABLE
        room.take_now(UNIT)
    room.take_now(3 * UNIT)
