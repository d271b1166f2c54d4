"""The second factor over HTTP: set it up, sign in with it, lose it; and what an attacker tries."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pyotp
import pytest

from tests.conftest import ADMIN_EMAIL, ADMIN_PASSWORD
from tests.support.clock import FakeClock
from tests.web.conftest import Answer, Live, email_of, finish, password_of, rows, start
from tests.web.test_account import is_signed_in, send, signed_in
from tocsin import ids
from tocsin.app import accounts, second_factor
from tocsin.app.work import App
from tocsin.domain.access import Actor, Role
from tocsin.domain.second_factor import MAX_FAILURES, SET_UP_WITHIN, SIGN_IN_WITHIN, WINDOW
from tocsin.errors import Code, TocsinError

pytestmark = pytest.mark.anyio

GOOD = {"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD}
PATHS = [f"/account/second-factor/{name}" for name in ("set-up", "confirm", "recovery-codes", "off")]


class Phone:
    """An authenticator app that knows the secret of one account."""

    def __init__(self, secret: str, clock: FakeClock) -> None:
        self._totp = pyotp.TOTP(secret)
        self._clock = clock

    def code(self, off: int = 0) -> str:
        """Return the code of now, or of a phone whose clock is wrong by steps."""
        return self._totp.at(self._clock.now, counter_offset=off)

    def next_code(self) -> str:
        """Wait for the next code, and return it."""
        self._clock.forward(seconds=30)
        return self.code()

    def wrong_code(self) -> str:
        """Return a code that is none of those that are good now."""
        good = {self.code(off) for off in (-1, 0, 1)}
        return next(code for code in ("000000", "111111", "222222", "333333") if code not in good)


async def begun(live: Live, browser: dict[str, str], clock: FakeClock, role: Role = Role.SUPERADMIN) -> Phone:
    """Begin to set a second factor up; return the phone that has scanned it."""
    answer = await send(live, browser, PATHS[0], oldPassword=password_of(role))
    assert answer.status == 200, answer.body
    page = answer.body.decode()
    assert '<svg width="' in page
    found = re.search(r'id="secret">([A-Z2-7 ]+)<', page)
    assert found is not None
    return Phone(found[1].replace(" ", ""), clock)


async def set_up(live: Live, browser: dict[str, str], clock: FakeClock) -> tuple[Phone, list[str]]:
    """Set a second factor up; return the phone and the recovery codes."""
    phone = await begun(live, browser, clock)
    answer = await send(live, browser, PATHS[1], code=phone.code())
    assert answer.status == 200, answer.body
    return phone, codes_in(answer)


def codes_in(answer: Answer) -> list[str]:
    """Return the recovery codes on a page."""
    return re.findall(r"<li><code>((?:[A-Z2-7]{4}-){3}[A-Z2-7]{4})</code>", answer.body.decode())


async def api(live: Live, **said: str) -> Answer:
    """Sign in over the API."""
    return await live.call("POST", "/api/auth/sign-in", json=GOOD | said)


async def password_step(live: Live, next_: str = "/") -> dict[str, str]:
    """Take the first step on pages; return what the browser has then."""
    answer = await live.call("POST", "/sign-in", data=GOOD | {"next": next_})
    assert (answer.status, answer.headers["Location"].partition("?")[0]) == (303, "/sign-in/code")
    cookie: str = answer.headers["Set-Cookie"]
    assert cookie.startswith("tocsin_sign_in=")
    assert "HttpOnly" in cookie
    return {"Cookie": cookie.partition(";")[0]}


async def code_step(live: Live, waiting: dict[str, str], code: str, **more: Any) -> Answer:
    """Take the second step."""
    return await live.call("POST", "/sign-in/code", data={"code": code, "next": "/incidents"}, headers=waiting, **more)


@pytest.fixture
async def browser(live: Live) -> dict[str, str]:
    """The superadmin's browser, signed in by the password alone."""
    return await signed_in(live)


