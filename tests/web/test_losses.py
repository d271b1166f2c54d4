"""What clients say that they dropped is in the ledger, and a real loss of errors is an incident of its own."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from tests.conftest import INTAKE_KEY
from tests.support.clock import FakeClock
from tests.web.conftest import Answer, Live, rows
from tocsin.app import maintain
from tocsin.app.ledger import check_ledger
from tocsin.app.losses import LOST, MAX_BELIEVED
from tocsin.errors import Code, Refusal, TocsinError
from tocsin.intake.sentry import MAX_LABEL_CHARACTERS, MAX_LOSSES
from tocsin.store import ledger as store_ledger
from tocsin.store.database import Tx
from tocsin.store.ledger import LedgerKey

pytestmark = pytest.mark.anyio

Loss = dict[str, Any]


def loss(reason: str, category: str = "error", quantity: int = 1) -> Loss:
    """Return one entry of a client report."""
    return {"reason": reason, "category": category, "quantity": quantity}


async def say(live: Live, *losses: Loss, event: dict[str, Any] | None = None) -> Answer:
    """Send an envelope with a client report, and an event if there is one."""
    payload = json.dumps({"timestamp": "2026-03-01T03:00:00Z", "discarded_events": list(losses)}).encode()
    body = b'{}\n{"type":"client_report"}\n' + payload
    if event is not None:
        body += b'\n{"type":"event"}\n' + json.dumps(event).encode()
    auth = {"X-Sentry-Auth": f"Sentry sentry_key={INTAKE_KEY}, sentry_version=7"}
    return await live.call("POST", "/api/1/envelope/", data=body, headers=auth)


async def ledger(live: Live) -> dict[str, Any]:
    """Return the ledger of project 1."""
    answer = await live.get("/api/intake/ledger?projectId=1")
    assert answer.status == 200, answer.body
    (tally,) = answer.json["projects"]
    found: dict[str, Any] = tally
    return found


async def incidents(live: Live) -> list[dict[str, Any]]:
    """Return every incident, oldest first."""
    found: list[dict[str, Any]] = (await live.get("/api/incidents")).json["incidents"]
    return found[::-1]


async def test_a_lost_error_is_in_the_ledger_and_opens_an_incident(live: Live) -> None:
    answer = await say(live, loss("queue_overflow", quantity=7))
    assert (answer.status, answer.json) == (200, {})
    tally = await ledger(live)
    assert tally["lost"] == {"queue_overflow/error": 7}
    assert (tally["opened"], tally["difference"]) == (1, 0), "what was lost is no part of what was received"
    (incident,) = await incidents(live)
    assert incident["severity"] == "HIGH"
    assert incident["title"] == f"{LOST}: A client dropped 7 of its own error events: queue_overflow."


async def test_losses_of_one_reason_are_one_failure_however_many_and_others_are_others(live: Live) -> None:
    await say(live, loss("queue_overflow", quantity=7))
    await say(live, loss("queue_overflow", quantity=80), loss("network_error", "default"))
    found = [(one["title"].rpartition(": ")[2], one["occurrences"]) for one in await incidents(live)]
    assert found == [("queue_overflow.", 2), ("network_error.", 1)]
    assert (await ledger(live))["lost"] == {"queue_overflow/error": 87, "network_error/default": 1}


@pytest.mark.parametrize(
    ("reason", "category"), [("queue_overflow", "error"), ("queue_overflow", "span"), ("sample_rate", "error")]
)
async def test_a_report_that_comes_again_is_no_second_loss(live: Live, reason: str, category: str) -> None:
    answers = await asyncio.gather(*(say(live, loss(reason, category, quantity=7)) for _ in range(5)))
    assert {answer.status for answer in answers} == {200}
    assert (await say(live, loss(reason, category, quantity=7))).status == 200
    assert (await ledger(live))["lost"] == {f"{reason}/{category}": 7}
    counted = f'tocsin_client_lost_events_total{{reason="{reason}"}} 7.0'
    assert counted in (await live.get("/metrics")).body.decode()


async def test_a_loss_and_its_count_are_one_transaction(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever dies between the two has done neither: the client says it again, and it counts."""

    count = store_ledger.count

    async def broken(tx: Tx, counts: Mapping[LedgerKey, int], now: datetime) -> None:
        if any(measure == "lost" for _, measure, _ in counts):
            raise TocsinError(Refusal(Code.INTERNAL, "It broke just here."))
        await count(tx, counts, now)

    with monkeypatch.context() as patched:
        patched.setattr("tocsin.app.losses.ledger.count", broken)
        assert (await say(live, loss("queue_overflow", quantity=7))).status == 500
    assert await incidents(live) == []
    assert (await say(live, loss("queue_overflow", quantity=7))).status == 200
    assert (await ledger(live))["lost"] == {"queue_overflow/error": 7}
    assert len(await incidents(live)) == 1


