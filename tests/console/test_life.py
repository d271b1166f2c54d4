"""The life of an incident on pages, in a real browser."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.console.conftest import DESK, PHONE, Visit
from tests.web.conftest import Live

pytestmark = pytest.mark.slow

ERROR = {
    "severity": "CRITICAL",
    "type": "PoolExhausted",
    "message": "no connection within 30 s",
    "exceptions": [
        {
            "type": "PoolExhausted",
            "message": "no connection within 30 s",
            "frames": [
                {"function": "pay", "filename": "shop/pay.py", "line": 42, "sourceLine": "pool.get()", "inApp": True}
            ],
        }
    ],
}


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_from_the_first_report_to_the_closing(live: Live, visit: Visit, size: dict[str, int]) -> None:
    assert (await live.report(ERROR)).status < 300
    visitor = await visit(size)
    await visitor.sign_in()
    page = visitor.page
    await page.click("a:has-text('INC-1')")
    await expect(page.locator("text=shop/pay.py:42")).to_be_visible()
    await page.fill("#notes", "looking at the pool")
    await page.click("button:has-text('Acknowledge')")
    await page.fill("#summary", "the pool has 10 connections")
    await page.fill("#remediationSteps", "40 connections")
    await page.select_option("#category", "CONFIGURATION")
    await page.click("button:has-text('Record the root cause')")
    await page.fill("#resolutionSummary", "40 connections, no error for 15 minutes")
    await page.click("#next-step button:has-text('Resolve')")
    await page.fill("#lessonsLearned", "measure pools")
    await page.fill("input[name=action] >> nth=0", "alert on waiting connections")
    await page.click("#next-step button:has-text('Close')")
    await expect(page.locator(".stations .here")).to_have_text("Closed")
    shown = await live.get("/api/incidents/1")
    assert shown.json["incident"]["status"] == "CLOSED"


async def test_two_browsers_see_each_others_changes_within_a_second(live: Live, visit: Visit) -> None:
    await live.report(ERROR)
    one, other = await visit(), await visit()
    for visitor in (one, other):
        await visitor.sign_in()
        await visitor.goto("/incidents/1")
    await other.page.wait_for_timeout(1_000)
    await one.page.fill("#notes", "I have it")
    await one.page.click("button:has-text('Acknowledge')")
    await one.page.wait_for_selector(".stations .here:has-text('Acknowledged')")
    await expect(other.page.locator(".stations .here")).to_have_text("Acknowledged", timeout=1_000)
    await expect(other.page.locator("#story")).to_contain_text("I have it", timeout=1_000)


async def test_who_is_slower_is_told_who_was_faster_and_keeps_the_text(live: Live, visit: Visit) -> None:
    await live.report(ERROR)
    visitor = await visit(java_script_enabled=False)
    await visitor.sign_in()
    await visitor.goto("/incidents/1")
    await live.post("/api/incidents/1/acknowledge", {"notes": "mine"})
    await visitor.page.fill("#notes", "looking at it too")
    await visitor.page.click("button:has-text('Acknowledge')")
    await expect(visitor.page.locator("[role=alert]")).to_contain_text("is acknowledged already, by ada")


async def test_a_draft_survives_a_lost_connection(live: Live, visit: Visit) -> None:
    await live.report(ERROR)
    visitor = await visit()
    await visitor.sign_in()
    await visitor.goto("/incidents/1")
    await visitor.page.fill("#notes", "a text that took a while")
    await visitor.window.set_offline(True)
    await visitor.window.set_offline(False)
    await visitor.goto("/incidents")
    await visitor.goto("/incidents/1")
    await expect(visitor.page.locator("#notes")).to_have_value("a text that took a while")
    await visitor.page.click("button:has-text('Acknowledge')")
    await expect(visitor.page.locator(".stations .here")).to_have_text("Acknowledged")
    kept = await visitor.page.evaluate("Object.keys(localStorage)")
    assert kept == []


async def test_everything_is_done_by_keys_alone(live: Live, visit: Visit) -> None:
    await live.report(ERROR)
    visitor = await visit()
    await visitor.sign_in()
    keys = visitor.page.keyboard
    await keys.press("g")
    await keys.press("i")
    await visitor.page.wait_for_url("**/incidents")
    await keys.press("j")
    await keys.press("Enter")
    await visitor.page.wait_for_url("**/incidents/1")
    await keys.press("a")
    await keys.type("on it")
    await keys.press("Tab")
    await keys.press("Enter")
    await expect(visitor.page.locator(".stations .here")).to_have_text("Acknowledged")
