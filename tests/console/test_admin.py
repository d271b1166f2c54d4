"""A project is added in a real browser, and its key is seen once."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.console.conftest import DESK, PHONE, Visit
from tests.web.conftest import Live

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_a_project_is_added_and_its_key_is_seen_once(live: Live, visit: Visit, size: dict[str, int]) -> None:
    visitor = await visit(size)
    await visitor.sign_in()
    page = visitor.page
    await page.click("nav >> text=Admin")
    await page.click("nav >> text=Projects")
    await page.fill("input[name=name]", "shop")
    await page.keyboard.press("Enter")
    lines = page.locator("section.once pre").first
    await expect(lines).to_contain_text("sentry_sdk.init(dsn=")
    found = re.search(r"//([0-9a-f]{32})@", await lines.inner_text())
    assert found is not None
    answer = await live.call("POST", "/api/v1/errors", token=found[1], json={"severity": "HIGH", "message": "it broke"})
    assert answer.status < 300
    await visitor.goto("/admin/projects/2")
    assert found[1] not in await page.content()
    await expect(page.locator(f"text={found[1][:6]}…")).to_be_visible()
