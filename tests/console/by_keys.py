"""Somebody without a mouse: goes through a page by Tab, types, and presses Enter on the button of a form."""

from __future__ import annotations

import re
from typing import Any

from playwright.async_api import Page

MAX_TABS = 300

HERE = """(action) => {
  const one = document.activeElement, is = (form) => new RegExp(action).test(form?.getAttribute("action") ?? "");
  const folded = one.localName === "summary" && !one.parentElement.open;
  return {
    name: is(one.form) ? one.name : "",
    type: is(one.form) ? one.type : "",
    folds: folded && [...one.parentElement.querySelectorAll("form")].some(is),
  };
}"""


def pattern(path: str) -> str:
    """Return the regular expression of a path of the table."""
    return "^" + re.sub(r"\{[^}]+\}", "[^/]+", path) + "$"


async def send(page: Page, path: str, **said: str) -> None:
    """Send the first form that leads to this path of the table. "x" checks a box; "→" leads to a date's next part."""
    await page.keyboard.press("Tab")
    if await page.locator("a.skip:focus").count():
        await page.keyboard.press("Enter")
    # Not `expect_navigation`: the skip link's own, within the page, may be heard of as late as here.
    async with page.expect_event("load"):
        for _ in range(MAX_TABS):
            await page.keyboard.press("Tab")
            here: dict[str, Any] = await page.evaluate(HERE, pattern(path))
            if here["folds"]:
                await page.keyboard.press("Enter")
            elif here["type"] == "submit":
                assert not said, f"{path} has no field {list(said)}"
                await page.keyboard.press("Enter")
                return
            elif here["name"] in said:
                await _fill(page, here["type"], said.pop(here["name"]))
        raise AssertionError(f"no form for {path} is reached on {page.url}")


async def _fill(page: Page, kind: str, said: str) -> None:
    if kind == "checkbox":
        await page.keyboard.press("Space")
        return
    if kind in ("text", "textarea", "password", "email"):
        await page.keyboard.press("ControlOrMeta+a")
    for place, part in enumerate(said.split("→")):
        if place:
            await page.keyboard.press("ArrowRight")
        await page.keyboard.type(part)
