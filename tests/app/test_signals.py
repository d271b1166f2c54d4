"""What another system says goes into the timeline and moves nothing; silence about an alert counts as its end."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from tests.app.conftest import Crew, Inbox, Tables, run
from tests.app.test_report_errors import closed
from tests.support.clock import FakeClock
from tests.support.lives import accept_one, error_report, reported
from tests.support.reporting import accept
from tocsin.app import leases, respond, signals
from tocsin.app.signals import EXPIRE_ALERT, MAX_SIGNAL_TEXT_CHARACTERS, MAX_SIGNALS
from tocsin.app.verify import verify_database
from tocsin.app.work import App
from tocsin.domain.deduplication import Outcome
from tocsin.domain.incident import Severity
from tocsin.domain.report import MAX_EVENT_ID_CHARACTERS, ErrorReport, Signal
from tocsin.domain.workflow import Acknowledge
from tocsin.worker.handlers import Handlers

pytestmark = pytest.mark.anyio

LEASE_OVER = timedelta(minutes=2)
FOUR_MINUTES = timedelta(minutes=4)


def word(signal: Signal, failure: str = "ConnectionError", *, event_id: str | None = None) -> ErrorReport:
    """Return a signal about a failure."""
    return replace(error_report(failure, Severity.CRITICAL, event_id=event_id, message="says so"), signal=signal)


def alert(clock: FakeClock, *, event_id: str = "firing", lasts: timedelta = FOUR_MINUTES) -> ErrorReport:
    """Return an alert as Prometheus repeats it: the same event, with a later end each time."""
    return replace(error_report(event_id=event_id), expires_at=clock.now + lasts)


def entries(tables: Tables) -> list[tuple[str, str | None]]:
    """Return the timelines: what happened, and which signal it was."""
    return tables.rows("SELECT event_type, metadata ->> 'signal' FROM incident_lifecycle ORDER BY event_at, sequence")


def said(tables: Tables) -> list[str]:
    """Return the signals of all timelines."""
    return [str(signal) for _, signal in entries(tables) if signal is not None]


def expiries(tables: Tables) -> list[datetime]:
    """Return when alerts expire."""
    return [
        due_at for (due_at,) in tables.rows("SELECT due_at FROM jobs WHERE kind = %s ORDER BY due_at", EXPIRE_ALERT)
    ]


# --- signals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signal", Signal)
async def test_a_signal_is_an_entry_and_moves_nothing(
    app: App, crew: Crew, tables: Tables, inbox: Inbox, signal: Signal
) -> None:
    incident_id = await reported(app)
    await run(app, inbox)
    inbox.taken()
    before = tables.rows("SELECT status, current_severity, acknowledged_at, resolved_at FROM incident_heads")
    taken = await accept_one(app, word(signal, event_id="e1"))
    assert (taken.outcome, taken.incident_id) == (Outcome.JOINED, incident_id)
    assert tables.rows("SELECT status, current_severity, acknowledged_at, resolved_at FROM incident_heads") == before
    ((metadata, personal, actor_role),) = tables.rows(
        "SELECT metadata, personal, actor_role FROM incident_lifecycle WHERE event_type = 'SIGNAL_RECEIVED'"
    )
    assert metadata == {"signal": signal.value}
    assert personal == {"text": "ConnectionError: says so", "eventId": "e1"}
    assert actor_role == "system"
    assert tables.rows("SELECT signal, outcome FROM audit_logs WHERE event_id = 'e1'") == [(signal.value, "joined")]
    assert tables.value("SELECT occurrences FROM current_incident_status") == 1, "a signal is no occurrence"
    await run(app, inbox)
    assert inbox.taken() == []


async def test_a_signal_stops_no_escalation(
    app: App, crew: Crew, tables: Tables, inbox: Inbox, clock: FakeClock
) -> None:
    await reported(app)
    await accept(app, 1, [word(Signal.ACKNOWLEDGE), word(Signal.RESOLVE)])
    clock.forward(hours=1)
    await run(app, inbox)
    assert ("olga", "NO_ACK_1HR") in inbox.taken()


@pytest.mark.parametrize("signal", Signal)
async def test_a_signal_about_nothing_known_is_recorded_and_opens_nothing(
    app: App, tables: Tables, signal: Signal
) -> None:
    taken = await accept_one(app, word(signal))
    assert (taken.outcome, taken.incident_id) == (Outcome.RECORDED, None)
    assert tables.value("SELECT count(*) FROM incidents") == 0


async def test_a_signal_joins_a_closed_incident_within_the_window_and_then_none(
    app: App, crew: Crew, tables: Tables, clock: FakeClock
) -> None:
    incident_id = await reported(app)
    await closed(app, crew.ada, incident_id)
    clock.forward(minutes=4, seconds=59)
    assert (await accept_one(app, word(Signal.RESOLVE))).incident_id == incident_id
    clock.forward(seconds=1)
    late = await accept_one(app, word(Signal.ACKNOWLEDGE))
    assert (late.outcome, late.incident_id) == (Outcome.RECORDED, None)
    assert said(tables) == ["resolve"]
    assert tables.value("SELECT status FROM incident_heads") == "CLOSED"


async def test_a_signal_is_entered_when_it_says_something_new(app: App, tables: Tables) -> None:
    await reported(app)
    acknowledge, resolve = Signal.ACKNOWLEDGE, Signal.RESOLVE
    for signal in (acknowledge, acknowledge, resolve, resolve, resolve, acknowledge):
        await accept_one(app, word(signal))
    assert said(tables) == ["acknowledge", "resolve", "acknowledge"]
    assert tables.value("SELECT count(*) FROM audit_logs WHERE signal IS NOT NULL") == 6, (
        "each is a report all the same"
    )


async def test_the_same_signal_from_many_at_once_is_one_entry(app: App, tables: Tables) -> None:
    await reported(app)
    await asyncio.gather(*(accept_one(app, word(Signal.RESOLVE)) for _ in range(8)))
    await asyncio.gather(*(accept_one(app, word(Signal.RESOLVE, event_id="same")) for _ in range(8)))
    assert said(tables) == ["resolve"]


async def test_the_signals_of_a_request_are_entered_in_its_order_after_the_error_that_opens(
    app: App, tables: Tables
) -> None:
    batch = [error_report(), word(Signal.ACKNOWLEDGE), word(Signal.RESOLVE), error_report(severity=Severity.CRITICAL)]
    accepted = await accept(app, 1, batch)
    assert [one.outcome for one in accepted] == [Outcome.OPENED, *[Outcome.JOINED] * 3]
    assert said(tables) == ["acknowledge", "resolve"]
    assert tables.value("SELECT current_severity FROM incident_heads") == "CRITICAL"


async def test_a_timeline_takes_so_many_signals_and_the_others_are_only_recorded(
    app: App, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_SIGNALS == 100
    monkeypatch.setattr(signals, "MAX_SIGNALS", 4)
    await reported(app)
    for number in range(7):
        taken = await accept_one(app, word(list(Signal)[number % 2]))
        assert taken.outcome is Outcome.JOINED
    assert len(said(tables)) == 4
    assert tables.value("SELECT count(*) FROM audit_logs WHERE signal IS NOT NULL") == 7


async def test_a_long_word_is_cut_and_the_record_stays_whole(app: App, tables: Tables) -> None:
    await reported(app)
    await accept_one(app, replace(word(Signal.RESOLVE), message="é" * 5_000))
    text = tables.value("SELECT personal ->> 'text' FROM incident_lifecycle WHERE event_type = 'SIGNAL_RECEIVED'")
    assert len(text) <= MAX_SIGNAL_TEXT_CHARACTERS
    async with app.work(streaming=True) as work:
        assert (await verify_database(work)).findings == []


async def test_people_act_between_signals_as_ever(app: App, crew: Crew, tables: Tables) -> None:
    incident_id = await reported(app)
    await accept_one(app, word(Signal.RESOLVE))
    async with app.work() as work:
        await respond.acknowledge(work, crew.olga, incident_id, Acknowledge("On it"))
    await accept_one(app, word(Signal.ACKNOWLEDGE))
    assert [kind for kind, _ in entries(tables)] == ["REPORTED", "SIGNAL_RECEIVED", "ACKNOWLEDGED", "SIGNAL_RECEIVED"]


# --- expiry ----------------------------------------------------------------------------------------------------


async def test_an_alert_that_nobody_repeats_is_taken_for_resolved(
    app: App, crew: Crew, tables: Tables, inbox: Inbox, clock: FakeClock
) -> None:
    await accept_one(app, alert(clock))
    assert expiries(tables) == [clock.now + FOUR_MINUTES]
    await run(app, inbox)
    inbox.taken()
    clock.now += FOUR_MINUTES - timedelta(microseconds=1)
    assert await run(app, inbox) == 0
    clock.now += timedelta(microseconds=1)
    assert await run(app, inbox) == 1
    ((metadata, personal),) = tables.rows(
        "SELECT metadata, personal FROM incident_lifecycle WHERE event_type = 'SIGNAL_RECEIVED'"
    )
    assert metadata["signal"] == "resolve"
    assert personal["eventId"] == "firing-expired"
    assert "Nobody repeated the alert" in personal["text"]
    assert tables.value("SELECT status FROM incident_heads") == "REPORTED"
    assert (expiries(tables), inbox.taken()) == ([], [])


async def test_each_repetition_puts_the_expiry_off_though_it_is_a_copy(
    app: App, tables: Tables, inbox: Inbox, clock: FakeClock
) -> None:
    await accept_one(app, alert(clock))
    for _ in range(5):
        clock.forward(minutes=3)
        assert (await accept_one(app, alert(clock))).outcome is Outcome.DUPLICATE
        assert expiries(tables) == [clock.now + FOUR_MINUTES]
        await run(app, inbox)
    assert said(tables) == []
    await accept_one(app, alert(clock, lasts=timedelta(minutes=1)))
    assert expiries(tables) == [clock.now + FOUR_MINUTES], "a late copy of an earlier one brings nothing forward"
    clock.now += FOUR_MINUTES
    await run(app, inbox)
    assert said(tables) == ["resolve"]


async def test_a_real_resolve_calls_the_expiry_off(app: App, tables: Tables, inbox: Inbox, clock: FakeClock) -> None:
    await accept_one(app, alert(clock))
    await accept_one(app, word(Signal.RESOLVE))
    assert expiries(tables) == []
    clock.forward(hours=1)
    await run(app, inbox)
    assert said(tables) == ["resolve"]


async def test_an_acknowledgment_from_outside_does_not_call_the_expiry_off(
    app: App, tables: Tables, clock: FakeClock
) -> None:
    await accept_one(app, alert(clock))
    await accept_one(app, word(Signal.ACKNOWLEDGE))
    assert len(expiries(tables)) == 1


async def test_a_resolve_and_a_repetition_in_one_request_count_in_their_order(
    app: App, tables: Tables, clock: FakeClock
) -> None:
    await accept(app, 1, [alert(clock), word(Signal.RESOLVE)])
    assert expiries(tables) == []
    await accept(app, 1, [word(Signal.RESOLVE), alert(clock, event_id="again")])
    assert len(expiries(tables)) == 1


async def test_an_alert_that_fires_again_later_expires_again(
    app: App, tables: Tables, inbox: Inbox, clock: FakeClock
) -> None:
    await accept_one(app, alert(clock))
    clock.now += FOUR_MINUTES
    await run(app, inbox)
    await accept_one(app, alert(clock, event_id="second firing"))
    assert len(expiries(tables)) == 1
    await accept_one(app, word(Signal.ACKNOWLEDGE))
    clock.now += FOUR_MINUTES
    await run(app, inbox)
    assert said(tables) == ["resolve", "acknowledge", "resolve"]


async def test_alerts_of_other_failures_and_projects_expire_on_their_own(
    app: App, tables: Tables, clock: FakeClock
) -> None:
    other = replace(error_report("other", event_id="other"), expires_at=clock.now + FOUR_MINUTES)
    await accept(app, 1, [alert(clock), other])
    await accept(app, 0, [alert(clock)])
    assert len(expiries(tables)) == 3
    await accept_one(app, word(Signal.RESOLVE))
    assert len(expiries(tables)) == 2


async def test_an_event_id_of_any_length_can_expire(app: App, tables: Tables, inbox: Inbox, clock: FakeClock) -> None:
    await accept_one(app, alert(clock, event_id="x" * MAX_EVENT_ID_CHARACTERS))
    clock.now += FOUR_MINUTES
    await run(app, inbox)
    assert said(tables) == ["resolve"]


async def test_an_expiry_that_runs_twice_says_it_once(app: App, tables: Tables, clock: FakeClock) -> None:
    await accept_one(app, alert(clock))
    clock.now += FOUR_MINUTES
    assert len((await leases.claim(app, [EXPIRE_ALERT], 10)).leases) == 1
    clock.now += LEASE_OVER
    assert (await leases.claim(app, [EXPIRE_ALERT], 10)).leases == []
    clock.now += LEASE_OVER
    (lease,) = (await leases.claim(app, [EXPIRE_ALERT], 10)).leases
    await Handlers(app, {}, "test").run(lease)
    await Handlers(app, {}, "test").run(lease)
    assert said(tables) == ["resolve"]
    assert expiries(tables) == []


async def test_an_alert_that_is_repeated_while_its_expiry_is_run_is_not_over(
    app: App, tables: Tables, inbox: Inbox, clock: FakeClock
) -> None:
    await accept_one(app, alert(clock))
    clock.now += FOUR_MINUTES
    (lease,) = (await leases.claim(app, [EXPIRE_ALERT], 10)).leases
    await accept_one(app, alert(clock))
    await Handlers(app, {}, "test").run(lease)
    assert said(tables) == [], "somebody repeated it in time"
    assert expiries(tables) == [clock.now + FOUR_MINUTES], "and its next silence will be heard"


async def test_an_alert_that_is_resolved_while_its_expiry_is_run_is_resolved_once(
    app: App, tables: Tables, clock: FakeClock
) -> None:
    await accept_one(app, alert(clock))
    clock.now += FOUR_MINUTES
    (lease,) = (await leases.claim(app, [EXPIRE_ALERT], 10)).leases
    await accept_one(app, word(Signal.RESOLVE))
    await Handlers(app, {}, "test").run(lease)
    assert said(tables) == ["resolve"]
    assert expiries(tables) == []


def test_what_an_expiry_reports_is_told_by_its_payload(clock: FakeClock) -> None:
    payload: dict[str, Any] = {"projectId": 1, "eventId": "e-expired", "type": "Alert", "fingerprint": ["a", "b"]}
    report = signals.expired_alert(payload, clock.now)
    assert (report.event_id, report.error_type, report.fingerprint) == ("e-expired", "Alert", ("a", "b"))
    assert (report.signal, report.severity, report.occurred_at) == (Signal.RESOLVE, Severity.LOW, clock.now)
