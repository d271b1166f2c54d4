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

import anyio
from playwright.async_api import Browser, async_playwright

from bench.support import processes
from bench.support.installation import temporary_directory
from bench.support.mail_sink import mail_settings, mail_sink, subjects_kept
from tools.stage import fill, speaking

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


@contextmanager
def running(directory: Path, mail_port: int) -> Iterator[str]:
    """Run a Tocsin until the block ends, whose mails go to a port of this machine; give its URL."""
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
        **{f"TOCSIN_{name.upper()}": str(value) for name, value in mail_settings(mail_port).items()},
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
    with (
        temporary_directory() as directory,
        processes.running(mail_sink) as (mail_port, mails),
        subjects_kept(mails),
        running(directory, mail_port) as url,
    ):
        async with speaking(url, TOKEN) as post:
            await fill(post, EMAIL, KEY)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            await take(browser, url)
            await browser.close()


if __name__ == "__main__":
    anyio.run(main)
