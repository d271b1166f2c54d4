"""A server that has something to show on every page, and where each page of the table is seen on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.conftest import ADMIN_EMAIL, ADMIN_TOKEN, INTAKE_KEY
from tests.support.clock import FakeClock
from tests.support.databases import clone
from tests.support.lives import actor_of, application
from tests.support.servers import Server
from tests.web.conftest import Live, add_people, email_of, rows, serving
from tocsin.app import learning, views
from tocsin.app.accounts import first_start
from tocsin.app.seal import seal_everything
from tocsin.app.sign import introduce_key, sign_log
from tocsin.domain.access import Role
from tocsin.signing.signer import Signer
from tools.stage import ERRORS, Post, fill, live_to_the_end, speaking

EXAMPLES: dict[str, tuple[str, ...]] = {
    "/": ("/",),
    "/sign-in": ("/sign-in?next=/account",),
    "/sign-in/oidc": ("/sign-in/oidc",),
    "/sign-in/oidc/callback": ("/sign-in/oidc/callback?error=access_denied",),
    "/account": ("/account",),
    "/account/contacts": ("/account/contacts",),
    "/account/second-factor": ("/account/second-factor",),
    "/incidents": (
        "/incidents",
        "/incidents?severity=HIGH&severity=CRITICAL&who=me",
        "/incidents?search=nothing-is-like-that",
    ),
    "/incidents/{id}": (
        "/incidents/{open}",
        "/incidents/{acknowledged}",
        "/incidents/{resolved}",
        "/incidents/{closed}",
        "/incidents/{recurring}",
        "/incidents/{unbroken}",
        "/incidents/999",
        "/incidents/nonsense",
    ),
    "/incidents/{id}/report": ("/incidents/{closed}/report", "/incidents/{open}/report"),
    "/learning": ("/learning",),
    "/learning/follow-ups": (
        "/learning/follow-ups",
        "/learning/follow-ups?which=done",
        "/learning/follow-ups?owner=nobody-at-all",
    ),
    "/oncall": ("/oncall",),
    "/oncall/coverage": ("/oncall/coverage",),
    "/oncall/schedules/{schedule}": ("/oncall/schedules/{turns}", "/oncall/schedules/{gaps}"),
    "/oncall/schedules/{schedule}/layer": (
        "/oncall/schedules/{gaps}/layer",
        "/oncall/schedules/{gaps}/layer?name=Days",
        "/oncall/schedules/{gaps}/layer?name=nosuch",
    ),
    # This list grows with every page that is looked at: a filter keeps it the same for two browsers.
    "/audit": ("/audit?action=" + quote("POST /api/v1/errors"), "/audit?user=nobody@example.org"),
    "/audit/entries": ("/audit/entries", "/audit/entries?user=nobody@example.org"),
    "/admin": ("/admin",),
    "/admin/users": ("/admin/users",),
    "/admin/users/{user}": ("/admin/users/{ada}", "/admin/users/{responder}"),
    "/admin/projects": ("/admin/projects",),
    "/admin/projects/{project}": ("/admin/projects/1", "/admin/projects/99"),
    "/admin/policies": ("/admin/policies",),
    "/admin/policies/{policy}": ("/admin/policies/{policy}",),
    "/admin/channels": ("/admin/channels",),
    "/admin/settings": ("/admin/settings",),
}
"""Where each page of the table is seen; the words in braces are names of the stage."""

NO_PAGES = {
    "/live": "no page: a stream of events",
    **{f"/audit/{what}.{form}": "no page: a file" for what in ("accesses", "entries") for form in ("csv", "json")},
}
"""The GETs of the table that are no pages, with the reason."""

ELSEWHERE = {
    "/sign-in/code": "a page only for who has given a password: the story of the account in `test_keys.py` looks at it",
    **NO_PAGES,
}
"""The GETs of the table that are seen elsewhere or are no pages, with the reason."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The server, its time, and the ids of what is on it."""

    live: Live
    clock: FakeClock
    names: dict[str, Any]

    def examples(self, path: str) -> list[str]:
        """Return where a page of the table is seen."""
        return [example.format(**self.names) for example in EXAMPLES[path]]


@asynccontextmanager
async def bare(server: Server) -> AsyncIterator[Stage]:
    """Run a server on which nothing has happened yet but its first start."""
    settings = {
        "bootstrap_token": ADMIN_TOKEN,
        "bootstrap_key": INTAKE_KEY,
        "public_url": "http://tocsin.test",
        "secure_cookies": False,
    }
    clock = FakeClock()
    with clone(server) as database:
        async with application(server, database, clock, **settings) as app:
            async with app.work() as work:
                await first_start(work)
            async with serving(app) as live:
                yield Stage(live, clock, {})


