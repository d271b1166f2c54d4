"""An override by keyboard and by dragging, in a real browser."""

from __future__ import annotations

from datetime import timedelta

import pytest
from playwright.async_api import expect

from tests.console.conftest import Visit
from tests.web.conftest import Live
from tests.web.test_console_oncall import schedule
from tocsin.app import schedules
from tocsin.domain.access import Actor

pytestmark = pytest.mark.slow


async def test_an_override_is_made_with_the_keyboard_alone(live: Live, visit: Visit, admin: Actor) -> None:
    its = await schedule(live, admin)
    visitor = await visit()
    await visitor.sign_in()
    await visitor.goto(f"/oncall/schedules/{its}")
    page = visitor.page
    await page.locator("[data-grid] td[tabindex='0']").focus()
    for key in ("ArrowDown", "Home", "Shift+ArrowRight", "Shift+ArrowRight", "Enter"):
        await page.keyboard.press(key)
    await expect(page.locator("#override-user")).to_be_focused()
    begin, end = [await page.input_value(f"#override-{name}") for name in ("from", "until")]
    assert (begin[10:], end[10:]) == ("T00:00", "T03:00")
    for _ in range(40):
        if await page.evaluate("document.activeElement.textContent") == "Add it":
            break
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("button[aria-label^='Remove the override']")).to_be_visible()
    async with live.app.work() as work:
        (override,) = (await schedules.find(work, its)).overrides
    assert override.ends_at - override.starts_at == timedelta(hours=3)


async def test_an_override_is_dragged(live: Live, visit: Visit, admin: Actor) -> None:
    its = await schedule(live, admin)
    visitor = await visit()
    await visitor.sign_in()
    await visitor.goto(f"/oncall/schedules/{its}")
    page = visitor.page
    row = page.locator("[data-grid] tbody tr").nth(3)
    await row.locator("td").nth(9).hover()
    await page.mouse.down()
    await row.locator("td").nth(16).hover()
    await page.mouse.up()
    assert (await page.input_value("#override-from"))[10:] == "T09:00"
    assert (await page.input_value("#override-until"))[10:] == "T17:00"


async def test_without_javascript_the_form_stands_open_to_everybody(live: Live, visit: Visit, admin: Actor) -> None:
    its = await schedule(live, admin)
    visitor = await visit(java_script_enabled=False)
    await visitor.sign_in()
    await visitor.goto(f"/oncall/schedules/{its}")
    await visitor.page.click("text=Add an override")
    await visitor.page.fill("#override-from", "2099-01-01T09:00")
    await visitor.page.fill("#override-until", "2099-01-01T17:00")
    await visitor.page.click("text=Add it")
    await expect(visitor.page.locator("text=Thu 1 Jan 09:00")).to_be_visible()
