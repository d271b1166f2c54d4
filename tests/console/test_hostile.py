"""What clients and people write stays text: on every page, in what is renewed there, and in every file."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass, field
from urllib.parse import quote

import pytest
from icalendar import Calendar
from playwright.async_api import Page, expect

from tests.console.conftest import PHONE, Visit, Visitor
from tests.console.every_page import EXAMPLES, every_page
from tests.console.hostility import PAYLOADS, Hand, attack, attack_everywhere, native
from tests.console.stage import NO_PAGES
from tests.web.conftest import Live, rows
from tests.web.furnished import furnish
from tests.web.test_console import signed_in
from tocsin.app import learning
from tocsin.bootstrap import links_of
from tocsin.web.console.table import PAGES

pytestmark = pytest.mark.slow

OPEN_EVERYTHING = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"

WATCH = """
window.__violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.__violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""

# What must not stand in the tree of a page: what a payload would have made, and what only a payload would make.
BROKEN_OUT = """() => {
  const found = [...window.__violations];
  if (window.__hacked !== undefined) found.push("a payload ran");
  const foreign = ["iframe", "object", "embed", "base", "style", "math", "animate", "frame", "template"];
  for (const one of document.querySelectorAll("*")) {
    const tag = one.localName, said = (what) => found.push(`${what}: ${one.outerHTML.slice(0, 200)}`);
    if (tag.includes("hacked") || foreign.includes(tag)) said("an element");
    for (const {name, value} of one.attributes) {
      if (name.includes("hacked") || name.startsWith("on") || name === "srcdoc"
          || (name === "style" && !one.closest(".uplot"))
          || name.startsWith("hx-on") || name === "http-equiv") said(`an attribute ${name}`);
      if (["href", "src", "action", "formaction", "xlink:href", "poster", "hx-get", "hx-post"].includes(name)) {
        const url = new URL(value, document.baseURI);
        const ours = url.origin === location.origin && ["http:", "https:"].includes(url.protocol);
        if (!ours && url.protocol !== "mailto:") said(`a way out by ${name}`);
      }
    }
    const ours = one.type === "application/json" || one.src?.startsWith(location.origin + "/assets/");
    if (tag === "script" && !ours) said("a script");
  }
  if (document.body.innerText.includes("1461975311")) found.push("a template in a text was computed");
  if (/[\u202a-\u202e\u2066-\u2069]/.test(document.body.innerText)) found.push("a text turns what stands around it");
  return found;
}"""
FORMULAS = [payload for payload in PAYLOADS if payload.startswith(("=", "+", "-", "@"))]

ESCAPED = re.compile(r"\\[!-/:-@\[-`{-~]")
"""What Markdown takes for itself (CommonMark 2.4)."""

WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def test_every_page_of_the_table_has_an_example() -> None:
    assert sorted([*EXAMPLES, *NO_PAGES]) == sorted(page.path for page in PAGES if page.method == "GET")


@dataclass(slots=True)
class Witness:
    """Sees what a browser does that no page of ours asks for."""

    page: Page
    url: str
    seen: list[str] = field(default_factory=list)

    async def begin(self) -> None:
        """Look from now on."""
        await self.page.add_init_script(WATCH)
        self.page.on("request", lambda one: self._note("request", one.url) if not self._ours(one.url) else None)
        self.page.on("dialog", lambda one: self._note("dialog", one.message))
        self.page.on("popup", lambda one: self._note("popup", one.url))
        self.page.on("download", lambda one: self._note("download", one.url))

    def _ours(self, url: str) -> bool:
        return url.startswith(self.url + "/")

    def _note(self, what: str, which: str) -> None:
        self.seen.append(f"{what} {which}")

    async def told(self) -> list[str]:
        """Return what was seen since it was asked last, on a page whose every fold is opened."""
        await self.page.evaluate(OPEN_EVERYTHING)
        found: list[str] = self.seen + await self.page.evaluate(BROKEN_OUT)
        self.seen = []
        return found


async def hostile(live: Live) -> dict[str, str]:
    """Fill the product with what hostile people and clients write; return the names of its places."""
    names = await furnish(live, Hand())
    await attack_everywhere(live)
    async with live.app.work() as work:
        await learning.count_weeks(work)
    return names


async def witnessed(live: Live, visit: Visit) -> tuple[Visitor, Witness]:
    """Return a visitor with a hostile name for a browser, and who watches it."""
    visitor = await visit(user_agent=f"Mozilla/5.0 {PAYLOADS[0]}{PAYLOADS[1]}")
    witness = Witness(visitor.page, live.url)
    await witness.begin()
    return visitor, witness


async def test_nothing_that_was_written_becomes_a_part_of_any_page(live: Live, visit: Visit) -> None:
    names = await hostile(live)
    visitor, witness = await witnessed(live, visit)
    paths = [path for payload in PAYLOADS[:3] for path in every_page(names | {"hostile": quote(payload, safe="")})]
    many = (await rows(live.app, b"SELECT max(number) FROM incidents"))[0][0]
    assert many > len(PAYLOADS) / 2, "hostile reports are incidents"
    paths += [f"/incidents/{number}" for number in range(1, many + 1)]
    problems: dict[str, object] = {}
    for signed_in_already in (False, True):
        if signed_in_already:
            await visitor.sign_in()
        for path in dict.fromkeys(paths):
            if path.startswith("/sign-in") is signed_in_already:
                continue
            await visitor.page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
            await visitor.goto(path)
            found = await witness.told()
            wider = await visitor.page.evaluate(WIDER)
            if found or wider > 0 or visitor.complaints_of_policy():
                problems[path] = (found[:5], wider, visitor.complaints_of_policy()[:3])
                visitor.complaints.clear()
    assert not problems, json.dumps(problems, indent=1)


