"""Signing in by an OpenID provider: a real one in a process of its own, and tokens that must not hold."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from pydantic import SecretStr

from tests.conftest import ADMIN_EMAIL
from tests.web.conftest import Answer, Live, finish, rows, start
from tests.web.test_account import is_signed_in
from tocsin.address_guard import AddressGuard
from tocsin.app.work import App
from tocsin.clock import system_clock
from tocsin.domain.access import Role
from tocsin.outside import OutsideError
from tocsin.outside.oidc import Attempt, Provider, _Keys

pytestmark = pytest.mark.anyio

LOOPBACK = (ip_network("127.0.0.0/8"),)
PEOPLE = [
    {"sub": "1", "email": ADMIN_EMAIL, "email_verified": True, "name": "Ada"},
    {"sub": "2", "email": ADMIN_EMAIL, "email_verified": True, "name": "Another Ada"},
    {"sub": "3", "email": ADMIN_EMAIL, "email_verified": False, "name": "Not Ada"},
    {"sub": "4", "email": "new@example.org", "email_verified": True, "name": "Nia <b>New</b>"},
]


@pytest.fixture(scope="module")
async def issuer() -> AsyncIterator[str]:
    """A running provider."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("oidc-provider-mock")
    people = [part for one in PEOPLE for part in ("--user-claims", json.dumps(one))]
    nothing = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        program, "-p", str(port), "-n", "true", *people, stdout=nothing, stderr=nothing
    )
    url = f"http://127.0.0.1:{port}"
    async with asyncio.timeout(20), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"{url}/jwks"):
                    break
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
    yield url
    process.terminate()
    await process.wait()


@dataclass(frozen=True, slots=True)
class Site:
    """Our server, where people sign in by the provider."""

    live: Live

    async def go(self, next_: str = "/incidents") -> tuple[dict[str, str], str]:
        """Begin; return what the browser keeps, and where it is led."""
        answer = await self.live.call("GET", f"/sign-in/oidc?next={next_}")
        assert answer.status == 303, answer.body
        return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}, answer.headers["Location"]

    async def there(self, url: str, subject: str) -> str:
        """Sign in at the provider; return the path to which it leads back."""
        async with self.live.http.post(url, data={"sub": subject}, allow_redirects=False) as answer:
            back = urlsplit(answer.headers["Location"])
        assert back.netloc == "tocsin.test"
        return f"{back.path}?{back.query}"

    async def sign_in(self, subject: str) -> Answer:
        """Do all of it."""
        browser, url = await self.go()
        return await self.live.call("GET", await self.there(url, subject), headers=browser)


@pytest.fixture
async def site(app: App, issuer: str) -> AsyncIterator[Site]:
    """Our server with the provider; its clock is the true one, as the provider's is."""
    async for one in _site(app, issuer, None):
        yield one


@pytest.fixture
async def open_site(app: App, issuer: str) -> AsyncIterator[Site]:
    """The same, where those who come first become auditors."""
    async for one in _site(app, issuer, Role.AUDITOR):
        yield one


async def _site(app: App, issuer: str, role: Role | None) -> AsyncIterator[Site]:
    said: dict[str, Any] = {"oidc_issuer": issuer, "oidc_client_id": "tocsin", "oidc_role": role}
    said["oidc_client_secret"] = SecretStr("a secret: of both")
    said |= {"webhook_allowed_networks": LOOPBACK, "require_totp": (Role.SUPERADMIN,)}
    running = await start(replace(app, settings=app.settings.model_copy(update=said), clock=system_clock))
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            yield Site(Live(running.url, http, app))
    finally:
        await finish(running)


def session_in(answer: Answer) -> dict[str, str]:
    """Return the session that an answer opens."""
    assert answer.status == 303, answer.body.decode()
    cookies = [cookie.partition(";")[0] for cookie in answer.headers.getall("Set-Cookie")]
    return {"Cookie": next(cookie for cookie in cookies if cookie.startswith("tocsin_session="))}


@pytest.mark.slow
async def test_the_sign_in_leads_there_only_where_there_is_one(live: Live, site: Site) -> None:
    assert "Sign in with 127.0.0.1" in (await site.live.call("GET", "/sign-in")).body.decode()
    assert "Sign in with 1" not in (await live.call("GET", "/sign-in")).body.decode()
    assert (await live.call("GET", "/sign-in/oidc")).status == 404
    assert (await live.call("GET", "/sign-in/oidc/callback?code=1&state=2")).status == 404


async def test_who_is_known_signs_in_and_is_asked_for_no_second_factor_of_ours(site: Site) -> None:
    browser, url = await site.go()
    asked = {name: value[0] for name, value in parse_qs(urlsplit(url).query).items()}
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    back = await site.live.call("GET", await site.there(url, "1"), headers=browser)
    assert back.headers["Location"] == "/incidents"
    assert 'tocsin_provider=""' in str(back.headers.getall("Set-Cookie"))
    page = await site.live.call("GET", "/incidents", headers=session_in(back))
    assert page.status == 200
    (recorded,) = await rows(
        site.live.app, b"SELECT credential FROM audit_access_log WHERE action = 'GET /sign-in/oidc/callback'"
    )
    assert recorded == ("oidc",)


