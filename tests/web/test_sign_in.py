"""Signing in: the cookie, the refusals that tell nothing, and the throttle."""

from __future__ import annotations

import aiohttp
import pytest

from tests.conftest import ADMIN_EMAIL, ADMIN_PASSWORD, ADMIN_TOKEN
from tests.support.clock import FakeClock
from tests.web.conftest import Live, finish, sign_in, start
from tocsin.app.work import App
from tocsin.clock import system_clock
from tocsin.domain.access import Role
from tocsin.errors import Code, TocsinError
from tocsin.web.throttle import MAX_FAILURES, MAX_FAILURES_OF_ADDRESS, MAX_KEYS, SignInThrottle

pytestmark = pytest.mark.anyio

GOOD = {"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD}
BAD = {"email": ADMIN_EMAIL, "password": "wrong"}


async def test_a_sign_in_gives_a_cookie_that_scripts_cannot_read(live: Live) -> None:
    answer = await live.call("POST", "/api/auth/sign-in", json=GOOD)
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("tocsin_session=")
    assert {part.strip() for part in cookie.split(";")[1:]} == {"HttpOnly", "Max-Age=43200", "Path=/", "SameSite=lax"}
    assert answer.json["user"]["role"] == "superadmin"
    assert answer.json["csrfToken"]
    session = {"Cookie": cookie.partition(";")[0]}
    who = (await live.call("GET", "/api/auth/session", headers=session)).json
    assert who == {"user": answer.json["user"], "credential": "session"}
    assert (await live.get("/api/auth/session")).json["credential"] == "token"


async def test_with_https_the_cookie_is_secure_and_tied_to_the_host(app: App) -> None:
    settings = app.settings.model_copy(update={"public_url": "https://tocsin.example.org", "secure_cookies": None})
    running = await start(App(app.database, settings, app.clock))
    try:
        async with aiohttp.ClientSession() as http, http.post(f"{running.url}/api/auth/sign-in", json=GOOD) as answer:
            cookie = answer.headers["Set-Cookie"]
    finally:
        await finish(running)
    assert cookie.startswith("__Host-tocsin_session=")
    assert "Secure" in cookie
    assert "Domain" not in cookie


async def test_a_session_ends_with_its_sign_out_and_with_its_time(live: Live, clock: FakeClock) -> None:
    session = await sign_in(live, Role.SUPERADMIN)
    other = await sign_in(live, Role.SUPERADMIN)
    out = await live.call("POST", "/api/auth/sign-out", headers=session.headers)
    assert (out.status, out.body) == (204, b"")
    assert 'tocsin_session=""' in out.headers["Set-Cookie"]
    assert (await live.call("GET", "/api/auth/session", headers=session.headers)).status == 401
    assert (await live.call("GET", "/api/auth/session", headers=other.headers)).status == 200
    clock.forward(hours=12)
    assert (await live.call("GET", "/api/auth/session", headers=other.headers)).status == 401


async def test_a_token_is_no_session_to_sign_out_of(live: Live) -> None:
    assert (await live.post("/api/auth/sign-out", token=ADMIN_TOKEN)).code == "CONFLICT"


async def test_a_wrong_password_and_an_unknown_user_are_answered_alike(live: Live) -> None:
    wrong = await live.call("POST", "/api/auth/sign-in", json=BAD)
    unknown = await live.call("POST", "/api/auth/sign-in", json=GOOD | {"email": "nobody@example.org"})
    assert wrong.status == unknown.status == 401
    assert wrong.json | {"requestId": ""} == unknown.json | {"requestId": ""}


async def test_who_guesses_is_held_off_and_told_for_how_long(live: Live, clock: FakeClock) -> None:
    for _ in range(MAX_FAILURES):
        assert (await live.call("POST", "/api/auth/sign-in", json=BAD)).status == 401
    held = await live.call("POST", "/api/auth/sign-in", json=GOOD)
    assert (held.status, held.code) == (429, "RATE_LIMITED")
    assert 0 < int(held.headers["Retry-After"]) <= 901
    clock.forward(seconds=int(held.headers["Retry-After"]))
    assert (await live.call("POST", "/api/auth/sign-in", json=GOOD)).status == 200


async def test_a_form_of_another_site_cannot_sign_anybody_in(live: Live) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = await live.call(
            "POST", "/api/auth/sign-in", data=b'{"email":"a@b","password":"c"}', headers={"Content-Type": content_type}
        )
        assert answer.code == "UNSUPPORTED_MEDIA_TYPE"


def test_successes_do_not_count_and_addresses_of_one_customer_count_together() -> None:
    throttle, now = SignInThrottle(), system_clock()
    for _ in range(MAX_FAILURES + 1):
        throttle.begin("192.0.2.1", "a@b", now)
        throttle.take_back("192.0.2.1", "a@b", now)
    for attempt in range(MAX_FAILURES_OF_ADDRESS):
        throttle.begin(f"2001:db8::{attempt:x}", f"user{attempt}@b", now)
    with pytest.raises(TocsinError) as refused:
        throttle.begin("2001:db8::ffff", "another@b", now)
    assert refused.value.refusal.code is Code.RATE_LIMITED
    throttle.begin("2001:db8:0:1::1", "another@b", now)


def test_the_memory_of_the_throttle_is_bounded() -> None:
    throttle, now = SignInThrottle(), system_clock()
    for number in range(MAX_KEYS):
        throttle.begin(f"192.0.2.{number}", "a@b", now)
    assert len(throttle._attempts) == MAX_KEYS
