"""Makes the pictures of the console for the documentation: `python3 dev.py screenshots`.

A Tocsin of its own in a temporary directory gets people, a schedule and errors over its API; Debian's Chromium
(`apt-get install chromium`) then looks at each page, light and dark.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
from playwright.async_api import Browser, async_playwright

from bench.support.installation import temporary_directory

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "screenshots"
TOCSIN = str(Path(sys.executable).with_name("tocsin"))
EMAIL, PASSWORD = "ada@shop.example", "correct horse battery staple"
TOKEN, KEY = "a-token-for-the-screenshots", "0123456789abcdef0123456789abcdef"
PAGES = {
    "home": "/",
    "incidents": "/incidents",
    "incident": "/incidents/2",
    "oncall": "/oncall",
    "learning": "/learning",
    "audit": "/audit",
    "admin": "/admin",
}
SIZES = {"": {"width": 1280, "height": 800}, "-phone": {"width": 390, "height": 844}}
ON_PHONES = {"home", "incident"}
START_SECONDS = 90.0
SETTLE_MILLISECONDS = 700


def _error(severity: str, kind: str, message: str, function: str, source: str) -> dict[str, Any]:
    frames = [
        {"function": "dispatch", "filename": "site-packages/starlette/routing.py", "line": 269, "inApp": False},
        {
            "function": "checkout",
            "filename": "shop/checkout.py",
            "line": 57,
            "sourceLine": "charge(order)",
            "inApp": True,
        },
        {"function": function, "filename": "shop/payments.py", "line": 112, "sourceLine": source, "inApp": True},
    ]
    exception = {"type": kind, "message": message, "frames": frames}
    facts = {"service": "payments", "environment": "production", "release": "shop@4.2.1", "tags": {"region": "eu"}}
    return {"severity": severity, "type": kind, "message": message, "exceptions": [exception], **facts}


ERRORS = [
    _error("HIGH", "CardDeclined", "issuer timed out after 30 s", "authorize", "reply = issuer.ask(card)"),
    _error(
        "CRITICAL", "PoolExhausted", "no connection within 30 s (10 in use)", "charge", "with pool.connection() as c:"
    ),
    _error("HIGH", "InvoiceNotFound", "no invoice for order 1017", "invoice_of", "return invoices[order.id]"),
    _error("HIGH", "QueueStuck", "no message taken for 5 minutes", "drain", "message = queue.get(timeout=300)"),
]


@contextmanager
def running(directory: Path) -> Iterator[str]:
    """Run a Tocsin until the block ends; give its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "TOCSIN_DATA_DIR": str(directory),
        "TOCSIN_PORT": str(port),
        "TOCSIN_BOOTSTRAP_EMAIL": EMAIL,
        "TOCSIN_BOOTSTRAP_PASSWORD": PASSWORD,
        "TOCSIN_BOOTSTRAP_TOKEN": TOKEN,
        "TOCSIN_BOOTSTRAP_KEY": KEY,
    }
    process = subprocess.Popen(  # noqa: S603  # our own program
        [TOCSIN, "up"], env=os.environ | settings, cwd=directory, stdout=subprocess.DEVNULL
    )
    try:
        _await(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def _await(port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < until, "Tocsin did not start in time"
            time.sleep(0.2)
        else:
            return


async def fill(url: str) -> None:
    """Give it people, a schedule, errors, and an incident that somebody has solved."""
    async with aiohttp.ClientSession() as http:

        async def post(path: str, body: object, token: str = TOKEN, method: str = "POST") -> Any:
            headers = {"Authorization": f"Bearer {token}"}
            async with http.request(method, url + path, json=body, headers=headers) as answer:
                assert answer.status < 300, (path, await answer.text())  # what HTTP calls success
                return await answer.json(content_type=None)

        schedule = (await post("/api/schedules", {"name": "Payments", "timeZone": "Europe/Berlin"}))["schedule"]
        layer = {"name": "Weeks", "rotation": "WEEKLY", "every": 1, "startsOn": "2026-01-05", "handOff": "09:00"}
        path = f"/api/schedules/{schedule['id']}"
        await post(path, {"layers": [layer | {"members": [EMAIL]}]}, method="PATCH")
        for times, error in zip((3, 41, 1, 7), ERRORS, strict=True):
            for _ in range(times):
                await post("/api/v1/errors", error, KEY)
        one = "/api/incidents/1"
        await post(f"{one}/acknowledge", {"notes": "Asking the issuer's status page."})
        cause = {
            "summary": "The issuer's new gateway answers after 35 s, and we wait for 30.",
            "category": "CONFIGURATION",
        }
        await post(
            f"{one}/root-cause", cause | {"remediationSteps": "Wait for 60 s, and say so to the customer after 5."}
        )
        await post(f"{one}/resolve", {"resolutionSummary": "60 s; no declined card for 20 minutes."})
        lessons = {"lessonsLearned": "Timeouts of others change without a word: alert on their p99."}
        await post(
            f"{one}/close", lessons | {"followUpActions": [{"title": "Alert on the issuer's p99", "owner": "ada"}]}
        )
        await post("/api/incidents/3/acknowledge", {"notes": "Looking at the import of last night."})


async def take(browser: Browser, url: str) -> None:
    """Take every picture."""
    FOLDER.mkdir(exist_ok=True)
    for suffix, size in SIZES.items():
        for scheme in ("light", "dark"):
            window = await browser.new_context(
                viewport={"width": size["width"], "height": size["height"]},
                color_scheme="light" if scheme == "light" else "dark",
            )
            page = await window.new_page()
            await page.goto(f"{url}/sign-in")
            await page.fill("#email", EMAIL)
            await page.fill("#password", PASSWORD)
            await page.press("#password", "Enter")
            await page.wait_for_url(f"{url}/")
            for name, path in PAGES.items():
                if not suffix or name in ON_PHONES:
                    await page.goto(url + path)
                    await page.wait_for_timeout(SETTLE_MILLISECONDS)
                    await page.screenshot(path=FOLDER / f"{name}{suffix}-{scheme}.png")
            await window.close()


async def main() -> None:
    """Make all of them."""
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("Chromium is missing: apt-get install chromium")
    with temporary_directory() as directory, running(directory) as url:
        await fill(url)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            await take(browser, url)
            await browser.close()


if __name__ == "__main__":
    anyio.run(main)