async def test_from_the_set_up_to_a_sign_in_in_two_steps(live: Live, browser: dict[str, str], clock: FakeClock) -> None:
    phone, codes = await set_up(live, browser, clock)
    assert len(set(codes)) == 10
    waiting = await password_step(live, "/incidents")
    assert not await is_signed_in(live, waiting)
    page = await live.call("GET", "/sign-in/code?next=/incidents", headers=waiting)
    assert (page.status, 'value="/incidents"' in page.body.decode()) == (200, True)
    entered = await code_step(live, waiting, phone.next_code())
    assert (entered.status, entered.headers["Location"]) == (303, "/incidents")
    cookies = [cookie.partition(";")[0] for cookie in entered.headers.getall("Set-Cookie")]
    assert await is_signed_in(live, {"Cookie": next(one for one in cookies if one.startswith("tocsin_session="))})
    assert 'tocsin_sign_in=""' in cookies


async def test_it_counts_only_when_a_code_was_right(live: Live, browser: dict[str, str], clock: FakeClock) -> None:
    phone = await begun(live, browser, clock)
    assert (await api(live)).status == 200
    wrong = await send(live, browser, PATHS[1], code=phone.wrong_code())
    assert wrong.status == 422
    assert "is wrong, too old, or was used already" in wrong.body.decode()
    assert 'id="secret"' in wrong.body.decode()
    assert (await api(live)).status == 200
    clock.forward(seconds=SET_UP_WITHIN.total_seconds())
    assert (await send(live, browser, PATHS[1], code=phone.code())).status == 409


async def test_to_set_it_up_takes_the_password(live: Live, browser: dict[str, str]) -> None:
    answer = await send(live, browser, PATHS[0], oldPassword="no idea")
    assert answer.status == 422
    assert "is not your password" in answer.body.decode()
    assert 'id="secret"' not in answer.body.decode()


async def test_the_secret_is_shown_to_no_other_session(live: Live, browser: dict[str, str], clock: FakeClock) -> None:
    other = await signed_in(live)
    phone = await begun(live, browser, clock)
    answer = await send(live, other, PATHS[1], code=phone.code())
    assert answer.status == 409
    assert 'id="secret"' not in answer.body.decode()
    assert 'id="secret"' not in (await live.call("GET", "/account/second-factor", headers=browser)).body.decode()


async def test_sessions_from_before_end_but_for_the_one_that_set_it_up(
    live: Live, browser: dict[str, str], clock: FakeClock
) -> None:
    other = await signed_in(live)
    await set_up(live, browser, clock)
    assert [await is_signed_in(live, one) for one in (other, browser)] == [False, True]
    assert (await send(live, browser, PATHS[0], oldPassword=ADMIN_PASSWORD)).status == 409


async def test_a_program_is_told_that_a_code_is_needed(live: Live, browser: dict[str, str], clock: FakeClock) -> None:
    phone, _ = await set_up(live, browser, clock)
    for said in ({}, {"code": phone.wrong_code()}):
        refused = await api(live, **said)
        assert (refused.status, refused.code, refused.json["secondFactor"]) == (401, "UNAUTHORIZED", True)
        assert "Set-Cookie" not in refused.headers
    assert (await api(live, code=phone.next_code())).status == 200


async def test_a_wrong_password_tells_nothing_of_a_second_factor(
    live: Live, browser: dict[str, str], clock: FakeClock
) -> None:
    before = await api(live, password="wrong")
    phone, _ = await set_up(live, browser, clock)
    for said in ({}, {"code": phone.code()}, {"code": "000000"}):
        wrong = await api(live, password="wrong", **said)
        unknown = await api(live, email="nobody@example.org", **said)
        assert wrong.json | {"requestId": ""} == unknown.json | {"requestId": ""} == before.json | {"requestId": ""}
    page = await live.call("POST", "/sign-in", data=GOOD | {"password": "wrong"})
    assert (page.status, page.headers.get("Set-Cookie")) == (401, None)


@pytest.mark.parametrize(("off", "status"), [(-2, 401), (-1, 200), (1, 200), (2, 401)])
async def test_a_phone_may_be_wrong_by_one_step(
    live: Live, browser: dict[str, str], clock: FakeClock, off: int, status: int
) -> None:
    phone, _ = await set_up(live, browser, clock)
    clock.forward(minutes=5)
    assert (await api(live, code=phone.code(off))).status == status


