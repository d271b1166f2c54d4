"""On call, on pages: who is, whose turn it will be, overrides, feeds and silences."""

from __future__ import annotations

import re
from datetime import UTC, date, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from tests.conftest import ADMIN_EMAIL
from tests.support.cases import cases
from tests.support.clock import FakeClock
from tests.web.conftest import Live, email_of, rows
from tests.web.test_console import HOSTILE, csrf_in, report, signed_in
from tocsin.app import schedules
from tocsin.app.accounts import assign_schedule
from tocsin.domain.access import Actor, Role
from tocsin.domain.policy import Duty
from tocsin.domain.rotation import Layer, Restriction, Rotation, RotationKind


async def schedule(live: Live, admin: Actor, *, until: time | None = None) -> UUID:
    """Add a schedule in which the superadmin has every turn, in the office's hours if they are given."""
    async with live.app.work() as work:
        made = await schedules.add(work, admin, name="payments <b>", time_zone="Europe/Vienna")
        hours = (Restriction(frozenset(range(7)), time(9), until),) if until else ()
        rotation = Rotation(RotationKind.DAILY, 1, date(2020, 1, 1), time(9))
        await schedules.add_layer(work, admin, made.id, Layer("days", rotation, (admin.user_id,), hours))
    return made.id


@pytest.fixture
async def its(live: Live, admin: Actor) -> UUID:
    """The id of such a schedule."""
    return await schedule(live, admin)


async def send(live: Live, browser: dict[str, str], page: str, path: str, **said: str) -> tuple[int, str]:
    """Send a form of a page; return the answer's status and text."""
    csrf = csrf_in(await live.call("GET", page, headers=browser))
    answer = await live.call("POST", path, data={"csrf": csrf, **said}, headers=browser)
    return answer.status, answer.body.decode()


async def test_who_is_on_call_now_and_how_they_are_reached(live: Live, admin: Actor) -> None:
    await schedule(live, admin)
    page = (await live.call("GET", "/oncall", headers=await signed_in(live))).body.decode()
    assert page.count("ada</strong>") == 4, "three duties and a schedule"
    assert f"email <span>{ADMIN_EMAIL}</span> " in page
    assert "not verified" in page
    assert "payments &lt;b&gt;" in page


async def test_gaps_are_marked(live: Live, admin: Actor) -> None:
    its = await schedule(live, admin, until=time(17))
    page = (await live.call("GET", f"/oncall/schedules/{its}", headers=await signed_in(live))).body.decode()
    assert "gaps in these two weeks" in page
    assert page.count('class="gap') >= 14 * 16
    assert "1 of 1 missing" in page


@cases("path", ["/oncall", "/oncall/coverage", "/oncall/schedules/{its}"])
@cases(
    ("role", "status", "forms"),
    [
        (Role.SUPERADMIN, 200, True),
        (Role.RESPONDER, 200, True),
        (Role.AUDITOR, 200, False),
        (Role.MEMBER, 403, False),
    ],
)
async def test_who_may_read_and_who_finds_forms(
    live: Live, tokens: dict[Role, str], its: UUID, path: str, role: Role, status: int, forms: bool
) -> None:
    answer = await live.call("GET", path.format(its=its), headers=await signed_in(live, role))
    assert answer.status == status
    actions = [one for one in re.findall(r'action="([^"]+)"', answer.body.decode()) if one != "/sign-out"]
    assert bool(actions) is (forms and "coverage" not in path)


async def test_an_override_is_on_the_schedules_clock(
    live: Live, tokens: dict[Role, str], admin: Actor, clock: FakeClock
) -> None:
    its, browser = await schedule(live, admin), await signed_in(live)
    page, day = f"/oncall/schedules/{its}", (clock() + timedelta(days=2)).date()
    said = {"user": email_of(Role.RESPONDER), "startsAt": f"{day}T09:00", "endsAt": f"{day}T17:30", "insteadOf": ""}
    assert (await send(live, browser, page, f"{page}/overrides", **said))[0] == 303
    async with live.app.work() as work:
        (override,) = (await schedules.find(work, its)).overrides
    zone = (override.starts_at.astimezone(UTC), override.ends_at - override.starts_at)
    assert zone[1] == timedelta(hours=8, minutes=30)
    assert override.starts_at.astimezone(ZoneInfo("Europe/Vienna")).time() == time(9)
    shown = (await live.call("GET", page, headers=browser)).body.decode()
    (action,) = re.findall(rf'action="({page}/overrides/[^"]+/remove)"', shown)
    assert (await send(live, browser, page, action))[0] == 303
    assert await rows(live.app, b"SELECT count(*) FROM schedule_overrides") == [(0,)]


