"""Learning in a browser: charts beside their tables, a promise marked done by keyboard, and the report."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.console.conftest import PHONE, Visit
from tests.web.conftest import Live
from tests.web.test_learning import closed, counted

pytestmark = [pytest.mark.slow, pytest.mark.anyio]


@pytest.mark.parametrize("size", [None, PHONE])
async def test_learning_shows_charts_and_marks_a_promise(live: Live, visit: Visit, size: dict[str, int] | None) -> None:
    number = await closed(
        live, "It broke", followUpActions=[{"title": "Alert on depth", "owner": "ana", "dueAt": "2020-01-01"}]
    )
    await counted(live)
    ana = await (visit(size) if size else visit())
    await ana.sign_in()
    await ana.goto("/learning")
    for name in ("acknowledged", "resolved", "causes"):
        await expect(ana.page.locator(f"#{name}-chart canvas")).to_be_visible()
    wider = await ana.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider == 0
    await ana.page.get_by_role("link", name="1 follow-up action overdue").focus()
    await ana.page.keyboard.press("Enter")
    summary = ana.page.locator("summary", has_text="Done")
    await summary.focus()
    await ana.page.keyboard.press("Enter")
    await ana.page.get_by_label(re.compile("What was done")).fill("at 1,000")
    await ana.page.keyboard.press("Enter")
    await expect(ana.page.get_by_text("Nothing is owed.")).to_be_visible()
    await ana.goto(f"/incidents/{number}/report")
    await expect(ana.page.get_by_role("heading", name="Root cause")).to_be_visible()
    await expect(ana.page.get_by_text("at 1,000")).to_be_visible()


async def test_learning_reads_without_javascript(live: Live, visit: Visit) -> None:
    await closed(live)
    await counted(live)
    ana = await visit(java_script_enabled=False)
    await ana.sign_in()
    await ana.goto("/learning")
    await expect(ana.page.get_by_role("rowheader", name="High").first).to_be_visible()
