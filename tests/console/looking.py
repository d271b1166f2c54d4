"""How a page is looked at: by axe-core, by somebody without a mouse, and by somebody without JavaScript."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page

from tests.console.conftest import DESK, PHONE

OPEN_EVERYTHING = "document.querySelectorAll('main details').forEach((one) => { one.open = true; })"

# Every rule of axe that is finished: those that it runs by itself, and that of WCAG 2.2, which waits to be asked.
AXE = """async () => (await axe.run(document, {resultTypes: ["violations"], rules: {"target-size": {enabled: true}}}))
  .violations.flatMap(({id, help, nodes}) => nodes.map(
    ({target, failureSummary}) => `${id} (${help}) ${target}: ${failureSummary}`))"""

WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

# What can be read in the page's content. Times are told anew by the script, charts are drawn from tables, on a phone
# a list takes the calendar's place, and each request has an id of its own.
TEXTS = """() => {
  const found = [], walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    const skipped = parent.closest("time, script, [data-script], .chart, .weeks") || /^[0-9a-f-]{36}$/.test(text);
    if (text && !skipped && parent.checkVisibility()) found.push(text);
  }
  return found;
}"""

# Relations between elements must lead to one.
DANGLING = """() => ["for", "aria-describedby", "aria-labelledby", "list", "form"].flatMap(
  (name) => [...document.querySelectorAll(`[${name}]`)].map((one) => one.getAttribute(name))
    .filter((id) => !document.getElementById(id)).map((id) => `${name}=${id}`))"""

# Every element that takes part, in the order of the document, and how it looks while it has no focus; from then on
# each that gets the focus is noted with how it looks then.
WATCH = """() => {
  const look = (one) => {
    const {outlineStyle, outlineWidth, outlineColor, boxShadow} = getComputedStyle(one);
    return [outlineStyle, outlineWidth, outlineColor, boxShadow].join(" ");
  };
  document.body.tabIndex = -1;
  document.body.focus();  // from the top, also where a field had the focus already
  document.body.removeAttribute("tabindex");
  const all = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")].filter(
    (one) => one.tabIndex >= 0 && !one.disabled && one.checkVisibility({visibilityProperty: true}));
  window.watched = {all, plain: all.map(look), reached: []};
  document.addEventListener("focusin", ({target}) => {
    const at = all.indexOf(target), {right, width} = target.getBoundingClientRect();
    if (at < 0 || watched.reached.some((one) => one.at === at)) return;
    watched.reached.push({at, marked: look(target) !== watched.plain[at], seen: right > 0 && width > 0});
  });
  // A field of a date or a time has parts with the focus one after the other.
  return all.length + 8 * all.filter((one) => ["date", "datetime-local", "time"].includes(one.type)).length + 2;
}"""
REACHED = """() => {
  const name = (at) => watched.all[at].outerHTML.replace(/[ \\n]+/g, " ").slice(0, 160);
  const order = watched.reached.map(({at}) => at);
  return {
    many: order.length,
    missed: watched.all.flatMap((_, at) => order.includes(at) ? [] : [name(at)]),
    unmarked: watched.reached.flatMap(({at, marked}) => marked ? [] : [name(at)]),
    unseen: watched.reached.flatMap(({at, seen}) => seen ? [] : [name(at)]),
    jumps: order.flatMap((at, place) => place && at < order[place - 1] ? [name(at)] : []),
    first: order.length ? watched.all[order[0]].className : "",
  };
}"""


async def violations(page: Page, axe: str) -> dict[str, list[str]]:
    """Return what axe finds, light and wide, then dark and narrow; what is folded is opened before."""
    await page.evaluate(OPEN_EVERYTHING)
    # By the debugger's own door: the page's policy, which forbids scripts in the page, stays in force.
    await page.evaluate(axe)
    found = {}
    for scheme, size in (("light", DESK), ("dark", PHONE)):
        await page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
        await page.set_viewport_size({"width": size["width"], "height": size["height"]})
        found[scheme] = await page.evaluate(AXE)
    found["wider than a phone"] = [f"by {wider} pixels" for wider in [await page.evaluate(WIDER)] if wider > 0]
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size({"width": DESK["width"], "height": DESK["height"]})
    return {what: said for what, said in found.items() if said}


async def unreached(page: Page) -> dict[str, list[str]]:
    """Go through the page by Tab; return what is not reached, does not show that it is, or comes out of order."""
    for _ in range(await page.evaluate(WATCH)):
        await page.keyboard.press("Tab")
    found: dict[str, Any] = await page.evaluate(REACHED)
    assert found.pop("many") > 2
    assert found.pop("first") == "skip"
    return {what: said for what, said in found.items() if said}


async def unread(page: Page, texts: list[str]) -> dict[str, list[str]]:
    """Return what of these texts cannot be read on a page without a script, and what is wrong with its form."""
    await page.evaluate(OPEN_EVERYTHING)
    there = set(await page.evaluate(TEXTS))
    found = {
        "missing without JavaScript on a phone": [text for text in texts if text not in there],
        "main headings": [f"{many}" for many in [await page.locator("h1").count()] if many != 1],
        "wider than a phone without JavaScript": [f"by {wider}" for wider in [await page.evaluate(WIDER)] if wider > 0],
        "names nothing": await page.evaluate(DANGLING),
    }
    return {what: said for what, said in found.items() if said}


async def looked_at(page: Page, axe: str) -> dict[str, list[str]]:
    """Look at a page in every way that takes one visitor; return what is wrong with it."""
    return await violations(page, axe) | await unreached(page)