BACKUP = 20_000.0
"""What happens before a page's stream is open, the page sees when it looks by itself: after 15 s (in milliseconds)."""


async def test_nothing_that_arrives_while_a_page_is_open_becomes_a_part_of_it(live: Live, visit: Visit) -> None:
    visitor, witness = await witnessed(live, visit)
    await visitor.sign_in()
    for begin in range(0, len(PAYLOADS), 4):
        assert await attack(live, "/api/v1/errors", {}, native(Hand(begin))) == 201
        await expect(visitor.page.locator("#live .incidents li").nth(begin // 4)).to_be_visible(timeout=BACKUP)
        assert await witness.told() == []
    await visitor.goto("/incidents/1")
    await live.post("/api/incidents/1/notes", {"text": " ".join(PAYLOADS)})
    await expect(visitor.page.locator("#story")).to_contain_text("<hacked-tag>", timeout=BACKUP)
    assert await witness.told() == []


async def test_a_refused_form_shows_what_was_written_as_text(live: Live, visit: Visit) -> None:
    await furnish(live, Hand())
    visitor, witness = await witnessed(live, visit)
    await visitor.sign_in()
    for payload in PAYLOADS[:6]:
        await visitor.goto("/admin/users")
        await visitor.page.eval_on_selector(
            "form[action='/admin/users']",
            "(form, text) => { form.noValidate = true; form.email.type = 'text'; form.email.value = text;"
            " form.name.value = text; form.submit(); }",
            payload,
        )
        await visitor.page.wait_for_selector(".refusal")
        assert await witness.told() == [], payload


async def test_the_page_of_a_link_in_a_message_shows_texts(live: Live, visit: Visit) -> None:
    await hostile(live)
    visitor, witness = await witnessed(live, visit)
    await visitor.page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    pages = await rows(live.app, b"SELECT id FROM notifications")
    assert len(pages) > 10
    for (page_id,) in pages:
        await visitor.goto(f"/a/{links_of(live.app.settings).token(page_id)}")
        # Its own style stands in it, and its policy names that by its hash.
        found = [one for one in await witness.told() if not one.startswith("an element: <style>")]
        assert (found, max(await visitor.page.evaluate(WIDER), 0)) == ([], 0), await visitor.page.inner_text("h1")


async def test_files_hold_texts_and_nothing_that_is_run(live: Live) -> None:
    names = await hostile(live)
    browser = await signed_in(live)
    for formula in FORMULAS:
        await live.call("GET", "/incidents", headers=browser | {"User-Agent": formula})
    for what in ("accesses", "entries"):
        told = await live.call("GET", f"/audit/{what}.csv", headers=browser)
        cells = [cell for row in csv.reader(io.StringIO(told.body.decode(), newline="")) for cell in row]
        assert what != "accesses" or {f"'{formula}" for formula in FORMULAS} <= set(cells)
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
        as_json = await live.call("GET", f"/audit/{what}.json", headers=browser)
        assert as_json.headers["Content-Type"].startswith("application/json")
        json.loads(as_json.body)
        for answer in (told, as_json):
            assert answer.headers["Content-Disposition"].startswith("attachment")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for number in (names["open"], names["closed"], "4", "9"):
        report = (await live.get(f"/api/incidents/{number}/report.md")).body.decode()
        bare = ESCAPED.sub("", report)
        assert "<" not in bare
        assert "](" not in bare
        assert "![" not in bare
        drawn = await live.get(f"/api/incidents/{number}/report.pdf")
        assert drawn.body.startswith(b"%PDF-")
        assert not [
            mark for mark in (b"/URI", b"/JavaScript", b"/JS", b"/Launch", b"/EmbeddedFile") if mark in drawn.body
        ]


async def test_a_calendar_feed_has_as_many_events_as_shifts(live: Live) -> None:
    names = await furnish(live, Hand())
    made = await live.post(f"/api/schedules/{names['schedule']}/feeds", {})
    path = made.json["url"].removeprefix("http://tocsin.test")
    feed = await live.call("GET", path)
    assert feed.status == 200, feed.body
    lines = feed.body.split(b"\r\n")
    assert not [line for line in lines if b"\n" in line or b"\r" in line or line.upper().startswith(b"X-HACKED")]
    (calendar,) = Calendar.from_ical(feed.body, multiple=True)
    shifts = calendar.walk("VEVENT")
    assert len(shifts) == lines.count(b"BEGIN:VEVENT") > 1
    allowed = {"UID", "DTSTAMP", "DTSTART", "DTEND", "SUMMARY", "ATTENDEE", "TRANSP", "LAST-MODIFIED", "DESCRIPTION"}
    assert {str(key) for shift in shifts for key in shift} <= allowed