@asynccontextmanager
async def staged(server: Server, folder: Path) -> AsyncIterator[Stage]:
    """Run a server on which everything has happened that a page can show."""
    async with bare(server) as stage, speaking(stage.live.url, ADMIN_TOKEN) as post:
        app = stage.live.app
        await add_people(app, await actor_of(app, ADMIN_EMAIL))
        await fill(post, ADMIN_EMAIL, INTAKE_KEY)
        stage.names.update({"closed": 1, "open": 2, "acknowledged": 3})
        await _incidents(stage, post)
        await _on_call(stage, post)
        await _administration(stage, post)
        signer = Signer(folder / "signer")
        signer.make("example.org/tocsin")
        await introduce_key(app, signer)
        await seal_everything(app)
        await sign_log(app, signer)
        # What is reported from here on is in no checkpoint yet, and the record of its incident says so.
        stage.names["unbroken"] = await _open(post, "x" * 200, service="s" * 80)
        async with app.work() as work:
            await learning.count_weeks(work)
        yield stage


async def _open(post: Post, title: str, **more: str) -> int:
    answer = await post("/api/incidents", {"severity": "HIGH", "title": title} | more)
    number: int = answer["incident"]["number"]
    return number


async def _incidents(stage: Stage, post: Post) -> None:
    """A failure that comes back, an incident that waits to be closed, promises, cries for help, notes and silences."""
    stage.clock.forward(hours=1)
    stage.names["resolved"] = await _open(post, "Orders wait")
    await live_to_the_end(post, stage.names["resolved"], until="resolve")
    late = await _open(post, "Invoices wait", service="invoices")
    await live_to_the_end(post, late, until="resolve")
    promises = [
        {"title": f"Alert on {what}", "owner": "ada", "dueAt": "2026-01-01"} for what in ("depth", "age", "y" * 90)
    ]
    await post(f"/api/incidents/{late}/close", {"lessonsLearned": "Measure the queue.", "followUpActions": promises})
    await post(f"/api/follow-ups/{late}/1/done", {"note": "at 1,000 since Tuesday"})
    await post("/api/v1/errors", ERRORS[0], INTAKE_KEY)
    newest = await stage.live.get("/api/incidents")
    stage.names["recurring"] = newest.json["incidents"][0]["number"]
    number = stage.names["open"]
    await post(f"/api/incidents/{number}/escalate", {"to": ADMIN_EMAIL, "reason": "I need help"})
    await post(f"/api/incidents/{number}/notes", {"text": "The pool is full.\n\nIt was full yesterday as well."})
    await post("/api/silences", {"reason": "new disks", "service": "invoices", "lengthSeconds": 7200})
    await post("/api/silences", {"reason": "known", "incident": str(number), "lengthSeconds": 3600})


async def _on_call(stage: Stage, post: Post) -> None:
    """Overrides of a schedule that is always held, a feed of it, and a schedule with gaps and two who take turns."""
    (turns,) = (await stage.live.get("/api/schedules")).json["schedules"]
    stage.names["turns"] = turns["id"]
    start = stage.clock.now + timedelta(days=1)
    override = {"user": email_of(Role.RESPONDER), "insteadOf": ADMIN_EMAIL, "startsAt": start.isoformat()}
    override["endsAt"] = (start + timedelta(hours=30)).isoformat()
    await post(f"/api/schedules/{turns['id']}/overrides", override)
    gaps = (await post("/api/schedules", {"name": "Office", "timeZone": "America/New_York"}))["schedule"]
    stage.names["gaps"] = gaps["id"]
    hours = {"weekdays": [0, 1, 2, 3, 4], "start": "09:00", "end": "17:00"}
    layer = {"name": "Days", "rotation": "DAILY", "every": 1, "startsOn": "2026-01-05", "handOff": "09:00"}
    layer |= {"members": [ADMIN_EMAIL, email_of(Role.RESPONDER)], "restrictions": [hours]}
    await post(f"/api/schedules/{gaps['id']}", {"layers": [layer]}, method="PATCH")
    await post(f"/api/schedules/{gaps['id']}/feeds", {})


async def _administration(stage: Stage, post: Post) -> None:
    """Somebody who is reached in more than one way, a saved view, and the ids of people and policies."""
    live = stage.live
    (policy,) = (await live.get("/api/policies")).json["policies"]
    people = dict(await rows(live.app, b"SELECT email, id::text FROM users"))
    way = await post("/api/contacts", {"channel": "ntfy", "address": "https://ntfy.example/" + "t" * 60})
    await post("/api/notification-rules", {"contactId": way["id"], "afterSeconds": 300})
    async with live.app.work() as work:
        await views.save(work, await actor_of(live.app, ADMIN_EMAIL), "mine and loud", "severity=HIGH&who=me")
    stage.names.update(policy=policy["id"], ada=people[ADMIN_EMAIL], responder=people[email_of(Role.RESPONDER)])
