"""The life of an incident on pages, in a real browser."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.conftest import INTAKE_KEY
from tests.console.conftest import DESK, PHONE, Visit
from tests.web.conftest import Live
from tocsin.app.seal import seal_everything
from tocsin.app.sign import introduce_key, sign_log
from tocsin.signing.signer import Signer

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


FAILING = """
import sys, sentry_sdk
sentry_sdk.init(dsn=sys.argv[1], release="shop@1.2.3", environment="production", shutdown_timeout=10)

def connect():
    raise TimeoutError("no connection within 30 s")

def pay(order):
    try:
        connect()
    except TimeoutError as error:
        raise RuntimeError(f"order {order} cannot be paid") from error

pay(4711)
"""
PROGRAM_SECONDS = 60.0


async def run(*command: str, directory: Path) -> tuple[int, str]:
    """Run a program to its end; return its exit code, and what it said."""
    ended = await asyncio.to_thread(
        subprocess.run, command, cwd=directory, capture_output=True, text=True, timeout=PROGRAM_SECONDS, check=False
    )
    return ended.returncode, ended.stdout + ended.stderr


async def live_a_life(page: Page) -> None:
    """Take an incident from the page that shows it to its end."""
    await page.fill("#notes", "looking at the pool")
    await page.click("button:has-text('Acknowledge')")
    await page.fill("#summary", "the pool")
    await page.fill("#remediationSteps", "40 connections")
    await expect(page.locator("[data-nudge=summary]")).to_contain_text("That is short")
    await page.fill("#summary", "the pool has 10 connections, and the nightly report takes one for a minute each")
    await expect(page.locator("[data-nudge=summary]")).to_be_hidden()
    await page.select_option("#category", "CONFIGURATION")
    await page.click("button:has-text('Record the root cause')")
    await page.fill("#resolutionSummary", "40 connections, no error for 15 minutes")
    await page.click("#next-step button:has-text('Resolve')")
    await page.fill("#lessonsLearned", "measure pools")
    await page.fill("input[name=action] >> nth=0", "alert on waiting connections")
    await page.click("#next-step button:has-text('Close')")
    await expect(page.locator(".stations .here")).to_have_text("Closed")


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_from_a_program_that_fails_to_the_verified_evidence(
    live: Live, visit: Visit, size: dict[str, int], tmp_path: Path
) -> None:
    signer = Signer(tmp_path / "signer")
    signer.make("example.org/tocsin")
    await introduce_key(live.app, signer)
    (tmp_path / "shop.py").write_text(FAILING)
    _, said = await run(
        sys.executable, "shop.py", live.url.replace("://", f"://{INTAKE_KEY}@") + "/1", directory=tmp_path
    )
    assert "RuntimeError: order 4711 cannot be paid" in said
    visitor = await visit(size)
    await visitor.sign_in()
    page = visitor.page
    await page.click("a:has-text('INC-1')")
    await expect(page.locator("h3.raised").first).to_contain_text("RuntimeError order 4711 cannot be paid")
    await expect(page.locator("h3.raised").nth(1)).to_contain_text("caused by TimeoutError no connection within 30 s")
    await expect(page.locator(".frames .ours").first).to_contain_text("pay in shop.py:")
    await live_a_life(page)
    await seal_everything(live.app)
    await sign_log(live.app, signer)
    await page.reload()
    await expect(page.locator("#seal-part")).to_contain_text("Verified at checkpoint")
    async with page.expect_download() as downloading:
        await page.click("text=Download the evidence")
    await (await downloading.value).save_as(tmp_path / "evidence.json")
    (tmp_path / "policy").write_text(f"log {signer.key().vkey}\nquorum none\n")
    tocsin = str(Path(sys.executable).parent / "tocsin")
    code, said = await run(tocsin, "verify", "evidence.json", "--policy", "policy", directory=tmp_path)
    assert code == 0, said
    assert "PROVEN: INC-1 has exactly" in said
    assert not await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")


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
    await expect(visitor.page.locator(".refusal")).to_contain_text("is acknowledged already, by ada")
    await expect(visitor.page.locator("#text")).to_have_value("looking at it too")


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


async def test_what_cannot_be_sent_is_said_and_kept(live: Live, visit: Visit) -> None:
    await live.report(ERROR)
    visitor = await visit()
    await visitor.sign_in()
    await visitor.goto("/incidents/1")
    page = visitor.page
    await page.fill("#notes", "a text that took a while")
    await visitor.window.set_offline(True)
    await page.click("button:has-text('Acknowledge')")
    await expect(page.locator(".unsent")).to_contain_text("Not sent: the server cannot be reached")
    await expect(page.locator("#notes")).to_have_value("a text that took a while")
    await visitor.window.set_offline(False)
    await page.click("button:has-text('Acknowledge')")
    await expect(page.locator(".stations .here")).to_have_text("Acknowledged")
    assert await page.evaluate("Object.keys(localStorage)") == []
    visitor.complaints = [text for text in visitor.complaints if "ERR_INTERNET_DISCONNECTED" not in text]


async def test_who_is_overtaken_while_writing_is_told_and_can_make_a_note_of_it(live: Live, visit: Visit) -> None:
    await live.report(ERROR)
    visitor = await visit()
    await visitor.sign_in()
    await visitor.goto("/incidents/1")
    page = visitor.page
    await page.fill("#notes", "restarting the pool")
    await live.post("/api/incidents/1/acknowledge", {"notes": "mine"})
    await expect(page.locator("[data-overtaken]")).to_contain_text("ada: Took it")
    await expect(page.locator("#notes")).to_have_value("restarting the pool")
    await page.click("text=Keep it as a note")
    await expect(page.locator("#next-step h2")).to_have_text("Record the root cause")
    await expect(page.locator("#text")).to_have_value("restarting the pool")
    await page.click("button:has-text('Add the note')")
    await expect(page.locator("#story")).to_contain_text("restarting the pool")


async def test_who_has_written_nothing_gets_the_next_form_by_itself(live: Live, visit: Visit) -> None:
    await live.report(ERROR)
    visitor = await visit()
    await visitor.sign_in()
    await visitor.goto("/incidents/1")
    await live.post("/api/incidents/1/acknowledge", {"notes": "mine"})
    await expect(visitor.page.locator("#next-step h2")).to_have_text("Record the root cause")
    await expect(visitor.page.locator(".way .now")).to_contain_text("Record the root cause")


async def test_several_are_chosen_and_taken_by_keys_alone(live: Live, visit: Visit) -> None:
    for number in range(3):
        await live.open_incident(title=f"It broke {number}")
    visitor = await visit()
    await visitor.sign_in()
    await visitor.goto("/incidents")
    page, keys = visitor.page, visitor.page.keyboard
    for key in ("j", "x", "j", "x"):
        await keys.press(key)
    await expect(page.locator("#chosen")).to_have_text("the 2 chosen ones")
    # Something happens meanwhile: the list is renewed, and what was chosen stays chosen.
    await live.open_incident(title="Another one")
    await expect(page.locator(".incidents li")).to_have_count(4)
    await expect(page.locator(".pick :checked")).to_have_count(2)
    await keys.press("a")
    await keys.type("both of them")
    await keys.press("Tab")
    await keys.press("Enter")
    await expect(page.locator("h1")).to_have_text("You have 2 of 2")
    await page.click("text=Back to the list")
    await page.wait_for_url("**/incidents")
    await expect(page.locator(".incidents li")).to_have_count(4)
    await keys.press("/")
    await keys.type("another")
    await keys.press("Enter")
    await page.wait_for_url("**/incidents?search=another")
    await expect(page.locator(".incidents li")).to_have_count(1)


async def test_a_renewed_list_leaves_the_focus_on_the_box_that_has_it(live: Live, visit: Visit) -> None:
    await live.open_incident(title="It broke")
    visitor = await visit()
    await visitor.sign_in()
    await visitor.goto("/incidents")
    await visitor.page.locator(".pick input").focus()
    await live.open_incident(title="Another one")
    await expect(visitor.page.locator(".incidents li")).to_have_count(2)
    await expect(visitor.page.locator(".pick input[value='1']")).to_be_focused()
    await visitor.page.keyboard.press("Space")
    await expect(visitor.page.locator("#chosen")).to_have_text("the chosen one")


async def test_the_pages_read_without_a_script(live: Live, visit: Visit) -> None:
    await live.report(ERROR)
    visitor = await visit(java_script_enabled=False)
    await visitor.sign_in()
    await visitor.goto("/incidents?search=poolexhausted")
    await visitor.page.click("a:has-text('INC-1')")
    await expect(visitor.page.locator("text=shop/pay.py:42")).to_be_visible()
    await expect(visitor.page.locator(".louder .countdown")).to_contain_text("UTC")


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
