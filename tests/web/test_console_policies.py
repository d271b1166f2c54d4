"""Policies, routes and schedules made on pages: what is done, and what is refused with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from typing import Any

import pytest

from tests.conftest import ADMIN_EMAIL
from tests.support.cases import cases
from tests.web.conftest import Live
from tests.web.test_console import csrf_in, signed_in

OTHER = "grace@example.org"
WEEK = [("name", "Week"), ("rotation", "WEEKLY"), ("every", "1"), ("startsOn", "2026-01-05"), ("handOff", "09:00")]


@dataclass(frozen=True, slots=True)
class Desk:
    """A superadmin at a browser."""

    live: Live
    browser: dict[str, str]
    csrf: str

    async def send(self, path: str, *pairs: tuple[str, str], **said: str) -> tuple[int, str]:
        """Send a form; return the status, and where it leads or what is shown."""
        data = [("csrf", self.csrf), *pairs, *said.items()]
        answer = await self.live.call("POST", path, data=data, headers=self.browser)
        return answer.status, answer.headers.get("Location") or unescape(answer.body.decode())

    async def page(self, path: str) -> str:
        """Return a page."""
        return unescape((await self.live.call("GET", path, headers=self.browser)).body.decode())

    async def policy(self) -> dict[str, Any]:
        """Return the policy that is not the default."""
        found = (await self.live.get("/api/policies")).json["policies"]
        (policy,) = [one for one in found if not one["isDefault"]]
        return dict(policy)


@pytest.fixture
async def desk(live: Live) -> Desk:
    browser = await signed_in(live)
    return Desk(live, browser, csrf_in(await live.call("GET", "/admin/policies", headers=browser)))


@pytest.fixture
async def nights(desk: Desk) -> str:
    """Where a schedule without layers is."""
    _, its = await desk.send("/oncall/schedules", name="Nights", timeZone="Europe/Vienna", people="1")
    return its


async def added(desk: Desk, name: str = "payments", targets: str = "duty:ON_CALL") -> str:
    """Add a policy; return its page."""
    status, its = await desk.send("/admin/policies", name=name, targets=targets)
    assert status == 303, its
    return its


def refused(answer: tuple[int, str], status: int, reason: str) -> None:
    """Hold an answer against a refusal that its page says."""
    assert (answer[0], 'role="alert"' in answer[1], reason in answer[1]) == (status, True, True), answer


async def test_a_policy_is_made_changed_and_removed(desk: Desk) -> None:
    its = await added(desk, targets=f"duty:ON_CALL, user:{ADMIN_EMAIL}")
    assert await desk.send(f"{its}/settings", name="shop", repeat="3", lease="2h") == (303, its)
    assert await desk.send(f"{its}/steps", after="20m", targets="duty:SUPERVISOR") == (303, its)
    was = {"wasAfter": "20m", "wasTargets": "duty:SUPERVISOR"}
    assert await desk.send(f"{its}/steps/change", after="25m", targets=f"user:{ADMIN_EMAIL}", **was) == (303, its)
    made = await desk.policy()
    assert (made["name"], made["repeat"], made["leaseSeconds"]) == ("shop", 3, 7200)
    further = [step for step in made["steps"] if step["reason"] == "POLICY_STEP"]
    assert further == [{"reason": "POLICY_STEP", "afterSeconds": 1500, "targets": [{"user": ADMIN_EMAIL}]}]
    assert len(made["steps"][0]["targets"]) == 2
    refused(
        await desk.send(f"{its}/steps/change", after="30m", targets="duty:DIRECTOR", **was),
        409,
        "no such step any more",
    )
    is_now = {"wasAfter": "25m", "wasTargets": f"user:{ADMIN_EMAIL}"}
    assert await desk.send(f"{its}/steps/remove", **is_now) == (303, its)
    assert await desk.send(f"{its}/settings", name="shop", repeat="0") == (303, its)
    made = await desk.policy()
    assert (len(made["steps"]), made["leaseSeconds"]) == (4, None)
    assert await desk.send(f"{its}/remove") == (303, "/admin/policies")
    assert "shop" not in await desk.page("/admin/policies")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"name": "", "targets": "duty:ON_CALL"}, "must be one printable line"),
        ({"name": "x", "targets": "nonsense"}, "must be duty:NAME, user:EMAIL or schedule:NAME"),
        ({"name": "x", "targets": "user:nobody@example.org"}, "there is no user nobody@example.org"),
        ({"name": "x", "targets": "schedule:Nights"}, "there is no schedule Nights"),
    ],
)
async def test_a_policy_that_cannot_be_is_refused_and_what_was_written_stays(
    desk: Desk, said: dict[str, str], reason: str
) -> None:
    answer = await desk.send("/admin/policies", **said)
    refused(answer, 422, reason)
    assert f'value="{said["targets"]}"' in answer[1]


async def test_a_policy_that_reaches_nobody_is_refused(desk: Desk) -> None:
    made = await desk.live.post("/api/schedules", {"name": "Empty, so far"})
    assert made.status == 201
    answer = await desk.send("/admin/policies", name="x", targets="schedule:Empty, so far")
    refused(answer, 422, "nobody")
    its = await added(desk)
    refused(await desk.send(f"{its}/steps", after="5m", targets="schedule:Empty, so far"), 422, "nobody")


async def test_steps_have_bounds(desk: Desk) -> None:
    its = await added(desk)
    for said in ({"after": "soon"}, {"after": "9999d"}, {"after": "0s"}, {"after": "5m", "targets": ""}):
        status, shown = await desk.send(f"{its}/steps", **({"targets": "duty:ON_CALL"} | said))
        assert (status, 'role="alert"' in shown) == (422, True), said
    for number in range(26):
        assert (await desk.send(f"{its}/steps", after=f"{number + 1}m", targets="duty:ON_CALL"))[0] == 303
    refused(await desk.send(f"{its}/steps", after="40m", targets="duty:ON_CALL"), 422, "it may have 30")


async def test_the_default_keeps_its_name_and_stays(desk: Desk) -> None:
    ((default,),) = [[one["id"] for one in (await desk.live.get("/api/policies")).json["policies"]]]
    its = f"/admin/policies/{default}"
    assert await desk.send(f"{its}/settings", repeat="1", lease="4h") == (303, its)
    refused(await desk.send(f"{its}/settings", name="other", repeat="1", lease="4h"), 409, "keeps its name")
    refused(await desk.send(f"{its}/remove"), 409, "stays")


async def test_routes_are_asked_in_the_order_that_the_page_gives_them(desk: Desk) -> None:
    its = await added(desk)
    policy = its.rpartition("/")[2]
    routes = "/admin/routes"
    for service in ("carts", "orders"):
        status, to = await desk.send(
            routes, ("severity", "HIGH"), ("severity", "CRITICAL"), policy=policy, service=service
        )
        assert (status, to) == (303, "/admin/policies#routes")
    refused(await desk.send(routes, policy=policy, service="carts", severity="HIGH"), 409, "would never be asked")
    refused(await desk.send(routes, policy=policy, position="9"), 422, "must be a place from 1 to 3")
    refused(await desk.send(f"{its}/remove"), 409, "is in use")
    second = re.findall(r'action="(/admin/routes/[^"]+)/move"', await desk.page("/admin/policies"))[-1]
    assert await desk.send(f"{second}/move", position="1") == (303, "/admin/policies#routes")
    listed = (await desk.live.get("/api/routes")).json["routes"]
    assert [(one["service"], one["severities"]) for one in listed] == [
        ("orders", ["HIGH", "CRITICAL"]),
        ("carts", ["HIGH", "CRITICAL"]),
    ]
    assert (await desk.send(f"{second}/remove"))[0] == 303
    refused(await desk.send(f"{second}/remove"), 404, "There is no route")


async def test_a_schedule_is_made_with_layers_and_removed(desk: Desk) -> None:
    live = desk.live
    await live.post("/api/admin/users", {"email": OTHER, "name": "grace", "role": "responder"})
    status, its = await desk.send("/oncall/schedules", name="Nights", timeZone="Europe/Vienna", people="1")
    assert status == 303, its
    layer = [
        *WEEK,
        *(("member", email) for email in (ADMIN_EMAIL, "", ADMIN_EMAIL, "")),
        *(("day", day) for day in ("0-0", "0-4", "1-5")),
        *(("start", at) for at in ("18:00", "00:00", "")),
        *(("end", at) for at in ("06:00", "12:00", "")),
        *(("countsFrom", "2026-02-01T09:00"), ("countsUntil", "2027-02-01T09:00")),
    ]
    assert await desk.send(f"{its}/layer", *layer) == (303, its)
    shown = await desk.page(its)
    assert "every week, handing off at 09:00, first on Mon 5 Jan 2026" in shown
    assert "Mon, Fri 18:00 to 06:00" in shown
    filled = await desk.page(f"{its}/layer?name=week")
    assert filled.count(f'<option value="{ADMIN_EMAIL}" selected>') == 2
    assert 'value="1-5" checked' in filled
    assert 'name="countsFrom" value="2026-02-01T09:00"' in filled
    custom = [("was", "Week"), *WEEK, ("rotation", "CUSTOM"), ("every", "1d12h"), ("member", ADMIN_EMAIL)]
    assert await desk.send(f"{its}/layer", *custom) == (303, its)
    (made,) = (await live.get(f"/api{its.removeprefix('/oncall')}")).json["schedule"]["layers"]
    assert (made["rotation"], made["every"], made["restrictions"]) == ("CUSTOM", 129_600, [])
    assert await desk.send(f"{its}/settings", name="Days", timeZone="UTC", people="1") == (303, its)
    assert await desk.send(f"{its}/layer/remove", name="Week") == (303, its)
    refused(await desk.send(f"{its}/layer/remove", name="Week"), 404, "has no layer")
    assert await desk.send(f"{its}/remove") == (303, "/oncall")


@cases(
    ("wrong", "reason"),
    [
        ([("member", ADMIN_EMAIL), ("every", "0")], "must be 1 to"),
        ([("member", ADMIN_EMAIL), ("every", "often")], "must be a whole number"),
        ([("member", ADMIN_EMAIL), ("rotation", "CUSTOM"), ("every", "1h")], "must be 4 hours to"),
        ([("member", ADMIN_EMAIL), ("handOff", "25:00")], "must be a time of the day"),
        ([("member", ADMIN_EMAIL), ("startsOn", "0001-01-01")], "must be between"),
        ([("member", ADMIN_EMAIL), ("start", "09:00"), ("end", "17:00")], "must be at least one of"),
        ([("member", ADMIN_EMAIL), ("day", "0-1"), ("start", "late"), ("end", "")], "must be a time of the day"),
        ([("member", ADMIN_EMAIL), ("countsFrom", "0001-01-01T00:00")], "must be a day and a time"),
        ([("member", ADMIN_EMAIL), ("name", "n" * 101)], "must have 1 to 100"),
        ([], "must be 1 to 50"),
        ([("member", "nobody@example.org")], "there is no active user"),
        ([("member", ADMIN_EMAIL)] * 54, "must be 1 to 50"),
    ],
)
async def test_a_layer_that_cannot_be_is_refused_and_what_was_filled_in_stays(
    desk: Desk, nights: str, wrong: list[tuple[str, str]], reason: str
) -> None:
    status, shown = await desk.send(f"{nights}/layer", *WEEK, *wrong)
    refused((status, shown), 422, reason)
    if wrong and wrong[0][1] == ADMIN_EMAIL and len(wrong) < 54:
        assert f'<option value="{ADMIN_EMAIL}" selected>' in shown


async def test_a_schedule_that_a_policy_needs_keeps_its_last_layer_and_stays(desk: Desk) -> None:
    _, its = await desk.send("/oncall/schedules", name="Nights", timeZone="Europe/Vienna", people="1")
    assert (await desk.send(f"{its}/layer", *WEEK, ("member", ADMIN_EMAIL)))[0] == 303
    policy = (await added(desk, targets="schedule:Nights")).rpartition("/")[2]
    assert (await desk.send("/admin/routes", policy=policy))[0] == 303
    refused(await desk.send(f"{its}/layer/remove", name="Week"), 409, "nobody")
    refused(await desk.send(f"{its}/remove"), 409, "is used by")


async def test_two_layers_of_one_name_and_two_schedules_of_one_name_are_refused(desk: Desk) -> None:
    schedule = {"name": "Nights", "timeZone": "Europe/Vienna", "people": "1"}
    _, its = await desk.send("/oncall/schedules", **schedule)
    assert (await desk.send(f"{its}/layer", *WEEK, ("member", ADMIN_EMAIL)))[0] == 303
    refused(await desk.send(f"{its}/layer", *WEEK, ("member", ADMIN_EMAIL)), 422, "must have different names")
    refused(await desk.send("/oncall/schedules", **schedule), 409, "There is a schedule Nights already")
    refused(
        await desk.send("/oncall/schedules", **schedule | {"name": "x", "timeZone": "Nowhere"}), 422, "no time zone"
    )
    refused(await desk.send("/oncall/schedules", **schedule | {"name": "x", "people": "21"}), 422, "people")
