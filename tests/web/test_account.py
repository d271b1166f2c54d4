"""The account page: one's own password, and where one is signed in."""

from __future__ import annotations

import re
from uuid import UUID

import pytest

from tests.conftest import ADMIN_EMAIL
from tests.web.conftest import Answer, Live, email_of, password_of, rows
from tocsin.domain.access import Role
from tocsin.web.throttle import MAX_FAILURES

pytestmark = pytest.mark.anyio

NEW = "another long enough password"


async def signed_in(live: Live, role: Role = Role.SUPERADMIN, agent: str = "Firefox") -> dict[str, str]:
    """Sign in as a browser does; return the headers of its next requests."""
    said = {"email": email_of(role), "password": password_of(role), "next": "/"}
    answer = await live.call("POST", "/sign-in", data=said, headers={"User-Agent": agent})
    assert answer.status == 303
    return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}


async def send(live: Live, browser: dict[str, str], path: str, **said: str) -> Answer:
    """Send a form of the account page."""
    page = (await live.call("GET", "/account", headers=browser)).body.decode()
    csrf = re.findall(r'name="csrf" value="([0-9a-f]{96})"', page)[0]
    return await live.call("POST", path, data={"csrf": csrf, **said}, headers=browser)


async def is_signed_in(live: Live, browser: dict[str, str]) -> bool:
    """Tell whether a session is good for anything."""
    return (await live.call("GET", "/api/auth/session", headers=browser)).status == 200


@pytest.mark.parametrize("role", list(Role))
async def test_everybody_has_an_account_page(live: Live, tokens: dict[Role, str], role: Role) -> None:
    browser = await signed_in(live, role)
    page = await live.call("GET", "/account", headers=browser)
    assert page.status == 200
    assert email_of(role) in page.body.decode()
    assert ('data-live="/live"' in page.body.decode()) == (role is not Role.MEMBER)


async def test_the_page_is_for_sessions_alone(live: Live) -> None:
    assert (await live.call("GET", "/account")).headers["Location"] == "/sign-in?next=%2Faccount"
    assert (await live.get("/account")).status == 303


async def test_sessions_are_listed_with_whence_and_what_and_this_one_is_marked(live: Live) -> None:
    await signed_in(live, agent="<b>Opera</b>")
    browser = await signed_in(live, agent="Firefox on my desk")
    page = (await live.call("GET", "/account", headers=browser)).body.decode()
    assert page.count("<span>from 127.0.0.1<") == 2
    assert "&lt;b&gt;Opera" in page
    mine = page[: page.index("This one")].rpartition("<li>")[2]
    assert "Firefox on my desk" in mine


async def test_one_session_or_all_others_can_be_ended(live: Live) -> None:
    other, third, browser = [await signed_in(live) for _ in range(3)]
    page = (await live.call("GET", "/account", headers=third)).body.decode()
    ids = re.findall(r'action="/account/sessions/([^"/]+)/end"', page)
    assert len(ids) == 2
    ended = await send(live, third, f"/account/sessions/{ids[1]}/end")
    assert (ended.status, ended.headers["Location"]) == (303, "/account")
    assert [await is_signed_in(live, one) for one in (other, third, browser)].count(True) == 2
    assert (await send(live, third, f"/account/sessions/{ids[1]}/end")).status == 404
    await send(live, third, "/account/sessions/end-others")
    assert [await is_signed_in(live, one) for one in (other, third, browser)] == [False, True, False]


async def test_nobody_ends_the_session_of_somebody_else(live: Live, tokens: dict[Role, str]) -> None:
    victim, attacker = await signed_in(live), await signed_in(live, Role.RESPONDER)
    ((session_id,),) = await rows(
        live.app, b"SELECT s.id FROM sessions s JOIN users u ON u.id = user_id WHERE u.role = 'superadmin'"
    )
    assert isinstance(session_id, UUID)
    assert (await send(live, attacker, f"/account/sessions/{session_id}/end")).status == 404
    assert await is_signed_in(live, victim)


async def test_a_new_password_needs_the_old_one_and_ends_the_other_sessions(live: Live) -> None:
    other, browser = await signed_in(live), await signed_in(live)
    wrong = await send(live, browser, "/account/password", oldPassword="no idea", newPassword=NEW)
    assert wrong.status == 422
    assert "is not your password" in wrong.body.decode()
    assert NEW not in wrong.body.decode()
    old = password_of(Role.SUPERADMIN)
    short = await send(live, browser, "/account/password", oldPassword=old, newPassword="short")
    assert short.status == 422
    assert "must have 12 to 1000 characters" in short.body.decode()
    done = await send(live, browser, "/account/password", oldPassword=old, newPassword=NEW)
    assert (done.status, done.headers["Location"]) == (303, "/account")
    assert [await is_signed_in(live, one) for one in (other, browser)] == [False, True]
    for password, status in ((old, 401), (NEW, 200)):
        said = {"email": ADMIN_EMAIL, "password": password}
        assert (await live.call("POST", "/api/auth/sign-in", json=said)).status == status


async def test_a_session_left_open_is_not_enough_to_guess_the_password(live: Live) -> None:
    browser = await signed_in(live)
    for _ in range(MAX_FAILURES):
        assert (await send(live, browser, "/account/password", oldPassword="wrong", newPassword=NEW)).status == 422
    old = password_of(Role.SUPERADMIN)
    assert (await send(live, browser, "/account/password", oldPassword=old, newPassword=NEW)).status == 429
