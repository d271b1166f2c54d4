"""What operators and their machines see of intake: the ledger, the samples, the metrics, the readiness."""

from __future__ import annotations

import gzip
import json
import re

import psycopg
import pytest

from tests.conftest import INTAKE_KEY
from tests.support.cases import cases
from tests.support.clock import FakeClock
from tests.support.servers import Server
from tests.web.conftest import Live
from tocsin import ids
from tocsin.app.leases import worker_seen
from tocsin.app.ledger import Tally, check_ledger
from tocsin.app.work import App
from tocsin.domain.access import Role
from tocsin.web.metrics import MAX_PROJECTS, Metrics

pytestmark = pytest.mark.anyio


async def reports(live: Live) -> None:
    """Report what is opened, joins, is recorded, comes twice, and is rejected."""
    loud = {"severity": "high", "type": "Broken", "eventId": "e1", "tags": {"region": "eu"}}
    await live.report([loud, loud | {"eventId": "e2"}, {"severity": "low", "type": "Quiet"}, 5])
    await live.report(loud)


async def lose(live: Live, number: int) -> None:
    """Say as Sentry's SDKs do that events were dropped."""
    dropped = [{"reason": "queue_overflow", "category": "error", "quantity": number}]
    payload = json.dumps({"discarded_events": dropped}).encode()
    envelope = b'{}\n{"type": "client_report"}\n%s\n' % payload
    answer = await live.call(
        "POST",
        "/api/1/envelope/",
        data=gzip.compress(envelope),
        headers={"X-Sentry-Auth": f"Sentry sentry_key={INTAKE_KEY}", "Content-Encoding": "gzip"},
    )
    assert answer.status == 200, answer.body


async def test_the_ledger_says_what_was_received_and_what_became_of_it(live: Live, tokens: dict[Role, str]) -> None:
    await reports(live)
    answer = await live.get("/api/intake/ledger?projectId=1&minutes=true", token=tokens[Role.AUDITOR])
    assert answer.status == 200
    (tally,) = answer.json["projects"]
    (protocol,) = tally.pop("received").items()
    assert protocol[1] == 5
    assert tally == {
        "projectId": 1,
        "opened": 1,
        "joined": 1,
        "recorded": 1,
        "duplicate": 1,
        "rejected": {"INVALID": 1},
        "lost": {},
        "difference": 0,
    }
    (minute,) = answer.json["minutes"]
    assert (minute["minute"], minute["opened"]) == ("2026-03-01T03:00:00Z", 1)
    assert (await live.get("/api/intake/ledger")).json["minutes"] is None
    earlier = await live.get("/api/intake/ledger?since=2026-02-28T00:00:00Z&until=2026-02-28T12:00:00%2B01:00")
    assert earlier.json["projects"] == []


@cases(
    "query",
    [
        "since=2026-03-02T00:00:00Z",
        "since=2020-01-01T00:00:00Z",
        "since=yesterday",
        "since=2026-03-01T00:00:00",
        "until=9999-12-31T23:59:59Z",
        "projectId=-1",
        "projectId=99999999999",
        "minutes=perhaps",
        "colour=red",
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(live: Live, query: str) -> None:
    answer = await live.get(f"/api/intake/ledger?{query}")
    assert (answer.status, answer.code) == (422, "INVALID")


async def test_single_reports_of_an_incident_are_shown_as_they_were_accepted(
    live: Live, tokens: dict[Role, str]
) -> None:
    await reports(live)
    for prefix, token in (("/api/incidents", tokens[Role.AUDITOR]), ("/api/admin/incidents", None)):
        more = {"token": token} if token else {}
        answer = await live.get(f"{prefix}/1/reports?limit=1", **more)
        assert (answer.status, answer.json["occurrences"]) == (200, 2)
        [one] = answer.json["reports"]
        assert one["report"]["tags"] == {"region": "eu"}
        assert one["eventId"] == one["report"]["eventId"]
    both = (await live.get("/api/incidents/INC-1/reports")).json["reports"]
    assert {(one["eventId"], one["outcome"]) for one in both} == {("e1", "opened"), ("e2", "joined")}
    assert (await live.get("/api/incidents/2/reports")).code == "NOT_FOUND"
    for limit in ("0", "51", "x"):
        assert (await live.get(f"/api/incidents/1/reports?limit={limit}")).code == "INVALID"


async def test_an_incident_opened_by_hand_has_no_reports(live: Live) -> None:
    incident = await live.open_incident()
    answer = await live.get(f"/api/incidents/{incident['number']}/reports")
    assert answer.json["reports"] == []


async def test_the_metrics_tell_what_became_of_reports_in_the_last_day(live: Live, clock: FakeClock) -> None:
    await reports(live)
    await lose(live, 7)
    text = (await live.get("/metrics")).body.decode()
    for measure, number in (("opened", 2), ("joined", 1), ("duplicate", 1), ("rejected", 1), ("lost", 7)):
        assert f'tocsin_intake_reports{{measure="{measure}",project="1"}} {number}.0' in text, text
    assert 'tocsin_intake_difference{project="1"} 0.0' in text
    clock.forward(hours=25)
    assert "tocsin_intake_reports{" not in (await live.get("/metrics")).body.decode()


def test_only_so_many_projects_have_numbers_of_their_own() -> None:
    metrics = Metrics()
    metrics.ledger([Tally(number, {"native": number}, recorded=number) for number in range(1, MAX_PROJECTS + 3)])
    text = metrics.exposition({}, {}, {}).decode()
    received = dict(re.findall(r'tocsin_intake_reports\{measure="received",project="(\w+)"\} ([\d.]+)', text))
    assert len(received) == MAX_PROJECTS + 1
    assert (received["other"], received["3"]) == ("3.0", "3.0"), "projects 1 and 2 have the fewest"


async def test_a_difference_in_the_ledger_is_named_but_stops_nothing(
    live: Live, app: App, clock: FakeClock, server: Server, database_name: str
) -> None:
    await reports(live)
    with psycopg.connect(server.conninfo(database_name), autocommit=True) as superuser:
        superuser.execute("DELETE FROM tocsin.intake_changes WHERE measure = 'recorded'")
    clock.forward(minutes=5)
    async with app.work() as work:
        assert await check_ledger(work)
    await worker_seen(app, ids.new_id(), "w1")
    ready = await live.call("GET", "/readyz")
    assert (ready.status, ready.json["status"]) == (200, "ready")
    assert {check["name"]: check["stopsService"] for check in ready.json["checks"]}["intake_ledger"] is False
    assert 'tocsin_intake_difference{project="1"} 1.0' in (await live.get("/metrics")).body.decode()
