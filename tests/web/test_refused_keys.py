"""Requests with keys that open nothing: somebody is told, whoever guesses fills nothing, and no key is shown."""

from __future__ import annotations

import asyncio

import pytest

from tests.conftest import INTAKE_KEY
from tests.web.conftest import Live, rows
from tests.web.test_console import csrf_in, signed_in
from tocsin.app import maintain, projects, refused_keys
from tocsin.app.refused_keys import RefusedKeys

ERROR = {"severity": "HIGH", "type": "Broken"}


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_keys, "WRITE_SECONDS", 0.02)


async def knock(live: Live, key: str) -> None:
    """Report an error with a key that opens nothing."""
    answer = await live.call("POST", "/api/v1/errors", token=key, json=ERROR)
    assert answer.status == 401


async def written(live: Live, requests: int) -> int:
    """Wait until so many requests are written down; return in how many rows."""
    for _ in range(200):
        (found,) = await rows(live.app, b"SELECT coalesce(sum(requests), 0)::int, count(*)::int FROM refused_keys")
        if found[0] == requests:
            return int(found[1])
        await asyncio.sleep(0.02)
    raise AssertionError(f"{found[0]} of {requests} requests were written down")


async def another_key(live: Live) -> tuple[str, str]:
    """Make a second key of project 1 on its page and revoke it; return it, and its id."""
    browser = await signed_in(live)
    page = await live.call("GET", "/admin/projects/1", headers=browser)
    made = await live.call("POST", "/admin/projects/1/keys", data={"csrf": csrf_in(page)}, headers=browser)
    key = made.body.decode().partition("Bearer ")[2].partition("&")[0].partition('"')[0]
    (found,) = await rows(live.app, b"SELECT id::text FROM project_keys ORDER BY created_at DESC, id DESC LIMIT 1")
    revoked = await live.call(
        "POST", f"/admin/projects/1/keys/{found[0]}/revoke", data={"csrf": csrf_in(page)}, headers=browser
    )
    assert revoked.status == 303
    return key, str(found[0])


async def test_a_revoked_key_that_is_still_used_is_told_with_whose_it_was(live: Live) -> None:
    key, _ = await another_key(live)
    browser = await signed_in(live)
    assert "Refused for their key" not in (await live.call("GET", "/admin/projects", headers=browser)).body.decode()
    for _ in range(3):
        await knock(live, key)
    assert await written(live, 3) == 1
    shown = (await live.call("GET", "/admin/projects", headers=browser)).body.decode()
    assert f"<code>{key[: projects.SHOWN_KEY_CHARACTERS]}…</code> was a key of" in shown
    assert "3 requests" in shown
    of_project = (await live.call("GET", "/admin/projects/1", headers=browser)).body.decode()
    assert "but still used: 3 requests refused in the last 24 hours" in of_project
    assert key not in shown + of_project


async def test_unknown_keys_are_one_line_however_many_there_are(live: Live) -> None:
    await asyncio.gather(*(knock(live, f"{number:032x}") for number in range(20)))
    assert await written(live, 20) == 1
    shown = (await live.call("GET", "/admin/projects", headers=await signed_in(live))).body.decode()
    assert "Keys that nobody knows" in shown
    assert "20 requests" in shown
    assert f"{7:032x}" not in shown


async def test_who_reports_as_they_should_or_shows_no_key_is_not_counted(live: Live) -> None:
    assert (await live.call("POST", "/api/v1/errors", token=INTAKE_KEY, json=ERROR)).status < 300
    assert (await live.call("POST", "/api/v1/errors", json=ERROR)).status == 401
    await knock(live, "0" * 32)
    assert await written(live, 1) == 1


async def test_what_waits_is_bounded_and_written_when_the_server_stops(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key_id = await another_key(live)
    (first,) = await rows(live.app, b"SELECT id FROM project_keys WHERE revoked_at IS NULL LIMIT 1")
    (revoked,) = await rows(live.app, b"SELECT id FROM project_keys WHERE revoked_at IS NOT NULL")
    assert str(revoked[0]) == key_id
    monkeypatch.setattr(refused_keys, "WRITE_SECONDS", 3_600)
    monkeypatch.setattr(refused_keys, "MAX_WAITING", 1)
    refused = RefusedKeys(live.app)
    for key in (revoked[0], first[0], first[0], None, revoked[0]):
        refused.count(key)
    await refused.close()
    found = await rows(live.app, b"SELECT key_id::text, requests FROM refused_keys ORDER BY requests")
    assert found == [(key_id, 2), (None, 3)]


async def test_after_some_days_nothing_is_left_of_it(live: Live) -> None:
    await knock(live, "0" * 32)
    await written(live, 1)
    async with live.app.work() as work:
        await maintain.expire(work)
    await written(live, 1)
    await rows(live.app, b"UPDATE refused_keys SET hour = hour - interval '3 days' RETURNING 1")
    async with live.app.work() as work:
        await maintain.expire(work)
    assert await written(live, 0) == 0
