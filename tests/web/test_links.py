"""The link in a page: looking changes nothing, the button takes the incident once, and the token stays a secret."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlencode
from uuid import UUID

import pytest

from tests.support.clock import FakeClock
from tests.support.mailbox import smtp_server
from tests.support.owing import owe_page
from tests.web.conftest import PASSWORD, Answer, Live, rows, sign_in
from tocsin.app import accounts, respond
from tocsin.app.work import App
from tocsin.bootstrap import links_of, outbound_channels
from tocsin.domain.access import Actor, Role
from tocsin.domain.policy import Duty
from tocsin.domain.workflow import Acknowledge
from tocsin.ids import new_id
from tocsin.settings import Settings
from tocsin.worker.run import run_due

pytestmark = pytest.mark.anyio

NOOR = "noor@example.org"
LATEST = b"SELECT action, target, status, outcome, credential, user_id FROM audit_access_log ORDER BY id DESC LIMIT 1"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Sessions are blocked in these tests."""
    return settings.model_copy(update={"session_blocking": True})


@pytest.fixture
async def noor(app: App, admin: Actor) -> Actor:
    """Who is on call."""
    async with app.work() as work:
        user_id = await accounts.add_user(
            work, admin, email=NOOR, name="Noor <b>", role=Role.RESPONDER, password=PASSWORD
        )
        await accounts.assign_duty(work, admin, Duty.ON_CALL, NOOR)
    return Actor(user_id, "Noor <b>", Role.RESPONDER)


async def path_of(live: Live, reason: str = "INCIDENT_OPENED") -> str:
    """Return the path of the link of the latest page of a reason."""
    query = b"SELECT id FROM notifications WHERE reason = '%s' ORDER BY created_at DESC, id DESC" % reason.encode()
    (page_id,) = (await rows(live.app, query))[0]
    return f"/a/{links_of(live.app.settings).token(page_id)}"


