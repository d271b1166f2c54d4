"""What every door of intake promises, whatever is spoken there: who may knock, from where, packed how, how often."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard

from tests.conftest import INTAKE_KEY
from tests.web.conftest import Answer, Live, rows
from tocsin.web.endpoint import Access
from tocsin.web.intake.table import INTAKE

pytestmark = pytest.mark.anyio

LABELS = {"alertname": "DiskFull", "severity": "critical"}
EXCEPTION = [{"key": "exception.type", "value": {"stringValue": "ValueError"}}]
EVENT = {"specversion": "1.0", "id": "42", "source": "/backup", "type": "org.example.backup.failed"}
TRIGGER = {
    "routing_key": INTAKE_KEY,
    "event_action": "trigger",
    "payload": {"summary": "The disk is full", "source": "db-1", "severity": "critical"},
}
BECAME = (
    b"SELECT measure, sum(quantity)::bigint FROM intake_ledger"
    b" WHERE measure IN ('opened', 'joined', 'duplicate') GROUP BY 1 ORDER BY 1"
)
RECEIVED = b"SELECT sum(quantity)::bigint FROM intake_ledger WHERE measure = 'received' AND project_id = 1"


@dataclass(frozen=True, slots=True)
class Door:
    """A door, and the smallest report of a new failure that can be brought there: without an id or a time if it can."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    key_in_body: bool = False

    async def knock(self, live: Live, body: Any = None, key: str | None = INTAKE_KEY, **headers: str) -> Answer:
        """Bring the report, or another body."""
        path = self.path.replace("{project}", "1")
        named = "" if key is None or self.key_in_body else f"?sentry_key={key}"
        data = self.body if body is None else body
        return await live.call("POST", path + named, data=data, headers={**self.headers, **headers})


def _json(path: str, document: object, **more: Any) -> Door:
    return Door(path, json.dumps(document).encode(), {"Content-Type": "application/json"}, **more)


def _lines(*documents: object) -> bytes:
    return b"\n".join(json.dumps(document).encode() for document in documents)


DOORS = {
    door.path: door
    for door in (
        _json("/api/v1/errors", {"severity": "HIGH", "message": "hm"}),
        _json("/api/v1/alertmanager", {"alerts": [{"status": "firing", "labels": LABELS}]}),
        _json("/api/v1/grafana", {"alerts": [{"status": "firing", "labels": LABELS}]}),
        _json("/api/v1/generic", {"severity": "error", "message": "hm"}),
        Door("/api/v1/cloudevents", _lines(EVENT), {"Content-Type": "application/cloudevents+json"}),
        _json("/api/v2/alerts", [{"labels": LABELS}]),
        _json("/v2/enqueue", TRIGGER, key_in_body=True),
        _json("/v1/logs", {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"severityNumber": 17}]}]}]}),
        _json(
            "/v1/traces",
            {
                "resourceSpans": [
                    {"scopeSpans": [{"spans": [{"events": [{"name": "exception", "attributes": EXCEPTION}]}]}]}
                ]
            },
        ),
        Door("/api/{project}/envelope/", _lines({}, {"type": "event"}, {"level": "error", "message": "hm"})),
        _json("/api/{project}/store/", {"level": "error", "message": "hm"}),
    )
}


def test_there_is_an_example_for_every_door() -> None:
    assert set(DOORS) == {one.path for one in INTAKE if one.method == "POST" and one.access is Access.INTAKE}


@pytest.mark.parametrize("door", DOORS.values(), ids=list(DOORS))
async def test_a_report_opens_an_incident_and_its_repeated_delivery_is_a_copy(live: Live, door: Door) -> None:
    """Who forwards requests names each by an Idempotency-Key, and may deliver it twice."""
    first, again = [await door.knock(live, **{"Idempotency-Key": "request-1"}) for _ in range(2)]
    assert first.status == again.status
    assert first.status in (200, 201, 202, 204), first.body
    assert await rows(live.app, BECAME) == [("duplicate", 1), ("opened", 1)]
    if door.path == "/v2/enqueue":
        assert first.json["dedup_key"] == again.json["dedup_key"]


