"""Setting the second factor up and signing in with it, in a real browser, with a pointer and with the keyboard."""

from __future__ import annotations

import pyotp
import pytest
from playwright.async_api import expect

from tests.conftest import ADMIN_EMAIL, ADMIN_PASSWORD
from tests.console.conftest import DESK, PHONE, Visit
from tests.support.clock import FakeClock
from tests.web.conftest import Live

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_from_the_password_alone_to_two_factors(
    live: Live, visit: Visit, clock: FakeClock, size: dict[str, int]
) -> None:
    visitor = await visit(size)
    await visitor.sign_in()
    page = visitor.page
    await page.click(".who a")
    await page.click("a:has-text('Set it up')")
    await page.fill("#oldPassword", ADMIN_PASSWORD)
    await page.press("#oldPassword", "Enter")
    await expect(page.locator("svg.qr")).to_be_visible()
    phone = pyotp.TOTP((await page.locator("#secret").inner_text()).replace(" ", ""))
    await page.fill("#code", phone.at(clock.now))
    await page.press("#code", "Enter")
    await expect(page.locator("h1")).to_have_text("The second factor is on")
    recovery = await page.locator(".codes code").all_inner_texts()
    assert len(recovery) == 10
    await page.click("button:has-text('Sign out')")

    async def password_step() -> None:
        await visitor.goto("/sign-in?next=/account")
        await page.fill("#email", ADMIN_EMAIL)
        await page.fill("#password", ADMIN_PASSWORD)
        await page.press("#password", "Enter")
        await expect(page.locator("h1")).to_have_text("And your second factor")

    await password_step()
    await expect(page.locator("#code")).to_be_focused()
    await page.keyboard.type(phone.at(clock.now))
    await page.keyboard.press("Enter")
    await expect(page.locator(".refusal")).to_contain_text("used already")
    clock.forward(seconds=30)
    code = phone.at(clock.now)
    await page.fill("#code", f"{code[:3]} {code[3:]}")
    await page.press("#code", "Enter")
    await page.wait_for_url(live.url + "/account")
    await expect(page.locator("text=10 recovery codes are left")).to_be_visible()
    await page.click("button:has-text('Sign out')")

    await password_step()
    await page.fill("#code", recovery[0])
    await page.press("#code", "Enter")
    await page.wait_for_url(live.url + "/account")
    await expect(page.locator("text=9 recovery codes are left")).to_be_visible()
