"""Calendars from anybody's program: what they say is taken whole, and what cannot be taken is refused with a reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.calendar import (
    MAX_CALENDAR_BYTES,
    MAX_EVENTS,
    MAX_RECURRING,
    CalendarEvent,
    CalendarReading,
    Named,
    read,
    written,
)
from tocsin.domain.oncall import Shift
from tocsin.domain.wall_clock import zone
from tocsin.errors import Code, TocsinError

BERLIN = zone("Europe/Berlin")
NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
DAILY = ("DTSTART;TZID=Europe/Berlin:20260327T090000", "DTEND;TZID=Europe/Berlin:20260328T090000", "RRULE:FREQ=DAILY")


def calendar(*events: tuple[str, ...]) -> bytes:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:test"]
    for number, event in enumerate(events):
        own = [] if any(line.startswith("UID") for line in event) else [f"UID:{number}"]
        lines += ["BEGIN:VEVENT", *own, *event, "END:VEVENT"]
    return "\r\n".join([*lines, "END:VCALENDAR", ""]).encode()


def taken(*events: tuple[str, ...]) -> list[str]:
    """Return when events begin and end, as the clock in Berlin shows it."""
    return [_told(event) for event in read(calendar(*events), BERLIN, NOW).events]


def _told(event: CalendarEvent) -> str:
    start, end = (at.astimezone(BERLIN) for at in (event.starts_at, event.ends_at))
    return f"{start:%m-%d %H:%M} {end:%m-%d %H:%M}"


def refusal(data: bytes) -> TocsinError:
    with pytest.raises(TocsinError) as caught:
        read(data, BERLIN, NOW)
    return caught.value


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (("DTSTART:20260401T070000Z", "DTEND:20260401T150000Z"), "04-01 09:00 04-01 17:00"),
        (("DTSTART:20260401T090000", "DURATION:PT8H"), "04-01 09:00 04-01 17:00"),
        (("DTSTART:20260401T090000", "DURATION:P1W"), "04-01 09:00 04-08 09:00"),
        (("DTSTART;VALUE=DATE:20260401",), "04-01 00:00 04-02 00:00"),
        (("DTSTART;VALUE=DATE:20260401", "DTEND;VALUE=DATE:20260404"), "04-01 00:00 04-04 00:00"),
        (
            ("DTSTART;TZID=Europe/London:20260401T080000", "DTEND;TZID=America/New_York:20260401T110000"),
            "04-01 09:00 04-01 17:00",
        ),
        (("DTSTART:20260329T023000", "DTEND:20260329T090000"), "03-29 03:00 03-29 09:00"),  # 02:30 does not exist
    ],
)
def test_times_are_read_in_every_form(event: tuple[str, ...], expected: str) -> None:
    assert taken(event) == [expected]


def test_a_daily_shift_keeps_its_wall_times_when_the_clocks_change() -> None:
    assert taken((*DAILY, "X-A:b"))[:3] == [
        "03-27 09:00 03-28 09:00",
        "03-28 09:00 03-29 09:00",
        "03-29 09:00 03-30 09:00",
    ]


def test_a_zone_that_the_file_describes_is_understood() -> None:
    described = (
        "BEGIN:VTIMEZONE\r\nTZID:Our Office\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\n"
        "TZOFFSETFROM:+0300\r\nTZOFFSETTO:+0300\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT"
    )
    data = calendar(("DTSTART;TZID=Our Office:20260401T100000", "DTEND;TZID=Our Office:20260401T110000"))
    (event,) = read(data.replace(b"BEGIN:VEVENT", described.encode()), BERLIN, NOW).events
    assert _told(event) == "04-01 09:00 04-01 10:00"


def test_repetitions_end_leave_out_add_and_change() -> None:
    bounded = (*DAILY[:2], "RRULE:FREQ=DAILY;COUNT=4", "UID:rota")
    assert [one[:5] for one in taken(bounded)] == ["03-27", "03-28", "03-29", "03-30"]
    ended = (*DAILY[:2], "RRULE:FREQ=DAILY;UNTIL=20260329T070000Z")
    assert [one[:5] for one in taken(ended)] == ["03-27", "03-28", "03-29"], "until and with the last"
    out = (
        *bounded,
        "EXDATE;TZID=Europe/Berlin:20260328T090000,20260329T090000",
        "RDATE;TZID=Europe/Berlin:20260405T090000",
    )
    assert [one[:5] for one in taken(out)] == ["03-27", "03-30", "04-05"]
    moved = (
        "UID:rota",
        "RECURRENCE-ID;TZID=Europe/Berlin:20260329T090000",
        "DTSTART:20260329T100000Z",
        "DTEND:20260329T110000Z",
    )
    assert taken(bounded, moved)[2] == "03-29 12:00 03-29 13:00"
    assert len(taken(bounded, (*moved, "STATUS:CANCELLED"))) == 3


def test_only_the_time_around_now_is_taken_and_what_lies_outside_is_counted() -> None:
    old = ("DTSTART:20200101T000000Z", "DTEND:20200102T000000Z")
    far = ("DTSTART:99990101T000000Z", "DTEND:99990102T000000Z")
    assert read(calendar(old, far), BERLIN, NOW) == CalendarReading([], 2)
    weekly = ("DTSTART:20200101T000000Z", "DTEND:20200102T000000Z", "RRULE:FREQ=WEEKLY")
    reading = read(calendar(weekly), BERLIN, NOW)
    assert (len(reading.events), reading.outside) == (61, 0)
    assert reading.events[0].ends_at > NOW - timedelta(days=62)
    assert reading.events[-1].starts_at < NOW + timedelta(days=366)


def test_whom_an_event_names_is_read() -> None:
    event = (
        *DAILY[:2],
        "SUMMARY: Ana\\, Bo ",
        "ATTENDEE;CN=Ana:MAILTO:ana@example.org",
        "ATTENDEE:mailto:bo@example.org",
    )
    (one,) = read(calendar((*event, "ORGANIZER:mailto:cy@example.org")), BERLIN, NOW).events
    assert (one.attendees, one.organizer) == (("ana@example.org", "bo@example.org"), "cy@example.org")
    assert one.summary == "Ana, Bo"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (("SUMMARY:Ana",), "without a beginning"),
        (("DTSTART:soon",), "DTSTART is not understood"),
        (("DTSTART:20260401T090000Z",), "does not last"),
        (("DTSTART:20260401T090000Z", "DTEND:20260401T080000Z"), "does not last"),
        (("DTSTART;TZID=Mars/Olympus:20260401T090000", "DURATION:PT1H"), "unknown time zone"),
        ((*DAILY[:2], "RRULE:FREQ=SECONDLY"), "not taken"),
        ((*DAILY[:2], "RRULE:FREQ=DAILY;BYHOUR=9,10"), "BYHOUR is not understood"),
        ((*DAILY[:2], "RRULE:FREQ=DAILY", "RRULE:FREQ=WEEKLY"), "several rules"),
        (("DTSTART:20100101T090000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY"), "more than 10 years ago"),
        ((*DAILY, "UID:a", "RECURRENCE-ID;RANGE=THISANDFUTURE:20260329T070000Z"), "RANGE"),
        (("DTSTART:00010101T000000", "DTEND:99991231T235959"), "cannot be read"),
    ],
)
def test_what_cannot_be_taken_is_named(event: tuple[str, ...], reason: str) -> None:
    found = refusal(calendar(event)).refusal
    assert found.code is Code.INVALID
    assert reason in found.message


@pytest.mark.slow
def test_a_file_has_bounds() -> None:
    event = ("DTSTART:20260401T090000Z", "DURATION:PT1H")
    assert len(taken(*[event] * MAX_EVENTS)) == MAX_EVENTS
    assert f"more than {MAX_EVENTS} events" in refusal(calendar(*[event] * (MAX_EVENTS + 1))).refusal.message
    repeated = refusal(calendar(*[DAILY] * (MAX_RECURRING + 1))).refusal
    assert f"more than {MAX_RECURRING} events that repeat" in repeated.message
    assert f"more than {MAX_EVENTS} shifts" in refusal(calendar(*[DAILY] * MAX_RECURRING)).refusal.message
    assert refusal(b" " * (MAX_CALENDAR_BYTES + 1)).refusal.code is Code.TOO_LARGE
    for data in (b"", b"x", b"BEGIN:VCALENDAR", b"\xff\x00" * 100, b"BEGIN:VCALENDAR\r\n" * 10_000, calendar()):
        assert refusal(data).refusal.code is Code.INVALID


@given(st.lists(st.tuples(st.integers(0, 500), st.sampled_from(list(b':;=,\r\n"-0Z\x00\xff'))), min_size=1, max_size=8))
def test_whatever_comes_is_taken_or_refused(changes: list[tuple[int, int]]) -> None:
    event = (
        *DAILY,
        "EXDATE;TZID=Europe/Berlin:20260328T090000",
        "SUMMARY:Ana",
        "ATTENDEE;CN=Ana:mailto:ana@example.org",
    )
    data = bytearray(
        calendar(
            (*event, "UID:a"), ("UID:a", "RECURRENCE-ID:20260330T070000Z", "DTSTART:20260330T080000Z", "DURATION:PT1H")
        )
    )
    for place, byte in changes:
        data[place % len(data)] = byte
    try:
        reading = read(bytes(data), BERLIN, NOW)
    except TocsinError:
        return
    assert all(one.starts_at < one.ends_at for one in reading.events)


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200).map(str.strip).filter(bool)
moments = st.integers(0, 365 * 24 * 60).map(lambda minutes: NOW + timedelta(minutes=minutes - 50 * 24 * 60))


@given(
    names, st.lists(st.tuples(moments, st.integers(1, 10_000)), min_size=1, max_size=5, unique_by=lambda one: one[0])
)
def test_what_we_write_we_read(name: str, times: list[tuple[datetime, int]]) -> None:
    found = [Shift(start, start + timedelta(minutes=length), UUID(int=1), f"layer {name}") for start, length in times]
    person = Named(name, "ana@example.org")
    data = written(name, UUID(int=2), ((shift, person) for shift in found), NOW)
    assert all(len(line) <= 75 for line in data.split(b"\r\n"))
    events = read(data, BERLIN, NOW).events
    inside = sorted(shift.starts_at for shift in found if shift.starts_at < NOW + timedelta(days=366))
    assert [event.starts_at for event in events] == inside
    assert {(event.attendees, event.summary) for event in events} <= {(("ana@example.org",), name)}


def test_a_shift_has_the_same_uid_in_every_file() -> None:
    shift, other = (Shift(NOW, NOW + timedelta(hours=hours), UUID(int=1), "layer a") for hours in (1, 2))
    person = Named("Ana", "ana@example.org")

    def uids(*found: Shift, at: datetime = NOW) -> list[bytes]:
        data = written("primary", UUID(int=2), ((one, person) for one in found), at)
        return [line for line in data.split(b"\r\n") if line.startswith(b"UID")]

    assert uids(shift) == uids(shift, at=NOW + timedelta(days=1))
    assert uids(shift) == uids(other), "one that ends otherwise is the same shift, changed"
    assert uids(shift) != uids(Shift(NOW, shift.ends_at, UUID(int=1), "override"))