@pytest.mark.parametrize("path", sorted(set(DOORS) - {"/api/v1/cloudevents"}))
async def test_two_requests_that_nothing_tells_apart_are_two_occurrences(live: Live, path: str) -> None:
    for _ in range(2):
        assert (await DOORS[path].knock(live)).status < 300
    became = dict(await rows(live.app, BECAME))
    # A trigger without a dedup_key is a failure of its own.
    assert became == ({"opened": 2} if path == "/v2/enqueue" else {"joined": 1, "opened": 1})


async def test_any_page_may_knock_and_read_the_answer(live: Live) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    for door in DOORS.values():
        preflight = await live.call("OPTIONS", door.path.replace("{project}", "1"), headers=asked)
        assert preflight.status == 204
        assert preflight.headers["Access-Control-Allow-Origin"] == "*"
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        allowed = preflight.headers["Access-Control-Allow-Headers"].lower()
        assert all(name in allowed for name in ("authorization", "content-type", "content-encoding"))
        for answer in (await door.knock(live), await door.knock(live, b"{", key="f" * 32)):
            assert answer.headers["Access-Control-Allow-Origin"] == "*", door.path


async def test_a_page_may_send_the_attributes_of_a_cloud_event(live: Live) -> None:
    names = "ce-id,ce-source,ce-type, ce-specversion,cookie,ce-,ce-a b"
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Headers": names}
    allowed = (await live.call("OPTIONS", "/api/v1/cloudevents", headers=asked)).headers["Access-Control-Allow-Headers"]
    assert allowed.endswith("X-Tocsin-Key, ce-id, ce-source, ce-type, ce-specversion")
    many = asked | {"Access-Control-Request-Headers": ",".join(f"ce-x{number}" for number in range(60))}
    allowed = (await live.call("OPTIONS", "/api/v1/cloudevents", headers=many)).headers["Access-Control-Allow-Headers"]
    assert allowed.endswith(", ce-x49")


async def test_nobody_is_let_in_by_a_key_that_opens_nothing(live: Live) -> None:
    stranger = "f" * 32
    for door in DOORS.values():
        answer = await door.knock(live, door.body.replace(INTAKE_KEY.encode(), stranger.encode()), key=stranger)
        assert answer.status == (400 if door.key_in_body else 401), door.path
    assert await rows(live.app, b"SELECT count(*) FROM audit_logs") == [(0,)]


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


async def test_a_packed_body_is_taken(live: Live) -> None:
    for door in DOORS.values():
        for name, pack in PACKERS.items():
            answer = await door.knock(live, pack(door.body), **{"Content-Encoding": name})
            assert answer.status < 300, (door.path, name, answer.body)
    assert await rows(live.app, RECEIVED) == [(len(DOORS) * len(PACKERS),)]


async def test_how_a_body_was_packed_must_be_known_and_true(live: Live) -> None:
    for door in DOORS.values():
        assert (await door.knock(live, **{"Content-Encoding": "lzma"})).status == 415, door.path
        for name in PACKERS:
            assert (await door.knock(live, b"\xffnothing", **{"Content-Encoding": name})).status == 400, (
                door.path,
                name,
            )


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 10):
        yield body[start : start + 10]


async def test_a_chunked_body_is_taken(live: Live) -> None:
    for door in DOORS.values():
        answer = await door.knock(live, _pieces(door.body))
        assert answer.status < 300, (door.path, answer.body)
    assert await rows(live.app, RECEIVED) == [(len(DOORS),)]


async def test_a_bomb_is_refused_without_being_held(live: Live) -> None:
    bomb = gzip.compress(b" " * 30_000_000)
    for door in DOORS.values():
        assert (await door.knock(live, bomb, **{"Content-Encoding": "gzip"})).status == 413, door.path
