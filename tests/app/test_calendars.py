"""Calendars: a feed opens one schedule to whoever has its token; a calendar is taken in whole or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from tests.app.conftest import Crew
from tests.app.test_schedules import done, refused, weekly
from tests.conftest import Installation
from tests.support.clock import FakeClock
from tests.support.databases import clone
from tests.support.lives import actor_of
from tests.support.servers import Server
from tocsin.app import accounts, calendars, schedules
from tocsin.app.accounts import first_start
from tocsin.app.work import App
from tocsin.domain.access import Actor, Role
from tocsin.domain.policy import Duty
from tocsin.domain.rotation import Layer, Restriction, Rotation, RotationKind
from tocsin.errors import Code
from tocsin.store.database import Database

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
async def primary(app: App, crew: Crew, clock: FakeClock) -> str:
    """A schedule of two at once: olga, sam and dee by the week, by day somebody else, and an override."""
    clock.now = NOW
    office = Restriction(frozenset(range(5)), time(9), time(17))
    rotation = Rotation(RotationKind.DAILY, 1, date(2026, 1, 5), time(9))
    by_day = Layer("office", rotation, (crew.dee.user_id, crew.olga.user_id, crew.sam.user_id), (office,))
    layers = [weekly(crew.olga, crew.sam, crew.dee), by_day]
    await done(app, lambda work: schedules.add(work, crew.ada, name="primary", time_zone="Europe/Berlin", people=2))
    await done(app, lambda work: schedules.change(work, crew.ada, "primary", layers=layers))
    start, end = NOW + 8 * DAY, NOW + 10 * DAY
    await done(
        app,
        lambda work: schedules.add_override(
            work, crew.ada, "primary", "ada@example.org", start, end, "olga@example.org"
        ),
    )
    return "primary"


async def feed(app: App, crew: Crew, email: str | None = None) -> tuple[calendars.Feed, bytes]:
    """Make a feed and read it."""
    made = await done(app, lambda work: calendars.make_feed(work, crew.olga, "primary", email))
    return made, await content(app, made)


async def content(app: App, made: calendars.Feed) -> bytes:
    """Read a feed by its URL."""
    async with app.work() as work:
        schedule = await schedules.find(work, made.schedule)
        return await calendars.calendar(work, schedule.id, made.url.partition("token=")[2])


async def told(app: App, actor: Actor, start: datetime, end: datetime) -> list[tuple[datetime, datetime, str]]:
    """Return the shifts of a period."""
    found = await done(app, lambda work: schedules.shifts_of(work, actor, "primary", start, end))
    return [(turn.starts_at, turn.ends_at, turn.person.email) for turn in found]


async def test_a_feed_shows_a_month_back_and_three_ahead(app: App, crew: Crew, primary: str) -> None:
    _, data = await feed(app, crew)
    assert data.count(b"BEGIN:VEVENT") == len(await told(app, crew.olga, NOW - 30 * DAY, NOW + 90 * DAY)) > 100
    _, own = await feed(app, crew, "sam@example.org")
    assert b"sam@example.org" in own
    assert b"olga@example.org" not in own
    assert 0 < own.count(b"BEGIN:VEVENT") < data.count(b"BEGIN:VEVENT")


async def test_a_token_opens_its_own_schedule_until_it_is_revoked_or_its_maker_is_shut_out(
    app: App, crew: Crew, primary: str
) -> None:
    made, _ = await feed(app, crew)
    token = made.url.partition("token=")[2]
    other = await done(app, lambda work: schedules.add(work, crew.ada, name="other", time_zone="UTC"))
    for schedule_id, tried in ((other.id, token), (made.id, token), (other.id, ""), (other.id, "x" * 10_000)):
        refusal = await refused(app, lambda work, s=schedule_id, t=tried: calendars.calendar(work, s, t))  # type: ignore[misc]
        assert refusal.refusal.code is Code.NOT_FOUND
    await done(app, lambda work: accounts.assign_duty(work, crew.ada, Duty.ON_CALL, "ada@example.org"))
    await done(app, lambda work: accounts.set_active(work, crew.ada, "olga@example.org", active=False))
    with pytest.raises(Exception, match="token"):
        await content(app, made)
    await done(app, lambda work: accounts.set_active(work, crew.ada, "olga@example.org", active=True))
    listed = await done(app, lambda work: calendars.list_feeds(work, crew.sam, primary))
    assert [(one.id, one.created_by) for one in listed] == [(made.id, "olga@example.org")]
    await done(app, lambda work: calendars.revoke_feed(work, crew.sam, primary, made.id))
    with pytest.raises(Exception, match="token"):
        await content(app, made)
    again = await refused(app, lambda work: calendars.revoke_feed(work, crew.sam, primary, made.id))
    assert again.refusal.code is Code.NOT_FOUND
    assert (
        await refused(app, lambda work: calendars.make_feed(work, crew.dee, primary))
    ).refusal.code is Code.FORBIDDEN


@pytest.fixture
async def elsewhere(server: Server, app: App, installation: Installation) -> AsyncIterator[App]:
    """A second installation, with users of the same e-mails."""
    with clone(server) as name:
        database = Database(server.conninfo(name, user="tocsin_app"), size=4)
        await database.open()
        try:
            second = App(database, app.settings, app.clock)
            await done(second, first_start)
            ada = await actor_of(second, installation.first.email)
            for person in ("dee", "sam", "olga"):
                await done(second, _adding(ada, f"{person}@example.org"))
            await done(second, lambda work: schedules.add(work, ada, name="primary", time_zone="Asia/Tokyo", people=2))
            yield second
        finally:
            await database.close()


def _adding(ada: Actor, email: str) -> Any:
    return lambda work: accounts.add_user(work, ada, email=email, name="somebody", role=Role.RESPONDER, password=None)


@pytest.mark.slow
async def test_a_feed_taken_in_elsewhere_gives_the_same_shifts(
    app: App, crew: Crew, primary: str, elsewhere: App
) -> None:
    _, data = await feed(app, crew)
    ada = await actor_of(elsewhere, "ada@example.org")
    imported = await done(elsewhere, lambda work: calendars.import_calendar(work, ada, "primary", data))
    start, end = NOW - 30 * DAY, NOW + 90 * DAY
    expected = await told(app, crew.ada, start, end)
    assert sorted(await told(elsewhere, ada, start, end)) == sorted(expected)
    assert (imported.added, imported.already, imported.outside) == (len(expected), 0, 0)
    assert {email for *_, email in expected} == {f"{name}@example.org" for name in ("ada", "olga", "sam", "dee")}
    again = await done(elsewhere, lambda work: calendars.import_calendar(work, ada, "primary", data))
    assert (again.added, again.already) == (0, len(expected))


def events(*bodies: str) -> bytes:
    """Return a calendar of events, each of an hour, one after the other."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:test"]
    for number, body in enumerate(bodies):
        at = NOW + timedelta(hours=number)
        lines += ["BEGIN:VEVENT", f"UID:{number}", f"DTSTART:{at:%Y%m%dT%H%M%SZ}", "DURATION:PT1H", body, "END:VEVENT"]
    return "\r\n".join([*lines, "END:VCALENDAR", ""]).encode()