async def test_a_code_is_good_once_and_in_the_browser_that_asked_for_it(site: Site) -> None:
    browser, url = await site.go()
    path = await site.there(url, "1")
    assert (await site.live.call("GET", path)).status == 401, "no browser of ours"
    other, _ = await site.go()
    assert (await site.live.call("GET", path, headers=other)).status == 401, "another browser"
    changed = re.sub(r"state=[^&]+", "state=x", path)
    assert (await site.live.call("GET", changed, headers=browser)).status == 401
    assert await is_signed_in(site.live, session_in(await site.live.call("GET", path, headers=browser)))
    assert (await site.live.call("GET", path, headers=browser)).status == 401, "again"


async def test_who_refuses_there_is_not_signed_in_here(site: Site) -> None:
    browser, url = await site.go()
    state = parse_qs(urlsplit(url).query)["state"][0]
    denied = await site.live.call("GET", f"/sign-in/oidc/callback?error=access_denied&state={state}", headers=browser)
    assert (denied.status, "Set-Cookie" in denied.headers) == (401, False)


async def test_an_address_that_nobody_vouches_for_is_none(site: Site) -> None:
    assert (await site.sign_in("3")).status == 401


async def test_an_address_that_went_to_somebody_else_does_not_open_the_old_account(site: Site) -> None:
    session_in(await site.sign_in("1"))
    assert (await site.sign_in("2")).status == 403
    session_in(await site.sign_in("1"))


async def test_who_is_not_known_gets_in_only_where_a_role_is_set(site: Site, open_site: Site) -> None:
    refused = await site.sign_in("4")
    assert (refused.status, "is nobody here" in refused.body.decode()) == (403, True)
    assert await rows(site.live.app, b"SELECT FROM users WHERE email = 'new@example.org'") == []
    for _ in range(2):
        session = session_in(await open_site.sign_in("4"))
    page = (await open_site.live.call("GET", "/account", headers=session)).body.decode()
    assert "Nia &lt;b&gt;New" in page
    assert await rows(site.live.app, b"SELECT role FROM users WHERE email = 'new@example.org'") == [("auditor",)]


async def test_a_provider_that_does_not_answer_is_said_on_a_page(app: App) -> None:
    said = {"oidc_issuer": "http://127.0.0.1:9", "oidc_client_id": "tocsin", "webhook_allowed_networks": LOOPBACK}
    running = await start(replace(app, settings=app.settings.model_copy(update=said)))
    try:
        async with aiohttp.ClientSession() as http:
            answer = await Live(running.url, http, app).call("GET", "/sign-in/oidc")
    finally:
        await finish(running)
    assert answer.status == 503
    assert answer.headers["Content-Type"].startswith("text/html")


NOW = system_clock()
KEY = RSAKey.generate_key(2048, {"kid": "1"})
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "1"})
ATTEMPT = Attempt("a secret of the browser")
GOOD = {
    "iss": "https://id.example.org",
    "aud": ["tocsin", "another"],
    "azp": "tocsin",
    "sub": "1",
    "exp": int((NOW + timedelta(minutes=5)).timestamp()),
    "iat": int(NOW.timestamp()),
    "nonce": ATTEMPT.nonce,
    "email": ADMIN_EMAIL,
    "email_verified": True,
}


def verified(token: str) -> object:
    """Let the provider's own code look at a token."""
    provider = Provider("https://id.example.org", "tocsin", None, AddressGuard(), 1.0)
    return provider._verified(token, _Keys([KEY.as_dict(private=False)]), ATTEMPT, NOW)


def test_a_good_token_holds() -> None:
    assert verified(jwt.encode({"alg": "RS256", "kid": "1"}, GOOD, KEY))


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"azp": "another"},
        {"exp": int((NOW - timedelta(minutes=2)).timestamp())},
        {"iat": int((NOW + timedelta(minutes=5)).timestamp())},
        {"nonce": Attempt("of another browser").nonce},
        *({name: None} for name in ("iss", "aud", "sub", "exp", "nonce")),
    ],
    ids=lambda wrong: " ".join(f"{'no' if value is None else 'other'} {name}" for name, value in wrong.items()),
)
def test_a_token_for_another_purpose_does_not_hold(wrong: dict[str, object]) -> None:
    claims = {name: value for name, value in (GOOD | wrong).items() if value is not None}
    with pytest.raises(OutsideError):
        verified(jwt.encode({"alg": "RS256", "kid": "1"}, claims, KEY))


def test_a_token_that_the_provider_did_not_sign_does_not_hold() -> None:
    shared = OctKey.import_key("a client secret that both sides know of")
    forged = [
        jwt.encode({"alg": "RS256", "kid": "1"}, GOOD, OTHER_KEY),
        jwt.encode({"alg": "HS256", "kid": "1"}, GOOD, shared),
        "eyJhbGciOiJub25lIn0." + jwt.encode({"alg": "RS256", "kid": "1"}, GOOD, KEY).split(".")[1] + ".",
        "",
        "a.b.c",
        "a.b.c.d.e",
    ]
    for token in forged:
        with pytest.raises(OutsideError):
            verified(token)