async def test_a_code_is_good_once(live: Live, browser: dict[str, str], clock: FakeClock) -> None:
    phone, _ = await set_up(live, browser, clock)
    assert (await api(live, code=phone.code())).status == 401, "it confirmed the set-up"
    code = phone.next_code()
    assert (await api(live, code=code)).status == 200
    assert (await api(live, code=code)).status == 401
    assert (await api(live, code=phone.code(-1))).status == 401, "of an earlier step"
    waiting = await password_step(live)
    assert (await code_step(live, waiting, code)).status == 401


async def test_of_two_with_the_same_code_at_the_same_instant_one_signs_in(
    live: Live, browser: dict[str, str], clock: FakeClock
) -> None:
    phone, _ = await set_up(live, browser, clock)
    code, waiting = phone.next_code(), [await password_step(live) for _ in range(4)]
    answers = await asyncio.gather(*(code_step(live, one, code) for one in waiting))
    assert sorted(answer.status for answer in answers) == [303, 401, 401, 401]


async def test_a_waiting_sign_in_opens_one_session_and_not_for_long(
    live: Live, browser: dict[str, str], clock: FakeClock
) -> None:
    phone, codes = await set_up(live, browser, clock)
    waiting = await password_step(live)
    assert (await code_step(live, waiting, phone.next_code())).status == 303
    assert (await code_step(live, waiting, codes[0])).status == 401
    late = await password_step(live)
    clock.forward(seconds=SIGN_IN_WITHIN.total_seconds())
    over = await code_step(live, late, phone.code())
    assert (over.status, "This sign-in is over" in over.body.decode()) == (401, True)
    shown = await live.call("GET", "/sign-in/code", headers=late)
    assert (shown.status, shown.headers["Location"]) == (303, "/sign-in")
    for nothing in ({}, {"Cookie": "tocsin_sign_in=" + "x" * 43}, browser):
        assert (await live.call("POST", "/sign-in/code", data={"code": codes[0]}, headers=nothing)).status in (401, 403)


async def test_a_password_that_changes_meanwhile_ends_a_waiting_sign_in(
    live: Live, browser: dict[str, str], clock: FakeClock, app: App, admin: Actor
) -> None:
    phone, _ = await set_up(live, browser, clock)
    waiting = await password_step(live)
    async with app.work() as work:
        await accounts.set_password(work, admin, ADMIN_EMAIL, "another long enough password")
    assert (await code_step(live, waiting, phone.next_code())).status == 401


async def test_a_recovery_code_is_good_once_in_any_form(live: Live, browser: dict[str, str], clock: FakeClock) -> None:
    _, codes = await set_up(live, browser, clock)
    assert (await api(live, code=codes[0].lower().replace("-", " "))).status == 200
    assert (await api(live, code=codes[0])).status == 401
    assert (await code_step(live, await password_step(live), codes[1])).status == 303
    assert "8 recovery codes are left" in (await live.call("GET", "/account", headers=browser)).body.decode()


async def test_new_recovery_codes_take_the_place_of_the_old_ones(
    live: Live, browser: dict[str, str], clock: FakeClock
) -> None:
    phone, old = await set_up(live, browser, clock)
    refused = await send(live, browser, PATHS[2], code=phone.wrong_code())
    assert (refused.status, codes_in(refused)) == (422, [])
    new = codes_in(await send(live, browser, PATHS[2], code=phone.next_code()))
    assert len(new) == 10
    assert not set(new) & set(old)
    assert (await api(live, code=old[0])).status == 401
    assert (await api(live, code=new[0])).status == 200


async def test_the_form_that_takes_it_off_is_on_its_page_once_it_is_on(
    live: Live, browser: dict[str, str], clock: FakeClock
) -> None:
    form = f'action="{PATHS[3]}"'
    assert form not in (await live.call("GET", "/account/second-factor", headers=browser)).body.decode()
    await set_up(live, browser, clock)
    account = (await live.call("GET", "/account", headers=browser)).body.decode()
    assert 'href="/account/second-factor">New recovery codes, or take it off' in account
    assert form in (await live.call("GET", "/account/second-factor", headers=browser)).body.decode()


