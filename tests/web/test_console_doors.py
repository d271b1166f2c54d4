"""Who gets through which door of the console, and that none opens to a forged request: from one table, page by page.

The table is written from what is promised to people, by hand: it must not follow what the product's own table says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import ADMIN_EMAIL, ADMIN_PASSWORD
from tests.web.conftest import Live, email_of, rows
from tests.web.furnished import OTHER_EMAIL, csrf_for, furnish
from tests.web.test_console import signed_in
from tocsin.domain.access import Role
from tocsin.web.console.table import PAGES

DOORS = """
page                                                    superadmin responder auditor member  nobody
GET  /sign-in                                           open       open      open    open    open
POST /sign-in                                           open       open      open    open    open
GET  /sign-in/code                                      open       open      open    open    open
POST /sign-in/code                                      open       open      open    open    open
GET  /sign-in/oidc                                      open       open      open    open    open
GET  /sign-in/oidc/callback                             open       open      open    open    open
POST /sign-out                                          open       open      open    open    led
GET  /                                                  open       open      open    shut    led
GET  /live                                              open       open      open    shut    led
GET  /incidents                                         open       open      open    shut    led
POST /incidents/acknowledge                             open       open      shut    shut    led
POST /incidents/views                                   open       open      open    shut    led
POST /incidents/views/{id}/remove                       open       open      open    shut    led
GET  /incidents/{id}                                    open       open      open    shut    led
GET  /incidents/{id}/report                             open       open      open    shut    led
POST /incidents/{id}/escalations/{escalation}/acknowledge open     open      shut    shut    led
POST /incidents/{id}/acknowledge                        open       open      shut    shut    led
POST /incidents/{id}/notes                              open       open      shut    shut    led
POST /incidents/{id}/escalate                           open       open      shut    shut    led
POST /incidents/{id}/severity                           open       open      shut    shut    led
POST /incidents/{id}/root-cause                         open       open      shut    shut    led
POST /incidents/{id}/resolve                            open       open      shut    shut    led
POST /incidents/{id}/close                              open       open      shut    shut    led
GET  /learning                                          open       open      open    shut    led
GET  /learning/follow-ups                               open       open      open    shut    led
POST /learning/follow-ups/{id}/{position}/done          open       open      shut    shut    led
POST /learning/follow-ups/{id}/{position}/reopen        open       open      shut    shut    led
GET  /oncall                                            open       open      open    shut    led
GET  /oncall/coverage                                   open       open      open    shut    led
GET  /oncall/schedules/{schedule}                       open       open      open    shut    led
POST /oncall/schedules/{schedule}/overrides             open       open      shut    shut    led
POST /oncall/schedules/{schedule}/overrides/{override}/remove open open      shut    shut    led
POST /oncall/schedules/{schedule}/take                  open       open      shut    shut    led
POST /oncall/schedules/{schedule}/feeds                 open       open      shut    shut    led
POST /oncall/schedules/{schedule}/feeds/{feed}/revoke   open       open      shut    shut    led
GET  /oncall/schedules/{schedule}/layer                 open       shut      shut    shut    led
POST /oncall/schedules                                  open       shut      shut    shut    led
POST /oncall/schedules/{schedule}/settings              open       shut      shut    shut    led
POST /oncall/schedules/{schedule}/layer                 open       shut      shut    shut    led
POST /oncall/schedules/{schedule}/layer/remove          open       shut      shut    shut    led
POST /oncall/silences                                   open       open      shut    shut    led
POST /oncall/silences/{silence}/end                     open       open      shut    shut    led
GET  /audit                                             open       shut      open    shut    led
GET  /audit/entries                                     open       shut      open    shut    led
GET  /audit/accesses.csv                                open       shut      open    shut    led
GET  /audit/accesses.json                               open       shut      open    shut    led
GET  /audit/entries.csv                                 open       shut      open    shut    led
GET  /audit/entries.json                                open       shut      open    shut    led
GET  /admin                                             open       shut      shut    shut    led
GET  /admin/users                                       open       shut      shut    shut    led
POST /admin/users                                       open       shut      shut    shut    led
GET  /admin/users/{user}                                open       shut      shut    shut    led
POST /admin/users/{user}/role                           open       shut      shut    shut    led
POST /admin/users/{user}/password                       open       shut      shut    shut    led
POST /admin/users/{user}/methods                        open       shut      shut    shut    led
POST /admin/users/{user}/methods/{method}/test          open       shut      shut    shut    led
POST /admin/users/{user}/methods/{method}/code          open       shut      shut    shut    led
POST /admin/users/{user}/rules                          open       shut      shut    shut    led
POST /admin/users/{user}/rules/{rule}/remove            open       shut      shut    shut    led
POST /admin/users/{user}/methods/{method}/remove        open       shut      shut    shut    led
POST /admin/users/{user}/shut-out                       open       shut      shut    shut    led
POST /admin/users/{user}/let-in                         open       shut      shut    shut    led
GET  /admin/projects                                    open       shut      shut    shut    led
POST /admin/projects                                    open       shut      shut    shut    led
GET  /admin/projects/{project}                          open       shut      shut    shut    led
POST /admin/projects/{project}/keys/{key}/revoke        open       shut      shut    shut    led
POST /admin/projects/{project}/keys                     open       shut      shut    shut    led
GET  /admin/policies                                    open       shut      shut    shut    led
GET  /admin/policies/{policy}                           open       shut      shut    shut    led
POST /admin/policies                                    open       shut      shut    shut    led
POST /admin/policies/{policy}/settings                  open       shut      shut    shut    led
POST /admin/policies/{policy}/rules                     open       shut      shut    shut    led
POST /admin/policies/{policy}/steps                     open       shut      shut    shut    led
POST /admin/policies/{policy}/steps/change              open       shut      shut    shut    led
POST /admin/policies/{policy}/steps/remove              open       shut      shut    shut    led
POST /admin/routes                                      open       shut      shut    shut    led
POST /admin/routes/{route}/move                         open       shut      shut    shut    led
POST /admin/routes/{route}/remove                       open       shut      shut    shut    led
POST /admin/policies/{policy}/remove                    open       shut      shut    shut    led
POST /oncall/schedules/{schedule}/remove                open       shut      shut    shut    led
GET  /admin/channels                                    open       shut      shut    shut    led
POST /admin/channels/{method}/test                      open       shut      shut    shut    led
GET  /admin/settings                                    open       shut      shut    shut    led
GET  /account                                           open       open      open    open    led
GET  /account/contacts                                  open       open      open    shut    led
POST /account/contacts                                  open       open      open    shut    led
POST /account/contacts/{method}/code                    open       shut      shut    shut    led
POST /account/contacts/{method}/enter                   open       shut      shut    shut    led
POST /account/contacts/{method}/test                    open       shut      shut    shut    led
POST /account/contacts/{method}/remove                  open       shut      shut    shut    led
POST /account/sessions/{id}/end                         open       open      open    open    led
POST /account/sessions/end-others                       open       open      open    open    led
GET  /account/second-factor                             open       open      open    open    led
POST /account/second-factor/set-up                      open       open      open    open    led
POST /account/second-factor/confirm                     open       open      open    open    led
POST /account/second-factor/recovery-codes              open       open      open    open    led
POST /account/second-factor/off                         open       open      open    open    led
POST /account/password                                  open       open      open    open    led
"""
"""Shut answers 403, and so does what is another one's: the contact methods here are the superadmin's. Led is led to the
sign-in and back, or told so where something would be lost.

