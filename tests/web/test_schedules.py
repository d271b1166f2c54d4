"""Schedules over HTTP: who may what, feeds that need no sign-in, and calendars that come in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import ADMIN_EMAIL, ADMIN_TOKEN
from tests.support.cases import cases
from tests.support.clock import FakeClock
from tests.web.conftest import Live, email_of, rows
from tocsin.domain.access import Role

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)


def layer(*members: str, **more: Any) -> dict[str, Any]:
    """Return a layer of weeks, as JSON."""
    said = {"name": "weeks", "rotation": "WEEKLY", "every": 1, "startsOn": "2026-01-05", "handOff": "09:00"}
    return said | {"members": list(members)} | more


async def made(live: Live, *members: str) -> str:
    """Add a schedule; return its path."""
    answer = await live.post("/api/schedules", {"name": "primary", "timeZone": "Europe/Berlin"})
    assert answer.status == 201, answer.body
    path = f"/api/schedules/{answer.json['schedule']['id']}"
    body = {"layers": [layer(*(members or (ADMIN_EMAIL,)))]}
    changed = await live.call("PATCH", path, token=ADMIN_TOKEN, json=body)
    assert changed.status == 200, changed.body
    return path


@pytest.fixture
async def primary(live: Live) -> str:
    """The path of a schedule."""
    return await made(live)


async def test_a_schedule_is_added_changed_shown_and_removed(
    live: Live, tokens: dict[Role, str], clock: FakeClock
) -> None:
    clock.now = datetime(2026, 1, 7, tzinfo=UTC)
    responder = email_of(Role.RESPONDER)
    path = await made(live, ADMIN_EMAIL, responder)
    hours = {"weekdays": [0, 4], "start": "09:00", "end": "17:00"}
    top = layer(
        responder, name="top", rotation="CUSTOM", every=43_200, restrictions=[hours], startsAt="2026-02-01T00:00:00Z"
    )
    changed = await live.call(
        "PATCH", path, token=ADMIN_TOKEN, json={"layers": [layer(ADMIN_EMAIL, responder), top], "people": 1}
    )
    shown = (await live.get(path, token=tokens[Role.AUDITOR])).json["schedule"]
    assert shown == changed.json["schedule"]
    assert shown["layers"][1] == top | {"restrictions": [hours], "endsAt": None}
    assert [turn["person"]["email"] for turn in shown["onCall"]] == [ADMIN_EMAIL]
    assert shown["onCall"][0]["endsAt"] == "2026-01-12T08:00:00Z"
    later = (await live.get(f"{path}?at=2026-01-14T00:00:00Z")).json["schedule"]
    assert [turn["person"]["email"] for turn in later["onCall"]] == [responder]
    (line,) = (await live.get("/api/schedules")).json["schedules"]
    assert (line["name"], line["timeZone"], line["missing"]) == ("primary", "Europe/Berlin", 0)
    assert (await live.post("/api/schedules", {"name": "Primary"})).code == "CONFLICT"
    assert (await live.post(f"{path}/remove")).status == 200
    assert (await live.get(path)).code == "NOT_FOUND"


async def test_shifts_and_gaps_are_told_for_a_period(live: Live) -> None:
    path = await made(live)
    period = "from=2026-01-01T00:00:00Z&to=2026-01-13T00:00:00%2B01:00"
    found = (await live.get(f"{path}/shifts?{period}")).json["shifts"]
    assert [(one["startsAt"], one["source"]) for one in found] == [
        ("2026-01-05T08:00:00Z", "layer weeks"),
        ("2026-01-12T08:00:00Z", "layer weeks"),
    ]
    assert (await live.get(f"{path}/gaps?{period}")).json["gaps"] == [
        {"startsAt": "2026-01-01T00:00:00Z", "endsAt": "2026-01-05T08:00:00Z", "missing": 1}
    ]
    for wrong in (
        "from=9999-12-31T23:00:00Z",
        "from=0001-01-01T00:00:00Z",
        "to=1990-01-01T00:00:00Z",
        "from=x",
        "since=1",
    ):
        for what in ("shifts", "gaps"):
            assert (await live.get(f"{path}/{what}?{wrong}")).code == "INVALID", wrong
    assert (await live.get(f"{path}?at=9999-12-31T23:59:59-23:00")).code == "INVALID"
    assert (await live.get("/api/schedules/primary")).code == "NOT_FOUND"


async def test_a_responder_takes_a_shift_over_and_a_reader_does_not(
    live: Live, tokens: dict[Role, str], clock: FakeClock
) -> None:
    path, start = await made(live), clock.now + DAY
    said = {"startsAt": start.isoformat(), "endsAt": (start + DAY).isoformat()}
    own = {**said, "user": email_of(Role.RESPONDER), "insteadOf": ADMIN_EMAIL}
    added = await live.post(f"{path}/overrides", own, token=tokens[Role.RESPONDER])
    assert added.status == 201, added.body
    for token, body in ((tokens[Role.AUDITOR], own), (tokens[Role.RESPONDER], {**said, "user": ADMIN_EMAIL})):
        assert (await live.post(f"{path}/overrides", body, token=token)).code == "FORBIDDEN"
    assert (await live.post(f"{path}/overrides", {**own, "endsAt": own["startsAt"]})).code == "INVALID"
    assert (await live.post(f"{path}/overrides", {**own, "startsAt": "0001-01-01T00:00:00+14:00"})).code == "INVALID"
    for token in (tokens[Role.AUDITOR], tokens[Role.RESPONDER]):
        assert (await live.call("PATCH", path, token=token, json={"people": 1})).code == "FORBIDDEN"
    removed = await live.post(f"{path}/overrides/{added.json['id']}/remove", token=tokens[Role.RESPONDER])
    assert removed.status == 200


async def test_a_calendar_program_reads_a_feed_without_signing_in(live: Live, tokens: dict[Role, str]) -> None:
    path = await made(live)
    feed = await live.post(f"{path}/feeds", {}, token=tokens[Role.RESPONDER], headers={"Idempotency-Key": "once"})
    assert feed.status == 201
    url = feed.json["url"].removeprefix("http://tocsin.test")
    read = await live.call("GET", url)
    assert (read.status, read.headers["Content-Type"]) == (200, "text/calendar; charset=utf-8")
    assert read.headers["Cache-Control"] == "no-store"
    assert b"BEGIN:VEVENT" in read.body
    assert (await live.call("HEAD", url)).status == 200
    for wrong in (url[:-1], url.partition("?")[0], url + "&token=twice", f"{url}&more=1"):
        assert (await live.call("GET", wrong)).code in ("NOT_FOUND", "INVALID")
    token = url.partition("token=")[2]
    (listed,) = (await live.get(f"{path}/feeds", token=tokens[Role.RESPONDER])).json["feeds"]
    assert (await live.get(f"{path}/feeds", token=tokens[Role.AUDITOR])).code == "FORBIDDEN"
    assert (await live.post(f"{path}/feeds/{listed['id']}/revoke")).status == 200
    assert (await live.call("GET", url)).code == "NOT_FOUND"
    assert await rows(live.app, b"SELECT count(*) FROM idempotency_keys") == [(0,)]
    seen = await rows(live.app, b"SELECT action, target FROM audit_access_log WHERE action LIKE '%calendar.ics'")
    assert len(seen) == 7
    assert token not in str(seen), "nothing is ever removed from the access log"


def calendar(start: datetime, *lines: str) -> bytes:
    """Return a calendar of one event."""
    head = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", "BEGIN:VEVENT", "UID:1", f"DTSTART:{start:%Y%m%dT%H%M%SZ}"]
    return "\r\n".join([*head, *lines, "END:VEVENT", "END:VCALENDAR", ""]).encode()


async def test_a_calendar_is_taken_in_or_refused(live: Live, tokens: dict[Role, str], clock: FakeClock) -> None:
    path, headers = await made(live), {"Content-Type": "text/calendar; charset=utf-8"}
    good = calendar(clock.now + DAY, "DURATION:PT1H", f"ATTENDEE:mailto:{email_of(Role.RESPONDER)}")
    assert (
        await live.post(f"{path}/import", data=good, headers=headers, token=tokens[Role.RESPONDER])
    ).code == "FORBIDDEN"
    first = await live.post(f"{path}/import", data=good, headers=headers)
    assert first.json == {"schedule": "primary", "added": 1, "already": 0, "outside": 0}
    second = await live.post(f"{path}/import", data=good, headers=headers)
    assert second.json["already"] == 1
    unknown = await live.post(f"{path}/import", data=calendar(clock.now, "DURATION:PT1H", "SUMMARY:X"), headers=headers)
    assert (unknown.status, unknown.code) == (422, "INVALID")
    assert unknown.json["errors"][0]["problem"].startswith("'X' is neither")
    assert (await live.post(f"{path}/import", data=good, headers={"Content-Type": "text/plain"})).status == 415
    assert (await live.post(f"{path}/import", data=b"x" * (1024 * 1024 + 1), headers=headers)).code == "TOO_LARGE"
    for broken in (b"", b"\x00\xff", b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT"):
        assert (await live.post(f"{path}/import", data=broken, headers=headers)).code == "INVALID"


@cases(
    "change",
    [
        {"people": 0},
        {"people": 2},
        {"timeZone": "Mars/Olympus"},
        {"name": "x" * 101},
        {"layers": [layer()]},
        {"layers": [layer("nobody@example.org")]},
        {"layers": [layer(ADMIN_EMAIL, handOff="24:00")]},
        {"layers": [layer(ADMIN_EMAIL, every=54)]},
        {"layers": [layer(ADMIN_EMAIL, startsOn="9999-12-31")]},
        {"layers": [layer(ADMIN_EMAIL, startsAt="0001-01-01T00:00:00Z")]},
        {"layers": [layer(ADMIN_EMAIL), layer(ADMIN_EMAIL)]},
        {"layers": [layer(ADMIN_EMAIL, restrictions=[{"weekdays": [7], "start": "09:00", "end": "17:00"}])]},
        {"layers": [layer(ADMIN_EMAIL, members=[ADMIN_EMAIL] * 51)]},
        {"overrides": []},
    ],
)
async def test_a_change_that_cannot_work_is_refused_and_named(live: Live, primary: str, change: dict[str, Any]) -> None:
    before = (await live.get(primary)).json
    answer = await live.call("PATCH", primary, token=ADMIN_TOKEN, json=change)
    assert answer.code == "INVALID"
    assert answer.json["errors"]
    assert (await live.get(primary)).json["schedule"]["layers"] == before["schedule"]["layers"]