async def test_one_takes_ones_own_off_with_a_code(live: Live, browser: dict[str, str], clock: FakeClock) -> None:
    phone, _ = await set_up(live, browser, clock)
    assert (await send(live, browser, PATHS[3], code=phone.wrong_code())).status == 422
    assert (await send(live, browser, PATHS[3], code=phone.next_code())).headers["Location"] == "/account"
    assert (await api(live)).status == 200
    assert await rows(live.app, b"SELECT FROM recovery_codes") == []
    assert (await send(live, browser, PATHS[3], code=phone.next_code())).status == 409


async def test_who_guesses_codes_is_held_off_wherever_they_come_from(
    live: Live, browser: dict[str, str], clock: FakeClock
) -> None:
    phone, codes = await set_up(live, browser, clock)
    clock.forward(seconds=30)
    for attempt in range(MAX_FAILURES):
        waiting = await password_step(live)
        answer = await (
            code_step(live, waiting, phone.wrong_code()) if attempt % 2 else api(live, code="AAAABBBBCCCCDDDD")
        )
        assert answer.status == 401
    # What a server remembers is not what counts: another one holds them off as well.
    elsewhere = await start(live.app)
    try:
        other = replace(live, url=elsewhere.url)
        held = await api(other, code=phone.code())
        assert (held.status, held.code) == (429, "RATE_LIMITED")
        assert 0 < int(held.headers["Retry-After"]) <= WINDOW.total_seconds() + 1
        assert (await code_step(other, await password_step(other), codes[0])).status == 429
    finally:
        await finish(elsewhere)
    clock.forward(seconds=WINDOW.total_seconds())
    assert (await api(live, code=phone.code())).status == 200


@pytest.mark.parametrize("path", PATHS)
async def test_forms_of_the_second_factor_cannot_be_forged(
    live: Live, browser: dict[str, str], clock: FakeClock, path: str
) -> None:
    phone, _ = await set_up(live, browser, clock)
    said = {"oldPassword": ADMIN_PASSWORD} if path.endswith("set-up") else {"code": phone.next_code()}
    answer = await live.call("POST", path, data={"csrf": "0" * 64, **said}, headers=browser)
    assert (answer.status, codes_in(answer)) == (403, [])
    assert (await live.call("POST", path, data=said)).status == 401, "nobody"


async def test_another_site_cannot_send_the_code(live: Live, browser: dict[str, str], clock: FakeClock) -> None:
    phone, _ = await set_up(live, browser, clock)
    waiting = await password_step(live)
    answer = await code_step(live, waiting | {"Origin": "https://evil.example"}, phone.next_code())
    assert answer.status == 403


async def test_the_database_alone_gives_no_code_away(
    live: Live, browser: dict[str, str], clock: FakeClock, app: App, admin: Actor
) -> None:
    phone, codes = await set_up(live, browser, clock)
    secret = phone._totp.secret
    everything = str(
        await rows(app, b"SELECT f::text FROM second_factors f UNION ALL SELECT c::text FROM recovery_codes c")
    )
    waiting = await password_step(live)
    everything += str(await rows(app, b"SELECT p::text FROM pending_sign_ins p"))
    for text in (secret, *codes, *(code.replace("-", "") for code in codes), waiting["Cookie"].partition("=")[2]):
        assert text not in everything
        assert text.encode().hex() not in everything
    sealed, vault = await _sealed(app), second_factor.Vault(b"a secret key for the tests, long enough")
    for whose, opener in ((admin.user_id, second_factor.Vault(b"another key")), (ids.new_id(), vault)):
        with pytest.raises(TocsinError) as caught:
            opener.open(whose, sealed)
        assert caught.value.refusal.code is Code.MISCONFIGURED
    assert vault.open(admin.user_id, sealed) == secret