In this order, each form that is sent by the first role for whom the page is open does what it is there for.
"""

LAYER = {
    "name": "Nights",
    "rotation": "DAILY",
    "every": "1",
    "startsOn": "2026-01-05",
    "handOff": "09:00",
    "member": "{me}",
    "day": "0-1",
    "start": "18:00",
    "end": "06:00",
}
FORMS: dict[str, dict[str, str]] = {
    "/sign-in": {"email": OTHER_EMAIL, "password": ADMIN_PASSWORD, "next": "/"},
    "/sign-in/code": {"code": "000000"},
    "/incidents/acknowledge": {"number": "{untouched}", "notes": "several"},
    "/incidents/views": {"name": "mine", "query": "search=disk"},
    "/incidents/{id}/notes": {"text": "a note"},
    "/incidents/{id}/acknowledge": {"notes": "on it"},
    "/incidents/{id}/escalate": {"to": ADMIN_EMAIL, "reason": "help"},
    "/incidents/{id}/severity": {"severity": "CRITICAL", "reason": "worse"},
    "/incidents/{id}/root-cause": {"summary": "a pool", "category": "CONFIGURATION", "remediationSteps": "larger"},
    "/incidents/{id}/resolve": {"resolutionSummary": "larger"},
    "/incidents/{id}/close": {"lessonsLearned": "measure", "action": "alert", "owner": "", "due": "2026-12-24"},
    "/learning/follow-ups/{id}/{position}/done": {"note": "done"},
    "/learning/follow-ups/{id}/{position}/reopen": {"note": "not done"},
    "/oncall/schedules/{schedule}/overrides": {
        "user": "{me}",
        "startsAt": "2026-03-09T09:00",
        "endsAt": "2026-03-09T17:00",
    },
    "/oncall/schedules/{schedule}/take": {
        "startsAt": "2026-03-02T12:00:00Z",
        "endsAt": "2026-03-02T16:00:00Z",
        "insteadOf": OTHER_EMAIL,
    },
    "/oncall/silences": {"reason": "noise", "hours": "1", "incident": "{untouched}"},
    "/admin/users": {"email": "new@example.org", "name": "new", "role": "superadmin", "password": ADMIN_PASSWORD},
    "/admin/users/{user}/role": {"role": "superadmin"},
    "/admin/users/{user}/password": {"password": "a new long password"},
    "/admin/users/{user}/methods": {"channel": "ntfy", "address": "https://ntfy.example.org/another"},
    "/admin/users/{user}/rules": {"method": "{method}", "minutes": "7"},
    "/admin/projects": {"name": "another"},
    "/admin/projects/{project}/keys": {"others": "true"},
    "/oncall/schedules": {"name": "another", "timeZone": "Europe/Vienna", "people": "1"},
    "/oncall/schedules/{schedule}/settings": {"name": "renamed", "timeZone": "UTC", "people": "1"},
    "/oncall/schedules/{schedule}/layer": LAYER,
    "/oncall/schedules/{schedule}/layer/remove": {"name": "Nights"},
    "/admin/policies": {"name": "another", "targets": "duty:ON_CALL"},
    "/admin/policies/{policy}/settings": {"name": "renamed", "repeat": "2", "lease": "1h"},
    "/admin/policies/{policy}/steps": {"after": "45m", "targets": "user:" + ADMIN_EMAIL},
    "/admin/policies/{policy}/steps/change": {
        "after": "50m",
        "targets": "duty:DIRECTOR",
        "wasAfter": "45m",
        "wasTargets": "user:" + ADMIN_EMAIL,
    },
    "/admin/policies/{policy}/steps/remove": {"wasAfter": "50m", "wasTargets": "duty:DIRECTOR"},
    "/admin/routes": {"policy": "{default}", "service": "another", "severity": "HIGH"},
    "/admin/routes/{route}/move": {"position": "2"},
    "/admin/policies/{policy}/rules": {"reason": "NO_ACK_1HR", "after": "2h", "targets": "user:" + ADMIN_EMAIL},
    "/account/contacts": {"channel": "ntfy", "address": "https://ntfy.example.org/mine"},
    "/account/contacts/{method}/enter": {"code": "000000"},
    "/account/second-factor/set-up": {"oldPassword": ADMIN_PASSWORD},
    "/account/second-factor/confirm": {"code": "000000"},
    "/account/second-factor/recovery-codes": {"code": "000000"},
    "/account/second-factor/off": {"code": "000000"},
    "/account/password": {"oldPassword": ADMIN_PASSWORD, "newPassword": "another long password"},
}
NEED_A_CODE = {path for path, form in FORMS.items() if form.keys() == {"code"}}
"""Their forms are read and then refused: the code is none."""

AT = {
    **{
        f"/account/contacts/{{method}}/{name}": f"/account/contacts/{{own_method}}/{name}"
        for name in ("code", "enter", "test", "remove")
    },
    "/incidents/views/{id}/remove": "/incidents/views/{view}/remove",
    "/incidents/{id}/escalations/{escalation}/acknowledge": "/incidents/{open}/escalations/{escalation}/acknowledge",
    "/account/sessions/{id}/end": "/account/sessions/{session}/end",
    "/admin/users/{user}/shut-out": "/admin/users/{leaver}/shut-out",
    "/admin/users/{user}/let-in": "/admin/users/{leaver}/let-in",
    "/admin/channels/{method}/test": "/admin/channels/{own_method}/test",
    "/learning/follow-ups/{id}/{position}/done": "/learning/follow-ups/{closed}/1/done",
    "/learning/follow-ups/{id}/{position}/reopen": "/learning/follow-ups/{closed}/1/reopen",
}

ENDS_SESSIONS = {"/sign-out", "/account/sessions/{id}/end", "/account/sessions/end-others"}

OLDEST_SESSION = b"""
    SELECT s.id::text FROM sessions s JOIN users u ON u.id = s.user_id
    WHERE u.email = 'ada@example.org' AND revoked_at IS NULL ORDER BY s.created_at, s.id LIMIT 1
