"""A real browser on a real server: Debian's Chromium, driven by Playwright; what it complains of fails the test."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.clients.conftest import node_modules
from tests.console.stage import Stage, staged
from tests.support.servers import Server
from tests.web.conftest import Live, email_of, live, password_of, peopled, template, tokens
from tocsin.domain.access import Role

__all__ = ["live", "node_modules", "peopled", "template", "tokens"]

DESK = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
PATIENCE_MILLISECONDS = 10_000


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One browser for all tests; each has windows of its own."""
    program = shutil.which("chromium")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Chromium is missing: requirements/debian.txt names it.")
        pytest.skip("Chromium is not installed")
    async with async_playwright() as playwright:
        # No sandbox: it needs rights that containers do not give, and the pages are our own.
        running = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        await running.close()


@dataclass(slots=True)
class Visitor:
    """Somebody at a browser. `complaints` is what it said of the pages: errors, and what their policy forbade."""

    live: Live
    window: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)

    async def goto(self, path: str) -> None:
        """Open a page of ours."""
        await self.page.goto(self.live.url + path)

    def complaints_of_policy(self) -> list[str]:
        """Return what the pages' policy forbade, as the browser says it."""
        return [text for text in self.complaints if "Content Security Policy" in text]

    async def sign_in(self, role: Role = Role.SUPERADMIN) -> None:
        """Sign in by hand."""
        await self.goto("/sign-in")
        await self.page.fill("#email", email_of(role))
        await self.page.fill("#password", password_of(role))
        await self.page.press("#password", "Enter")
        await self.page.wait_for_url(self.live.url + "/")


Visit = Callable[..., Any]


@pytest.fixture
async def visit(browser: Browser, live: Live) -> AsyncIterator[Visit]:
    """Make visitors: `await visit(PHONE, …)`; at the end no browser may have complained."""
    async with visiting(browser, live) as visit:
        yield visit


@asynccontextmanager
async def visiting(browser: Browser, live: Live) -> AsyncIterator[Visit]:
    """Make visitors of a server; at the end no browser may have complained."""
    visitors: list[Visitor] = []

    async def arrive(size: dict[str, int] = DESK, **options: Any) -> Visitor:
        window = await browser.new_context(viewport={"width": size["width"], "height": size["height"]}, **options)
        window.set_default_timeout(PATIENCE_MILLISECONDS)
        visitor = Visitor(live, window, await window.new_page())
        visitor.page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        visitor.page.on("console", lambda said: visitor.complaints.append(said.text) if said.type == "error" else None)
        visitors.append(visitor)
        return visitor

    yield arrive
    for visitor in visitors:
        await visitor.window.close()
    # A refused form is answered with its status, and Chromium says so in its console: that is no complaint.
    complaints = [text for one in visitors for text in one.complaints if "Failed to load resource" not in text]
    assert not complaints


@pytest.fixture(scope="session")
async def stage(server: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One server with something on every page, for the tests that look at all of them."""
    async with staged(server, tmp_path_factory.mktemp("stage")) as stage:
        yield stage


@pytest.fixture(scope="session")
def axe(node_modules: Path) -> str:
    """The source of axe-core."""
    return (node_modules / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
