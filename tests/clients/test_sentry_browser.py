"""What `@sentry/browser` sends from a page in Chromium. The page is of another origin than Tocsin: CORS decides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.browser import Pages, serving_pages, shown
from tests.clients.conftest import JAVASCRIPT, Live, eventually
from tests.clients.wire import wire_to

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sentry-browser"), pytest.mark.usefixtures("node_modules")]

PAGE = "page.html"
SENT = {"flushed": True}
LEFT = {"left": True}


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    """The server of the page."""
    with serving_pages(JAVASCRIPT) as running:
        yield running


def test_errors_and_messages_reported_by_hand_arrive(live: Live, pages: Pages, tmp_path: Path) -> None:
    with wire_to(live.port) as wire, shown(pages, tmp_path, PAGE, dsn=live.dsn(wire.port), way="captured") as told:
        assert told == SENT
    heads = wire.request_heads()
    assert all(head.startswith("post ") for head in heads), "the browser asks for no permission first"
    assert all("content-type: text/plain" in head and f"sentry_key={live.key}" in head for head in heads)
    by_title = live.by_title()
    assert by_title["the shop window is dark"]["incident"]["severity"] == "MEDIUM"
    detail = by_title["Error: cannot check out"]
    assert detail["incident"]["severity"] == "HIGH"
    chain = detail["error"]["exceptions"]
    assert [(one["type"], one["message"]) for one in chain] == [
        ("RangeError", "the cart is empty"),
        ("Error", "cannot check out"),
    ]
    assert [frame["function"] for frame in chain[0]["frames"]][-2:] == ["checkOut", "readCart"]
    assert (detail["error"]["release"], detail["error"]["platform"]) == ("shop@1.2.3", "javascript")


def test_an_error_that_nobody_caught_arrives(live: Live, pages: Pages, tmp_path: Path) -> None:
    with shown(pages, tmp_path, PAGE, dsn=live.dsn(), way="uncaught") as told:
        assert told == SENT
    (raised,) = live.by_title()["TypeError: the card is not a card"]["error"]["exceptions"]
    assert raised["handled"] is False
    assert raised["frames"][-1]["function"] == "payNow"


def test_an_unhandled_rejection_arrives(live: Live, pages: Pages, tmp_path: Path) -> None:
    with shown(pages, tmp_path, PAGE, dsn=live.dsn(), way="rejected") as told:
        assert told == SENT
    (raised,) = live.by_title()["URIError: no way to the bank"]["error"]["exceptions"]
    assert raised["handled"] is False


def test_a_report_outlives_the_page_that_sent_it(live: Live, pages: Pages, tmp_path: Path) -> None:
    with shown(pages, tmp_path, PAGE, dsn=live.dsn(), way="left") as told:
        assert told == LEFT
        eventually(lambda: "Error: leaving already" in live.by_title())


def test_what_the_client_dropped_itself_is_counted(live: Live, pages: Pages, tmp_path: Path) -> None:
    with shown(pages, tmp_path, PAGE, dsn=live.dsn(), way="dropped") as told:
        assert told == LEFT
        eventually(lambda: 'tocsin_client_lost_events_total{reason="before_send"} 1.0' in live.metrics())
    assert "boring" not in live.by_title()


def test_the_page_may_read_why_its_report_was_refused(live: Live, pages: Pages, tmp_path: Path) -> None:
    with shown(pages, tmp_path, PAGE, dsn=live.dsn(), way="refused") as told:
        assert told == {"status": 401}