async def _sealed(app: App) -> bytes:
    ((sealed,),) = await rows(app, b"SELECT sealed_secret FROM second_factors")
    assert isinstance(sealed, bytes)
    return sealed


async def test_who_signs_in_is_recorded_at_both_steps(live: Live, browser: dict[str, str], clock: FakeClock) -> None:
    phone, _ = await set_up(live, browser, clock)
    waiting = await password_step(live)
    await code_step(live, waiting, phone.wrong_code())
    await code_step(live, waiting, phone.next_code())
    recorded = await rows(
        live.app,
        b"SELECT outcome FROM audit_access_log WHERE action = 'POST /sign-in/code' AND user_id IS NOT NULL ORDER BY id",
    )
    assert recorded == [("UNAUTHORIZED",), ("OK",)]


@pytest.fixture
async def strict(app: App) -> AsyncIterator[Live]:
    """A server that wants a second factor of responders."""
    running = await start(replace(app, settings=app.settings.model_copy(update={"require_totp": (Role.RESPONDER,)})))
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            yield Live(running.url, http, app)
    finally:
        await finish(running)


async def test_who_must_have_one_is_led_to_it_first(strict: Live, tokens: dict[Role, str], clock: FakeClock) -> None:
    browser = await signed_in(strict, Role.RESPONDER)
    for path in ("/", "/incidents"):
        answer = await strict.call("GET", path, headers=browser)
        assert (answer.status, answer.headers["Location"]) == (303, "/account/second-factor")
    refused = await strict.call("GET", "/api/incidents", headers=browser)
    assert (refused.status, refused.code) == (403, "FORBIDDEN")
    assert (await strict.call("POST", "/incidents/1/notes", data={}, headers=browser)).status == 403
    page = await strict.call("GET", "/account/second-factor", headers=browser)
    assert "Your role needs one here" in page.body.decode()
    assert "data-live=" not in page.body.decode()
    phone = await begun(strict, browser, clock, Role.RESPONDER)
    assert (await send(strict, browser, PATHS[1], code=phone.code())).status == 200
    assert (await strict.call("GET", "/incidents", headers=browser)).status == 200
    assert (await send(strict, browser, PATHS[3], code=phone.next_code())).status == 409, "the role needs it"


async def test_others_and_programs_are_not_asked(strict: Live, tokens: dict[Role, str]) -> None:
    assert (await strict.call("GET", "/incidents", headers=await signed_in(strict, Role.AUDITOR))).status == 200
    assert (await strict.get("/api/incidents", token=tokens[Role.RESPONDER])).status == 200


async def test_a_superadmin_takes_off_what_is_lost(
    live: Live, browser: dict[str, str], clock: FakeClock, app: App, admin: Actor
) -> None:
    await set_up(live, browser, clock)
    waiting = await password_step(live)
    async with app.work() as work:
        standing = await second_factor.of_user(work, admin, ADMIN_EMAIL)
        assert standing is not None
        assert standing.recovery_codes == 10
        await second_factor.take_off(work, admin, ADMIN_EMAIL)
    assert (await api(live)).status == 200
    assert (await code_step(live, waiting, "")).status == 303, (
        "the password was right, and nothing else is asked for now"
    )


async def test_erasing_somebody_takes_their_secrets_along(
    live: Live, tokens: dict[Role, str], clock: FakeClock, app: App
) -> None:
    browser = await signed_in(live, Role.RESPONDER)
    phone = await begun(live, browser, clock, Role.RESPONDER)
    await send(live, browser, PATHS[1], code=phone.code())
    said = {"email": email_of(Role.RESPONDER), "password": password_of(Role.RESPONDER), "next": "/"}
    assert (await live.call("POST", "/sign-in", data=said)).status == 303
    left = b"SELECT FROM second_factors UNION ALL SELECT FROM recovery_codes UNION ALL SELECT FROM pending_sign_ins"
    assert len(await rows(app, left)) == 12
    erased = await live.post("/api/admin/erasures", {"user": email_of(Role.RESPONDER), "reason": "They left"})
    assert erased.status < 300, erased.body
    assert await rows(app, left) == []