async def test_bytes_are_not_added_to_events(live: Live) -> None:
    logs = loss("network_error", "log_item", 3), loss("network_error", "log_byte", 9_000)
    metrics = loss("network_error", "trace_metric", 2), loss("network_error", "trace_metric_byte", 700)
    await say(live, loss("network_error"), loss("network_error", "attachment", 21_500_000), *logs, *metrics)
    lost = {"error": 1, "attachment": 1, "log_item": 3, "trace_metric": 2}
    assert (await ledger(live))["lost"] == {f"network_error/{category}": number for category, number in lost.items()}
    counted = 'tocsin_client_lost_events_total{reason="network_error"} 7.0'
    assert counted in (await live.get("/metrics")).body.decode()


@pytest.mark.parametrize("reason", ["sample_rate", "before_send", "event_processor"])
async def test_what_a_program_drops_deliberately_is_counted_and_no_incident(live: Live, reason: str) -> None:
    await say(live, loss(reason, quantity=1_000))
    assert (await ledger(live))["lost"] == {f"{reason}/error": 1_000}
    assert await incidents(live) == []


@pytest.mark.parametrize("category", ["transaction", "session", "span", "attachment", "something new"])
async def test_what_is_no_error_is_counted_and_no_incident(live: Live, category: str) -> None:
    await say(live, loss("queue_overflow", category))
    assert (await ledger(live))["lost"] == {f"queue_overflow/{category}": 1}
    assert await incidents(live) == []


async def test_an_event_beside_a_loss_is_taken_as_ever(live: Live) -> None:
    event = {"event_id": "a" * 32, "level": "error", "message": "it broke"}
    answer = await say(live, loss("queue_overflow"), event=event)
    assert (answer.status, answer.json) == (200, {"id": "a" * 32})
    tally = await ledger(live)
    assert tally["received"] == {"client-report": 1, "sentry": 1}
    assert (tally["opened"], tally["difference"]) == (2, 0)


@pytest.mark.parametrize(
    "odd",
    [
        loss("x", quantity=0),
        loss("x", quantity=-5),
        {"reason": "x", "category": "error", "quantity": "7"},
        {"reason": "x", "category": "error", "quantity": True},
        {"reason": "x", "category": "error", "quantity": 10**30},
        {"reason": "x", "category": "error"},
        "queue_overflow",
        None,
    ],
)
async def test_an_odd_entry_is_left_out_and_disturbs_no_other(live: Live, odd: Any) -> None:
    assert (await say(live, odd, loss("network_error"))).status == 200
    assert (await ledger(live))["lost"] == {"network_error/error": 1}


async def test_reasons_of_any_length_and_any_letters_fit_into_the_ledger(live: Live) -> None:
    answer = await say(live, loss("é" * 5_000, "ü" * 5_000), loss("a\x00b"), loss("a/b", "c/d"), loss(""))
    assert answer.status == 200
    lost = (await ledger(live))["lost"]
    assert len(lost) == 4
    assert max(map(len, lost)) == 2 * MAX_LABEL_CHARACTERS + 1
    assert "unknown/error" in lost


async def test_more_entries_than_anybody_needs_are_left_out(live: Live) -> None:
    answer = await say(live, *(loss(f"reason {number}", "span") for number in range(MAX_LOSSES + 5)))
    assert answer.status == 200
    assert len((await ledger(live))["lost"]) == MAX_LOSSES


async def test_absurd_quantities_break_neither_the_ledger_nor_its_chores(live: Live, clock: FakeClock) -> None:
    for number in range(12):
        most = [loss("queue_overflow", "span", 2**53 - 1 - number) for _ in range(MAX_LOSSES)]
        assert (await say(live, *most)).status == 200
        async with live.app.work() as work:
            await maintain.fold_counters(work)
    assert (await ledger(live))["lost"] == {"queue_overflow/span": 12 * MAX_BELIEVED}
    (counted,) = re.findall(
        r'tocsin_client_lost_events_total\{reason="queue_overflow"\} (\S+)', (await live.get("/metrics")).body.decode()
    )
    assert float(counted) == 12 * MAX_BELIEVED
    clock.forward(minutes=5)
    async with live.app.work() as work:
        assert await check_ledger(work) == []
    assert len(await rows(live.app, b"SELECT FROM intake_minutes WHERE measure = 'lost'")) == 1
