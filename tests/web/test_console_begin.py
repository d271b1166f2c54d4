"""The first page before there was any incident: how to send the first error, and the key."""

from __future__ import annotations

import pytest

from tests.web.conftest import Live
from tests.web.test_console import csrf_in, signed_in
from tocsin.domain.access import Role

pytestmark = pytest.mark.anyio

BUTTON = "Make a key, and show these lines"


@pytest.mark.parametrize("role", [Role.SUPERADMIN, Role.RESPONDER, Role.AUDITOR])
async def test_the_empty_page_says_how_to_send_a_first_error(live: Live, tokens: dict[Role, str], role: Role) -> None:
    page = (await live.call("GET", "/", headers=await signed_in(live, role))).body.decode()
    assert "://KEY@" in page
    assert (BUTTON in page) == (role is Role.SUPERADMIN)


async def test_a_key_that_is_made_there_is_shown_in_the_lines(live: Live) -> None:
    browser = await signed_in(live)
    csrf = csrf_in(await live.call("GET", "/", headers=browser))
    page = (await live.call("POST", "/admin/projects/1/keys", data={"csrf": csrf}, headers=browser)).body.decode()
    assert "sentry_sdk.init(dsn=" in page
    assert "debug=True" in page


async def test_who_has_had_an_incident_is_not_told_again(live: Live) -> None:
    await live.open_incident()
    page = (await live.call("GET", "/", headers=await signed_in(live))).body.decode()
    assert "://KEY@" not in page
