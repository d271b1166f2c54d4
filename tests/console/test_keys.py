"""Every form of the table is sent by the keyboard alone; and what only forms lead to is looked at as all pages are."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pyotp
import pytest
from playwright.async_api import Browser, Request, expect

from tests.conftest import ADMIN_EMAIL
from tests.console.by_keys import pattern, send
from tests.console.conftest import PHONE, Visit, Visitor, visiting
from tests.console.looking import looked_at, unread
from tests.console.stage import Stage
from tests.web.conftest import PASSWORD, email_of
from tocsin.domain.access import Role
from tocsin.web.console.table import PAGES

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stage")]

ANOTHER = "another long enough password"


@dataclass  # without slots: Playwright keeps something beside a method that it is given
class Person:
    """Somebody at a keyboard, and the forms that they have sent."""

    stage: Stage
    visitor: Visitor
    visit: Visit
    axe: str
    role: Role
    script: bool = True
    sent: set[str] = field(default_factory=set)

    async def send(self, path: str, on: str = "", **said: str) -> None:
        """Send the form of a page, or of the page that is there."""
        if on:
            await self.visitor.goto(on)
        await send(self.visitor.page, path, **said)

    async def look(self, heading: str) -> None:
        """Look at a page that only a form leads to."""
        page = self.visitor.page
        await expect(page.locator("h1")).to_contain_text(heading)
        found = await looked_at(page, self.axe) if self.script else await unread(page, [])
        assert not found, json.dumps({heading: found}, indent=1)

    def note(self, request: Request) -> None:
        """Note what the browser sends."""
        if request.method == "POST":
            self.sent.add(urlsplit(request.url).path)


async def sign_in(person: Person, visitor: Visitor, password: str = PASSWORD) -> None:
    """Sign in: the page puts the focus on its first field."""
    keys = visitor.page.keyboard
    await visitor.goto("/sign-in")
    await expect(visitor.page.locator("#email")).to_be_focused()
    await keys.type(email_of(person.role))
    await keys.press("Tab")
    await keys.type(password)
    async with visitor.page.expect_navigation():
        await keys.press("Enter")


async def account(person: Person) -> None:
    """Sessions, contact methods, the password, and the second factor from its set-up to its end."""
    page, keys = person.visitor.page, person.visitor.page.keyboard
    for _ in range(2):
        await sign_in(person, await person.visit())
    await person.send("/account/sessions/{id}/end", on="/account")
    await person.send("/account/sessions/end-others", on="/account")
    methods = "/account/contacts"
    await person.send(methods, on=methods, channel="ntfy", address="https://ntfy.example/topic")
    await person.send(f"{methods}/{{method}}/enter", on=methods, code="00000000")
    await person.look("How you are reached")
    for what in ("test", "code", "remove"):
        await person.send(f"{methods}/{{method}}/{what}", on=methods)
    await person.send("/account/password", on="/account", oldPassword="wrong", newPassword=ANOTHER)
    await person.look(person.role.value)
    await person.send("/account/password", on="/account", oldPassword=PASSWORD, newPassword=ANOTHER)
    factor = "/account/second-factor"
    await person.send(f"{factor}/set-up", on=factor, oldPassword=ANOTHER)
    await person.look("Second factor")
    phone = pyotp.TOTP((await page.locator("#secret").inner_text()).replace(" ", ""))

    def code() -> str:
        person.stage.clock.forward(seconds=30)
        return phone.at(person.stage.clock.now)

    await person.send(f"{factor}/confirm", code=code())
    await person.look("The second factor is on")
    await person.send(f"{factor}/recovery-codes", on=factor, code="000000")
    await person.look("Second factor")
    await person.send(f"{factor}/recovery-codes", on=factor, code=code())
    await person.look("New recovery codes")
    await person.send("/sign-out", on="/account")
    await sign_in(person, person.visitor, ANOTHER)
    await person.look("And your second factor")
    await page.reload()
    await expect(page.locator("#code")).to_be_focused()
    await keys.type(code())
    async with page.expect_navigation():
        await keys.press("Enter")
    await person.send(f"{factor}/off", on=factor, code=code())
    await expect(page.locator("text=Off. With it")).to_be_visible()


async def incidents(person: Person) -> None:
    """One incident from its beginning to its end, several at once, and views of the list."""
    opened = [(await person.stage.live.open_incident(title=f"By keys {one}"))["number"] for one in range(2)]
    its, path = f"/incidents/{opened[0]}", "/incidents/{id}"
    await person.send(f"{path}/notes", on=its, text="a note")
    await person.send(f"{path}/severity", on=its, severity="CRITICAL", reason="it spreads")
    await person.send(f"{path}/escalate", on=its, to="nobody@example.org", reason="help")
    await person.look("By keys 0")
    await person.send(f"{path}/escalate", on=its, to=ADMIN_EMAIL, reason="help")
    await person.send(f"{path}/escalations/{{escalation}}/acknowledge", on=its)
    await person.send("/incidents/acknowledge", on="/incidents?search=keys", number="x", notes="this one")
    await person.look("You have 1 of 1")
    await person.send(f"{path}/acknowledge", on=its, notes="on it")
    await person.send(f"{path}/root-cause", on=its, summary="a pool", category="CODE", remediationSteps="a larger one")
    await person.send(f"{path}/resolve", on=its, resolutionSummary="it is larger")
    await person.send(f"{path}/close", on=its, lessonsLearned="measure", action="an alert")
    await expect(person.visitor.page.locator(".stations .here")).to_have_text("Closed")
    await person.send("/incidents/views", on="/incidents?status=CLOSED", name="the past")
    await person.send("/incidents/views/{id}/remove", on="/incidents?status=CLOSED")
    await expect(person.visitor.page.locator(".views", has_text="the past")).to_have_count(0)


async def learning(person: Person) -> None:
    """A promise that is kept, and one that was not."""
    await person.send("/learning/follow-ups/{id}/{position}/done", on="/learning/follow-ups", note="at 1,000")
    await person.send("/learning/follow-ups/{id}/{position}/reopen", on="/learning/follow-ups?which=done", note="gone")
    await expect(person.visitor.page.locator("td", has_text="Reopened by ada")).to_have_count(1)


async def on_call(person: Person) -> None:
    """Overrides, shifts, feeds and silences."""
    its, path = f"/oncall/schedules/{person.stage.names['gaps']}", "/oncall/schedules/{schedule}"
    await person.send(f"{path}/overrides", on=its, startsAt="01012099→0900AM", endsAt="01012098→0500PM")
    await person.look("Office")
    await person.send(f"{path}/overrides", on=its, startsAt="01012099→0900AM", endsAt="01012099→0500PM")
    await expect(person.visitor.page.locator("text=Thu 1 Jan 09:00")).to_be_visible()
    await person.send(f"{path}/overrides/{{override}}/remove", on=its)
    await person.send(f"{path}/take", on=its)
    await person.send(f"{path}/feeds", on=its)
    await person.look("Office")
    await person.send(f"{path}/feeds/{{feed}}/revoke", on=its)
    await person.send("/oncall/silences", on="/oncall", service="orders", hours="4", severity="x", reason="disks")
    await expect(person.visitor.page.locator(".rows", has_text="service orders low")).to_be_visible()
    await person.send("/oncall/silences/{silence}/end", on="/oncall")
    await schedules(person)


async def administration(person: Person) -> None:
    """Somebody new with a way to be reached, a project with its keys, a step of a policy, and a channel."""
    users, user, page = "/admin/users", "/admin/users/{user}", person.visitor.page
    await person.send(users, on=users, email=ADMIN_EMAIL, name="x")
    await person.look("Administration")
    await person.send(users, on=users, email="new@example.org", name="new", role="auditor", password=PASSWORD)
    await expect(page.locator("h1")).to_have_text("new")
    its = urlsplit(page.url).path
    await person.send(f"{user}/role", on=its, role="responder")
    await expect(page.locator(".titled .status")).to_have_text("responder")
    await person.send(f"{user}/password", on=its, password=ANOTHER)
    await person.send(f"{user}/shut-out", on=its)
    await person.send(f"{user}/let-in", on=its)
    await person.send(f"{user}/methods", on=its, channel="ntfy", address="https://ntfy.example/topic")
    await person.send(f"{user}/rules", on=its, minutes="5")
    await person.send(f"{user}/rules/{{rule}}/remove", on=its)
    for what in ("test", "code", "remove"):
        await person.send(f"{user}/methods/{{method}}/{what}", on=its)
    await person.send("/admin/projects", on="/admin/projects", name="by keys")
    await person.look("by keys")
    its = "/admin/projects/2"
    await person.send("/admin/projects/{project}/keys", on=its, others="x")
    await person.look("by keys")
    await person.send("/admin/projects/{project}/keys/{key}/revoke", on=its)
    its = f"/admin/policies/{person.stage.names['policy']}"
    await person.send("/admin/policies/{policy}/rules", on=its, targets="nonsense")
    await person.look("default")
    await person.send("/admin/policies/{policy}/rules", on=its, targets=f"user:{ADMIN_EMAIL}")
    await policies(person)
    await person.send("/admin/channels/{method}/test", on="/admin/channels")


async def policies(person: Person) -> None:
    """A policy from its first step to its end, and a route to it that changes its place."""
    page, path = person.visitor.page, "/admin/policies/{policy}"
    await person.send("/admin/policies", on="/admin/policies", name="default", targets="duty:ON_CALL")
    await person.look("Administration")
    await person.send("/admin/policies", on="/admin/policies", name="by keys", targets=f"user:{ADMIN_EMAIL}")
    await expect(page.locator("h1")).to_have_text("by keys")
    its = urlsplit(page.url).path
    await person.send(f"{path}/settings", on=its, name="by keys alone", repeat="2", lease="2h")
    await person.send(f"{path}/steps", on=its, after="soon", targets="duty:ON_CALL")
    await person.look("by keys alone")
    await person.send(f"{path}/steps", on=its, after="20m", targets="duty:ON_CALL")
    await person.send(f"{path}/steps/change", on=its, after="25m", targets=f"user:{ADMIN_EMAIL}")
    await expect(page.locator("h2", has_text="after 25 min")).to_be_visible()
    await person.send(f"{path}/steps/remove", on=its)
    await expect(page.locator("h2", has_text="after 25 min")).to_have_count(0)
    for service in ("carts", "invoices"):
        await person.send("/admin/routes", on="/admin/policies", service=service, policy="by keys", severity="x")
    await person.send("/admin/routes/{route}/move", on="/admin/policies")
    await expect(page.locator(".routes li").first).to_contain_text("service invoices")
    await person.send(f"{path}/remove", on=its)
    await person.look("by keys alone")
    for _ in range(2):
        await person.send("/admin/routes/{route}/remove", on="/admin/policies")
    await person.send(f"{path}/remove", on=its)
    await expect(page.locator(".rows", has_text="by keys")).to_have_count(0)


async def schedules(person: Person) -> None:
    """A schedule from its first layer to its end."""
    page, path = person.visitor.page, "/oncall/schedules/{schedule}"
    await person.send("/oncall/schedules", on="/oncall", name="By keys", timeZone="Nowhere", people="1")
    await person.look("On call")
    await person.send("/oncall/schedules", on="/oncall", name="By keys", timeZone="Europe/Vienna", people="1")
    await expect(page.locator("h1")).to_have_text("By keys")
    its = urlsplit(page.url).path
    await person.send(f"{path}/settings", on=its, name="By keys alone")
    layer = {"name": "Nights", "startsOn": "01052026", "handOff": "0900AM"}
    await person.send(f"{path}/layer", on=f"{its}/layer", **layer)
    await person.look("A new layer")
    await person.send(f"{path}/layer", on=f"{its}/layer", **layer, member="ada", day="x", start="0600PM", end="0600AM")
    await expect(page.locator("#layers ~ ol")).to_contain_text("Mon 18:00 to 06:00")
    await person.send(f"{path}/layer", on=f"{its}/layer?name=Nights", every="2", rotation="days")
    await expect(page.locator("#layers ~ ol")).to_contain_text("every 2 days, handing off at 09:00")
    await person.send(f"{path}/layer/remove", on=its)
    await expect(page.locator("text=None: nobody is on call by it")).to_be_visible()
    await person.send(f"{path}/remove", on=its)
    await expect(page.locator("h1")).to_have_text("On call")


ACCOUNT = "/account|/sign"
STORIES: dict[str, Callable[[Person], Awaitable[None]]] = {
    ACCOUNT: account,
    "/incidents": incidents,
    "/learning": learning,
    "/oncall": on_call,
    "/admin": administration,
}
"""The beginnings of addresses, and the story in which all forms with such an address are sent."""


def test_every_form_of_the_table_has_a_story() -> None:
    forms = [page.path for page in PAGES if page.method == "POST"]
    assert [path for path in forms if not re.match("|".join(STORIES), path)] == []


@pytest.mark.parametrize(
    ("area", "role", "script"),
    [
        *((area, Role.SUPERADMIN, True) for area in STORIES if area != ACCOUNT),
        (ACCOUNT, Role.RESPONDER, True),
        (ACCOUNT, Role.AUDITOR, False),
    ],
)
async def test_every_form_is_sent_by_keys(
    stage: Stage, browser: Browser, axe: str, area: str, role: Role, script: bool
) -> None:
    async with visiting(browser, stage.live) as visit:
        visitor = await (visit() if script else visit(PHONE, java_script_enabled=False))
        person = Person(stage, visitor, visit, axe, role, script)
        visitor.page.on("request", person.note)
        if role is Role.SUPERADMIN:
            await visitor.sign_in()
        else:
            await sign_in(person, visitor)
        await STORIES[area](person)
    forms = [page.path for page in PAGES if page.method == "POST" and re.match(area, page.path)]
    assert [form for form in forms if not any(re.match(pattern(form), path) for path in person.sent)] == []
