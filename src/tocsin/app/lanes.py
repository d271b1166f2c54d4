"""Lanes: many requests, one transaction. What arrives while one commit is under way is the next batch.

A lone request is committed at once, and the more arrive, the larger the batches grow. Each request is answered only
after its commit. Projects take turns, so that one client gone mad delays the others by one batch.
Whoever was just answered often has more to send. Without a moment's patience for them the clients of a busy lane fall
into two halves, each of which waits while the other is committed, and pays for a commit of its own.
While the database cannot be reached, requests are held, not refused: many clients throw away what is refused.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from tocsin.clock import monotonic_seconds
from tocsin.errors import Code, TocsinError, refuse
from tocsin.store.database import TRY_AGAIN, LostRaceError, TooMuchError

HOLD_SECONDS = 20.0
"""How long a request waits for a database that cannot be reached or does not answer; Sentry's SDK gives up after 30.
This is the place that decides: whatever the commit waits for by itself, each request is told in time."""
MAX_RACES = 5
MOMENT_SECONDS = 0.004
"""How long a batch waits for those who were just answered, from one that comes back to the next."""
MAX_MOMENTS = 5
ENOUGH_ITEMS = 50
"""A batch of so many is not waited with: with more, each hardly costs less, and meanwhile the database would idle."""
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0

Item = TypeVar("Item")
Result = TypeVar("Result")
Commit = Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]
"""Commits items in one transaction and returns a result for each; may be called again when it raised."""


class _Request(msgspec.Struct, Generic[Item, Result], frozen=True, eq=False):
    items: Sequence[Item]
    answer: asyncio.Future[Sequence[Result]]
    hold_until_seconds: float


class Lane(Generic[Item, Result]):
    """One lane: at most one commit of it is under way in this process."""

    def __init__(self, commit: Commit[Item, Result], *, max_items: int) -> None:
        """Make a lane; a batch has at most `max_items`, except a single request that has more."""
        self._commit = commit
        self._max_items = max_items
        self._waiting: OrderedDict[int, deque[_Request[Item, Result]]] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._size = 0
        self._size_expected = 0
        self._away: TocsinError | None = None
        self._answered_at_seconds = float("-inf")
        self._enough: asyncio.Future[None] | None = None

    async def put(
        self, project_id: int, items: Sequence[Item], *, hold_seconds: float | None = None
    ) -> Sequence[Result]:
        """Commit items together with those of other requests; return their results once they are committed.

        Raises what the commit raises: UNAVAILABLE only after HOLD_SECONDS, or the time that is given.
        """
        if not items:
            return []
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[Result]] = loop.create_future()
        hold_seconds = HOLD_SECONDS if hold_seconds is None else hold_seconds
        request = _Request(items, answer, monotonic_seconds() + hold_seconds)
        self._waiting.setdefault(project_id, deque()).append(request)
        self._size += len(items)
        if self._enough is not None and self._size >= self._size_expected:
            _wake(self._enough)
        if self._task is None:
            self._task = asyncio.create_task(self._drain())
        # A database that hangs does not even fail, and then nobody else would tell.
        timer = loop.call_later(hold_seconds, self._give_up, project_id, request)
        try:
            return await answer
        finally:
            timer.cancel()

    @property
    def busy(self) -> bool:
        """Tell whether requests wait."""
        return bool(self._waiting)

    async def idle(self) -> None:
        """Wait until everything that was put in is settled."""
        while self._task is not None:
            await asyncio.wait([self._task])

    def _give_up(self, project_id: int, request: _Request[Item, Result]) -> None:
        """Tell a request that it waited too long, and keep none that was told: it takes no room any more."""
        _fail([request], self._away or _no_answer())
        requests = self._waiting.get(project_id, deque())
        while requests and _was_told(requests[0]):
            self._size -= len(requests.popleft().items)
        if not requests:
            self._waiting.pop(project_id, None)

    async def _drain(self) -> None:
        try:
            while self._waiting:
                # What is just being read goes along: a commit costs nearly as much for one report as for ten.
                await asyncio.sleep(0)
                if monotonic_seconds() - self._answered_at_seconds < MOMENT_SECONDS:
                    await self._come_back()
                batch = self._next_batch()
                size = sum([len(request.items) for request in batch])
                await self._settle(batch)
                self._size_expected = min(size + self._size, ENOUGH_ITEMS, self._max_items)
                self._answered_at_seconds = monotonic_seconds()
        finally:
            self._task = None

    async def _come_back(self) -> None:
        """Wait until as much is there as a moment ago, while those who were answered still come back."""
        loop = asyncio.get_running_loop()
        for _ in range(MAX_MOMENTS):
            size = self._size
            if size >= self._size_expected:
                return
            self._enough = loop.create_future()
            timer = loop.call_later(MOMENT_SECONDS, _wake, self._enough)
            try:
                await self._enough
            finally:
                timer.cancel()
                self._enough = None
            if self._size == size:
                return

    def _next_batch(self) -> list[_Request[Item, Result]]:
        """Take requests in turn from each project, until the batch is full."""
        batch: list[_Request[Item, Result]] = []
        size = 0
        while self._waiting:
            project_id, requests = next(iter(self._waiting.items()))
            if batch and size + len(requests[0].items) > self._max_items:
                break
            request = requests.popleft()
            self._size -= len(request.items)
            if requests:
                self._waiting.move_to_end(project_id)
            else:
                del self._waiting[project_id]
            if not _was_told(request):
                batch.append(request)
                size += len(request.items)
        return batch

    async def _settle(self, batch: list[_Request[Item, Result]]) -> None:
        while batch:
            try:
                results = await self._committed(batch)
            except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for it: each request is told
                batch = await self._after(batch, error)
            else:
                _answer(batch, results)
                return

    async def _after(self, batch: list[_Request[Item, Result]], error: Exception) -> list[_Request[Item, Result]]:
        """Tell those whom a failed commit concerns; return the requests that still wait for the database."""
        if _is_unavailable(error):
            now = monotonic_seconds()
            waiting = [one for requests in self._waiting.values() for one in requests]
            _fail([one for one in (*batch, *waiting) if one.hold_until_seconds <= now], error)
            return [one for one in batch if one.hold_until_seconds > now]
        if len(batch) == 1:
            _fail(batch, error)
            return []
        # One request may be what the database cannot take; the others must not fall with it.
        for request in batch:
            await self._settle([request])
        return []

    async def _committed(self, batch: list[_Request[Item, Result]]) -> Sequence[Result]:
        items = [item for request in batch for item in request.items]
        hold_until = min(request.hold_until_seconds for request in batch)
        pause, races = _FIRST_PAUSE_SECONDS, 0
        while True:
            try:
                results = await self._commit(items)
            except LostRaceError:
                races += 1
                if races == MAX_RACES:
                    raise
            except TocsinError as error:
                if not _is_unavailable(error):
                    raise
                self._away = error
                if monotonic_seconds() >= hold_until:
                    raise
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                self._away = None
                return results


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _was_told(request: _Request[Item, Result]) -> bool:
    """Tell whether a request was told that it waited too long. One whose sender has gone is done all the same."""
    return request.answer.done() and not request.answer.cancelled()


def _no_answer() -> TocsinError:
    return refuse(Code.UNAVAILABLE, "The database does not answer.", TRY_AGAIN)


def _is_unavailable(error: Exception) -> bool:
    """Tell whether the database was away: then waiting helps, and dividing the batch does not."""
    if isinstance(error, (LostRaceError, TooMuchError)):
        return False
    return isinstance(error, TocsinError) and error.refusal.code is Code.UNAVAILABLE


def _answer(batch: Sequence[_Request[Item, Result]], results: Sequence[Result]) -> None:
    start = 0
    for request in batch:
        end = start + len(request.items)
        if not request.answer.done():  # whoever asked may have gone
            request.answer.set_result(results[start:end])
        start = end


def _fail(batch: Sequence[_Request[Item, Result]], error: Exception) -> None:
    for request in batch:
        if not request.answer.done():
            request.answer.set_exception(error)