"""

SNAPSHOT = b"""
    SELECT relname, (xpath('/row/hash/text()', query_to_xml(
        format('SELECT md5(string_agg(t::text, %L ORDER BY t::text)) AS hash FROM %I t', ',', relname), true, true, ''
    )))[1]::text
    FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'audit_access_log'
"""
"""What every table holds, but for the log of accesses, which grows by each request."""


def doors() -> Iterator[tuple[str, str, dict[Role | None, str]]]:
    """Return the table: of each page its method, its path, and how its door is for whom."""
    header, *lines = DOORS.strip().splitlines()
    whom = [None if name == "nobody" else Role(name) for name in header.split()[1:]]
    for line in lines:
        method, path, *states = line.split()
        yield method, path, dict(zip(whom, states, strict=True))


def test_every_page_has_a_door_and_every_door_a_page() -> None:
    listed = [(method, path) for method, path, _ in doors()]
    assert sorted(listed) == sorted((page.method, page.path) for page in PAGES)
    assert not FORMS.keys() - {path for method, path in listed if method == "POST"}


def _forged(csrf: str, other_csrf: str) -> Iterator[tuple[str, dict[str, str], dict[str, str]]]:
    """Return ways to forge a form: what it is, the headers, and the token that it carries ("" for none)."""
    proved = {"csrf": csrf}
    yield "none", {}, {}
    yield "empty", {}, {"csrf": ""}
    yield "wrong", {}, {"csrf": "0" * 64}
    yield "not ASCII", {}, {"csrf": "é" * 64}
    yield "another session's", {}, {"csrf": other_csrf}
    yield "cross-site", {"Sec-Fetch-Site": "cross-site"}, proved
    yield "same-site", {"Sec-Fetch-Site": "same-site"}, proved
    yield "another origin", {"Origin": "https://evil.example"}, proved
    yield "no origin", {"Origin": "null"}, proved


class Visitors:
    """Everybody's browser, and the house that they stand before."""

    def __init__(self, live: Live, places: dict[str, str]) -> None:
        self.live = live
        self.places = places
        self.browsers: dict[Role | None, dict[str, str]] = {None: {}}

    async def sign_in(self) -> None:
        """Give everybody a fresh session."""
        for role in Role:
            self.browsers[role] = await signed_in(self.live, role)
        (self.places["session"],) = (await rows(self.live.app, OLDEST_SESSION))[0]

    async def ask(self, method: str, path: str, headers: dict[str, str], **more: Any) -> tuple[int, str]:
        """Return the status of an answer and where it leads. A stream is not waited for."""
        async with self.live.http.request(
            method, self.live.url + self.at(path), headers=headers, allow_redirects=False, **more
        ) as answer:
            return answer.status, answer.headers.get("Location", "")

    def at(self, path: str) -> str:
        """Return a path of the table with something real in it."""
        return AT.get(path, path).format(**self.places | {"id": self.places["open"]})

    def form(self, path: str, whom: Role | None = Role.SUPERADMIN, **more: str) -> dict[str, str]:
        """Return a page's form, filled in by somebody."""
        known = self.places | {"me": email_of(whom) if whom else OTHER_EMAIL}
        return {name: text.format(**known) for name, text in FORMS.get(path, {}).items()} | more

    async def send(self, path: str, role: Role | None) -> tuple[int, str]:
        """Send a form as the page of one's own session does."""
        browser = self.browsers[role]
        form = self.form(path, role, csrf=csrf_for(browser) if browser else "0" * 64)
        return await self.ask("POST", path, browser, data=form)

    async def held(self) -> dict[str, str]:
        """Return what the database holds."""
        return dict(await rows(self.live.app, SNAPSHOT))


