"""The console without a browser: who gets in, a life on its pages, and that nothing is executed."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import quote

import pytest

from tests.conftest import ADMIN_EMAIL, ADMIN_PASSWORD, INTAKE_KEY
from tests.web.conftest import Answer, Live, email_of, password_of, rows
from tocsin.domain.access import Role
from tocsin.web.console.forms import decode_form
from tocsin.web.console.incidents import CloseForm, follow_ups_of

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"


async def signed_in(live: Live, role: Role = Role.SUPERADMIN) -> dict[str, str]:
    """Sign in as a browser does; return the headers of its next requests."""
    said = {"email": email_of(role), "password": password_of(role), "next": "/"}
    answer = await live.call("POST", "/sign-in", data=said)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}


async def report(live: Live, message: str = "it broke") -> int:
    """Report an error; return the number of its incident."""
    said = {"severity": "CRITICAL", "type": "Broken", "message": message, "tags": {"place": message}}
    answer = await live.call("POST", "/api/v1/errors", json=said, headers={"Authorization": f"Bearer {INTAKE_KEY}"})
    assert answer.status < 300, answer.body
    listed = await live.get("/api/incidents")
    number: int = listed.json["incidents"][0]["number"]
    return number


def csrf_in(answer: Answer) -> str:
    """Return the token that the forms of a page carry."""
    found = re.search(r'name="csrf" value="([0-9a-f]{96})"', answer.body.decode())
    assert found is not None
    return found[1]


@pytest.mark.parametrize("path", ["/", "/incidents", "/incidents/1"])
async def test_who_is_not_known_is_led_to_the_sign_in_and_back(live: Live, path: str) -> None:
    answer = await live.call("GET", path)
    assert answer.status == 303
    assert answer.headers["Location"] == f"/sign-in?next={quote(path, safe='')}"


async def test_the_first_page_counts_every_report_at_once(live: Live) -> None:
    browser = await signed_in(live)
    for _ in range(3):
        await report(live)
    assert b"3 times" in (await live.call("GET", "/", headers=browser)).body, "nobody has folded the counters yet"


@pytest.mark.slow
async def test_who_listens_is_told_at_once_when_the_page_is_older_than_what_was_recorded(live: Live) -> None:
    browser = await signed_in(live)
    (made,) = set(re.findall(r'data-pulse="([^"]+)"', (await live.call("GET", "/", headers=browser)).body.decode()))

    async def first_news(known: str) -> bytes:
        async with live.http.get(live.url + "/live", params={"pulse": known}, headers=browser) as stream:
            await stream.content.readuntil(b"\n\n")
            async with asyncio.timeout(2):
                return await stream.content.readuntil(b"\n\n")

    with pytest.raises(TimeoutError):
        await first_news(made)
    await live.open_incident()
    for known in (made, "no pulse at all", "\N{FACE WITH TEARS OF JOY}"):
        assert (await first_news(known)).startswith(b"event: changed\n")
    too_long = await live.call("GET", "/live", params={"pulse": "1" * 65}, headers=browser)
    assert too_long.status == 422


def test_what_is_left_empty_keeps_its_place_among_the_rows_of_a_form() -> None:
    body = b"action=alert&owner=&due=&action=drill&owner=ana&due=2026-12-24"
    first, second = follow_ups_of(decode_form(body, "application/x-www-form-urlencoded", CloseForm))
    assert (first.title, first.owner) == ("alert", None)
    assert (second.title, second.owner) == ("drill", "ana")


@pytest.mark.parametrize("elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:1"])
async def test_the_sign_in_leads_nowhere_else(live: Live, elsewhere: str) -> None:
    said = {"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD, "next": elsewhere}
    answer = await live.call("POST", "/sign-in", data=said)
    assert (answer.status, answer.headers["Location"]) == (303, "/")


async def test_a_wrong_password_is_said_on_the_page(live: Live) -> None:
    answer = await live.call("POST", "/sign-in", data={"email": ADMIN_EMAIL, "password": "wrong", "next": "/"})
    assert answer.status == 401
    assert "E-mail or password is wrong" in answer.body.decode()
    assert "wrong" not in re.findall(r'value="([^"]*)"', answer.body.decode())


async def test_a_whole_life_on_pages(live: Live) -> None:
    number, browser = await report(live), await signed_in(live)
    page = await live.call("GET", f"/incidents/{number}", headers=browser)
    csrf = csrf_in(page)
    for action, said in {
        "acknowledge": {"notes": "on it"},
        "root-cause": {"summary": "a pool", "category": "CONFIGURATION", "remediationSteps": "a larger pool"},
        "resolve": {"resolutionSummary": "larger"},
        "close": {"lessonsLearned": "measure pools", "action": "alert on pools", "owner": "", "due": "2026-12-24"},
    }.items():
        answer = await live.call("POST", f"/incidents/{number}/{action}", data={"csrf": csrf, **said}, headers=browser)
        assert (answer.status, answer.headers.get("Location")) == (303, f"/incidents/{number}"), answer.body.decode()
    page = await live.call("GET", f"/incidents/{number}", headers=browser)
    assert "measure pools" in page.body.decode()
    assert "alert on pools" in page.body.decode()


async def test_a_refused_form_keeps_what_was_written(live: Live) -> None:
    number, browser = await report(live), await signed_in(live)
    csrf = csrf_in(await live.call("GET", f"/incidents/{number}", headers=browser))
    said = {"csrf": csrf, "resolutionSummary": "a long text that took a while"}
    answer = await live.call("POST", f"/incidents/{number}/resolve", data=said, headers=browser)
    assert answer.status == 409
    assert "nobody has acknowledged it" in answer.body.decode()


async def test_an_auditor_finds_no_form(live: Live, tokens: dict[Role, str]) -> None:
    number = await report(live)
    page = await live.call("GET", f"/incidents/{number}", headers=await signed_in(live, Role.AUDITOR))
    assert "/acknowledge" not in page.body.decode()


async def test_what_clients_send_is_shown_and_never_run(live: Live) -> None:
    number, browser = await report(live, HOSTILE), await signed_in(live)
    for path in ("/", "/incidents", f"/incidents/{number}"):
        page = await live.call("GET", path, headers=browser)
        body = page.body.decode()
        assert "&lt;script&gt;alert(1)" in body
        assert "<script>alert" not in body
        assert "<img src=x" not in body
        assert "49" not in re.sub(r"\d{3,}", "", body).split("onerror")[1][:40]
        policy = page.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy


@pytest.mark.parametrize("path", ["/incidents/999", "/incidents/abc", "/incidents?status=NO", "/incidents?before=-1"])
async def test_what_cannot_be_shown_is_said_on_a_page(live: Live, path: str) -> None:
    answer = await live.call("GET", path, headers=await signed_in(live))
    assert answer.status in (404, 422)
    assert answer.headers["Content-Type"].startswith("text/html")


async def test_every_access_is_recorded(live: Live) -> None:
    number, browser = await report(live), await signed_in(live)
    await live.call("GET", f"/incidents/{number}", headers=browser)
    recorded = await rows(live.app, b"SELECT action, left(credential, 8) FROM audit_access_log")
    assert ("GET /incidents/{id}", "session:") in recorded


async def test_assets_are_kept_for_ever_and_small(live: Live) -> None:
    page = (await live.call("GET", "/sign-in")).body.decode()
    sizes = 0
    for path in re.findall(r'(?:href|src)="(/assets/[^"]+)"', page):
        answer = await live.call("GET", path, headers={"Accept-Encoding": "br"})
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]
        sizes += int(answer.headers["Content-Length"])
    assert 0 < sizes < 60_000


async def test_no_text_turns_the_words_around_it(live: Live) -> None:
    number, browser = await report(live, "paid by \u202egnp.exe\u2066 and \u05d0\u200f"), await signed_in(live)
    for path in ("/", "/incidents", f"/incidents/{number}"):
        body = (await live.call("GET", path, headers=browser)).body.decode()
        assert "paid by \ufffdgnp.exe\ufffd and \u05d0\u200f" in body
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", body)


PAGE = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.mark.parametrize("path", ["/incident", "/incidents/1/2/3/4", "/%ff", "/%3Cscript%3E", "/" + "a" * 5_000])
async def test_an_address_at_which_there_is_nothing_shows_a_browser_a_page_that_leads_on(live: Live, path: str) -> None:
    stranger = await live.call("GET", path, headers=PAGE)
    assert (stranger.status, stranger.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert b'<a href="/sign-in">Sign in</a>' in stranger.body
    assert b"<script>" not in stranger.body
    known = await live.call("GET", path, headers=PAGE | await signed_in(live))
    assert known.status == 404
    assert b'<a href="/">Home</a>' in known.body
    head = await live.call("HEAD", path, headers=PAGE)
    assert (head.status, head.body) == (404, b"")


@pytest.mark.parametrize(
    ("method", "path", "accept"),
    [
        ("GET", "/nothing", "*/*"),
        ("POST", "/nothing", PAGE["Accept"]),
        ("GET", "/api/nothing", PAGE["Accept"]),
        ("GET", "/v1/nothing", PAGE["Accept"]),
        ("GET", "/v2/nothing", PAGE["Accept"]),
    ],
)
async def test_a_program_is_told_of_a_wrong_address_in_json(live: Live, method: str, path: str, accept: str) -> None:
    answer = await live.call(method, path, headers={"Accept": accept})
    assert (answer.status, answer.code) == (404, "NOT_FOUND")
