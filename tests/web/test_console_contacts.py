"""One's own contact methods on a page: a code goes out over a real receiver, and is typed in."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ADMIN_EMAIL
from tests.support.cases import cases
from tests.web.conftest import Answer, Live, rows
from tests.web.test_console import HOSTILE, csrf_in, signed_in
from tests.web.test_contacts import hook, work_off
from tocsin.domain.access import Permission, Role
from tocsin.web.console.table import PAGES

pytestmark = pytest.mark.anyio

PAGE = "/account/contacts"
FORMS = [page.path for page in PAGES if page.path.startswith(PAGE) and page.method == "POST"]


async def page(live: Live, browser: dict[str, str]) -> str:
    return (await live.call("GET", PAGE, headers=browser)).body.decode()


async def send(live: Live, browser: dict[str, str], path: str, **said: str) -> Answer:
    csrf = csrf_in(await live.call("GET", PAGE, headers=browser))
    return await live.call("POST", path, data={"csrf": csrf, **said}, headers=browser)


async def _method_of(live: Live, email: str) -> str:
    query = b"SELECT c.id::text, u.email FROM contact_methods c JOIN users u ON u.id = c.user_id"
    return next(str(its_id) for its_id, whose in await rows(live.app, query) if whose == email)


def test_who_may_read_may_change_their_own() -> None:
    assert {one.access for one in PAGES if one.path.startswith(PAGE)} == {Permission.READ}
    assert len(FORMS) == 5


@cases("role", list(Role))
async def test_who_sees_the_page(live: Live, tokens: dict[Role, str], role: Role) -> None:
    browser = await signed_in(live, role)
    may = role is not Role.MEMBER
    assert (await live.call("GET", PAGE, headers=browser)).status == (200 if may else 403)
    account = (await live.call("GET", "/account", headers=browser)).body.decode()
    assert (f'href="{PAGE}"' in account) == may


async def test_one_adds_verifies_and_removes_it(live: Live, tokens: dict[Role, str]) -> None:
    browser = await signed_in(live, Role.RESPONDER)
    async with hook() as receiver:
        added = await send(live, browser, PAGE, channel="webhook", address=receiver.url)
        assert (added.status, added.headers["Location"]) == (303, PAGE)
        shown = await page(live, browser)
        assert "SECRET" not in shown
        its = re.findall(rf'action="({PAGE}/[^/]+)/enter"[^§]*?webhook', shown)[-1]
        await work_off(live.app)
        code = receiver.received[-1]["code"]
        wrong = await send(live, browser, f"{its}/enter", code=f"{(int(code) + 1) % 10**8:08}")
        assert (wrong.status, "is not the one that was sent last" in wrong.body.decode()) == (422, True)
        assert await rows(live.app, b"SELECT max(code_tries) FROM contact_methods") == [(1,)], "a wrong one counts"
        soon = await send(live, browser, f"{its}/code")
        assert soon.status == 429
        right = await send(live, browser, f"{its}/enter", code=f"{code[:4]} {code[4:]}")
        assert (right.status, right.headers.get("Location")) == (303, PAGE)
    shown = await page(live, browser)
    assert '<span class="delivered">verified</span>' in shown
    assert f"{its}/enter" not in shown
    assert (await send(live, browser, f"{its}/test")).status == 429
    assert (await send(live, browser, f"{its}/remove")).status == 303
    assert its not in await page(live, browser)


@cases(
    ("channel", "address", "status"),
    [
        ("email", HOSTILE, 422),
        ("sms", "112", 422),
        ("pigeon", "coop", 422),
        ("webhook", "", 422),
        ("email", "a\x00b@example.org", 422),
        ("webhook", "https://x/" + "y" * 2000, 422),
        ("email", ADMIN_EMAIL, 409),
    ],
)
async def test_what_is_refused_is_said_and_stays_filled_in(live: Live, channel: str, address: str, status: int) -> None:
    answer = await send(live, await signed_in(live), PAGE, channel=channel, address=address)
    body = answer.body.decode()
    assert (answer.status, "<script>alert" in body) == (status, False)
    assert 'role="alert"' in body or 'class="refused"' in body
    if channel == "sms":
        assert '<option value="sms" selected' in body.replace(" (not configured)", "")
        assert 'value="112"' in body


@pytest.mark.parametrize("code", ["", "1234567", "12345678", "abcdefgh", HOSTILE, "9" * 101, "1\x0012345678"])
async def test_what_is_no_good_code_verifies_nothing(live: Live, code: str) -> None:
    browser, its = await signed_in(live), f"{PAGE}/{await _method_of(live, ADMIN_EMAIL)}"
    answer = await send(live, browser, f"{its}/enter", code=code)
    assert (answer.status, "<script>alert" in answer.body.decode()) == (422, False)
    assert await rows(live.app, b"SELECT count(*) FROM contact_methods WHERE verified_at IS NOT NULL") == [(0,)]


@pytest.mark.parametrize("path", FORMS)
async def test_a_forged_form_and_somebody_elses_method_do_nothing(
    live: Live, tokens: dict[Role, str], path: str
) -> None:
    theirs = await _method_of(live, ADMIN_EMAIL)
    before = await rows(live.app, b"SELECT id, verified_at, code_sent_at FROM contact_methods ORDER BY id")
    path = path.format(method=theirs)
    browser = await signed_in(live, Role.RESPONDER)
    said = {"channel": "email", "address": "eve@example.org", "code": "12345678"}
    forged = await live.call("POST", path, data={"csrf": "0" * 64, **said}, headers=browser)
    assert forged.status in (403, 422)
    if path != PAGE:
        fields = {"code": "12345678"} if path.endswith("/enter") else {}
        assert (await send(live, browser, path, **fields)).status == 403
        for nobody, status in (("01a22323-8d2f-7a22-be18-49d3265fe472", 404), ("x", 404)):
            assert (await send(live, browser, path.replace(theirs, nobody), **fields)).status == status
    assert await rows(live.app, b"SELECT id, verified_at, code_sent_at FROM contact_methods ORDER BY id") == before