async def test_people_are_known_by_attendee_else_organizer_else_title(app: App, crew: Crew, primary: str) -> None:
    data = events(
        "SUMMARY:Sam\r\nATTENDEE:mailto:DEE@example.org\r\nORGANIZER:mailto:olga@example.org",
        "SUMMARY:Sam\r\nORGANIZER:MAILTO:olga@example.org",
        "SUMMARY:sam@example.org\r\nORGANIZER:mailto:calendar@elsewhere.example",
        "SUMMARY: sam ",
        "ATTENDEE:mailto:olga@example.org\r\nATTENDEE:mailto:sam@example.org",
    )
    done_ = await done(app, lambda work: calendars.import_calendar(work, crew.ada, primary, data))
    assert done_.added == 6
    view = await done(app, lambda work: schedules.show(work, crew.ada, primary))
    names = [view.people[one.user_id].name for one in view.schedule.overrides if one.instead_of is None]
    assert names[:4] == ["Dee", "Olga", "Sam", "Sam"]
    assert sorted(names[4:]) == ["Olga", "Sam"], "at the same time, in any order"


async def test_unknown_people_are_named_all_at_once_and_nothing_is_written(app: App, crew: Crew, primary: str) -> None:
    await done(app, _adding(crew.ada, "sam2@example.org"))
    await done(app, _adding(crew.ada, "sam3@example.org"))
    data = events(
        "SUMMARY:Sam", "SUMMARY:Nobody", "ATTENDEE:mailto:gone@example.org", "SUMMARY:somebody", "DESCRIPTION:nameless"
    )
    before = await done(app, schedules.load)
    refusal = (await refused(app, lambda work: calendars.import_calendar(work, crew.ada, primary, data))).refusal
    assert refusal.code is Code.INVALID
    for part in (
        "'Nobody' is neither",
        "'gone@example.org' is not",
        "'somebody' is the name of several",
        "without a name",
    ):
        assert part in refusal.message
    errors = refusal.details["errors"]
    assert isinstance(errors, list)
    assert len(errors) == 4
    assert await done(app, schedules.load) == before


async def test_more_people_at_once_than_there_should_be_are_refused(app: App, crew: Crew, primary: str) -> None:
    three = "\r\n".join(f"ATTENDEE:mailto:{name}@example.org" for name in ("olga", "sam", "dee"))
    refusal = (
        await refused(app, lambda work: calendars.import_calendar(work, crew.ada, primary, events(three)))
    ).refusal
    assert "names 3 people at 2026-03-20 12:00 UTC" in refusal.message
    forbidden = await refused(
        app, lambda work: calendars.import_calendar(work, crew.olga, primary, events("SUMMARY:Sam"))
    )
    assert forbidden.refusal.code is Code.FORBIDDEN
