"""One's own contact methods by keyboard alone, in a browser without JavaScript."""

from __future__ import annotations

import pytest

from tests.console.conftest import PHONE, Visit
from tests.web.conftest import Live, rows
from tests.web.test_contacts import hook, work_off

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_a_method_is_added_and_verified_by_keyboard_without_scripts(visit: Visit, live: Live) -> None:
    visitor = await visit(size=PHONE, java_script_enabled=False)
    await visitor.sign_in()
    await visitor.goto("/account")
    page = visitor.page
    await page.get_by_role("link", name="Your contact methods").press("Enter")
    async with hook() as receiver:
        await page.get_by_label("Channel").focus()
        await page.keyboard.type("webhook")
        await page.keyboard.press("Tab")
        await page.keyboard.type(receiver.url)
        await page.keyboard.press("Enter")
        code = page.get_by_label("Code that came by webhook")
        await code.wait_for()
        await work_off(live.app)
        await code.focus()
        await page.keyboard.type("00000000" if receiver.received[-1]["code"] != "00000000" else "11111111")
        await page.keyboard.press("Enter")
        await page.get_by_role("alert").wait_for()
        again = page.get_by_label("Code that came by webhook")
        assert await again.input_value() in ("00000000", "11111111"), "what was typed is still there"
        await again.focus()
        await page.keyboard.press("Control+A")
        await page.keyboard.type(receiver.received[-1]["code"])
        await page.keyboard.press("Enter")
        await page.get_by_text("verified", exact=True).wait_for()
    verified = b"SELECT channel FROM contact_methods WHERE verified_at IS NOT NULL"
    assert await rows(live.app, verified) == [("webhook",)]