@cases(
    "wrong",
    [{"startsAt": "yesterday"}, {"endsAt": "2001-01-01T00:00"}, {"user": HOSTILE}, {"startsAt": "9999-12-31T23:59"}],
)
async def test_a_wrong_override_is_refused_on_its_page_and_kept(live: Live, its: UUID, wrong: dict[str, str]) -> None:
    browser = await signed_in(live)
    page = f"/oncall/schedules/{its}"
    said = {"user": ADMIN_EMAIL, "startsAt": "2099-01-01T00:00", "endsAt": "2099-01-02T00:00"} | wrong
    status, body = await send(live, browser, page, f"{page}/overrides", **said)
    assert status == 422
    assert "<script>alert" not in body
    assert f'value="{said["startsAt"]}"' in body


async def test_a_responder_takes_a_shift_over_for_themselves_alone(
    live: Live, tokens: dict[Role, str], admin: Actor
) -> None:
    its, browser = await schedule(live, admin), await signed_in(live, Role.RESPONDER)
    page = f"/oncall/schedules/{its}"
    shown = (await live.call("GET", page, headers=browser)).body.decode()
    fields = dict(re.findall(r'name="(startsAt|endsAt|insteadOf)" value="([^"]+)"', shown.split("Next shifts")[1])[:3])
    assert (await send(live, browser, page, f"{page}/take", **fields))[0] == 303
    async with live.app.work() as work:
        now = await schedules.show(work, admin, its)
    assert [turn.person.email for turn in now.on_call] == [email_of(Role.RESPONDER)]
    others = {"user": ADMIN_EMAIL, "startsAt": "2099-01-01T00:00", "endsAt": "2099-01-02T00:00"}
    assert (await send(live, browser, page, f"{page}/overrides", **others))[0] == 403


async def test_a_feed_is_shown_once_and_can_be_revoked(live: Live, admin: Actor) -> None:
    its, browser = await schedule(live, admin), await signed_in(live)
    page = f"/oncall/schedules/{its}"
    status, body = await send(live, browser, page, f"{page}/feeds", mine="true")
    (url,) = re.findall(r"http://tocsin\.test(/api/schedules/[^<]+)", body)
    assert status == 200
    assert (await live.call("GET", url)).status == 200
    shown = (await live.call("GET", page, headers=browser)).body.decode()
    assert "token=" not in shown
    (action,) = re.findall(rf'action="({page}/feeds/[^"]+/revoke)"', shown)
    assert (await send(live, browser, page, action))[0] == 303
    assert (await live.call("GET", url)).status == 404


async def test_a_responder_silences_one_incident_and_nothing_else(live: Live, tokens: dict[Role, str]) -> None:
    number, browser = await report(live), await signed_in(live, Role.RESPONDER)
    said = {"reason": HOSTILE, "hours": "4", "incident": f"INC-{number}"}
    assert (await send(live, browser, "/oncall", "/oncall/silences", **said))[0] == 303
    shown = (await live.call("GET", "/oncall", headers=browser)).body.decode()
    assert "&lt;script&gt;alert(1)" in shown
    (action,) = re.findall(r'action="(/oncall/silences/[^"]+/end)"', shown)
    assert (await send(live, browser, "/oncall", action))[0] == 303
    assert "Nothing is silenced" in (await live.call("GET", "/oncall", headers=browser)).body.decode()
    for wider in ({"service": "payments"}, {"everything": "true"}, {"incident": "1", "hours": "72"}):
        assert (await send(live, browser, "/oncall", "/oncall/silences", reason="x", **wider))[0] == 403


@cases(
    "path",
    [
        "/oncall/schedules/nothing",
        "/oncall/schedules/00000000-0000-0000-0000-000000000001",
        "/oncall/schedules/{its}?from=9999-12-31",
        "/oncall/schedules/{its}?from=0001-01-01",
        "/oncall/schedules/{its}?from=x",
    ],
)
async def test_what_cannot_be_shown_is_said_on_a_page(live: Live, its: UUID, path: str) -> None:
    answer = await live.call("GET", path.format(its=its), headers=await signed_in(live))
    assert answer.status in (404, 422)
    assert answer.headers["Content-Type"].startswith("text/html")


async def test_the_forecast_says_when_steps_will_reach_nobody(live: Live, admin: Actor) -> None:
    browser = await signed_in(live)
    assert (
        "Steps rely on unverified addresses"
        in (await live.call("GET", "/oncall/coverage", headers=browser)).body.decode()
    )
    its = await schedule(live, admin, until=time(17))
    async with live.app.work() as work:
        await assign_schedule(work, admin, Duty.ON_CALL, its)
    page = (await live.call("GET", "/oncall/coverage", headers=browser)).body.decode()
    assert "Steps will reach nobody" in page
    assert "payments &lt;b&gt;" in page
