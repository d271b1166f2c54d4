"""Every page of the table in a browser: what axe-core finds, what Tab reaches, and what reads without a script."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from html import unescape

import pytest
from playwright.async_api import Browser

from tests.console.conftest import PHONE, Visitor, visiting
from tests.console.looking import OPEN_EVERYTHING, TEXTS, looked_at, unread, violations
from tests.console.stage import ELSEWHERE, EXAMPLES, Stage, bare
from tests.support.servers import Server
from tests.web.test_console import signed_in
from tocsin.web.console.table import PAGES

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stage")]

SIGNED_OUT = [path for path in EXAMPLES if path.startswith("/sign-in")]
LINK = re.compile(r'<a[^>]* href="(/[^"#]*)')
EMPTY = ["/", "/incidents", "/learning", "/oncall"]


@pytest.fixture(scope="module")
async def visitors(browser: Browser, stage: Stage) -> AsyncIterator[dict[str, Visitor]]:
    """A superadmin and a stranger at desks, and both on phones without JavaScript."""
    async with visiting(browser, stage.live) as visit:
        made = {
            "ada": await visit(),
            "stranger": await visit(),
            "ada without": await visit(PHONE, java_script_enabled=False),
            "stranger without": await visit(PHONE, java_script_enabled=False),
        }
        for name in ("ada", "ada without"):
            await made[name].sign_in()
        yield made


def test_every_page_of_the_table_has_an_example() -> None:
    paths = [page.path for page in PAGES if page.method == "GET"]
    assert sorted(paths) == sorted([*EXAMPLES, *ELSEWHERE])


@pytest.mark.parametrize("path", EXAMPLES)
async def test_axe_finds_nothing_tab_reaches_all_and_it_reads_without_a_script(
    stage: Stage, visitors: dict[str, Visitor], axe: str, path: str
) -> None:
    name = "stranger" if path in SIGNED_OUT else "ada"
    visitor, without = visitors[name], visitors[f"{name} without"]
    for example in stage.examples(path):
        await visitor.goto(example)
        await visitor.page.evaluate(OPEN_EVERYTHING)
        texts = await visitor.page.evaluate(TEXTS)
        assert len(texts) > 2
        await without.goto(example)
        found = await looked_at(visitor.page, axe) | await unread(without.page, texts)
        assert not found, json.dumps({example: found}, indent=1)


async def test_links_lead_on(stage: Stage) -> None:
    live, browser, found = stage.live, await signed_in(stage.live), set[str]()
    for path in EXAMPLES:
        for example in stage.examples(path):
            answer = await live.call("GET", example, headers=browser)
            found |= {unescape(link) for link in LINK.findall(answer.body.decode())}
    assert len(found) > 50
    # Files of the API have tests of their own, and the evidence of what is not signed yet is not given.
    for path in sorted(one for one in found if not one.startswith("/api/")):
        answer = await live.call("GET", path, headers=browser)
        assert answer.status < 400, path


async def test_pages_with_nothing_on_them(server: Server, browser: Browser, axe: str) -> None:
    async with bare(server) as stage, visiting(browser, stage.live) as visit:
        visitor = await visit()
        await visitor.sign_in()
        for path in EMPTY:
            await visitor.goto(path)
            assert not await violations(visitor.page, axe), path