@pytest.mark.slow
async def test_each_door_is_open_to_whom_it_should_be_and_to_no_forged_form(
    live: Live, tokens: dict[Role, str]
) -> None:
    visitors = Visitors(live, await furnish(live, lambda field, _: field))
    ends_sessions = True
    for method, path, expected in doors():
        if ends_sessions:
            await visitors.sign_in()
        ends_sessions = path in ENDS_SESSIONS
        if method == "GET":
            for whom, state in expected.items():
                _agrees(state, path, whom, await visitors.ask("GET", path, visitors.browsers[whom]))
            continue
        await _refuses(visitors, path, expected)
        first = True
        for whom, state in expected.items():
            if state == "open":
                status, _ = await visitors.send(path, whom)
                assert status not in (401, 403) or (path, status) == ("/sign-in/code", 401), (path, whom, status)
                assert status in (200, 303) or not first or path in NEED_A_CODE, (path, status, "does nothing at all")
                first = False


def _agrees(state: str, path: str, whom: Role | None, said: tuple[int, str]) -> None:
    """Hold the answer to a GET against the table."""
    status, to = said
    if state == "open":
        assert status not in (401, 403) or (path, status) == ("/sign-in/oidc/callback", 401), (path, whom, said)
        assert "/sign-in?next" not in to, (path, whom, said)
    elif state == "shut":
        assert status == 403, (path, whom, said)
    else:
        assert (status, to.partition("=")[0]) == (303, "/sign-in?next"), (path, whom, said)


async def _refuses(visitors: Visitors, path: str, expected: dict[Role | None, str]) -> None:
    """Send a form that must not be believed in every way, and by everybody who may not; nothing may have changed."""
    before = await visitors.held()
    for whom, state in expected.items():
        if state != "open":
            status, _ = await visitors.send(path, whom)
            assert status == (401 if state == "led" else 403), (path, whom, status)
    browser = visitors.browsers[Role.SUPERADMIN]
    other = csrf_for(visitors.browsers[Role.RESPONDER])
    for name, headers, proof in _forged(csrf_for(browser), other):
        status, _ = await visitors.ask("POST", path, browser | headers, data=visitors.form(path) | proof)
        assert status == 403, (path, name, status)
        if expected[None] == "open" and headers:
            status, _ = await visitors.ask("POST", path, headers, data=visitors.form(path))
            assert status == 403, (path, name, "nobody", status)
    proved = visitors.form(path, csrf=csrf_for(browser))
    status, _ = await visitors.ask("POST", path, browser, json=proved)
    assert status == 415, (path, "JSON", status)
    status, _ = await visitors.ask("POST", path, browser, params=proved, data=visitors.form(path))
    assert status == 403, (path, "in the address", status)
    assert await visitors.held() == before, path