async def press(live: Live, path: str, notes: str = "On it.") -> Answer:
    """Press the button."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return await live.call("POST", path, data=urlencode({"notes": notes}).encode(), headers=headers)


async def status_of(live: Live) -> str:
    """Return the status of the only incident."""
    ((status,),) = await rows(live.app, b"SELECT status FROM incident_heads")
    return str(status)


async def test_looking_shows_the_incident_and_changes_nothing_and_the_button_takes_it(
    live: Live, noor: Actor, clock: FakeClock
) -> None:
    await live.open_incident(title="<script>alert(1)</script> & it broke")
    path = await path_of(live)
    for method in ("GET", "HEAD", "GET"):
        headers = {"Purpose": "prefetch", "User-Agent": "Slackbot-LinkExpanding 1.0"}
        shown = await live.call(method, path, headers=headers)
        assert shown.status == 200
    assert await status_of(live) == "REPORTED"
    html = shown.body.decode()
    for said in ("INC-1", "&lt;script&gt;alert(1)&lt;/script&gt; &amp; it broke", "HIGH", "On it.", "Noor &lt;b&gt;"):
        assert said in html
    assert "<script" not in html
    assert html.count("<form") == 1
    assert html.count("<button>") == 1
    taken = await press(live, path, "On my <i>way</i>\r\nnow")
    assert taken.status == 200
    assert "It is yours, since 2026-03-01 03:00:00 UTC" in taken.body.decode()
    (entry,) = await rows(live.app, b"SELECT ack_by_user_id, ack_notes FROM incident_acknowledgments")
    assert entry == (noor.user_id, "On my <i>way</i>\nnow")
    assert await rows(live.app, LATEST) == [("POST /a/{token}", "/a/{token}", 200, "OK", "link", noor.user_id)]


async def test_the_page_may_run_nothing_and_is_kept_and_indexed_nowhere(live: Live, noor: Actor) -> None:
    await live.open_incident()
    for answer in (await live.call("GET", await path_of(live)), await live.call("GET", "/a/wrong")):
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "form-action 'self'" in policy
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_second_click_shows_who_has_it_and_since_when(
    live: Live, noor: Actor, admin: Actor, clock: FakeClock
) -> None:
    await live.open_incident()
    path = await path_of(live)
    assert (await press(live, path)).status == 200
    clock.forward(minutes=5)
    again = await press(live, path)
    assert again.status == 409
    assert "You have it, since 2026-03-01 03:00:00 UTC" in again.body.decode()
    looked = await live.call("GET", path)
    assert looked.status == 200
    assert "<form" not in looked.body.decode()
    assert await rows(live.app, b"SELECT count(*) FROM incident_lifecycle") == [(2,)]
    assert (await rows(live.app, LATEST))[0][3] == "OK"


async def test_who_comes_late_is_told_who_was_faster(live: Live, noor: Actor, admin: Actor) -> None:
    await live.open_incident()
    async with live.app.work() as work:
        await respond.acknowledge(work, admin, 1, Acknowledge("mine"))
    path = await path_of(live)
    late = await press(live, path)
    assert (late.status, b"ada has it, since" in late.body) == (409, True)
    assert await rows(live.app, b"SELECT link_used_at FROM notifications") == [(None,)]


async def test_of_many_clicks_at_once_one_takes_it(live: Live, noor: Actor) -> None:
    await live.open_incident()
    path = await path_of(live)
    answers = await asyncio.gather(*(press(live, path) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7
    assert await rows(live.app, b"SELECT incident_ack_count FROM users WHERE email = 'noor@example.org'") == [(1,)]


async def test_a_link_is_good_for_a_week(live: Live, noor: Actor, clock: FakeClock) -> None:
    await live.open_incident(title="A secret of the shop")
    path = await path_of(live)
    clock.forward(days=7, seconds=-1)
    assert (await live.call("GET", path)).status == 200
    clock.forward(seconds=1)
    for answer in (await live.call("GET", path), await press(live, path)):
        assert answer.status == 403
        assert b"too old" in answer.body
        assert b"secret" not in answer.body
    assert await status_of(live) == "REPORTED"


@pytest.mark.parametrize("change", ["inactive", "auditor"])
async def test_who_may_not_respond_any_more_neither_reads_nor_acts_by_a_link(
    live: Live, noor: Actor, admin: Actor, change: str
) -> None:
    await live.open_incident(title="A secret of the shop")
    path = await path_of(live)
    async with live.app.work() as work:
        if change == "inactive":
            await work.tx.value(
                b"UPDATE users SET active = false WHERE email = %(email)s RETURNING id", {"email": NOOR}
            )
        else:
            await accounts.set_role(work, admin, NOOR, Role.AUDITOR)
    for answer in (await live.call("GET", path), await press(live, path)):
        assert answer.status == 403
        assert b"may not acknowledge incidents any more" in answer.body
        assert b"secret" not in answer.body
    assert await status_of(live) == "REPORTED"
    assert (await rows(live.app, LATEST))[0][3] == "FORBIDDEN"


async def test_the_link_of_a_lapsed_acknowledgment_says_that_somebody_is_still_on_it(
    live: Live, noor: Actor, admin: Actor
) -> None:
    await live.open_incident()
    await press(live, await path_of(live))
    for user_id in (noor.user_id, admin.user_id):
        async with live.app.work() as work:
            await owe_page(work, 1, "ACK_LAPSED", user_id, NOOR)
    found = await rows(live.app, b"SELECT id, user_id FROM notifications WHERE reason = 'ACK_LAPSED'")
    paths = {user_id: f"/a/{links_of(live.app.settings).token(page_id)}" for page_id, user_id in found}
    other = await live.call("GET", paths[admin.user_id])
    assert b"Noor &lt;b&gt; has it" in other.body
    assert b"<form" not in other.body
    assert b"Still on it." in (await live.call("GET", paths[noor.user_id])).body
    assert (await press(live, paths[noor.user_id], "still digging")).status == 200
    (note,) = await rows(
        live.app, b"SELECT event_type, actor_user_id, personal ->> 'text' FROM incident_lifecycle WHERE sequence = 3"
    )  # fmt: skip
    assert note == ("NOTE_ADDED", noor.user_id, "still digging")
    assert (await press(live, paths[noor.user_id])).status == 409
    assert await rows(live.app, b"SELECT count(*) FROM incident_lifecycle") == [(3,)]


async def test_a_wrong_token_leads_nowhere_and_who_guesses_is_held_off_while_who_has_one_is_not(
    live: Live, noor: Actor
) -> None:
    await live.open_incident()
    path = await path_of(live)
    flipped = path[:-2] + ("A" if path[-2] != "A" else "B") + path[-1]
    unknown = f"/a/{links_of(live.app.settings).token(new_id())}"
    wrong = [
        flipped,
        path[:-1],
        path + "A",
        "/a/x",
        "/a/%00",
        "/a/%F0%9F%94%94" + "x" * 42,
        "/a/" + "+" * 43,
        "/a/" + "9" * 5_000,
    ]
    for one in wrong:
        answer = await live.call("GET", one)
        assert answer.status == 404, one
        assert b"leads nowhere" in answer.body
    assert (await live.call("GET", unknown)).status == 404
    assert (await press(live, "/a/y")).status == 404
    assert (await press(live, "/a/z")).status == 404
    held_off = await live.call("GET", "/a/again")
    assert held_off.status == 429
    assert int(held_off.headers["Retry-After"]) > 0
    assert (await press(live, path)).status == 200


async def test_a_bad_form_is_refused_with_the_status_that_fits(live: Live, noor: Actor) -> None:
    await live.open_incident()
    path = await path_of(live)
    form = "application/x-www-form-urlencoded"
    for body, media_type, status in (
        (b"notes=", form, 422),
        (b"", form, 422),
        (b"notes=+++", form, 422),
        (b"notes=a%00b", form, 422),
        (b"notes=%ED%A0%80", form, 400),
        (b"notes=%FF", form, 400),
        (b"notes=\xff", form, 400),
        (b"&".join([b"notes=a"] * 20), form, 400),
        (b"notes=" + b"x" * 10_001, form, 422),
        (b"notes=" + b"x" * 200_000, form, 413),
        (b'{"notes": "a"}', "application/json", 415),
        (b"notes=a", "", 415),
    ):
        headers = {"Content-Type": media_type}
        answer = await live.call("POST", path, data=body, headers=headers)
        assert answer.status == status, (body[:40], answer.body)
    assert await status_of(live) == "REPORTED"
    assert (await live.call("PUT", path)).status == 405


async def test_the_token_is_recorded_nowhere(
    live: Live, noor: Actor, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    await live.open_incident()
    path = await path_of(live)
    token = path.removeprefix("/a/")
    await live.call("GET", path)
    await live.call("GET", f"{path}/more")
    await live.call("DELETE", path)
    await press(live, path, "")
    await press(live, path)
    everything = await rows(live.app, b"SELECT string_agg(a::text, ' ') FROM audit_access_log a")
    scraped = (await live.get("/metrics")).body.decode()
    told = capfd.readouterr()
    for place in (str(everything), scraped, told.out, told.err, caplog.text):
        assert token not in place
    assert "/a/{token}" in str(everything)


async def test_a_session_that_is_blocked_can_still_acknowledge_by_a_link(
    live: Live, noor: Actor, tokens: dict[Role, str]
) -> None:
    session = await sign_in(live, Role.MEMBER)
    await live.open_incident(severity="CRITICAL")
    await rows(live.app, b"SELECT 1")
    async with live.app.work() as work:
        await work.tx.run(b"UPDATE sessions SET blocked_due_to_incident = (SELECT incident_id FROM incident_heads)")
    blocked = await live.call("GET", "/api/auth/session", headers={"Cookie": session.cookie})
    assert blocked.code == "SESSION_BLOCKED"
    shown = await live.call("GET", await path_of(live), headers={"Cookie": session.cookie})
    assert shown.status == 200


def test_tokens_are_short_and_of_this_installation_alone() -> None:
    from tocsin.app.links import Links

    ours, theirs = Links(b"a" * 32), Links(b"b" * 32)
    page_id = UUID(int=7)
    token = ours.token(page_id)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    assert ours.notification_of(token) == page_id
    assert theirs.notification_of(token) is None
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    good = [letter for letter in last if ours.notification_of(token[:-1] + letter) is not None]
    assert good == [token[-1]], "one page has one token, not four"


async def test_the_link_that_arrives_by_mail_takes_the_incident(live: Live, noor: Actor) -> None:
    with smtp_server() as mailbox:
        settings = live.app.settings.model_copy(
            update={
                "smtp_host": "127.0.0.1",
                "smtp_port": mailbox.port,
                "smtp_security": "none",
                "public_url": live.url,
            }
        )
        app = App(live.app.database, settings, live.app.clock)
        await live.open_incident()
        async with outbound_channels(settings) as channels:
            await run_due(app, channels)
        (mail,) = mailbox.mails()
    link = re.search(r"^Take it: (\S+)", mail.get_content(), re.MULTILINE)
    assert link is not None
    assert (await press(live, link[1].removeprefix(live.url))).status == 200
    assert await status_of(live) == "ACKNOWLEDGED"
