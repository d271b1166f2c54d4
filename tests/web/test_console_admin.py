"""The administration on pages: what is changed there, and that secrets are shown once or never."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ADMIN_EMAIL, INTAKE_KEY
from tests.web.conftest import Live, email_of, rows
from tests.web.test_console import HOSTILE, csrf_in, signed_in
from tocsin.domain.access import Actor, Role


async def send(live: Live, browser: dict[str, str], path: str, **said: str) -> tuple[int, str]:
    """Send a form of the administration; return the answer's status, and its text or where it leads."""
    csrf = csrf_in(await live.call("GET", "/admin", headers=browser))
    answer = await live.call("POST", path, data={"csrf": csrf, **said}, headers=browser)
    return answer.status, answer.headers.get("Location") or answer.body.decode()


async def test_a_user_is_added_changed_and_shut_out(live: Live) -> None:
    browser = await signed_in(live)
    said = {"email": "ben@example.org", "name": HOSTILE, "role": "auditor", "password": "a long enough password"}
    status, its = await send(live, browser, "/admin/users", **said)
    assert status == 303
    for path in (its, "/admin/users"):
        page = (await live.call("GET", path, headers=browser)).body.decode()
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page
    assert await send(live, browser, f"{its}/role", role="responder") == (303, its)
    assert await send(live, browser, f"{its}/password", password="another long password") == (303, its)
    signed = {"email": "ben@example.org", "password": "another long password", "next": "/"}
    assert (await live.call("POST", "/sign-in", data=signed)).status == 303
    assert await send(live, browser, f"{its}/shut-out") == (303, its)
    assert (await live.call("POST", "/sign-in", data=signed)).status == 401
    assert await send(live, browser, f"{its}/let-in") == (303, its)
    assert (await live.call("POST", "/sign-in", data=signed)).status == 303


async def test_what_is_refused_is_said_on_its_page(live: Live, tokens: dict[Role, str], admin: Actor) -> None:
    browser = await signed_in(live)
    status, body = await send(live, browser, "/admin/users", email=email_of(Role.AUDITOR), name="x")
    assert (status, "already" in body) == (409, True)
    status, body = await send(live, browser, f"/admin/users/{admin.user_id}/shut-out")
    assert (status, "the last superadmin" in body) == (409, True)
    status, body = await send(live, browser, f"/admin/users/{admin.user_id}/password", password="short")
    assert (status, 'value="short"' in body) == (422, False)
    assert (await live.call("GET", "/admin/projects/99", headers=browser)).status == 404
    assert (await live.call("GET", "/admin/projects/x", headers=browser)).status == 422


async def test_contact_methods_are_tried_and_rules_added(live: Live, admin: Actor) -> None:
    browser, its = await signed_in(live), f"/admin/users/{admin.user_id}"
    assert await send(live, browser, f"{its}/methods", channel="ntfy", address="https://ntfy.sh/secret-topic") == (
        303,
        its,
    )
    page = (await live.call("GET", its, headers=browser)).body.decode()
    assert "secret-topic" not in page
    assert "not verified" in page
    (method,) = re.findall(rf"{its}/methods/([^/]+)/test", page)[:1]
    assert await send(live, browser, f"{its}/rules", method=method, minutes="5") == (303, its)
    assert await send(live, browser, f"{its}/methods/{method}/test") == (303, its)
    assert ("test-contact",) in await rows(live.app, b"SELECT kind FROM jobs")
    (rule,) = re.findall(rf"{its}/rules/[^/]+/remove", (await live.call("GET", its, headers=browser)).body.decode())
    assert await send(live, browser, rule) == (303, its)
    status, body = await send(live, browser, f"{its}/methods", channel="ntfy", address="nonsense")
    assert (status, "address" in body) == (422, True)


async def test_a_key_is_shown_once_rotated_and_revoked(live: Live) -> None:
    browser = await signed_in(live)
    status, body = await send(live, browser, "/admin/projects", name="shop")
    (key,) = set(re.findall(r"http://([0-9a-f]{32})@tocsin\.test/2", body))
    assert status == 200
    answer = await live.call("POST", "/api/v1/errors", token=key, json={"severity": "LOW", "message": "x"})
    assert answer.status < 300
    page = (await live.call("GET", "/admin/projects/2", headers=browser)).body.decode()
    assert key not in page
    status, body = await send(live, browser, "/admin/projects/2/keys", others="true")
    assert (status, "revoked" in body) == (200, True)
    (action,) = re.findall(r'action="(/admin/projects/2/keys/[^"]+/revoke)"', body)
    assert await send(live, browser, action) == (303, "/admin/projects/2")
    assert "0 valid keys" in (await live.call("GET", "/admin/projects", headers=browser)).body.decode()


async def test_a_rule_of_a_policy_is_changed_and_stays_where_it_would_reach_nobody(live: Live) -> None:
    browser = await signed_in(live)
    (policy,) = (await live.get("/api/policies")).json["policies"]
    its = f"/admin/policies/{policy['id']}"
    said = {"reason": "NO_ACK_1HR", "after": "1h30m", "targets": f"duty:SUPERVISOR, user:{ADMIN_EMAIL}"}
    assert await send(live, browser, f"{its}/rules", **said) == (303, its)
    page = (await live.call("GET", its, headers=browser)).body.decode()
    assert "after 1 h 30 min" in page
    assert "<strong>SUPERVISOR</strong> (now ada)" in page
    for wrong in ({"targets": "user:nobody@example.org"}, {"after": "soon"}, {"targets": "ada"}, {"after": "9999d"}):
        status, body = await send(live, browser, f"{its}/rules", reason="NO_ACK_4HR", **wrong)
        assert (status, 'role="alert"' in body) == (422, True), wrong


async def test_settings_show_their_source_and_no_secret(
    live: Live, monkeypatch: pytest.MonkeyPatch, admin: Actor
) -> None:
    monkeypatch.setenv("TOCSIN_STORM_THRESHOLD", "10")
    page = (await live.call("GET", "/admin/settings", headers=await signed_in(live))).body.decode()
    found = dict(re.findall(r"<code>TOCSIN_([A-Z_]+)</code>.*?</th><td>.*?</td><td>(.*?)</td>", page))
    assert "environment" in found["STORM_THRESHOLD"]
    assert "default" in found["SMTP_PORT"]
    assert "command line" in found["PUBLIC_URL"]
    for secret in ("correct horse battery", "a secret key for the tests", INTAKE_KEY, "test-token-of"):
        assert secret not in page


async def test_channels_say_what_is_missing(live: Live) -> None:
    page = (await live.call("GET", "/admin/channels", headers=await signed_in(live))).body.decode()
    assert "missing: set TOCSIN_SMTP_HOST" in page
    assert "configured" in page
