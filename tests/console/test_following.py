"""A page follows what is recorded from when it was made, in a real browser; what it has seen already is no news."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Page, Route, expect

from tests.console.conftest import Visit
from tests.web.conftest import Live

pytestmark = pytest.mark.slow

ONE_SECOND = 1_000
STREAM = "**/live?*"


@asynccontextmanager
async def before_the_stream_opens(page: Page, act: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Hold the page's first stream back until something was done."""
    opened = asyncio.Event()

    async def hold(route: Route) -> None:
        await act()
        await route.continue_()
        opened.set()

    await page.route(STREAM, hold)
    yield
    await asyncio.wait_for(opened.wait(), 10)
    await page.unroute(STREAM)


def renewals(page: Page) -> list[str]:
    """Return a list to which every renewal of a part of the page is added."""
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url) if "hx-request" in request.headers else None)
    return seen


@pytest.mark.parametrize("path", ["/", "/incidents"])
async def test_what_is_recorded_before_the_stream_opens_is_seen_within_a_second(
    live: Live, visit: Visit, path: str
) -> None:
    visitor = await visit()
    await visitor.sign_in()
    async with before_the_stream_opens(visitor.page, lambda: live.open_incident(title="In the gap")):
        await visitor.goto(path)
    await expect(visitor.page.get_by_text("In the gap").first).to_be_visible(timeout=ONE_SECOND)


async def test_a_page_that_is_as_of_now_is_not_renewed_when_its_stream_opens(live: Live, visit: Visit) -> None:
    await live.open_incident(title="It broke")
    visitor = await visit()
    await visitor.sign_in()
    seen = renewals(visitor.page)
    await visitor.goto("/incidents")
    await visitor.page.wait_for_timeout(2 * ONE_SECOND)
    assert seen == []


@pytest.mark.parametrize("said", ["", "event: changed\ndata: {}\n\n"], ids=["unheard", "heard"])
async def test_a_stream_that_comes_again_tells_once_what_happened_meanwhile(
    live: Live, visit: Visit, said: str
) -> None:
    visitor = await visit()
    await visitor.sign_in()
    page, opened = visitor.page, list[str]()

    async def end_the_first(route: Route) -> None:
        opened.append(route.request.url)
        if len(opened) > 1:
            return await route.continue_()
        await live.open_incident(title="Meanwhile")
        return await route.fulfill(content_type="text/event-stream", body=said)

    await page.route(STREAM, end_the_first)
    seen = renewals(page)
    await visitor.goto("/incidents")
    await expect(page.locator("#connection")).to_be_visible()
    await expect(page.get_by_text("Meanwhile")).to_be_visible(timeout=2 * ONE_SECOND)
    await expect(page.locator("#connection")).to_be_hidden()
    await page.wait_for_timeout(ONE_SECOND)
    assert (len(opened), len(seen)) == (2, 1)
    # What the page has become is what it says when it listens again.
    assert (opened[0] == opened[1]) == (not said)
